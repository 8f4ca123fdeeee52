"""A planner for many contexts of the same settings, which estimates only some of them.

Between two contexts where nothing saturates, every term is linear in the context: caches hold a
cell per token, and a buffer's peak is that of one and the same moment. Where four estimates in a
row lie on one line, byte for byte and term for term, those between them do too; where they do
not, or where a term would not come out whole, an estimate of its own is made.
`python -m tests.sweep` holds such plans against estimates of their own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ggufctl.core.estimate import DeviceEstimate, Estimate, HostEstimate, Term
from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.layout import CONTEXT_PADDING
from ggufctl.core.memory import Extras, ModelShape
from ggufctl.core.planner import Cards, Planner
from ggufctl.core.runtime import Runtime

__all__ = ["SweepPlanner"]

ON_ONE_LINE = 4
"""Estimates in a row that must lie on a line before one between them is taken from it."""

_BEYOND = 1 << 40
_FIELDS = ("weights", "kv_cache", "recurrent", "compute", "overhead")
_HOST_FIELDS = ("weights", "kv_cache", "recurrent", "compute", "output")


class SweepPlanner(Planner):
    """A planner that makes fewer estimates where only the context changes."""

    def __init__(
        self,
        shape: ModelShape,
        catalogue: GpuCatalogue,
        *,
        is_sharded: bool = False,
        extras: Extras | None = None,
    ) -> None:
        super().__init__(shape, catalogue, is_sharded=is_sharded, extras=extras)
        self._sweeps: dict[tuple[Runtime, Cards], _Sweep] = {}

    def estimate(self, runtime: Runtime, cards: Cards) -> Estimate:
        """As `Planner.estimate`, from estimates around it where they lie on a line."""
        if (runtime is self._recent_runtime and cards in self._recent) or (
            runtime,
            cards,
        ) in self._estimates:
            return super().estimate(runtime, cards)
        sweep = self._sweep(runtime, cards)
        found = sweep.between(runtime.n_ctx)
        if found is not None:
            self._estimates[runtime, cards] = found
            return found
        found = super().estimate(runtime, cards)
        sweep.add(runtime.n_ctx, found)
        return found

    def _sweep(self, runtime: Runtime, cards: Cards) -> _Sweep:
        key = (runtime.with_(n_ctx=0), cards)
        found = self._sweeps.get(key)
        if found is None:
            streams = 1 if runtime.is_unified else runtime.n_seq_max
            step = CONTEXT_PADDING * streams
            kinks = self._kinks(runtime, streams, step, _BEYOND)
            found = self._sweeps[key] = _Sweep(step, max(kinks, default=step))
        return found


class _Sweep:
    """Estimates of the same settings at some contexts, past where anything saturates."""

    def __init__(self, step: int, first: int) -> None:
        self._step = step
        self._first = first
        self._contexts: list[int] = []
        self._known: dict[int, tuple[Estimate, tuple[int, ...], object]] = {}

    def add(self, n_ctx: int, found: Estimate) -> None:
        """Keep an estimate."""
        is_usable = n_ctx >= self._first and n_ctx % self._step == 0 and found.n_ctx == n_ctx
        if is_usable and n_ctx not in self._known:
            insort(self._contexts, n_ctx)
            self._known[n_ctx] = (found, tuple(_numbers(found)), _rest(found))

    def between(self, n_ctx: int) -> Estimate | None:
        """The estimate at a context, if those around it lie on a line."""
        contexts = self._contexts
        at = bisect_left(contexts, n_ctx)
        if n_ctx % self._step or not 0 < at < len(contexts):
            return None
        for start in range(max(0, at - ON_ONE_LINE + 1), at):
            window = contexts[start : start + ON_ONE_LINE]
            if len(window) == ON_ONE_LINE and window[-1] >= n_ctx and self._is_line(window):
                return self._on_line(window[0], window[-1], n_ctx)
        return None

    def _is_line(self, window: list[int]) -> bool:
        first, last = window[0], window[-1]
        _, begin, rest = self._known[first]
        end = self._known[last][1]
        for n_ctx in window[1:]:
            _, numbers, own = self._known[n_ctx]
            if len(numbers) != len(begin) or own != rest:
                return False
            if any(
                (z - x) * (n_ctx - first) != (y - x) * (last - first)
                for x, y, z in zip(begin, numbers, end, strict=True)
            ):
                return False
        return True

    def _on_line(self, first: int, last: int, n_ctx: int) -> Estimate | None:
        template, begin, _ = self._known[first]
        values = []
        for x, z in zip(begin, self._known[last][1], strict=True):
            more, rest = divmod((z - x) * (n_ctx - first), last - first)
            if rest:
                return None
            values.append(x + more)
        return replace(_filled(template, iter(values)), n_ctx=n_ctx)


def _numbers(estimate: Estimate) -> Iterator[int]:
    """Everything that grows with the context, in the order that `_filled` takes it."""
    yield estimate.n_ctx_seq
    for device in estimate.devices:
        for name in _FIELDS:
            yield from _of_term(getattr(device, name))
        for term in device.extras:
            yield from _of_term(term)
    for name in _HOST_FIELDS:
        yield from _of_term(getattr(estimate.host, name))
    for term in estimate.host.extras:
        yield from _of_term(term)


def _of_term(term: Term) -> Iterator[int]:
    yield term.n_bytes
    if term.low is not None:
        yield term.low
    if term.high is not None:
        yield term.high


def _rest(estimate: Estimate) -> tuple[object, ...]:
    """What must be the same for all estimates on a line."""
    terms = [t for d in estimate.devices for t in d.terms] + list(estimate.host.terms)
    return (
        estimate.n_ubatch,
        estimate.n_seq_max,
        estimate.flash_attn,
        estimate.n_copies,
        estimate.has_graph,
        estimate.offloaded_layers,
        estimate.warnings,
        [(t.name, t.basis, t.note, t.low is None, t.high is None) for t in terms],
    )


def _filled(template: Estimate, values: Iterator[int]) -> Estimate:
    """An estimate with other numbers."""
    n_ctx_seq = next(values)
    devices = tuple(_device(device, values) for device in template.devices)
    return replace(
        template, n_ctx_seq=n_ctx_seq, devices=devices, host=_host(template.host, values)
    )


def _device(device: DeviceEstimate, values: Iterator[int]) -> DeviceEstimate:
    terms: dict[str, Any] = {name: _term(getattr(device, name), values) for name in _FIELDS}
    return replace(device, **terms, extras=tuple(_term(t, values) for t in device.extras))


def _host(host: HostEstimate, values: Iterator[int]) -> HostEstimate:
    terms: dict[str, Any] = {name: _term(getattr(host, name), values) for name in _HOST_FIELDS}
    return replace(host, **terms, extras=tuple(_term(t, values) for t in host.extras))


def _term(term: Term, values: Iterator[int]) -> Term:
    n_bytes = next(values)
    low = None if term.low is None else next(values)
    high = None if term.high is None else next(values)
    return replace(term, n_bytes=n_bytes, low=low, high=high)
