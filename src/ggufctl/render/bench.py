"""A benchmark as a table on a terminal, and as tab-separated values elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ggufctl.core.escape import escape

if TYPE_CHECKING:
    from rich.table import Table

    from ggufctl.core.bench import Change

__all__ = ["comparison_lines", "headline", "notes", "show_levels", "tsv_levels"]

WIDE = 100
NARROW = 78
"""Columns below which a table shows less.  [characters]"""

_METRICS = {
    "prompt_tokens_per_second": "prompt tokens/s",
    "tokens_per_second": "tokens/s of a stream",
    "total_tokens_per_second": "tokens/s in all",
    "first_token_p50_seconds": "first token p50",
    "first_token_p99_seconds": "first token p99",
    "latency_p50_seconds": "answer p50",
    "latency_p99_seconds": "answer p99",
    "n_errors": "errors",
}
_STOPPED = {
    "requests": "stopped by --requests",
    "time": "stopped by --max-seconds",
    "money": "stopped by --max-usd",
    "interrupted": "interrupted",
}


def headline(report: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    settings = report["settings"]
    exact = "" if settings["prompts"] == "tokens" else "about "
    parts = [
        escape(report["model"], 80),
        *([escape(report["name"], 80)] if report["name"] != report["model"] else []),
        *([" or ".join(report["gpus"])] if report["gpus"] else []),
        *([f"llama.cpp {report['engine_build'].partition('-')[0]}"] * bool(report["engine_build"])),
        f"prompts of {exact}{settings['n_prompt']} tokens, answers of {settings['n_predict']}",
    ]
    return " · ".join(parts)


def show_levels(
    report: Mapping[str, Any], *, width: int | None = None, stream: TextIO | None = None
) -> None:
    """Print the levels as a table no wider than the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = width or shutil.get_terminal_size().columns
    is_narrow = columns < NARROW
    table = Table(
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0) if is_narrow else (0, 1, 0, 0),
        header_style="bold",
    )
    console = Console(file=stream or sys.stdout, width=width, highlight=False, emoji=False)
    percentiles = ("p50", "p99") if is_narrow else ("p50", "p90", "p99")
    titles = ["at\nonce", "prompt\ntok/s", "decode\ntok/s", "all\ntok/s"]
    for name in ("first", "answer"):
        titles += [f"{name if p == 'p50' else ''}\n{p}" for p in percentiles]
    titles += ["requests"] if columns >= WIDE else []
    for title in (*titles, "err"):
        table.add_column(title, justify="right", no_wrap=True)
    for level in report["levels"]:
        _add(table, level, percentiles, with_requests=columns >= WIDE)
    console.print(table, soft_wrap=True)


def _add(
    table: Table, level: Mapping[str, Any], percentiles: Sequence[str], *, with_requests: bool
) -> None:
    times = [
        _seconds(level[f"{name}_{percentile}_seconds"])
        for name in ("first_token", "latency")
        for percentile in percentiles
    ]
    table.add_row(
        str(level["n_streams"]),
        _rate(level["prompt_tokens_per_second"]),
        _rate(level["tokens_per_second"]),
        _rate(level["total_tokens_per_second"]),
        *times,
        *([str(level["n_ok"] + level["n_errors"])] if with_requests else []),
        str(level["n_errors"] or "-"),
    )


def notes(report: Mapping[str, Any]) -> list[str]:
    """What stands under the table: start, prediction, errors, limits, money."""
    lines = ["first, answer: seconds to the first and to the last token"]
    if report["cold_start_seconds"] is not None:
        lines.append(f"cold start {report['cold_start_seconds']:.1f} s to the first token")
    lines += _predictions(report)
    for level in report["levels"]:
        lines += [
            f"{level['n_streams']} at once: {error['n']} × {escape(error['text'], 200)}"
            for error in level["errors"]
        ]
        if level["n_cached"]:
            lines.append(
                f"{level['n_streams']} at once: up to {level['n_cached']} tokens of a prompt came "
                "from a cache"
            )
    return lines + _summary(report)


