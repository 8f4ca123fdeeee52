"""Quant labels as file names spell them, what they cost, and which is better.

A label is llama.cpp's own file type name (`Q4_K_M`, `IQ2_XXS`, `MXFP4_MOE`), with `UD-` in front
for the dynamic mixes of that name, or one of the types that only the ik_llama.cpp fork writes.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = [
    "QUANT_QUALITY_ORDER",
    "UNQUANTIZED",
    "bits_per_weight",
    "find_quant",
    "is_ggml_label",
    "normalize_quant",
    "quant_spans",
]

UNQUANTIZED = frozenset({"F16", "BF16", "F32"})

# Whole-file averages [bits per weight] of dense 7B-70B models. The low-bit mixes keep some
# tensors wider, so they lie above the nominal width of their block.
# Source: llama.cpp tools/quantize/README.md and tools/quantize/quantize.cpp QUANT_OPTIONS.
_BITS_PER_WEIGHT: dict[str, float] = {
    "F32": 32.0,
    "BF16": 16.0,
    "F16": 16.0,
    "Q8_0": 8.5,
    "Q8_K": 9.125,
    "Q8_KV": 8.25,
    "Q6_K": 6.57,
    "IQ6_K": 6.63,
    "Q6_0": 6.5,
    "Q5_1": 5.9,
    "Q5_K_M": 5.69,
    "Q5_K_S": 5.55,
    "Q5_0": 5.56,
    "IQ5_K": 5.5,
    "IQ5_KS": 5.25,
    "Q4_1": 5.05,
    "Q4_K_M": 4.85,
    "Q4_K_S": 4.61,
    "Q4_0": 4.6,
    "IQ4_NL": 4.58,
    "NVFP4": 4.6,
    "MXFP4": 4.4,
    "MXFP4_MOE": 4.4,
    "Q4_X": 4.55,
    "IQ4_K": 4.5,
    "IQ4_XS": 4.36,
    "IQ4_KS": 4.3,
    "Q3_K_L": 4.24,
    "IQ4_KSS": 4.05,
    "IQ4_KT": 4.05,
    "Q3_K_M": 3.93,
    "IQ3_M": 3.72,
    "IQ3_K": 3.6,
    "IQ3_S": 3.58,
    "Q3_K_S": 3.52,
    "IQ3_XS": 3.42,
    "IQ3_KL": 4.0,
    "IQ3_KS": 3.25,
    "IQ3_XXS": 3.2,
    "IQ3_KT": 3.2,
    "Q2_K": 3.07,
    "IQ2_M": 2.81,
    "Q2_K_S": 2.85,
    "IQ2_KL": 2.75,
    "IQ2_S": 2.62,
    "IQ2_K": 2.5,
    "IQ2_XS": 2.46,
    "Q2_0": 2.35,
    "IQ2_KS": 2.3,
    "IQ2_KT": 2.25,
    "IQ2_XXS": 2.25,
    "TQ2_0": 2.1,
    "I2_S": 2.1,
    "IQ2_BN": 2.1,
    "IQ1_M": 2.02,
    "IQ1_S": 1.85,
    "IQ1_KT": 1.85,
    "TQ1_0": 1.75,
    "IQ1_BN": 1.7,
    "Q1_0": 1.25,
}
# Published variants that widen the embeddings and the output of the plain mix.
_WIDENED = {"_L": 0.12, "_XL": 0.05, "_XXL": 0.2, "_P": 0.1}
_PLAIN_OF_K = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

_BEST_TO_WORST = (
    "F32",
    "BF16",
    "F16",
    "UD-Q8_K_XL",
    "Q8_K_XL",
    "Q8_K",
    "Q8_0_L",
    "Q8_0",
    "Q8_KV",
    "UD-Q6_K_XL",
    "Q6_K_XL",
    "Q6_K_L",
    "IQ6_K",
    "Q6_K",
    "Q6_0",
    "UD-Q5_K_XL",
    "Q5_K_XL",
    "Q5_K_L",
    "UD-Q5_K_M",
    "Q5_K_M",
    "UD-Q5_K_S",
    "IQ5_K",
    "Q5_K_S",
    "Q5_K",
    "IQ5_KS",
    "Q5_1",
    "Q5_0",
    "UD-Q4_K_XL",
    "Q4_K_XL",
    "UD-Q4_K_L",
    "Q4_K_L",
    "UD-Q4_K_M",
    "Q4_K_M",
    "Q4_K",
    "IQ4_K",
    "UD-Q4_K_S",
    "Q4_K_S",
    "Q4_X",
    "MXFP4_MOE",
    "MXFP4",
    "NVFP4",
    "UD-IQ4_NL",
    "IQ4_NL",
    "IQ4_KS",
    "UD-IQ4_XS",
    "IQ4_XS",
    "Q4_1",
    "Q4_0",
    "Q4_0_8_8",
    "Q4_0_4_8",
    "Q4_0_4_4",
    "IQ4_KSS",
    "IQ4_KT",
    "UD-Q3_K_XL",
    "Q3_K_XL",
    "UD-Q3_K_L",
    "Q3_K_L",
    "IQ3_KL",
    "UD-Q3_K_M",
    "Q3_K_M",
    "Q3_K",
    "IQ3_K",
    "IQ3_M",
    "UD-IQ3_S",
    "IQ3_S",
    "IQ3_XS",
    "IQ3_KS",
    "IQ3_KT",
    "UD-Q3_K_S",
    "Q3_K_S",
    "UD-IQ3_XXS",
    "IQ3_XXS",
    "UD-Q2_K_XL",
    "Q2_K_XL",
    "Q2_K_L",
    "IQ2_KL",
    "UD-Q2_K",
    "Q2_K",
    "UD-IQ2_M",
    "IQ2_M",
    "IQ2_K",
    "IQ2_S",
    "Q2_K_S",
    "IQ2_KS",
    "IQ2_XS",
    "IQ2_KT",
    "UD-IQ2_XXS",
    "IQ2_XXS",
    "TQ2_0",
    "I2_S",
    "IQ2_BN",
    "Q2_0",
    "UD-IQ1_M",
    "IQ1_M",
    "UD-IQ1_S",
    "IQ1_S",
    "IQ1_KT",
    "UD-TQ1_0",
    "TQ1_0",
    "IQ1_BN",
    "Q1_0",
)
QUANT_QUALITY_ORDER: tuple[str, ...] = _BEST_TO_WORST
"""Every label known, best first: the order `--quant auto` walks."""


def bits_per_weight(quant: str) -> float | None:
    """Average bits per weight of a whole file with this label, or None when it is unknown.

    A rule of thumb for names alone: the header of a file gives its exact bytes.
    """
    label = normalize_quant(quant)
    if label is None:
        return None
    base = re.sub(r"_(?:R[48]|4_4|4_8|8_8|G\d+)$", "", label.removeprefix("UD-"))
    if base in _BITS_PER_WEIGHT:
        return _BITS_PER_WEIGHT[base]
    if base in _PLAIN_OF_K:
        return _BITS_PER_WEIGHT[_PLAIN_OF_K[base]]
    for suffix, extra in _WIDENED.items():
        stem = base.removesuffix(suffix)
        if stem != base:
            plain = _PLAIN_OF_K.get(stem, stem)
            if plain in _BITS_PER_WEIGHT:
                return _BITS_PER_WEIGHT[plain] + extra
    return None


@cache
def _label_pattern() -> re.Pattern[str]:
    sep = "[_-]?"
    alternatives = (
        rf"iq[1-6]{sep}(?:xxs|xs|kss|ks|kl|kt|k|s|m|nl|bn)(?:_r[48])?",
        rf"q[2-8]{sep}k(?:{sep}(?:xxl|xl|s|m|l|p))?(?:_r[48])?",
        r"q8_kv(?:_r8)?",
        r"q[1-8]_[01](?:_[48]_[48]|_g\d{2,3}|_r[48]|_x?l)?",
        r"q4_x",
        r"tq[12]_0",
        r"i2_s",
        r"mxfp4(?:[_-]moe)?",
        r"nvfp4",
        r"bf16|fp?16|fp?32",
    )
    return re.compile(
        rf"(?<![a-z0-9])(?P<ud>ud[_-])?(?P<label>{'|'.join(alternatives)})(?![a-z0-9])"
    )


@cache
def _glued_pattern() -> re.Pattern[str]:
    return re.compile(r"(?P<ud>)(?P<label>i?q[1-8]_(?:k_[sml]|k|xxs|xs|nl|[01]))(?![a-z0-9])")


@cache
def _bare_pattern() -> re.Pattern[str]:
    return re.compile(r"(?<![a-z0-9])(?P<ud>)(?P<label>i?q[2-8])(?![a-z0-9])")


def _canonical(ud: str | None, label: str) -> str:
    text = label.upper().replace("-", "_")
    text = re.sub(r"^FP(16|32)$", r"F\1", text)
    text = re.sub(r"^(I?Q\d)(?=[A-Z])", r"\1_", text)
    text = re.sub(r"^(Q\d_K)(?=[A-UW-Z])", r"\1_", text)
    return f"UD-{text}" if ud else text


def normalize_quant(text: str) -> str | None:
    """The canonical spelling of a quant label, or None when `text` is not one.

    `i1-` (imatrix repositories) is dropped: the label is the same type.
    """
    lowered = text.strip().lower().removeprefix("i1-")
    for pattern in (_label_pattern(), _bare_pattern()):
        match = pattern.fullmatch(lowered)
        if match:
            return _canonical(match["ud"], match["label"])
    return None


def is_ggml_label(quant: str) -> bool:
    """Whether the label is one that only GGUF files carry (not F16, BF16, MXFP4, NVFP4)."""
    label = quant.removeprefix("UD-")
    return label not in UNQUANTIZED and "FP4" not in label and len(label) > 2


def quant_spans(text: str) -> list[tuple[int, int]]:
    """Where labels stand in `text` (start, end): these digits say nothing about the size."""
    return [match.span() for match in _label_pattern().finditer(text.lower())]


def find_quant(text: str) -> str | None:
    """The quant label that a name carries, canonical, or None.

    A quantised type wins over a float type beside it (`f16-Q5_K_S` is quantised from an F16
    file); a bare `q4` counts only when nothing better is there.
    """
    lowered = text.lower()
    floats: str | None = None
    for match in _label_pattern().finditer(lowered):
        label = _canonical(match["ud"], match["label"])
        if label.removeprefix("UD-") not in UNQUANTIZED:
            return label
        floats = floats or label
    if floats:
        return floats
    for pattern in (_glued_pattern(), _bare_pattern()):
        match_ = pattern.search(lowered)
        if match_:
            return _canonical(match_["ud"], match_["label"])
    return None
