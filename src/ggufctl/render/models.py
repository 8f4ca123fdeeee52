"""Downloads and kept models, for people and in pipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ggufctl.core.escape import escape
from ggufctl.core.progress import Tenths, format_bytes, format_seconds, progress_text
from ggufctl.core.units import n_of

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ggufctl.core.stored import StoredModel
    from ggufctl.services.download import DownloadPlan

__all__ = [
    "ProgressBars",
    "ProgressLines",
    "ProgressView",
    "Silence",
    "download_rows",
    "model_lines",
    "model_rows",
    "plan_lines",
    "result_line",
    "show_models",
]

_HEADERS = ("model", "state", "size_bytes", "last_used", "usd_per_month", "commit")
_DONE = ("complete", "present", "verified", "differs", "missing", "unverified")


class ProgressView(Protocol):
    """Shows how a download goes; what it hears is `remote.transfer.TransferEvent` as a dict."""

    def __enter__(self) -> ProgressView:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, whatever happened."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event."""


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event."""


class ProgressLines:
    """A line for each tenth that is done, for logs of CI."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._tenths = Tenths()
        self._waiting: set[str] = set()

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event."""
        name = escape(str(event["file"]))
        match event["state"]:
            case "retry":
                self._say(f"{name}: {escape(str(event['text']))}")
            case "waiting" if name not in self._waiting:
                self._waiting.add(name)
                self._say(f"{name}: another process is fetching it")
            case "started":
                size, done = int(event["size_bytes"]), int(event["done_bytes"])
                from_where = f", {format_bytes(done)} are there" if done else ""
                self._say(f"{name}: {format_bytes(size)}{from_where}")
            case "differs" | "missing":
                self._say(f"{name}: {event['state']}")
        done, total = int(event["all_done_bytes"]), int(event["all_bytes"])
        if event["state"] != "present" and self._tenths.is_new(done, total):
            self._say(progress_text(done, total, int(event["bytes_per_second"])))


class ProgressBars:
    """A bar for each file and one for all: bytes, rate and time left, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._all: TaskID | None = None

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, event: Mapping[str, Any]) -> None:
        """One event."""
        state, done, size = event["state"], int(event["done_bytes"]), int(event["size_bytes"])
        name = escape(str(event["file"]))
        if state == "present":
            return
        if event["file"] not in self._tasks:
            short = name.rpartition("/")[2]
            short = short if len(short) <= 48 else f"{short[:20]}…{short[-27:]}"
            self._tasks[event["file"]] = self._progress.add_task(
                short, total=size, completed=done, rate=""
            )
            self._began[event["file"]] = (self._now(), done)
        words = self._rate_of(str(event["file"]), done, size) if state == "progress" else state
        if state == "started":
            words = ""
        self._progress.update(self._tasks[event["file"]], completed=done, rate=words)
        if state == "retry":
            self._progress.console.print(
                f"{name}: {escape(str(event['text']))}", markup=False, highlight=False
            )
        if size < int(event["all_bytes"]):
            self._show_all(event)

    def _show_all(self, event: Mapping[str, Any]) -> None:
        done, total = int(event["all_done_bytes"]), int(event["all_bytes"])
        if self._all is None:
            self._all = self._progress.add_task("in all", total=total, rate="")
        words = progress_text(done, total, int(event["bytes_per_second"])).partition(", ")[2]
        self._progress.update(self._all, completed=done, rate=words)

    def _rate_of(self, path: str, done: int, size: int) -> str:
        began, first = self._began[path]
        took = self._now() - began
        rate = int((done - first) / took) if took > 0 else 0
        return progress_text(done, size, rate).partition(", ")[2]

    def _now(self) -> float:
        return self._progress.get_time()


def plan_lines(plan: DownloadPlan) -> list[str]:
    """What would be fetched, from where, and whether there is room."""
    selection = plan.selection
    room = "" if plan.room_bytes is None else f", {format_bytes(plan.room_bytes)} are free"
    lines = [
        f"model    {escape(selection.ref)} · {format_bytes(selection.size_bytes)}"
        + (f" · commit {selection.commit[:12]}" if selection.commit else ""),
        f"to       {escape(plan.where)}",
        f"fetch    {format_bytes(plan.bytes_to_come)}{room}",
    ]
    if selection.reason:
        lines.insert(1, f"quant    {escape(selection.reason)}")
    lacking = {file.path for file in plan.missing}
    there = {file.path: "there, verified" if file.sha256 else "there" for file in selection.files}
    width = max(len(format_bytes(file.size_bytes)) for file in selection.files)
    lines += [
        f"file     {format_bytes(file.size_bytes):>{width}}  {escape(file.path)}"
        + ("" if file.path in lacking else f"  ({there[file.path]})")
        for file in selection.files
    ]
    if not plan.has_room:
        lines.append("warning  there is not enough room")
    return lines


