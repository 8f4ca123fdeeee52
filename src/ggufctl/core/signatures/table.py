"""What one row of the table of signatures is, and how its patterns are found quickly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property

__all__ = ["Basis", "Phase", "Severity", "Signature", "SignatureIndex", "Tier", "required_text"]


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


def required_text(pattern: str) -> str:
    """The longest text that every match of a pattern has, in lower case.

    Raises: ValueError for a pattern with alternatives at the top level, or without such a text.
    """
    best = run = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "|":
            raise ValueError(f"alternatives at the top level: {pattern}")
        if char in "([":
            end = _skip_group(pattern, position) if char == "(" else _skip_class(pattern, position)
            literal = ""
        elif char == "\\":
            end = position + 2
            literal = pattern[position + 1] if not pattern[position + 1].isalnum() else ""
        else:
            end = position + 1
            literal = "" if char in _SPECIAL else char
        if literal and not (end < len(pattern) and pattern[end] in _OPTIONAL):
            run += literal
        else:
            run = ""
        best = max(best, run, key=len)
        position = end
    if len(best) < 3:
        raise ValueError(f"no text to look for: {pattern}")
    return best.lower()


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


_TRIGGERS = (
    "error",
    "fail",
    "unable",
    "cannot",
    "couldn't",
    "could not",
    "invalid",
    "unknown",
    "not found",
    "missing",
    "kill",
    "exit",
    "abort",
    "assert",
    "support",
    "denied",
    "refused",
    "timed",
    "exceed",
    "corrupt",
    "memory",
    "exception",
    "no such",
    "requires",
    "load",
    "warning",
    "limit",
    "allocat",
)


class SignatureIndex:
    """Finds the signatures of a line, looking at few of them.

    A line is first searched for short words; patterns are tried only where the text they need is
    there as well, and compiled when that happens for the first time.
    """

    def __init__(self, signatures: Iterable[Signature]) -> None:
        self.signatures = tuple(signatures)
        self._compiled: dict[str, re.Pattern[str]] = {}

    @cached_property
    def _buckets(self) -> tuple[tuple[str, tuple[tuple[str, str, Signature], ...]], ...]:
        """Word → (required text, pattern, signature) of every pattern that has the word."""
        found: dict[str, list[tuple[str, str, Signature]]] = {}
        for signature in self.signatures:
            for pattern in signature.patterns:
                text = required_text(pattern)
                words = [word for word in _TRIGGERS if word in text]
                word = max(words, key=len) if words else text
                found.setdefault(word, []).append((text, pattern, signature))
        return tuple((word, tuple(rows)) for word, rows in found.items())

    def search(self, text: str) -> list[tuple[Signature, re.Match[str]]]:
        """Signatures that a line shows, with the match of each."""
        low = text.lower()
        found: list[tuple[Signature, re.Match[str]]] = []
        for word, rows in self._buckets:
            if word not in low:
                continue
            for needed, pattern, signature in rows:
                if needed in low and (match := self._pattern(pattern).search(text)):
                    found.append((signature, match))
        return found

    def _pattern(self, pattern: str) -> re.Pattern[str]:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = re.compile(pattern, re.IGNORECASE)
        return compiled
