"""What is kept of a cause while a log is read, and what is told of it at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache

from ggufctl.core.diagnosis.levels import is_usual
from ggufctl.core.diagnosis.outcomes import is_called_error, is_tried_again
from ggufctl.core.diagnosis.speech import is_plain
from ggufctl.core.escape import redact
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.logtext import LogLine
from ggufctl.core.shortage import Shortage
from ggufctl.core.signatures import SIGNATURES, Severity, Signature
from ggufctl.core.signatures.families import is_told_as_error, path_in, speaker_of

__all__ = [
    "MAX_EVIDENCE",
    "MAX_TEXT",
    "Clearness",
    "Diagnosis",
    "Evidence",
    "Hit",
    "LogReport",
    "quoted_in",
    "row_of",
]

MAX_EVIDENCE = 4
"""Lines that are kept of one cause."""

MAX_TEXT = 400
"""Characters that are kept of one line."""

_HEAD = 100
"""Characters of a long line's beginning that are kept beside what matched."""

_BEFORE = 60
"""Characters before what matched that are kept."""

_MOST_VALUE = 200
"""Characters that are kept of what a pattern takes from a line."""

_ANNOUNCES = re.compile(
    r"\b(?:exceptions?|errors?) (?:was |were |has been |have been |has |have )?(?:raised|occurr?ed|"
    r"caught|thrown|happened|encountered)\b(?!.{0,20}:\s*\S.{8})|"
    r"^\W{0,4}(?:un(?:handled|caught|expected) )?(?:exception|error)(?: in ASGI application)?\W*$|"
    r"\b(?:stopping|giving up|exiting|aborting) (?:due to|after|because of)\b.{0,20}\b(?:failures?|"
    r"errors?|attempts?|tries|retries)|"
    r"\bEngineCore failed to start\W*$|\bEngine core initialization failed\b|"
    r"\bsee (?:above|below)\b|^(?:\[\w+\] *)?(?:\(\w+\) *)?- |:\s*$|following "
    r"errors?\b[^:]{0,40}:?\s*$",
    re.IGNORECASE,
)
_CAUSE = re.compile(r"\W{0,4}caused by:|.{0,4}\[cause\]:", re.IGNORECASE)


