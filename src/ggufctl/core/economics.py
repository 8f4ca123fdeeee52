"""Speed, start and price of every row of a plan: what memory alone does not decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ggufctl.core.cold_start import ColdStart, predict_cold_start
from ggufctl.core.money import HOURS_PER_MONTH, Cost, Load, Prices, cost_of, cpu_and_memory
from ggufctl.core.speed import Calibration, Speed, predict_speed

if TYPE_CHECKING:
    from ggufctl.core.model import Model
    from ggufctl.core.plan import Plan
    from ggufctl.core.planner import GpuPlan
    from ggufctl.core.runtime import Runtime

__all__ = ["SCALEDOWN_SECONDS", "Economics", "choose_by_month", "economics_of", "priced"]

SCALEDOWN_SECONDS = 300.0
"""A container stays this long without requests, where nothing else is said.  [s]"""


@dataclass(frozen=True, slots=True)
class Economics:
    """What one type and number of GPUs makes of a model besides holding it: estimates all."""

    speed: Speed
    cold_start: ColdStart | None
    """None for a card of one's own: no container is asked for."""
    cost: Cost | None
    """None for the same: nothing of it is billed by use."""


def economics_of(
    model: Model,
    row: GpuPlan,
    runtime: Runtime,
    prices: Prices,
    *,
    load: Load | None = None,
    scaledown_seconds: float = SCALEDOWN_SECONDS,
    calibration: Calibration | None = None,
    has_region: bool = False,
) -> Economics | None:
    """Speed, start and cost of a row; None where it does not fit or nothing is known.

    Args:
        model: that the row was planned for.
        row: of its plan.
        runtime: as planned.
        prices: of what is rented beside the GPUs.
        load: for a month's bill; speeds are for its context then.
        scaledown_seconds: a container stays this long without requests.
        calibration: a user's own measurements on this GPU.
        has_region: whether containers may run in one region only.
    """
    if row.estimate is None or not row.fits or row.gpu.speed is None:
        return None
    depth = load.depth_tokens if load is not None else None
    prompt = load.prompt_tokens if load is not None else None
    asked = load if load is not None and load.requests_per_day else None
    speed = predict_speed(
        model.shape,
        row.estimate,
        row.gpu,
        row.count,
        runtime,
        calibration=calibration,
        depth_tokens=depth,
        prompt_tokens=prompt,
    )
    if row.gpu.is_own:
        return Economics(speed, None, None)
    device_bytes = sum(device.weights_bytes for device in row.estimate.devices)
    start = predict_cold_start(
        model.size_bytes, row.gpu, row.count, device_bytes=min(device_bytes, model.size_bytes)
    )
    cores, memory_mib = cpu_and_memory(model.size_bytes, row.estimate.host.total_bytes, row.count)
    cost = cost_of(
        row.usd_per_hour,
        speed,
        start,
        prices,
        cores=cores,
        memory_mib=memory_mib,
        stored_bytes=model.size_bytes,
        scaledown_seconds=scaledown_seconds,
        load=asked,
        region=has_region,
        prices_as_of=row.gpu.price_as_of,
        prices_source=row.gpu.price_source,
    )
    return Economics(speed, start, cost)


def choose_by_month(
    rows: Iterable[GpuPlan], model: Model, runtime: Runtime, prices: Prices, load: Load
) -> tuple[GpuPlan, float] | None:
    """The row whose month costs least for a load, and that price; one card before several.

    A card of one's own is paid for all month, if it is; those that cost nothing come first.
    None where no row may be chosen, or no speed is known.
    """
    found: list[tuple[bool, bool, float, int, GpuPlan]] = []
    for row in rows:
        each = economics_of(model, row, runtime, prices, load=load) if row.is_candidate else None
        if each is None:
            continue
        if row.gpu.is_own:
            usd = row.usd_per_hour * HOURS_PER_MONTH
        elif each.cost is not None and each.cost.month is not None:
            usd = each.cost.month.usd.best
        else:
            continue
        found.append((not row.costs_nothing, row.count > 1, usd, -row.gpu.bandwidth_gb_s, row))
    best = min(found, key=lambda item: item[:4], default=None)
    return None if best is None else (best[4], best[2])


def priced(plan: Plan, load: Load | None = None, *, only_choice: bool = False) -> Plan:
    """The same plan with the speed, start and cost of every row, for a load if there is one.

    Args:
        plan: without them.
        load: that the cost is of.
        only_choice: leave all rows out but the one chosen.
    """
    prices = plan.prices
    if prices is None:
        return plan
    chosen = plan.choice.row if plan.choice is not None else None
    found = replace(
        plan,
        economics=tuple(
            None
            if only_choice and row is not chosen
            else economics_of(plan.model, row, plan.runtime, prices, load=load)
            for row in plan.gpus
        ),
    )
    return replace(found, warnings=(*found.warnings, *_too_long(found, load)))


def _too_long(plan: Plan, load: Load | None) -> tuple[str, ...]:
    """What is to be said of requests that no slot holds."""
    estimate = plan.choice.row.estimate if plan.choice is not None else None
    if load is None or estimate is None:
        return ()
    own = plan.model.n_ctx_train
    found = next((each for each in plan.economics if each is not None), None)
    output_tokens = 0 if found is not None and found.speed.embeds else load.output_tokens
    needed = load.prompt_tokens + output_tokens
    if needed <= estimate.n_ctx_seq:
        return ()
    out = f" in and {output_tokens} out" if output_tokens else ""
    way = f"the model's own context is {own}" if 0 < own < needed else "raise -c"
    return (
        f"Requests of {load.prompt_tokens} tokens{out} do not fit a slot of "
        f"{estimate.n_ctx_seq} tokens: {way}.",
    )
