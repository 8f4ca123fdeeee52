"""How fast a model runs on a GPU: tokens per second out of what each token has to read.

A token of one stream reads every weight it meets and the cells of its context once, and each
block costs a fixed time beside. Several streams share the reading of weights. Coefficients are
data (`data/speed.json`): what they were fitted on and how far off they were is printed by
`python -m tests.speed.report`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ggufctl.core.estimate import Estimate
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.placement import Placement
from ggufctl.core.ranges import Range
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.gpus import Gpu
    from ggufctl.core.hparams import HParams
    from ggufctl.core.memory import ModelShape
    from ggufctl.core.planner import GpuPlan
    from ggufctl.core.runtime import Runtime

__all__ = [
    "Calibration",
    "Cells",
    "ColdStartModel",
    "GpuSpeed",
    "Speed",
    "SpeedModel",
    "Traffic",
    "predict_speed",
    "speeds_from_document",
    "step_seconds",
    "traffic",
]

DEFAULT_DEPTH = 2048
"""Context in use that a speed is stated for, where a slot has room for twice that.  [tokens]"""

OFFLOAD_BATCH = 32
"""From this many tokens on a GPU computes with weights that lie on the host.

Source: llama.cpp ggml/src/ggml-cuda/ggml-cuda.cu `offload_op`.
"""

HOST_ATTENTION_FLOPS = Range(2e10, 1e11, 6e11)
"""Rate at which a processor attends to a whole batch.  [operations/s]

A GPU attends to the prompts of a cache on the host too, unless flash attention is off and
`-nkvo` is given. Not measured: 1 to 32 cores with AVX2 at a third of 60e9 operations/s each.

Source: llama.cpp src/llama-graph.cpp `build_attn_mha`, which pins attention to the host.
"""


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """Coefficients that all GPUs have in common; each range comes with its source."""

    as_of: str
    source: str
    moe_layer_factor: Range
    moe_prefill_factor: Range
    plain_types: frozenset[str]
    """Tensor types that are cheaper to unpack than those the fit was made with."""
    plain_factor: Range
    split_us_per_layer: Range
    ns_per_vocab: float
    """Cost of a row of the vocabulary per token: its logit is moved.  [nanoseconds]"""
    cell_ns: Range
    """Least cost of looking at one cell of the context, per block.  [nanoseconds]"""
    batch_us_share: Range
    """What is left of a batch's cost per block where graphs are launched as a whole."""
    sampling_ms: Range
    """Of every further stream: its token is sampled on the host, one after another."""
    host_gb_s: Range
    pcie_gb_s: Range
    kv_efficiency: Range
    quantized_kv_efficiency: Range
    attention_efficiency: Range
    token_latency_ms: Range
    cold_start: ColdStartModel
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Coefficient → where it comes from."""

    def source_of(self, name: str) -> str:
        """Where a coefficient comes from; empty when nothing is said."""
        return self.sources.get(name, "")


@dataclass(frozen=True, slots=True)
class ColdStartModel:
    """What a start is made of, before a model is known."""

    queue_seconds: Range
    image_seconds: Range
    volume_gb_s: Range
    pcie_gb_s: Range
    ready_seconds: Range
    snapshot_seconds: Range
    least_limit_seconds: float
    limit_base_seconds: float
    limit_seconds_per_gb: float
    as_of: str


@dataclass(frozen=True, slots=True)
class GpuSpeed:
    """Coefficients of one GPU."""

    eff_bw_gb_s: float
    """Rate at which weights are read and multiplied by one vector.  [1e9 bytes/s]"""
    us_per_layer: float
    """Fixed cost of a block.  [microseconds]"""
    prefill_us_per_layer: float
    """Fixed cost of a block of a physical batch.  [microseconds]"""
    prefill_flops: float
    """Rate of matrix products of whole batches.  [operations/s]"""
    batch_us_per_layer: float
    """What a block costs more with several streams.  [microseconds]"""
    batch_flops: float
    """Rate of matrix products with one token of each of some streams.  [operations/s]"""
    spread: Range
    """Measured over predicted decode speed: how far off it may be."""
    prefill_spread: Range
    basis: str
    common: SpeedModel
    start_spread: Range | None = None
    """Measured over predicted time from reading weights to an answer, of a user's own starts."""
    start_basis: str = ""
    """Where that comes from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A user's own measurements of the same GPU and build, over what was predicted for them.

    Attributes:
        decode: factor on tokens/s of one stream.
        prefill: factor on tokens/s of prompts.
        note: what it was measured on, for the basis.
    """

    decode: Range | None = None
    prefill: Range | None = None
    note: str = ""


