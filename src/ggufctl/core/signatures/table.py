"""What one row of the table of signatures is, and how its patterns are found quickly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import TypeAlias

__all__ = [
    "Basis",
    "Phase",
    "Severity",
    "Signature",
    "SignatureIndex",
    "Tier",
    "bounded",
    "filter_word",
    "required_text",
]


class Severity(StrEnum):
    """Whether something failed."""

    FATAL = "fatal"
    REMARK = "remark"
    """The engine survives it: never the cause."""


class Tier(IntEnum):
    """How close to the root a line is; the higher tier is told first."""

    GENERIC = 1
    """That it failed, not why: told only when nothing else is known."""
    SYMPTOM = 2
    """What went wrong, with a cause that other lines know better."""
    REQUEST = 3
    """One request failed; the server lives on."""
    ROOT = 4
    """The cause itself."""


class Phase(IntEnum):
    """When it happens; a later phase that is reached proves that it was survived."""

    BUILD = 0
    START = 1
    DOWNLOAD = 2
    LOAD = 3
    SERVE = 4
    ALWAYS = 5
    """Nothing that follows takes it back."""


class Basis(StrEnum):
    """Where a sample comes from."""

    REAL = "recorded with a real engine"
    SOURCE = "text of the program's source"
    REPORTED = "public report"


@dataclass(frozen=True, slots=True)
class Signature:
    """One cause, by the lines that show it.

    Attributes:
        id: stable name of the cause.
        patterns: regular expressions, case-insensitive, without alternatives at the top level;
            named groups may be used in `cause` and `fix`.
        cause: one sentence.
        fix: what to do, the best first.
        sample: a log, of one line or more, that has this cause and no other.
        basis: where the sample comes from.
    """

    id: str
    patterns: tuple[str, ...]
    cause: str
    fix: tuple[str, ...]
    sample: str
    basis: Basis = Basis.SOURCE
    severity: Severity = Severity.FATAL
    tier: Tier = Tier.ROOT
    phase: Phase = Phase.LOAD


_SPECIAL = frozenset("^$.*+?{}[]()|")
_OPTIONAL = frozenset("*?{")
_GROUP = re.compile(r"^\?(?::|P<\w+>)")


def required_text(pattern: str) -> str:
    """The longest text that every match of a pattern has, in lower case.

    Raises: ValueError for a pattern with alternatives at the top level, or without such a text.
    """
    best = _longest(pattern)
    if len(best) < 3:
        raise ValueError(f"no text to look for: {pattern}")
    return best.lower()


def _longest(pattern: str) -> str:
    best = run = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        literal = inner = ""
        if char == "|":
            raise ValueError(f"alternatives at the top level: {pattern}")
        if char == "(":
            end = _skip_group(pattern, position)
            inner = _GROUP.sub("", pattern[position + 1 : end - 1])
        elif char == "[":
            end = _skip_class(pattern, position)
        elif char == "\\":
            end = position + 2
            literal = pattern[position + 1] if not pattern[position + 1].isalnum() else ""
        else:
            end = position + 1
            literal = "" if char in _SPECIAL else char
        is_optional = end < len(pattern) and pattern[end] in _OPTIONAL
        run = run + literal if literal and not is_optional else ""
        best = max(best, run, key=len)
        if inner and not is_optional and inner[0] != "?":
            best = max(best, "" if _has_choice(inner) else _longest(inner), key=len)
        position = end
    return best


def _has_choice(pattern: str) -> bool:
    """Whether a pattern has alternatives at its top level."""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "|":
            return True
        if char == "(":
            position = _skip_group(pattern, position)
        elif char == "[":
            position = _skip_class(pattern, position)
        else:
            position += 2 if char == "\\" else 1
    return False


def _skip_class(pattern: str, position: int) -> int:
    position += 2
    while pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return position + 1


def _skip_group(pattern: str, position: int) -> int:
    depth = 0
    while True:
        char = pattern[position]
        if char == "\\":
            position += 2
            continue
        if char == "[":
            position = _skip_class(pattern, position)
            continue
        depth += {"(": 1, ")": -1}.get(char, 0)
        position += 1
        if depth == 0:
            return position


_COMMON = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "not",
        "are",
        "this",
        "that",
        "model",
        "models",
        "load",
        "loading",
        "loaded",
        "tensor",
        "tensors",
        "context",
        "request",
        "requests",
        "slot",
        "slots",
        "task",
        "prompt",
        "token",
        "tokens",
        "buffer",
        "size",
        "device",
        "cache",
        "server",
        "file",
        "type",
        "cuda",
        "gpu",
        "gpus",
        "memory",
        "layer",
        "layers",
        "batch",
        "time",
        "version",
        "build",
        "value",
        "name",
        "data",
        "using",
        "input",
        "output",
        "info",
        "status",
        "code",
        "number",
        "have",
        "has",
        "been",
        "too",
        "you",
        "your",
        "will",
        "all",
        "can",
        "use",
        "used",
        "only",
        "after",
        "before",
        "init",
        "llama",
        "ggml",
        "backend",
        "index",
        "http",
        "https",
        "path",
        "read",
        "response",
        "error",
        "processing",
        "update",
        "slots",
        "progress",
    ]
)
"""Words of healthy logs, which a filter avoids."""

_EDGES = re.compile(r"[a-z]+")


def filter_word(pattern: str) -> tuple[str, bool]:
    """What a filter looks for to find the lines of a pattern.

    Returns: a run of letters, and whether it stands in every match as a whole; where none does,
        the text that every match has, with its digits.
    """
    needed = required_text(pattern)
    low = pattern.lower()
    words = [
        found[0]
        for found in _EDGES.finditer(needed)
        if (found.start() > 0 or low.startswith(needed))
        and (found.end() < len(needed) or low.endswith(needed))
        and found[0] not in _COMMON
        and len(found[0]) > 3
    ]
    return (max(words, key=len), True) if words else (needed, False)


MAX_REPEAT = 500
"""Characters that a gap in a pattern may span."""


def bounded(pattern: str) -> str:
    """The same pattern, with no repetition of more than `MAX_REPEAT`.

    So the time for a line grows with its length only, however often the beginning of a pattern
    stands in it.
    """
    done: list[str] = []
    position = 0
    while position < len(pattern):
        end = position + 1
        if pattern[position] == "\\":
            end += 1
        elif pattern[position] == "[":
            end = _skip_class(pattern, position)
        piece = pattern[position:end]
        done.append({"*": f"{{0,{MAX_REPEAT}}}", "+": f"{{1,{MAX_REPEAT}}}"}.get(piece, piece))
        position = end
    return "".join(done)


_Row: TypeAlias = tuple[str, str, Signature]
"""Text that is needed, pattern, signature."""


class SignatureIndex:
    """Finds the signatures of a line.

    A pattern is tried only where the text it needs is there, and compiled when that happens for
    the first time.
    """

    def __init__(self, signatures: Iterable[Signature]) -> None:
        self.signatures = tuple(signatures)
        self._compiled: dict[str, re.Pattern[str]] = {}

    @cached_property
    def filter_words(self) -> tuple[frozenset[str], frozenset[str]]:
        """Whole words, and texts, one of which every line with a signature has."""
        words: set[str] = set()
        texts: set[str] = set()
        for signature in self.signatures:
            for pattern in signature.patterns:
                text, is_word = filter_word(pattern)
                (words if is_word else texts).add(text)
        shortest = {
            text for text in texts if not any(other in text for other in texts if other != text)
        }
        return frozenset(words), frozenset(shortest)

    @cached_property
    def _rows(self) -> tuple[dict[str, list[_Row]], dict[str, list[_Row]]]:
        """Patterns by the word, or else by the text, that their lines have."""
        by_word: dict[str, list[_Row]] = {}
        by_text: dict[str, list[_Row]] = {}
        for signature in self.signatures:
            for pattern in signature.patterns:
                text, is_word = filter_word(pattern)
                rows = by_word if is_word else by_text
                rows.setdefault(text, []).append((required_text(pattern), pattern, signature))
        return by_word, by_text

    def search(self, text: str) -> list[tuple[Signature, re.Match[str]]]:
        """Signatures that a line shows, with the match of each, in the order of the table."""
        low = text.lower()
        by_word, by_text = self._rows
        candidates = [
            row
            for word in by_word.keys() & set(_EDGES.findall(low))
            for row in by_word[word]
            if row[0] in low
        ]
        for needed, rows in by_text.items():
            if needed in low:
                candidates += rows
        found: dict[str, tuple[Signature, re.Match[str]]] = {}
        candidates.sort(key=lambda row: row[1])
        for _, pattern, signature in candidates:
            if signature.id not in found and (match := self._pattern(pattern).search(text)):
                found[signature.id] = (signature, match)
        return sorted(found.values(), key=lambda row: self._order[row[0].id])

    @cached_property
    def _order(self) -> dict[str, int]:
        return {signature.id: i for i, signature in enumerate(self.signatures)}

    def _pattern(self, pattern: str) -> re.Pattern[str]:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = re.compile(bounded(pattern), re.IGNORECASE)
        return compiled
