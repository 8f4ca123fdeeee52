"""The name rule: a GPU for a GGUF model from nothing but its name."""

from __future__ import annotations

from typing import NamedTuple

from ggufctl.core.names.detect import Detected, detect, names_experts
from ggufctl.core.names.quants import UNQUANTIZED, bits_per_weight

__all__ = ["get_gpu_config_llamacpp"]

_H200_BYTES = 141 * 10**9
_BILLION = 10**9
# What `-hf` loads from a repository when no quant is named.
_DEFAULT_QUANT = "Q4_K_M"
_OFFLOADED_MOE = (180, 184)
"""Total parameters [hundreds of millions] of the MoE models that keep experts on the host."""


class _Row(NamedTuple):
    below: int
    """Total parameters below which the row holds: a model on the bound takes the next row."""
    gpu: str
    unquantized: float
    quantized: float


_ROWS = (
    _Row(1 * _BILLION, "T4", 0.70, 0.70),
    _Row(3 * _BILLION, "L4", 0.70, 0.70),
    _Row(7 * _BILLION, "A10G", 0.75, 0.75),
    _Row(13 * _BILLION, "L40S", 0.75, 0.85),
    _Row(30 * _BILLION, "A100-80GB", 0.80, 0.90),
    _Row(65 * _BILLION, "H100", 0.85, 0.85),
)
_LARGEST_70B_CLASS = 72 * _BILLION
_NOTHING_KNOWN = ("L4", 0.85, "")


def get_gpu_config_llamacpp(model_name: str) -> tuple[str, float, str]:
    """The GPU, the share of its memory to use, and extra engine flags, by the name alone.

    Where the header of the model can be read, it decides instead: this is a rule of thumb.

    Raises: ValueError if the name is not that of a GGUF model.
    """
    detected = detect(model_name)
    if not detected.is_gguf:
        raise ValueError("Only GGUF models are supported in llama-cpp mode")
    if detected.n_params is None:
        return _NOTHING_KNOWN
    if names_experts(model_name) and round(detected.n_params / 1e8) in _OFFLOADED_MOE:
        return ("H100", 0.95, "--n-cpu-moe 80")
    quantized = detected.quant not in UNQUANTIZED
    for row in _ROWS:
        if detected.n_params < row.below:
            return (row.gpu, row.quantized if quantized else row.unquantized, "")
    if quantized and detected.n_params <= _LARGEST_70B_CLASS:
        return ("H100", 0.85, "")
    return ("H200" if _weights_bytes(detected) < _H200_BYTES else "B200", 0.95, "")


def _weights_bytes(detected: Detected) -> float:
    if detected.n_params is None:
        return 0.0
    if detected.quant in UNQUANTIZED:
        return 2.0 * detected.n_params
    bits = bits_per_weight(detected.quant or _DEFAULT_QUANT) or bits_per_weight(_DEFAULT_QUANT)
    return detected.n_params * (bits or 0.0) / 8
