"""llama.cpp's own server out of the `xllamacpp` wheel, as a process: llama-server's arguments.

``python -m ggufctl.remote.embedded_server -m MODEL …`` reads its key from LLAMA_API_KEY, prints
llama.cpp's log, and ends on SIGTERM or SIGINT with the requests it is answering finished.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["UnknownArgument", "main", "parse"]

_NEEDS_VALUE = {
    "-m": "model",
    "-a": "alias",
    "--host": "host",
    "--port": "port",
    "-c": "n_ctx",
    "-np": "n_parallel",
    "-ngl": "n_gpu_layers",
    "-ncmoe": "n_cpu_moe",
    "-ot": "override_tensor",
    "-ctk": "cache_type_k",
    "-ctv": "cache_type_v",
    "-fa": "flash_attn",
    "-b": "n_batch",
    "-ub": "n_ubatch",
    "-sm": "split_mode",
    "-ts": "tensor_split",
    "-lm": "load_mode",
    "-mm": "mmproj",
    "-md": "draft",
    "--spec-type": "spec_type",
    "--spec-draft-n-max": "spec_draft_n_max",
    "-ctkd": "spec_draft_type_k",
    "-ctvd": "spec_draft_type_v",
    "-fit": "fit",
    "-cram": "cache_ram",
    "-lv": "verbosity",
    "-t": "n_threads",
    "-tb": "n_threads_batch",
    "--threads-http": "n_threads_http",
    "--lora": "lora",
    "--chat-template": "chat_template",
    "-ctxcp": "n_ctx_checkpoints",
    "--reasoning-budget": "reasoning_budget",
    "--sleep-idle-seconds": "sleep_idle_seconds",
    "-to": "timeout",
    "-n": "n_predict",
    "--temp": "temp",
    "--top-k": "top_k",
    "--top-p": "top_p",
    "--min-p": "min_p",
    "-s": "seed",
}
_SWITCHES = {
    "-kvu": ("kv_unified", True),
    "-no-kvu": ("kv_unified", False),
    "--swa-full": ("swa_full", True),
    "-nkvo": ("no_kv_offload", True),
    "--embedding": ("embedding", True),
    "--slots": ("slots", True),
    "--no-slots": ("slots", False),
    "--reuse-port": ("reuse_port", True),
    "--ui": ("ui", True),
    "--no-ui": ("ui", False),
    "--props": ("props", True),
    "--metrics": ("metrics", True),
    "--warmup": ("warmup", True),
    "--no-warmup": ("warmup", False),
    "--no-context-shift": ("context_shift", False),
    "--jinja": ("jinja", True),
    "--no-jinja": ("jinja", False),
    "--no-repack": ("repack", False),
}
_SYNONYMS = {
    "--ctx-size": "-c",
    "--parallel": "-np",
    "--gpu-layers": "-ngl",
    "--n-gpu-layers": "-ngl",
    "--n-cpu-moe": "-ncmoe",
    "--override-tensor": "-ot",
    "--cache-type-k": "-ctk",
    "--cache-type-v": "-ctv",
    "--flash-attn": "-fa",
    "--batch-size": "-b",
    "--ubatch-size": "-ub",
    "--split-mode": "-sm",
    "--tensor-split": "-ts",
    "--load-mode": "-lm",
    "--mmproj": "-mm",
    "--spec-draft-model": "-md",
    "--spec-draft-type-k": "-ctkd",
    "--cache-type-k-draft": "-ctkd",
    "--spec-draft-type-v": "-ctvd",
    "--cache-type-v-draft": "-ctvd",
    "--fit": "-fit",
    "--cache-ram": "-cram",
    "--threads": "-t",
    "--threads-batch": "-tb",
    "--ctx-checkpoints": "-ctxcp",
    "--timeout": "-to",
    "--predict": "-n",
    "--n-predict": "-n",
    "--temperature": "--temp",
    "--seed": "-s",
    "--kv-unified": "-kvu",
    "--no-kv-unified": "-no-kvu",
    "--embeddings": "--embedding",
    "--webui": "--ui",
    "--no-webui": "--no-ui",
    "-nr": "--no-repack",
}

_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""Source: llama.cpp common/common.h `LLM_FFN_EXPS_REGEX`."""

