"""What a few lines complain of in words that are told as no error and stand in no row."""

from __future__ import annotations

import re

from ggufctl.core.logtext import LogLine

__all__ = ["FILTER_WORDS", "MOST_LINES", "complaint_in", "goes_well"]

MOST_LINES = 8
"""Lines of a log that was pasted for what it complains of; a program's whole run has more."""

_COMPLAINT = re.compile(
    r"(?P<why>(?!➜ |PS [A-Z]:\\|\S{1,60}[$#] ).{0,400}(?:(?<![\w-])(?:cannot|"
    r"can['’]?t|could ?n[o'’]t|unable to (?!determine)\w+|"
    r"fail(?:ed|ure|s)|not found|"
    r"no such|no module|(?:does|do|did)(?: not|n['’]t) \w+|(?:is|was|are|were|been|has|have) not "
    r"\w+|not (?:supported|implemented|enough|sufficient|reachable|responding|matching)|no \w+ "
    r"(?:\w+ )?found|missing|denied|refuse[sd]|rejected|forbidden|unauthori[sz]ed|restricted|"
    r"invalid|illegal|malformed|(?:unknown|unrecogni[sz]ed|unsupported) (?!type|file)\w+|undefined|"
    r"unhealthy|unreachable|killed|terminated|timed ?out|expired|exceed\w*|insufficient|too (?:"
    r"large|long|many|small|few|old|short|big)|out of (?:memory|range|space|bounds)|crash\w*|"
    r"abort\w*|error|exception|violation|incompatible|mismatch\w*|corrupt\w*|broken|already in "
    r"use|must (?:be|have|not)|expected)(?![\w-])|(?:\bBackOff|\bFailed[A-Z]\w+)\b).{0,400})",
    re.IGNORECASE,
)
_ADVISES = re.compile(
    r"\b(?:deprecat\w+|hint|tip|note|optional|(?:may|might) (?:be|cause|help)|to (?:avoid|prevent|"
    r"reduce)|in case of|set \w+=\S+ (?:if|when|to)|level=(?:info|debug|trace)|INFO|DEBUG)\b|"
    r"^-- (?:Could NOT|Looking|Performing|Check)",
    re.IGNORECASE,
)
_GOES_WELL = re.compile(
    r"\b(?:(?:0|no|without) errors?|success\w*|succeeded|already satisfied|done|built target|"
    r"completed?)\b",
    re.IGNORECASE,
)
FILTER_WORDS = frozenset(
    (
        "cannot can couldn unable failed failure fails not no didn doesn don missing denied "
        "refused refuses rejected forbidden unauthorized unauthorised restricted invalid illegal "
        "malformed "
        "unknown unrecognized unsupported undefined unhealthy unreachable killed terminated timed "
        "timeout expired insufficient exceed exceeds exceeded too out crash crashed abort aborted "
        "exception violation incompatible mismatch corrupt corrupted broken already must "
        "expected backoff hint help "
        "success successful successfully succeeded done built complete completed"
    ).split()
)
"""Runs of letters of which most of such lines have one, or those that take them back."""


def complaint_in(line: LogLine) -> re.Match[str] | None:
    """What a line complains of, as the group `why`; None if it does not, or only warns."""
    if line.is_error is False or _ADVISES.search(line.text) or _GOES_WELL.search(line.text):
        return None
    return _COMPLAINT.fullmatch(line.text)


def goes_well(text: str) -> bool:
    """Whether a line says that what was begun before it has been done."""
    return _GOES_WELL.search(text) is not None
