"""Speaks to OpenAI-compatible servers: the only module that sends them questions and reads streams.

A key goes to one origin only. Redirects within it are followed, since that is how Modal answers
while a container starts; a redirect to anywhere else is an error. What a server sends is bounded
before it is kept, and nothing of it is printed unescaped.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ggufctl.core.engine_log import hide_keys
from ggufctl.core.escape import escape, quoted, redact, redact_url
from ggufctl.errors import AccessDenied, GgufctlError, ModelNotFound, RemoteError, UsageError

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "AnswerBroken",
    "Busy",
    "Client",
    "Endpoint",
    "NotReady",
    "Piece",
    "Reply",
    "Timings",
    "Unreachable",
    "base_url",
    "is_loopback",
    "origin_of",
    "piece_of",
    "pieces",
]

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 300.0
"""Longest silence of a server that is answering: a long prompt is read without a word."""

MAX_BODY_BYTES = 8 << 20
"""Of an answer that is not streamed."""

MAX_EVENT_BYTES = 1 << 20
"""Of one event of a stream; those of servers have a few hundred bytes."""

MAX_ANSWER_CHARACTERS = 8 << 20
"""Of a whole answer; what goes on beyond that goes on forever."""

MAX_REDIRECTS = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STARTING = frozenset({502, 503, 504})

_TOO_LONG_HINT = "Send less (/clear forgets what was said), or serve it with more -c or less -np."


class NotReady(RemoteError):
    """The server cannot answer yet, which waiting may mend."""


class Unreachable(NotReady):
    """Nobody answers at the address."""


class Busy(RemoteError):
    """The server asks to be asked later.

    Args:
        message: what it says.
        retry_seconds: when, if it says; else 0.
    """

    def __init__(self, message: str, retry_seconds: float = 0.0) -> None:
        super().__init__(message, "Try again later.")
        self.retry_seconds = retry_seconds


class AnswerBroken(RemoteError):
    """The answer ended before its end."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and what it wants to see.

    Attributes:
        url: as clients of OpenAI's API take it, with `/v1`, without a slash at the end.
        headers: for this origin only.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> str:
        """Where llama-server's own paths begin."""
        return self.url.removesuffix("/v1")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed."""
        return tuple(value.removeprefix("Bearer ") for value in self.headers.values() if value)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is not streamed."""

    status: int
    data: Any
    """Out of JSON; None where it was none."""
    text: str


@dataclass(frozen=True, slots=True)
class Timings:
    """What llama-server says of its own work; 0 where it does not."""

    n_prompt: int = 0
    """Tokens of the prompt that were read anew."""
    n_cached: int = 0
    """Tokens of the prompt that it had kept."""
    n_tokens: int = 0
    prompt_tokens_per_second: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of an answer."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    n_prompt: int = 0
    """Tokens of the whole prompt, once the server says so."""
    n_tokens: int = 0
    """Tokens of the whole answer, once the server says so."""
    timings: Timings | None = None


