"""Logs that rotation or an export has compressed, unpacked while they are read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from ggufctl.errors import UsageError

__all__ = ["read_chunks"]

_CHUNK_BYTES = 1 << 18
_HEAD_BYTES = 6
_UNREAD = {
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"PK\x03\x04": ("zip", "unzip -p"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x -so"),
}
"""How files begin that are not unpacked here: what they are called, and what unpacks them."""

_SAMPLE_BYTES = 512
"""From so many on, the first bytes say whether they are text."""

_MOST_CONTROL_BYTES = 0.02
"""Share of a text: terminals' own and those of UTF-16 are not counted."""

_CONTROL_BYTES = bytes(i for i in range(1, 32) if i not in b"\a\b\t\n\v\f\r\x1b")


def read_chunks(stream: BinaryIO, on_note: Callable[[str], None] | None = None) -> Iterator[bytes]:
    """A log in pieces, each as soon as something of it is there; gzip, bzip2 and xz unpacked.

    Args:
        stream: the log.
        on_note: hears that a packed one has no end.

    Raises: UsageError for something that is packed otherwise, damaged, or no text at all.
    """
    begun = _Begun(stream)
    head = begun.head
    for magic, (kind, command) in _UNREAD.items():
        if head.startswith(magic):
            raise UsageError(
                f"The log is packed with {kind}, which is not unpacked here.",
                f"Unpack it: {command} FILE | ggufctl diagnose -",
            )
    try:
        for number, piece in enumerate(_pieces(_unpacked(begun))):
            if not number and _is_binary(piece):
                raise UsageError(
                    "That is no log: its bytes are no text.",
                    "To look at a model, name its file: ggufctl diagnose MODEL.gguf.",
                )
            yield piece
    except EOFError:
        # What there is has been read.
        if on_note is not None:
            on_note("The packed log has no end: it was cut off, or is still being written.")
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        raise UsageError(f"The log cannot be unpacked: {error}.") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UsageError(f"The log cannot be unpacked: {error}.") from None


def _is_binary(piece: bytes) -> bool:
    """Whether the first bytes are those of a program, of weights or the like."""
    is_safetensors = piece[8:10] == b'{"' and b"\0" in piece[:8]
    if is_safetensors or piece.startswith((b"GGUF", b"\x7fELF")):
        return True
    sample = piece[: 8 * _SAMPLE_BYTES]
    if len(sample) < _SAMPLE_BYTES:
        return False
    n_control = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    return n_control > _MOST_CONTROL_BYTES * len(sample)


def _unpacked(begun: _Begun) -> BinaryIO:
    as_stream = cast("BinaryIO", begun)
    if begun.head.startswith(b"\x1f\x8b\x08"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=as_stream))
    if begun.head.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(as_stream))
    if begun.head.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", lzma.LZMAFile(as_stream))
    return as_stream


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)
    while chunk := read(_CHUNK_BYTES):
        yield chunk


class _Begun:
    """A stream whose first bytes were looked at; they are read once more."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self.head = b""
        while len(self.head) < _HEAD_BYTES and (more := self._read(_CHUNK_BYTES)):
            self.head += more
            if self.head[0] not in b"\x1fB\xfd\x28P7":
                # No packed one begins so: a word of a log that is being written is not kept.
                break
        self._left = self.head

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them, as soon as there are any."""
        if self._left:
            size = len(self._left) if size < 0 else size
            found, self._left = self._left[:size], self._left[size:]
            return found
        return bytes(self._read(_CHUNK_BYTES if size < 0 else size))

    read1 = read

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether one can go back."""
        return False
