"""What begins an HTTP message, as far as who passes it on has to know. Standard library only.

Source: RFC 9112.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "HEAD_END",
    "LINE",
    "BadHead",
    "RequestHead",
    "ResponseHead",
    "request_head",
    "response_head",
]

LINE = b"\r\n"
HEAD_END = b"\r\n\r\n"

_OF_CONNECTION = frozenset([b"connection", b"keep-alive", b"proxy-connection"])
"""Headers that are between two neighbours only.

Source: RFC 9110 section 7.6.1.
"""


class BadHead(ValueError):
    """What begins a message is not HTTP."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What begins a request.

    Attributes:
        method: as it is.
        path: without what follows a question mark.
        raw: to be sent on, told to close the connection after the answer.
        body_bytes: that follow; None where only the request itself says where it ends.
        keeps: whether the client may ask again on the same connection.
    """

    method: str
    path: str
    raw: bytes
    body_bytes: int | None
    keeps: bool


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What begins an answer.

    Attributes:
        status: its code.
        raw: to be sent on, with a word on whether the connection is closed after it.
        body_bytes: that follow; None where that is not said before.
        is_chunked: whether the body says itself where it ends.
    """

    status: int
    raw: bytes
    body_bytes: int | None
    is_chunked: bool

    @property
    def ends_by_itself(self) -> bool:
        """Whether its end can be told without the connection's."""
        return self.is_chunked or self.body_bytes is not None


def request_head(raw: bytes) -> RequestHead:
    """A request's head, up to and with its empty line.

    Raises: BadHead.
    """
    first, lines = _split(raw)
    words = first.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise BadHead("no request line")
    kept, fields = _without_connection(lines)
    is_chunked = b"transfer-encoding" in fields
    keeps = words[2] == b"HTTP/1.1" and b"close" not in fields.get(b"connection", b"").lower()
    return RequestHead(
        method=words[0].decode("latin-1"),
        path=words[1].partition(b"?")[0].decode("latin-1"),
        raw=LINE.join((first, *kept, b"Connection: close", b"", b"")),
        body_bytes=None if is_chunked else _length(fields),
        # Where a body ends that is sent in chunks is for the engine to find out.
        keeps=keeps and not is_chunked,
    )


def response_head(raw: bytes, method: str, *, keeps: bool) -> ResponseHead:
    """The head of an answer, up to and with its empty line.

    Args:
        raw: as it came.
        method: of the request.
        keeps: whether the connection stays open, if where the answer ends can be told.

    Raises: BadHead.
    """
    first, lines = _split(raw)
    words = first.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise BadHead("no status line")
    status = int(words[1])
    if status < 200:
        return ResponseHead(status, raw, 0, False)
    kept, fields = _without_connection(lines)
    is_chunked = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
    length = _length(fields) if b"content-length" in fields and not is_chunked else None
    if method == "HEAD" or status in (204, 304):
        length, is_chunked = 0, False
    if not (keeps and (is_chunked or length is not None)):
        kept = [*kept, b"Connection: close"]
    return ResponseHead(status, LINE.join((first, *kept, b"", b"")), length, is_chunked)


def _split(raw: bytes) -> tuple[bytes, list[bytes]]:
    first, *lines = raw.removesuffix(HEAD_END).split(LINE)
    return first, lines


def _without_connection(lines: list[bytes]) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Lines to be sent on, and all fields by their names in lower case."""
    kept: list[bytes] = []
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise BadHead("no header")
        name, value = name.lower(), value.strip()
        if name == b"content-length" and fields.get(name, value) != value:
            raise BadHead("two lengths")
        fields[name] = value
        if name not in _OF_CONNECTION:
            kept.append(line)
    return kept, fields


def _length(fields: Mapping[bytes, bytes]) -> int:
    text = fields.get(b"content-length", b"0")
    if not text.isdigit() or len(text) > 18:
        raise BadHead("no length")
    return int(text)
