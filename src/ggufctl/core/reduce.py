"""Less memory for an engine that ran out of it: one change at a time, each with its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ggufctl.core.compat import check_settings
from ggufctl.core.engine_log import FailureKind
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import NO_DRAFT, Runtime
from ggufctl.errors import RefusedSettings

__all__ = ["Reduction", "reductions"]

LEAST_CONTEXT = 512
"""A shorter context than this is no service.  [tokens]"""

LEAST_UBATCH = 64
"""Smaller micro-batches save next to nothing.  [tokens]"""


@dataclass(frozen=True, slots=True)
class Reduction:
    """One change that asks for less memory."""

    runtime: Runtime
    flags: tuple[str, ...]
    text: str


def reductions(
    shape: ModelShape,
    runtime: Runtime,
    kind: FailureKind,
    *,
    n_gpus: int,
    engine: str = "llama-server",
) -> Iterator[Reduction]:
    """What to try next, the least painful first.

    Args:
        shape: the model.
        runtime: the settings that did not fit.
        kind: where memory ran out.
        n_gpus: that layers are on, 0 for none.
        engine: which runs it; llama-cpp-python cannot keep experts apart from their blocks.
    """
    experts = () if engine == "llama-cpp-python" else (_experts_to_host,)
    weights = (*experts, _fewer_layers) if n_gpus else ()
    cache = (_quantized_cache, _shorter_context)
    # Shares that somebody wrote may fill one GPU and leave another empty: that goes first.
    shared = (_by_free_memory,) if runtime.n_shares and runtime.shares(n_gpus) else ()
    drafts = (_without_drafts,) if runtime.drafts_with_mtp and not runtime.draft_model else ()
    order = {
        FailureKind.OOM_WEIGHTS: (*shared, *drafts, *weights, *cache),
        FailureKind.OOM_KV: (*shared, *drafts, *cache, *weights),
        FailureKind.OOM_COMPUTE: (*shared, *drafts, _smaller_ubatch, _shorter_context),
        FailureKind.OOM_RUNTIME: (*shared, *drafts, _smaller_ubatch, *cache),
        FailureKind.OOM_HOST: (*drafts, *cache),
    }
    for change in order.get(kind, ()):
        found = change(shape, runtime)
        if found is None:
            continue
        try:
            check_settings(shape, found.runtime)
        except RefusedSettings:
            continue
        yield found


def _by_free_memory(shape: ModelShape, runtime: Runtime) -> Reduction:
    return Reduction(
        runtime.with_(tensor_split=()), ("-ts", "0"), "layers divided by what GPUs have free"
    )


def _without_drafts(shape: ModelShape, runtime: Runtime) -> Reduction:
    return Reduction(
        runtime.with_(spec_type=NO_DRAFT),
        ("--spec-type", NO_DRAFT),
        "no drafts by nextn/MTP blocks",
    )


def _quantized_cache(shape: ModelShape, runtime: Runtime) -> Reduction | None:
    if runtime.flash_attn == "off" or (runtime.cache_type_k, runtime.cache_type_v) != (
        "f16",
        "f16",
    ):
        return None
    return Reduction(
        runtime.with_(cache_type_k="q8_0", cache_type_v="q8_0"),
        ("-ctk", "q8_0", "-ctv", "q8_0"),
        "a q8_0 cache",
    )


def _shorter_context(shape: ModelShape, runtime: Runtime) -> Reduction | None:
    n_streams = 1 if runtime.is_unified else runtime.n_seq_max
    # What is beyond the model's own context serves nobody, so that goes first.
    n_ctx = min(runtime.n_ctx // 2, shape.hp.n_ctx_train * n_streams) // 256 * 256
    if n_ctx < LEAST_CONTEXT:
        return None
    return Reduction(runtime.with_(n_ctx=n_ctx), ("-c", str(n_ctx)), f"a context of {n_ctx} tokens")


def _smaller_ubatch(shape: ModelShape, runtime: Runtime) -> Reduction | None:
    n_ubatch = runtime.n_ubatch // 2
    if n_ubatch < LEAST_UBATCH:
        return None
    return Reduction(
        runtime.with_(n_ubatch=n_ubatch), ("-ub", str(n_ubatch)), f"micro-batches of {n_ubatch}"
    )


def _experts_to_host(shape: ModelShape, runtime: Runtime) -> Reduction | None:
    n_layer = shape.hp.n_layer
    if shape.hp.n_expert < 2 or runtime.n_cpu_moe >= n_layer:
        return None
    n = min(n_layer, max(2 * runtime.n_cpu_moe, n_layer // 2, 1))
    return Reduction(
        runtime.with_(n_cpu_moe=n), ("-ncmoe", str(n)), f"the experts of {n} blocks on the host"
    )


def _fewer_layers(shape: ModelShape, runtime: Runtime) -> Reduction | None:
    have = shape.hp.n_layer + 1 if runtime.n_gpu_layers < 0 else runtime.n_gpu_layers
    n = have // 2
    if n < 1:
        return None
    return Reduction(runtime.with_(n_gpu_layers=n), ("-ngl", str(n)), f"{n} layers on the GPU")
