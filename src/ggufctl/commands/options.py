"""Options that several commands share, declared once: llama-server's own under their own names."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ggufctl import completion
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.money import Load
    from ggufctl.core.runtime import Runtime

    RuntimeOptions = Runtime
else:
    RuntimeOptions = Any
    """Stands in a command's signature for the options of `with_runtime`."""

__all__ = [
    "RUNTIME_NAMES",
    "AsJson",
    "CtxSize",
    "Gpu",
    "MaxUsdPerHour",
    "ModelRef",
    "OutputTokens",
    "PromptTokens",
    "Quant",
    "Quiet",
    "RequestsPerDay",
    "RuntimeOptions",
    "Verbose",
    "Wait",
    "Yes",
    "context",
    "is_max",
    "layers",
    "load_of",
    "named_gpus",
    "option",
    "warn_of_unread",
    "with_runtime",
]

MAX_DIGITS = 9
"""Of a number of tokens."""

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
        metavar="N|max",
        env="CTX_SIZE",
        help="Context in tokens; 0 = the model's own, max = the largest that fits. "
        "[default: the smaller of 8192 and the model's own]",
        show_default=False,
    ),
]
_Parallel = Annotated[int | None, option("-np", "--parallel", env="PARALLEL", help="Slots.")]
_KvUnified = Annotated[
    bool | None,
    option(
        "-kvu/-no-kvu",
        "--kv-unified/--no-kv-unified",
        env="KV_UNIFIED",
        help="One cache for all slots, or one for each.",
    ),
]
_CacheTypeK = Annotated[
    str,
    option(
        "-ctk",
        "--cache-type-k",
        env="CACHE_TYPE_K",
        help="Type of the key cache.",
        autocompletion=_cache_types,
    ),
]
_CacheTypeV = Annotated[
    str,
    option(
        "-ctv",
        "--cache-type-v",
        env="CACHE_TYPE_V",
        help="Type of the value cache.",
        autocompletion=_cache_types,
    ),
]
_FlashAttn = Annotated[
    str,
    option("-fa", "--flash-attn", env="FLASH_ATTN", help="Flash attention: on, off, auto."),
]
_BatchSize = Annotated[int, option("-b", "--batch-size", env="BATCH_SIZE", help="Logical batch.")]
_UbatchSize = Annotated[
    int, option("-ub", "--ubatch-size", env="UBATCH_SIZE", help="Physical batch.")
]
_GpuLayers = Annotated[
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
_NCpuMoe = Annotated[
    int,
    option(
        "-ncmoe",
        "--n-cpu-moe",
        env="N_CPU_MOE",
        help="Keep the experts of the first N layers in host memory.",
    ),
]
_OverrideTensor = Annotated[
    list[str] | None,
    option(
        "-ot",
        "--override-tensor",
        metavar="PATTERN=BUFFER,...",
        env="OVERRIDE_TENSOR",
        help="Put tensors of matching names on CPU, CUDA0, ...; repeatable.",
    ),
]
_KvOffload = Annotated[
    bool,
    option(
        "-kvo/-nkvo",
        "--kv-offload/--no-kv-offload",
        env="KV_OFFLOAD",
        help="Keep the cache on the GPU, or in host memory.",
    ),
]
_CpuMoe = Annotated[
    bool, option("-cmoe", "--cpu-moe", env="CPU_MOE", help="Keep all experts in host memory.")
]
_SplitMode = Annotated[
    str,
    option("-sm", "--split-mode", env="SPLIT_MODE", help="Several GPUs: layer or none."),
]
_TensorSplit = Annotated[
    str | None,
    option(
        "-ts",
        "--tensor-split",
        metavar="N0,N1,...",
        env="TENSOR_SPLIT",
        help="Several GPUs: share of the layers of each, such as 3,1.",
    ),
]
_Embedding = Annotated[
    bool, option("--embedding", "--embeddings", env="EMBEDDING", help="Serve embeddings.")
]
_SwaFull = Annotated[
    bool, option("--swa-full", env="SWA_FULL", help="Full-size cache for sliding windows.")
]
_LoadMode = Annotated[
    str, option("-lm", "--load-mode", env="LOAD_MODE", help="How weights are read.")
]
_Mmproj = Annotated[
    str | None, option("-mm", "--mmproj", env="MMPROJ", help="Multimodal projector beside it.")
]
_ModelDraft = Annotated[
    str | None,
    option(
        "-md",
        "--model-draft",
        "--spec-draft-model",
        env="MODEL_DRAFT",
        help="Draft model beside it.",
    ),
]
_SpecType = Annotated[
    str,
    option(
        "--spec-type",
        env="SPEC_TYPE",
        help="How tokens are drafted: none, draft-simple, draft-mtp (nextn/MTP blocks).",
    ),
]
_SpecDraftNMax = Annotated[
    int,
    option("--spec-draft-n-max", env="SPEC_DRAFT_N_MAX", help="Tokens drafted at a time."),
]
_SpecDraftTypeK = Annotated[
    str,
    option(
        "-ctkd",
        "--cache-type-k-draft",
        "--spec-draft-type-k",
        env="SPEC_DRAFT_TYPE_K",
        help="Type of the draft's key cache.",
        autocompletion=_cache_types,
    ),
]
_SpecDraftTypeV = Annotated[
    str,
    option(
        "-ctvd",
        "--cache-type-v-draft",
        "--spec-draft-type-v",
        env="SPEC_DRAFT_TYPE_V",
        help="Type of the draft's value cache.",
        autocompletion=_cache_types,
    ),
]
_Lora = Annotated[
    list[str] | None, option("--lora", env="LORA", help="Adapter beside it; repeatable.")
]
_RUNTIME: dict[str, tuple[Any, Any]] = {
    "parallel": (_Parallel, None),
    "kv_unified": (_KvUnified, None),
    "cache_type_k": (_CacheTypeK, "f16"),
    "cache_type_v": (_CacheTypeV, "f16"),
    "flash_attn": (_FlashAttn, "auto"),
    "batch_size": (_BatchSize, 2048),
    "ubatch_size": (_UbatchSize, 512),
    "gpu_layers": (_GpuLayers, "all"),
    "n_cpu_moe": (_NCpuMoe, 0),
    "cpu_moe": (_CpuMoe, False),
    "override_tensor": (_OverrideTensor, None),
    "kv_offload": (_KvOffload, True),
    "split_mode": (_SplitMode, "layer"),
    "tensor_split": (_TensorSplit, None),
    "embedding": (_Embedding, False),
    "swa_full": (_SwaFull, False),
    "load_mode": (_LoadMode, "auto"),
    "mmproj": (_Mmproj, None),
    "model_draft": (_ModelDraft, None),
    "spec_type": (_SpecType, "none"),
    "spec_draft_n_max": (_SpecDraftNMax, 3),
    "spec_draft_type_k": (_SpecDraftTypeK, "f16"),
    "spec_draft_type_v": (_SpecDraftTypeV, "f16"),
    "lora": (_Lora, None),
}
"""Parameter → its option and default."""

_HIDDEN: dict[str, tuple[Any, Any]] = {
    "fit": (Annotated[str, typer.Option("-fit", "--fit", hidden=True)], ""),
    "mmap": (Annotated[bool | None, typer.Option("--mmap/--no-mmap", hidden=True)], None),
    "mlock": (Annotated[bool, typer.Option("--mlock", hidden=True)], False),
    "no_mmproj": (Annotated[bool, typer.Option("--no-mmproj", hidden=True)], False),
    "mmproj_url": (Annotated[str, typer.Option("-mmu", "--mmproj-url", hidden=True)], ""),
    "draft_repo": (Annotated[str, typer.Option("-hfd", "--hf-repo-draft", hidden=True)], ""),
}
"""What llama-server's command lines say as well, in the line `run:` of a plan or from elsewhere."""

RUNTIME_NAMES = tuple(_RUNTIME)
"""Parameters that `with_runtime` takes."""

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
        help="Quant of a repository; auto = the best on the GPU that Q4_K_M needs.",
        autocompletion=completion.quants,
    ),
]
MaxUsdPerHour = Annotated[
    float | None,
    option(
        "--max-usd-per-hour",
        metavar="USD",
        env="MAX_USD_PER_HOUR",
        help="Budget for the GPUs, and for host memory beyond 16 GiB.",
    ),
]
RequestsPerDay = Annotated[
    float | None,
    option(
        "--requests-per-day",
        metavar="N",
        env="REQUESTS_PER_DAY",
        help="Estimate a month's bill for so many requests a day, and pick by it.",
    ),
]
PromptTokens = Annotated[
    int | None,
    option(
        "--prompt-tokens",
        metavar="N",
        env="PROMPT_TOKENS",
        help="Tokens of a prompt, for speed and the month's bill (default 1000).",
    ),
]
OutputTokens = Annotated[
    int | None,
    option(
        "--output-tokens",
        metavar="N",
        env="OUTPUT_TOKENS",
        help="Tokens of an answer, for speed and the month's bill (default 300).",
    ),
]
Wait = Annotated[
    float | None,
    option(
        "--wait",
        metavar="SECONDS",
        env="WAIT",
        help="Longest wait for a server that starts. [default: what its start may take]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the engine's log as well.")]


