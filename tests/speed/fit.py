"""Fits the coefficients of the speed model to measured points, with nothing but arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

POINTS = Path(__file__).with_name("points.json")
SHORT = 64
"""Context in use, on average, while tg128 runs.  [tokens]"""


def points() -> dict[str, Any]:
    """Everything that was measured."""
    loaded: dict[str, Any] = json.loads(POINTS.read_text())
    return loaded


@dataclass(frozen=True)
class Fit:
    """Coefficients of one GPU."""

    eff_bw_gb_s: float
    us_per_layer: float


def runs(data: dict[str, Any], gpu: str, count: int = 1) -> list[dict[str, Any]]:
    """Measured rows of so many cards of a type."""
    return [r for r in data["runs"] if r["gpu"] == gpu and r["count"] == count]


def decode_row(
    model: dict[str, Any], tokens_per_s: float, ns_per_vocab: float
) -> tuple[float, float, float, float]:
    """(GB read, millions of layers, seconds of the vocabulary, seconds) of one short decode."""
    n_bytes = model["active_bytes"] + SHORT * model.get("kv_bytes_per_token", 0)
    vocabulary = model["n_vocab"] * ns_per_vocab * 1e-9
    return n_bytes / 1e9, model["n_layer"] * 1e-6, vocabulary, 1 / tokens_per_s


def fit_decode(data: dict[str, Any], rows: Sequence[dict[str, Any]], ns_per_vocab: float) -> Fit:
    """Effective bandwidth and cost of a block from tg128."""
    found = []
    for row in rows:
        if "tg128" in row:
            gb, layers, fixed, seconds = decode_row(
                data["models"][row["model"]], row["tg128"], ns_per_vocab
            )
            found.append((gb, layers, fixed, seconds))
    x, y = two_terms(found)
    return Fit(1 / max(x, 1e-9), y)


def two_terms(rows: Iterable[tuple[float, float, float, float]]) -> tuple[float, float]:
    """x and y >= 0 of a*x + b*y + c = t for rows (a, b, c, t), by least relative squares."""
    scaled = [(a / t, b / t, 1 - c / t) for a, b, c, t in rows]
    aa = sum(a * a for a, _, _ in scaled)
    bb = sum(b * b for _, b, _ in scaled)
    ab = sum(a * b for a, b, _ in scaled)
    ta, tb = sum(a * r for a, _, r in scaled), sum(b * r for _, b, r in scaled)
    det = aa * bb - ab * ab
    if det > 1e-12 * aa * bb:
        x, y = (ta * bb - tb * ab) / det, (tb * aa - ta * ab) / det
        if x >= 0 and y >= 0:
            return x, y
    ends = ((ta / aa if aa else 0.0, 0.0), (0.0, tb / bb if bb else 0.0))
    return min(ends, key=lambda e: sum((a * e[0] + b * e[1] - r) ** 2 for a, b, r in scaled))


def seconds_of(model: dict[str, Any], fit: Fit, ns_per_vocab: float) -> float:
    """Predicted time of one short decode.  [s]"""
    gb, layers, fixed, _ = decode_row(model, 1.0, ns_per_vocab)
    return gb / fit.eff_bw_gb_s + layers * fit.us_per_layer + fixed


def fit_vocabulary(data: dict[str, Any], gpus: Sequence[str]) -> float:
    """Cost of a row of the vocabulary that makes all GPUs' fits best together.  [ns]"""

    def squares(ns: float) -> float:
        total = 0.0
        for gpu in gpus:
            rows = [r for r in runs(data, gpu) if "tg128" in r]
            fit = fit_decode(data, rows, ns)
            for row in rows:
                predicted = seconds_of(data["models"][row["model"]], fit, ns)
                total += (predicted * row["tg128"] - 1) ** 2
        return total

    return min((step / 20 for step in range(61)), key=squares)


def fit_batch(
    data: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    test: str,
    n: int,
    base: Callable[[dict[str, Any]], float] | None = None,
) -> tuple[float, float]:
    """(microseconds per block, TFLOPS) that a batch of `n` tokens costs over `base` seconds."""
    found = []
    for row in rows:
        if test not in row:
            continue
        model = data["models"][row["model"]]
        before = base(model) if base else 0.0
        tokens = n - 1 if base else n
        flops = 2 * model["active_params"] * tokens / 1e12
        if n / row[test] > before:
            found.append((flops, model["n_layer"] * 1e-6, before, n / row[test]))
    x, y = two_terms(found)
    return y, 1 / max(x, 1e-9)


def fit_attention(data: dict[str, Any], prefill: dict[str, tuple[float, float]]) -> float:
    """Rate of attention over a long prompt, over that of matrix products: median."""
    found = []
    for gpu, (us, tflops) in prefill.items():
        for row in runs(data, gpu):
            if "pp16384" not in row or row["model"] not in ("Gemma-2B", "Llama-7B", "Phi-4-14B"):
                continue
            model, n = data["models"][row["model"]], 16384
            linear = n / 512 * model["n_layer"] * us * 1e-6
            linear += 2 * model["active_params"] * n / (tflops * 1e12)
            rest = n / row["pp16384"] - linear
            if rest > 0:
                found.append(2 * model["attention_width"] * n * n / rest / (tflops * 1e12))
    return median(found)


def fit_depth(data: dict[str, Any], fits: dict[str, Fit]) -> tuple[float, float]:
    """(nanoseconds per block and cell, cache bandwidth over weight bandwidth), medians.

    Small models show what looking at a cell costs whatever its size, a model with wide caches
    what reading it costs.
    """
    latency, efficiency = [], []
    for gpu, fit in fits.items():
        for row in runs(data, gpu):
            model = data["models"][row["model"]]
            if row["model"] in ("SmolLM-135M", "Gemma-2B") and "tg4096" in row:
                more = 1 / row["tg4096"] - 1 / row["tg128"]
                latency.append(more / (model["n_layer"] * (2048 - SHORT)) * 1e9)
            if row["model"] == "Llama-7B" and "tg1024" in row:
                more = 1 / row["tg1024"] - 1 / row["tg128"]
                gb = model["kv_bytes_per_token"] * (512 - SHORT) / 1e9
                efficiency.append(gb / more / fit.eff_bw_gb_s)
    return median(latency), median(efficiency)


def law_of(data: dict[str, Any], fits: dict[str, Fit]) -> Callable[[str], Fit]:
    """Coefficients of a GPU by its data sheet, from those of others.

    Reading takes the time of the nominal bandwidth and that of unpacking, which goes with
    multiprocessors x clock; launching a block takes a number of clock cycles.
    """
    sheets = data["gpus"]

    def rates(gpu: str) -> tuple[float, float]:
        sheet = sheets[gpu]
        return 1 / sheet["bandwidth_gb_s"], 1 / (sheet["multiprocessors"] * sheet["boost_ghz"])

    x, y = two_terms((*rates(gpu), 0.0, 1 / fit.eff_bw_gb_s) for gpu, fit in fits.items())
    cycles = median(f.us_per_layer * sheets[g]["boost_ghz"] for g, f in fits.items())

    def predicted(gpu: str) -> Fit:
        a, b = rates(gpu)
        return Fit(1 / (a * x + b * y), cycles / sheets[gpu]["boost_ghz"])

    return predicted
