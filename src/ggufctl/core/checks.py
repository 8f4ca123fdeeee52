"""A check and its outcome, as the doctor and the lint of models tell them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Status"]


class Status(StrEnum):
    """How a check went."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    id: str
    """Stable name."""
    status: Status
    text: str
    """What was found, in one sentence, safe to print."""
    fix: str = ""
    """What to do about it; empty when all is well."""
    details: tuple[str, ...] = ()
    """Further lines, such as excerpts, safe to print."""
