"""What one row of the table of signatures is, and how its patterns are found quickly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache, cached_property
from typing import NamedTuple, TypeAlias

__all__ = [
    "Basis",
    "Phase",
    "Severity",
    "Signature",
    "SignatureIndex",
    "Tier",
    "Variant",
    "bounded",
    "exited",
    "filter_words",
    "required_texts",
]


class Severity(StrEnum):
    """Whether something failed."""

    FATAL = "fatal"
    REMARK = "remark"
    """The engine survives it: never the cause."""


class Tier(IntEnum):
    """How close to the root a line is; the higher tier is told first."""

    QUOTED = 0
    """An error of nobody's table, told in its own words where nothing else is known."""
    GENERIC = 1
    """That it failed, not why: told only when nothing else is known."""
    KIND = 2
    """Of what kind it is, by the words of a sentence that no row knows."""
    SYMPTOM = 3
    """What went wrong, with a cause that other lines know better."""
    REQUEST = 4
    """One request failed; the server lives on."""
    ROOT = 5
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


class Variant(NamedTuple):
    """What a cause means, and what helps, where certain words stand beside it."""

    pattern: str
    """Of the lines that show the cause, or of the words for where the program runs."""
    fix: tuple[str, ...]
    """Told instead of the fixes that help elsewhere."""
    cause: str = ""
    """Told instead of the general sentence, if there is one."""


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
        variants: what is told instead for some systems, devices or programs; the first that
            the log speaks of.
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
    variants: tuple[Variant, ...] = ()


def exited(code: int) -> str:
    """A pattern for a program that ended with a code, as programs and status dumps say it."""
    return (
        rf"exit(?:ed)?(?:[ _-]?(?:with|status|code|value)){{0,3}}[\"']?[\s:=(\"'|]{{1,12}}{code}\b"
    )


_SPECIAL = frozenset("^$.*+?{}[]()|")
_OPTIONAL = frozenset("*?{")
_GROUP = re.compile(r"^\?(?::|P<\w+>)")


class _Text(NamedTuple):
    """A text that a match has, and whether a word of it may begin or end with it."""

    text: str
    begins: bool
    ends: bool


_Choice: TypeAlias = tuple[_Text, ...]
"""Texts, one of which every match has."""

_SHORTEST = 3


def required_texts(pattern: str) -> tuple[str, ...]:
    """Texts in lower case, one of which every match of a pattern has.

    Raises: ValueError for a pattern with alternatives at the top level, or without such texts.
    """
    return tuple(sorted({found.text for found in _rarest(pattern)}))


@cache
def _needs(pattern: str) -> tuple[_Choice, ...]:
    """Everything that every match of a pattern has, the least common in a healthy log first."""
    choices = _choices(pattern)
    if not choices:
        raise ValueError(f"no text to look for: {pattern}")
    return tuple(sorted(choices, key=_worth, reverse=True))


def _rarest(pattern: str) -> _Choice:
    return _needs(pattern)[0]


def _choices(pattern: str, *, begins: bool = True, ends: bool = True) -> list[_Choice]:
    """Everything that every match of a pattern has, in the order of the pattern.

    Args:
        begins: whether a word may begin where the pattern does.
        ends: the same of its end.
    """
    found: list[_Choice] = []
    run = ""
    run_begins = begins
    position = 0

    def close(next_begins: bool, is_end: bool) -> None:
        nonlocal run, run_begins
        if len(run.strip()) >= _SHORTEST:
            found.append((_Text(run.lower(), run_begins, is_end),))
        run, run_begins = "", next_begins

    while position < len(pattern):
        char = pattern[position]
        if char == "|":
            raise ValueError(f"alternatives at the top level: {pattern}")
        end = _element_end(pattern, position)
        is_optional = end < len(pattern) and pattern[end] in _OPTIONAL
        literal = _literal(pattern[position:end])
        if literal and not is_optional:
            run += literal
        elif literal or char not in "(":
            is_edge = pattern[position:end] in ("\\b", "^", "$")
            close(is_edge, is_edge)
        else:
            is_edge = (not run and run_begins) or (run[-1:] != "" and not run[-1:].isalnum())
            close(False, False)
            inner = _GROUP.sub("", pattern[position + 1 : end - 1])
            if inner.startswith("?="):
                found += _of_group(inner[2:], False, False)
            elif not is_optional and inner[:1] != "?":
                found += _of_group(inner, is_edge, _is_edge(pattern, end, ends))
        position = end
    close(False, ends)
    return found


def _of_group(inner: str, begins: bool, ends: bool) -> list[_Choice]:
    """What every match of a group has."""
    branches = [_choices(b, begins=begins, ends=ends) for b in _branches(inner)]
    if len(branches) == 1:
        return branches[0]
    if not all(branches):
        return []
    return [tuple(text for choices in branches for text in max(choices, key=_worth))]


def _element_end(pattern: str, position: int) -> int:
    char = pattern[position]
    if char == "(":
        return _skip_group(pattern, position)
    if char == "[":
        return _skip_class(pattern, position)
    if char == "{":
        return pattern.index("}", position) + 1
    return position + (2 if char == "\\" else 1)


