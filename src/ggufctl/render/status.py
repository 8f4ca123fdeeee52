"""How deployments are doing: one screen on a terminal, tab-separated values in a pipe.

Names, models and errors come from elsewhere: they are escaped, and never read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from ggufctl.core.escape import escape, redact
from ggufctl.core.status import Health
from ggufctl.core.units import GIB, format_gib, format_usd

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from ggufctl.core.status import MemoryUse, ProcessUse, ServerStatus

__all__ = ["LiveStatus", "show_status", "tsv_rows", "tsv_titles"]

_BAR = 10
_COLOURS = {
    Health.OK: "green",
    Health.LOADING: "yellow",
    Health.NO_ANSWER: "red",
    Health.NOT_ASKED: "cyan",
}
_TITLES = (
    "at",
    "name",
    "where",
    "status",
    "health",
    "model",
    "engine",
    "url",
    "uptime_seconds",
    "containers",
    "slots",
    "slots_busy",
    "queued",
    "context",
    "context_used",
    "prompt_tokens",
    "predicted_tokens",
    "prompt_tokens_per_second",
    "predicted_tokens_per_second",
    "requests",
    "errors",
    "memory_planned_bytes",
    "memory_used_bytes",
    "usd_per_hour",
    "usd_so_far",
    "problems",
)


def tsv_titles() -> str:
    """The columns of `tsv_rows`."""
    return "\t".join(_TITLES)


def tsv_rows(found: Iterable[ServerStatus]) -> list[str]:
    """One line for each deployment; empty is what nobody could see."""
    return ["\t".join(_cells(status)) for status in found]


def _cells(status: ServerStatus) -> Iterator[str]:
    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    counters, rates = status.counters, status.rates
    yield from (status.at, escape(status.name), status.where, status.status, status.health.value)
    yield from (escape(status.model), escape(f"{status.engine} {status.build}".strip()))
    yield from (escape(status.url), number(status.uptime_seconds), number(status.n_containers))
    yield from map(number, (status.n_slots, status.n_busy, status.n_queued))
    yield from map(number, (status.n_ctx, status.n_ctx_used))
    yield number(None if counters is None else counters.prompt_tokens)
    yield number(None if counters is None else counters.predicted_tokens)
    yield number(None if rates is None else rates.prompt_tokens_per_second, 2)
    yield number(None if rates is None else rates.predicted_tokens_per_second, 2)
    yield from (number(status.n_requests), number(status.n_errors))
    yield number(_sum(use.planned_bytes for use in status.memory))
    yield number(_sum(use.used_bytes for use in status.memory))
    yield from (number(status.usd_per_hour, 4), number(status.usd_so_far, 4))
    yield redact(" ".join(status.problems))


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def show_status(
    found: Sequence[ServerStatus], *, width: int | None = None, stream: TextIO | None = None
) -> None:
    """Print one look as a screen of its width; nothing is cut."""
    console = _console(width, stream)
    console.print(_screen(found))


class LiveStatus:
    """A screen that is drawn anew at each look; the last one stays when it is left."""

    def __init__(self, stream: TextIO | None = None, width: int | None = None) -> None:
        from rich.live import Live

        self._console = _console(width, stream)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stderr=False
        )
        self._last: Sequence[ServerStatus] = ()
        self._note = ""

    def __enter__(self) -> LiveStatus:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        self._console.print(_screen(self._last))

    def show(self, found: Sequence[ServerStatus], note: str) -> None:
        """Draw a look; with more than a screen holds, a line for each deployment."""
        self._last = found
        note = escape(note)
        screen = _screen(found, note)
        height = self._console.height
        if len(self._console.render_lines(screen, pad=False)) > height:
            screen = _short(found, f"{note} · the window is low: one line each")
        self._live.update(screen, refresh=True)


def _console(width: int | None, stream: TextIO | None) -> Console:
    from rich.console import Console

    return Console(file=stream or sys.stdout, width=width, highlight=False, emoji=False)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style, overflow="fold")


def _screen(found: Sequence[ServerStatus], note: str = "") -> RenderableType:
    from rich.console import Group

    parts: list[RenderableType] = []
    for status in found:
        if parts:
            parts.append("")
        parts += [_headline(status), _block(status)]
    if not found:
        parts.append(_text("Nothing is being served."))
    if note:
        parts += ["", _text(note, "dim")]
    return Group(*parts)


def _short(found: Sequence[ServerStatus], note: str) -> RenderableType:
    from rich.console import Group

    return Group(*(_headline(status) for status in found), _text(note, "dim"))


def _headline(status: ServerStatus) -> Text:
    line = _text(escape(status.name), "bold")
    said = status.status
    if status.status in ("running", "starting") and status.health is not Health.OK:
        said = f"{said}, {status.health.value}"
    dead = "red" if status.status in ("failed", "lost") else "dim"
    is_up = status.status in ("running", "starting", "idle")
    line.append(" · ")
    line.append(said, _COLOURS[status.health] if is_up else dead)
    if status.uptime_seconds is not None:
        line.append(f" for {_duration(status.uptime_seconds)}")
    line.append(f" · {status.where}")
    if status.n_busy is not None:
        line.append(f" · {status.n_busy}/{status.n_slots or '?'} busy")
    return line


def _block(status: ServerStatus) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in _rows(status):
        grid.add_row(label, value)
    return grid


def _rows(status: ServerStatus) -> Iterator[tuple[str, Text]]:
    engine = f"{status.engine} {status.build}".strip()
    yield "model", _text(escape(status.model))
    if engine:
        yield "engine", _text(escape(engine))
    if status.url:
        yield "url", _text(escape(status.url))
    for use in status.memory:
        yield use.where, _memory(use)
    alive = [process for process in status.processes if process.role != "supervisor"]
    if alive:
        yield "runs", _text("; ".join(map(_process, alive)))
    if status.n_slots is not None or status.n_busy is not None:
        yield "slots", _text(_slots(status))
    if status.n_ctx:
        yield "context", _context(status)
    if status.rates is not None and status.counters is not None:
        yield "speed", _text(_speed(status))
        counters = status.counters
        written = f"{counters.prompt_tokens:,} read, {counters.predicted_tokens:,} written"
        yield "tokens", _text(written)
    if status.n_requests is not None or status.n_errors is not None:
        yield "requests", _requests(status)
    if status.status in ("running", "starting", "idle"):
        yield "cost", _text(_cost(status))
    for problem in status.problems:
        yield "note", _text(redact(problem), "yellow")


def _memory(use: MemoryUse) -> Text:
    seen = use.seen_bytes
    line = _text("")
    if seen is not None:
        line.append(f"{_gib(seen)} GiB used")
    if use.planned_bytes is not None:
        line.append(f"{', ' if seen is not None else ''}{_gib(use.planned_bytes)} planned")
    if use.total_bytes:
        line.append(f", {_gib(use.total_bytes)} in all ")
        busy = use.busy_bytes if use.busy_bytes is not None else seen or 0
        share = min(1.0, busy / use.total_bytes)
        full = round(share * _BAR)
        line.append("█" * full + "░" * (_BAR - full), "red" if share > 0.95 else "green")
        line.append(f" {share:.0%} full")
    if use.utilization_percent is not None:
        line.append(f", {use.utilization_percent}% busy")
    if use.description:
        line.append(f", {escape(use.description)}")
    return line


def _process(process: ProcessUse) -> str:
    said = f"{process.role} {escape(process.id)}"
    if not process.is_alive:
        return f"{said}, gone"
    if process.cpu_percent is not None:
        said += f", {process.cpu_percent:.0f}% of a core"
    return said


def _slots(status: ServerStatus) -> str:
    said = f"{'?' if status.n_busy is None else status.n_busy} of {status.n_slots or '?'} busy"
    if status.n_queued is not None:
        said += f", {status.n_queued} waiting"
    return said


def _context(status: ServerStatus) -> Text:
    used = status.n_ctx_used
    if used is None or not status.n_ctx:
        return _text(f"{status.n_ctx:,} tokens")
    share = min(1.0, used / status.n_ctx)
    full = round(share * _BAR)
    line = _text(f"{used:,} of {status.n_ctx:,} tokens filled ")
    line.append("█" * full + "░" * (_BAR - full), "red" if share > 0.95 else "green")
    line.append(f" {share:.0%}")
    return line


def _speed(status: ServerStatus) -> str:
    rates = status.rates
    assert rates is not None
    window = f"last {rates.window_seconds:.1f} s" if rates.window_seconds else "average so far"
    return (
        f"{rates.prompt_tokens_per_second:,.1f} tokens/s read, "
        f"{rates.predicted_tokens_per_second:,.1f} written ({window})"
    )


def _requests(status: ServerStatus) -> Text:
    line = _text("" if status.n_requests is None else f"{status.n_requests:,} finished, ")
    n_errors = status.n_errors or 0
    line.append(f"{n_errors:,} failed", "red" if n_errors else "")
    if status.last_error:
        line.append(f": {redact(status.last_error)}")
    return line


def _cost(status: ServerStatus) -> str:
    said = f"${format_usd(status.usd_per_hour)} per hour now"
    if status.usd_so_far is not None:
        said += f", ${format_usd(status.usd_so_far)} so far"
    return said


def _gib(n_bytes: int) -> str:
    return format_gib(n_bytes, digits=2 if n_bytes < 10 * GIB else 1)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
