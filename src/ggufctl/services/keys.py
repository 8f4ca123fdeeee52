"""The key of a server: made once, kept in a file that only its user reads, never shown again."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ggufctl.core.escape import quoted
from ggufctl.errors import AccessDenied, UsageError

__all__ = ["Key", "kept_key", "make_key", "open_key"]

KEY_BYTES = 32
"""Random bytes of a key."""

_PREFIX = "sk-ggufctl-"
"""What hides keys in messages knows them by how they begin."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and where it is kept."""

    value: str = field(repr=False)
    path: Path
    is_new: bool
    is_shared: bool = False
    """Whether other users of the machine may read the file."""


def open_key(path: Path) -> Key:
    """The key in a file; where there is no file, a new key in a new file of mode 0600.

    Raises: UsageError for a file without a key, or that cannot be made; AccessDenied where it
        cannot be read.
    """
    try:
        return make_key(path)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise UsageError(
            f"The key's file {quoted(str(path))} cannot be made: {error.strerror}."
        ) from None


def make_key(path: Path) -> Key:
    """A new key in a new file of mode 0600.

    Raises: OSError; then there is no such file, unless there was one before.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    value = _PREFIX + secrets.token_urlsafe(KEY_BYTES)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(value + "\n")
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return Key(value, path, is_new=True)


def kept_key(path: Path) -> Key:
    """The key in a file that must be there.

    Raises: UsageError for a file without a key; AccessDenied where it cannot be read.
    """
    return _read(path)


def _read(path: Path) -> Key:
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        raise AccessDenied(f"{quoted(str(path))} cannot be read") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"{quoted(str(path))} holds no key.", "Remove it to have one made.")
    key = keys[0]
    if not key.isascii() or not key.isprintable() or " " in key or "," in key:
        raise UsageError(f"{quoted(str(path))} holds something that is not a key.")
    return Key(key, path, is_new=False, is_shared=bool(mode & 0o077))
