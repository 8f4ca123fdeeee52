"""Files on this machine."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from ggufctl.core.escape import quoted
from ggufctl.core.header import Header, parse_header
from ggufctl.errors import AccessDenied, InvalidGguf, ModelNotFound

__all__ = ["LocalFile", "read_local_header"]


class LocalFile:
    """A regular file as a `ByteSource`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if not self.path.is_file():
            raise InvalidGguf(f"{quoted(str(self.path))} is not a regular file.")
        self.size = status.st_size
        self.etag = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        self.name = quoted(str(self.path))

    def read(self, start: int, end: int) -> bytes:
        """The bytes of `[start, end)`, fewer only where the file ends."""
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError as error:
            raise _unreadable(self.path, error) from None


def read_local_header(path: str | os.PathLike[str]) -> Header:
    """The header of a file on this machine, mapped rather than read.

    Raises: ModelNotFound, AccessDenied, InvalidGguf, UnsupportedModel.
    """
    source = LocalFile(path)
    if source.size == 0:
        raise InvalidGguf(f"{source.name} is empty.")
    try:
        with (
            source.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            return parse_header(mapped, len(mapped))
    except OSError as error:
        raise _unreadable(source.path, error) from None


def _unreadable(path: Path, error: OSError) -> ModelNotFound | AccessDenied | InvalidGguf:
    """Why a file cannot be opened, as the error to raise."""
    name = quoted(str(path))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ModelNotFound(f"There is no file {name}.")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{name} may not be read by this user.")
    return InvalidGguf(f"{name} cannot be read: {error.strerror or type(error).__name__}.")
