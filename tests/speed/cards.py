"""Coefficients of cards of one's own, out of one public llama-bench run of each.

    python -m tests.speed.cards           # predicted over measured, each card left out
    python -m tests.speed.cards --write   # writes the coefficients into the package

A run gives two figures, tokens/s of a prompt and of an answer, for one model. So what a block
costs is taken to be the same for all cards, as what makes their shares of the nominal bandwidth
most alike; the rate at which weights are read, and that of matrix products, is then what makes
the prediction the measured figure. A card that nobody measured gets the median share of its
bandwidth, and the lower quartile of the shares of its data sheet's rate.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median, pstdev, quantiles
from typing import Any

import ggufctl
from ggufctl.catalog import load_cards
from ggufctl.core.gpus import Gpu
from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import Runtime
from ggufctl.core.speed import GpuSpeed, predict_speed
from tests.ggufs import Tensor, header, llama
from tests.truth.recorded import headers

DATA = Path(ggufctl.__file__).with_name("data") / "cards.json"
SPEED = DATA.with_name("speed.json")
POINTS = Path(__file__).with_name("cards.json")

SHORT = 64
"""Context in use, on average, while tg128 runs.  [tokens]"""

BLOCK_COSTS = range(10, 101, 5)
"""What a block may cost.  [microseconds]"""

BATCH_SHARE = 1.75
"""A block's further cost with several streams over that with one, as on the GPUs measured."""


def runs() -> list[dict[str, Any]]:
    """The measured runs."""
    found: list[dict[str, Any]] = json.loads(POINTS.read_text())["runs"]
    return found


@cache
def model() -> ModelShape:
    """Llama 7B in Q4_0, whose output matrix llama.cpp keeps in Q6_K."""
    n_embd, n_ff, n_vocab, n_layer = 4096, 11008, 32000, 32
    metadata, _ = llama(
        n_layer=n_layer,
        n_embd=n_embd,
        n_vocab=n_vocab,
        llama__feed_forward_length=n_ff,
        llama__attention__head_count=32,
        llama__attention__head_count_kv=32,
    )
    block: dict[str, tuple[int, int]] = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (n_embd, n_embd)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (n_embd, n_ff)),
        "ffn_down": (n_ff, n_embd),
    }
    tensors = [
        Tensor("token_embd.weight", "q4_0", (n_embd, n_vocab)),
        Tensor("output.weight", "q6_K", (n_embd, n_vocab)),
        Tensor("output_norm.weight", "f32", (n_embd,)),
    ]
    for i in range(n_layer):
        tensors += [Tensor(f"blk.{i}.{n}.weight", "q4_0", shape) for n, shape in block.items()]
        tensors += [Tensor(f"blk.{i}.{n}_norm.weight", "f32", (n_embd,)) for n in ("attn", "ffn")]
    raw, size = header(metadata, tensors)
    return ModelShape(parse_header(raw, size))


def predicted(card: Gpu, speed: GpuSpeed) -> tuple[float, float]:
    """Tokens/s of an answer, and of a prompt of one physical batch."""
    runtime = Runtime(n_ctx=512, n_parallel=1)
    found = predict_speed(model(), None, replace(card, speed=speed), 1, runtime, depth_tokens=SHORT)
    return found.decode_tokens_per_s.best, found.prefill_tokens_per_s.best


def solved(low: float, high: float, grows: Callable[[float], float], wanted: float) -> float:
    """Where a growing function has a value, to a thousandth."""
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if grows(middle) > wanted else (middle, high)
    return low


def fitted(card: Gpu, run: dict[str, Any], us_per_layer: float) -> GpuSpeed:
    """Coefficients with which the prediction is what was measured."""
    assert card.speed is not None
    base = replace(card.speed, us_per_layer=us_per_layer)
    bandwidth = solved(
        1, 1e5, lambda x: predicted(card, replace(base, eff_bw_gb_s=x))[0], run["tg128"]
    )
    flops = solved(
        1e10, 1e16, lambda x: predicted(card, replace(base, prefill_flops=x))[1], run["pp512"]
    )
    return replace(base, eff_bw_gb_s=bandwidth, prefill_flops=flops)


def measured() -> Iterator[tuple[Gpu, dict[str, Any]]]:
    """Cards and their runs."""
    cards = {card.name: card for card in load_cards()}
    for run in runs():
        yield cards[run["card"]], run


def block_cost() -> int:
    """What makes the shares of the bandwidth most alike.  [microseconds]"""

    def spread(us_per_layer: int) -> float:
        shares = [
            fitted(card, run, us_per_layer).eff_bw_gb_s / card.bandwidth_gb_s
            for card, run in measured()
        ]
        return pstdev(shares) / median(shares)

    return min(BLOCK_COSTS, key=spread)