def base_url(text: str) -> str:
    """An address as clients take it: with `/v1` where it has no path.

    Raises: UsageError for what is no address, or carries a password.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not text.isprintable():
        raise UsageError(f"{quoted(redact_url(text) if host else text)} is no address of a server.")
    if "@" in parts.netloc:
        raise UsageError(
            "An address must not hold a password: every user of this machine could read it.",
            "Set GGUFCTL_API_KEY instead.",
        )
    if parts.query or parts.fragment:
        raise UsageError(f"{redact_url(text)}: an address of a server has no query.")
    path = parts.path.rstrip("/")
    for ending in ("/chat/completions", "/completions", "/models", "/health"):
        path = path.removesuffix(ending)
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").casefold(), parts.port or default


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Client:
    """Connections to one server; several threads may use it at once.

    Args:
        endpoint: the server.
        idle_seconds: longest silence before it is given up.
    """

    def __init__(self, endpoint: Endpoint, *, idle_seconds: float = IDLE_SECONDS) -> None:
        import httpx2

        self.endpoint = endpoint
        self.idle_seconds = idle_seconds
        try:
            self._http = httpx2.Client(
                timeout=httpx2.Timeout(idle_seconds, connect=CONNECT_SECONDS, pool=None),
                limits=httpx2.Limits(max_connections=None),
                follow_redirects=False,
                # A proxy of the environment's has no business between a machine and itself.
                trust_env=not is_loopback(endpoint.url),
            )
        except (ValueError, ImportError, OSError) as error:
            raise RemoteError(
                f"The settings of the environment for proxies or certificates are wrong: "
                f"{redact(str(error))}"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def get(self, url: str, *, timeout_seconds: float | None = None) -> Reply:
        """The answer to a question without a body, whatever its status.

        Raises: NotReady where nobody answers; RemoteError.
        """
        return self._reply("GET", url, None, timeout_seconds)

    def post(self, url: str, body: object, *, timeout_seconds: float | None = None) -> Reply:
        """The answer to a question with a body of JSON, whatever its status.

        Raises: NotReady where nobody answers; RemoteError.
        """
        return self._reply("POST", url, body, timeout_seconds)

    def _reply(self, method: str, url: str, body: object, timeout_seconds: float | None) -> Reply:
        with self._opened(method, url, body, timeout_seconds) as response:
            return _read(response)

    def events(
        self, url: str, body: object, *, timeout_seconds: float | None = None
    ) -> Generator[str, None, None]:
        """The data of each event of a stream as it comes; closing the iterator ends the request.

        Raises:
            NotReady: nobody answers, or a model is still being loaded.
            Busy: too many requests.
            AccessDenied, ModelNotFound, UsageError: what the status says.
            AnswerBroken: the connection was lost, or what comes is no stream.
        """
        import httpx2

        with self._opened("POST", url, body, timeout_seconds) as response:
            if response.status_code != 200:
                raise self.refusal(_read(response), response.headers.get("retry-after", ""))
            kind = response.headers.get("content-type", "").partition(";")[0].strip().casefold()
            if kind == "application/json":
                yield _read(response).text
                return
            if kind != "text/event-stream":
                raise RemoteError(
                    f"{redact_url(self.endpoint.url)} answers with {escape(kind, 60) or 'no type'} "
                    "where an answer of a model should be.",
                    "Is this the address of an OpenAI-compatible server? It mostly ends in /v1.",
                )
            try:
                source = httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES)
                for event in source:
                    if event.data.strip() == "[DONE]":
                        return
                    if event.data:
                        yield event.data
            except httpx2.SSEError:
                raise AnswerBroken("What the server sends is no stream of answers.") from None

    def refusal(self, reply: Reply, retry_after: str = "") -> GgufctlError:
        """What a status other than 200 means, as the error to raise."""
        where = redact_url(self.endpoint.url)
        said = self._said(reply)
        status = reply.status
        if status in _STARTING:
            return NotReady(f"{where} is not ready: {said or f'status {status}'}")
        if status in (401, 403):
            return AccessDenied(
                f"{where} does not accept the key: {said or f'status {status}'}", _key_hint(said)
            )
        if status == 429:
            seconds = float(retry_after) if retry_after.isdecimal() and retry_after.isascii() else 0
            return Busy(f"{where} has too many requests: {said or 'status 429'}", seconds)
        if status in (404, 405):
            hint = "The address mostly ends in /v1." if "modal-http" not in said else ""
            return ModelNotFound(f"{where}: {said or 'there is no such thing there'}", hint)
        if 400 <= status < 500:
            hint = _TOO_LONG_HINT if "exceeds the available context" in said else ""
            return UsageError(f"The server refuses the request: {said or f'status {status}'}", hint)
        return RemoteError(f"{where} failed with status {status}: {said or 'it does not say why'}")

    def _said(self, reply: Reply) -> str:
        found = reply.data.get("error", reply.data) if isinstance(reply.data, dict) else None
        text = found.get("message", "") if isinstance(found, dict) else found
        if not isinstance(text, str) or not text:
            text = "" if reply.text.lstrip().startswith("<") else reply.text
        text = " ".join(hide_keys(text, self.endpoint.secrets).split())
        return redact(text[:300])

    def error_in(self, data: Mapping[str, Any]) -> GgufctlError | None:
        """The error that an event of a stream tells of; None for an ordinary one."""
        error = data.get("error")
        if not error:
            return None
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        found = self.refusal(Reply(status, dict(data), ""))
        if isinstance(found, NotReady) or type(found) is RemoteError:
            return AnswerBroken(found.message, found.hint)
        return found

    @contextlib.contextmanager
    def _opened(
        self, method: str, url: str, body: object, timeout_seconds: float | None
    ) -> Iterator[httpx2.Response]:
        """A response whose body is still on the wire, redirects within the origin followed."""
        import httpx2

        origin = origin_of(self.endpoint.url)
        timeout = httpx2.Timeout(
            self.idle_seconds if timeout_seconds is None else max(timeout_seconds, 0.001),
            connect=CONNECT_SECONDS,
            pool=None,
        )
        end = time.monotonic() + self.idle_seconds
        try:
            for _ in range(MAX_REDIRECTS):
                if origin_of(url) != origin:
                    raise RemoteError(
                        f"{redact_url(self.endpoint.url)} sends us to {redact_url(url)}, which is "
                        "another place: nothing is sent there.",
                        "If that is where the server is, name it yourself.",
                    )
                headers = {**self.endpoint.headers, "Accept-Encoding": "identity"}
                content = None
                if method == "POST":
                    content = json.dumps(body).encode()
                    headers["Content-Type"] = "application/json"
                with self._http.stream(
                    method, url, content=content, headers=headers, timeout=timeout
                ) as response:
                    status = response.status_code
                    if status not in _REDIRECTS:
                        yield response
                        return
                    url = urljoin(url, response.headers.get("location", ""))
                    if status in (301, 302, 303):
                        method = "GET"
                if time.monotonic() > end:
                    break
            raise NotReady(f"{redact_url(self.endpoint.url)} redirects again and again.")
        except httpx2.ConnectError as error:
            reason = "a certificate is wrong" if "CERTIFICATE" in str(error) else "nobody answers"
            kind = RemoteError if "CERTIFICATE" in str(error) else Unreachable
            raise kind(f"{redact_url(self.endpoint.url)} cannot be reached: {reason}.") from None
        except httpx2.ConnectTimeout:
            raise Unreachable(
                f"{redact_url(self.endpoint.url)} cannot be reached: no answer within "
                f"{CONNECT_SECONDS:.0f} seconds."
            ) from None
        except httpx2.TimeoutException:
            raise AnswerBroken(
                f"{redact_url(self.endpoint.url)} has said nothing for {timeout.read:.0f} seconds.",
                "Allow it longer with --timeout.",
            ) from None
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise AnswerBroken(
                f"The connection to {redact_url(self.endpoint.url)} was lost: {_lost(error)}."
            ) from None
        except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
            if isinstance(error, GgufctlError):
                raise
            raise RemoteError(
                f"{redact_url(self.endpoint.url)} cannot be asked: its address, or one it sends us "
                "to, makes no sense."
            ) from None


def _lost(error: Exception) -> str:
    """What happened to a connection, in words."""
    import httpx2

    if isinstance(error, httpx2.RemoteProtocolError):
        return "the server ended it in the middle of an answer, or does not speak HTTP"
    if isinstance(error, httpx2.ProxyError):
        return "the proxy does not let it through"
    if isinstance(error, httpx2.DecodingError):
        return "the answer is compressed in a way that it does not say"
    return "the server, or the network, cut it"


def _read(response: httpx2.Response) -> Reply:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise AnswerBroken("The server sends more than any answer needs.")
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    return Reply(response.status_code, data, text)


def _key_hint(said: str) -> str:
    if "modal-http" in said:
        return "Set MODAL_KEY and MODAL_SECRET to a proxy token of the workspace."
    return "Set GGUFCTL_API_KEY to the server's key."


def pieces(client: Client, url: str, body: object) -> Generator[Piece, None, None]:
    """The pieces of one streamed answer.

    Raises: as `Client.events`; AnswerBroken also where it ends without an end.
    """
    size = 0
    is_ended = False
    with contextlib.closing(client.events(url, body)) as events:
        for raw in events:
            piece = piece_of(client, raw)
            size += len(piece.text) + len(piece.reasoning)
            if size > MAX_ANSWER_CHARACTERS:
                raise AnswerBroken("The answer does not end.", "Limit it with -n.")
            is_ended = is_ended or bool(piece.finish_reason)
            yield piece
    if not is_ended:
        raise AnswerBroken("The connection ended in the middle of the answer.")


def piece_of(client: Client, raw: str) -> Piece:
    """One event of a stream.

    Raises: AnswerBroken for what is none; what it tells of, where it tells of an error.
    """
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise AnswerBroken("The server sends something that is no JSON.") from None
    if not isinstance(data, dict):
        raise AnswerBroken("The server sends something that is no piece of an answer.")
    error = client.error_in(data)
    if error is not None:
        raise error
    return _piece(data)


def _piece(data: Mapping[str, Any]) -> Piece:
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    choice = choice if isinstance(choice, dict) else {}
    delta = choice.get("delta") or choice.get("message") or {}
    delta = delta if isinstance(delta, dict) else {}
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    is_whole = bool(choice and usage and "delta" not in choice)
    return Piece(
        text=_text(delta.get("content")) or _text(choice.get("text")),
        reasoning=_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
        # What comes in one piece is whole, also where the server does not say so.
        finish_reason=_text(choice.get("finish_reason")) or ("stop" if is_whole else ""),
        n_prompt=_count(usage.get("prompt_tokens")),
        n_tokens=_count(usage.get("completion_tokens")),
        timings=_timings(data.get("timings")),
    )


def _timings(raw: object) -> Timings | None:
    if not isinstance(raw, dict):
        return None
    return Timings(
        n_prompt=_count(raw.get("prompt_n")),
        n_cached=_count(raw.get("cache_n")),
        n_tokens=_count(raw.get("predicted_n")),
        prompt_tokens_per_second=_rate(raw.get("prompt_per_second")),
        tokens_per_second=_rate(raw.get("predicted_per_second")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0


def _rate(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < 1e9:
        return float(value)
    return 0.0
