"""Estimates what llama.cpp allocates for a model, on every device and on the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import repeat
from typing import NamedTuple

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.closed_form import compute_terms
from ggufctl.core.drafting import (
    GROWS_LATER,
    check_cache,
    check_draft_model,
    check_target,
    require_draft_graph,
)
from ggufctl.core.engine import (
    GENERATION_RATIO,
    Apart,
    Buffers,
    Engine,
    Program,
    Stamps,
    larger,
)
from ggufctl.core.estimate import Basis, DeviceEstimate, Estimate, HostEstimate, Term
from ggufctl.core.extras import (
    Adapter,
    lora_terms,
    mmproj_terms,
    read_adapter,
)
from ggufctl.core.folding import Fold, find_folds, layer_signatures
from ggufctl.core.ggml.cuda import Capability
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.graphs.registry import Architecture, find, is_known
from ggufctl.core.growing import NotGrowing, Span, plain, slope_of
from ggufctl.core.header import Header
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout, Speculation, build_draft_layout, build_layout
from ggufctl.core.placement import Placement, Stock, block_of
from ggufctl.core.runtime import Runtime
from ggufctl.errors import GgufctlError, InvalidGguf, UnsupportedModel

__all__ = [
    "Extras",
    "Graphs",
    "ModelShape",
    "depends_on_capability",
    "draft_output_bytes",
    "estimate_memory",
]


class _Line(NamedTuple):
    """Bytes that grow with the context: at the one they were worked out for, and per step."""

    n_bytes: int
    slope: int

    @classmethod
    def of(cls, number: int) -> _Line:
        """The line of a number that may be growing."""
        return cls(plain(number), slope_of(number))


@dataclass(frozen=True, slots=True)
class _States:
    """KV and recurrent bytes of every block, for all contexts of a span.  [bytes]

    Attributes:
        kinds: one of `lines` per block.
        lines: KV and recurrent state on a GPU, then both on the host.
    """

    kinds: list[int]
    lines: list[tuple[_Line, _Line, _Line, _Line]]
    span: Span

    @classmethod
    def of(cls, shape: ModelShape, ctx: ContextParams) -> _States:
        """Those of a context, and of others where they grow on a line."""
        growing, span = ctx.growing()
        try:
            return cls(*_state_lines(shape.hp, shape.layout(growing)), span)
        except NotGrowing:
            span = Span(ctx.step)
            span.only_here()
            return cls(*_state_lines(shape.hp, shape.layout(ctx)), span)

    def on(self, placement: Placement, step: int) -> tuple[list[int], list[int]]:
        """KV and recurrent bytes per backend for a context of the span.  [bytes]"""
        host = placement.host
        steps = step - self.span.here
        homes = placement.layer_backends if placement.kv_offload else repeat(host)
        places = Counter(zip(homes, self.kinds, strict=False))
        kv, recurrent = [0] * (host + 1), [0] * (host + 1)
        for (where, kind), n in places.items():
            line = self.lines[kind][2:] if where == host else self.lines[kind][:2]
            kv[where] += n * (line[0].n_bytes + steps * line[0].slope)
            recurrent[where] += n * (line[1].n_bytes + steps * line[1].slope)
        return kv, recurrent


def _state_lines(
    hp: HParams, layout: Layout
) -> tuple[list[int], list[tuple[_Line, _Line, _Line, _Line]]]:
    """Which blocks are alike, and what one of each kind has."""
    numbers: dict[Hashable, int] = {}
    lines: list[tuple[_Line, _Line, _Line, _Line]] = []
    recurrent = frozenset(layout.recr_layers)
    kinds = []
    for il in range(hp.n_layer_all):
        alike = (
            tuple(cache.layers.get(il) for cache in layout.caches.values()),
            il in recurrent,
            layout.extra_recurrent.get(il, 0),
        )
        kind = numbers.setdefault(alike, len(numbers))
        if kind == len(lines):
            lines.append(
                (
                    _Line.of(layout.kv_bytes(il, on_gpu=True)),
                    _Line.of(layout.recurrent_bytes(il, on_gpu=True)),
                    _Line.of(layout.kv_bytes(il)),
                    _Line.of(layout.recurrent_bytes(il)),
                )
            )
        kinds.append(kind)
    return kinds, lines


@dataclass(frozen=True, slots=True)
class _Placed:
    """A placement with what follows from it, whatever the context."""

    key: Hashable
    placement: Placement
    weights: tuple[int, ...]
    folds: Callable[[], tuple[Fold, ...]]
    apart: Apart | None = None
    probed: dict[Hashable, frozenset[str]] = field(default_factory=dict)

    def states(self, shape: ModelShape, ctx: ContextParams) -> tuple[list[int], list[int]]:
        """KV and recurrent bytes per backend.  [bytes]"""
        return shape.states(ctx).on(self.placement, ctx.step)


@dataclass(frozen=True, slots=True)
class Graphs:
    """What graphs ask of buffers, for all models with one `core.shapes.graphs_key`.

    Attributes:
        programs: graphs gone through (see `Engine`).
        stamps: the same out of stamps.
        numbers: of what blocks may have in common.
    """

    programs: dict[Hashable, list[Program | None]] = field(default_factory=dict)
    stamps: dict[Hashable, list[Stamps]] = field(default_factory=dict)
    numbers: dict[Hashable, int] = field(default_factory=dict)


class ModelShape:
    """A header made ready for estimates: hyper-parameters and architecture.

    Placements are kept, so that estimates of one model share them.

    Args:
        header: of the model.
        graphs: those of models with the same `core.shapes.graphs_key`, if any were planned.
        loads_mtp: whether the weights of nextn/MTP blocks are loaded as well.

    Raises:
        UnsupportedModel: the pinned llama.cpp does not know the architecture.
        InvalidGguf: the header's values make no model.
    """

    def __init__(
        self, header: Header, graphs: Graphs | None = None, *, loads_mtp: bool = False
    ) -> None:
        self.hp = HParams(header)
        self.loads_mtp = loads_mtp
        self._with_mtp: ModelShape | None = None
        if not is_known(self.hp.arch):
            raise UnsupportedModel(
                f"llama.cpp {LLAMA_CPP_BUILD} does not know the architecture {self.hp.arch!r}: "
                "it needs a newer llama.cpp."
            )
        self.arch: Architecture | None = find(self.hp.arch)
        if self.arch is not None:
            self.arch.hparams(self.hp)
        self.graphs = graphs or Graphs()
        """Graphs that are wholly on GPUs, where quantised weights are all the same to them."""
        self.stock = Stock(self.hp.tensors, self._loader(), self.graphs.numbers)
        self.programs: dict[Hashable, list[Program | None]] = {}
        """What all other graphs of this model ask of buffers."""
        self._states: dict[Hashable, list[_States]] = {}
        self._apart: Apart | None = None
        self._is_apart_known = False
        self._placed: dict[Hashable, _Placed] = {}
        self._has_bf16: bool | None = None

    @property
    def with_mtp(self) -> ModelShape:
        """The same model as `--spec-type draft-mtp` loads it."""
        if self.loads_mtp:
            return self
        if self._with_mtp is None:
            self._with_mtp = ModelShape(self.hp.header, self.graphs, loads_mtp=True)
        return self._with_mtp

    @property
    def has_bf16(self) -> bool:
        """Whether matrices are stored in bf16."""
        if self._has_bf16 is None:
            tensors = self.hp.tensors.values()
            self._has_bf16 = any(t.type == "bf16" and len(t.shape) > 1 for t in tensors)
        return self._has_bf16

    def states(self, ctx: ContextParams) -> _States:
        """Caches and states of every block, for this context among others."""
        known = self._states.setdefault(ctx.settings, [])
        found = next((states for states in known if ctx.step in states.span), None)
        if found is None:
            found = _States.of(self, ctx)
            known.append(found)
        return found

    def _loader(self) -> Callable[[str], bool] | None:
        """Whether llama.cpp keeps a tensor of the file in memory; None where it keeps all."""
        if self.loads_mtp and self.hp.n_layer:
            return None
        if self.arch is not None and self.arch.loads is not None:
            return partial(self.arch.loads, self.hp)
        has_more = self.hp.n_layer_nextn and self.hp.n_layer
        return partial(trunk_only, self.hp) if has_more else None

    def programs_of(self, placement: Placement) -> dict[Hashable, list[Program | None]]:
        """Those of graphs that are placed like this."""
        is_on_gpus = placement.full_offload and placement.kv_offload
        return self.graphs.programs if is_on_gpus and not placement.has_overrides else self.programs

    def context_params(self, runtime: Runtime) -> ContextParams:
        """Settings as a context of this model resolves them."""
        arch = self.arch
        speculation = None
        if runtime.drafts_with_mtp:
            rolls_back = arch is not None and arch.rolls_back
            speculation = Speculation(n_rs_seq=runtime.spec_draft_n_max if rolls_back else 0)
        return ContextParams.resolve(
            self.hp,
            runtime,
            has_encoder=arch is not None and arch.has_encoder,
            speculation=speculation,
        )

    def context(self, runtime: Runtime) -> tuple[ContextParams, Layout]:
        """Settings and memory of a context."""
        ctx = self.context_params(runtime)
        return ctx, self.layout(ctx)

    def layout(self, ctx: ContextParams) -> Layout:
        """Memory of a context."""
        if self.arch is not None:
            return self.arch.lay_out(self.hp, ctx)
        return build_draft_layout(self.hp, ctx) if ctx.drafts else build_layout(self.hp, ctx)

    def placed(
        self,
        n_gpus: int,
        runtime: Runtime,
        ctx: ContextParams,
        proportions: Sequence[float] | None = None,
    ) -> _Placed:
        """Devices of blocks and weights, computed once per setting.

        `-ts` comes before the proportions, which stand for free memory.
        """
        shares = runtime.shares(n_gpus) or tuple(proportions or ())
        key = (
            *(n_gpus, shares, runtime.n_gpu_layers, runtime.n_cpu_moe),
            *(runtime.override_tensor, runtime.no_kv_offload),
        )
        found = self._placed.get(key)
        if found is None:
            arch = self.arch
            placement = Placement(
                self.hp,
                n_gpus,
                n_gpu_layers=runtime.n_gpu_layers,
                n_cpu_moe=runtime.n_cpu_moe,
                override_tensor=runtime.override_tensor,
                kv_offload=not runtime.no_kv_offload,
                proportions=shares,
                ties_output=arch.ties_output if arch else True,
                stock=self.stock,
            )
            weights = tuple(placement.weights_bytes())
            folds: Callable[[], tuple[Fold, ...]] = tuple
            apart = None
            if arch:
                folds = cache(partial(_folds, arch, self.hp, placement, ctx))
                if placement.is_regular:
                    apart = self._set_apart(arch, placement, ctx)
            found = self._placed[key] = _Placed(key, placement, weights, folds, apart)
        return found

    def _set_apart(
        self, arch: Architecture, placement: Placement, ctx: ContextParams
    ) -> Apart | None:
        """The model with every block on a device of its own, found once.

        None where a cache is another context's.
        """
        if not self._is_apart_known:
            self._is_apart_known = True
            hp, layout = self.hp, self.layout(ctx)
            if not any(cache.is_shared for cache in layout.caches.values()):
                signatures = layer_signatures(hp, placement, layout)
                kinds: list[Hashable]
                kinds = [(n, il % arch.period) for il, (_, n) in enumerate(signatures)]
                self._apart = Apart.of(Placement.apart(hp, self.stock, arch.ties_output), kinds)
        return self._apart


def _folds(
    arch: Architecture, hp: HParams, placement: Placement, ctx: ContextParams
) -> tuple[Fold, ...]:
    """What can be left out; without the shape, which keeps this and would be kept by it."""
    return find_folds(hp, placement, arch.lay_out(hp, ctx), arch.period)


_NO_OVERHEAD = Term("overhead", 0, Basis.ESTIMATED)


@dataclass(frozen=True, slots=True)
class Extras:
    """What is loaded beside a model."""

    lora: tuple[Header, ...] = ()
    draft: ModelShape | None = None
    mmproj: Header | None = None


def trunk_only(hp: HParams, name: str) -> bool:
    """Load all tensors but those of nextn/MTP blocks, which speculation alone needs."""
    il = block_of(name)
    return il is None or il < hp.n_layer


def depends_on_capability(runtime: Runtime) -> bool:
    """Whether cards before Ada Lovelace may need other buffers than cards since.

    They attend to one or two tokens per sequence with another kernel, which matters where
    that one reads an f16 copy of the cache. Graphs so small are those of a tiny micro-batch,
    and those of generation where they can be the larger ones.

    Source: fattn.cu `ggml_cuda_get_best_fattn_kernel`.
    """
    types = (runtime.cache_type_k, runtime.cache_type_v)
    if types == ("f16", "f16"):
        return False
    few = 2 if any(TYPES[t].is_quantized for t in types) else 1
    n_seqs = runtime.n_seq_max
    n_ubatch = min(runtime.n_ctx or runtime.n_batch, runtime.n_batch, runtime.n_ubatch)
    per_seq = -(-n_ubatch // n_seqs)
    grown = 1 if not runtime.is_unified else n_seqs
    generates = runtime.leaves_on_host or n_ubatch < GENERATION_RATIO * n_seqs
    return per_seq * grown == few or (generates and grown == few)


def estimate_memory(
    shape: ModelShape,
    runtime: Runtime,
    gpus: Sequence[str],
    *,
    proportions: Sequence[float] | None = None,
    overhead: Sequence[Term] = (),
    dry_run: bool = False,
    explain: bool = False,
    fold: bool = True,
    extras: Extras | None = None,
    capabilities: Sequence[Capability] = (),
    in_use: bool = False,
) -> Estimate:
    """Estimate memory on `gpus` (names, one per device) and on the host.

    Args:
        shape: the model.
        runtime: settings.
        gpus: names of the GPUs taking part; none = CPU only.
        proportions: share of the blocks per GPU where the settings give none, by default equal.
        overhead: CUDA overhead per GPU.
        dry_run: what llama.cpp's own dry run reports instead of what it allocates.
        explain: record what is alive at the peaks.
        fold: leave out blocks that repeat where that is proved to change nothing.
        extras: what is loaded beside the model.
        capabilities: compute capability per GPU; none = Ada Lovelace or newer, see
            `depends_on_capability`.
        in_use: for a dry run of `--spec-type draft-mtp`: graphs as they are from the first
            batch on, rather than at the start. What is allocated is the larger of both.

    Raises:
        InvalidGguf: an adapter or projector is not one, or not of this model.
        UnsupportedModel: the pinned llama.cpp does not know the projector.
    """
    extras = extras or Extras()
    if runtime.drafts_with_mtp:
        shape = shape.with_mtp
    elif extras.draft is not None and runtime.n_outputs is None and not runtime.embeddings:
        # Every drafted token of every slot is verified in one batch.
        rows = runtime.n_seq_max * (1 + runtime.spec_draft_n_max)
        runtime = runtime.with_(n_outputs=min(runtime.n_batch, rows))
    hp, arch = shape.hp, shape.arch
    devices = gpus[:1] if runtime.split_mode == "none" else gpus
    ctx = shape.context_params(runtime)
    placed = shape.placed(len(devices), runtime, ctx, proportions)
    placement, weights = placed.placement, placed.weights
    kv, recurrent = placed.states(shape, ctx)
    adapters = tuple(read_adapter(header, hp) for header in extras.lora)
    warnings = [arch.caveat] if arch is not None and arch.caveat else []
    warnings += _uneven(runtime, placement)
    buffers = None
    if arch is not None:
        engine = Engine(
            arch,
            hp,
            ctx,
            placement,
            dry_run=dry_run,
            can_pipeline=runtime.split_mode == "layer",
            auto_flash=runtime.flash_attn == "auto" and not runtime.has_quantized_v,
            adapters=adapters,
            folds=tuple if adapters else placed.folds,
            apart=None if adapters else placed.apart,
            probed=placed.probed,
            programs={} if adapters else shape.programs_of(placement),
            stamps=shape.graphs.stamps,
            key=placed.key,
            capabilities=tuple(capabilities[: len(devices)]),
        )
        buffers = _reserve(
            engine if fold else engine.unfolded(), _stages(dry_run, in_use), explain=explain
        )
    if buffers is None:
        warnings.append(
            f"The compute buffers of {hp.arch} come from a formula, not from its own graph."
        )
        pipelined = len(devices) > 1 and placement.full_offload and not placement.has_overrides
        compute = compute_terms(hp, ctx, shape.layout(ctx), placement, pipelined=pipelined)
    else:
        compute = [Term("compute", size) for size in buffers.sizes]
    beside = _extra_terms(extras, adapters, placement, runtime, devices, ctx, proportions, dry_run)
    if runtime.drafts_with_mtp:
        stages = _stages(dry_run, in_use)
        drafted = _mtp_terms(
            shape, placement, extras, runtime, devices, ctx, proportions, dry_run, stages
        )
        beside = [(*some, term) for some, term in zip(beside, drafted, strict=True)]
    estimates = tuple(
        [
            DeviceEstimate(
                name=f"CUDA{i}",
                gpu=name,
                weights=Term("weights", weights[i]),
                kv_cache=Term("KV cache", kv[i]),
                recurrent=Term("recurrent state", recurrent[i]),
                compute=compute[i],
                overhead=overhead[i] if overhead else _NO_OVERHEAD,
                extras=beside[i],
                peak=buffers.peaks[i] if buffers and explain else (),
            )
            for i, name in enumerate(devices)
        ]
    )
    host, homes = len(devices), placement.layer_backends
    return Estimate(
        devices=estimates,
        host=HostEstimate(
            weights=Term("weights", weights[host]),
            kv_cache=Term("KV cache", kv[host]),
            recurrent=Term("recurrent state", recurrent[host]),
            compute=compute[host],
            output=Term("outputs", _output_bytes(hp, ctx, runtime, extras, in_use or not dry_run)),
            extras=beside[host],
            peak=buffers.peaks[host] if buffers and explain else (),
        ),
        n_ctx=ctx.n_ctx,
        n_ctx_seq=ctx.n_ctx_seq,
        n_ubatch=ctx.n_ubatch,
        n_seq_max=ctx.n_seq_max,
        flash_attn=buffers.flash_attn if buffers else ctx.flash_attn,
        n_copies=buffers.n_copies if buffers else 1,
        has_graph=buffers is not None,
        offloaded_layers=len(homes) - homes.count(placement.host),
        warnings=tuple(warnings),
    )


def _uneven(runtime: Runtime, placement: Placement) -> Iterator[str]:
    """What a `-ts` of more or fewer values than GPUs does, one sentence each."""
    n_gpus = placement.n_gpus
    if not runtime.n_shares or n_gpus < 2:
        return
    option = f"-ts {runtime.tensor_split_text}"
    if runtime.n_shares > n_gpus:
        yield f"{option} has more values than {n_gpus} GPUs: the last are not read."
    # Fewer layers than GPUs, as with a small -ngl, are nothing that the shares could help.
    shares = runtime.shares(n_gpus) if placement.full_offload else ()
    idle = [f"CUDA{i}" for i, _ in enumerate(shares) if i not in placement.layer_backends]
    if idle:
        yield f"{option} leaves {' and '.join(idle)} of {n_gpus} GPUs without a layer."


def _extra_terms(
    extras: Extras,
    adapters: Sequence[Adapter],
    placement: Placement,
    runtime: Runtime,
    devices: Sequence[str],
    ctx: ContextParams,
    proportions: Sequence[float] | None,
    dry_run: bool,
) -> list[tuple[Term, ...]]:
    """Terms of everything beside the model, per backend."""
    found: list[list[Term]] = []
    if adapters:
        found.append(lora_terms(adapters, placement))
    if extras.draft is not None and not runtime.drafts_with_mtp:
        found.append(_draft_terms(extras.draft, runtime, devices, ctx, proportions, dry_run))
    if extras.mmproj is not None:
        found.append(mmproj_terms(extras.mmproj, len(devices)))
    return [tuple(terms[i] for terms in found) for i in range(len(devices) + 1)]


def _draft_terms(
    draft: ModelShape,
    runtime: Runtime,
    devices: Sequence[str],
    ctx: ContextParams,
    proportions: Sequence[float] | None,
    dry_run: bool,
) -> list[Term]:
    """Draft model per backend: its weights, its cache of the same length, its graph.

    This is `--spec-type draft-simple` with a smaller model of the same vocabulary. Not counted is
    what `draft-eagle3` and `draft-dflash` add.
    """
    check_draft_model(draft.hp)
    check_cache(draft.hp, runtime)
    own = _draft_runtime(runtime, ctx)
    estimate = estimate_memory(draft, own, devices, proportions=proportions, dry_run=dry_run)
    basis = Basis.EXACT if estimate.is_exact else Basis.DERIVED
    totals = [d.total_bytes for d in estimate.devices] + [estimate.host.total_bytes]
    return [Term("draft model", n, basis) for n in totals]


def _draft_runtime(runtime: Runtime, ctx: ContextParams) -> Runtime:
    """Settings of the context that drafts, beside a model's own.

    A draft model runs on all blocks' default devices, whatever the model's own `-ngl`, `-ncmoe`,
    `-ot` and cache types are; `-ts` and `-nkvo` hold for both.

    Source: llama.cpp common/speculative.cpp `common_base_params_to_speculative`,
    `common_speculative_init_result`.
    """
    return Runtime(
        n_ctx=ctx.n_ctx,
        n_parallel=ctx.n_seq_max,
        kv_unified=ctx.kv_unified,
        cache_type_k=runtime.spec_draft_type_k,
        cache_type_v=runtime.spec_draft_type_v,
        flash_attn=runtime.flash_attn,
        n_batch=runtime.n_batch,
        n_ubatch=runtime.n_ubatch,
        n_outputs=ctx.n_seq_max,
        split_mode=runtime.split_mode,
        tensor_split=runtime.tensor_split,
        swa_full=runtime.swa_full,
        no_kv_offload=runtime.no_kv_offload,
    )


def _mtp_terms(
    shape: ModelShape,
    placement: Placement,
    extras: Extras,
    runtime: Runtime,
    devices: Sequence[str],
    ctx: ContextParams,
    proportions: Sequence[float] | None,
    dry_run: bool,
    stages: Sequence[bool],
) -> list[Term]:
    """Context of nextn/MTP blocks per backend: their cache, their graph, what they put out.

    Its weights are the model's, and so is their place, unless a draft model brings them.
    """
    own = _draft_runtime(runtime, ctx)
    drafter, name = shape, "draft context"
    if extras.draft is not None:
        drafter, name = extras.draft.with_mtp, "draft model"
    else:
        own = own.with_(
            n_gpu_layers=runtime.n_gpu_layers,
            n_cpu_moe=runtime.n_cpu_moe,
            override_tensor=runtime.override_tensor,
        )
    hp = drafter.hp
    arch = require_draft_graph(drafter.arch, hp)
    check_target(shape.hp, hp)
    check_cache(hp, runtime)
    own_ctx = replace(drafter.context_params(own), speculation=Speculation(drafts=True))
    if any(cache.is_shared for cache in drafter.layout(own_ctx).caches.values()):
        own_ctx = _beside_target(own_ctx, ctx, placement)
    placed = drafter.placed(len(devices), own, own_ctx, proportions)
    engine = Engine(
        arch,
        hp,
        own_ctx,
        placed.placement,
        dry_run=dry_run,
        can_pipeline=own.split_mode == "layer",
        auto_flash=own.flash_attn == "auto" and not own.has_quantized_v,
        probed=placed.probed,
        programs=drafter.programs_of(placed.placement),
        key=placed.key,
    )
    buffers = _reserve(engine, stages, explain=False)
    if buffers is None:
        raise InvalidGguf("The nextn/MTP blocks of the file make no graph.")
    totals = [*buffers.sizes]
    totals[-1] += draft_output_bytes(drafter, own_ctx.n_seq_max, in_use=stages[-1])
    parts = [*placed.states(drafter, own_ctx), *([placed.weights] if drafter is not shape else [])]
    for part in parts:
        totals = [total + n for total, n in zip(totals, part, strict=True)]
    return [Term(name, n, note=GROWS_LATER) for n in totals]


def _beside_target(
    own: ContextParams, target: ContextParams, placement: Placement
) -> ContextParams:
    """The context of a drafter that reads its target's caches: of their types, where they are."""
    last = placement.hp.n_layer - 1
    backends = tuple(placement.state_backend(max(0, il)) for il in (last - 1, last))
    speculation = Speculation(drafts=True, target_backends=backends)
    return replace(own, type_k=target.type_k, type_v=target.type_v, speculation=speculation)


