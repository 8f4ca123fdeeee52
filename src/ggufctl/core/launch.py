"""From a plan to what is started: arguments, environment and time limit, all as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ggufctl.core.escape import quoted
from ggufctl.core.plan import engine_args
from ggufctl.core.runtime import MAX_SEQUENCES, NO_DRAFT, Runtime
from ggufctl.core.templates import template_args
from ggufctl.errors import UsageError

__all__ = [
    "CACHE_RAM_MIB",
    "ENGINES",
    "KEY_VARIABLE",
    "Files",
    "Launch",
    "alias_of",
    "cache_ram_mib",
    "check_engine_settings",
    "check_passthrough",
    "clean_environment",
    "engine_runtime",
    "llama_cpp_python_args",
    "llama_server_args",
    "planned_again",
    "slug",
    "startup_seconds",
]

KEY_VARIABLE = "LLAMA_API_KEY"
"""Where the engine reads its key: an environment is private to its user, arguments are not."""

ENGINES = ("llama-server", "xllamacpp", "llama-cpp-python")
"""In the order in which they are looked for on this machine."""

CACHE_RAM_MIB = 8192
"""llama-server's own limit of its prompt cache, which lies in host memory.  [MiB]"""

VERBOSITY = 4
"""Sizes of buffers and offloaded layers are hidden below this level of the log."""

_MIB = 1 << 20

_REFUSED = [
    "--host",
    "--port",
    "--reuse-port",
    "--api-prefix",
    "--root-path",
    "--server-base",
    "--path",
    "--media-path",
    "-m",
    "-mu",
    "-mmu",
    "--mmproj-url",
    "-dr",
    "--docker-repo",
    "-a",
    "--alias",
    "--config-file",
    "-ag",
    "--slot-save-path",
    "--log-prompts-dir",
    "--log-file",
    "--log-disable",
    "--log-jsonl",
    "-v",
    "--verbose",
    "--log-verbose",
    "-lv",
    "--verbosity",
    "--log-verbosity",
    "-h",
    "--help",
    "--usage",
    "--version",
    "-cl",
    "--cache-list",
    "--list-devices",
    "--completion-bash",
]
_REFUSED_PREFIXES = (
    "--api-key",
    "--model",
    "-hf",
    "--hf",
    "--mcp",
    "--ssl",
    "--ui-mcp",
    "--webui-mcp",
    "--tools",
    "--agent",
    "--rpc",
    "--spec-draft-hf",
)
_REFUSED_ENDING = re.compile(r"--(fim|gpt-oss|vision|embd)-.*(default|spec)")
"""Each fetches a model of its own choice and runs that."""
_PLANNED = frozenset(
    [
        "-c",
        "--ctx-size",
        "-np",
        "--parallel",
        "-kvu",
        "--kv-unified",
        "-no-kvu",
        "--no-kv-unified",
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        "-ncmoe",
        "--n-cpu-moe",
        "-cmoe",
        "--cpu-moe",
        "-ot",
        "--override-tensor",
        "-kvo",
        "--kv-offload",
        "-nkvo",
        "--no-kv-offload",
        "-ctk",
        "--cache-type-k",
        "-ctv",
        "--cache-type-v",
        "-fa",
        "--flash-attn",
        "-b",
        "--batch-size",
        "-ub",
        "--ubatch-size",
        "-sm",
        "--split-mode",
        "-ts",
        "--tensor-split",
        "--swa-full",
        "-lm",
        "--load-mode",
        "--embedding",
        "--embeddings",
        "-mm",
        "--mmproj",
        "-md",
        "--spec-draft-model",
        "--spec-type",
        "--spec-default",
        "--spec-draft-n-max",
        "-ctkd",
        "--cache-type-k-draft",
        "--spec-draft-type-k",
        "-ctvd",
        "--cache-type-v-draft",
        "--spec-draft-type-v",
        "--mtp",
        "--lora",
        # llama-cpp-python's own.
        "--n-ctx",
        "--n-batch",
        "--n-ubatch",
        "--logits-all",
        "--type-k",
        "--type-v",
        "--offload-kqv",
        "--cache",
        "--lora-path",
        "--clip-model-path",
    ]
)

_PRIVATE = re.compile(
    r"LLAMA_ARG_.*|LLAMA_API_KEY|LLAMA_SERVER_SLOTS_DEBUG|HF_TOKEN|HUGGING_FACE_HUB_TOKEN|MODAL_TOKEN_.*|API_KEY|"
    r"(OPENAI|ANTHROPIC|GGUFCTL)_API_KEY"
)

LEAST_STARTUP_SECONDS = 120.0
"""What a start takes beside moving bytes, on a machine that is busy with other things."""

