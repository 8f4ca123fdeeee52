"""Owns a server's port, so that the engine behind it can change without anybody noticing.

``python -m ggufctl.remote.front DESCRIPTOR`` accepts at a listening socket that it inherits and
passes each request on to the engine, a connection of its own for each, so that no connection of a
client's is tied to one engine. It is told what to do on its standard input, one JSON object a
line, and says on its standard output how many requests are being answered. It ends with whoever
started it. Standard library only, and no framework either: what it costs, every request pays.

While the engine is changed, requests are held: their connection is accepted, their first bytes
are read, the rest stays in the socket. They go to the engine that comes up next.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import selectors
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any

from ggufctl.remote.heads import (
    HEAD_END,
    LINE,
    BadHead,
    RequestHead,
    ResponseHead,
    request_head,
    response_head,
)

__all__ = ["Front", "Limits", "Stage", "main"]

LOOPBACK = "127.0.0.1"

PIECE_BYTES = 1 << 16
"""Read at once, and thus the most that is kept of a request that is held."""

UNSENT_BYTES = 1 << 18
"""Of what one side does not take as fast as the other sends."""

MOST_HEAD_BYTES = 1 << 16
MOST_AGAIN_BYTES = 1 << 20
"""Of a request that can be asked once more, of the engine after one that was ended over it."""

MOST_DISCARDED_BYTES = 64 << 20
"""Of a refused request: who sends hears nothing while its words are left unread."""

DISCARDING_SECONDS = 5.0
IDLE_SECONDS = 75.0
"""A connection on which nothing is asked stays open this long."""

TICK_SECONDS = 0.1
"""Between two looks at who has gone away or waited too long."""

REST_SECONDS = 1.0
"""The same where nobody waits."""

LAST_SECONDS = 2.0
"""For what an engine that has ended said last, to reach who asked."""

REACH_SECONDS = 1.0
"""For so long an engine that does not listen is tried: whether it is changed is soon said."""

_HEALTH = ("/health", "/v1/health")
_LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {
    400: "Bad Request",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_RESET = struct.pack("ii", 1, 0)
"""A linger of no time: the other side learns that it was not a regular end."""


class Stage(StrEnum):
    """What requests meet."""

    LOADING = "loading"
    """No engine yet: each is told so, as llama-server tells it while it loads."""
    OPEN = "open"
    """They are passed on."""
    HOLDING = "holding"
    """They wait for the next engine."""
    LEAVING = "leaving"
    """None is taken any more; those being answered are finished."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holding may take.

    Attributes:
        n_held: requests at once.
        held_seconds: that one of them waits.
    """

    n_held: int = 512
    held_seconds: float = 300.0


class Front:
    """All requests at one port, and what becomes of them.

    Args:
        listener: where they come from.
        limits: of what is held.
        tell: hears how many requests are being answered, when that changes while they are held.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: Limits,
        tell: Callable[[Mapping[str, Any]], None] = lambda said: None,
    ) -> None:
        self.limits = limits
        self.stage = Stage.LOADING
        self.port = 0
        self.now = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.clients: set[_Client] = set()
        self.held: dict[_Client, float] = {}
        """Since when each is held, those that came first in front."""
        self.unreached: dict[_Client, float] = {}
        """Since when the engine does not listen for each."""
        self._listener: socket.socket | None = listener
        self._accepts = False
        self._tell = tell
        self._n_active = self._n_held = self._n_refused = 0
        self._longest_seconds = 0.0
        self._expected_at = 0.0
        self._next_tick = 0.0
        self._accept_again()

    def turn(self) -> None:
        """Wait for something to happen, a moment at most, and act on it."""
        events = self.selector.select(max(0.0, self._next_tick - self.now))
        self.now = time.monotonic()
        for key, mask in events:
            key.data(mask)
        if self.now >= self._next_tick:
            self._tick()
            self._next_tick = self.now + REST_SECONDS
        if self.held or self.unreached:
            self._next_tick = min(self._next_tick, self.now + TICK_SECONDS)

    def obey(self, order: Mapping[str, Any]) -> None:
        """Do as an order says.

        `{"stage": "open", "port": 40001}`; `{"stage": "holding", "seconds": 4.0}`, which is how
        long that will take; `{"stage": "leaving"}`.
        """
        before, self.stage = self.stage, Stage(order["stage"])
        if self.stage is Stage.HOLDING:
            self._expected_at = self.now + float(order.get("seconds", 0.0))
            if before is not Stage.HOLDING:
                self._n_held = self._n_refused = 0
                self._longest_seconds = 0.0
        elif self.stage is Stage.OPEN:
            self.port = int(order["port"])
            for client in tuple(self.held):
                self.forget(client)
                client.begin()
        elif self.stage is Stage.LEAVING:
            self._leave()
        self.say()

    def say(self) -> None:
        """Tell how things are."""
        self._tell(
            {
                "stage": self.stage.value,
                "active": self._n_active,
                "holding": len(self.held),
                "held": self._n_held,
                "refused": self._n_refused,
                "longest": round(self._longest_seconds, 3),
            }
        )

    def take(self, client: _Client, request: RequestHead) -> None:
        """Decide about a request that has begun."""
        if self.stage is Stage.OPEN:
            client.begin()
        elif self.stage is Stage.LOADING:
            client.refuse(503, "Loading model")
        elif self.stage is Stage.LEAVING:
            client.refuse(503, "The server is being stopped.")
        elif request.path in _HEALTH:
            # Who asks for it wants to know whether to send requests elsewhere.
            client.refuse(503, "Loading model", self._retry_after())
        else:
            self.hold(client)

    def hold(self, client: _Client) -> None:
        """Keep a request for the next engine, within the limits."""
        if len(self.held) >= self.limits.n_held:
            self._n_refused += 1
            client.refuse(503, "Too many requests wait for the next engine.", self._retry_after())
            return
        self._n_held += 1
        self.held[client] = self.now
        client.update()

    def forget(self, client: _Client) -> None:
        """Hold a request no longer."""
        since = self.held.pop(client, None)
        if since is not None:
            self._longest_seconds = max(self._longest_seconds, self.now - since)

    @property
    def is_busy(self) -> bool:
        """Whether there is something that somebody has still to be told."""
        return self._n_active > 0 or any(client.is_unsent for client in self.clients)

    def began(self) -> None:
        """One more request is being answered."""
        self._n_active += 1

    def ended(self) -> None:
        """One request less is being answered."""
        self._n_active -= 1
        if self.stage in (Stage.HOLDING, Stage.LEAVING):
            self.say()

    def _retry_after(self) -> int:
        return max(1, ceil(self._expected_at - self.now))

    def _accept_again(self) -> None:
        if self._listener is not None and not self._accepts:
            self.selector.register(self._listener, _READ, self._accept)
            self._accepts = True

    def _accept_no_more(self) -> None:
        if self._listener is not None and self._accepts:
            self.selector.unregister(self._listener)
            self._accepts = False

    def _accept(self, mask: int) -> None:
        assert self._listener is not None
        # Several at once, and others' turn in between.
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is left: some become free.
                self._accept_no_more()
                return
            self.clients.add(_Client(self, sock))

    def _tick(self) -> None:
        self._accept_again()
        for client in _gone(self.held):
            client.drop()
        for client, since in tuple(self.held.items()):
            if self.now - since < self.limits.held_seconds:
                break
            self.forget(client)
            self._n_refused += 1
            client.refuse(503, "The next engine is not there yet.", self._retry_after())
        for client, since in tuple(self.unreached.items()):
            client.try_again(is_last=self.now - since >= REACH_SECONDS)
        for client in tuple(self.clients):
            if client.patience is not None and self.now >= client.patience:
                client.drop()

    def _leave(self) -> None:
        self._accept_no_more()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for client in tuple(self.clients):
            if client in self.held:
                self.forget(client)
                client.refuse(503, "The server is being stopped.")
            elif client.is_idle:
                client.drop()