_LAYERS = {"auto": -1, "all": -2}
_FLASH = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
_LOAD = {"mmap+mlock": "MMAP_MLOCK", "dio": "DIRECT_IO"}


class UnknownArgument(ValueError):
    """An argument of llama-server's that this server does not take.

    Args:
        argument: as it was given.
        problem: what is wrong with it.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(problem)
        self.argument = argument


class BadValue(ValueError):
    """A value that llama.cpp has no use for, in llama-server's own words."""


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings that arguments name, adapters as a list under `lora`.

    Raises: UnknownArgument with the argument and what is wrong with it.
    """
    found: dict[str, Any] = {"lora": []}
    rest: Iterator[str] = iter(arguments)
    for argument in rest:
        name = argument.replace("_", "-") if argument.startswith("--") else argument
        name = _SYNONYMS.get(name, name)
        if name in _SWITCHES:
            key, value = _SWITCHES[name]
            found[key] = value
        elif name in _NEEDS_VALUE:
            text = next(rest, None)
            if text is None:
                raise UnknownArgument(argument, f"{argument} needs a value")
            key = _NEEDS_VALUE[name]
            if key == "lora":
                found["lora"].append(text)
            else:
                found[key] = text
        else:
            raise UnknownArgument(argument, f"it has no {argument}")
    return found


def _configure(xlc: Any, settings: dict[str, Any]) -> Any:
    """llama.cpp's parameters out of the settings."""
    params = xlc.CommonParams()
    params.n_parallel = 1

    def number(name: str) -> Callable[[str], None]:
        return lambda text: setattr(params, name, int(text))

    def member(kind: Any, prefix: str, name: str, words: dict[str, str]) -> Callable[[str], None]:
        def put(text: str) -> None:
            word = words.get(text, text.upper())
            setattr(params, name, getattr(kind, prefix + word))

        return put

    def cache_type(holder: Any, name: str) -> Callable[[str], None]:
        return lambda text: setattr(
            holder, name, getattr(xlc.ggml_type, f"GGML_TYPE_{text.upper()}")
        )

    def plain(name: str) -> Callable[[Any], None]:
        return lambda value: setattr(params, name, value)

    def sampling(name: str, kind: Callable[[str], object]) -> Callable[[str], None]:
        return lambda text: setattr(params.sampling, name, kind(text))

    def negated(name: str) -> Callable[[Any], None]:
        return lambda value: setattr(params, name, not value)

    setters: dict[str, Callable[[Any], None]] = {
        "model": lambda text: setattr(params.model, "path", text),
        "mmproj": lambda text: setattr(params.mmproj, "path", text),
        "alias": lambda text: setattr(params, "model_alias", {text}),
        "host": lambda text: setattr(params, "hostnames", [text]),
        "n_gpu_layers": lambda text: setattr(
            params, "n_gpu_layers", _LAYERS[text] if text in _LAYERS else int(text)
        ),
        "override_tensor": lambda text: _override(params, text),
        "n_cpu_moe": lambda text: _override(params, _on_cpu(int(text))),
        "no_kv_offload": plain("no_kv_offload"),
        "cache_type_k": member(xlc.ggml_type, "GGML_TYPE_", "cache_type_k", {}),
        "cache_type_v": member(xlc.ggml_type, "GGML_TYPE_", "cache_type_v", {}),
        "flash_attn": member(
            xlc.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_", "flash_attn_type", _FLASH
        ),
        "split_mode": member(xlc.llama_split_mode, "LLAMA_SPLIT_MODE_", "split_mode", {}),
        "tensor_split": lambda text: _split(params, text),
        "load_mode": member(xlc.llama_load_mode, "LLAMA_LOAD_MODE_", "load_mode", _LOAD),
        "fit": lambda text: setattr(params, "fit_params", text == "on"),
        "cache_ram": number("cache_ram_mib"),
        "n_threads": lambda text: setattr(params.cpuparams, "n_threads", int(text)),
        "n_threads_batch": lambda text: setattr(params.cpuparams_batch, "n_threads", int(text)),
        "slots": plain("endpoint_slots"),
        "props": plain("endpoint_props"),
        "metrics": plain("endpoint_metrics"),
        "jinja": plain("use_jinja"),
        "context_shift": plain("ctx_shift"),
        "repack": negated("no_extra_bufts"),
        "chat_template": plain("chat_template"),
        "timeout": lambda text: _timeout(params, int(text)),
    }
    for name, kind in (("temp", float), ("top_k", int), ("top_p", float), ("min_p", float)):
        setters[name] = sampling(name, kind)
    setters["seed"] = sampling("seed", int)
    setters["reasoning_budget"] = sampling("reasoning_budget_tokens", int)
    for name in ("kv_unified", "swa_full", "embedding", "ui", "warmup", "reuse_port"):
        setters[name] = plain(name)
    for name in _NEEDS_VALUE.values():
        setters.setdefault(name, number(name))
    setters["lora"] = lambda paths: _adapters(xlc, params, paths)
    draft = params.speculative.draft
    setters["draft"] = lambda path: setattr(draft.mparams, "path", path)
    setters["spec_type"] = lambda text: _speculate(xlc, params, text)
    setters["spec_draft_n_max"] = lambda text: setattr(draft, "n_max", int(text))
    for letter in "kv":
        setters[f"spec_draft_type_{letter}"] = cache_type(draft, f"cache_type_{letter}")
    if "draft" in settings:
        # Of drafts that nothing else is said of, as they were started by former versions.
        settings.setdefault("spec_type", "draft-simple")
    for name, value in settings.items():
        try:
            setters[name](value)
        except (ValueError, AttributeError, OverflowError):
            raise BadValue(
                f'error while handling argument "{name}": {value!r} makes no sense'
            ) from None
    if key := os.environ.get("LLAMA_API_KEY"):
        params.api_keys = [key]
    return params


