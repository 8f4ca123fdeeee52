"""Memory term by term, as plain values: planned, and planned against actual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ggufctl.core.engine_log import Comparison
    from ggufctl.core.estimate import Estimate

__all__ = ["measured_terms", "planned_terms"]


def planned_terms(estimate: Estimate) -> list[dict[str, Any]]:
    """What is planned on every device and on the host, with its range."""
    rows = [(device.name, term) for device in estimate.devices for term in device.terms]
    rows += [("host", term) for term in estimate.host.terms]
    return [
        {
            "device": where,
            "term": term.name,
            "planned_bytes": term.n_bytes,
            "low_bytes": term.low_bytes,
            "high_bytes": term.high_bytes,
            "basis": term.basis.value,
        }
        for where, term in rows
        if term.n_bytes
    ]


def measured_terms(rows: Iterable[Comparison]) -> list[dict[str, Any]]:
    """What the engine's log has beside what was planned."""
    return [
        {
            "device": row.device,
            "term": row.term,
            "planned_bytes": row.planned_bytes,
            "actual_bytes": row.actual_bytes,
            "difference_bytes": row.difference_bytes,
            "is_as_planned": row.is_as_planned,
            "note": row.note,
        }
        for row in rows
    ]