def _gone(clients: Iterable[_Client]) -> list[_Client]:
    """Those whose other end has closed, also where words of theirs are still unread."""
    by_number = {client.fileno: client for client in clients}
    if not by_number or not hasattr(select, "poll"):
        return []
    wanted = getattr(select, "POLLRDHUP", 0)
    looked = select.poll()
    for number in by_number:
        looked.register(number, wanted)
    return [by_number[number] for number, _ in looked.poll(0)]


class _Channel(ABC):
    """A socket that is read when its words are wanted, and written as fast as it takes them."""

    def __init__(self, front: Front, sock: socket.socket) -> None:
        self._front = front
        self._sock: socket.socket | None = sock
        self._out = bytearray()
        self._mask = 0
        self._ends = False
        """Whether it is closed once all is written."""
        sock.setblocking(False)
        # Tokens go out one by one: none may wait for the next.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def fileno(self) -> int:
        """Of its socket; -1 without one."""
        return -1 if self._sock is None else self._sock.fileno()

    @property
    def is_full(self) -> bool:
        """Whether no more should be written for now."""
        return len(self._out) >= UNSENT_BYTES

    @property
    def is_unsent(self) -> bool:
        """Whether something was written that is not taken yet."""
        return bool(self._out)

    @property
    def is_open(self) -> bool:
        """Whether somebody may still be there."""
        return self._sock is not None

    def write(self, data: bytes) -> None:
        """Send some bytes, now or when they are taken."""
        if self._sock is None or not data:
            return
        if not self._out and self.can_write():
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.drop()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._out += data
        self.update()

    def close(self) -> None:
        """Close it once all is written."""
        self._ends = True
        if not self._out:
            self._shut()

    def drop(self) -> None:
        """Close it now; what is not written yet is lost, and who reads learns that."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._shut()

    def _shut(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._mask:
            self._front.selector.unregister(sock)
            self._mask = 0
        sock.close()
        self.closed()

    def update(self) -> None:
        """Listen for what is wanted now."""
        if self._sock is None:
            return
        wants_write = bool(self._out) or not self.can_write()
        mask = (_READ if self.wants_words() else 0) | (_WRITE if wants_write else 0)
        if mask == self._mask:
            return
        selector = self._front.selector
        if not mask:
            selector.unregister(self._sock)
        elif self._mask:
            selector.modify(self._sock, mask, self._on_event)
        else:
            selector.register(self._sock, mask, self._on_event)
        self._mask = mask

    def _on_event(self, mask: int) -> None:
        if mask & _WRITE and self._sock is not None:
            self._flush()
        if mask & _READ and self._sock is not None and self.wants_words():
            try:
                data = self._sock.recv(PIECE_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.drop()
                return
            if data:
                self.heard(data)
            else:
                self.heard_end()
        self.update()

    def _flush(self) -> None:
        assert self._sock is not None
        if not self.can_write():
            self.look()
            return
        try:
            sent = self._sock.send(self._out) if self._out else 0
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop()
            return
        was_full = self.is_full
        del self._out[:sent]
        if was_full and not self.is_full:
            self.drained()
        if self._ends and not self._out:
            self._shut()

    def can_write(self) -> bool:
        """Whether it is connected."""
        return True

    def look(self) -> None:
        """See whether it is connected by now, and begin."""
        return

    @abstractmethod
    def wants_words(self) -> bool:
        """Whether it is to be read."""

    @abstractmethod
    def heard(self, data: bytes) -> None:
        """Some bytes came."""

    def heard_end(self) -> None:
        """No more bytes will come."""
        self._shut()

    def drained(self) -> None:
        """More may be written again."""
        return

    def closed(self) -> None:
        """It was closed, by whichever side."""
        return


class _Client(_Channel):
    """A connection of somebody who asks, one request after the other."""

    def __init__(self, front: Front, sock: socket.socket) -> None:
        super().__init__(front, sock)
        self.patience: float | None = front.now + IDLE_SECONDS
        """When it is dropped if nothing happens until then."""
        self._pending = bytearray()
        self._request: RequestHead | None = None
        self._upstream: _Upstream | None = None
        self._again: bytearray | None = None
        """What the engine was sent of the request; None when it cannot be sent once more."""
        self._unsent_bytes: int | None = 0
        """Of the request's body; None = all that comes."""
        self._is_active = False
        self._discarding: int | None = None
        self._unreached_since = 0.0
        self._has_ended = False
        """Whether it says no more, though it may still listen."""
        self.update()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked."""
        return self._request is None and self._discarding is None

    @property
    def method(self) -> str:
        """Of the request."""
        return self._request.method if self._request is not None else ""

    @property
    def keeps(self) -> bool:
        """Whether it may ask again on this connection."""
        is_leaving = self._front.stage is Stage.LEAVING
        return self._request is not None and self._request.keeps and not is_leaving

    def wants_words(self) -> bool:
        if self._has_ended:
            return False
        if self._discarding is not None or self._request is None:
            return True
        if self._upstream is None or self._upstream.is_full:
            return False
        # The next request before this one is answered: it can wait.
        return len(self._pending) < PIECE_BYTES

    def heard(self, data: bytes) -> None:
        if self._discarding is not None:
            self._discard(len(data))
        elif self._request is None:
            self._pending += data
            self._read_head()
        else:
            self._send(data)

    def heard_end(self) -> None:
        if self._is_active and self.method == "GET":
            self._has_ended = True
        elif self._is_active:
            # llama-server takes it so as well, and does not write what nobody reads.
            self.drop()
        else:
            self.close()

    def drained(self) -> None:
        if self._upstream is not None:
            self._upstream.update()

    def closed(self) -> None:
        self._front.clients.discard(self)
        self._front.forget(self)
        self._front.unreached.pop(self, None)
        upstream = self._upstream
        self._finish()
        if upstream is not None:
            upstream.abandon()

    def _read_head(self) -> None:
        while self._pending.startswith(LINE):
            del self._pending[: len(LINE)]
        end = self._pending.find(HEAD_END)
        if end < 0:
            if len(self._pending) > MOST_HEAD_BYTES:
                self.refuse(431, "The head of the request is too long.")
            return
        raw = bytes(self._pending[: end + len(HEAD_END)])
        del self._pending[: len(raw)]
        try:
            self._request = request_head(raw)
        except BadHead:
            self.refuse(400, "This is no HTTP request.")
            return
        self.patience = None
        self._front.take(self, self._request)

    def begin(self) -> None:
        """Have the request answered."""
        if not self._is_active:
            self._is_active = True
            self._front.began()
        self._unsent_bytes = self._request.body_bytes if self._request is not None else 0
        self._again = None
        _Upstream.reach(self._front, self)

    def try_again(self, *, is_last: bool) -> None:
        """Look again whether the engine is there; it may be being changed by now."""
        del self._front.unreached[self]
        if self._front.stage is Stage.HOLDING:
            self._unreached_since = 0.0
            self._finish()
            self._front.hold(self)
        elif is_last:
            self._unreached_since = 0.0
            self._finish()
            self.refuse(503, "The engine does not run.", 1)
        else:
            self.begin()

    def reached(self, upstream: _Upstream) -> None:
        """The engine listens: tell it all there is so far."""
        if not self.is_open:
            upstream.abandon()
            return
        assert self._request is not None
        self._unreached_since = 0.0
        self._upstream = upstream
        self._again = bytearray()
        pending = bytes(self._pending)
        self._pending.clear()
        self._pass_on(self._request.raw + self._cut(pending))
        self.update()

    def unreached(self) -> None:
        """The engine does not listen: try for a while."""
        if self.is_open:
            self._front.unreached[self] = self._unreached_since = (
                self._unreached_since or self._front.now
            )

    def _send(self, data: bytes) -> None:
        part = self._cut(data)
        if part:
            self._pass_on(part)

    def _cut(self, data: bytes) -> bytes:
        """What of some bytes belongs to the request; the rest is kept."""
        left = self._unsent_bytes
        if left is None:
            return data
        self._unsent_bytes = left - min(left, len(data))
        self._pending += data[left:]
        return data[:left]

    def _pass_on(self, data: bytes) -> None:
        assert self._upstream is not None
        if self._again is not None:
            self._again += data
            if len(self._again) > MOST_AGAIN_BYTES:
                self._again = None
        self._upstream.write(data)

    def answer(self, data: bytes) -> None:
        """Pass some bytes of the answer on."""
        self._again = None
        self.write(data)

    def answered(self, *, keeps: bool) -> None:
        """The answer is whole."""
        is_sent = self._unsent_bytes == 0
        keeps = keeps and self.keeps
        self._finish()
        if not (keeps and is_sent) or self._has_ended:
            self.close()
            return
        self._request = None
        self.patience = self._front.now + IDLE_SECONDS
        self.update()
        if self._pending:
            self._read_head()

    def lost(self, n_answered: int) -> None:
        """The engine ended before the answer did.

        Args:
            n_answered: bytes of the answer that were passed on.
        """
        assert self._request is not None
        again = self._again
        self._finish()
        if n_answered:
            # As if it had spoken to the engine itself.
            self.drop()
        elif self._front.stage is Stage.HOLDING and again is not None:
            # All that was sent of it, but for the head, comes before what is still to be read.
            self._pending[:0] = again[len(self._request.raw) :]
            self._front.hold(self)
        else:
            self.refuse(502, "The engine ended before it had answered.")

    def _finish(self) -> None:
        self._upstream = None
        self._again = None
        if self._is_active:
            self._is_active = False
            self._front.ended()

    def refuse(self, status: int, message: str, retry_after: int = 0) -> None:
        """Answer it here, and close the connection."""
        kind = "unavailable_error" if status >= 500 else "invalid_request_error"
        body = json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode()
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            + (f"Retry-After: {retry_after}\r\n" if retry_after else "")
            + "Content-Type: application/json; charset=utf-8\r\n"
            + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        left = self._request.body_bytes if self._request is not None else None
        self._discarding = MOST_DISCARDED_BYTES if left is None else left
        self.patience = self._front.now + DISCARDING_SECONDS
        self.write(head.encode() + (b"" if self.method == "HEAD" else body))
        self._discard(len(self._pending))
        self.update()

    def _discard(self, n_bytes: int) -> None:
        assert self._discarding is not None
        self._pending.clear()
        self._discarding = max(0, min(self._discarding, MOST_DISCARDED_BYTES) - n_bytes)
        if not self._discarding:
            self.close()


class _Upstream(_Channel):
    """A connection to the engine, for one request."""

    def __init__(self, front: Front, client: _Client, sock: socket.socket) -> None:
        super().__init__(front, sock)
        self._client: _Client | None = client
        self._is_connected = False
        self._start: bytearray | None = bytearray()
        """Of the answer, until its head is whole."""
        self._head: ResponseHead | None = None
        self._n_passed = 0
        self._n_body = 0
        self._end = b""

    @classmethod
    def reach(cls, front: Front, client: _Client) -> None:
        """Connect to the engine; the client is told whether that could be."""
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            client.unreached()
            return
        upstream = cls(front, client, sock)
        error = sock.connect_ex((LOOPBACK, front.port))
        if error in (0, errno.EINPROGRESS):
            upstream.look()
        else:
            upstream.give_up()

    def can_write(self) -> bool:
        return self._is_connected

    def look(self) -> None:
        assert self._sock is not None and self._client is not None
        if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.give_up()
            return
        try:
            self._sock.getpeername()
        except OSError:
            self.update()
            return
        self._is_connected = True
        self._client.reached(self)
        self.update()

    def give_up(self) -> None:
        """The engine does not listen: say so to the client."""
        client, self._client = self._client, None
        self._shut()
        if client is not None:
            client.unreached()

    def wants_words(self) -> bool:
        return self._is_connected and self._client is not None and not self._client.is_full

    def drained(self) -> None:
        if self._client is not None:
            self._client.update()

    def closed(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        head = self._head
        if head is not None and self._is_whole(head):
            client.answered(keeps=head.ends_by_itself)
        else:
            client.lost(self._n_passed)

    def abandon(self) -> None:
        """Nobody wants the answer any more: the engine notices, and stops writing it."""
        self._client = None
        self.drop()

    def heard(self, data: bytes) -> None:
        while self._start is not None and data and self._client is not None:
            data = self._read_head(data)
        if data:
            self._count(data)
            if self._client is not None:
                self._client.answer(data)
        head = self._head
        if head is not None and head.body_bytes is not None and self._is_whole(head):
            # Its end is known: no need to wait until the engine has closed the connection.
            self._shut()

    def _is_whole(self, head: ResponseHead) -> bool:
        if head.is_chunked:
            return self._end == _LAST_CHUNK
        return head.body_bytes is None or self._n_body >= head.body_bytes

    def _read_head(self, data: bytes) -> bytes:
        """Take more of the head; what comes after an interim one."""
        assert self._start is not None and self._client is not None
        self._start += data
        end = self._start.find(HEAD_END)
        if end < 0:
            if len(self._start) > MOST_HEAD_BYTES:
                self.drop()
            return b""
        raw = bytes(self._start[: end + len(HEAD_END)])
        rest = bytes(self._start[len(raw) :])
        self._start.clear()
        try:
            head = response_head(raw, self._client.method, keeps=self._client.keeps)
        except BadHead:
            self.drop()
            return b""
        if head.status < 200:
            self._client.write(head.raw)
            return rest
        self._start, self._head = None, head
        self._count(rest)
        self._n_passed += len(head.raw)
        # In one piece: who reads the head alone would be woken twice.
        self._client.answer(head.raw + rest)
        return b""

    def _count(self, body: bytes) -> None:
        self._n_body += len(body)
        self._n_passed += len(body)
        self._end = (self._end + body[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]


def _serve(listener: socket.socket, limits: Limits) -> None:
    """Do as standard input says, until it ends."""

    def tell(said: Mapping[str, Any]) -> None:
        # Who started this may be gone.
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(said).encode() + b"\n")

    front = Front(listener, limits, tell)
    words = bytearray()
    is_over = False

    def hear(mask: int) -> None:
        nonlocal is_over
        data = os.read(0, PIECE_BYTES)
        is_over = not data
        words.extend(data)
        while (end := words.find(b"\n")) >= 0:
            front.obey(json.loads(words[:end]))
            del words[: end + 1]

    front.selector.register(0, _READ, hear)
    front.say()
    while not is_over:
        front.turn()
    front.selector.unregister(0)
    if front.stage is not Stage.LEAVING:
        front.obey({"stage": Stage.LEAVING})
    until = time.monotonic() + LAST_SECONDS
    while front.is_busy and time.monotonic() < until:
        front.turn()


def main() -> int:
    """Stand before an engine until standard input ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits = Limits(**json.loads(sys.argv[2])) if len(sys.argv) > 2 else Limits()
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        listener.setblocking(False)
        _serve(listener, limits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
