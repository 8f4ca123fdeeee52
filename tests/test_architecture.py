"""The folder list is the architecture: who may import whom, and what only one module may."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ggufctl

SOURCE = Path(ggufctl.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# Part of the package → parts it may import, itself included.
ALLOWED = {
    "errors": {"errors"},
    "core": {"core", "errors"},
    # Downloads are one engine, here and in containers.
    "sources": {"sources", "remote", "core", "errors"},
    "catalog": {"catalog", "config", "sources", "core", "errors"},
    # The engine's supervisor also runs in containers, with nothing but our core beside it.
    "remote": {"remote", "core", "errors"},
    "engines": {"engines", "remote", "core", "errors"},
    "modal_app": {"modal_app", "remote", "core", "errors"},
    "client": {"client", "core", "errors"},
    # A process of its own: it shares nothing but what it is told.
    "front": {"front"},
    "services": {
        "services",
        "client",
        "front",
        "modal_app",
        "engines",
        "remote",
        "sources",
        "catalog",
        "core",
        "errors",
    },
}
# Library → the modules, or folders of them, that may import it.
ONLY_HERE = {
    "huggingface_hub": {"sources"},
    "rich": {"render"},
    "matplotlib": {"render"},
    "pydantic": {"documents"},
    "typer": {"cli.py", "commands"},
    "modal": {"modal_app"},
    "psutil": {"services"},
    "aiohttp": {"front"},
    "multidict": {"front"},
    "yarl": {"front"},
}


def imports(path: Path) -> set[str]:
    """Modules a file imports anywhere, typing-only imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) in ALLOWED], ids=str)
def test_a_part_imports_only_what_is_below_it(path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("ggufctl.")}

    assert own <= ALLOWED[part(path)]


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) == "core"], ids=str)
def test_the_core_needs_the_standard_library_alone(path):
    outside = {name.split(".")[0] for name in imports(path)} - {"ggufctl"}

    assert outside <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) == "core"], ids=str)
def test_the_core_does_no_input_or_output(path):
    io_modules = {"socket", "subprocess", "urllib.request", "http", "logging", "shutil", "tempfile"}

    assert not imports(path) & io_modules


@pytest.mark.parametrize("library", sorted(ONLY_HERE))
def test_a_library_has_one_home(library):
    users = {
        path.relative_to(SOURCE).parts[0]
        for path in MODULES
        if any(name.split(".")[0] == library for name in imports(path))
    }

    assert users <= ONLY_HERE[library]


def test_importing_the_package_loads_nothing_heavy():
    heavy = "aiohttp matplotlib modal huggingface_hub httpx2 numpy rich pydantic typer jinja2"
    code = (
        "import sys, ggufctl, ggufctl.core.names; "
        f"print(*[m for m in {heavy.split()!r} if m in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.split() == []


def test_no_module_of_ours_can_render_a_template():
    assert not any("jinja2" in imports(path) for path in MODULES)
