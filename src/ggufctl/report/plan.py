"""Plans and the catalogue as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.escape import redact_url
from ggufctl.report import SCHEMA_VERSION
from ggufctl.report.optimize import optimization_report

if TYPE_CHECKING:
    from ggufctl.core.cold_start import ColdStart
    from ggufctl.core.economics import Economics
    from ggufctl.core.estimate import Estimate, Term
    from ggufctl.core.gpus import GpuCatalogue
    from ggufctl.core.ladder import Step
    from ggufctl.core.model import Model
    from ggufctl.core.money import Cost
    from ggufctl.core.names import Detected
    from ggufctl.core.plan import Choice, NameRule, Plan, QuantPlan
    from ggufctl.core.planner import GpuPlan
    from ggufctl.core.ranges import Range
    from ggufctl.core.runtime import Runtime
    from ggufctl.core.speed import Speed
    from ggufctl.services.plan import NamePlan

__all__ = [
    "cold_start_report",
    "cost_report",
    "economics_report",
    "gpus_report",
    "name_report",
    "plan_report",
    "range_report",
    "speed_report",
]


def plan_report(plan: Plan) -> dict[str, Any]:
    """A plan as the document that `ggufctl schema plan` describes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "model": _model(plan.model),
        "detected": _detected(plan.detected, plan.rule),
        "runtime": _runtime(plan.runtime),
        "gpus": [_row(row, plan.economics_of(row)) for row in plan.gpus],
        "choice": None
        if plan.choice is None
        else _choice(plan.choice, plan.economics_of(plan.choice.row)),
        "ladder": [_step(step) for step in plan.ladder],
        "cheaper": [_step(step) for step in plan.cheaper],
        "quants": [_quant(quant) for quant in plan.quants],
        "warnings": list(plan.warnings),
        "optimization": optimization_report(plan.optimization),
    }


def name_report(plan: NamePlan) -> dict[str, Any]:
    """What a name says as the document that `ggufctl schema name` describes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "ref": plan.ref,
        "basis": "name",
        "detected": _detected(plan.detected, plan.rule),
    }


def gpus_report(catalogue: GpuCatalogue) -> dict[str, Any]:
    """The catalogue as the document that `ggufctl schema gpus` describes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "as_of": catalogue.as_of,
        "gpus": [
            {
                "name": gpu.name,
                "modal_names": list(gpu.modal_names),
                "device_name": gpu.device_name,
                "nominal_gb": gpu.nominal_gb,
                "cuda_bytes": gpu.cuda_bytes,
                "bandwidth_gb_s": gpu.bandwidth_gb_s,
                "fp16_tflops": gpu.fp16_tflops,
                "compute_capability": gpu.compute_capability,
                "has_bf16": gpu.has_bf16,
                "max_count": gpu.max_count,
                "usd_per_hour": gpu.usd_per_hour,
                "price_as_of": gpu.price_as_of,
                "price_source": gpu.price_source,
                "overhead": {
                    "low_bytes": gpu.overhead.term(0).low_bytes,
                    "best_bytes": gpu.overhead.term(0).n_bytes,
                    "high_bytes": gpu.overhead.term(0).high_bytes,
                    "source": gpu.overhead.source,
                    "is_calibrated": gpu.overhead.is_calibrated,
                },
                "note": gpu.note,
                "is_own": gpu.is_own,
            }
            for gpu in catalogue
        ],
    }


