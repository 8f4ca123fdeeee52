"""Fits the speed model to the measured points, and prints how far off it is.

    python -m tests.speed.report            # fit, error tables, leave-one-out
    python -m tests.speed.report --markdown # the table of the README
    python -m tests.speed.report --starts   # starts as published and as predicted
    python -m tests.speed.report --write    # writes the fitted coefficients into the package

Everything is computed from `points.json`; errors are predicted over measured tokens/s.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import ggufctl
from ggufctl.catalog import load_catalogue
from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.gpus import Gpu
from ggufctl.core.speed import Cells, Traffic, step_seconds
from tests.speed.fit import (
    Fit,
    fit_attention,
    fit_batch,
    fit_decode,
    fit_depth,
    fit_vocabulary,
    law_of,
    points,
    runs,
    seconds_of,
)

DATA = Path(ggufctl.__file__).with_name("data") / "speed.json"
FITTED = ("T4", "L4", "A10", "A10G", "L40S", "A100-40GB", "A100-80GB", "RTX-PRO-6000")
"""GPUs of the catalogue that were measured alone; the rest is given in `speed.json`."""
SIBLINGS = ("A100-80GB-PCIe", "H100-PCIe")
"""Measured alone too, but not what Modal rents: for laws and left-out checks only."""
FLAT = 0.85
"""Share of the nominal bandwidth in the usual roofline."""


def family(gpu: str) -> str:
    """Cards that must be left out together."""
    return {"A10G": "A10", "A100-80GB-PCIe": "A100", "H100-PCIe": "H100"}.get(
        gpu, gpu.partition("-")[0]
    )


def refit(data: dict[str, Any]) -> tuple[dict[str, Fit], float]:
    """Coefficients of every GPU measured alone, and the cost of the vocabulary."""
    gpus = (*FITTED, *SIBLINGS)
    ns = fit_vocabulary(data, gpus)
    return {gpu: fit_decode(data, runs(data, gpu), ns) for gpu in gpus}, ns


def errors(values: Iterable[float]) -> str:
    """Mean and largest error of some relative errors."""
    found = list(values)
    mean = sum(map(abs, found)) / len(found)
    return (
        f"mean {mean:5.1%}  median {median(map(abs, found)):5.1%}  "
        f"worst {max(found, key=abs):+6.1%}  ({len(found)} points)"
    )


def as_traffic(point: dict[str, Any]) -> Traffic:
    """What a measured model reads, in the words of the package."""
    n_bytes = point["active_bytes"]
    return Traffic(
        gpu_dense_bytes=n_bytes,
        gpu_expert_bytes=0,
        host_dense_bytes=0,
        host_expert_bytes=0,
        expert_share=1,
        plain_bytes=n_bytes if point.get("plain") else 0,
        n_layer=point["n_layer"],
        n_moe_layer=0,
        n_vocab=point["n_vocab"],
        active_params=point.get("active_params", 0),
        total_bytes=n_bytes,
        attention_width=0,
        host_cache_share=0,
        attends_on_host=False,
    )


def predicted(gpu: Gpu, point: dict[str, Any], depth: int, n: int = 1, count: int = 1) -> Any:
    """The package's own prediction of decode tokens/s as a range."""
    kv = point.get("kv_bytes_per_token", 0)
    parts = ((1 << 30, float(kv), point["n_layer"]),) if kv else ()
    cells = Cells(parts, 0.0, 1 << 20, 1 << 20, n, 512, False, False)
    assert gpu.speed is not None
    seconds = step_seconds(gpu.speed, as_traffic(point), cells, 1.0, count, depth, n)
    return seconds.invert(float(n)) * gpu.speed.spread


