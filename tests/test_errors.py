from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ggufctl
from ggufctl import errors
from ggufctl.core.escape import about

ROOT = Path(ggufctl.__file__).parent
NAMES = set(errors.__all__) | {"ConnectionLost"}
PARTS = sorted(
    path
    for folder in ("core", "sources", ".")
    for path in (ROOT / folder).rglob("*.py")
    if "signatures" not in path.parts and (folder != "." or path.parent == ROOT)
)
FRAGMENT = re.compile(r"(?:the|there|a|an|one|no|run|did|try|write|name|use|add|give|if) ")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every message and hint; what is filled in is shown as `{}`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id not in NAMES:
            continue
        said = [*node.args, *(k.value for k in node.keywords if k.arg == "hint")]
        for value in said:
            text = literal(value)
            if text:
                yield value.lineno, text


def literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return ""


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_error_is_a_whole_sentence(path):
    wrong = [
        f"{path.name}:{line}: {text}"
        for line, text in texts(path)
        if FRAGMENT.match(text) or not text.endswith((".", "?", "}"))
    ]

    assert wrong == []


def test_a_sentence_goes_on_after_the_name_of_what_it_is_about():
    assert about("'a.gguf'", "The file is empty.") == "'a.gguf': the file is empty."
    assert about("'a.gguf'", "GGUF version 1 is old.") == "'a.gguf': GGUF version 1 is old."
