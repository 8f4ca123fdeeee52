"""Finds the GPUs that hold a model, and the cheapest of them.

What does not depend on a GPU is found once: one card of any type has the same buffers, several
have buffers that depend on their number alone, and quants of one model differ in their weights.
Only tiny batches make buffers depend on the compute capability: then there are two kinds of card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakMethod

from ggufctl.core.compat import gpu_objection, settled
from ggufctl.core.curve import ContextCurve
from ggufctl.core.estimate import Estimate, Term
from ggufctl.core.ggml.cuda import ADA_LOVELACE, Capability
from ggufctl.core.goal import Goal
from ggufctl.core.gpus import Gpu, GpuCatalogue, with_overhead
from ggufctl.core.layout import CONTEXT_PADDING, ContextParams, pad
from ggufctl.core.memory import Extras, ModelShape, depends_on_capability, estimate_memory
from ggufctl.core.money import MAX_CONTAINER_MIB, Load, cpu_and_memory, most_host_bytes
from ggufctl.core.runtime import Runtime
from ggufctl.core.units import format_usd
from ggufctl.errors import UsageError

__all__ = [
    "Allowed",
    "Cards",
    "Constraints",
    "Extras",
    "GpuPlan",
    "Planner",
    "Scale",
    "choose",
    "counts_under",
    "parse_gpu_list",
    "usable_permille",
]

AGGRESSIVE_PERMILLE = 950
"""Share of what CUDA sees that a plan fills when every buffer is exact."""

SHARDED_PERMILLE = 930
"""The same for a model in several files, whose loading leaves less to chance."""

ESTIMATED_PERMILLE = 900
"""The same where a buffer is known by a formula with a range only."""

_BOUNDLESS = 1 << 62

FEW_COUNTS = (1, 2, 4, 8)
"""Numbers of GPUs that are tried for every type, one card being enough or not."""


def usable_permille(*, is_exact: bool, is_sharded: bool) -> int:
    """Thousandths of a GPU's memory that a plan may fill.

    Args:
        is_exact: whether everything but the CUDA overhead is (`Estimate.is_exact`).
        is_sharded: whether the model has several files.
    """
    if not is_exact:
        return ESTIMATED_PERMILLE
    return SHARDED_PERMILLE if is_sharded else AGGRESSIVE_PERMILLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a plan must keep to.

    Attributes:
        gpus: names to choose from, each alone or as `H100:2` for exactly two; none = all.
        max_usd_per_hour: budget of the GPUs together, and of the host memory that only weights
            left there need.
        max_context: raise the context to the largest that fits what is chosen, as `-c max`.
        goal: what to make small, and limits of speed; None = the cheapest that holds it.
        load: what is asked of it; where it says how often, cheap means a cheap month.
    """

    gpus: tuple[str, ...] = ()
    max_usd_per_hour: float | None = None
    max_context: bool = False
    goal: Goal | None = None
    load: Load | None = None

    def __post_init__(self) -> None:
        if isinstance(self.gpus, str):
            object.__setattr__(self, "gpus", parse_gpu_list(self.gpus))
        else:
            object.__setattr__(self, "gpus", tuple(self.gpus or ()))
        budget = self.max_usd_per_hour
        is_number = isinstance(budget, int | float) and not isinstance(budget, bool)
        if budget is not None and not (is_number and 0 < budget < float("inf")):
            raise UsageError("--max-usd-per-hour must be a number of dollars above 0.")
        if self.goal is not None and not isinstance(self.goal, Goal):
            raise UsageError(f"{self.goal!r} is no Goal.")
        if self.load is not None and not isinstance(self.load, Load):
            raise UsageError(f"{self.load!r} is no Load.")
        if self.max_context and self.goal is not None and self.goal.objective is not None:
            raise UsageError(
                "-c max and --optimize exclude each other.", "Say the context that is needed."
            )