def coefficients(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Fitted rows of `speed.json`, rounded as they are written."""
    fits, ns = refit(data)
    found = {}
    for gpu in FITTED:
        fit = fits[gpu]
        rows = runs(data, gpu)
        us_batch, batch = fit_batch(
            data, rows, "pp16", 16, lambda model, fit=fit: seconds_of(model, fit, ns)
        )
        us_prefill, prefill = fit_batch(data, rows, "pp512", 512)
        machines = max(row["machines"] for row in rows)
        found[gpu] = {
            "gpu": gpu,
            "eff_bw_gb_s": round(fit.eff_bw_gb_s),
            "us_per_layer": round(fit.us_per_layer, 1),
            "prefill_us_per_layer": round(us_prefill),
            "prefill_tflops": round(prefill, 1),
            "batch_us_per_layer": round(us_batch),
            "batch_tflops": round(min(batch, 1.15 * prefill), 1),
            "confidence": "fit",
            "prefill_confidence": "fit",
            "basis": f"fitted on {machines} machine{'s' if machines > 1 else ''}",
        }
    return found


def shared(data: dict[str, Any]) -> dict[str, float]:
    """Fitted figures that all GPUs have in common."""
    fits, ns = refit(data)
    cell_ns, kv = fit_depth(data, fits)
    prefill = {gpu: fit_batch(data, runs(data, gpu), "pp512", 512) for gpu in fits}
    split = []
    for gpu in FITTED:
        both = runs(data, gpu, 2)
        if both:
            split.append(fit_decode(data, both, ns).us_per_layer - fits[gpu].us_per_layer)
    return {
        "ns_per_vocab": round(ns, 2),
        "cell_ns": round(cell_ns, 1),
        "kv_efficiency": round(kv, 2),
        "attention_efficiency": round(fit_attention(data, prefill), 2),
        "split_us_per_layer": round(median(split), 0),
    }


def write(data: dict[str, Any]) -> None:
    """Put the fitted coefficients into the package's data."""
    document = json.loads(DATA.read_text())
    fitted = coefficients(data)
    document["gpus"] = [
        *fitted.values(),
        *(row for row in document["gpus"] if row["gpu"] not in fitted),
    ]
    for name, best in shared(data).items():
        row = document[name]
        row["best"] = best
        if "low" in row:
            row["low"], row["high"] = min(row["low"], best), max(row["high"], best)
    DATA.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def residuals(data: dict[str, Any]) -> list[tuple[str, str, float, float, Any]]:
    """(GPU, model, measured, flat roofline, predicted) of every point of the catalogue's GPUs."""
    catalogue = {gpu.name: gpu for gpu in load_catalogue()}
    found = []
    for gpu in FITTED:
        card = catalogue.get(gpu)
        if card is None:
            continue
        for row in runs(data, gpu):
            model = data["models"][row["model"]]
            flat = FLAT * card.bandwidth_gb_s * 1e9 / model["active_bytes"]
            best = predicted(card, model, 64)
            found.append((gpu, row["model"], row["tg128"], flat, best))
    for check in data["checks"]:
        card = catalogue[check["gpu"]]
        flat = FLAT * card.bandwidth_gb_s * 1e9 / check["active_bytes"]
        best = predicted(card, check, 0)
        found.append((check["gpu"], check["model"], check["tokens_per_s"], flat, best))
    return found


def leave_one_gpu_out(data: dict[str, Any]) -> dict[str, list[float]]:
    """Errors on GPUs whose family took no part: coefficients from the data sheet."""
    fits, ns = refit(data)
    found: dict[str, list[float]] = {}
    for gpu in fits:
        others = {name: fit for name, fit in fits.items() if family(name) != family(gpu)}
        fit = law_of(data, others)(gpu)
        found[gpu] = [
            1 / seconds_of(data["models"][row["model"]], fit, ns) / row["tg128"] - 1
            for row in runs(data, gpu)
        ]
    return found


def leave_one_model_out(data: dict[str, Any]) -> dict[str, list[float]]:
    """Errors on models that took no part in the fit, on each GPU."""
    fits, _ = refit(data)
    found: dict[str, list[float]] = {}
    for name, model in data["models"].items():
        rest = {**data, "runs": [row for row in data["runs"] if row["model"] != name]}
        ns = fit_vocabulary(rest, tuple(fits))
        for gpu in fits:
            for row in runs(data, gpu):
                if row["model"] == name:
                    fit = fit_decode(rest, runs(rest, gpu), ns)
                    error = 1 / seconds_of(model, fit, ns) / row["tg128"] - 1
                    found.setdefault(name, []).append(error)
    return found


def deep(data: dict[str, Any]) -> list[float]:
    """Errors with 256 to 2048 tokens in use."""
    catalogue = {gpu.name: gpu for gpu in load_catalogue()}
    found = []
    for gpu in FITTED:
        for row in runs(data, gpu) if gpu in catalogue else ():
            for test, depth in (("tg512", 256), ("tg1024", 512), ("tg4096", 2048)):
                if test in row:
                    best = predicted(catalogue[gpu], data["models"][row["model"]], depth).best
                    found.append(best / row[test] - 1)
    return found


def several(data: dict[str, Any]) -> list[float]:
    """Errors with the blocks split between two or eight cards."""
    catalogue = {gpu.name: gpu for gpu in load_catalogue()}
    found = []
    for row in data["runs"]:
        if row["count"] > 1 and row["gpu"] in catalogue and "tg128" in row:
            card, model = catalogue[row["gpu"]], data["models"][row["model"]]
            best = predicted(card, model, 64, count=row["count"]).best
            found.append(best / row["tg128"] - 1)
    return found


def prompts(data: dict[str, Any]) -> list[float]:
    """Errors of prefill at one batch of 512 tokens."""
    catalogue = {gpu.name: gpu for gpu in load_catalogue()}
    found = []
    for gpu in FITTED:
        for row in runs(data, gpu) if gpu in catalogue else ():
            speed = catalogue[gpu].speed
            if "pp512" not in row or speed is None:
                continue
            model = data["models"][row["model"]]
            seconds = model["n_layer"] * speed.prefill_us_per_layer * 1e-6
            seconds += 2 * model["active_params"] * 512 / speed.prefill_flops
            found.append(512 / seconds / row["pp512"] - 1)
    return found


def batches(data: dict[str, Any]) -> list[float]:
    """Errors of a batch of 16 tokens against 16 streams, without graphs and sampling."""
    catalogue = {gpu.name: gpu for gpu in load_catalogue()}
    found = []
    for gpu in FITTED:
        for row in runs(data, gpu) if gpu in catalogue else ():
            speed = catalogue[gpu].speed
            if "pp16" not in row or speed is None:
                continue
            model = data["models"][row["model"]]
            seconds = step_seconds(
                speed, as_traffic(model), Cells((), 0.0, 1, 1, 1, 512, False, False), 1.0, 1, 0, 1
            ).best
            seconds += model["n_layer"] * speed.batch_us_per_layer * 1e-6
            seconds += 2 * model["active_params"] * 15 / speed.batch_flops
            found.append(16 / seconds / row["pp16"] - 1)
    return found


def summary(data: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """What is compared → relative errors."""
    rows = residuals(data)
    n_checks = len(data["checks"])
    fitted, checks = rows[:-n_checks], rows[-n_checks:]
    return [
        ("decode, points of the fit", [p.best / m - 1 for _, _, m, _, p in fitted]),
        ("  flat roofline, 0.85 of the bandwidth", [f / m - 1 for _, _, m, f, _ in fitted]),
        ("decode, 22 published points of others", [p.best / m - 1 for _, _, m, _, p in checks]),
        ("  flat roofline", [f / m - 1 for _, _, m, f, _ in checks]),
        ("decode, a GPU left out", [e for v in leave_one_gpu_out(data).values() for e in v]),
        ("decode, a model left out", [e for v in leave_one_model_out(data).values() for e in v]),
        ("decode, 256 to 2048 tokens in use", deep(data)),
        ("decode, 2 or 8 GPUs", several(data)),
        ("batch of 16", batches(data)),
        ("prefill of 512", prompts(data)),
    ]


def markdown(data: dict[str, Any]) -> str:
    """The residual table of the README."""
    lines = ["| predicted over measured | points | mean error | median | worst |"]
    lines.append("|---|---:|---:|---:|---:|")
    for what, found in summary(data):
        mean = sum(map(abs, found)) / len(found)
        lines.append(
            f"| {what.strip()} | {len(found)} | {mean:.1%} | {median(map(abs, found)):.1%} "
            f"| {max(found, key=abs):+.0%} |"
        )
    return "\n".join(lines)


def starts(data: dict[str, Any]) -> str:
    """Published starts beside what is predicted for ours: the README's table."""
    lines = ["| published | start | ours, predicted | source |", "|---|---:|---:|---|"]
    for row in data["starts"]:
        gpu = load_catalogue().find(row["gpu"])
        found = predict_cold_start(
            row["weights_bytes"], gpu, snapshot=row.get("snapshot", False)
        ).seconds
        lines.append(
            f"| {row['engine']}: {row['what']} | {row['published']} "
            f"| {found.best:.0f} s ({found.low:.0f} to {found.high:.0f}) | {row['source']} |"
        )
    return "\n".join(lines)


def inside(data: dict[str, Any]) -> tuple[int, int]:
    """Points within the predicted range, and all points."""
    rows = residuals(data)
    return sum(p.low <= m <= p.high for _, _, m, _, p in rows), len(rows)


def main(arguments: list[str]) -> None:
    """Print what was asked for."""
    data = points()
    if "--write" in arguments:
        write(data)
        load_catalogue.cache_clear()
    if "--markdown" in arguments:
        print(markdown(data))
        return
    if "--starts" in arguments:
        print(starts(data))
        return
    print("fitted coefficients")
    for gpu, row in coefficients(data).items():
        print(
            f"  {gpu:14s} {row['eff_bw_gb_s']:5d} GB/s {row['us_per_layer']:6.1f} us/block"
            f"  batch {row['batch_us_per_layer']:4d} us {row['batch_tflops']:6.1f} TFLOPS"
            f"  prefill {row['prefill_us_per_layer']:4d} us {row['prefill_tflops']:6.1f} TFLOPS"
        )
    print("  " + "  ".join(f"{name} {value:g}" for name, value in shared(data).items()))
    print("\ndecode, tokens/s: measured, predicted low/best/high, error, flat roofline")
    for gpu, model, measured, flat, best in residuals(data):
        print(
            f"  {gpu:14s} {model[:38]:38s} {measured:7.1f} "
            f"{best.low:7.1f} {best.best:7.1f} {best.high:7.1f} "
            f"{best.best / measured - 1:+5.0%}   {flat:7.1f} {flat / measured - 1:+5.0%}"
        )
    within, n = inside(data)
    print(f"  within the range: {within} of {n}")
    print("\nwithout the GPU's family in the fit, from its data sheet")
    for gpu, found in leave_one_gpu_out(data).items():
        print(f"  {gpu:14s} {errors(found)}")
    print("\nwithout the model in the fit")
    for model, found in leave_one_model_out(data).items():
        print(f"  {model:14s} {errors(found)}")
    for server in data["servers"]:
        card = load_catalogue().find(server["gpu"])
        many = predicted(card, server, 0, server["streams"])
        print(
            f"\n{server['streams']} streams, {server['model']} on {server['gpu']}: measured "
            f"{server['tokens_per_s']}, predicted {many.low:.0f}/{many.best:.0f}/{many.high:.0f}"
        )
    print("\nsummary")
    for what, found in summary(data):
        print(f"  {what:40s} {errors(found)}")


if __name__ == "__main__":
    main(sys.argv[1:])
