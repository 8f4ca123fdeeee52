"""The engine's log on disk: private, bounded, and never a reason to stop serving."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

__all__ = ["LogFile", "former_log"]

MAX_LOG_BYTES = 16 << 20
"""Of the log and of its former part, each; months of a busy server would fill a disk."""


def former_log(path: Path) -> Path:
    """Where the part before the present one is kept."""
    return path.with_name(f"{path.name}.1")


class LogFile:
    """A log that nobody else reads, since prompts may be in it; once full, it begins anew.

    Args:
        path: of the log; a former one is replaced.
        max_bytes: from which on the next line begins a new file, the former kept beside it.

    Raises: OSError when it cannot be made.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._file = self._open()
        former_log(path).unlink(missing_ok=True)

    def write(self, line: str) -> None:
        """Add a line; on a full disk it is lost, and the next is tried again."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            if self._n_bytes and self._n_bytes + len(data) > self._max_bytes:
                self._begin_anew()
            # Unbuffered: what could not be written must not pile up in memory.
            self._n_bytes += self._file.write(data) or 0

    def close(self) -> None:
        """Nothing is written any more."""
        self._file.close()

    def _begin_anew(self) -> None:
        os.replace(self.path, former_log(self.path))
        fresh = self._open()
        self._file.close()
        self._file, self._n_bytes = fresh, 0

    def _open(self) -> IO[bytes]:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        return open(handle, "wb", buffering=0)
