"""What a front is told, and what it keeps to. Standard library only: who starts one needs this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Limits", "Stage"]


class Stage(StrEnum):
    """What requests meet."""

    LOADING = "loading"
    """No engine yet: each is told so, as llama-server tells it while it loads."""
    OPEN = "open"
    """They are passed on."""
    HOLDING = "holding"
    """They wait for the next engine."""
    LEAVING = "leaving"
    """None is taken any more; those being answered are finished."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holding may take.

    Attributes:
        n_held: requests at once.
        held_seconds: that one of them waits.
    """

    n_held: int = 512
    held_seconds: float = 300.0
