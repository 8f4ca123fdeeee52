"""Settings and where they come from: a table on a terminal, tab-separated values in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ggufctl.core.escape import escape, redact
from ggufctl.report.config import value_text

if TYPE_CHECKING:
    from ggufctl.config import Setting

__all__ = ["show_config", "tsv_config"]


def tsv_config(
    places: Mapping[str, tuple[str, bool]],
    settings: Sequence[Setting],
    variables: Sequence[tuple[str, str]],
) -> str:
    """Everything as rows: what it is about, its name, its value, where it comes from."""
    rows = [("command", "setting", "value", "source")]
    rows += [
        ("-", name.replace("_", "-"), escape(path), "" if is_there else "not there")
        for name, (path, is_there) in places.items()
    ]
    rows += [("-", name, redact(value), name) for name, value in variables]
    rows += [
        (s.option.command, s.option.name, value_text(s.value) or "", escape(s.source) or "default")
        for s in settings
    ]
    return "".join("\t".join(row) + "\n" for row in rows)


def show_config(
    places: Mapping[str, tuple[str, bool]],
    settings: Sequence[Setting],
    variables: Sequence[tuple[str, str]],
    *,
    n_hidden: int = 0,
    width: int | None = None,
    stream: TextIO | None = None,
) -> None:
    """Print everything as tables of a screen's width; nothing is cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream or sys.stdout, width=width, highlight=False, emoji=False)

    def text(value: str, style: str = "") -> Text:
        return Text(value, style, overflow="fold")

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, (path, is_there) in places.items():
        note = "" if is_there else " (not there)"
        grid.add_row(name.replace("_", " "), text(escape(path) + note))
    for name, value in variables:
        grid.add_row(name, text(redact(value)))
    console.print(grid)
    if settings:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
        for title in ("command", "setting", "value", "from"):
            table.add_column(title, overflow="fold")
        for s in settings:
            shown = value_text(s.value)
            table.add_row(
                s.option.command,
                s.option.name,
                text("-" if shown is None else shown),
                text(escape(s.source) or "default"),
            )
        console.print("")
        console.print(table)
    if n_hidden:
        console.print(text(f"{n_hidden} settings at their defaults: --all shows them", "dim"))