def _model(model: Model) -> dict[str, Any]:
    return {
        "ref": model.ref,
        "source": model.source,
        "repo": model.repo or None,
        "commit": model.commit or None,
        "files": [
            {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in model.files
        ],
        "size_bytes": model.size_bytes,
        "architecture": model.architecture,
        "n_params": model.n_params,
        "n_active_params": model.n_active_params,
        "quant": model.quant,
        "is_moe": model.is_moe,
        "n_ctx_train": model.n_ctx_train,
    }


def _detected(detected: Detected, rule: NameRule | None) -> dict[str, Any]:
    return {
        "name": detected.name,
        "n_params": detected.n_params,
        "n_active_params": detected.n_active_params,
        "n_experts": detected.n_experts,
        "is_moe": detected.is_moe,
        "quant": detected.quant,
        "shard": None
        if detected.shard is None
        else {"index": detected.shard.index, "count": detected.shard.count},
        "is_gguf": detected.is_gguf,
        "kind": detected.kind.value,
        "format": detected.format,
        "rule": None
        if rule is None
        else {
            "gpu": rule.gpu,
            "memory_utilization": rule.memory_utilization,
            "engine_flags": rule.engine_flags,
        },
    }


def _runtime(runtime: Runtime) -> dict[str, Any]:
    values = {field.name: getattr(runtime, field.name) for field in fields(runtime)}
    # A URL may carry a signature or a password.
    places = {name: _place(values[name]) for name in ("mmproj", "draft_model")}
    adapters = [_place(each) for each in runtime.lora]
    overrides = list(runtime.override_tensor)
    shares = list(runtime.tensor_split)
    lists = {"lora": adapters, "override_tensor": overrides, "tensor_split": shares}
    return {**values, **places, **lists}


def _place(ref: str | None) -> str | None:
    return redact_url(ref) if ref is not None and "://" in ref else ref


def _row(row: GpuPlan, found: Economics | None) -> dict[str, Any]:
    return {
        "gpu": row.gpu.name,
        "count": row.count,
        "fits": row.fits,
        "is_allowed": row.is_allowed,
        "used_bytes": row.used_bytes,
        "usable_bytes": row.usable_bytes,
        "usable_bytes_per_gpu": row.usable_bytes_per_gpu,
        "utilization": round(row.utilization, 6),
        "short_by_bytes": row.short_by_bytes,
        "headroom_bytes": row.headroom_bytes,
        "max_n_ctx": row.max_n_ctx,
        "usd_per_hour": row.usd_per_hour,
        "memory": None if row.estimate is None else _memory(row.estimate),
        "reason": row.reason,
        **economics_report(found),
    }


def _memory(estimate: Estimate) -> dict[str, Any]:
    host = estimate.host
    return {
        "devices": [
            {
                "name": device.name,
                "gpu": device.gpu,
                "weights_bytes": device.weights_bytes,
                "kv_cache_bytes": device.kv_cache_bytes,
                "recurrent_bytes": device.recurrent_bytes,
                "compute_bytes": device.compute_bytes,
                "overhead_bytes": device.overhead_bytes,
                "extras_bytes": sum(term.n_bytes for term in device.extras),
                "total_bytes": device.total_bytes,
                "terms": _terms(device.terms),
            }
            for device in estimate.devices
        ],
        "host": {
            "weights_bytes": host.weights_bytes,
            "kv_cache_bytes": host.kv_cache_bytes,
            "recurrent_bytes": host.recurrent_bytes,
            "compute_bytes": host.compute_bytes,
            "output_bytes": host.output_bytes,
            "extras_bytes": sum(term.n_bytes for term in host.extras),
            "total_bytes": host.total_bytes,
            "terms": _terms(host.terms),
        },
        "n_ctx": estimate.n_ctx,
        "n_ctx_seq": estimate.n_ctx_seq,
        "flash_attn": estimate.flash_attn,
        "has_graph": estimate.has_graph,
    }


def _terms(terms: Iterable[Term]) -> list[dict[str, Any]]:
    return [
        {
            "name": term.name,
            "basis": term.basis.value,
            "low_bytes": term.low_bytes,
            "best_bytes": term.n_bytes,
            "high_bytes": term.high_bytes,
            "note": term.note,
        }
        for term in terms
    ]


def _choice(choice: Choice, found: Economics | None) -> dict[str, Any]:
    return {
        "gpu": choice.row.gpu.name,
        "count": choice.row.count,
        "modal_gpu": list(choice.modal_gpu),
        "memory_utilization": choice.memory_utilization,
        "usd_per_hour": choice.row.usd_per_hour,
        "max_n_ctx": choice.row.max_n_ctx,
        "engine_args": list(choice.engine_args),
        "reason": choice.reason,
        **economics_report(found),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind.value,
        "changes": list(step.changes),
        "text": step.text,
        "gpu": step.gpu,
        "count": step.count,
        "usd_per_hour": step.usd_per_hour,
        "in_use_usd_per_hour": step.in_use_usd_per_hour,
        "decode_tokens_per_s": None
        if step.tokens_per_s is None
        else range_report(step.tokens_per_s),
        "n_ctx": step.n_ctx,
        "max_n_ctx": step.max_n_ctx,
        "used_bytes": step.used_bytes,
        "usable_bytes": step.usable_bytes,
        "host_bytes": step.host_bytes,
        "quant": step.quant,
    }


def _quant(plan: QuantPlan) -> dict[str, Any]:
    choice = plan.choice
    return {
        "quant": plan.quant,
        "ref": plan.ref,
        "size_bytes": plan.size_bytes,
        "n_files": plan.n_files,
        "is_exact": plan.is_exact,
        "choice": None
        if choice is None
        else {
            "gpu": choice.gpu.name,
            "count": choice.count,
            "usd_per_hour": choice.usd_per_hour,
            "max_n_ctx": choice.max_n_ctx,
        },
        "gpus": [
            {
                "gpu": row.gpu.name,
                "count": row.count,
                "fits": row.fits,
                "used_bytes": row.used_bytes,
                "usable_bytes": row.usable_bytes,
                "short_by_bytes": row.short_by_bytes,
                "max_n_ctx": row.max_n_ctx,
                "usd_per_hour": row.usd_per_hour,
                "reason": row.reason,
            }
            for row in plan.rows
        ],
    }


# Speed, start and cost: estimates, each as low, best and high.


def range_report(found: Range, digits: int = 3) -> dict[str, float]:
    """A range as plain values, rounded."""
    return {
        "low": round(found.low, digits),
        "best": round(found.best, digits),
        "high": round(found.high, digits),
    }


def speed_report(speed: Speed) -> dict[str, Any]:
    """A speed as the document describes it."""
    return {
        "decode_tokens_per_s": range_report(speed.decode_tokens_per_s),
        "aggregate_tokens_per_s": range_report(speed.aggregate_tokens_per_s),
        "prefill_tokens_per_s": range_report(speed.prefill_tokens_per_s),
        "ttft_prompt_tokens": speed.prompt_tokens,
        "ttft_seconds": range_report(speed.ttft_seconds(speed.prompt_tokens)),
        "n_slots": speed.n_slots,
        "depth_tokens": speed.depth_tokens,
        "active_bytes": speed.active_bytes,
        "basis": list(speed.basis),
    }


def cold_start_report(start: ColdStart) -> dict[str, Any]:
    """A start as the document describes it."""
    return {
        "seconds": range_report(start.seconds),
        "phases": [{"name": name, **range_report(seconds)} for name, seconds in start.phases],
        "limit_seconds": round(start.limit_seconds, 1),
        "basis": list(start.basis),
    }


def cost_report(cost: Cost) -> dict[str, Any]:
    """A cost as the document describes it."""
    month = cost.month
    return {
        "usd_per_hour": range_report(cost.usd_per_hour, 4),
        "gpu_usd_per_hour": cost.gpu_usd_per_hour,
        "idle_window_usd": range_report(cost.idle_window_usd, 5),
        "cold_start_usd": range_report(cost.cold_start_usd, 5),
        "usd_per_million_tokens": range_report(cost.usd_per_million_tokens, 4),
        "usd_per_million_tokens_all_slots": range_report(cost.usd_per_million_tokens_all_slots, 4),
        "storage_usd_per_month": range_report(cost.storage_usd_per_month),
        "month": None
        if month is None
        else {
            "requests_per_day": month.load.requests_per_day,
            "prompt_tokens": month.load.prompt_tokens,
            "output_tokens": month.load.output_tokens,
            "usd": range_report(month.usd, 2),
            "up_hours": range_report(month.up_hours, 2),
            "cold_starts": range_report(month.cold_starts, 1),
            "containers": range_report(month.containers, 4),
            "storage_usd": range_report(month.storage_usd),
            "usd_per_million_tokens": range_report(month.usd_per_million_tokens, 4),
        },
        "prices_as_of": cost.prices_as_of,
        "prices_source": cost.prices_source,
    }


def economics_report(found: Economics | None) -> dict[str, Any]:
    """Speed, start and cost under their names; null where there are none."""
    if found is None:
        return {"speed": None, "cold_start": None, "cost": None}
    return {
        "speed": speed_report(found.speed),
        "cold_start": None if found.cold_start is None else cold_start_report(found.cold_start),
        "cost": None if found.cost is None else cost_report(found.cost),
    }
