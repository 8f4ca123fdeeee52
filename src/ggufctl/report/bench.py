"""What `ggufctl bench --json` says, as plain values ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ggufctl.core.bench import Change, LevelResult
    from ggufctl.core.ranges import Range
    from ggufctl.services.bench import BenchResult, Prediction

__all__ = ["bench_report", "with_comparison"]


def bench_report(result: BenchResult) -> dict[str, Any]:
    """A whole benchmark; never a key."""
    target, settings = result.target, result.settings
    spec = target.spec
    return {
        "schema_version": SCHEMA_VERSION,
        "name": target.name,
        "where": target.place.value,
        "model": result.about.model,
        "engine_build": result.about.build,
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "is_llama_server": result.about.is_llama_server,
        "gpus": list(spec.gpus) if spec is not None else [],
        "n_slots": result.about.n_slots or target.slots,
        "n_ctx_slot": result.about.n_ctx_slot,
        "settings": {
            "seed": settings.seed,
            "n_prompt": settings.n_prompt,
            "n_predict": settings.n_predict,
            "prompts": result.prompts,
            "concurrency": list(settings.concurrency),
            "max_requests": settings.max_requests,
            "max_seconds": settings.max_seconds,
            "max_usd": settings.max_usd,
        },
        "cold_start_seconds": _rounded(result.cold_start_seconds),
        "levels": [_level(level) for level in result.levels],
        "prediction": None if result.prediction is None else _prediction(result.prediction),
        "n_requests": result.n_requests,
        "seconds": round(result.seconds, 3),
        "usd_per_hour": target.usd_per_hour,
        "usd": None if result.usd is None else round(result.usd, 5),
        "stopped_by": result.stopped_by,
        "comparison": None,
    }


def with_comparison(
    report: dict[str, Any], changes: Sequence[Change], differing: Sequence[str]
) -> dict[str, Any]:
    """The report with what has changed since another one."""
    rows = [
        {
            "n_streams": change.n_streams,
            "metric": change.metric,
            "before": change.before,
            "after": change.after,
            "ratio": round(change.ratio, 4) if change.before else None,
            "is_better": change.is_better,
        }
        for change in changes
    ]
    return {**report, "comparison": {"differing": list(differing), "changes": rows}}


def _level(level: LevelResult) -> dict[str, Any]:
    first, latency = level.first_token, level.latency
    return {
        "n_streams": level.n_streams,
        "n_ok": level.n_ok,
        "n_errors": level.n_errors,
        "seconds": round(level.seconds, 3),
        "n_prompt": level.n_prompt,
        "n_tokens": level.n_tokens,
        "n_cached": level.n_cached,
        "prompt_tokens_per_second": round(level.prompt_tokens_per_second, 2),
        "tokens_per_second": round(level.tokens_per_second, 2),
        "total_tokens_per_second": round(level.total_tokens_per_second, 2),
        "total_prompt_tokens_per_second": round(level.total_prompt_tokens_per_second, 2),
        "first_token_p50_seconds": _rounded(first.p50 if first else None),
        "first_token_p90_seconds": _rounded(first.p90 if first else None),
        "first_token_p99_seconds": _rounded(first.p99 if first else None),
        "latency_p50_seconds": _rounded(latency.p50 if latency else None),
        "latency_p90_seconds": _rounded(latency.p90 if latency else None),
        "latency_p99_seconds": _rounded(latency.p99 if latency else None),
        "errors": [{"text": text, "n": n} for text, n in level.errors],
    }


def _prediction(found: Prediction) -> dict[str, Any]:
    start = found.cold_start_seconds
    return {
        "gpu": found.gpu,
        "count": found.count,
        "n_slots": found.n_slots,
        "tokens_per_second": _range(found.tokens_per_second),
        "total_tokens_per_second": _range(found.total_tokens_per_second),
        "prompt_tokens_per_second": _range(found.prompt_tokens_per_second),
        "first_token_seconds": _range(found.first_token_seconds),
        "cold_start_seconds": None if start is None else _range(start),
    }


def _range(found: Range) -> dict[str, float]:
    return {
        "low": round(found.low, 3),
        "best": round(found.best, 3),
        "high": round(found.high, 3),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
