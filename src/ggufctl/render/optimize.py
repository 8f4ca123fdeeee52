"""The Pareto front: a table on a terminal, tab-separated values in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ggufctl.core.escape import escape
from ggufctl.core.units import format_gib

if TYPE_CHECKING:
    from rich.table import Table

    from ggufctl.core.optimize import Candidate, Optimization

__all__ = ["front_lines", "front_table", "tsv_front"]

MAX_ROWS = 16
"""Of a table for people; pipes and JSON get the whole front."""

_COLUMNS = (
    "quant",
    "bits_per_weight",
    "gpu",
    "count",
    "changes",
    "usd_per_hour",
    "gpu_usd_per_hour",
    "tokens_per_s",
    "ttft_seconds",
    "request_seconds",
    "cold_start_seconds",
    "memory_bytes",
    "pick",
)


def tsv_front(found: Optimization) -> str:
    """The whole front, the cheapest first."""
    lines = ["\t".join(_COLUMNS)]
    for each in found.front:
        values: tuple[object, ...] = (
            each.quant,
            f"{each.bits_per_weight:.4f}",
            each.gpu.name,
            each.count,
            " ".join(each.changes(found.asked)),
            f"{each.usd_per_hour:.6f}",
            f"{each.gpu_usd_per_hour:.6f}",
            f"{each.tokens_per_s:.4f}",
            f"{each.ttft_seconds:.4f}",
            f"{each.request_seconds:.4f}",
            "" if each.gpu.is_own else f"{each.cold_start_seconds:.3f}",
            each.memory_bytes,
            "yes" if each is found.pick else "no",
        )
        lines.append("\t".join(escape(str(value)) for value in values))
    return "\n".join(lines) + "\n"


def front_table(found: Optimization, width: int) -> Table:
    """The front as people want it: of each GPU the fastest and the best, and the pick."""
    from ggufctl.render.plan import NARROW, new_table, rent

    table = new_table()
    numbers = ["$/h", "tok/s", "TTFT", *(("start", "GiB") if width >= NARROW else ())]
    for name in ("", "quant", "GPU"):
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("with", overflow="fold")
    for each in _shown(found):
        is_pick = each is found.pick
        figures = {
            "$/h": rent(each),
            "tok/s": _figure(each.tokens_per_s),
            "TTFT": f"{each.ttft_seconds:.2g}",
            "start": "-" if each.gpu.is_own else f"{each.cold_start_seconds:.0f}",
            "GiB": format_gib(each.memory_bytes),
        }
        table.add_row(
            "→" if is_pick else "",
            escape(each.quant),
            each.label,
            *(figures[name] for name in numbers),
            " ".join(each.changes(found.asked)),
            style="bold" if is_pick else None,
        )
    return table


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _shown(found: Optimization) -> list[Candidate]:
    kept: list[Candidate] = []
    for label in dict.fromkeys(each.label for each in found.front):
        same = [each for each in found.front if each.label == label]
        fastest = min(same, key=lambda each: (each.request_seconds, -each.bits_per_weight))
        finest = max(same, key=lambda each: (each.bits_per_weight, -each.request_seconds))
        kept += [fastest] if fastest is finest else [fastest, finest]
    kept = kept[:MAX_ROWS]
    if found.pick is not None and found.pick not in kept:
        kept.append(found.pick)
    return sorted(kept, key=lambda each: (each.usd_per_hour, each.request_seconds))


def front_lines(found: Optimization | None) -> list[str]:
    """What the table is, for below it; nothing where there is none."""
    if found is None or not found.front:
        return []
    goal = found.goal
    end = "worst" if goal.judge == "careful" else "likeliest"
    shown = min(len(_shown(found)), len(found.front))
    text = (
        f"front: {shown} of {len(found.front)} candidates that no other beats in price, latency, "
        f"quant, cache and slots; estimates at their {end}, $/h with cores and host memory, TTFT "
        f"of {goal.prompt_tokens} tokens and start in seconds"
    )
    if found.reading_floor is not None:
        text += f"; slower than {found.reading_floor:g} tokens/s left out"
    return [text]