def speeds_from_document(
    document: Mapping[str, Any], bandwidths: Mapping[str, float], tflops: Mapping[str, float]
) -> dict[str, GpuSpeed]:
    """Coefficients of every GPU named in `bandwidths`, fitted or from the means of the others.

    Args:
        document: `data/speed.json`.
        bandwidths: name → nominal bandwidth.  [1e9 bytes/s]
        tflops: name → dense half-precision rate of the data sheet.
    """
    common = _common(document)
    known = {row["gpu"]: row for row in document["gpus"]}
    unknown = document["unknown_gpu"]
    found = {}
    for name, bandwidth in bandwidths.items():
        row = known.get(name) or {
            **unknown,
            "eff_bw_gb_s": unknown["eff_bw_share"] * bandwidth,
            "prefill_tflops": unknown["prefill_share"] * tflops[name],
            "batch_tflops": unknown["prefill_share"] * tflops[name],
        }
        low, high = document["spread"][row["confidence"]]
        low_prefill, high_prefill = document["prefill_spread"][row["prefill_confidence"]]
        found[name] = GpuSpeed(
            eff_bw_gb_s=row["eff_bw_gb_s"],
            us_per_layer=row["us_per_layer"],
            prefill_us_per_layer=row["prefill_us_per_layer"],
            prefill_flops=row["prefill_tflops"] * 1e12,
            batch_us_per_layer=row["batch_us_per_layer"],
            batch_flops=row["batch_tflops"] * 1e12,
            spread=Range(low, 1.0, high),
            prefill_spread=Range(low_prefill, 1.0, high_prefill),
            basis=f"{row['basis']} ({row['confidence']})",
            common=common,
        )
    return found


def _range(row: Mapping[str, Any]) -> Range:
    return Range(row["low"], row["best"], row["high"])


