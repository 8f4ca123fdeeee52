"""How long a start takes: phases from asking for a GPU to the first token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ggufctl.core.ranges import Range
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.gpus import Gpu

__all__ = ["ColdStart", "predict_cold_start"]

LIMIT_SLACK = 2.0
"""A start may take this many times its upper estimate before it is given up."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """An estimated start.

    Attributes:
        seconds: from asking for a container to an answer.  [s]
        phases: what it is made of, in order.
        billed_seconds: without the wait for a GPU, which nobody pays for.  [s]
        limit_seconds: how long it may take before something must be wrong.  [s]
        basis: where the figures come from.
    """

    phases: tuple[tuple[str, Range], ...]
    limit_seconds: float
    basis: tuple[str, ...] = ()

    @property
    def seconds(self) -> Range:
        """All phases together.  [s]"""
        return _sum(self.phases)

    @property
    def billed_seconds(self) -> Range:
        """All phases but the queue.  [s]"""
        return _sum(self.phases[1:])


def _sum(phases: tuple[tuple[str, Range], ...]) -> Range:
    total = Range.exactly(0.0)
    for _, seconds in phases:
        total += seconds
    return total


def predict_cold_start(
    weights_bytes: int,
    gpu: Gpu,
    count: int = 1,
    *,
    image: bool = True,
    snapshot: bool = False,
    volume_bytes_per_second: float = 0.0,
    device_bytes: int | None = None,
) -> ColdStart:
    """Estimate a start on Modal.

    Args:
        weights_bytes: of all files that are loaded, read from a Volume.
        gpu: with the coefficients of the catalogue.
        count: how many; each is filled over a link of its own, one after another.
        image: whether a container has to be started at all.
        snapshot: restored from a snapshot of GPU memory, an experiment of Modal's.
        volume_bytes_per_second: measured on earlier starts; 0 = never.
        device_bytes: of the weights, what goes to GPUs; None = all.

    Raises: UsageError for a GPU without coefficients.
    """
    if gpu.speed is None:
        raise UsageError(f"Nothing is known about starts on {gpu.name}.")
    common = gpu.speed.common
    model = common.cold_start
    zero = Range.exactly(0.0)
    reading = model.volume_gb_s.scale(1e9)
    if volume_bytes_per_second > 0:
        reading = Range.exactly(volume_bytes_per_second)
    queue = model.queue_seconds if image else zero
    container = model.image_seconds if image else zero
    phases: tuple[tuple[str, Range], ...]
    if snapshot:
        phases = (
            ("queue", queue),
            ("image", container),
            ("snapshot", model.snapshot_seconds),
        )
    else:
        moved = weights_bytes if device_bytes is None else device_bytes
        phases = (
            ("queue", queue),
            ("image", container),
            ("weights", reading.invert(float(weights_bytes))),
            ("to the GPU", model.pcie_gb_s.scale(1e9).invert(float(moved))),
            ("graphs and warm-up", model.ready_seconds),
        )
    names = ["queue_seconds", "image_seconds"]
    names += ["snapshot_seconds"] if snapshot else ["volume_gb_s", "pcie_gb_s", "ready_seconds"]
    # Modal counts from when the container is there. Own starts never shorten the limit.
    longest = _sum(phases[1:]).high
    own = gpu.speed.start_spread
    said = tuple(f"{name.split('_')[0]}: {common.source_of(name)}" for name in names)
    if own is not None and not snapshot:
        phases = (*phases[:2], *((name, own.scale(took.best)) for name, took in phases[2:]))
        longest = max(longest, _sum(phases[1:]).high)
        said = (*said, f"start: {gpu.speed.start_basis}")
    rule = model.limit_base_seconds + model.limit_seconds_per_gb * weights_bytes / 1e9
    return ColdStart(
        phases,
        limit_seconds=max(model.least_limit_seconds, rule, LIMIT_SLACK * longest),
        basis=said,
    )
