"""A benchmark as a picture: speed, time to first token and length of answers by streams."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufctl.core.escape import escape, quoted
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check", "draw"]

SUFFIXES = (".png", ".svg", ".pdf")
WIDTH_INCHES, HEIGHT_INCHES = 10.0, 4.2
DOTS_PER_INCH = 150

_HEADROOM = 1.08
"""Of the axes above the highest point, as a factor."""

# Told apart without colour as well: by marker and by dashes.
_NOW, _BEFORE, _EXPECTED = "#0072b2", "#999999", "#e69f00"


def check(path: str) -> None:
    """Refuse a file that no picture could be written to.

    Raises: UsageError.
    """
    place = Path(path)
    if place.suffix.casefold() not in SUFFIXES:
        raise UsageError(f"{quoted(path)}: a picture ends in {', '.join(SUFFIXES)}.")
    folder = place.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or place.is_dir():
        raise UsageError(f"{quoted(path)} cannot be written.")


def draw(report: Mapping[str, Any], before: Mapping[str, Any] | None, path: str) -> None:
    """Write the picture of a report, with that of an earlier one behind it.

    Raises: UsageError when the file cannot be written.
    """
    # Neither a display nor pyplot's list of figures is needed to write a file.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    speed, first, answer = figure.subplots(1, 3)
    _draw_speed(speed, report, before)
    for axes, key, title in (
        (first, "first_token", "time to first token"),
        (answer, "latency", "whole answer"),
    ):
        _draw_times(axes, report, before, key)
        axes.set(title=title, ylabel="seconds")
    for axes in (speed, first, answer):
        _finish(axes, report["levels"])
    figure.suptitle(_title(report), fontsize=10, parse_math=False)
    try:
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata=_metadata(path))
    except OSError as error:
        raise UsageError(f"{quoted(path)} cannot be written: {error.strerror}.") from None


def _draw_speed(axes: Axes, report: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    rows = report["levels"]
    if before is not None:
        _line(axes, before["levels"], "total_tokens_per_second", _BEFORE, "s", ":", "all, before")
    _line(axes, rows, "total_tokens_per_second", _NOW, "o", "-", "all streams")
    _line(axes, rows, "tokens_per_second", _NOW, "^", "--", "each stream")
    expected = report["prediction"]
    if expected is not None:
        for key, n in (("tokens_per_second", 1), ("total_tokens_per_second", expected["n_slots"])):
            low, best, high = (expected[key][name] for name in ("low", "best", "high"))
            axes.errorbar(
                [n],
                [best],
                yerr=[[best - low], [high - best]],
                color=_EXPECTED,
                marker="D",
                capsize=4,
                linestyle="none",
                label="estimated" if n == 1 else None,
            )
    axes.set(title="decode", ylabel="tokens/s")


def _draw_times(
    axes: Axes, report: Mapping[str, Any], before: Mapping[str, Any] | None, key: str
) -> None:
    if before is not None:
        _line(axes, before["levels"], f"{key}_p50_seconds", _BEFORE, "s", ":", "p50, before")
    for percentile, marker, dashes in (("p50", "o", "-"), ("p90", "^", "--"), ("p99", "v", "-.")):
        _line(
            axes, report["levels"], f"{key}_{percentile}_seconds", _NOW, marker, dashes, percentile
        )


def _line(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    color: str,
    marker: str,
    dashes: str,
    label: str,
) -> None:
    points = [(row["n_streams"], row[key]) for row in rows if row[key] is not None]
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=color, marker=marker, linestyle=dashes, label=label)


def _finish(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    streams = [row["n_streams"] for row in rows]
    axes.set_xscale("log", base=2)
    axes.set_xticks(streams, [str(n) for n in streams])
    axes.minorticks_off()
    axes.set_ylim(0, _HEADROOM * max(axes.dataLim.ymax, 0.001))
    axes.set_xlabel("streams at once")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)


def _title(report: Mapping[str, Any]) -> str:
    settings = report["settings"]
    model = escape(report["model"], 60)
    where = escape(" or ".join(report["gpus"]) or report["name"], 60)
    what = model if where == model else f"{model} on {where}"
    return f"{what}: prompts of {settings['n_prompt']} tokens, answers of {settings['n_predict']}"


def _metadata(path: str) -> dict[str, str | None]:
    """Nothing that differs between two pictures of the same figures."""
    key = {".svg": "Date", ".pdf": "CreationDate"}.get(Path(path).suffix.casefold())
    return {key: None} if key else {}
