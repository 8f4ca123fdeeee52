"""Runs of the user's own servers: a table on a terminal, tab-separated values in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING

from ggufctl.core.calibration import Summary
from ggufctl.core.escape import escape

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["show_runs", "tsv_runs"]


def tsv_runs(runs: Sequence[Summary]) -> str:
    """Everything, figures whole; empty where nothing was seen."""
    lines = ["\t".join(field.name for field in fields(Summary))]
    for each in runs:
        values = ("" if value is None else value for value in astuple(each))
        lines.append("\t".join(escape(str(value)) for value in values))
    return "\n".join(lines) + "\n"


def show_runs(runs: Sequence[Summary], stream: TextIO | None = None) -> None:
    """Print a table for people."""
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("GPU", "build", "model"):
        table.add_column(name, overflow="fold")
    for name in ("runs", "memory", "load s", "tok/s", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in runs:
        table.add_row(
            *(Text(escape(text)) for text in (each.gpu, each.build, each.model)),
            str(each.n_runs),
            _times(each.memory_ratio),
            _figure(each.load_seconds),
            _figure(each.tokens_per_s),
            _times(each.speed_ratio),
        )
    Console(file=stream or sys.stdout).print(table)


def _times(ratio: float | None) -> str:
    """Of what was planned or predicted."""
    return "-" if ratio is None else f"{ratio:.2f}x"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