def result_line(plan: DownloadPlan, seconds: float) -> str:
    """What was done."""
    selection = plan.selection
    what = f"{escape(selection.ref)}: {n_of(len(selection.files), 'file')}, "
    what = what.replace("1 files", "1 file")
    size = format_bytes(selection.size_bytes)
    # Not everybody who sends a file says what its content should be.
    is_known = all(file.sha256 for file in selection.files)
    verified = "verified" if is_known else "whole, with no checksum to hold it against"
    if not plan.missing:
        return f"{what}{size}, is there and {verified}: {escape(plan.where)}"
    if not plan.bytes_to_come:
        took = f"nothing had to be fetched, {format_seconds(seconds)}"
    else:
        rate = f", {format_bytes(int(plan.bytes_to_come / seconds))}/s" if seconds > 0 else ""
        took = f"{format_bytes(plan.bytes_to_come)} in {format_seconds(seconds)}{rate}"
    return f"{what}{size}, {verified}: {escape(plan.where)} ({took})"


def download_rows(plan: DownloadPlan, locations: Sequence[str] = ()) -> Iterable[str]:
    """Tab-separated: path, bytes, whether it was there, where it lies."""
    lacking = {file.path for file in plan.missing}
    yield "path\tsize_bytes\twas_present\tlocation"
    for index, file in enumerate(plan.selection.files):
        there = "no" if file.path in lacking else "yes"
        place = locations[index] if locations else ""
        yield f"{escape(file.path)}\t{file.size_bytes}\t{there}\t{escape(place)}"


def model_rows(models: Sequence[StoredModel]) -> Iterable[str]:
    """Tab-separated, with full figures."""
    yield "\t".join(_HEADERS)
    for model in models:
        used = model.last_used.isoformat(timespec="seconds") if model.last_used else ""
        usd = "" if model.usd_per_month is None else f"{model.usd_per_month:.4f}"
        cells = (escape(model.ref), model.state.value, str(model.size_bytes), used, usd)
        yield "\t".join((*cells, model.commit))


def show_models(models: Sequence[StoredModel], now: datetime | None = None) -> None:
    """A table on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    now = now or datetime.now(UTC)
    with_price = any(model.usd_per_month is not None for model in models)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    for name, justify in (("model", "left"), ("size", "right"), ("state", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]  # literals
    table.add_column("last used")
    if with_price:
        table.add_column("$/month", justify="right")
    table.add_column("commit")
    for model in models:
        # The commit has a column of its own.
        ref = model.ref.replace(model.commit, model.commit[:8]) if model.commit else model.ref
        cells = [ref, format_bytes(model.size_bytes), model.state.value]
        cells.append(_ago(model.last_used, now))
        if with_price:
            cells.append("" if model.usd_per_month is None else f"{model.usd_per_month:.2f}")
        cells.append(model.commit[:8])
        table.add_row(*(Text(escape(cell)) for cell in cells))
    console = Console()
    console.print(table)
    total = sum(model.size_bytes for model in models)
    prices = [model.usd_per_month for model in models if model.usd_per_month is not None]
    cost = f", ${sum(prices):.2f} per month" if prices else ""
    console.print(f"{len(models)} kept, {format_bytes(total)}{cost}", highlight=False)


def model_lines(model: StoredModel) -> list[str]:
    """Everything about one kept model."""
    lines = [
        f"model      {escape(model.ref)}",
        f"kept on    {escape(model.store)}",
        f"state      {model.state.value}",
        f"size       {format_bytes(model.size_bytes)} ({model.size_bytes} bytes)",
    ]
    if model.commit:
        lines.append(f"commit     {model.commit}")
    for name, when in (("fetched", model.downloaded), ("last used", model.last_used)):
        if when is not None:
            lines.append(f"{name:<10} {when.isoformat(timespec='seconds')}")
    if model.usd_per_month is not None:
        lines.append(f"costs      ${model.usd_per_month:.2f} per month")
    for file in model.files:
        lines.append(f"file       {escape(file.location or file.path)}")
        lines.append(f"           {file.size_bytes} bytes, {file.state.value}")
        if file.sha256:
            lines.append(f"           sha256 {file.sha256}")
    lines += [f"missing    {escape(path)}" for path in model.missing]
    return lines


def _ago(when: datetime | None, now: datetime) -> str:
    if when is None:
        return ""
    seconds = max((now - when).total_seconds(), 0)
    for size, name in ((86_400 * 365, "years"), (86_400, "days"), (3600, "hours"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name} ago"
    return "now"