def draft_output_bytes(drafter: ModelShape, n_seq_max: int, *, in_use: bool) -> int:
    """What the context of nextn/MTP blocks puts out, in pinned memory.  [bytes]

    Logits of one row per sequence and, in use, its hidden state and what sampling leaves.

    Source: src/llama-context.cpp `output_reserve`.
    """
    hp = drafter.hp
    row = 4 * hp.n_vocab + 1 + hp.n_embd_out if in_use else hp.n_vocab
    return 4 * max(1, n_seq_max) * row


def _stages(dry_run: bool, in_use: bool) -> tuple[bool, ...]:
    """For which graphs memory is needed: those at the start, and those in use."""
    return (in_use,) if dry_run else (False, True)


def _reserve(engine: Engine, stages: Sequence[bool], *, explain: bool) -> Buffers | None:
    """Reserve graphs of all stages, which differ only where something is drafted."""
    speculation = engine.ctx.speculation
    if speculation is None:
        return _reserve_one(engine, explain=explain)
    found: Buffers | None = None
    for in_use in stages:
        ctx = replace(engine.ctx, speculation=replace(speculation, in_use=in_use))
        buffers = _reserve_one(replace(engine, ctx=ctx), explain=explain)
        if buffers is None:
            return None
        found = buffers if found is None else larger(found, buffers)
    return found


