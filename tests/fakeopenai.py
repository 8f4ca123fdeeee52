"""An OpenAI-compatible server on the loopback interface that answers, or fails as real ones do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

WORDS = ("Gravity ", "pulls ", "things.")
TIMINGS = {
    "prompt_n": 7,
    "cache_n": 2,
    "prompt_per_second": 512.0,
    "predicted_n": 3,
    "predicted_per_second": 85.5,
}


class Handler(BaseHTTPRequestHandler):
    """One request; what to do with it is the server's."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def fake(self) -> FakeOpenAI:
        return self.server.fake

    def do_GET(self) -> None:
        self.fake.note(self, None)
        path = self.path.partition("?")[0]
        if self.fake.health and path == "/health":
            status, body = self.fake.health.pop(0)
            self.answer(status, body)
        elif path == "/health":
            self.answer(200, {"status": "ok"})
        elif self.fake.key and self.headers.get("Authorization") != f"Bearer {self.fake.key}":
            self.answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
        elif path == "/v1/models":
            self.answer(200, {"data": [{"id": name} for name in self.fake.models]})
        elif path == "/props" and self.fake.props is not None:
            self.answer(200, self.fake.props)
        else:
            self.answer(404, {"error": {"message": "File Not Found", "code": 404}})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw)
        self.fake.note(self, body)
        if self.path == "/tokenize":
            self.answer(200, {"tokens": list(range(len(body["content"].split())))})
            return
        with self.fake.lock:
            behave = self.fake.behaviours.pop(0) if self.fake.behaviours else self.fake.usual
        behave(self, body)

    def answer(self, status: int, body: object, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin(self, content_type: str = "text/event-stream") -> None:
        """A stream that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def piece(self, text: str, finish: str | None = None, **more: object) -> None:
        if self.path.endswith("/chat/completions"):
            choice: dict[str, Any] = {"delta": {"content": text} if text else {}}
        else:
            choice = {"text": text}
        self.event({"choices": [{**choice, "index": 0, "finish_reason": finish}], **more})


Behaviour: TypeAlias = Callable[[Handler, Any], None]


def says(*words: str, timings: bool = True, pause: float = 0.0) -> Behaviour:
    """A whole answer."""

    def behave(handler: Handler, body: Any) -> None:
        handler.begin()
        for word in words or WORDS:
            handler.piece(word)
            time.sleep(pause)
        handler.piece("", "stop")
        usage = {"prompt_tokens": 9, "completion_tokens": len(words or WORDS)}
        handler.event({"choices": [], "usage": usage, **({"timings": TIMINGS} if timings else {})})
        handler.event("[DONE]")

    return behave


def status(code: int, message: str = "", **headers: str) -> Behaviour:
    """An error instead of an answer."""

    def behave(handler: Handler, body: Any) -> None:
        handler.answer(code, {"error": {"message": message, "code": code}}, **headers)

    return behave


def text(code: int, message: str, **headers: str) -> Behaviour:
    """An error of something in front of the server."""

    def behave(handler: Handler, body: Any) -> None:
        handler.answer(code, message.encode(), **headers)

    return behave


def drops(*words: str) -> Behaviour:
    """A connection that is lost in the middle of the answer."""

    def behave(handler: Handler, body: Any) -> None:
        handler.begin()
        for word in words:
            handler.piece(word)

    return behave


def sends(raw: bytes, content_type: str = "text/event-stream") -> Behaviour:
    """Whatever bytes."""

    def behave(handler: Handler, body: Any) -> None:
        handler.begin(content_type)
        handler.wfile.write(raw)

    return behave


def endless(word: str = "on and on ", pause: float = 0.01) -> Behaviour:
    """An answer without an end."""

    def behave(handler: Handler, body: Any) -> None:
        handler.begin()
        try:
            while True:
                handler.piece(word)
                time.sleep(pause)
        except OSError:
            with handler.fake.lock:
                handler.fake.n_hung_up += 1

    return behave


def silent(seconds: float) -> Behaviour:
    """A connection that is taken and then says nothing."""

    def behave(handler: Handler, body: Any) -> None:
        handler.begin()
        handler.fake.ended.wait(seconds)

    return behave


class FakeOpenAI:
    """A server whose next answers are laid out beforehand.

    Attributes:
        behaviours: of the next questions, in order; then `usual`.
        health: status and body of the next looks at /health; then 200.
        requests: method, path, headers and body of all that came.
    """

    def __init__(self, key: str = "", models: Sequence[str] = ("tiny",)) -> None:
        self.key = key
        self.models = list(models)
        self.props: dict[str, Any] | None = None
        self.behaviours: list[Behaviour] = []
        self.usual: Behaviour = says()
        self.health: list[tuple[int, object]] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.n_hung_up = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]  # for the handlers
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> FakeOpenAI:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def note(self, handler: Handler, body: Any) -> None:
        with self.lock:
            self.requests.append((handler.command, handler.path, dict(handler.headers), body))

    def asked(self) -> list[Any]:
        """Bodies of the questions that came."""
        return [body for _, path, _, body in self.requests if path.endswith("completions")]
