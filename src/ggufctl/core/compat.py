"""What llama.cpp refuses, and what a GPU lacks, found before anything is rented."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ggufctl.core._pins import LLAMA_CPP_BUILD, OLDEST_COMPUTE_CAPABILITY
from ggufctl.core.drafting import (
    SAME_CACHE_TYPES,
    check_cache,
    check_head_sizes,
    require_draft_graph,
)
from ggufctl.core.escape import quoted
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.gpus import Gpu
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.layout import ContextParams
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import DRAFT_SIMPLE, NO_DRAFT, Runtime
from ggufctl.errors import RefusedSettings

__all__ = ["check_gpus", "check_settings", "gpu_objection", "setting_warnings", "settled"]

NO_TENSOR = "^$"
"""A pattern of no tensor, for what an override does besides."""
_EVEN_SLOTS = frozenset({"kimi-linear", "minimax-01"})
_ONE_STREAM = frozenset({"t5"})
_SMALL_GRAPH = 2053
"""Slots of the scheduler's table for graphs of up to this many tensors."""
_MANY_BLOCKS = 40
"""Blocks of Phi-3-medium and Phi-4, whose graph then has 2,064 tensors."""


def check_settings(shape: ModelShape, runtime: Runtime) -> None:
    """Refuse what the pinned llama.cpp refuses or aborts on for this model.

    Raises: RefusedSettings, with what to change.
    Source: llama.cpp src/llama-context.cpp `llama_init_from_model`; measured runs.
    """
    hp = shape.hp
    _check_split_mode(runtime)
    k, v = runtime.cache_type_k, runtime.cache_type_v
    quantized = TYPES[k].is_quantized or TYPES[v].is_quantized
    if runtime.has_quantized_v and (runtime.flash_attn == "off" or hp.arch == "grok"):
        raise RefusedSettings(
            f"A value cache of type {v} needs flash attention, which is off.",
            "Drop -fa off, or use -ctv f16.",
        )
    if (hp.is_mla or hp.arch in SAME_CACHE_TYPES) and k != v and hp.memory != Memory.NONE:
        raise RefusedSettings(
            f"{hp.arch} takes no different cache types for keys ({k}) and values ({v}).",
            f"Use -ctk {k} -ctv {k}.",
        )
    if quantized:
        check_head_sizes(hp, ("-ctk", runtime.cache_type_k), ("-ctv", runtime.cache_type_v))
    if hp.arch == "plm" and runtime.flash_attn != "off":
        raise RefusedSettings("llama.cpp runs plm without flash attention only.", "Add -fa off.")
    _check_slots(shape, runtime)
    _check_drafting(shape, runtime)


def check_gpus(runtime: Runtime, n_gpus: int) -> None:
    """Refuse overrides that name a GPU which is not there.

    Raises: RefusedSettings, with what to change.
    Source: llama.cpp common/arg.cpp `parse_tensor_buffer_overrides`.
    """
    there = min(n_gpus, 1) if runtime.split_mode == "none" else n_gpus
    if runtime.least_gpus > there:
        raise RefusedSettings(
            f"-ot names CUDA{runtime.least_gpus - 1}, and {there or 'no'} GPU takes part."
            if there < 2
            else f"-ot names CUDA{runtime.least_gpus - 1}, and the GPUs are CUDA0 to "
            f"CUDA{there - 1}.",
            "Name a GPU that takes part, or CPU.",
        )


def _check_drafting(shape: ModelShape, runtime: Runtime) -> None:
    """Refuse speculation that the model alone cannot do; a draft model is not known here."""
    if runtime.draft_model:
        return
    if runtime.drafts_with_mtp:
        require_draft_graph(shape.arch, shape.hp)
        check_cache(shape.hp, runtime)
    elif runtime.spec_type == DRAFT_SIMPLE:
        raise RefusedSettings(
            "--spec-type draft-simple needs a draft model.", "Name one with -md, or leave it out."
        )


def _check_split_mode(runtime: Runtime) -> None:
    if runtime.split_mode == "row":
        raise RefusedSettings(
            f"llama.cpp {LLAMA_CPP_BUILD} refuses -sm row on CUDA.", "Use -sm layer."
        )
    if runtime.split_mode == "tensor":
        raise RefusedSettings(
            f"-sm tensor is experimental in llama.cpp {LLAMA_CPP_BUILD} and cannot be planned.",
            "Use -sm layer.",
        )


def _check_slots(shape: ModelShape, runtime: Runtime) -> None:
    hp, ctx = shape.hp, shape.context_params(runtime)
    n, unified = ctx.n_seq_max, ctx.kv_unified
    if n > 1 and not unified:
        if hp.arch in _ONE_STREAM:
            raise RefusedSettings(
                f"llama.cpp runs {hp.arch} with several slots on a unified cache only.", "Add -kvu."
            )
        if _overfills_graph(hp, runtime):
            raise RefusedSettings(
                "llama.cpp fails on this model with quantised keys and values and several slots "
                "of their own.",
                "Add -kvu, or use -ctk f16 -ctv f16.",
            )
    if ctx.n_outputs_max < n:
        option = "-c" if 0 < runtime.n_ctx < n else "-b"
        raise RefusedSettings(
            f"llama.cpp fails with fewer outputs per batch ({ctx.n_outputs_max}) than slots ({n}).",
            f"Use {option} {n} or more, or fewer slots.",
        )
    _check_even_slots(hp, ctx)