def _predictions(report: Mapping[str, Any]) -> list[str]:
    found, levels = report["prediction"], report["levels"]
    if found is None or not levels:
        return []
    lines = [f"against the plan's estimate for {found['count']}×{found['gpu']}:"]
    first = levels[0]
    if first["n_streams"] == 1:
        lines += [
            _against("decode tok/s", first["tokens_per_second"], found["tokens_per_second"]),
            _against(
                "prompt tok/s",
                first["prompt_tokens_per_second"],
                found["prompt_tokens_per_second"],
            ),
            _against(
                "first token, s", first["first_token_p50_seconds"], found["first_token_seconds"]
            ),
        ]
    full = next((row for row in levels if row["n_streams"] == found["n_slots"]), None)
    if full is not None and found["n_slots"] > 1:
        lines.append(
            _against(
                f"all {found['n_slots']} slots, tok/s",
                full["total_tokens_per_second"],
                found["total_tokens_per_second"],
            )
        )
    if report["cold_start_seconds"] is not None and found["cold_start_seconds"]:
        lines.append(
            _against("cold start, s", report["cold_start_seconds"], found["cold_start_seconds"])
        )
    return lines


def _against(name: str, measured: float, expected: Mapping[str, float]) -> str:
    is_inside = expected["low"] <= measured <= expected["high"]
    verdict = "as estimated" if is_inside else "not as estimated"
    return (
        f"  {name:<20} {_figure(measured):>9}  estimated {_figure(expected['best'])} "
        f"({_figure(expected['low'])} to {_figure(expected['high'])}): {verdict}"
    )


def _summary(report: Mapping[str, Any]) -> list[str]:
    is_exact = report["settings"]["prompts"] == "tokens"
    method = "no prompt begins like another" + ("; prompt cache off" if is_exact else "")
    parts = [f"{report['n_requests']} requests in {report['seconds']:.0f} s"]
    if report["stopped_by"]:
        parts.append(_STOPPED[report["stopped_by"]])
    lines = [f"{'; '.join(parts)}", f"seed {report['settings']['seed']}; {method}"]
    if report["usd"]:
        lines.append(f"about ${report['usd']:.3f}, with the time it stays up afterwards")
    return lines


_LENGTHS = frozenset({"n_prompt", "n_predict"})
_COMPARED = frozenset({"model", "engine_build"})
"""What two runs may be made to compare."""


def comparison_lines(changes: Sequence[Change], differing: Sequence[str]) -> list[str]:
    """What changed since another run; what makes the two incomparable comes first."""
    names = [text.partition(":")[0] for text in differing]
    is_other_work = any(name in _LENGTHS for name in names)
    lines = [
        f"{'compares' if name in _COMPARED else 'not comparable:'} {escape(text, 200)}"
        for name, text in zip(names, differing, strict=True)
    ]
    lines.append(f"{'streams':>7} {'':<21} {'before':>9} {'now':>9} {'change':>8}")
    for change in changes:
        if not (change.before or change.after):
            continue
        percent = f"{100 * (change.ratio - 1):+.1f}%" if change.before else "new"
        mark = "better" if change.is_better else "worse" if change.after != change.before else ""
        if is_other_work:
            # Shorter answers are no faster server.
            mark = ""
        lines.append(
            f"{change.n_streams:>7} {_METRICS[change.metric]:<21} {_figure(change.before):>9} "
            f"{_figure(change.after):>9} {percent:>8} {mark}".rstrip()
        )
    return lines


def tsv_levels(report: Mapping[str, Any]) -> str:
    """The levels as tab-separated values: every figure whole, nothing cut."""
    rows = [
        {name: value for name, value in level.items() if name != "errors"}
        for level in report["levels"]
    ]
    lines = ["\t".join(rows[0])] if rows else []
    lines += ["\t".join(_cell(value) for value in row.values()) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _rate(value: float) -> str:
    if not value:
        return "-"
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"
