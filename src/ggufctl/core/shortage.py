"""What would have fitted, from the numbers of the log itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ggufctl.core.ggml.types import TYPES
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.units import GIB, format_gib

__all__ = ["Shortage", "available_bytes", "explain_shortage", "largest_context"]

_STEP = 1024
"""Contexts are suggested in multiples of this.  [tokens]"""

_RESERVE_BYTES = 512 << 20
"""Left free for the compute buffer and CUDA itself.  [bytes]"""

_Q8 = "-fa on -ctk q8_0 -ctv q8_0"

_WORDS = (
    (
        "num_ctx",
        (
            (_Q8, "OLLAMA_FLASH_ATTENTION=1 and OLLAMA_KV_CACHE_TYPE=q8_0"),
            ("-ub ", "num_batch "),
            ("-ngl ", "num_gpu "),
            ("-c ", "num_ctx "),
        ),
    ),
    (
        "GPU Offload",
        (
            (_Q8, "Flash Attention and a K and V cache in Q8_0"),
            ("-ub ", "Evaluation Batch Size "),
            ("-ngl ", "GPU Offload "),
            ("-c ", "Context Length "),
        ),
    ),
    (
        "--contextsize",
        (
            (_Q8, "--flashattention --quantkv 1"),
            ("-ub ", "--blasbatchsize "),
            ("-ngl ", "--gpulayers "),
            ("-c ", "--contextsize "),
        ),
    ),
    (
        "n_gpu_layers",
        (
            (_Q8, "flash_attn=True, type_k=8, type_v=8"),
            ("-ub ", "n_ubatch="),
            ("-ngl ", "n_gpu_layers="),
            ("-c ", "n_ctx="),
        ),
    ),
)
"""A word of a wrapper's fixes → what it calls the options of llama-server."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """An allocation that failed."""

    device: str
    """llama.cpp's name: `CUDA0` …, or `host`."""
    n_bytes: int


def available_bytes(facts: LogFacts, device: str, *terms: str) -> int | None:
    """What is left on a device beside these terms; None when the log does not say.  [bytes]"""
    free = facts.free_bytes.get(device)
    if free is None:
        return None
    return max(0, free - facts.on(device, *terms))


def largest_context(facts: LogFacts, shortage: Shortage) -> int | None:
    """Longest context whose cache would have fitted; None when the log does not say.  [tokens]

    The cache of a device grows with the context, so that its share is known from what failed.
    """
    room = available_bytes(facts, shortage.device, "weights", "recurrent state")
    if room is None or not facts.n_ctx or not shortage.n_bytes:
        return None
    n_ctx = facts.n_ctx * max(0, room - _RESERVE_BYTES) // shortage.n_bytes
    if n_ctx >= facts.n_ctx:
        # Something else than what the log names took the room.
        return None
    return n_ctx // _STEP * _STEP


def explain_shortage(
    id: str, shortage: Shortage, facts: LogFacts, cause: str, fix: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """The cause and the fixes of an allocation that failed, with numbers in them.

    Args:
        id: of the signature.
        shortage: what could not be had.
        facts: what the log says besides.
        cause: the sentence without numbers.
        fix: the fixes without numbers.
    """
    where = "the host" if shortage.device == "host" else shortage.device
    wanted = (
        f"{format_gib(shortage.n_bytes)} GiB"
        if shortage.n_bytes >= GIB // 10
        else (f"{shortage.n_bytes / (1 << 20):.0f} MiB")
    )
    more = []
    if id == "oom-kv":
        at = f" at -c {facts.n_ctx}" if facts.n_ctx else ""
        cause = f"KV cache of {wanted}{at} did not fit on {where}."
        more = _kv_advice(facts, shortage)
    elif id == "oom-weights":
        cause = f"Weights of {wanted} did not fit on {where}."
        more = _weights_advice(facts, shortage)
    elif id == "oom-compute":
        cause = f"A compute buffer of {wanted} did not fit on {where}."
        more = _compute_advice(facts)
    elif id == "oom-scheduler-copies":
        cause = f"{cause} The buffer asked for has {wanted}."
    elif id in ("oom-mmproj", "oom-draft", "oom-host", "oom-host-weights"):
        cause = f"{cause} It asked for {wanted}."
    free = facts.free_bytes.get(shortage.device)
    if free is not None and id in ("oom-kv", "oom-weights", "oom-compute"):
        used = facts.on(shortage.device, "weights") if id != "oom-weights" else 0
        cause += f" It had {format_gib(free)} GiB free"
        cause += f", of which weights took {format_gib(used)} GiB." if used else "."
    more += _small_card_advice(facts, shortage)
    return _in_words_of(fix, cause), (*(_in_words_of(fix, text) for text in more), *fix)


def _in_words_of(fix: tuple[str, ...], text: str) -> str:
    """A sentence with the options of the program that the fixes are for."""
    for word, names in _WORDS:
        if any(word in line for line in fix):
            for option, name in names:
                text = re.sub(rf"(?<!\S){re.escape(option)}", name, text)
            return text
    return text


def _kv_advice(facts: LogFacts, shortage: Shortage) -> list[str]:
    n_ctx = largest_context(facts, shortage)
    if n_ctx is None:
        return []
    if n_ctx <= 0:
        return ["No context fits: the weights leave no room. Lower -ngl or use a smaller quant."]
    ratio = _q8_ratio(facts.cache_type_k or "f16")
    room = available_bytes(facts, shortage.device, "weights", "recurrent state") or 0
    text = f"-c {n_ctx} would fit"
    if ratio < 1 and shortage.n_bytes * ratio + _RESERVE_BYTES <= room:
        text += f"; so would -c {facts.n_ctx} with {_Q8}"
    elif ratio < 1:
        longer = min(int(n_ctx / ratio), facts.n_ctx) // _STEP * _STEP
        text += f", or -c {longer} with {_Q8}"
    return [f"{text} (from the log's own numbers)."]


def _q8_ratio(name: str) -> float:
    """How much smaller a cache is as q8_0; 1 or more when it is not."""
    now, q8 = TYPES.get(name), TYPES.get("q8_0")
    if now is None or q8 is None:
        return 1.0
    return (q8.type_size / q8.block_size) / (now.type_size / now.block_size)


def _weights_advice(facts: LogFacts, shortage: Shortage) -> list[str]:
    free = facts.free_bytes.get(shortage.device)
    layers = facts.offloaded or facts.n_layers
    if free is None or not layers or not shortage.n_bytes:
        return []
    n = layers * max(0, free - 2 * _RESERVE_BYTES) // shortage.n_bytes
    return [f"-ngl {n} would fit (from the log's own numbers)."] if 0 < n < layers else []


def _compute_advice(facts: LogFacts) -> list[str]:
    if facts.n_ubatch > 128:
        return [f"Halve the batch: -ub {facts.n_ubatch // 2}."]
    return []


def _small_card_advice(facts: LogFacts, shortage: Shortage) -> list[str]:
    """When the smallest of several cards fails, the others need not suffer for it."""
    free = facts.free_bytes.get(shortage.device)
    gpus = {device: n for device, n in facts.free_bytes.items() if device != "host"}
    others = [n for device, n in gpus.items() if device != shortage.device]
    if free is None or shortage.device == "host" or not others or free * 2 > max(others):
        return []
    return [
        f"{shortage.device} has far less memory than the other GPUs: leave it out with --device, "
        f"or "
        "give it a share of 0 with -ts."
    ]