def _check_even_slots(hp: HParams, ctx: ContextParams) -> None:
    """Refuse micro-batches that slots do not divide, where a graph cannot take the rest.

    Source: llama.cpp src/llama-context.cpp `graph_reserve`, which rounds the tokens up
    and not the outputs.
    """
    n = ctx.n_seq_max
    n_tokens = min(ctx.n_ctx, ctx.n_ubatch)
    rounded = -(-n_tokens // n) * n
    if hp.arch in _EVEN_SLOTS and not ctx.kv_unified and rounded != n_tokens:
        raise RefusedSettings(
            f"llama.cpp fails on {hp.arch} with a micro-batch of {n_tokens} for {n} slots.",
            f"Use -ub {rounded}, or add -kvu.",
        )
    if not ctx.embeddings or not hp.pools_by_mean:
        return
    n_outputs = min(n_tokens, ctx.n_outputs_max)
    if n_outputs != rounded:
        raise RefusedSettings(
            f"llama.cpp fails to pool {n_outputs} outputs of {rounded} tokens for {n} slots.",
            f"Use a micro-batch (-ub) that {n} divides, and an output for each token.",
        )


def _overfills_graph(hp: HParams, runtime: Runtime) -> bool:
    """Whether the graph has more tensors than the scheduler has room for (Phi-3-medium, Phi-4).

    Room is reserved by the number of weights, of which models with fused projections
    have few. A quantised cache adds its rotations, several streams their reshapes.
    """
    return (
        hp.arch == "phi3"
        and 8 * len(hp.tensors) <= _SMALL_GRAPH
        and hp.n_layer >= _MANY_BLOCKS
        and TYPES[runtime.cache_type_k].is_quantized
        and TYPES[runtime.cache_type_v].is_quantized
        and hp.n_embd_head_k() % 64 == 0
    )


def settled(shape: ModelShape, runtime: Runtime) -> Runtime:
    """The settings as llama-server changes them by itself for this model.

    Source: llama.cpp src/llama-context.cpp `llama_init_from_model`, tools/server/server.cpp.
    """
    if shape.hp.arch == "grok" and runtime.flash_attn != "off":
        runtime = runtime.with_(flash_attn="off")
    if runtime.embeddings and runtime.n_batch > runtime.n_ubatch:
        runtime = runtime.with_(n_batch=runtime.n_ubatch)
    return runtime


def setting_warnings(shape: ModelShape, runtime: Runtime) -> tuple[str, ...]:
    """What is worth knowing about these settings, one sentence each."""
    hp = shape.hp
    found = []
    if hp.arch == "grok" and runtime.flash_attn != "off":
        found.append("llama.cpp turns flash attention off for Grok.")
    per_slot = runtime.n_ctx if runtime.is_unified else runtime.n_ctx // runtime.n_seq_max
    if hp.n_ctx_train and per_slot > hp.n_ctx_train:
        found.append(
            f"The context of a slot, {per_slot} tokens, is longer than the {hp.n_ctx_train} the "
            "model was made for."
        )
    if not runtime.is_unified and runtime.n_seq_max > 1 and runtime.n_ctx:
        ctx, _ = shape.context(runtime)
        found.append(
            f"-np {runtime.n_seq_max} divides the context: {ctx.n_ctx_seq} tokens per slot "
            "(-kvu shares it instead)."
        )
    return (*found, *_without_effect(hp, runtime))


def _without_effect(hp: HParams, runtime: Runtime) -> Iterator[str]:
    """Settings that change nothing of what is planned."""
    for entry in runtime.override_tensor:
        pattern = entry.rpartition("=")[0]
        if pattern != NO_TENSOR and not any(re.search(pattern, name) for name in hp.tensors):
            yield f"-ot {quoted(entry)} matches no tensor of this model."
    if runtime.tensor_split and not runtime.n_shares:
        why = "with -sm none" if any(runtime.tensor_split) else "where all its values are 0"
        yield f"-ts {runtime.tensor_split_text} has no effect {why}."
    if runtime.n_cpu_moe and not hp.n_expert:
        yield "-ncmoe/-cmoe has no effect: the model has no experts."
    if runtime.drafting != NO_DRAFT:
        yield (
            "Speculation is not modelled: memory counts the draft, speed is that of the model "
            "alone."
        )
    is_chain = runtime.drafts_with_mtp and not runtime.draft_model and hp.n_layer_nextn > 1
    if is_chain and runtime.spec_draft_n_max > hp.n_layer_nextn:
        yield (
            f"The model drafts {hp.n_layer_nextn} tokens at a time, one with each of its nextn/MTP "
            "blocks: a larger --spec-draft-n-max takes memory and drafts no more."
        )


_OLDEST = tuple(int(part) for part in OLDEST_COMPUTE_CAPABILITY.split("."))


def gpu_objection(gpu: Gpu, shape: ModelShape, runtime: Runtime, quant: str = "") -> str:
    """Why a GPU is unfit for a model whatever its memory; empty when it is not.

    Args:
        gpu: the type.
        shape: the model.
        runtime: settings.
        quant: the one that is meant, where the header that was read is of another.
    """
    if gpu.capability < _OLDEST:
        return (
            f"compute capability {gpu.compute_capability}: the pinned build has kernels from "
            f"{OLDEST_COMPUTE_CAPABILITY} on"
        )
    if not gpu.has_bf16:
        if "bf16" in (runtime.cache_type_k, runtime.cache_type_v):
            return "no bf16 units for a bf16 cache"
        if "BF16" in quant.upper() if quant else shape_has_bf16(shape):
            return "no bf16 units for bf16 weights"
    return ""


def shape_has_bf16(shape: ModelShape) -> bool:
    """Whether matrices of the model are stored in bf16."""
    return shape.has_bf16
