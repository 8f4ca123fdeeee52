"""What every place a model can be read from has in common, and the loop that reads a header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ggufctl.core.header import Header, NeedMoreBytes, parse_header
from ggufctl.errors import InvalidGguf, RemoteError

__all__ = [
    "FIRST_READ_BYTES",
    "MAX_REQUESTS",
    "ByteSource",
    "ModelFile",
    "OnEvent",
    "SourceEvent",
    "ignore",
    "read_header",
]

FIRST_READ_BYTES = 256 << 10
"""What is read before anything is known about a file.  [bytes]"""

LATER_SHARD_READ_BYTES = 16 << 10
"""The same for a shard that is not the first: it lists tensors and little else.  [bytes]"""

MAX_REQUESTS = 30
"""Most requests spent on the header of one file."""


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something that happened while a model was being looked up or read."""

    kind: str
    """`listing`, `reading`, `cached`, `stale` or `retry`."""
    text: str
    """One line about it, safe to print."""
    n_bytes: int = 0
    """Bytes moved for this file so far."""


OnEvent: TypeAlias = Callable[[SourceEvent], None]
"""What hears of progress; shards are read in threads, so it may be called from several."""


def ignore(event: SourceEvent) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, wherever it lies."""

    path: str
    """On this machine, in the repository, or the URL."""
    size_bytes: int
    sha256: str | None = None


class ByteSource(Protocol):
    """A file that can be read in ranges."""

    @property
    def name(self) -> str:
        """How messages call the file; safe to print."""

    @property
    def size(self) -> int:
        """Of the whole file; may be known only after the first read.  [bytes]"""

    @property
    def etag(self) -> str:
        """Changes when the content does; empty when the source has no such mark."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes of `[start, end)`, fewer only where the file ends."""


def read_header(
    source: ByteSource,
    *,
    first_bytes: int = FIRST_READ_BYTES,
    on_event: OnEvent = ignore,
) -> Header:
    """The header of a source, moving little more than the header itself.

    Every read ends at most `first_bytes` or a tenth beyond what the header is known or fairly
    certain to need, and no byte is read twice.

    Raises: InvalidGguf, UnsupportedModel, or what the source raises.
    """
    buffer = bytearray(source.read(0, first_bytes))
    walked: dict[int, tuple[int, int]] = {}
    for _ in range(MAX_REQUESTS):
        on_event(SourceEvent("reading", source.name, len(buffer)))
        try:
            return parse_header(bytes(buffer), source.size, walked=walked)
        except NeedMoreBytes as short:
            wanted = short.likely + max(first_bytes, short.likely // 10) * 3 // 4
            end = min(max(short.at_least, wanted), source.size)
            more = source.read(len(buffer), end)
            if not more:
                raise RemoteError(f"{source.name}: the server sent no more data.") from None
            buffer += more
    raise InvalidGguf(f"{source.name}: the header was not complete after many reads.")
