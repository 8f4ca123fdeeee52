"""Options that several commands share, declared once: llama-server's own under their own names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ggufctl import completion
from ggufctl.errors import UsageError

__all__ = [
    "ALL_LAYERS",
    "AsJson",
    "BatchSize",
    "CacheTypeK",
    "CacheTypeV",
    "CpuMoe",
    "CtxSize",
    "Embedding",
    "FlashAttn",
    "Gpu",
    "GpuLayers",
    "KvUnified",
    "LoadMode",
    "Lora",
    "MaxUsdPerHour",
    "Mmproj",
    "ModelDraft",
    "ModelRef",
    "NCpuMoe",
    "Parallel",
    "Quant",
    "Quiet",
    "SplitMode",
    "SwaFull",
    "UbatchSize",
    "Verbose",
    "context",
    "layers",
    "option",
]

ALL_LAYERS = 512
"""What `--cpu-moe` stands for: llama.cpp has no more blocks."""


def option(*names: str, env: str, **settings: Any) -> Any:
    """An option that `GGUFCTL_<env>` sets as well; the help of the group says so once."""
    return typer.Option(*names, envvar=f"GGUFCTL_{env}", show_envvar=False, **settings)


def _cache_types() -> list[str]:
    return list(completion.CACHE_TYPES)


ModelRef = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="org/repo, org/repo:QUANT, org/repo/file.gguf, a URL or a path."
    ),
]
CtxSize = Annotated[
    str,
    option(
        "-c",
        "--ctx-size",
        metavar="N",
        env="CTX_SIZE",
        help="Context in tokens; 0 = the model's own. "
        "[default: the smaller of 8192 and the model's own]",
        show_default=False,
    ),
]
Parallel = Annotated[int | None, option("-np", "--parallel", env="PARALLEL", help="Slots.")]
KvUnified = Annotated[
    bool | None,
    option(
        "-kvu/-no-kvu",
        "--kv-unified/--no-kv-unified",
        env="KV_UNIFIED",
        help="One cache for all slots, or one for each.",
    ),
]
CacheTypeK = Annotated[
    str,
    option(
        "-ctk",
        "--cache-type-k",
        env="CACHE_TYPE_K",
        help="Type of the key cache.",
        autocompletion=_cache_types,
    ),
]
CacheTypeV = Annotated[
    str,
    option(
        "-ctv",
        "--cache-type-v",
        env="CACHE_TYPE_V",
        help="Type of the value cache.",
        autocompletion=_cache_types,
    ),
]
FlashAttn = Annotated[
    str,
    option("-fa", "--flash-attn", env="FLASH_ATTN", help="Flash attention: on, off, auto."),
]
BatchSize = Annotated[int, option("-b", "--batch-size", env="BATCH_SIZE", help="Logical batch.")]
UbatchSize = Annotated[
    int, option("-ub", "--ubatch-size", env="UBATCH_SIZE", help="Physical batch.")
]
GpuLayers = Annotated[
    str,
    option(
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        metavar="N|all",
        env="GPU_LAYERS",
        help="Layers on the GPU.",
    ),
]
NCpuMoe = Annotated[
    int,
    option(
        "-ncmoe",
        "--n-cpu-moe",
        env="N_CPU_MOE",
        help="Keep the experts of the first N layers in host memory.",
    ),
]
CpuMoe = Annotated[
    bool, option("-cmoe", "--cpu-moe", env="CPU_MOE", help="Keep all experts in host memory.")
]
SplitMode = Annotated[
    str,
    option("-sm", "--split-mode", env="SPLIT_MODE", help="Several GPUs: layer or none."),
]
Embedding = Annotated[
    bool, option("--embedding", "--embeddings", env="EMBEDDING", help="Serve embeddings.")
]
SwaFull = Annotated[
    bool, option("--swa-full", env="SWA_FULL", help="Full-size cache for sliding windows.")
]
LoadMode = Annotated[
    str, option("-lm", "--load-mode", env="LOAD_MODE", help="How weights are read.")
]
Mmproj = Annotated[
    str | None, option("-mm", "--mmproj", env="MMPROJ", help="Multimodal projector beside it.")
]
ModelDraft = Annotated[
    str | None,
    option(
        "-md",
        "--model-draft",
        "--spec-draft-model",
        env="MODEL_DRAFT",
        help="Draft model beside it.",
    ),
]
Lora = Annotated[
    list[str] | None, option("--lora", env="LORA", help="Adapter beside it; repeatable.")
]
Gpu = Annotated[
    str,
    option(
        "--gpu",
        metavar="NAMES",
        env="GPU",
        help="GPUs to choose from, such as L40S,H100:2; auto = all.",
        autocompletion=completion.gpus,
    ),
]
Quant = Annotated[
    str,
    option(
        "--quant",
        env="QUANT",
        help="Quant of a repository; auto = the best choice.",
        autocompletion=completion.quants,
    ),
]
MaxUsdPerHour = Annotated[
    float | None,
    option(
        "--max-usd-per-hour", metavar="USD", env="MAX_USD_PER_HOUR", help="Budget for the GPUs."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the engine's log as well.")]


def context(text: str) -> int | None:
    """Tokens of `-c`; None for the default.

    Raises: UsageError.
    """
    if text == "":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"-c/--ctx-size must be a number of tokens, not {text!r}.")
    from ggufctl.core.runtime import Runtime

    return Runtime(n_ctx=int(text[:20])).n_ctx


def layers(text: str) -> int:
    """Blocks of `-ngl`; -1 for all.

    Raises: UsageError.
    """
    if text.casefold() in ("all", "auto"):
        return -1
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"-ngl/--n-gpu-layers must be a number or all, not {text!r}.") from None
