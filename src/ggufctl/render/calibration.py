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

_NAMES = ("GPU", "build", "model")
_NAME = 9
"""Least width of one of them.  [characters]"""

_LEAST_WANTED = ("speed", "load s", "tok/s", "memory")
"""What a narrow terminal leaves out first."""


def tsv_runs(runs: Sequence[Summary]) -> str:
    """Everything, figures whole; empty where nothing was seen."""
    lines = ["\t".join(field.name for field in fields(Summary))]
    for each in runs:
        values = ("" if value is None else value for value in astuple(each))
        lines.append("\t".join(escape(str(value)) for value in values))
    return "\n".join(lines) + "\n"


def show_runs(
    runs: Sequence[Summary], stream: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print a table for people."""
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream or sys.stdout, width=width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    columns = {
        "GPU": [each.gpu for each in runs],
        "build": [each.build for each in runs],
        "model": [each.model for each in runs],
        "runs": [str(each.n_runs) for each in runs],
        "memory": [_times(each.memory_ratio) for each in runs],
        "load s": [_figure(each.load_seconds) for each in runs],
        "tok/s": [_figure(each.tokens_per_s) for each in runs],
        "speed": [_times(each.speed_ratio) for each in runs],
    }
    for name in _LEAST_WANTED:
        # Without what they are of, figures say nothing.
        if len(_NAMES) * _NAME + sum(len(n) + 1 for n in columns if n not in _NAMES) <= (
            console.width
        ):
            break
        del columns[name]
    for name in columns:
        if name in _NAMES:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(escape(cell)) for cell in cells))
    console.print(table)


def _times(ratio: float | None) -> str:
    """Of what was planned or predicted."""
    return "-" if ratio is None else f"{ratio:.2f}x"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