def counts_under(runtime: Runtime, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Of some numbers of GPUs those to look at under `-ts`, all of them without.

    These are one, which ignores it, and as many as it gives a share: more would have nothing to
    hold, and fewer are not what it was written for. Where neither is among them, somebody asked
    for others by their number, and gets those.
    """
    n = runtime.n_shares
    return tuple(count for count in counts if count in (1, n)) or counts if n else counts


def parse_gpu_list(text: str) -> tuple[str, ...]:
    """Names out of `L40S,H100:2`; `auto` and nothing mean all.

    Raises: UsageError for an empty name in a list.
    """
    if text.strip().casefold() in ("", "auto"):
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise UsageError(f"{text!r} is not a list of GPUs.", "Write names such as L40S,H100:2.")
    return names


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which GPUs constraints allow, and how many of them."""

    counts: tuple[tuple[str, tuple[int, ...]], ...]
    """Name → numbers allowed of it."""
    is_restricted: bool
    max_usd_per_hour: float | None
    asked_as: tuple[tuple[str, str], ...] = ()
    """Name → the name it was asked for by."""

    @classmethod
    def by(cls, constraints: Constraints, catalogue: GpuCatalogue) -> Allowed:
        """What constraints allow out of a catalogue.

        Raises: UsageError for an unknown GPU or a number of them that nobody rents.
        """
        found: dict[str, tuple[int, ...]] = {}
        asked_as: dict[str, str] = {}
        for text in constraints.gpus:
            if not isinstance(text, str):
                raise UsageError(f"{text!r} is not the name of a GPU.")
            name, colon, number = text.partition(":")
            gpu = catalogue.find(name)
            counts = gpu.counts
            if colon:
                most = range(1, gpu.max_count + 1)
                if not (number.isdecimal() and number.isascii() and int(number) in most):
                    holder = "a plan" if gpu.is_own else "a container"
                    raise UsageError(
                        f"{text!r}: {holder} has 1 to {gpu.max_count} {gpu.name}.",
                        f"Write {gpu.name}:2 for two of them.",
                    )
                counts = (int(number),)
            found[gpu.name] = tuple(sorted({*found.get(gpu.name, ()), *counts}))
            asked_as.setdefault(gpu.name, name)
        if not constraints.gpus:
            found = {gpu.name: gpu.counts for gpu in catalogue if not gpu.is_own}
        return cls(
            tuple(found.items()),
            bool(constraints.gpus),
            constraints.max_usd_per_hour,
            tuple(asked_as.items()),
        )

    def as_asked(self, gpu: Gpu) -> Gpu:
        """A GPU by the name it was asked for."""
        name = dict(self.asked_as).get(gpu.name)
        return gpu if name is None else gpu.asked_for_as(name)

    def counts_of(self, gpu: Gpu) -> tuple[int, ...]:
        """Numbers of a GPU that are allowed, whatever they cost."""
        return dict(self.counts).get(gpu.name, ())

    def is_affordable(self, usd_per_hour: float) -> bool:
        """Whether a price is within the budget."""
        return self.max_usd_per_hour is None or usd_per_hour <= self.max_usd_per_hour


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """One type and number of GPUs: whether it holds the model, and what is left."""

    gpu: Gpu
    count: int
    fits: bool
    """Holds everything with headroom, and can run it."""
    usable_bytes_per_gpu: int
    """What may be filled of each.  [bytes]"""
    used_bytes: int
    """On the fullest device.  [bytes]"""
    short_by_bytes: int
    """Missing over all devices; 0 when the memory suffices.  [bytes]"""
    max_n_ctx: int
    """Largest context that fits, 0 when none does.  [tokens]"""
    estimate: Estimate | None
    """None where the GPU's memory is unknown."""
    permille: int = AGGRESSIVE_PERMILLE
    reason: str = ""
    """Why it does not fit or may not be taken; empty when nothing speaks against it."""
    is_allowed: bool = True
    """Whether names and budget allow it."""
    memory_mib: int = 0
    """Host memory of its container.  [MiB]"""
    host_usd_per_hour: float = 0.0
    """Price of the container's cores and host memory.  [US dollars per hour]"""
    beyond_usd_per_hour: float = 0.0
    """Part of it that only weights left on the host cause.  [US dollars per hour]"""

    @property
    def usable_bytes(self) -> int:
        """What may be filled of all of them together.  [bytes]"""
        return self.usable_bytes_per_gpu * self.count

    @property
    def utilization(self) -> float:
        """Used of usable memory on the fullest device; above 1 it does not fit."""
        usable = self.usable_bytes_per_gpu
        return self.used_bytes / usable if usable else 0.0

    @property
    def headroom_bytes(self) -> int:
        """Usable memory left on the fullest device.  [bytes]"""
        return max(0, self.usable_bytes_per_gpu - self.used_bytes)

    @property
    def usd_per_hour(self) -> float:
        """Price of all of them.  [US dollars per hour]"""
        return self.gpu.price(self.count)

    @property
    def counted_usd_per_hour(self) -> float:
        """What a budget is held against.  [US dollars per hour]"""
        return round(self.usd_per_hour + self.beyond_usd_per_hour, 6)

    @property
    def in_use_usd_per_hour(self) -> float:
        """Price of the whole container.  [US dollars per hour]"""
        return round(self.usd_per_hour + self.host_usd_per_hour, 6)

    @property
    def costs_nothing(self) -> bool:
        """Whether it is there already: cards of one's own, with no price said."""
        return self.gpu.is_own and not self.usd_per_hour

    @property
    def overfills_container(self) -> bool:
        """Whether it needs more host memory than a container can have."""
        return bool(self.gpu.modal_names) and self.memory_mib > MAX_CONTAINER_MIB

    @property
    def is_candidate(self) -> bool:
        """Whether it may be chosen."""
        return self.fits and self.is_allowed

    @property
    def label(self) -> str:
        """`H100` or `2×H100`."""
        return self.gpu.name if self.count == 1 else f"{self.count}×{self.gpu.name}"


def choose(rows: Iterable[GpuPlan]) -> GpuPlan | None:
    """The cheapest of the rows that may be chosen; one card before several, if there is one.

    Cards of one's own that cost nothing come before all that would have to be paid for.
    """
    candidates = [row for row in rows if row.is_candidate]
    candidates = [row for row in candidates if row.costs_nothing] or candidates
    single = [row for row in candidates if row.count == 1]
    return min(
        single or candidates,
        key=lambda row: (row.usd_per_hour, row.count, -row.gpu.bandwidth_gb_s),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Weights of another quant of the same model, by the sizes of the files."""

    size_bytes: int
    of_bytes: int
    is_sharded: bool = False
    quant: str = ""
    """Label of that other quant, empty when it is not known."""

    def apply(self, n_bytes: int) -> int:
        """Scaled weights, rounded up.  [bytes]"""
        return -(-n_bytes * self.size_bytes // self.of_bytes)


class Cards(NamedTuple):
    """Equal GPUs as far as buffers depend on them."""

    n_gpus: int
    capability: Capability = ADA_LOVELACE
    """Compute capability, or another of which buffers are the same."""


class _Base(NamedTuple):
    """An estimate without the overhead of CUDA, with what rows of every type ask of it."""

    estimate: Estimate
    is_exact: bool
    needs: tuple[tuple[int, int], ...]
    """Best and highest figure of every device.  [bytes]"""
    kept: tuple[int, ...]
    """Of every device, whatever the context.  [bytes]"""
    read_bytes: int
    """All weights."""

    @classmethod
    def of(cls, estimate: Estimate) -> _Base:
        """Those of an estimate."""
        devices, host = estimate.devices, estimate.host
        return cls(
            estimate,
            estimate.is_exact,
            tuple([(device.total_bytes, device.high_bytes) for device in devices]),
            tuple([device.weights_bytes + device.recurrent_bytes for device in devices]),
            sum(device.weights_bytes for device in devices) + host.weights_bytes,
        )


OLDER: Capability = (7, 5)
"""Stands for every compute capability before Ada Lovelace's."""


class Planner:
    """Plans one model, keeping what its settings and GPUs have in common.

    Args:
        shape: the model.
        catalogue: the GPUs there are.
        is_sharded: whether it has several files.
        extras: what else is loaded with it, per number of devices and context.
    """

    def __init__(
        self,
        shape: ModelShape,
        catalogue: GpuCatalogue,
        *,
        is_sharded: bool = False,
        extras: Extras | None = None,
    ) -> None:
        self.shape = shape
        self.catalogue = catalogue
        self.is_sharded = is_sharded
        self.extras = extras
        self._estimates: dict[tuple[Runtime, Cards], Estimate] = {}
        self._recent_runtime: Runtime | None = None
        self._recent_depends = False
        self._recent: dict[Cards, _Base] = {}
        self._recent_curves: dict[Cards, ContextCurve] = {}
        self._fused: set[tuple[Runtime, int]] = set()
        self._curves: dict[tuple[Runtime, Cards], ContextCurve] = {}

    def estimate(self, runtime: Runtime, cards: Cards) -> Estimate:
        """Memory on some equal GPUs, without their overhead."""
        if runtime is self._recent_runtime and (kept := self._recent.get(cards)) is not None:
            return kept.estimate
        key = (runtime, cards)
        found = self._estimates.get(key)
        if found is None:
            settings = settled(self.shape, runtime)
            probed = (settings.with_(n_ctx=0), cards.n_gpus)
            if probed in self._fused:
                # llama.cpp's probe of fused attention does not depend on the context.
                settings = settings.with_(flash_attn="on")
            found = estimate_memory(
                self.shape,
                settings,
                ("",) * cards.n_gpus,
                extras=self.extras,
                capabilities=(cards.capability,) * cards.n_gpus,
            )
            self._estimates[key] = found
            if settings.flash_attn == "auto" and found.has_graph and found.flash_attn:
                self._fused.add(probed)
        return found

    def _cards(self, gpu: Gpu, count: int, runtime: Runtime) -> Cards:
        """Cards of a type, told apart as far as these settings need it."""
        if runtime is not self._recent_runtime:
            # Telling settings apart by their values takes longer than most else does.
            self._recent_runtime, self._recent, self._recent_curves = runtime, {}, {}
            self._recent_depends = depends_on_capability(runtime)
        is_old = self._recent_depends and gpu.capability < ADA_LOVELACE
        return Cards(count, OLDER if is_old else ADA_LOVELACE)

    def _remember(self, runtime: Runtime, cards: Cards) -> _Base:
        """The estimate of the settings that `_cards` was asked about last."""
        found = self._recent.get(cards)
        if found is None:
            found = self._recent[cards] = _Base.of(self.estimate(runtime, cards))
        return found

    def row(
        self,
        gpu: Gpu,
        count: int,
        runtime: Runtime,
        *,
        scale: Scale | None = None,
        with_max_n_ctx: bool = True,
        exact: bool = False,
    ) -> GpuPlan:
        """What `count` cards of one type make of the model.

        Args:
            gpu: the type.
            count: how many.
            runtime: settings, the context included.
            scale: plan for another quant of the same model.
            with_max_n_ctx: find the largest context too.
            exact: find it to the token, however many estimates that takes.
        """
        if gpu.cuda_bytes is None:
            reason = "nobody has published what CUDA sees of its memory: not plannable"
            return GpuPlan(gpu, count, False, 0, 0, 0, 0, None, 0, reason)
        if count < runtime.least_gpus:
            reason = f"-ot names CUDA{runtime.least_gpus - 1}"
            return GpuPlan(gpu, count, False, 0, 0, 0, 0, None, 0, reason)
        cards = self._cards(gpu, count, runtime)
        base = own = self._remember(runtime, cards)
        if scale is not None:
            base = _Base.of(_scaled(own.estimate, scale))
        estimate = with_overhead(base.estimate, (gpu,) * count)
        is_sharded = self.is_sharded if scale is None else scale.is_sharded
        permille = usable_permille(is_exact=base.is_exact, is_sharded=is_sharded)
        usable = gpu.cuda_bytes * permille // 1000
        used = short = 0
        for (best, high), device in zip(base.needs, estimate.devices, strict=True):
            best += device.overhead.n_bytes
            high += device.overhead.high_bytes
            used = max(used, best)
            short += max(0, best - usable, high - gpu.cuda_bytes)
        objection = gpu_objection(gpu, self.shape, runtime, scale.quant if scale else "")
        cores, memory_mib = cpu_and_memory(base.read_bytes, estimate.host.total_bytes, count)
        prices = self.catalogue.prices if not gpu.is_own else None
        if gpu.modal_names and memory_mib > MAX_CONTAINER_MIB and not objection:
            objection = (
                f"needs {memory_mib // 1024} GiB of host memory, and a container has at most "
                f"{MAX_CONTAINER_MIB // 1024} GiB"
            )
        max_n_ctx = 0
        if with_max_n_ctx:
            max_n_ctx = self._max_n_ctx(gpu, cards, runtime, usable, own, base, exact=exact)
        return GpuPlan(
            gpu,
            count,
            fits=not short and not objection,
            usable_bytes_per_gpu=usable,
            used_bytes=used,
            short_by_bytes=short,
            max_n_ctx=0 if objection else max_n_ctx,
            estimate=estimate,
            permille=permille,
            reason=objection,
            memory_mib=memory_mib,
            host_usd_per_hour=prices.host_usd_per_hour(cores, memory_mib).best if prices else 0.0,
            beyond_usd_per_hour=prices.beyond_usd_per_hour(memory_mib) if prices else 0.0,
        )

    def rows(
        self,
        runtime: Runtime,
        allowed: Allowed,
        *,
        scale: Scale | None = None,
        with_max_n_ctx: bool = True,
        single_first: bool = False,
    ) -> tuple[GpuPlan, ...]:
        """Every type, with one card and with more where one is not enough.

        Args:
            runtime: settings.
            allowed: what may be looked at, and what may be chosen.
            scale: plan for another quant of the same model.
            with_max_n_ctx: find the largest contexts too.
            single_first: look at several cards only when no single one can be chosen, or when
                several may cost nothing.
        """

        def rows(few: tuple[int, ...]) -> list[GpuPlan]:
            return [
                _marked(row, allowed)
                for gpu in self.catalogue
                for row in self._rows_of(
                    allowed.as_asked(gpu), runtime, allowed, few, scale, with_max_n_ctx
                )
            ]

        several = tuple(sorted({*FEW_COUNTS, runtime.n_shares} - {0}))
        marked = rows(FEW_COUNTS[:1] if single_first else several)
        # Several cards that cost nothing come before a single one that does.
        costless = any(row.costs_nothing for row in marked)
        if single_first and ((best := choose(marked)) is None or costless > best.costs_nothing):
            marked = rows(several)
        single = [row for row in marked if row.is_candidate and row.count == 1]
        if not any(row.costs_nothing >= costless for row in single):
            open_ = [row for row in marked if not single or row.costs_nothing]
            between = self._between(open_, runtime, allowed, scale, with_max_n_ctx)
            marked = sorted(
                (*marked, *between), key=lambda row: (self._position(row.gpu), row.count)
            )
        return tuple(marked)

    def every_row(self, runtime: Runtime, allowed: Allowed) -> tuple[GpuPlan, ...]:
        """Every type in every number that is allowed, whether fewer do or not.

        Without the largest contexts, which take more estimates than all the rest.
        """
        return tuple(
            _marked(self.row(gpu, count, runtime, with_max_n_ctx=False), allowed)
            for gpu in map(allowed.as_asked, self.catalogue)
            for count in counts_under(runtime, allowed.counts_of(gpu))
            if runtime.split_mode != "none" or count == 1
        )

    def _position(self, gpu: Gpu) -> int:
        return [known.name for known in self.catalogue].index(gpu.name)

    def _rows_of(
        self,
        gpu: Gpu,
        runtime: Runtime,
        allowed: Allowed,
        few: tuple[int, ...],
        scale: Scale | None,
        with_max_n_ctx: bool,
    ) -> list[GpuPlan]:
        counts = counts_under(runtime, allowed.counts_of(gpu))
        if not counts:
            return []
        if len(counts) > 1:
            few = tuple(n for n in few if n >= runtime.least_gpus) or FEW_COUNTS
            # Who has three cards of their own has them all to try.
            most = counts[-1:] if len(few) > 1 else ()
            counts = tuple(sorted({*(n for n in few if n in counts), *most}))
        if runtime.split_mode == "none":
            counts = counts[:1]
        counts = tuple(n for n in counts if n >= runtime.least_gpus)
        found: list[GpuPlan] = []
        for count in counts:
            row = self.row(gpu, count, runtime, scale=scale, with_max_n_ctx=with_max_n_ctx)
            found.append(row)
            if row.fits or row.reason:
                break
        return found

    def _between(
        self,
        rows: Sequence[GpuPlan],
        runtime: Runtime,
        allowed: Allowed,
        scale: Scale | None,
        with_max_n_ctx: bool,
    ) -> list[GpuPlan]:
        """Rows for numbers between those tried, where fewer cards may do."""
        found = []
        by_gpu: dict[str, list[GpuPlan]] = {}
        for row in rows:
            by_gpu.setdefault(row.gpu.name, []).append(row)
        for of_one in by_gpu.values():
            last = of_one[-1]
            if runtime.n_shares:
                continue
            if last.reason or last.gpu.cuda_bytes is None or runtime.split_mode == "none":
                continue
            tried = {row.count for row in of_one}
            low = max((row.count for row in of_one if not row.fits), default=0)
            high = last.count if last.fits else last.gpu.max_count + 1
            for count in range(low + 1, high):
                if count in tried or count not in allowed.counts_of(last.gpu):
                    continue
                if count < runtime.least_gpus or not self._may_fit(last, count):
                    continue
                row = self.row(last.gpu, count, runtime, scale=scale, with_max_n_ctx=False)
                if row.fits:
                    if with_max_n_ctx:
                        row = self.row(last.gpu, count, runtime, scale=scale)
                    found.append(_marked(row, allowed))
                    break
        return found

    @staticmethod
    def _may_fit(row: GpuPlan, count: int) -> bool:
        """Whether weights and caches alone leave a chance on `count` cards."""
        if row.estimate is None:
            return False
        kept = sum(
            d.weights_bytes + d.kv_cache_bytes + d.recurrent_bytes for d in row.estimate.devices
        )
        return kept <= row.usable_bytes_per_gpu * count

    def _max_n_ctx(
        self,
        gpu: Gpu,
        cards: Cards,
        runtime: Runtime,
        usable: int,
        own: _Base,
        base: _Base,
        *,
        exact: bool,
    ) -> int:
        """Largest context that fits, 0 when none does.  [tokens]

        Args:
            gpu: the type.
            cards: of it.
            runtime: settings.
            usable: what may be filled of each card.  [bytes]
            own: the estimate of the model.
            base: that of the quant that is meant.
            exact: find it to the token.
        """
        assert gpu.cuda_bytes is not None
        best = gpu.overhead.term(0)
        free, most = usable - best.n_bytes, gpu.cuda_bytes - best.high_bytes
        if any(n_bytes > free for n_bytes in base.kept):
            return 0
        added = [meant - here for meant, here in zip(base.kept, own.kept, strict=True)]
        limits = tuple([limit - more for more in added for limit in (free, most)])
        if runtime.leaves_on_host:
            room = _BOUNDLESS
            if gpu.modal_names:
                room = most_host_bytes(base.read_bytes, cards.n_gpus)
            more = base.estimate.host.weights_bytes - own.estimate.host.weights_bytes
            limits += (room - more,)
        curve = self._recent_curves.get(cards)
        if curve is None or runtime is not self._recent_runtime:
            curve = self.curve(runtime, cards)
            if runtime is self._recent_runtime:
                self._recent_curves[cards] = curve
        return curve.largest(limits, exact=exact)

    def curve(self, runtime: Runtime, cards: Cards) -> ContextCurve:
        """Memory over the context on some cards: best and highest figure of each, without
        the fixed part of the overhead."""
        key = (runtime.with_(n_ctx=0), cards)
        found = self._curves.get(key)
        if found is None:
            found = self._curves[key] = self._new_curve(runtime, cards)
        return found

    def _new_curve(self, runtime: Runtime, cards: Cards) -> ContextCurve:
        hp = self.shape.hp
        streams = 1 if runtime.is_unified else runtime.n_seq_max
        step = CONTEXT_PADDING * streams
        asked = pad(runtime.n_ctx or hp.n_ctx_train, step)
        train = hp.n_ctx_train * streams // step * step
        last = max(step, asked, train)

        # A planner keeps its curves: kept by them in turn, all it has made would be garbage that
        # only the search for cycles finds.
        method = WeakMethod(self.estimate)
        leaves_on_host = runtime.leaves_on_host

        def measure(n_ctx: int) -> tuple[int, ...]:
            estimate_at = method()
            assert estimate_at is not None
            estimate = estimate_at(runtime.with_(n_ctx=n_ctx), cards)
            point = []
            for device in estimate.devices:
                pool = device.compute_bytes // 10
                point.append(device.total_bytes + pool)
                point.append(device.high_bytes + 2 * pool)
            if leaves_on_host:
                point.append(estimate.host.total_bytes)
            return tuple(point)

        kinks = self._kinks(runtime, streams, step, last)
        higher = {last, *(n for n in kinks if n > asked)}
        if cards.n_gpus == 1:
            # A point in between shows where memory grows on a line, which makes answers exact.
            higher.add((asked + last) // 2 // step * step)
        # A context shorter than a batch would make the batch shorter too, and is of no use.
        lower = sorted(n for n in kinks or {step} if n < asked)
        budget = 6 if cards.n_gpus == 1 else 0
        return ContextCurve(measure, step, [asked], lower, sorted(higher - {asked}), budget)

    def _kinks(self, runtime: Runtime, streams: int, step: int, last: int) -> set[int]:
        """Contexts from which on a batch, or a sliding window, grows no further."""
        hp = self.shape.hp
        found = {pad(min(runtime.n_ubatch, runtime.n_batch) * streams, step)}
        if hp.has_swa and not runtime.swa_full:
            params = ContextParams.resolve(hp, runtime)
            window = hp.n_swa * (params.n_seq_max if params.kv_unified else 1) + params.n_ubatch
            found.add(pad(pad(window, CONTEXT_PADDING) * streams, step))
        return {n for n in found if step < n < last}


def _marked(row: GpuPlan, allowed: Allowed) -> GpuPlan:
    """A row with what speaks against it said."""
    affordable, budget = allowed.is_affordable(row.counted_usd_per_hour), allowed.max_usd_per_hour
    reason = row.reason
    if not reason and row.short_by_bytes:
        reason = f"short by {row.short_by_bytes} bytes"
    if not reason and budget is not None and not affordable:
        reason = f"above the budget of ${format_usd(budget)}/h"
        if row.beyond_usd_per_hour and allowed.is_affordable(row.usd_per_hour):
            reason += f" with ${format_usd(row.beyond_usd_per_hour)}/h for host memory"
    is_allowed = affordable and row.count in allowed.counts_of(row.gpu)
    if not row.gpu.modal_names and not row.gpu.is_own and not reason:
        reason, is_allowed = "cannot be asked for by name", False
    if (reason, is_allowed) == (row.reason, row.is_allowed):
        return row
    return replace(row, reason=reason, is_allowed=is_allowed)


def _scaled(estimate: Estimate, scale: Scale) -> Estimate:
    """The estimate of another quant: the weights of every device by the size of its file."""

    def term(weights: Term) -> Term:
        return replace(weights, n_bytes=scale.apply(weights.n_bytes))

    devices = tuple(replace(d, weights=term(d.weights)) for d in estimate.devices)
    host = replace(estimate.host, weights=term(estimate.host.weights))
    return replace(estimate, devices=devices, host=host)