_BARE_STATUS = re.compile(
    r"(?:^|\s)HTTP/[\d.]{1,4} [45]\d\d(?: [A-Z][A-Za-z -]{1,40})?$|"
    r"^\W{0,2}(?:exit(?:ed)?|return)[ -]?(?:code|status|with)?\W{1,4}127\W{0,2}$"
)
"""A status on its own, which says neither whose it is nor what it was about."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line that shows a cause."""

    line: int
    text: str
    """Without prefixes, safe to print, secrets left out."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause."""

    id: str
    severity: Severity
    cause: str
    fix: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    confidence: float
    """From 0 to 1."""
    n_lines: int = 1
    """How many lines show it; `evidence` holds the first of them."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """Everything a log shows."""

    diagnoses: tuple[Diagnosis, ...]
    """What went wrong, the root first."""
    remarks: tuple[Diagnosis, ...]
    """What was survived or is worth knowing."""
    facts: LogFacts
    n_lines: int
    is_up: bool
    """Whether the model was loaded and served."""


class Clearness(IntEnum):
    """How clearly a line says that something went wrong."""

    NONE = 0
    ANNOUNCED = 1
    """That there was an error, which other lines tell."""
    HINT = 2
    """It does not, but an engine that ended then says nothing else."""
    FAILURE = 3
    """Something could not be done."""
    ERROR = 4
    """It is called an error."""
    CAUSE = 5
    """It is called the cause of one."""

    @classmethod
    def of(cls, line: LogLine, *, is_hint: bool) -> Clearness:
        """That of a line.

        Args:
            line: one that is quoted.
            is_hint: whether it says nothing of a failure.
        """
        if _CAUSE.match(line.text):
            return cls.CAUSE
        if not is_hint and _ANNOUNCES.search(line.text):
            return cls.ANNOUNCED
        if line.is_error or is_told_as_error(line.text):
            return cls.ERROR
        return cls.HINT if is_hint else cls.FAILURE


@dataclass(slots=True)
class Hit:
    """A cause, as one stream shows it."""

    signature: Signature
    stream: str
    first_line: int
    evidence: list[Evidence] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    count: int = 0
    last_line: int = 0
    """The last line that was read and shows it."""
    is_recurring: bool = False
    """Whether later lines that were only counted show it as well."""
    is_survived: bool = False
    is_dropped: bool = False
    """Whether its stream has forgotten it."""
    shortage: Shortage | None = None
    clearness: Clearness = Clearness.NONE
    """How clearly the line that it quotes says that this is what went wrong."""
    is_warning: bool = True
    """Whether its program calls it no more than a warning, wherever it says so."""
    is_called_error: bool = False
    """Whether its program calls it an error."""
    is_passing: bool = True
    """Whether all that shows it is written as a matter of course, tried again, or words alone."""
    is_sentence: bool = True
    """Whether all that shows it could as well have been said by a user or a model."""
    is_late: bool = False
    """Whether the engine was up by then, so that it matters only if that ended."""

    @property
    def id(self) -> str:
        """The name of the cause."""
        return self.signature.id

    @property
    def is_bare_status(self) -> bool:
        """Whether all that shows it are statuses, which do not say what they are about."""
        return all(_BARE_STATUS.search(evidence.text) for evidence in self.evidence)

    def add(self, line: LogLine, match: re.Match[str]) -> None:
        """Count a line that shows it, and keep it if it is one of the first."""
        self.count += 1
        self.last_line = line.number
        self.is_warning &= line.is_error is False
        self.is_passing = self.is_passing and _is_passing(line)
        self.is_sentence = self.is_sentence and _is_sentence(line)
        if not self.is_called_error:
            self.is_called_error = is_called_error(line.text, is_error=line.is_error)
        if len(self.evidence) < MAX_EVIDENCE and all(e.line != line.number for e in self.evidence):
            self.evidence.append(Evidence(line.number, redact(_shown(line.text, match))))
            for key, value in match.groupdict().items():
                if value and not self.values.get(key):
                    self.values[key] = value.strip()[:_MOST_VALUE]

    def quote(self, line: LogLine, why: str, *, is_hint: bool) -> None:
        """Take the words of a line, if it tells them more clearly than the one before."""
        clearness = Clearness.of(line, is_hint=is_hint)
        if not why and clearness is not Clearness.CAUSE:
            return
        is_last = clearness in (Clearness.CAUSE, Clearness.HINT)
        if clearness > self.clearness or (clearness is self.clearness and is_last):
            self.clearness = clearness
            self.first_line = line.number
            self.values["why"] = why.strip()[:_MOST_VALUE].rstrip(" .,:;!")
            self.values["path"] = self.values.get("path") or path_in(why)
            self.values["program"] = speaker_of(line.text)
            self.evidence.sort(key=lambda evidence: evidence.line != line.number)


_LEAST_SPACES = 4
"""Of a sentence; what programs say in words alone is mostly shorter."""


def _is_passing(line: LogLine) -> bool:
    """Whether what a line tells is nothing if its program goes on for long."""
    if is_usual(line) or is_tried_again(line.text):
        return True
    return is_plain(line.text) and not is_called_error(line.text, is_error=line.is_error)


def _is_sentence(line: LogLine) -> bool:
    """Whether a line could be said; systemd speaks so as well, of the kernel."""
    return (
        line.is_error is None
        and is_plain(line.text)
        and line.text.lstrip("\"'“‘`*( ")[:1].isupper()
        and line.text.count(" ") >= _LEAST_SPACES
        and "OOM killer" not in line.text
        and not is_called_error(line.text, is_error=line.is_error)
    )


def _shown(text: str, match: re.Match[str]) -> str:
    """What is kept of a line: its beginning, and in a long one what matched."""
    if len(text) <= MAX_TEXT or match.string != text or match.end() <= MAX_TEXT:
        return text[:MAX_TEXT]
    begin = max(_HEAD, match.start() - _BEFORE)
    return f"{text[:_HEAD]} … {text[begin : begin + MAX_TEXT - _HEAD]}"


def quoted_in(match: re.Match[str]) -> str:
    """What a line says in its own words; empty where a pattern takes none."""
    groups = match.groupdict()
    return groups.get("why") or groups.get("hint") or ""


def row_of(id: str) -> Signature:
    """The row of the table with a name."""
    return _by_id()[id]


@cache
def _by_id() -> dict[str, Signature]:
    return {signature.id: signature for signature in SIGNATURES}
