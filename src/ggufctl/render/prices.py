"""Prices that were read anew: what changed, and what nobody named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ggufctl.core.escape import escape

if TYPE_CHECKING:
    from ggufctl.services.prices import Refreshed

__all__ = ["refresh_lines"]


def refresh_lines(found: Refreshed) -> list[str]:
    """What a refresh found, for people."""
    n = len(found.rates.gpus)
    lines = [f"prices of {found.rates.as_of}, your workspace: {n} GPUs, cores and memory"]
    lines += [
        f"{change.name}: ${change.before:.4f} to ${change.after:.4f} per hour"
        for change in found.changes
    ]
    if not found.changes:
        lines.append("no price has changed by more than half a percent")
    lines += [
        f"warning: Modal names no price of {name}: that of this release is kept"
        for name in found.rates.missing
    ]
    return [escape(line) for line in lines]
