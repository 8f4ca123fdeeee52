"""Models side by side: a table on a terminal, tab-separated values in a pipe."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from ggufctl.core.escape import escape, redact
from ggufctl.core.units import format_gib, format_tokens, format_usd
from ggufctl.render.plan import (
    _cell,
    _console,
    _count,
    _print,
    _put,
    _short,
    _yes,
    at_price,
    new_table,
    rent,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ggufctl.core.economics import Economics
    from ggufctl.core.gpus import Gpu
    from ggufctl.core.plan import Plan
    from ggufctl.core.planner import GpuPlan
    from ggufctl.services.compare import Compared

__all__ = ["show_compare", "summary", "tsv_compare"]

BEST = "*"
"""Marks the best of a row, also where there are no colours."""

COLUMN = 13
"""Least width of a model's column.  [characters]"""

LEAST_WANTED = ("max -c", "GiB", "tok/s", "quant", "$/h")
"""What a terminal that is too narrow for it leaves out first."""

FIRST_COLUMN = 11
"""Width of the headings beside them.  [characters]"""

_COLUMNS = (
    "ref",
    "quant",
    "size_bytes",
    "n_params",
    "n_active_params",
    "n_ctx",
    "gpu",
    "count",
    "usd_per_hour",
    "utilization",
    "max_n_ctx",
    "tokens_per_s",
    "usd_per_million_tokens",
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One property of every model."""

    heading: str
    cells: tuple[str, ...]
    values: tuple[float | None, ...] = ()
    """What is better when it is higher; empty where nothing is better."""

    def best(self) -> set[int]:
        """Which models are best; nobody when all are alike."""
        known = [value for value in self.values if value is not None]
        if len(known) < 2 or min(known) == max(known):
            return set()
        return {i for i, value in enumerate(self.values) if value == max(known)}


def _flags(models: Sequence[Compared]) -> list[str]:
    """The flags of every model, where a search gave them different ones."""
    flags = [
        "" if m.plan is None or m.plan.choice is None else shlex.join(m.plan.choice.engine_args)
        for m in models
    ]
    if len({text for text in flags if text}) < 2:
        return [""] * len(flags)
    return [escape(text) for text in flags]


def summary(models: Sequence[Compared]) -> list[str]:
    """The pick of every model and what is to be known of it, or why there is none."""
    lines = []
    for model, flags in zip(models, _flags(models), strict=True):
        ref = redact(model.ref)
        if model.plan is not None and model.plan.choice is not None:
            row = model.plan.choice.row
            line = f"{ref}: {row.label}{at_price(row)}"
            lines.append(f"{line}, {flags}" if flags else line)
        elif model.error is not None:
            hint = f" {redact(model.error.hint)}" if model.error.hint else ""
            lines.append(f"{ref}: error: {redact(model.error.message)}{hint}")
        if model.plan is not None:
            lines += [f"{ref}: warning: {escape(text)}" for text in model.plan.warnings]
    return lines


def tsv_compare(models: Sequence[Compared]) -> str:
    """One line per model; of every GPU how many, how full and the largest context."""
    gpus = _gpus(models)
    heads = [f"{gpu.name}_{what}" for gpu in gpus for what in ("count", "utilization", "max_n_ctx")]
    lines = ["\t".join((*_COLUMNS, *heads, "fits", "exit_code", "error"))]
    lines += ["\t".join(map(_cell, _tsv_values(model, gpus))) for model in models]
    return "\n".join(lines) + "\n"


def _tsv_values(model: Compared, gpus: Sequence[Gpu]) -> Iterable[object]:
    plan = model.plan
    error = "" if model.error is None else redact(model.error.message)
    if plan is None:
        empty = [""] * (len(_COLUMNS) - 1 + 3 * len(gpus))
        return (redact(model.ref), *empty, "no", model.exit_code, error)
    row = plan.choice.row if plan.choice is not None else None
    known = _economics(plan)
    values: list[object] = [
        redact(model.ref),
        plan.model.quant or "",
        plan.model.size_bytes,
        plan.model.n_params,
        plan.model.n_active_params,
        plan.runtime.n_ctx,
    ]
    values += (
        [""] * 7
        if row is None
        else [
            row.gpu.name,
            row.count,
            f"{row.usd_per_hour:.4f}",
            f"{row.utilization:.6f}",
            row.max_n_ctx,
            "" if known is None else f"{known.speed.decode_tokens_per_s.best:.1f}",
            ""
            if known is None or known.cost is None
            else f"{known.cost.usd_per_million_tokens.best:.4f}",
        ]
    )
    rows = _rows(plan)
    for gpu in gpus:
        found = rows.get(gpu.name)
        if found is None or found.estimate is None:
            values += ["", "", ""]
        else:
            values += [found.count, f"{found.utilization:.6f}", found.max_n_ctx]
    return (*values, _yes(row is not None), model.exit_code, error)


def show_compare(
    models: Sequence[Compared], stream: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print models side by side; below each other where the terminal is too narrow for that."""
    console = _console(stream, width)
    names = _names(models)
    if FIRST_COLUMN + (COLUMN + 1) * len(models) <= console.width:
        room = (console.width - FIRST_COLUMN) // len(models) - 1
        _put(console, _columns(models, [_folded(name, room) for name in names]))
    else:
        _put(console, _rows_table(models, names, console.width))
    for model, name, flags in zip(models, names, _flags(models), strict=True):
        if flags:
            _print(console, f"{name}: {flags}")
        if model.plan is not None:
            for text in model.plan.warnings:
                _print(console, f"{name}: warning: {escape(text)}")
        if model.error is not None:
            _print(console, f"{name}: error: {redact(model.error.message)}")
            if model.error.hint:
                _print(console, f"  hint: {redact(model.error.hint)}")


def _folded(name: str, width: int) -> str:
    """A name in lines of a width, broken between its parts where that is possible."""
    lines = [""]
    for part in re.split(r"(?<=[-:/.])", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _columns(models: Sequence[Compared], names: Sequence[str]) -> Table:
    from rich.text import Text

    table = new_table()
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold", min_width=COLUMN - 1)
    for line in _lines(models):
        best = line.best()
        cells = [
            Text(f"{cell}{BEST if best else ' '}" if i in best else cell + " " * bool(best))
            for i, cell in enumerate(line.cells)
        ]
        for i in best:
            cells[i].stylize("bold green")
        table.add_row(Text(line.heading), *cells)
    return table


def _width(line: _Line) -> int:
    """Of a column of it, with the mark of the best and the space before it."""
    return max(map(len, (line.heading, *line.cells))) + bool(line.values) + len("  ")


def _rows_table(models: Sequence[Compared], names: Sequence[str], width: int) -> Table:
    """One row per model, without what every GPU makes of it."""
    from rich.text import Text

    wanted = ("quant", "GiB", "pick", "$/h", "max -c", "tok/s")
    lines = [line for line in _lines(models) if line.heading in wanted]
    for heading in LEAST_WANTED:
        # Without its name nobody knows which model a row is about.
        if COLUMN + sum(map(_width, lines)) <= width:
            break
        lines = [line for line in lines if line.heading != heading]
    table = new_table()
    table.add_column("model", overflow="fold", min_width=min(COLUMN, width))
    for line in lines:
        left = line.heading in ("quant", "pick")
        table.add_column(line.heading, justify="left" if left else "right", no_wrap=True)
    bests = [line.best() for line in lines]
    for i, name in enumerate(names):
        cells = [
            f"{line.cells[i]}{BEST if i in best else ''}"
            for line, best in zip(lines, bests, strict=True)
        ]
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def _lines(models: Sequence[Compared]) -> list[_Line]:
    plans = [model.plan for model in models]
    rows = [
        plan.choice.row if plan is not None and plan.choice is not None else None for plan in plans
    ]

    def of_plan(heading: str, text: Callable[[Plan], str]) -> _Line:
        return _Line(heading, tuple("-" if plan is None else text(plan) for plan in plans))

    def of_pick(
        heading: str,
        text: Callable[[GpuPlan], str],
        value: Callable[[GpuPlan], float] | None = None,
    ) -> _Line:
        return _Line(
            heading,
            tuple("-" if row is None else text(row) for row in rows),
            () if value is None else tuple(None if row is None else value(row) for row in rows),
        )

    lines = [
        of_plan("quant", lambda plan: escape(plan.model.quant or "?")),
        _Line(
            "GiB",
            tuple("-" if p is None else format_gib(p.model.size_bytes) for p in plans),
            tuple(None if p is None else -p.model.size_bytes for p in plans),
        ),
        of_plan("parameters", lambda plan: _count(plan.model.n_params)),
    ]
    if any(plan is not None and plan.model.is_moe for plan in plans):
        lines.append(of_plan("active", lambda plan: _count(plan.model.n_active_params)))
    lines += [_gpu_line(gpu, plans) for gpu in _gpus(models)]
    lines += [
        of_pick("pick", _short),
        of_pick("full", lambda row: f"{row.utilization:.0%}"),
        of_pick("max -c", lambda row: format_tokens(row.max_n_ctx), lambda row: row.max_n_ctx),
        of_pick("$/h", rent, lambda row: -row.usd_per_hour),
    ]
    return [*lines, *_speed_lines(plans)]


def _speed_lines(plans: Sequence[Plan | None]) -> list[_Line]:
    """Output of one stream, and what a million tokens of it cost."""
    picks = [None if plan is None else _economics(plan) for plan in plans]
    if not any(picks):
        return []
    speeds = [None if p is None else p.speed.decode_tokens_per_s.best for p in picks]
    prices = [
        None if p is None or p.cost is None else p.cost.usd_per_million_tokens.best for p in picks
    ]
    return [
        _Line("tok/s", tuple("-" if v is None else f"{v:.0f}" for v in speeds), tuple(speeds)),
        _Line(
            "$/1M tok",
            tuple("-" if v is None else format_usd(v) for v in prices),
            tuple(None if v is None else -v for v in prices),
        ),
    ]


def _economics(plan: Plan) -> Economics | None:
    return None if plan.choice is None else plan.economics_of(plan.choice.row)


def _gpu_line(gpu: Gpu, plans: Sequence[Plan | None]) -> _Line:
    cells: list[str] = []
    values: list[float | None] = []
    for plan in plans:
        row = None if plan is None else _rows(plan).get(gpu.name)
        fits = row is not None and row.fits
        cells.append("-" if row is None else _on_gpu(row))
        values.append(row.max_n_ctx / row.count if row is not None and fits else None)
    return _Line(gpu.name if gpu.name != "RTX-PRO-6000" else "RTX6000", tuple(cells), tuple(values))


def _on_gpu(row: GpuPlan) -> str:
    """`2× 81% 40k`: how many, how full, and the largest context."""
    if row.estimate is None:
        return "?"
    if not row.fits:
        return "-" if row.short_by_bytes else "unfit"
    many = f"{row.count}× " if row.count > 1 else ""
    return f"{many}{row.utilization:.0%} {format_tokens(row.max_n_ctx)}"


def _rows(plan: Plan) -> dict[str, GpuPlan]:
    """Of every type the number of GPUs that fits, or the largest that was tried."""
    found: dict[str, GpuPlan] = {}
    for row in plan.gpus:
        known = found.get(row.gpu.name)
        if known is None or not known.fits:
            found[row.gpu.name] = row
    return found


def _gpus(models: Sequence[Compared]) -> list[Gpu]:
    """Types that a plan looked at and whose memory is known, in the order of the catalogue."""
    found: dict[str, Gpu] = {}
    for model in models:
        for row in model.plan.gpus if model.plan is not None else ():
            if row.gpu.cuda_bytes is not None:
                found.setdefault(row.gpu.name, row.gpu)
    return list(found.values())


def _names(models: Sequence[Compared]) -> list[str]:
    """References without what they all begin with, up to a slash or colon, so that they differ."""
    refs = [model.ref for model in models]
    first, last = min(refs), max(refs)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    cut = max(first.rfind("/", 0, same), first.rfind(":", 0, same)) + 1
    short = [ref[cut:] for ref in refs]
    last_parts = [ref.rpartition("/")[2] for ref in short]
    if all(last_parts) and len(set(last_parts)) == len(set(refs)):
        short = last_parts
    return [redact(ref) for ref in short]
