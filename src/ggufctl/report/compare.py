"""Comparisons and rows of a batch as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.escape import escape, redact
from ggufctl.errors import AmbiguousReference
from ggufctl.report import SCHEMA_VERSION
from ggufctl.report.plan import plan_report, range_report

if TYPE_CHECKING:
    from ggufctl.core.plan import Plan
    from ggufctl.core.planner import GpuPlan
    from ggufctl.errors import GgufctlError
    from ggufctl.services.batch import BatchResult
    from ggufctl.services.compare import Compared

__all__ = ["batch_report", "compare_report"]


def compare_report(models: Sequence[Compared]) -> dict[str, Any]:
    """A comparison as the document that `ggufctl schema compare` describes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "models": [
            {
                "ref": redact(model.ref),
                "exit_code": model.exit_code,
                "error": None if model.error is None else _error(model.error),
                **_pick(model.plan),
                "plan": None if model.plan is None else plan_report(model.plan),
            }
            for model in models
        ],
    }


def batch_report(result: BatchResult, *, whole: bool = False) -> dict[str, Any]:
    """One row of a batch as the document that `ggufctl schema batch` describes.

    Args:
        result: what became of the row.
        whole: with the complete plan, which is some fifty times as long.
    """
    row, plan = result.row, result.plan
    return {
        "schema_version": SCHEMA_VERSION,
        "line": row.line,
        "id": row.id,
        "model": redact(row.model),
        "fingerprint": row.fingerprint,
        "exit_code": result.exit_code,
        "error": None if result.error is None else _error(result.error),
        "summary": None if plan is None else _summary(plan),
        "plan": plan_report(plan) if plan is not None and whole else None,
    }


def _error(error: GgufctlError) -> dict[str, Any]:
    choices = error.choices if isinstance(error, AmbiguousReference) else ()
    return {
        "code": error.code,
        "message": redact(error.message),
        "hint": redact(error.hint),
        "choices": [redact(choice) for choice in choices],
    }


def _summary(plan: Plan) -> dict[str, Any]:
    model, choice = plan.model, plan.choice
    return {
        "ref": escape(model.ref),
        "architecture": model.architecture,
        "quant": model.quant,
        "size_bytes": model.size_bytes,
        "n_params": model.n_params,
        "n_active_params": model.n_active_params,
        "n_ctx": plan.runtime.n_ctx,
        "gpu": None if choice is None else choice.row.gpu.name,
        "count": None if choice is None else choice.row.count,
        "usd_per_hour": None if choice is None else choice.row.usd_per_hour,
        "max_n_ctx": None if choice is None else choice.row.max_n_ctx,
        **_pick(plan),
        "engine_args": [] if choice is None else list(choice.engine_args),
        "gpus": [_row(row) for row in plan.gpus],
        "would_fit": [step.text for step in plan.ladder],
        "warnings": list(plan.warnings),
    }


def _pick(plan: Plan | None) -> dict[str, Any]:
    """Output of one stream on the pick, and what a million tokens of it cost."""
    choice = plan.choice if plan is not None else None
    found = plan.economics_of(choice.row) if plan is not None and choice is not None else None
    if found is None:
        return {"tokens_per_s": None, "usd_per_million_tokens": None}
    return {
        "tokens_per_s": range_report(found.speed.decode_tokens_per_s),
        "usd_per_million_tokens": None
        if found.cost is None
        else range_report(found.cost.usd_per_million_tokens),
    }


def _row(row: GpuPlan) -> dict[str, Any]:
    return {
        "gpu": row.gpu.name,
        "count": row.count,
        "fits": row.fits,
        "used_bytes": row.used_bytes,
        "usable_bytes": row.usable_bytes_per_gpu,
        "short_by_bytes": row.short_by_bytes,
        "max_n_ctx": row.max_n_ctx,
        "usd_per_hour": row.usd_per_hour,
    }
