"""What serving on Modal says, as plain values ready for JSON: integers for bytes, never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.deployment import host_usd_per_hour, idle_usd
from ggufctl.report import SCHEMA_VERSION
from ggufctl.report.plan import economics_report
from ggufctl.report.terms import measured_terms, planned_terms

if TYPE_CHECKING:
    from ggufctl.modal_app import ModalDeployment
    from ggufctl.services.modal import ModalPlan, ModalServer

__all__ = ["modal_plan_report", "modal_row_report", "modal_server_report"]


def modal_plan_report(plan: ModalPlan) -> dict[str, Any]:
    """What a deployment would be: `serve --on modal --dry-run --json`."""
    spec, estimate = plan.spec, plan.row.estimate
    return {
        "schema_version": SCHEMA_VERSION,
        "where": "modal",
        "dry_run": True,
        "name": spec.name,
        "app": spec.app,
        "model": spec.model,
        "alias": spec.alias,
        "quant": spec.quant or None,
        "repo": spec.repo or None,
        "commit": spec.commit or None,
        "files": [{"path": f.path, "size_bytes": f.size_bytes} for f in spec.files],
        "engine": {"name": spec.engine, "build": LLAMA_CPP_BUILD},
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "memory": [] if estimate is None else planned_terms(estimate),
        "image": spec.image,
        "gpus": list(spec.gpus),
        "cpu": spec.cpu,
        "memory_mib": spec.memory_mib,
        "volume": spec.volume,
        "secret": spec.secret or None,
        "auth": spec.auth,
        "hold_requests": spec.hold_requests,
        "argv": list(spec.argv),
        "n_ctx": spec.n_ctx,
        "n_ctx_slot": _per_slot(plan),
        "n_parallel": spec.slots,
        "max_containers": spec.max_containers,
        "scaledown_seconds": spec.scaledown_window,
        "startup_timeout_seconds": spec.startup_timeout,
        "planned_bytes": spec.planned_bytes,
        **_prices(plan),
        **economics_report(plan.economics),
        "warnings": list(plan.warnings),
    }


def modal_server_report(server: ModalServer) -> dict[str, Any]:
    """A server that answers: `serve --on modal --json`."""
    spec, found = server.spec, server.found
    return {
        "schema_version": SCHEMA_VERSION,
        "name": spec.name,
        "where": "modal",
        "status": "running",
        "app": spec.app,
        "model": spec.model,
        "alias": spec.alias,
        "engine": spec.engine,
        "engine_build": str(found.get("build", "")),
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "url": server.base_url,
        "auth": spec.auth,
        "key_file": str(server.key.path.absolute()) if server.key else None,
        "gpus": list(spec.gpus),
        "gpu_found": dict(server.gpu) or None,
        "n_ctx": spec.n_ctx,
        "n_ctx_slot": _per_slot(server.plan),
        "n_parallel": spec.slots,
        "offloaded_layers": list(found.get("offloaded", ())) or None,
        "phases": [
            {"phase": phase, "seconds": round(seconds, 3)}
            for phase, seconds in server.durations.items()
        ],
        "memory": measured_terms(server.comparison),
        "is_as_planned": all(row.is_as_planned for row in server.comparison),
        "attempts": server.attempts,
        "tried": list(server.steps),
        **_prices(server.plan),
        "warnings": list(server.plan.warnings),
    }


def modal_row_report(found: ModalDeployment, key_file: str = "") -> dict[str, Any]:
    """One deployment: a row of `ps --json`."""
    started = found.deployed_at
    return {
        "name": found.name,
        "where": "modal",
        "status": found.status,
        "model": found.tags.get("model", ""),
        "alias": found.tags.get("model", ""),
        "engine": found.tags.get("engine", ""),
        "engine_build": "",
        "url": f"{found.url}/v1" if found.url else "",
        "auth": found.tags.get("auth", ""),
        "key_file": key_file or None,
        "gpu": found.tags.get("gpu", ""),
        "n_containers": found.n_containers,
        "started_at": started.isoformat(timespec="seconds").replace("+00:00", "Z")
        if started
        else "",
        "usd_per_hour": usd_of(found),
    }


def usd_of(found: ModalDeployment) -> float:
    """Price of what runs now, of its GPUs alone.  [US dollars per hour]"""
    try:
        return float(found.tags.get("usd-per-hour", "0")) * found.n_containers
    except ValueError:
        return 0.0


def _per_slot(plan: ModalPlan) -> int:
    estimate = plan.row.estimate
    return plan.spec.n_ctx if estimate is None else estimate.n_ctx_seq


def _prices(plan: ModalPlan) -> dict[str, float]:
    return {
        "usd_per_hour": round(plan.usd_per_hour, 4),
        "gpu_usd_per_hour": round(plan.spec.usd_per_hour, 4),
        "host_usd_per_hour": round(host_usd_per_hour(plan.spec, plan.prices), 4),
        "idle_usd_per_hour": 0.0,
        "scaledown_usd": round(idle_usd(plan.spec, plan.prices), 4),
    }
