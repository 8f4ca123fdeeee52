"""A file behind a plain URL, or a resolved one of the Hub, read in ranges."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ggufctl.core.escape import redact_url
from ggufctl.core.header import MAX_HEADER_BYTES
from ggufctl.errors import AccessDenied, GgufctlError, InvalidGguf, ModelNotFound, RemoteError
from ggufctl.sources.base import MAX_REQUESTS

__all__ = ["ConnectionLost", "HttpFile", "NotModified", "Opener", "Response"]

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_ATTEMPTS = 3
GIVE_UP_SECONDS = 10.0
"""A server that was silent for so long is not asked again: it is not a lost connection."""

_CHUNK_BYTES = 64 << 10


class Response(Protocol):
    """What is used of a response whose body is still on the wire."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in any case."""

    def iter_raw(self) -> Iterator[bytes]:
        """The body as it arrives; a lost connection comes out as ConnectionLost."""

    def close(self) -> None:
        """Drop what is left of the body."""


class Opener(Protocol):
    """Opens one GET request; transport failures come out as ConnectionLost."""

    def __call__(self, url: str, headers: Mapping[str, str]) -> Response:
        """A response whose body has not been read."""


class ConnectionLost(RemoteError):
    """The connection failed, which another attempt may mend."""


class NotModified(GgufctlError):
    """The file still has the etag that was asked about."""


class HttpFile:
    """A file behind a URL as a `ByteSource`.

    Args:
        url: where it is.
        opener: sends requests.
        name: how messages call it; the URL without its query by default.
        size: of the file, if it is known.  [bytes]
        headers: sent with every request.
        known_etag: the first read raises NotModified when the file still has it.
        on_status: turns a status of 400 and above into an error with a better sentence.
    """

    def __init__(
        self,
        url: str,
        opener: Opener,
        *,
        name: str = "",
        size: int | None = None,
        headers: Mapping[str, str] | None = None,
        known_etag: str = "",
        on_status: Callable[[Response], None] | None = None,
    ) -> None:
        self.url = url
        self.name = name or redact_url(url)
        self.etag = ""
        self.n_requests = 0
        self.n_bytes_read = 0
        self._opener = opener
        self._size = size
        self._headers = dict(headers or {})
        self._known_etag = known_etag
        self._on_status = on_status
        self._body: _WholeBody | None = None

    @property
    def size(self) -> int:
        """Of the whole file, known after the first read at the latest.  [bytes]"""
        if self._size is None:
            raise RemoteError(f"{self.name}: the server does not say how large the file is.")
        return self._size

    def close(self) -> None:
        """Drop the connection of a server that sends whole files only."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def read(self, start: int, end: int) -> bytes:
        """The bytes of `[start, end)`, fewer only where the file ends.

        Raises: RemoteError, AccessDenied, ModelNotFound, InvalidGguf.
        """
        if self._size is not None:
            end = min(end, self._size)
        if start >= end:
            return b""
        if end > MAX_HEADER_BYTES:
            raise InvalidGguf(f"{self.name}: the header is larger than any model needs.")
        received = bytearray()
        since = time.monotonic()
        for attempt in range(_ATTEMPTS):
            try:
                self._read_once(start + len(received), end, received)
            except ConnectionLost:
                self.close()
                is_silent = not received and time.monotonic() - since >= GIVE_UP_SECONDS
                if is_silent:
                    raise ConnectionLost(
                        f"{self.name} cannot be reached: no answer within "
                        f"{GIVE_UP_SECONDS:.0f} seconds."
                    ) from None
                if attempt + 1 == _ATTEMPTS:
                    raise
                if self._size is None:
                    continue
            end = min(end, self.size)
            if start + len(received) >= end:
                break
        else:
            raise RemoteError(f"{self.name}: the connection was lost again and again.")
        self.n_bytes_read += len(received)
        return bytes(received)

    def _read_once(self, start: int, end: int, received: bytearray) -> None:
        if self._body is not None and self._body.position == start:
            received += self._body.take(end)
            return
        self.n_requests += 1
        if self.n_requests > MAX_REQUESTS:
            raise InvalidGguf(f"{self.name}: its header takes more than {MAX_REQUESTS} requests.")
        headers = {
            **self._headers,
            "Range": f"bytes={start}-{end - 1}",
            "Accept-Encoding": "identity",
        }
        if self._known_etag:
            headers["If-None-Match"] = self._known_etag
        response = self._opener(self.url, headers)
        keep = False
        try:
            self._check_status(response, start)
            if response.status_code == 200:
                self._body = _WholeBody(response)
                keep = True
                self._body.skip(start)
                received += self._body.take(end)
                return
            for chunk in response.iter_raw():
                received += chunk[: end - start]
                start += len(chunk)
                if start >= end:
                    break
        finally:
            if not keep:
                response.close()

    def _check_status(self, response: Response, start: int) -> None:
        status = response.status_code
        if status == 304 and self._known_etag:
            raise NotModified(f"{self.name} has not changed")
        if status >= 400:
            if self._on_status is not None:
                self._on_status(response)
            raise _refusal(self.name, status, start)
        etag = response.headers.get("etag", "")
        if self.etag and etag and etag != self.etag:
            raise RemoteError(f"{self.name} changed while it was being read; try again.")
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if found is None or int(found[1]) != start:
                raise RemoteError(f"{self.name}: the server answered with another range.")
            total = int(found[3])
        elif status == 200:
            length = response.headers.get("content-length", "")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise RemoteError(f"{self.name}: the server compresses the file.")
            total = int(length) if length.isdecimal() and length.isascii() else -1
        else:
            raise RemoteError(f"{self.name}: the server answered {status}.")
        if total < 0:
            raise RemoteError(f"{self.name}: the server does not say how large the file is.")
        if self._size is not None and self._size != total:
            raise InvalidGguf(
                f"{self.name} is {total:,} bytes long and should have {self._size:,}."
            )
        self._size, self.etag, self._known_etag = total, etag, ""


class _WholeBody:
    """The body of a server that ignores ranges, read only as far as needed."""

    def __init__(self, response: Response) -> None:
        self.position = 0
        self._response = response
        self._chunks = response.iter_raw()
        self._rest = b""

    def take(self, end: int) -> bytes:
        parts = bytearray()
        while self.position < end:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                break
            part, self._rest = chunk[: end - self.position], chunk[end - self.position :]
            self.position += len(part)
            parts += part
        return bytes(parts)

    def skip(self, start: int) -> None:
        while self.position < start and self.take(min(start, self.position + _CHUNK_BYTES)):
            pass

    def close(self) -> None:
        self._response.close()


def _refusal(name: str, status: int, start: int) -> GgufctlError:
    """What a status of 400 and above means, as the error to raise."""
    if status in {401, 403}:
        return AccessDenied(f"{name}: the server refuses access ({status}).")
    if status in {404, 410}:
        return ModelNotFound(f"{name}: there is no such file ({status}).")
    if status == 416 and start == 0:
        return InvalidGguf(f"{name}: the file is empty.")
    if status == 416:
        return InvalidGguf(f"{name}: the file is shorter than it claims to be.")
    if status == 429:
        return RemoteError(
            f"{name}: too many requests, the server asks to wait.", "Try again later."
        )
    return RemoteError(f"{name}: the server failed with status {status}.")
