"""Owns a server's port, so that the engine behind it can change without anybody noticing.

``python -m ggufctl.front.proxy DESCRIPTOR`` accepts at a listening socket that it inherits and
passes each request on to the engine, a connection of its own for each, so that no connection of a
client's is tied to one engine. It is told what to do on its standard input, one JSON object a
line, and says on its standard output how many requests are being answered. It ends with whoever
started it.

While the engine is changed, requests are held: their connection is accepted, their first bytes
are read, the rest stays in the socket. They go to the engine that comes up next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from ggufctl.front.orders import Limits, Stage

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

__all__ = ["Front", "main"]

LOOPBACK = "127.0.0.1"

PIECE_BYTES = 1 << 16
"""Read at once."""

MOST_LINE_BYTES = 8192
"""Of a request's first line, and of a header: what llama-server takes.

Source: cpp-httplib's CPPHTTPLIB_HEADER_MAX_LENGTH.
"""

MOST_AGAIN_BYTES = 1 << 20
"""Of a body that can be sent once more, to the engine after one that was ended over it."""

DISCARDING_SECONDS = 5.0
"""For the body of a refused request: who sends hears nothing while its words are left unread."""

IDLE_SECONDS = 75.0
"""A connection on which nothing is asked stays open this long."""

TICK_SECONDS = 0.1
"""Between two looks at who has gone away, or whether the engine listens by now."""

REACH_SECONDS = 1.0
"""For so long an engine that does not listen is tried: whether it is changed is soon said."""

LAST_SECONDS = 2.0
"""For what an engine that has ended said last, to reach who asked."""

_HEALTH = ("/health", "/v1/health")
_OF_CONNECTION = frozenset(
    "connection expect keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Headers that are between two neighbours only.

Source: RFC 9110 section 7.6.1.
"""
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_RESET = struct.pack("ii", 1, 0)
"""A linger of no time: the other side learns that it was not a regular end."""


