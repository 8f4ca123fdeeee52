"""How deployments are doing, as plain values ready for JSON: what nobody could see is null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ggufctl.core.status import MemoryUse, ProcessUse, ServerStatus, Slot

__all__ = ["status_report"]


def status_report(at: str, found: Sequence[ServerStatus]) -> dict[str, Any]:
    """One look: `status --json`, and each line of `status --watch --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "at": at,
        "deployments": [_deployment(status) for status in found],
    }


def _deployment(status: ServerStatus) -> dict[str, Any]:
    counters, rates = status.counters, status.rates
    return {
        "name": status.name,
        "where": status.where,
        "status": status.status,
        "health": status.health.value,
        "at": status.at,
        "model": status.model,
        "engine": status.engine,
        "engine_build": status.build,
        "url": status.url,
        "started_at": status.started_at,
        "uptime_seconds": _rounded(status.uptime_seconds, 1),
        "n_containers": status.n_containers,
        "processes": [_process(process) for process in status.processes],
        "memory": [_memory(use) for use in status.memory],
        "n_parallel": status.n_slots,
        "n_busy": status.n_busy,
        "n_queued": status.n_queued,
        "n_ctx": status.n_ctx,
        "n_ctx_used": status.n_ctx_used,
        "slots": [_slot(slot) for slot in status.slots],
        "prompt_tokens": None if counters is None else counters.prompt_tokens,
        "predicted_tokens": None if counters is None else counters.predicted_tokens,
        "prompt_tokens_per_second": _rounded(
            None if rates is None else rates.prompt_tokens_per_second, 2
        ),
        "predicted_tokens_per_second": _rounded(
            None if rates is None else rates.predicted_tokens_per_second, 2
        ),
        "window_seconds": _rounded(None if rates is None else rates.window_seconds, 3),
        "n_requests": status.n_requests,
        "n_errors": status.n_errors,
        "last_error": status.last_error or None,
        "usd_per_hour": round(status.usd_per_hour, 4),
        "usd_so_far": _rounded(status.usd_so_far, 4),
        "problems": list(status.problems),
    }


def _process(process: ProcessUse) -> dict[str, Any]:
    return {
        "role": process.role,
        "id": process.id,
        "is_alive": process.is_alive,
        "memory_bytes": process.memory_bytes,
        "cpu_percent": _rounded(process.cpu_percent, 1),
    }


def _memory(use: MemoryUse) -> dict[str, Any]:
    return {
        "device": use.where,
        "description": use.description,
        "planned_bytes": use.planned_bytes,
        "used_bytes": use.used_bytes,
        "busy_bytes": use.busy_bytes,
        "total_bytes": use.total_bytes,
        "utilization_percent": use.utilization_percent,
    }


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "id": slot.id,
        "is_busy": slot.is_busy,
        "n_ctx": slot.n_ctx,
        "n_used": slot.n_used,
        "n_decoded": slot.n_decoded,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