def _common(document: Mapping[str, Any]) -> SpeedModel:
    cold = document["cold_start"]
    plain = document["plain_quant_factor"]
    named = {
        name: row["source"]
        for name, row in (*document.items(), *cold.items())
        if isinstance(row, Mapping) and "source" in row
    }
    return SpeedModel(
        as_of=document["as_of"],
        source=document["source"],
        moe_layer_factor=_range(document["moe_layer_factor"]),
        moe_prefill_factor=_range(document["moe_prefill_factor"]),
        plain_types=frozenset(plain["types"]),
        plain_factor=_range(plain),
        split_us_per_layer=_range(document["split_us_per_layer"]),
        ns_per_vocab=document["ns_per_vocab"]["best"],
        cell_ns=_range(document["cell_ns"]),
        batch_us_share=_range(document["batch_us_share"]),
        sampling_ms=_range(document["sampling_ms"]),
        host_gb_s=_range(document["host_gb_s"]),
        pcie_gb_s=_range(document["pcie_gb_s"]),
        kv_efficiency=_range(document["kv_efficiency"]),
        quantized_kv_efficiency=_range(document["quantized_kv_efficiency"]),
        attention_efficiency=_range(document["attention_efficiency"]),
        token_latency_ms=_range(document["token_latency_ms"]),
        cold_start=ColdStartModel(
            queue_seconds=_range(cold["queue_seconds"]),
            image_seconds=_range(cold["image_seconds"]),
            volume_gb_s=_range(cold["volume_gb_s"]),
            pcie_gb_s=_range(document["pcie_gb_s"]),
            ready_seconds=_range(cold["ready_seconds"]),
            snapshot_seconds=_range(cold["snapshot_seconds"]),
            least_limit_seconds=cold["least_limit_seconds"],
            limit_base_seconds=cold["limit_base_seconds"],
            limit_seconds_per_gb=cold["limit_seconds_per_gb"],
            as_of=cold["as_of"],
        ),
        sources=named,
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one token makes a placement read, whatever the GPU and the context.  [bytes]"""

    gpu_dense_bytes: float
    """Weights on GPUs that every token reads."""
    gpu_expert_bytes: float
    """All experts on GPUs; a token reads the share it uses."""
    host_dense_bytes: float
    host_expert_bytes: float
    expert_share: float
    """Experts used of those there are; 1 without experts."""
    plain_bytes: float
    """Of what one token reads: in types that are cheap to unpack."""
    n_layer: int
    n_moe_layer: int
    n_vocab: int
    active_params: float
    """Weights that one token is multiplied with."""
    host_cache_share: float
    """Of the blocks with a cache: those whose cache lies on the host."""
    attends_on_host: bool
    """Whether prompts attend there too (`-nkvo` without flash attention)."""
    total_bytes: int
    """All weights that are loaded, padding included."""
    attention_width: float
    """Query heads × head sizes over all attending blocks: cost of looking at one cell."""

    @property
    def active_bytes(self) -> float:
        """Of one token alone.  [bytes]"""
        return self.gpu_bytes(1) + self.host_bytes(1)

    def gpu_bytes(self, n_tokens: int) -> float:
        """Read on GPUs by a step with one token of each of `n_tokens` streams.  [bytes]"""
        return self.gpu_dense_bytes + self.gpu_expert_bytes * self.touched(n_tokens)

    def host_bytes(self, n_tokens: int) -> float:
        """The same on the host.  [bytes]"""
        return self.host_dense_bytes + self.host_expert_bytes * self.touched(n_tokens)

    def touched(self, n_tokens: int) -> float:
        """Share of the experts that `n_tokens` tokens meet, each choosing by itself."""
        return 1.0 - (1.0 - self.expert_share) ** n_tokens


@dataclass(slots=True)
class _Kept:
    """What was found out about a model already."""

    traffic: dict[Hashable, Traffic] = field(default_factory=dict)
    cells: dict[Hashable, Cells] = field(default_factory=dict)
    active: dict[frozenset[str], _Active] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cells:
    """Caches by what one more token in the context adds to reading."""

    parts: tuple[tuple[int, float, int], ...]
    """(cells at most, bytes of a cell over all blocks, blocks)."""
    state_bytes: float
    """Recurrent states of one sequence, read and written with every token."""
    share: int
    """Context that one slot has when all are busy.  [tokens]"""
    most: int
    """Context that one slot has when the others are idle.  [tokens]"""
    n_slots: int
    n_ubatch: int
    is_unified: bool
    has_quantized: bool

    def bytes_at(self, depth: int) -> float:
        """Read by one token with `depth` tokens before it.  [bytes]"""
        return self.state_bytes + sum(min(depth, limit) * size for limit, size, _ in self.parts)

    def looks_at(self, depth: int) -> int:
        """Cells that one token looks at, all blocks together."""
        return sum(min(depth, limit) * n for limit, _, n in self.parts)


_KEPT: WeakKeyDictionary[ModelShape, _Kept] = WeakKeyDictionary()


def _kept(shape: ModelShape) -> _Kept:
    found = _KEPT.get(shape)
    if found is None:
        found = _KEPT[shape] = _Kept()
    return found


def traffic(
    shape: ModelShape, n_gpus: int, runtime: Runtime, plain_types: frozenset[str] = frozenset()
) -> Traffic:
    """What a token reads of a model on so many GPUs, computed once per setting."""
    known = _kept(shape).traffic
    key = (
        n_gpus,
        runtime.n_gpu_layers,
        runtime.n_cpu_moe,
        runtime.override_tensor,
        runtime.no_kv_offload,
        runtime.shares(n_gpus),
        runtime.flash_attn,
        runtime.embeddings,
        runtime.drafts_with_mtp,
        plain_types,
    )
    found = known.get(key)
    if found is None:
        found = known[key] = _traffic(shape, n_gpus, runtime, plain_types)
    return found


def _traffic(
    shape: ModelShape, n_gpus: int, runtime: Runtime, plain_types: frozenset[str]
) -> Traffic:
    hp = shape.hp
    ctx = shape.context_params(runtime)
    placed = shape.placed(n_gpus, runtime, ctx)
    placement = placed.placement
    # What drafts is loaded as well, and no part of what a token reads of the model alone.
    is_whole = not runtime.drafts_with_mtp
    loaded = placed if is_whole else shape.with_mtp.placed(n_gpus, runtime, ctx)
    share = hp.n_expert_used / hp.n_expert if hp.n_expert > 1 else 1.0
    read = _read_bytes(hp, placement)
    active = _active(shape, plain_types, share)
    params, plain = active.params, active.plain_bytes
    embeddings = hp.tensors.get("token_embd.weight")
    if placement.is_tied and embeddings is not None and not runtime.embeddings:
        output = placement.tied_output_backend(embeddings)
        read[output == placement.host, False] += embeddings.n_bytes
        params += prod(embeddings.shape)
        if embeddings.type in plain_types:
            plain += embeddings.n_bytes
    n_layer = hp.n_layer or hp.n_layer_all
    on_host = sum(where == placement.host for where in placement.layer_backends[:n_layer])
    width = sum(hp.n_head(il) * hp.n_embd_head_k(il) for il in range(n_layer) if not hp.is_recr(il))
    return Traffic(
        gpu_dense_bytes=float(read[False, False]),
        gpu_expert_bytes=float(read[False, True]),
        host_dense_bytes=float(read[True, False]),
        host_expert_bytes=float(read[True, True]),
        expert_share=share,
        plain_bytes=plain,
        n_layer=n_layer,
        n_moe_layer=active.n_moe_layer,
        n_vocab=0 if runtime.embeddings else hp.n_vocab,
        active_params=params,
        host_cache_share=1.0 if runtime.no_kv_offload else on_host / n_layer,
        attends_on_host=not n_gpus or (runtime.no_kv_offload and runtime.flash_attn == "off"),
        total_bytes=sum(loaded.weights),
        attention_width=float(width),
    )


def _read_bytes(hp: HParams, placement: Placement) -> Counter[tuple[bool, bool]]:
    """Bytes of weights by whether they are on the host and whether they are experts'."""
    read: Counter[tuple[bool, bool]] = Counter()
    blocks = list(map(placement.block, placement.stock.blocks))
    # Blocks alike are one object, and told from others fastest by its identity.
    counts = Counter(map(id, blocks))
    for block in {id(block): block for block in blocks}.values():
        n_blocks = counts[id(block)]
        for tensor, where in block.loaded:
            is_expert = hp.n_expert > 1 and "exps." in tensor.rest
            read[where == placement.host, is_expert] += n_blocks * tensor.info.n_bytes
    for info in placement.stock.others:
        if not _is_gathered(info.name):
            is_expert = hp.n_expert > 1 and "exps." in info.name
            read[placement.backend(info.name) == placement.host, is_expert] += info.n_bytes
    return read


class _Active(NamedTuple):
    """What a token takes part of, wherever it is."""

    params: float
    plain_bytes: float
    n_moe_layer: int


def _active(shape: ModelShape, plain_types: frozenset[str], share: float) -> _Active:
    known = _kept(shape).active
    found = known.get(plain_types)
    if found is None:
        found = known[plain_types] = _new_active(shape, plain_types, share)
    return found


def _new_active(shape: ModelShape, plain_types: frozenset[str], share: float) -> _Active:
    stock, is_moe = shape.stock, shape.hp.n_expert > 1
    params = plain = 0.0
    n_moe_layer = 0
    one_of = {kind: il for il, kind in stock.kinds.items()}
    alike = [
        (n_blocks, [t.info for t in stock.weights(one_of[kind]) if t.is_loaded])
        for kind, n_blocks in Counter(stock.kinds.values()).items()
    ]
    for n_blocks, infos in [(0, stock.others), *alike]:
        has_experts = False
        for info in infos:
            if _is_gathered(info.name):
                continue
            is_expert = is_moe and "exps." in info.name
            has_experts |= is_expert
            used = (n_blocks or 1) * (share if is_expert else 1.0)
            params += prod(info.shape) * used
            if info.type in plain_types:
                plain += info.n_bytes * used
        n_moe_layer += n_blocks * has_experts
    return _Active(params, plain, n_moe_layer)


_GATHERED = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")


def _is_gathered(name: str) -> bool:
    """Whether only a row per token is read of a tensor, which is next to nothing."""
    return name.startswith(_GATHERED)


def _cells(shape: ModelShape, runtime: Runtime) -> Cells:
    known = _kept(shape).cells
    found = known.get(runtime)
    if found is None:
        found = known[runtime] = _new_cells(shape, runtime)
    return found


def _new_cells(shape: ModelShape, runtime: Runtime) -> Cells:
    hp = shape.hp
    ctx, layout = shape.context(runtime)
    sizes: dict[int, tuple[float, int]] = {}
    for name, cache in layout.caches.items():
        limit = cache.n_cells
        if "swa" in name and hp.n_swa:
            limit = min(limit, hp.n_swa)
        per_cell = sum(
            (row_bytes(cache.type_k, layer.n_k) if layer.n_k else 0)
            + (row_bytes(cache.type_v, layer.n_v) if layer.n_v else 0)
            for layer in cache.layers.values()
        )
        known, n = sizes.get(limit, (0.0, 0))
        sizes[limit] = known + per_cell, n + len(cache.layers)
    state = sum(layout.recurrent_bytes(il) for il in range(hp.n_layer_all)) / layout.n_rs_rows
    n_slots = max(1, ctx.n_seq_max)
    return Cells(
        parts=tuple((limit, size, n) for limit, (size, n) in sorted(sizes.items())),
        state_bytes=2.0 * state,
        share=max(1, ctx.n_ctx // n_slots),
        most=max(1, ctx.n_ctx_seq),
        n_slots=n_slots,
        n_ubatch=ctx.n_ubatch,
        is_unified=ctx.kv_unified,
        has_quantized=TYPES[ctx.type_k].is_quantized or TYPES[ctx.type_v].is_quantized,
    )


@dataclass(frozen=True, slots=True)
class Speed:
    """Estimated speeds of a model on some GPUs.

    Attributes:
        decode_tokens_per_s: of one stream alone; of a model that embeds, tokens it reads.
        aggregate_tokens_per_s: of all slots together, all of them busy.
        prefill_tokens_per_s: of a prompt that fills one physical batch.
        embeds: it reads texts and writes none.
        n_slots: slots that are busy in the aggregate.
        depth_tokens: context in use that decode speeds are stated for.
        prompt_tokens: of the request whose time to the first token is shown.
        active_bytes: weights that one token reads.  [bytes]
        basis: where each figure comes from.
    """

    decode_tokens_per_s: Range
    aggregate_tokens_per_s: Range
    prefill_tokens_per_s: Range
    embeds: bool
    n_slots: int
    depth_tokens: int
    prompt_tokens: int
    active_bytes: int
    basis: tuple[str, ...]
    prompt_seconds: tuple[Range, Range, Range]
    """Of a prompt: constant, times its tokens, times their square.  [s]"""

    def ttft_seconds(self, prompt_tokens: int) -> Range:
        """From a request to its first token when nothing else is running.  [s]"""
        fixed, linear, square = self.prompt_seconds
        return (
            fixed
            + linear.scale(float(prompt_tokens))
            + square.scale(float(prompt_tokens) * prompt_tokens)
        )

    def request_seconds(self, prompt_tokens: int, output_tokens: int) -> Range:
        """From a request to its last token when nothing else is running.  [s]"""
        decode = self.decode_tokens_per_s.invert(float(max(0, output_tokens - 1)))
        return self.ttft_seconds(prompt_tokens) + decode


def predict_speed(
    shape: ModelShape,
    row_or_estimate: GpuPlan | Estimate | None,
    gpu: Gpu,
    count: int,
    runtime: Runtime,
    *,
    calibration: Calibration | None = None,
    depth_tokens: int | None = None,
    prompt_tokens: int | None = None,
) -> Speed:
    """Estimate how fast `count` cards of one type run a model.

    Args:
        shape: the model.
        row_or_estimate: its memory there; of another quant, whose weights are scaled.
        gpu: the type of GPU, with the coefficients of the catalogue.
        count: how many; the blocks are split between them.
        runtime: settings with a context.
        calibration: a user's own figures for this GPU and build.
        depth_tokens: context in use; None = half of a slot, `DEFAULT_DEPTH` at most.
        prompt_tokens: of a typical request, for the time to its first token; None = as many.

    Raises: UsageError for a GPU without coefficients.
    """
    coefficients = gpu.speed
    if coefficients is None:
        raise UsageError(f"Nothing is known about the speed of {gpu.name}.")
    n_gpus = 1 if runtime.split_mode == "none" else count
    common = coefficients.common
    reads = traffic(shape, n_gpus, runtime, common.plain_types)
    cells = _cells(shape, runtime)
    if depth_tokens is None:
        depth_tokens = min(DEFAULT_DEPTH, cells.share // 2)
    depth_tokens = min(depth_tokens, cells.most)
    scale = _weight_scale(row_or_estimate, reads)
    own = calibration.decode if calibration is not None else None
    spread = own or coefficients.spread
    one = step_seconds(coefficients, reads, cells, scale, n_gpus, depth_tokens, 1)
    decode = one.invert() * spread
    many = decode
    if cells.n_slots > 1:
        n = cells.n_slots
        depth = min(depth_tokens, cells.share)
        step = step_seconds(coefficients, reads, cells, scale, n_gpus, depth, n)
        many = step.invert(float(n)) * spread
    # Streams beside each other are never slower together than one of them alone, nor faster
    # than each alone.
    aggregate = Range(
        min(max(many.low, decode.low), cells.n_slots * decode.low),
        min(max(many.best, decode.best), cells.n_slots * decode.best),
        min(max(many.high, decode.high), cells.n_slots * decode.high),
    )
    prompt = _prompt_seconds(coefficients, reads, cells, scale, one, calibration)
    n_prompt = cells.n_ubatch
    prefill = (prompt[1] + prompt[2].scale(float(n_prompt))).invert()
    embeds = runtime.embeddings or not shape.hp.causal_attn
    if embeds:
        # Nothing is generated: a text is read in whole batches, and that is all.
        decode = aggregate = prefill
    return Speed(
        decode_tokens_per_s=decode,
        aggregate_tokens_per_s=aggregate,
        prefill_tokens_per_s=prefill,
        embeds=embeds,
        n_slots=cells.n_slots,
        depth_tokens=depth_tokens,
        prompt_tokens=depth_tokens if prompt_tokens is None else prompt_tokens,
        active_bytes=round(reads.active_bytes * scale),
        basis=_basis(coefficients, reads, cells, n_gpus, depth_tokens, calibration),
        prompt_seconds=prompt,
    )


def _weight_scale(given: GpuPlan | Estimate | None, reads: Traffic) -> float:
    """Weights of the quant that is meant over those of the header that was read."""
    estimate = given if given is None or isinstance(given, Estimate) else given.estimate
    if estimate is None or not reads.total_bytes:
        return 1.0
    meant = sum(device.weights_bytes for device in estimate.devices)
    return (meant + estimate.host.weights_bytes) / reads.total_bytes


def step_seconds(
    gpu: GpuSpeed,
    reads: Traffic,
    cells: Cells,
    scale: float,
    n_gpus: int,
    depth: int,
    n_tokens: int,
) -> Range:
    """Time of a step with one token of each of so many streams, before a GPU's spread.  [s]"""
    common = gpu.common
    share = reads.plain_bytes / reads.active_bytes if reads.active_bytes else 0.0
    faster = common.plain_factor.map(lambda factor: 1.0 + min(1.0, share) * (factor - 1.0))
    blocks = common.moe_layer_factor.map(
        lambda factor: reads.n_layer + reads.n_moe_layer * (factor - 1.0)
    )
    fixed = blocks.scale(gpu.us_per_layer * 1e-6)
    weights = Range.exactly(reads.gpu_bytes(n_tokens) * scale / (gpu.eff_bw_gb_s * 1e9))
    seconds = (weights + fixed) * faster.invert()
    seconds += Range.exactly(reads.n_vocab * common.ns_per_vocab * 1e-9)
    if n_gpus > 1:
        seconds += common.split_us_per_layer.scale(reads.n_layer * 1e-6)
    seconds += _context_seconds(gpu, reads, cells, depth, n_tokens)
    if reads.host_dense_bytes or reads.host_expert_bytes:
        on_host = reads.host_bytes(n_tokens) * scale
        seconds += common.host_gb_s.scale(1e9).invert(on_host)
    if n_tokens > 1:
        more = n_tokens - 1
        seconds += common.batch_us_share.scale(reads.n_layer * gpu.batch_us_per_layer * 1e-6)
        seconds += gpu.prefill_spread.scale(gpu.batch_flops).invert(
            2.0 * reads.active_params * more
        )
        seconds += common.sampling_ms.scale(more * 1e-3)
    return seconds


def _context_seconds(
    gpu: GpuSpeed, reads: Traffic, cells: Cells, depth: int, n_tokens: int
) -> Range:
    """Time to look at the contexts of so many streams: reading them, or more where narrow.  [s]"""
    common = gpu.common
    read = n_tokens * cells.bytes_at(depth)
    most = read
    if cells.is_unified:
        # In the worst case each stream looks at the cells of all others as well.
        most = n_tokens * cells.bytes_at(depth * n_tokens)
    efficiency = common.quantized_kv_efficiency if cells.has_quantized else common.kv_efficiency
    per_byte = efficiency.scale(gpu.eff_bw_gb_s * 1e9).invert()
    looked = common.cell_ns.scale(cells.looks_at(depth) * 1e-9)
    found = Range(
        max(read * per_byte.low, looked.low),
        max(read * per_byte.best, looked.best),
        max(most * per_byte.high, looked.high),
    )
    if not reads.host_cache_share:
        return found
    on_host = common.host_gb_s.scale(1e9).invert(read * reads.host_cache_share)
    return found.scale(1.0 - reads.host_cache_share) + on_host


def _prompt_seconds(
    gpu: GpuSpeed,
    reads: Traffic,
    cells: Cells,
    scale: float,
    one_token: Range,
    calibration: Calibration | None,
) -> tuple[Range, Range, Range]:
    """Time of a prompt: constant, per token, and per token and token before it.  [s]"""
    common = gpu.common
    rate = gpu.prefill_spread.scale(gpu.prefill_flops)
    own = calibration.prefill if calibration is not None else None
    if own is not None:
        rate = own.scale(gpu.prefill_flops)
    attends = HOST_ATTENTION_FLOPS if reads.attends_on_host else rate * common.attention_efficiency
    attention = attends.invert(2.0 * reads.attention_width)
    if reads.host_cache_share and not reads.attends_on_host:
        # Every batch brings the whole cache so far to the GPU; half of the prompt on average.
        per_cell = sum(size for limit, size, _ in cells.parts if limit >= cells.most)
        moved = reads.host_cache_share * per_cell / (2.0 * max(1, cells.n_ubatch))
        attention += common.pcie_gb_s.scale(1e9).invert(moved)
    if reads.n_moe_layer:
        rate = rate * common.moe_prefill_factor
    batch = max(1, cells.n_ubatch)
    # However little there is to compute, every batch reads the weights it meets once.
    least = reads.gpu_bytes(batch) * scale / (gpu.eff_bw_gb_s * 1e9)
    fixed = reads.n_layer * gpu.prefill_us_per_layer * 1e-6
    per_batch = gpu.prefill_spread.invert(fixed)
    linear = (rate.invert(2.0 * reads.active_params * batch) + per_batch).map(
        lambda seconds: max(seconds, least) / batch
    )
    if reads.host_dense_bytes or reads.host_expert_bytes:
        moved = reads.host_bytes(batch) * scale / batch
        linear += common.pcie_gb_s.scale(1e9).invert(moved)
    return one_token + common.token_latency_ms.scale(1e-3), linear, attention


def _basis(
    gpu: GpuSpeed,
    reads: Traffic,
    cells: Cells,
    n_gpus: int,
    depth: int,
    calibration: Calibration | None,
) -> tuple[str, ...]:
    """Where figures come from, one sentence each."""
    common = gpu.common
    said = [
        f"decode: {reads.active_bytes / 1e9:.2f} GB of weights per token out of the header at "
        f"{gpu.eff_bw_gb_s:g} GB/s and {gpu.us_per_layer:g} us per block: {gpu.basis}",
        f"decode: {depth} tokens of context in use",
    ]
    if reads.n_moe_layer:
        said.append(f"experts: {common.source_of('moe_layer_factor')}")
    if reads.plain_bytes * 2 > reads.active_bytes:
        said.append(f"quant: {common.source_of('plain_quant_factor')}")
    if reads.host_dense_bytes or reads.host_expert_bytes:
        said.append(f"weights on the host: {common.source_of('host_gb_s')}")
    if cells.has_quantized:
        said.append(f"cache: {common.source_of('quantized_kv_efficiency')}")
    if n_gpus > 1:
        said.append(f"several GPUs: {common.source_of('split_us_per_layer')}")
    if cells.n_slots > 1:
        said.append(f"{cells.n_slots} slots: {common.source_of('sampling_ms')}")
    said.append(f"prefill: {common.source_of('prefill_spread')}")
    if calibration is not None and calibration.note:
        said.append(f"your own figures: {calibration.note}")
    return tuple(said)