class _Refused(Exception):
    """A request is answered here."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.response = _refusal(status, message, retry_after)


class _Again(Exception):
    """A request is for the next engine after all."""


class Front:
    """All requests at one port, and what becomes of them.

    Args:
        limits: of what is held.
        tell: hears how many requests are being answered, when that changes while they are held.
    """

    def __init__(self, limits: Limits, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self.stage = Stage.LOADING
        self._limits = limits
        self._tell = tell
        self._port = 0
        self._busy: set[web.RequestHandler] = set()
        """Connections on which something is asked."""
        self._held: dict[web.RequestHandler, float] = {}
        """Since when each is held."""
        self._is_decided = asyncio.Event()
        self._n_active = self._n_held = self._n_refused = 0
        self._longest_seconds = self._expected_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._clients = web.Server(self._answer, handler_cancellation=True)
        self._listening: asyncio.Server | None = None
        self._engine = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            skip_auto_headers=_NOT_ADDED,
            auto_decompress=False,
        )

    async def listen(self, listener: socket.socket) -> None:
        """Take requests from now on."""

        def connection() -> _Connection:
            return _Connection(
                self._clients,
                loop=self._loop,
                auto_decompress=False,
                read_bufsize=PIECE_BYTES // 4,
                keepalive_timeout=IDLE_SECONDS,
                lingering_time=DISCARDING_SECONDS,
                max_line_size=MOST_LINE_BYTES,
                max_field_size=MOST_LINE_BYTES,
            )

        # Of what is held, this is all that is read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
        self._listening = await self._loop.create_server(connection, sock=listener, backlog=1024)
        self._say()

    def obey(self, order: Mapping[str, Any]) -> None:
        """Do as an order says.

        `{"stage": "open", "port": 40001}`; `{"stage": "holding", "seconds": 4.0}`, which is how
        long that will take; `{"stage": "leaving"}`.
        """
        before, self.stage = self.stage, Stage(order["stage"])
        if self.stage is Stage.HOLDING:
            self._expected_at = self._loop.time() + float(order.get("seconds", 0.0))
            self._is_decided.clear()
            if before is not Stage.HOLDING:
                self._n_held = self._n_refused = 0
                self._longest_seconds = 0.0
        else:
            self._port = int(order.get("port", 0))
            for connection in tuple(self._held):
                self._forget(connection)
            self._is_decided.set()
        if self.stage is Stage.LEAVING and self._listening is not None:
            self._listening.close()
            for connection in self._clients.connections:
                if connection not in self._busy:
                    connection.force_close()
        self._say()

    async def end(self) -> None:
        """Take no more requests, and let those being answered be finished, for a moment."""
        if self.stage is not Stage.LEAVING:
            self.obey({"stage": Stage.LEAVING})
        until = self._loop.time() + LAST_SECONDS
        while self._clients.connections and self._loop.time() < until:
            await asyncio.sleep(TICK_SECONDS / 10)

    def _say(self) -> None:
        self._tell(
            {
                "stage": self.stage.value,
                "active": self._n_active,
                "holding": len(self._held),
                "held": self._n_held,
                "refused": self._n_refused,
                "longest": round(self._longest_seconds, 3),
            }
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What becomes of one request."""
        body = _Body(request)
        self._busy.add(request.protocol)
        try:
            while True:
                await self._admit(request)
                with contextlib.suppress(_Again):
                    return await self._ask(request, body)
        except _Refused as refused:
            return refused.response
        finally:
            self._busy.discard(request.protocol)

    async def _admit(self, request: web.BaseRequest) -> None:
        """Come back once there is an engine to ask.

        Raises: _Refused.
        """
        # Who asks for its health wants to know whether to send requests elsewhere.
        while self.stage is Stage.HOLDING and request.path not in _HEALTH:
            await self._hold(request.protocol)
        if self.stage is Stage.LEAVING:
            raise _Refused(503, "The server is being stopped.")
        if self.stage is not Stage.OPEN:
            retry_after = self._retry_after() if self.stage is Stage.HOLDING else 0
            raise _Refused(503, "Loading model", retry_after)

    async def _hold(self, connection: web.RequestHandler) -> None:
        if len(self._held) >= self._limits.n_held:
            self._n_refused += 1
            message = "Too many requests wait for the next engine."
            raise _Refused(503, message, self._retry_after())
        if not self._held:
            self._loop.call_later(TICK_SECONDS, self._look)
        self._n_held += 1
        self._held[connection] = self._loop.time()
        try:
            async with asyncio.timeout(self._limits.held_seconds):
                await self._is_decided.wait()
        except TimeoutError:
            self._n_refused += 1
            message = "The next engine is not there yet."
            raise _Refused(503, message, self._retry_after()) from None
        finally:
            self._forget(connection)

    def _forget(self, connection: web.RequestHandler) -> None:
        since = self._held.pop(connection, None)
        if since is not None:
            self._longest_seconds = max(self._longest_seconds, self._loop.time() - since)

    def _look(self) -> None:
        """Drop of those that are held who has gone away: of what is not read, nobody tells."""
        if not self._held:
            return
        self._loop.call_later(TICK_SECONDS, self._look)
        looked, by_number = select.poll(), {}
        for transport in filter(None, (each.transport for each in self._held)):
            number = transport.get_extra_info("socket").fileno()
            by_number[number] = transport
            looked.register(number, getattr(select, "POLLRDHUP", 0))
        for number, _ in looked.poll(0):
            by_number[number].abort()

    def _retry_after(self) -> int:
        return max(1, ceil(self._expected_at - self._loop.time()))

    async def _ask(self, request: web.BaseRequest, body: _Body) -> web.StreamResponse:
        """The engine's answer, once it listens.

        Raises: _Again when it is being changed; _Refused.
        """
        until = self._loop.time() + REACH_SECONDS
        self._n_active += 1
        try:
            while True:
                try:
                    return await self._pass_on(request, body)
                except aiohttp.ClientConnectorError:
                    if self.stage is Stage.HOLDING:
                        raise _Again from None
                    if self._loop.time() >= until:
                        raise _Refused(503, "The engine does not run.", 1) from None
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._n_active -= 1
            if self.stage in (Stage.HOLDING, Stage.LEAVING):
                self._say()

    async def _pass_on(self, request: web.BaseRequest, body: _Body) -> web.StreamResponse:
        """The engine's answer, sent on as it comes.

        Raises:
            aiohttp.ClientConnectorError: it does not listen.
            ConnectionError: it ended after the answer had begun.
        """
        response = None
        try:
            async with self._engine.request(
                request.method,
                _address(request, self._port),
                headers=_passed(request.headers),
                data=body if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                body.forget()
                # In one piece where it is whole already: who reads would be woken twice.
                whole = await answer.read() if answer.content.is_eof() else b""
                response = web.Response(body=whole) if whole else web.StreamResponse()
                response.set_status(answer.status, answer.reason)
                response.headers.clear()
                response.headers.extend(_passed(answer.headers))
                if request.version < aiohttp.HttpVersion11 or self.stage is Stage.LEAVING:
                    response.force_close()
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientError:
            if response is not None:
                # As if the client had spoken to the engine itself.
                _reset(request)
                raise ConnectionResetError from None
            if self.stage is Stage.HOLDING and body.can_be_sent_again:
                raise _Again from None
            raise _Refused(502, "The engine ended before it had answered.") from None
        if self.stage is Stage.LEAVING:
            response.force_close()
        return response


class _Body:
    """What a request sends, piece by piece; if it is not large, once more from its beginning."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._kept: bytearray | None = bytearray()
        self._is_awaited = request.headers.get("Expect", "").lower() == "100-continue"

    @property
    def can_be_sent_again(self) -> bool:
        """Whether all that was read of it is kept."""
        return self._kept is not None

    def forget(self) -> None:
        """It is not to be sent again."""
        self._kept = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_awaited:
            self._is_awaited = False
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # Nothing of the answer is sent by that.
            self._request.writer.output_size = 0
        if self._kept:
            yield bytes(self._kept)
        async for piece in self._request.content.iter_any():
            if self._kept is not None:
                self._kept += piece
                if len(self._kept) > MOST_AGAIN_BYTES:
                    self._kept = None
            yield piece


class _Connection(web.RequestHandler):
    """A client's; what is wrong with a request is said without its words."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request, or to a bug.

        Raises: ConnectionError when an answer has begun.
        """
        if request.writer.output_size:
            raise ConnectionError
        if isinstance(exc, LineTooLong):
            return _refusal(431, "The head of the request is too long.")
        if status < 500:
            return _refusal(400, "This is no HTTP request.")
        return _refusal(500, f"{type(exc).__name__} in what passes requests on.")


def _refusal(status: int, message: str, retry_after: int = 0) -> web.Response:
    kind = "unavailable_error" if status >= 500 else "invalid_request_error"
    found = {"error": {"message": message, "type": kind, "code": status}}
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    response = web.json_response(found, status=status, headers=headers)
    response.force_close()
    return response


def _address(request: web.BaseRequest, port: int) -> URL:
    asked = request.rel_url
    if request.method == "CONNECT" or not asked.raw_path.startswith("/"):
        raise _Refused(400, "This is no request to a server.")
    # Bytes that are no UTF-8 would be left out.
    try:
        "".join(request.headers.values()).encode()
    except UnicodeEncodeError:
        raise _Refused(400, "A header is not UTF-8.") from None
    return URL.build(
        scheme="http",
        host=LOOPBACK,
        port=port,
        path=asked.raw_path,
        query_string=asked.raw_query_string,
        encoded=True,
    )


def _passed(headers: CIMultiDictProxy[str]) -> list[tuple[str, str]]:
    """Those headers that are for the other side as well."""
    named = ",".join(headers.getall("Connection", ())).lower().split(",")
    own = _OF_CONNECTION.union(each.strip() for each in named)
    return [(name, value) for name, value in headers.items() if name.lower() not in own]


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None:
        with contextlib.suppress(OSError):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()


async def _serve(listener: socket.socket, limits: Limits) -> None:
    """Do as standard input says, until it ends."""

    def tell(said: Mapping[str, Any]) -> None:
        # Who started this may be gone.
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(said).encode() + b"\n")

    front = Front(limits, tell)
    words = bytearray()
    is_over = asyncio.Event()

    def hear() -> None:
        data = os.read(0, 1 << 16)
        if not data:
            is_over.set()
        words.extend(data)
        while (end := words.find(b"\n")) >= 0:
            front.obey(json.loads(words[:end]))
            del words[: end + 1]

    loop = asyncio.get_running_loop()
    await front.listen(listener)
    loop.add_reader(0, hear)
    await is_over.wait()
    loop.remove_reader(0)
    await front.end()
    # What is left waits for somebody who does not read, and would be waited for.
    os._exit(0)


def main() -> int:
    """Stand before an engine until standard input ends."""
    # What a library would say of a request may hold its words, and thus its key.
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits = Limits(**json.loads(sys.argv[2])) if len(sys.argv) > 2 else Limits()
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        asyncio.run(_serve(listener, limits))
    return 0


if __name__ == "__main__":
    sys.exit(main())
