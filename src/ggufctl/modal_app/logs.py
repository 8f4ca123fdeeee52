"""An app's log, as it was and as it comes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any

import modal
import modal.exception

from ggufctl.errors import ModelNotFound
from ggufctl.modal_app.client import one_line, translated

__all__ = ["LogLine", "LogReader", "lines_with", "recent_log"]

LATE_SECONDS = 120.0
"""Lines may reach the store so much later than what came after them."""

IDLE_STREAM_SECONDS = 2.0
"""A log stream is left and opened again after this long without a line, so that it can end."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an app's log."""

    text: str
    source: str
    """`stdout`, `stderr`, or `system` for Modal's own."""
    at: datetime
    containers: tuple[str, ...] = ()
    """Ids of the containers it is from; none for what is of the app as a whole."""


def recent_log(app: str, n_lines: int) -> tuple[LogLine, ...]:
    """The last lines of an app's log.

    Raises: ModelNotFound when there is no such app; as `translated`.
    """
    with translated("the log"):
        try:
            handle = modal.App.lookup(app)
        except modal.exception.NotFoundError:
            raise ModelNotFound(f"Nothing called {app} is deployed.") from None
        return tuple(_line(entry) for entry in handle.logs.tail(n_lines))


def lines_with(app: str, words: str, since: datetime) -> tuple[LogLine, ...]:
    """Lines of an app's log that have these words.

    Raises: ModelNotFound when there is no such app; as `translated`.
    """
    with translated("the log"):
        try:
            handle = modal.App.lookup(app)
        except modal.exception.NotFoundError:
            raise ModelNotFound(f"Nothing called {app} is deployed.") from None
        found = handle.logs.fetch(since=since, search_text=words)
        return tuple(_line(entry) for entry in found)


def _line(entry: Any) -> LogLine:
    return LogLine(
        str(entry.message).rstrip("\r\n"),
        str(entry.source),
        entry.timestamp,
        _containers(entry),
    )


def _containers(entry: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in entry.context_ids if str(each).startswith("ta-"))


class LogReader:
    """Reads an app's log in a thread of its own, line by line, until it is closed.

    A stream that breaks is opened again; a line that comes twice is told once.
    """

    def __init__(self, app: str) -> None:
        self._lines: SimpleQueue[LogLine] = SimpleQueue()
        self._seen: set[tuple[datetime, str, tuple[str, ...]]] = set()
        self._closed = threading.Event()
        # Clocks differ: lines of before are harmless, lines missed are not.
        self._since = datetime.now(UTC) - timedelta(minutes=10)
        self._newest: datetime | None = None
        self._forgotten: datetime | None = None
        """What is older has been told, and is not remembered any more."""
        self.problem: str = ""
        """Why the log cannot be read at the moment; empty while it can."""
        with translated("the log"):
            self._app = modal.App.lookup(app)
        self._thread = threading.Thread(target=self._read, name="modal-logs", daemon=True)
        self._thread.start()

    def next(self, timeout_seconds: float) -> LogLine | None:
        """The next line, or None when none came in time."""
        try:
            return self._lines.get(timeout=max(0.0, timeout_seconds))
        except Empty:
            return None

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join(3 * IDLE_STREAM_SECONDS)

    def _read(self) -> None:
        while not self._closed.is_set():
            started = time.monotonic()
            n_before = len(self._seen)
            try:
                for entry in self._app.logs.stream(timeout=IDLE_STREAM_SECONDS):
                    self._take(entry)
                    if self._closed.is_set():
                        return
            except Exception as error:
                # Whatever the client raises here, the deployment must still be watched and ended.
                self.problem = one_line(error) or type(error).__name__
            if len(self._seen) == n_before:
                # Nothing to say, or a stream that breaks each time: the store knows which.
                self._catch_up()
            # An app that has ended has a stream that ends at once.
            self._closed.wait(max(0.0, 0.5 - (time.monotonic() - started)))

    def _catch_up(self) -> None:
        try:
            for entry in self._app.logs.fetch(since=self._since):
                self._take(entry)
        except Exception as error:
            self.problem = one_line(error) or type(error).__name__
        else:
            self.problem = ""
            self._forget_old()

    def _forget_old(self) -> None:
        """Remember only what may come again: a log can be followed for weeks."""
        if self._newest is None:
            return
        # By Modal's clock, not by ours.
        self._since = self._forgotten = self._newest - timedelta(seconds=LATE_SECONDS)
        self._seen = {mark for mark in self._seen if mark[0] >= self._forgotten}

    def _take(self, entry: Any) -> None:
        for text in str(entry.message).splitlines():
            line = LogLine(text, str(entry.source), entry.timestamp, _containers(entry))
            mark = (line.at, line.text, line.containers)
            is_told = self._forgotten is not None and line.at < self._forgotten
            if text and not is_told and mark not in self._seen:
                self._seen.add(mark)
                self._newest = max(self._newest or line.at, line.at)
                self._lines.put(line)
