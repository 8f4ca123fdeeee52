"""Which models draft with blocks of their own, and why others do not."""

from __future__ import annotations

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.graphs.registry import Architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.runtime import Runtime
from ggufctl.errors import RefusedSettings, UnsupportedModel

__all__ = [
    "GROWS_LATER",
    "SAME_CACHE_TYPES",
    "check_cache",
    "check_draft_model",
    "check_head_sizes",
    "check_target",
    "require_draft_graph",
]

GROWS_LATER = "grows with the first draft"
"""What llama.cpp reserves at the start is less: sampling where drafts are made comes later."""

_INPUTS = ("nextn.eh_proj", "nextn.enorm", "nextn.hnorm")
"""What brings a token and the hidden state before it into a block."""

_ONE_BLOCK_ONLY = frozenset(
    (
        "bailingmoe3",
        "cohere2moe",
        "deepseek2",
        "deepseek32",
        "deepseek4",
        "glm-dsa",
        "glm4moe",
        "nemotron_h_moe",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "qwen4exp",
    )
)
"""Architectures whose graph asserts that there is a single nextn block."""

SAME_CACHE_TYPES = frozenset({"deepseek4"})
"""Architectures without latent attention whose keys and values take one type."""


def require_draft_graph(arch: Architecture | None, hp: HParams) -> Architecture:
    """The architecture, if llama.cpp drafts with the nextn/MTP blocks of this file.

    Raises: UnsupportedModel, with what to change.
    Source: llama.cpp src/llama-context.cpp `llama_init_from_model`, src/models/*.cpp `graph_mtp`.
    """
    is_router = arch is not None and arch.name == "graniteswitch"
    if not hp.n_layer_nextn or is_router:
        raise UnsupportedModel(
            f"--spec-type draft-mtp needs nextn/MTP blocks, and this {hp.arch} file has none.",
            "Leave it out, or name a file with nextn/MTP blocks, or one of only those with -md.",
        )
    if arch is None or arch.draft is None:
        raise UnsupportedModel(
            f"llama.cpp {LLAMA_CPP_BUILD} does not draft with the nextn/MTP blocks of {hp.arch}.",
            "Leave out --spec-type draft-mtp.",
        )
    if arch.name in _ONE_BLOCK_ONLY and hp.n_layer_nextn > 1:
        raise UnsupportedModel(
            f"llama.cpp {LLAMA_CPP_BUILD} drafts with one nextn/MTP block of {hp.arch}, and the "
            f"file has {hp.n_layer_nextn}.",
            "Leave out --spec-type draft-mtp.",
        )
    if hp.n_layer:
        _require_weights(hp)
    return arch


def _require_weights(hp: HParams) -> None:
    for il in range(hp.n_layer, hp.n_layer_all):
        for name in _INPUTS:
            full = f"blk.{il}.{name}.weight"
            if full not in hp.tensors:
                raise UnsupportedModel(
                    "--spec-type draft-mtp needs the weights of the nextn/MTP blocks, which this "
                    f"file lacks ({full}).",
                    "Leave it out, or name a conversion that has kept them.",
                )


def check_target(target: HParams, drafter: HParams) -> None:
    """Refuse a drafter whose rows are not as wide as its target's hidden states.

    Raises: RefusedSettings.
    Source: llama.cpp common/speculative.cpp `common_speculative_impl_draft_mtp`.
    """
    if drafter.n_embd_out != target.n_embd_out:
        raise RefusedSettings(
            f"The draft model's nextn/MTP blocks take hidden states of {drafter.n_embd_out}, and "
            f"the model has {target.n_embd_out}.",
            "Name the nextn/MTP blocks of this very model with -md.",
        )


def check_draft_model(hp: HParams) -> None:
    """Refuse a draft model that is nothing but the nextn/MTP blocks of another one.

    Raises: RefusedSettings, with what to change.
    Source: llama.cpp src/llama-model-loader.cpp `create_tensor`, src/llama-context.cpp.
    """
    if not hp.n_layer_nextn:
        return
    if not hp.n_layer or not any(name.startswith("blk.0.") for name in hp.tensors):
        raise RefusedSettings(
            f"The draft model has nextn/MTP blocks of {hp.arch} only, and no model of its own.",
            "Add --spec-type draft-mtp.",
        )


def check_cache(hp: HParams, runtime: Runtime) -> None:
    """Refuse types of a draft's cache that llama.cpp refuses.

    Args:
        hp: of the model that drafts.
        runtime: settings, the draft's among them.

    Raises: RefusedSettings, with what to change.
    Source: llama.cpp src/llama-context.cpp `llama_init_from_model`.
    """
    k, v = runtime.spec_draft_type_k, runtime.spec_draft_type_v
    if TYPES[v].is_quantized and runtime.flash_attn == "off":
        raise RefusedSettings(
            f"A draft's value cache of type {v} needs flash attention, which is off.",
            "Drop -fa off, or use -ctvd f16.",
        )
    if (hp.is_mla or hp.arch in SAME_CACHE_TYPES) and k != v:
        raise RefusedSettings(
            f"{hp.arch} takes no different cache types for keys ({k}) and values ({v}).",
            f"Use -ctkd {k} -ctvd {k}.",
        )
    if runtime.flash_attn == "off":
        return
    check_head_sizes(hp, ("-ctkd", k), ("-ctvd", v))


def check_head_sizes(hp: HParams, keys: tuple[str, str], values: tuple[str, str]) -> None:
    """Refuse cache types whose blocks do not divide the heads.

    Args:
        hp: of the model whose cache it is.
        keys: option and type of the cache of keys.
        values: the same of values.

    Raises: RefusedSettings, with what to change.
    Source: llama.cpp src/llama-context.cpp `llama_init_from_model`.
    """
    for (option, type_name), size_of in ((keys, hp.n_embd_head_k), (values, hp.n_embd_head_v)):
        block = TYPES[type_name].block_size
        for il in range(hp.n_layer):
            if TYPES[type_name].is_quantized and size_of(il) % block:
                raise RefusedSettings(
                    f"{option} {type_name} stores blocks of {block} and does not divide the "
                    f"model's heads of {size_of(il)}.",
                    f"Use {option} f16.",
                )