def _reserve_one(engine: Engine, *, explain: bool) -> Buffers | None:
    """Reserve a graph, or None where the header's shapes do not make one.

    A file can pass every check and still hold shapes that its architecture's graph
    cannot be built from; the formula plans it then.
    """
    try:
        return engine.reserve(explain=explain)
    except GgufctlError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _output_bytes(
    hp: HParams, ctx: ContextParams, runtime: Runtime, extras: Extras, in_use: bool
) -> int:
    """Logits (and embeddings) of one row per sequence, in pinned memory.  [bytes]

    With a draft, of all rows that a batch verifies; nextn/MTP blocks read the hidden state of
    every token besides. T5 hands its encoder's result over as embeddings, whatever was asked for.

    Source: src/llama-context.cpp `output_reserve`.
    """
    has_embd = ctx.embeddings or hp.arch == "t5"
    width = hp.n_vocab + (hp.n_embd_out if has_embd else 0)
    if not runtime.drafts_with_mtp:
        verified = 0 if extras.draft is None else ctx.n_outputs_max
        return 4 * max(1, ctx.n_seq_max, verified) * width
    n_max = runtime.spec_draft_n_max
    if extras.draft is None and hp.n_layer_nextn > 1:
        # Each block is trained for one more token.
        n_max = min(n_max, hp.n_layer_nextn)
    verified = min(ctx.n_outputs_max, ctx.n_seq_max * (1 + n_max)) if in_use else 0
    hidden = hp.n_embd_out * ctx.n_batch if in_use else 0
    return 4 * (max(1, ctx.n_seq_max, verified) * width + hidden)
