"""Estimates what llama.cpp allocates for a model, on every device and on the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import repeat
from typing import NamedTuple

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.closed_form import compute_terms
from ggufctl.core.engine import GENERATION_RATIO, Apart, Buffers, Engine, Program, Stamps
from ggufctl.core.estimate import Basis, DeviceEstimate, Estimate, HostEstimate, Term
from ggufctl.core.extras import (
    DRAFT_N_MAX,
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
from ggufctl.core.layout import ContextParams, Layout, build_layout
from ggufctl.core.placement import Placement, Stock, block_of
from ggufctl.core.runtime import Runtime
from ggufctl.errors import GgufctlError, UnsupportedModel

__all__ = ["Extras", "Graphs", "ModelShape", "depends_on_capability", "estimate_memory"]


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

    Raises:
        UnsupportedModel: the pinned llama.cpp does not know the architecture.
        InvalidGguf: the header's values make no model.
    """

    def __init__(self, header: Header, graphs: Graphs | None = None) -> None:
        self.hp = HParams(header)
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
        return ContextParams.resolve(
            self.hp, runtime, has_encoder=arch is not None and arch.has_encoder
        )

    def context(self, runtime: Runtime) -> tuple[ContextParams, Layout]:
        """Settings and memory of a context."""
        ctx = self.context_params(runtime)
        return ctx, self.layout(ctx)

    def layout(self, ctx: ContextParams) -> Layout:
        """Memory of a context."""
        return self.arch.lay_out(self.hp, ctx) if self.arch else build_layout(self.hp, ctx)

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

    Raises:
        InvalidGguf: an adapter or projector is not one, or not of this model.
        UnsupportedModel: the pinned llama.cpp does not know the projector.
    """
    hp, arch = shape.hp, shape.arch
    extras = extras or Extras()
    if extras.draft is not None and runtime.n_outputs is None and not runtime.embeddings:
        # Every drafted token of every slot is verified in one batch.
        rows = runtime.n_seq_max * (1 + DRAFT_N_MAX)
        runtime = runtime.with_(n_outputs=min(runtime.n_batch, rows))
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
        buffers = _reserve(engine if fold else engine.unfolded(), explain=explain)
    if buffers is None:
        warnings.append(
            f"The compute buffers of {hp.arch} come from a formula, not from its own graph."
        )
        pipelined = len(devices) > 1 and placement.full_offload and not placement.has_overrides
        compute = compute_terms(hp, ctx, shape.layout(ctx), placement, pipelined=pipelined)
    else:
        compute = [Term("compute", size) for size in buffers.sizes]
    beside = _extra_terms(extras, adapters, placement, runtime, devices, ctx, proportions, dry_run)
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
            output=Term("outputs", _output_bytes(hp, ctx, speculates=extras.draft is not None)),
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
    if extras.draft is not None:
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

    It runs on all blocks' default devices with an f16 cache, whatever the model's own
    `-ngl`, `-ncmoe`, `-ot` and cache types are; `-ts` and `-nkvo` hold for both.

    This is `--model-draft` with a smaller model of the same vocabulary. Not counted are
    the buffers of backend samplers, and everything that other kinds of speculation add
    (`--spec-type draft-mtp`, `draft-eagle3`, `draft-dflash`): the MTP blocks' weights and
    their context, the hidden states handed to the draft, and the states that recurrent
    models keep to roll back.

    Source: llama.cpp common/speculative.cpp `common_base_params_to_speculative`,
    `common_speculative_init_result`.
    """
    own = Runtime(
        n_ctx=ctx.n_ctx,
        n_parallel=ctx.n_seq_max,
        kv_unified=ctx.kv_unified,
        flash_attn=runtime.flash_attn,
        n_batch=runtime.n_batch,
        n_ubatch=runtime.n_ubatch,
        n_outputs=ctx.n_seq_max,
        split_mode=runtime.split_mode,
        tensor_split=runtime.tensor_split,
        swa_full=runtime.swa_full,
        no_kv_offload=runtime.no_kv_offload,
    )
    estimate = estimate_memory(draft, own, devices, proportions=proportions, dry_run=dry_run)
    basis = Basis.EXACT if estimate.is_exact else Basis.DERIVED
    totals = [d.total_bytes for d in estimate.devices] + [estimate.host.total_bytes]
    return [Term("draft model", n, basis) for n in totals]


def _reserve(engine: Engine, *, explain: bool) -> Buffers | None:
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


def _output_bytes(hp: HParams, ctx: ContextParams, *, speculates: bool = False) -> int:
    """Logits (and embeddings) of one row per sequence, in pinned memory.  [bytes]

    With a draft model, of all rows that a batch verifies. T5 hands its encoder's result over as
    embeddings, whatever was asked for.

    Source: src/llama-context.cpp `output_reserve`.
    """
    n = max(1, ctx.n_seq_max, ctx.n_outputs_max if speculates else 0)
    has_embd = ctx.embeddings or hp.arch == "t5"
    return 4 * n * (hp.n_vocab + (hp.n_embd_out if has_embd else 0))