def _override(params: Any, entries: str) -> None:
    """Add overrides of tensors behind those there are: the first that matches counts."""
    before = params.tensor_buft_overrides
    params.tensor_buft_overrides = f"{before},{entries}" if before else entries


def _on_cpu(n_blocks: int) -> str:
    return ",".join(f"blk\\.{i}{_EXPERTS}=CPU" for i in range(n_blocks))


def _split(params: Any, text: str) -> None:
    """Give each GPU its share of the layers, and nothing to those that are not named."""
    shares = list(map(float, re.split("[,/]+", text.rstrip(",/"))))
    params.tensor_split = (shares + [0.0] * len(params.tensor_split))[: len(params.tensor_split)]


def _timeout(params: Any, seconds: int) -> None:
    params.timeout_read = params.timeout_write = seconds


def _adapters(xlc: Any, params: Any, paths: Sequence[str]) -> None:
    found = []
    for path in paths:
        adapter = xlc.CommonAdapterLoraInfo()
        adapter.path = path
        found.append(adapter)
    if found:
        params.lora_adapters = found


def _speculate(xlc: Any, params: Any, kind: str) -> None:
    name = f"COMMON_SPECULATIVE_TYPE_{kind.upper().replace('-', '_')}"
    params.speculative.types = [getattr(xlc.common_speculative_type, name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code, 1 when the server does not come up."""
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        xlc = import_module("xllamacpp")
        params = _configure(xlc, settings)
    except UnknownArgument as error:
        sys.stderr.write(f"error: invalid argument: {error.argument}\n")
        return 1
    except BadValue as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # The wheel is built without llama.cpp's own build number; its version ends with it.
    sys.stdout.write(f"build_info: {_build()} (xllamacpp {version('xllamacpp')})\n")
    sys.stdout.flush()
    # While llama.cpp loads, Python cannot act: a signal must end the process by itself.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        server = xlc.Server(params)
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _await_signal()
    # Its destructor finishes what is being answered and joins llama.cpp's threads.
    del server
    return 0


def _build() -> str:
    """llama.cpp's build by the last number of the wheel's version: 2026.10.11549 is b11549."""
    found = re.search(r"(\d{4,})$", version("xllamacpp"))
    return f"b{found[1]}" if found else "unknown"


def _await_signal() -> None:
    """Return once SIGTERM or SIGINT came, whichever thread the system gave it to."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    os.read(receiver, 1)


if __name__ == "__main__":
    sys.exit(main())
