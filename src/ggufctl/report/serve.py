"""What serving says, as plain values ready for JSON: integers for bytes, never a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.report import SCHEMA_VERSION
from ggufctl.report.terms import measured_terms, planned_terms

if TYPE_CHECKING:
    from ggufctl.services.demo import DemoResult
    from ggufctl.services.deployments import Deployment
    from ggufctl.services.serve import LocalPlan, LocalServer

__all__ = ["demo_report", "deployment_report", "local_plan_report", "local_server_report"]


def local_plan_report(plan: LocalPlan) -> dict[str, Any]:
    """What serving here would do: `serve --on local --dry-run --json`."""
    estimate = plan.estimate
    return {
        "schema_version": SCHEMA_VERSION,
        "where": "local",
        "dry_run": True,
        "name": plan.name,
        "model": plan.model.ref,
        "alias": plan.alias,
        "engine": _engine(plan),
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "devices": [
            {
                "name": device.name,
                "description": device.description,
                "total_bytes": device.total_bytes,
                "free_bytes": device.free_bytes,
            }
            for device in plan.devices
        ],
        "memory": planned_terms(plan.estimate),
        "n_ctx": estimate.n_ctx,
        "n_ctx_slot": estimate.n_ctx_seq,
        "n_parallel": plan.n_slots,
        "argv": list(plan.command.argv),
        "key_variable": plan.command.key_variable if plan.request.auth == "key" else None,
        "auth": plan.request.auth,
        "download_bytes": plan.download_bytes,
        "startup_timeout_seconds": round(plan.deadline_seconds, 1),
        "usd_per_hour": plan.usd_per_hour,
        "warnings": list(plan.warnings),
    }


def local_server_report(server: LocalServer) -> dict[str, Any]:
    """A server that answers: `serve --on local --json`."""
    plan, log = server.plan, server.log
    durations = server.supervisor.durations if server.supervisor is not None else {}
    return {
        "schema_version": SCHEMA_VERSION,
        **deployment_report(server.deployment),
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "n_ctx": plan.estimate.n_ctx,
        "n_ctx_slot": plan.estimate.n_ctx_seq,
        "n_parallel": plan.n_slots,
        "devices": list(log.devices),
        "offloaded_layers": list(log.offloaded) if log.offloaded else None,
        "phases": [
            {"phase": phase, "seconds": round(seconds, 3)} for phase, seconds in durations.items()
        ],
        "memory": measured_terms(server.comparison),
        "is_as_planned": all(row.is_as_planned for row in server.comparison),
        "attempts": server.attempts,
        "tried": list(server.steps),
        "warnings": list(plan.warnings),
    }


def deployment_report(deployment: Deployment) -> dict[str, Any]:
    """One deployment: a row of `ps --json`."""
    return {
        "name": deployment.name,
        "where": deployment.where,
        "status": deployment.status,
        "model": deployment.model,
        "alias": deployment.alias,
        "engine": deployment.engine,
        "engine_build": deployment.build,
        "url": deployment.url,
        "auth": deployment.auth,
        "key_file": deployment.key_file or None,
        "pid": deployment.pid,
        "engine_pid": deployment.engine_pid,
        "started_at": deployment.started_at,
        "memory_bytes": deployment.memory_bytes,
        "usd_per_hour": deployment.usd_per_hour,
    }


def demo_report(result: DemoResult) -> dict[str, Any]:
    """The demonstration: `demo --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": result.model,
        "source": result.source,
        "engine": result.engine,
        "engine_build": result.build,
        "llama_cpp_build": LLAMA_CPP_BUILD,
        "question": result.question,
        "answer": result.answer.text,
        "n_tokens": result.answer.n_tokens,
        "tokens_per_second": round(result.answer.tokens_per_second, 2),
        "startup_seconds": round(result.startup_seconds, 3),
        "memory": measured_terms(result.comparison),
        "is_as_planned": all(row.is_as_planned for row in result.comparison),
        "usd_per_hour": 0.0,
    }


def _engine(plan: LocalPlan) -> dict[str, Any]:
    return {"name": plan.found.engine, "build": plan.found.build}