def with_runtime(command: Callable[..., None]) -> Callable[..., None]:
    """The command with llama-server's options, after `-c`, in place of its `runtime`."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "runtime":
            parameters.append(parameter.replace(annotation=hints[name]))
        if name == "ctx_size":
            parameters += [
                inspect.Parameter(key, parameter.kind, default=default, annotation=option)
                for key, (option, default) in (_RUNTIME | _HIDDEN).items()
            ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        settings = {key: values.pop(key) for key in _RUNTIME}
        hidden = {key: values.pop(key) for key in _HIDDEN}
        for key, value in _of_hidden(hidden, settings).items():
            settings[key] = value
            # Whoever asks what was named on the command line sees the option it stands for.
            values["ctx"].set_parameter_source(key, _named_by(values["ctx"], key))
        command(**values, runtime=_runtime(settings))

    del run.__wrapped__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _of_hidden(hidden: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that llama-server's other spellings stand for.

    Raises: UsageError for what would change a plan, or says a thing twice.
    """
    if hidden["fit"] not in ("", "off"):
        raise UsageError(
            f"-fit/--fit {hidden['fit']} lets llama.cpp change what was planned.",
            "Leave it out: engines are started with -fit off.",
        )
    found: dict[str, Any] = {}
    mmap, mlock = hidden["mmap"], hidden["mlock"]
    if mmap is not None or mlock:
        modes = {(True, False): "mmap", (True, True): "mmap+mlock", (False, True): "mlock"}
        found["load_mode"] = modes.get((mmap is not False, mlock), "none")
    if hidden["no_mmproj"] and settings["mmproj"]:
        raise UsageError("--mmproj and --no-mmproj exclude each other.")
    if hidden["mmproj_url"]:
        found["mmproj"] = hidden["mmproj_url"]
    if repo := hidden["draft_repo"]:
        file = settings["model_draft"]
        found["model_draft"] = f"{repo}/{file}" if file else repo
    return found