def _literal(element: str) -> str:
    """The character that an element stands for, if it stands for one only."""
    if element[0] == "\\":
        return "" if element[1].isalnum() else element[1]
    return element if len(element) == 1 and element not in _SPECIAL else ""


def _is_edge(pattern: str, position: int, at_end: bool) -> bool:
    """Whether a word ends where an element of a pattern begins."""
    if position >= len(pattern):
        return at_end
    rest = pattern[position:]
    literal = _literal(rest[: _element_end(rest, 0)])
    return rest.startswith(("\\b", "$")) or (
        literal != "" and not literal.isalnum() and rest[1:2] not in _OPTIONAL
    )


def _worth(choice: _Choice) -> tuple[bool, float]:
    """How well texts tell the lines of a pattern from those of a healthy log."""
    is_rare = all(
        any(word not in _COMMON for word in _EDGES.findall(found.text)) for found in choice
    )
    shortest = min(len(found.text) for found in choice)
    return is_rare, shortest - len(choice) / _MANY


_MANY = 6
"""Alternatives that cost as much as one letter less to look for."""


def _branches(pattern: str) -> list[str]:
    """The alternatives of a pattern at its top level."""
    found = []
    begin = position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "|":
            found.append(pattern[begin:position])
            begin = position = position + 1
        elif char == "(":
            position = _skip_group(pattern, position)
        elif char == "[":
            position = _skip_class(pattern, position)
        else:
            position += 2 if char == "\\" else 1
    return [*found, pattern[begin:]]


def _skip_class(pattern: str, position: int) -> int:
    position += 2 if pattern[position + 1] == "^" else 1
    if pattern[position] == "]":
        position += 1
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
    (
        "the and for with from not are this that model models load loading loaded tensor "
        "tensors context request requests slot slots task prompt token tokens buffer size "
        "device cache server file type cuda gpu gpus memory layer layers batch time version "
        "build value name data using input output info status code number have has been too you "
        "your will all can use used only after before init llama ggml backend index http https "
        "path read response error processing update progress level run out make message found "
        "driver instance available detected started supported config discovered vision video "
        "clip render template decode encode vocab tokenizer vulkan on in of to is no at it or "
        "by a an n be as starting running listening default set kv ctx seq max min free total "
        "mib gib gb mb s ms t d x full projector embedding embeddings sampling params schema "
        "such must release truncated"
    ).split()
)
"""Words of healthy logs, which a filter avoids."""

_EDGES = re.compile(r"[a-z]+")


def filter_words(pattern: str) -> tuple[tuple[str, bool], ...]:
    """What a filter looks for to find the lines of a pattern.

    Returns: for each text, one of which every match has, a run of letters, and whether it stands
        in the match as a whole; where none does, the text itself with its digits.
    """
    return tuple(sorted({_filter_word(found) for found in _rarest(pattern)}))


def _filter_word(found: _Text) -> tuple[str, bool]:
    words = [
        run[0]
        for run in _EDGES.finditer(found.text)
        if (run.start() > 0 or found.begins)
        and (run.end() < len(found.text) or found.ends)
        and run[0] not in _COMMON
        and len(run[0]) > 3
    ]
    return (max(words, key=len), True) if words else (found.text, False)


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


class _Row(NamedTuple):
    """A pattern, and what a line must have for it."""

    needed: tuple[tuple[str, ...], ...]
    """Of each of these, one text."""
    pattern: str
    signature: Signature
    heeds_digits: bool
    """Whether it tells one number from another."""

    shaped: tuple[tuple[str, ...], ...]
    """The same as `needed`, every digit as 0."""

    def may_match_shape(self, shape: str) -> bool:
        """Whether lines of a shape have all that is needed, their digits aside."""
        return all(any(text in shape for text in texts) for texts in self.shaped)

    def may_match(self, low: str) -> bool:
        """Whether a line in lower case that may match by its shape has all that is needed."""
        if self.shaped is self.needed:
            return True
        for texts in self.needed:
            for text in texts:
                if text in low:
                    break
            else:
                return False
        return True


