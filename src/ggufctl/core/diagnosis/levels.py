"""How much a line counts, by the level at which its program writes it."""

from __future__ import annotations

import re

from ggufctl.core.diagnosis.outcomes import is_called_error
from ggufctl.core.logtext import LogLine

__all__ = ["is_detail", "is_listed", "is_usual"]

_LISTED = re.compile(rb"^.{0,80}?\b(?:INFO|DEBUG|TRACE|LEVEL\(-\d\))", re.DOTALL)
_DETAIL = re.compile(rb"^.{0,80}?\b(?:DEBUG|TRACE|LEVEL\(-\d\))", re.DOTALL)
_RELAYED = re.compile(
    r"\bsource=\S+\.go|\b(?:stderr|llama_\w+|ggml_\w+|exit(?:ed| status| code)|"
    r"returned error|HTTP Request)\b|ERROR"
)
"""What is written of other programs, their words and their ends."""
_RELAYS = re.compile(rb"^\[[\d: -]{19}\]\[(?:DEBUG|INFO)\]")
"""LM Studio, of all that its engines write."""


def is_listed(line: LogLine) -> bool:
    """Whether a line is written as a matter of course."""
    return line.is_error is None and _LISTED.match(line.raw) is not None


def is_usual(line: LogLine) -> bool:
    """Whether a line is written as a matter of course, and relays nothing of another program."""
    return is_listed(line) and not (
        _RELAYED.search(line.text)
        or _RELAYS.match(line.raw)
        or is_called_error(line.text, is_error=None)
    )


def is_detail(line: LogLine) -> bool:
    """Whether a line is such, and is written only for those who look for faults of the program."""
    return _DETAIL.match(line.raw) is not None and is_usual(line)
