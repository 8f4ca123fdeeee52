"""Searches for a goal as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggufctl.core.optimize import Binding, Candidate, Optimization

__all__ = ["candidate_report", "optimization_report"]


def optimization_report(found: Optimization | None) -> dict[str, Any] | None:
    """The `optimization` of a plan; None where nothing was searched for."""
    if found is None:
        return None
    goal, limits = found.goal, found.goal.limits
    return {
        "objective": None if goal.objective is None else goal.objective.value,
        "judged_by": goal.judge.value,
        "limits": {
            "min_tokens_per_s": limits.min_tokens_per_s,
            "max_ttft_seconds": limits.max_ttft_seconds,
            "max_cold_start_seconds": limits.max_cold_start_seconds,
        },
        "reading_floor_tokens_per_s": found.reading_floor,
        "prompt_tokens": goal.prompt_tokens,
        "output_tokens": goal.output_tokens,
        "fixed": list(goal.fixed),
        "n_candidates": found.n_candidates,
        "n_planned": found.n_planned,
        "sentence": found.sentence,
        "pick": None if found.pick is None else candidate_report(found.pick, found),
        "front": [candidate_report(each, found) for each in found.front],
        "binding": [_binding(each, found) for each in found.binding],
    }


def candidate_report(each: Candidate, found: Optimization) -> dict[str, Any]:
    """One candidate; speeds and times are at the end of their range that is judged by."""
    runtime = each.runtime
    return {
        "quant": each.quant,
        "bits_per_weight": round(each.bits_per_weight, 4),
        "gpu": each.gpu.name,
        "count": each.count,
        "cache_type_k": runtime.cache_type_k,
        "cache_type_v": runtime.cache_type_v,
        "n_parallel": runtime.n_parallel,
        "n_ubatch": runtime.n_ubatch,
        "n_cpu_moe": runtime.n_cpu_moe,
        "changes": list(each.changes(found.asked)),
        "usd_per_hour": round(each.usd_per_hour, 6),
        "gpu_usd_per_hour": each.gpu_usd_per_hour,
        "month_usd": None if each.month_usd is None else round(each.month_usd, 2),
        "tokens_per_s": round(each.tokens_per_s, 4),
        "ttft_seconds": round(each.ttft_seconds, 4),
        "request_seconds": round(each.request_seconds, 4),
        "cold_start_seconds": None if each.gpu.is_own else round(each.cold_start_seconds, 3),
        "memory_bytes": each.memory_bytes,
        "is_pick": each is found.pick,
    }


def _binding(each: Binding, found: Optimization) -> dict[str, Any]:
    return {
        "limit": each.limit,
        "asked": each.asked,
        "reached": round(each.reached, 6),
        "gap": round(each.gap, 6),
        "is_alone": each.is_alone,
        "text": each.text,
        "nearest": None if each.nearest is None else candidate_report(each.nearest, found),
    }