class SignatureIndex:
    """Finds the signatures of a line.

    A pattern is tried only where the texts it needs are there, and compiled when that happens for
    the first time.
    """

    def __init__(self, signatures: Iterable[Signature]) -> None:
        self.signatures = tuple(signatures)
        self._compiled: dict[str, re.Pattern[str]] = {}
        self._candidates: dict[str | bytes, tuple[_Row, ...]] = {}

    @cached_property
    def filter_words(self) -> tuple[frozenset[str], frozenset[str]]:
        """Whole words, and texts, one of which every line with a signature has."""
        words: set[str] = set()
        texts: set[str] = set()
        for signature in self.signatures:
            for pattern in signature.patterns:
                for text, is_word in filter_words(pattern):
                    (words if is_word else texts).add(text)
        shortest = {
            text for text in texts if not any(other in text for other in texts if other != text)
        }
        return frozenset(words), frozenset(shortest)

    @cached_property
    def _rows(self) -> tuple[dict[str, list[_Row]], dict[str, list[_Row]]]:
        """Patterns by the words, or else by the texts, that their lines have."""
        by_word: dict[str, list[_Row]] = {}
        by_text: dict[str, list[_Row]] = {}
        for signature in self.signatures:
            for pattern in signature.patterns:
                row = _row(pattern, signature)
                for text, is_word in filter_words(pattern):
                    shape = text.translate(_ONE_DIGIT)
                    (by_word if is_word else by_text).setdefault(shape, []).append(row)
        return by_word, by_text

    def search(
        self, text: str, shape: bytes | None = None
    ) -> list[tuple[Signature, re.Match[str]]]:
        """Signatures that a line shows, with the match of each, in the order of the table.

        Args:
            text: the line.
            shape: the same for lines that differ in their digits only, if it is known.
        """
        key = shape if shape is not None else text.lower().translate(_ONE_DIGIT)
        rows = self._candidates.get(key)
        if rows is None:
            return self._search_first(text, key)
        if not rows:
            return []
        low = text.lower()
        found: dict[str, tuple[Signature, re.Match[str]]] = {}
        for row in rows:
            if row.may_match(low) and (match := self._pattern(row.pattern).search(text)):
                _keep(found, row.signature, match)
        if len(found) < 2:
            return list(found.values())
        return sorted(found.values(), key=lambda row: self._order[row[0].id])

    def _search_first(self, text: str, key: str | bytes) -> list[tuple[Signature, re.Match[str]]]:
        """The same for the first line of a shape, which says what others need not be asked for."""
        if len(self._candidates) >= _MOST_SHAPES:
            self._candidates.clear()
        low = text.lower()
        found: dict[str, tuple[Signature, re.Match[str]]] = {}
        rows = []
        for row in self._rows_of(low.translate(_ONE_DIGIT)):
            match = self._pattern(row.pattern).search(text) if row.may_match(low) else None
            if match is not None or row.heeds_digits:
                rows.append(row)
            if match is not None:
                _keep(found, row.signature, match)
        self._candidates[key] = tuple(rows)
        return sorted(found.values(), key=lambda row: self._order[row[0].id])

    def _rows_of(self, shape: str) -> tuple[_Row, ...]:
        """Patterns that lines of a shape may match, whatever their digits are."""
        by_word, by_text = self._rows
        rows = {
            row.pattern: row
            for word in by_word.keys() & set(_EDGES.findall(shape))
            for row in by_word[word]
        }
        for needed, some in by_text.items():
            if needed in shape:
                rows.update((row.pattern, row) for row in some)
        return tuple(rows[p] for p in sorted(rows) if rows[p].may_match_shape(shape))

    def digits_heeded(self, shape: str) -> tuple[str, ...] | None:
        """Texts of which a line has one if its digits make it show what others of a shape do not.

        Args:
            shape: one of them, in lower case, every digit as 0.

        Returns: them in lower case, none where digits never matter; None where no text tells.
        """
        heeded: set[str] = set()
        for row in self._rows_of(shape):
            if row.heeds_digits:
                telling = [texts for texts in row.needed if all(map(_tells_digits, texts))]
                if not telling:
                    return None
                fewest = min(telling, key=len)
                heeded.update(fewest)
        return tuple(sorted(heeded))

    @cached_property
    def _order(self) -> dict[str, int]:
        return {signature.id: i for i, signature in enumerate(self.signatures)}

    def _pattern(self, pattern: str) -> re.Pattern[str]:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = re.compile(bounded(pattern), re.IGNORECASE)
        return compiled


def _keep(
    found: dict[str, tuple[Signature, re.Match[str]]], signature: Signature, match: re.Match[str]
) -> None:
    """Keep a match, unless one is there that says as much."""
    known = found.get(signature.id)
    if known is None or match.re.groups > known[1].re.groups:
        found[signature.id] = (signature, match)


_DIGIT = re.compile(r"\d")
_ONE_DIGIT = str.maketrans("123456789", "000000000")
_MOST_SHAPES = 4096
"""Lines whose candidates are remembered."""


def _row(pattern: str, signature: Signature) -> _Row:
    texts = {tuple(found.text for found in some) for some in _needs(pattern)}
    needed = tuple(sorted(texts, key=_rarity))
    shaped = tuple(tuple(text.translate(_ONE_DIGIT) for text in some) for some in needed)
    return _Row(
        needed, pattern, signature, _heeds_digits(pattern), needed if shaped == needed else shaped
    )


def _tells_digits(text: str) -> bool:
    """Whether a text has a digit, and stands in a line of JSON as it does elsewhere."""
    return _DIGIT.search(text) is not None and _ESCAPED.search(text) is None


_ESCAPED = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_NO_DIGIT = re.compile(r"\{[\d,]+\}|\\d|\(\?P<\w+>|0-9")


def _heeds_digits(pattern: str) -> bool:
    """Whether a pattern names a digit, apart from how often something is repeated."""
    return _DIGIT.search(_NO_DIGIT.sub("", pattern)) is not None


def _rarity(texts: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Sorts what is seldom there, and quickly looked for, to the beginning."""
    return len(texts) - min(map(len, texts)), texts