SLACK = 4.0
"""A start may take this many times what the bytes alone need."""

PLANNED_BYTES_PER_SECOND = 1_000_000_000
"""Reading is never planned faster than this, however fast the page cache answers."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where everything that is loaded lies on the machine that runs the engine."""

    model: str
    """The first shard, where there are several."""
    mmproj: str = ""
    draft: str = ""
    lora: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an engine is told.

    Attributes:
        files: what to load.
        runtime: settings, as planned.
        alias: the model's name towards clients.
        host: address to listen on.
        port: port to listen on.
        cache_ram_mib: host memory for prompts seen before; 0 = none.
        n_threads: threads to compute with; 0 = as many as the engine likes.
        use_gpu: whether layers go to GPUs at all.
        slots: whether those who have the key may see how each slot is doing, without prompts.
        chat_format: of llama-cpp-python; empty = from the model's own template.
        extra: arguments of the user's, already checked.
    """

    files: Files
    runtime: Runtime
    alias: str
    host: str = "127.0.0.1"
    port: int = 8080
    cache_ram_mib: int = CACHE_RAM_MIB
    n_threads: int = 0
    use_gpu: bool = True
    slots: bool = False
    chat_format: str = ""
    extra: tuple[str, ...] = ()


def check_passthrough(args: Sequence[str]) -> tuple[str, ...]:
    """The arguments a user adds to the engine's, once they are known to be harmless.

    The last of two equal arguments wins, so none may be there that decides who can reach the
    server, with which key, which model it runs or what else of the machine it shows.

    Raises: UsageError for one of those.
    Source: llama.cpp common/arg.cpp, where underscores are taken for dashes.
    """
    for arg in args:
        name = arg.partition("=")[0].strip().casefold().replace("_", "-")
        if (
            name in _REFUSED
            or name.startswith(_REFUSED_PREFIXES)
            or _REFUSED_ENDING.fullmatch(name)
        ):
            raise UsageError(
                f"{arg.partition('=')[0]!r} may not be passed through to the engine.",
                "It would undo what keeps the server private, or what was planned.",
            )
    _check_template(args)
    return tuple(args)


def _check_template(args: Sequence[str]) -> None:
    """Refuse the name of a chat template that llama-server would take for the template's text."""
    if "--no-jinja" in args:
        return
    for arg, value in pairwise(args):
        given = value if arg.replace("_", "-") == "--chat-template" else ""
        if template_args(given)[:1] == ("--no-jinja",):
            raise UsageError(
                f"llama-server takes {quoted(given)} for the text of a chat template.",
                f"Say --no-jinja --chat-template {given}, which takes it for the name of one.",
            )


def planned_again(args: Sequence[str]) -> tuple[str, ...]:
    """Those passed-through arguments that change what the plan was made for."""
    return tuple(arg for arg in args if arg.partition("=")[0].replace("_", "-") in _PLANNED)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment an engine gets: without secrets, and without settings nobody checked."""
    return {name: value for name, value in environ.items() if not _PRIVATE.fullmatch(name)}


def llama_server_args(launch: Launch) -> tuple[str, ...]:
    """llama-server's arguments; the key is not among them.

    Source: llama.cpp common/arg.cpp (pin in core/_pins.py).
    """
    runtime = launch.runtime.with_(
        # Said outright: what llama-server takes by itself may change from build to build.
        n_parallel=launch.runtime.n_seq_max,
        kv_unified=launch.runtime.is_unified,
        mmproj=launch.files.mmproj or None,
        draft_model=launch.files.draft or None,
        lora=launch.files.lora,
        n_gpu_layers=launch.runtime.n_gpu_layers if launch.use_gpu else 0,
    )
    args = ["-m", launch.files.model, "-a", launch.alias]
    args += ["--host", launch.host, "--port", str(launch.port)]
    args += engine_args(runtime)
    args += ["--cache-ram", str(launch.cache_ram_mib), "--metrics"]
    args += ["--slots" if launch.slots else "--no-slots", "--no-ui", "-lv", str(VERBOSITY)]
    if launch.n_threads:
        args += ["-t", str(launch.n_threads)]
    return (*args, *launch.extra)


_GGML_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""Cache types by the numbers that llama-cpp-python takes.

Source: llama.cpp ggml/include/ggml.h `ggml_type`.
"""