def cautious(rates: list[float]) -> float:
    """What three of four cards reach: data sheets rate GeForce cards lower than others."""
    return quantiles(rates, n=4)[0]


def coefficients() -> dict[str, Any]:
    """What the package has: of each card, and of those that nobody measured."""
    us = block_cost()
    rows, shares, rates = [], [], []
    for card, run in measured():
        found = fitted(card, run, us)
        teraflops = found.prefill_flops / 1e12
        shares.append(found.eff_bw_gb_s / card.bandwidth_gb_s)
        rates.append(teraflops / card.fp16_tflops)
        rows.append(
            {
                "gpu": card.name,
                "eff_bw_gb_s": round(found.eff_bw_gb_s),
                "us_per_layer": us,
                "prefill_us_per_layer": round(found.prefill_us_per_layer),
                "prefill_tflops": float(f"{teraflops:.3g}"),
                "batch_us_per_layer": round(us * BATCH_SHARE),
                "batch_tflops": float(f"{teraflops:.3g}"),
                "confidence": "single source",
                "prefill_confidence": "fit",
                "basis": "fitted on one public run of a 7B model",
            }
        )
    unknown = json.loads(SPEED.read_text())["unknown_gpu"]
    return {
        "gpus": rows,
        "unknown_gpu": {
            **unknown,
            "eff_bw_share": round(median(shares), 2),
            "us_per_layer": us,
            "prefill_share": round(cautious(rates), 2),
            "batch_us_per_layer": round(us * BATCH_SHARE),
            "basis": "not measured: of other cards, scaled by the data sheet",
            "source": "python -m tests.speed.cards",
        },
    }


def checked() -> Iterator[tuple[str, float]]:
    """Of each card, predicted over measured of another model, quant and year."""
    shape = ModelShape(headers()["Llama-3.1-8B-Q4_K_M"])
    cards = {card.name: card for card in load_cards()}
    for check in json.loads(POINTS.read_text())["checks"]:
        runtime = Runtime(n_ctx=1024, n_parallel=1)
        card = cards[check["card"]]
        found = predict_speed(shape, None, card, 1, runtime, depth_tokens=256)
        yield card.name, found.decode_tokens_per_s.best / check["tg512"]


def left_out(found: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Of each card, predicted over measured with the coefficients of the others."""
    rows = found["gpus"]
    for card, run in measured():
        assert card.speed is not None
        nominal = {each.name: each for each, _ in measured()}
        others = [row for row in rows if row["gpu"] != card.name]
        share = median(row["eff_bw_gb_s"] / nominal[row["gpu"]].bandwidth_gb_s for row in others)
        rate = cautious([row["prefill_tflops"] / nominal[row["gpu"]].fp16_tflops for row in others])
        speed = replace(
            card.speed,
            us_per_layer=found["unknown_gpu"]["us_per_layer"],
            eff_bw_gb_s=share * card.bandwidth_gb_s,
            prefill_flops=rate * card.fp16_tflops * 1e12,
        )
        decode, prefill = predicted(card, speed)
        yield card.name, decode / run["tg128"], prefill / run["pp512"]


def main(arguments: list[str]) -> None:
    """Print the errors, or write the coefficients."""
    found = coefficients()
    if "--write" in arguments:
        document = json.loads(DATA.read_text())
        document["speeds"] = found
        DATA.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return
    shares = {row["gpu"]: row["eff_bw_gb_s"] for row in found["gpus"]}
    bandwidth = {card.name: card.bandwidth_gb_s for card, _ in measured()}
    unknown = found["unknown_gpu"]
    print(f"{unknown['us_per_layer']} us per block, {unknown['eff_bw_share']} of the bandwidth")
    print(f"{'left out':24s} decode  prompt  share of the bandwidth")
    errors = list(left_out(found))
    for name, decode, prefill in errors:
        share = shares[name] / bandwidth[name]
        print(f"{name:24s} {decode - 1:+6.0%}  {prefill - 1:+6.0%}  {share:.2f}")
    print(f"median error of decode {median(abs(d - 1) for _, d, _ in errors):.1%}")
    print("Llama 3 8B in Q4_K_M, a build of May 2024, by the coefficients of the package")
    others = list(checked())
    for name, ratio in others:
        print(f"{name:24s} {ratio - 1:+6.0%}")
    print(f"median error of decode {median(abs(ratio - 1) for _, ratio in others):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
