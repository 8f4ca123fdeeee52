"""An app's log, as it was and as it comes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any

import modal
import modal.exception

from ggufctl.errors import ModelNotFound
from ggufctl.modal_app.client import one_line, translated
from ggufctl.remote.container import EVENT_PREFIX

__all__ = ["LogLine", "LogReader", "lines_with", "recent_log"]

LATE_SECONDS = 120.0
"""Lines may reach the store so much later than what came after them."""

IDLE_STREAM_SECONDS = 2.0
"""A log stream is left and opened again after this long without a line, so that it can end."""

FIRST_LOOK_MINUTES = 10
"""Clocks differ by less: lines of before are harmless, lines missed are not."""

LAST_ENTRIES = 2000
"""Of a log that cannot be counted."""

MAX_EVENT_CHARS = 1 << 16
"""An event of ours is shorter."""


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
        joined = _Joined()
        entries = _app(app).logs.tail(n_lines)
        return tuple(line for entry in entries for line in joined.lines(entry))[-n_lines:]


def lines_with(app: str, words: str, since: datetime) -> tuple[LogLine, ...]:
    """Lines of an app's log that have these words.

    Raises: ModelNotFound when there is no such app; as `translated`.
    """
    with translated("the log"):
        found = [line for entry in _stored(_app(app), since, words) for line in _split(entry)]
    return tuple(line for line in found if words in line.text)


def _app(name: str) -> modal.App:
    """The app of a name.

    Raises: ModelNotFound when there is none.
    """
    try:
        return modal.App.lookup(name)
    except modal.exception.NotFoundError:
        raise ModelNotFound(f"Nothing called {name} is deployed.") from None


def _stored(app: modal.App, since: datetime, words: str = "") -> Iterator[Any]:
    """What Modal has stored of an app's log since then, perhaps more than has the words."""
    try:
        yield from app.logs.fetch(since=since, search_text=words)
    except modal.exception.Error:
        # It counts before it fetches; this does not.
        yield from app.logs.tail(LAST_ENTRIES)


def _split(entry: Any) -> Iterator[LogLine]:
    """The lines of one entry."""
    for text in str(entry.message).splitlines():
        yield LogLine(text, str(entry.source), entry.timestamp, _containers(entry))


class _Joined:
    """Entries of a log as lines: an entry may hold several, and an event of ours may be in parts.

    Only events are put together again. What else comes in parts says the same in each.
    """

    def __init__(self) -> None:
        self._begun: dict[tuple[str, tuple[str, ...]], LogLine] = {}
        """Source and containers → the beginning of an event."""

    def lines(self, entry: Any) -> Iterator[LogLine]:
        """The lines that an entry completes."""
        for line in _split(entry):
            place = line.source, line.containers
            before = self._begun.pop(place, None)
            if before is not None and not line.text.startswith(EVENT_PREFIX):
                line = replace(before, text=before.text + line.text)
            if line.text.startswith(EVENT_PREFIX) and not _is_whole(line.text):
                # The rest comes with the next entry, or never.
                self._begun[place] = line
            else:
                yield line


def _is_whole(event: str) -> bool:
    """Whether an event has its end; what is too long for one is none."""
    if len(event) > MAX_EVENT_CHARS:
        return True
    try:
        json.loads(event[len(EVENT_PREFIX) :])
    except ValueError:
        return False
    return True


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
        self._since = self._first = datetime.now(UTC) - timedelta(minutes=FIRST_LOOK_MINUTES)
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
            joined = _Joined()
            try:
                for entry in self._app.logs.stream(timeout=IDLE_STREAM_SECONDS):
                    self._take(joined.lines(entry))
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
            joined = _Joined()
            for entry in _stored(self._app, self._since):
                self._take(joined.lines(entry))
        except Exception as error:
            self.problem = one_line(error) or type(error).__name__
        else:
            self.problem = ""
            self._forget_old()

    def _forget_old(self) -> None:
        """Remember only what may come again: a log can be followed for weeks."""
        if self._newest is None:
            return
        # By Modal's clock, not by ours; a log without times has none.
        self._forgotten = self._newest - timedelta(seconds=LATE_SECONDS)
        self._since = max(self._first, self._forgotten)
        self._seen = {mark for mark in self._seen if mark[0] >= self._forgotten}

    def _take(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            mark = (line.at, line.text, line.containers)
            is_told = self._forgotten is not None and line.at < self._forgotten
            if line.text and not is_told and mark not in self._seen:
                self._seen.add(mark)
                self._newest = max(self._newest or line.at, line.at)
                self._lines.put(line)
