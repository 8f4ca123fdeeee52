"""What answers at a server's port while no engine does: everything is asked to come again."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil

__all__ = ["Placeholder", "can_share_port"]

SHARES_SINCE = 11434
"""A build of llama.cpp that is known to have `--reuse-port`."""

_POLL_SECONDS = 0.005
_READ_SECONDS = 5.0
_MOST_READ_BYTES = 64 << 20
"""Of a request: who sends is not told anything while its words are left unread."""


def can_share_port(engine: str, build: str) -> bool:
    """Whether an engine can listen at a port where something else of this user does."""
    number = re.fullmatch(r"b(\d+)", build)
    is_known = number is not None and int(number[1]) >= SHARES_SINCE
    return is_known and engine in ("llama-server", "xllamacpp") and hasattr(socket, "SO_REUSEPORT")


class Placeholder:
    """Answers each request with 503 and when to come again, from when the port is free.

    Args:
        host: address to listen on.
        port: that an engine leaves, and another takes with `--reuse-port`.
        name: of the server, for the answer.
        seconds: until the other engine is there, as far as one can tell.
    """

    def __init__(self, host: str, port: int, name: str, seconds: float) -> None:
        self._address = (host, port)
        message = f"{name} is being switched to other settings: come again."
        error = {"code": 503, "message": message, "type": "unavailable_error"}
        self._body = json.dumps({"error": error}).encode()
        self._retry_after = max(1, ceil(seconds))
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="placeholder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the port. Safe to call twice, and from any thread."""
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closing.is_set():
            try:
                server = _Server(self._address, _handler(self._body, self._retry_after))
            except OSError:
                # The former engine listens still.
                self._is_closing.wait(_POLL_SECONDS)
                continue
            with server:
                server.timeout = _POLL_SECONDS
                while not self._is_closing.is_set():
                    server.handle_request()


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    allow_reuse_port = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may go away: that is nothing to tell of."""


def _handler(body: bytes, retry_after: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "ggufctl", ""
        timeout = _READ_SECONDS

        def answer(self) -> None:
            with contextlib.suppress(ValueError):
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(min(max(length, 0), _MOST_READ_BYTES))
            self.send_response(503)
            self.send_header("Retry-After", str(retry_after))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