def engine_runtime(engine: str, runtime: Runtime) -> Runtime:
    """The settings as an engine runs them, which is what its memory is planned for.

    llama-cpp-python serves one request after the other, reserves logits of a whole batch, keeps
    llama.cpp's own default of full-size caches for sliding windows, and decides nothing about
    flash attention by itself. For embeddings each token of a batch may be a sequence.

    Source: llama-cpp-python 0.3.36 llama_cpp/llama.py `Llama.__init__`.
    """
    if engine != "llama-cpp-python":
        return runtime
    n_seqs, unified = 1, None
    if runtime.embeddings:
        n_batch = min(runtime.n_ctx or runtime.n_batch, runtime.n_batch)
        n_seqs, unified = min(n_batch, MAX_SEQUENCES), True
    return runtime.with_(
        n_parallel=n_seqs,
        kv_unified=unified,
        n_outputs=0,
        swa_full=True,
        flash_attn="off" if runtime.flash_attn == "off" else "on",
    )


def llama_cpp_python_args(launch: Launch) -> tuple[str, ...]:
    """Arguments of `python -m llama_cpp.server`; the key is not among them.

    Logits of every token of the context are kept unless it is told not to: gigabytes of host
    memory that only `logprobs` needs.
    """
    runtime = launch.runtime
    layers = runtime.n_gpu_layers if launch.use_gpu else 0
    mode = runtime.load_mode
    args = ["--model", launch.files.model, "--model_alias", launch.alias]
    args += ["--host", launch.host, "--port", str(launch.port)]
    args += ["--n_ctx", str(runtime.n_ctx), "--n_batch", str(runtime.n_batch)]
    args += ["--n_ubatch", str(runtime.n_ubatch), "--n_gpu_layers", str(layers)]
    args += ["--use_mmap", str(mode not in ("none", "mlock", "dio"))]
    args += ["--use_mlock", str("mlock" in mode)]
    args += ["--flash_attn", str(runtime.flash_attn == "on"), "--logits_all", "False"]
    args += ["--type_k", str(_GGML_TYPES[runtime.cache_type_k])]
    args += ["--type_v", str(_GGML_TYPES[runtime.cache_type_v])]
    if runtime.embeddings:
        args += ["--embedding", "True"]
    if runtime.split_mode == "none":
        args += ["--split_mode", "0"]
    if runtime.tensor_split:
        args += ["--tensor_split", *runtime.tensor_split_text.split(",")]
    if runtime.no_kv_offload:
        args += ["--offload_kqv", "False"]
    if launch.files.lora:
        args += ["--lora_path", launch.files.lora[0]]
    if launch.chat_format:
        args += ["--chat_format", launch.chat_format]
    if launch.n_threads:
        args += ["--n_threads", str(launch.n_threads), "--n_threads_batch", str(launch.n_threads)]
    return (*args, *launch.extra)


def check_engine_settings(engine: str, runtime: Runtime) -> None:
    """Whether an engine has every option that the settings need.

    Raises: UsageError that names the option and the engines that have it.
    """
    if engine != "llama-cpp-python":
        return
    missing = {
        "-np/--parallel": runtime.n_parallel not in (None, 1),
        "-kvu/--kv-unified": runtime.kv_unified is not None,
        "-ncmoe/--n-cpu-moe": runtime.n_cpu_moe > 0,
        "-ot/--override-tensor": bool(runtime.override_tensor),
        "--mmproj": bool(runtime.mmproj),
        "--model-draft": bool(runtime.draft_model),
        "--spec-type": runtime.spec_type != NO_DRAFT,
        "--swa-full": runtime.swa_full,
        "--lora more than once": len(runtime.lora) > 1,
    }
    for option, is_asked in missing.items():
        if is_asked:
            raise UsageError(
                f"llama-cpp-python has no {option}.",
                "Use --engine llama-server or --engine xllamacpp, which have it.",
            )


def alias_of(path: str) -> str:
    """A model's name towards clients: its file's, without folders, shard and extension."""
    stem = re.split(r"[/\\]", path)[-1]
    stem = re.sub(r"(-\d{5}-of-\d{5})?(\.gguf)?$", "", stem, count=1, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:80] or "model"


def slug(text: str) -> str:
    """A deployment's name out of any text: lower case, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.casefold()).strip("-.")[:60] or "model"


def cache_ram_mib(free_bytes: int) -> int:
    """Host memory for prompts seen before: a quarter of what is left, 8 GiB at most.  [MiB]"""
    return max(0, min(CACHE_RAM_MIB, free_bytes // 4 // _MIB))


def startup_seconds(n_bytes: int, bytes_per_second: float) -> float:
    """How long a start may take: from the bytes to move and how fast they were seen to move.

    Args:
        n_bytes: of all files that are loaded.
        bytes_per_second: measured, of the disk or volume they are on.
    """
    rate = min(max(bytes_per_second, 1.0), PLANNED_BYTES_PER_SECOND)
    return LEAST_STARTUP_SECONDS + SLACK * n_bytes / rate
