"""What is tried after memory ran out: less of it for the same price, or a larger GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ggufctl.catalog import load_catalogue
from ggufctl.core.engine_log import Failure, FailureKind
from ggufctl.core.money import MAX_CONTAINER_MIB
from ggufctl.core.planner import GpuPlan, Planner
from ggufctl.core.reduce import reductions
from ggufctl.core.runtime import Runtime
from ggufctl.services.modal.plan import ModalPlan, with_row

__all__ = ["Step", "next_step"]

_GENTLE = (FailureKind.OOM_KV, FailureKind.OOM_COMPUTE, FailureKind.OOM_RUNTIME)


@dataclass(frozen=True, slots=True)
class Step:
    """What is tried next, and how it is called."""

    plan: ModalPlan
    text: str


def next_step(now: ModalPlan, failure: Failure, attempts: int) -> Step | None:
    """What to try after an attempt ran out of memory; None when nothing may be tried any more.

    Args:
        now: what failed.
        failure: how.
        attempts: made so far.
    """
    request = now.request
    if not (failure.kind.is_out_of_memory and request.fallback):
        return None
    if attempts >= request.max_attempts:
        return None
    if failure.kind is FailureKind.OOM_HOST:
        return _more_host_memory(now)
    gentle = ("-ts", "-ctk", "-ub") if failure.kind in _GENTLE else ("-ts",)
    return _reduced(now, failure, gentle) or _larger(now) or _reduced(now, failure, ())


def _reduced(now: ModalPlan, failure: Failure, flags: tuple[str, ...]) -> Step | None:
    shape = now.plan.model.shape
    n_gpus, engine = now.row.count if now.spec.gpus else 0, now.spec.engine
    for change in reductions(shape, now.runtime, failure.kind, n_gpus=n_gpus, engine=engine):
        if flags and change.flags[0] not in flags:
            continue
        row = _replanned(now, change.runtime)
        if row is None:
            continue
        if change.flags[0] == "-ts" and row.used_bytes >= now.row.used_bytes:
            continue
        plan = with_row(now.request, now.plan, change.runtime, row, now.spec.gpus, now.warnings)
        return Step(plan, f"{change.text} ({' '.join(change.flags)})")
    return None


def _larger(now: ModalPlan) -> Step | None:
    size = _total_bytes(now.row)
    limit = now.request.max_usd_per_hour
    rows = [
        row
        for row in now.plan.gpus
        if row.fits
        and row.estimate is not None
        and row.gpu.modal_names
        and _total_bytes(row) > size
        and (limit is None or row.counted_usd_per_hour <= limit)
    ]
    rows.sort(key=lambda row: (row.usd_per_hour, row.count))
    if not rows:
        return None
    row = rows[0]
    names = [row.gpu.modal_gpu(row.count)]
    for other in rows[1:]:
        name = other.gpu.modal_gpu(other.count)
        if other.count == row.count and name not in names and len(names) < 3:
            names.append(name)
    plan = with_row(now.request, now.plan, now.runtime, row, names, now.warnings)
    return Step(plan, names[0])


def _more_host_memory(now: ModalPlan) -> Step | None:
    memory_mib = 2 * now.spec.memory_mib
    limit = now.request.max_usd_per_hour
    counted = now.spec.usd_per_hour + now.prices.beyond_usd_per_hour(memory_mib)
    if memory_mib > MAX_CONTAINER_MIB or (limit is not None and round(counted, 6) > limit):
        return None
    plan = replace(now, spec=now.spec.with_(memory_mib=memory_mib))
    return Step(plan, f"{memory_mib // 1024} GiB of host memory")


def _replanned(now: ModalPlan, runtime: Runtime) -> GpuPlan | None:
    """The same GPUs planned with other settings."""
    model = now.plan.model
    planner = Planner(model.shape, load_catalogue(), is_sharded=model.is_sharded)
    row = planner.row(now.row.gpu, now.row.count, runtime)
    limit = now.request.max_usd_per_hour
    return row if row.fits and (limit is None or row.counted_usd_per_hour <= limit) else None


def _total_bytes(row: GpuPlan) -> int:
    return (row.gpu.cuda_bytes or 0) * row.count