_STANDS_FOR = {
    "load_mode": ("mmap", "mlock"),
    "mmproj": ("mmproj_url",),
    "model_draft": ("draft_repo",),
}


def _named_by(ctx: typer.Context, key: str) -> Any:
    """Where the value of a setting comes from that another spelling of it gave."""
    sources = (ctx.get_parameter_source(name) for name in _STANDS_FOR[key])
    return max((source for source in sources if source is not None), key=_is_on_line)


def _is_on_line(source: Any) -> bool:
    return bool(source.name == "COMMANDLINE")


def named_gpus(text: str) -> str:
    """What `--gpu` says.

    Raises: UsageError where it says nothing.
    """
    if not text.strip():
        raise UsageError("--gpu names no GPU.", "Leave it out, or say auto, for all there are.")
    return text


def warn_of_unread(ctx: typer.Context) -> None:
    """Say once which variables of ours nothing reads: most are misspelt."""
    from ggufctl.config import own_variables

    if not any(name.startswith("GGUFCTL_") for name in os.environ):
        return
    own = {p.envvar for p in ctx.command.params if isinstance(p.envvar, str)}
    _, unread = own_variables((), names=own)
    if not unread:
        return
    from ggufctl.commands.status import all_options

    _, unread = own_variables(all_options())
    for name in unread:
        typer.echo(f"warning: {name} is set, and no option reads it.", err=True)


def load_of(
    requests_per_day: float | None, prompt_tokens: int | None, output_tokens: int | None
) -> Load | None:
    """The load that options describe; None when none of them is given.

    Raises: UsageError for numbers that make no load.
    """
    from ggufctl.core.money import Load

    if requests_per_day is None and prompt_tokens is None and output_tokens is None:
        return None
    given: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
    }
    return Load(
        requests_per_day=requests_per_day or 0.0,
        **{name: value for name, value in given.items() if value is not None},
    )


def _runtime(values: Mapping[str, Any]) -> Runtime:
    from ggufctl.core.runtime import Runtime

    return Runtime(
        # llama-server's own word for its default.
        n_parallel=None if values["parallel"] == -1 else values["parallel"],
        kv_unified=values["kv_unified"],
        cache_type_k=values["cache_type_k"],
        cache_type_v=values["cache_type_v"],
        flash_attn=values["flash_attn"],
        n_batch=values["batch_size"],
        n_ubatch=values["ubatch_size"],
        n_gpu_layers=layers(values["gpu_layers"]),
        n_cpu_moe=ALL_LAYERS if values["cpu_moe"] else values["n_cpu_moe"],
        override_tensor=tuple(values["override_tensor"] or ()),
        no_kv_offload=not values["kv_offload"],
        split_mode=values["split_mode"],
        tensor_split=values["tensor_split"],
        embeddings=values["embedding"],
        swa_full=values["swa_full"],
        load_mode=values["load_mode"],
        mmproj=values["mmproj"],
        draft_model=values["model_draft"],
        spec_type=values["spec_type"],
        spec_draft_n_max=values["spec_draft_n_max"],
        spec_draft_type_k=values["spec_draft_type_k"],
        spec_draft_type_v=values["spec_draft_type_v"],
        lora=tuple(values["lora"] or ()),
    )


def is_max(text: str) -> bool:
    """Whether `-c` asks for the largest context that fits."""
    return text.casefold() == "max"


def context(text: str) -> int | None:
    """Tokens of `-c`; None for the default, also where `max` raises it later.

    Raises: UsageError.
    """
    if text == "" or is_max(text):
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"-c/--ctx-size must be a number of tokens or max, not {text!r}.")
    if len(text) > MAX_DIGITS:
        raise UsageError(f"-c/--ctx-size must be at most {'9' * MAX_DIGITS}, not {text[:40]}.")
    return int(text)


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
