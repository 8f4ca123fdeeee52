"""`serve -d`: what serves goes on in a process of its own, and the command ends once it answers."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import IO

import typer

__all__ = ["Release", "detach"]

_VARIABLE = "GGUFCTL_RELEASE_FD"
"""In the process that goes on: where it says that whoever started it may end."""

_RELEASED = b"1"
_CHUNK_BYTES = 1 << 16
_STDIN, _STDERR = 0, 2


class Release:
    """Lets the command end that started this process, once; made by `detach`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> None:
        """From now on nobody reads what this process prints."""
        sys.stdout.flush()
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (_STDIN, sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(null, number)
        os.close(null)
        try:
            os.write(self._descriptor, _RELEASED)
        finally:
            os.close(self._descriptor)


def detach(environ: MutableMapping[str, str] = os.environ) -> Release:
    """Go on with the same command in a process that no terminal ends, and return there alone.

    The process that was called passes on what that one prints until it is released, and ends it
    when it is itself told to end before.

    Returns: releases the process that was called.
    Raises: typer.Exit there: 0 once released, else the exit code of what ended unreleased.
    """
    descriptor = _pipe(environ.pop(_VARIABLE, ""))
    if descriptor is not None:
        os.set_inheritable(descriptor, False)
        return Release(descriptor)
    raise typer.Exit(_start(environ))


def _pipe(text: str) -> int | None:
    """The number of a pipe that this process was given, if it is one."""
    try:
        descriptor = int(text)
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return descriptor if is_pipe and descriptor > _STDERR else None
    except (ValueError, OverflowError, OSError):
        return None


def _start(environ: Mapping[str, str]) -> int:
    """Start the command again, in a session of its own; its exit code, 0 once it is released."""
    reader, writer = os.pipe()
    with (
        open(reader, "rb", buffering=0) as released,
        subprocess.Popen(
            # A process of its own from the first: what is forked may not use much of macOS.
            (sys.executable, "-P", "-m", "ggufctl", *sys.argv[1:]),
            env={**environ, _VARIABLE: str(writer)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writer, *_named_descriptors(sys.argv[1:])),
            start_new_session=True,
        ) as process,
    ):
        os.close(writer)
        try:
            if _pass_on(process, released):
                # Popen would wait for it at the end of the block.
                process.returncode = 0
                return 0
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
        code = process.wait()
        return code if code >= 0 else 128 - code


def _named_descriptors(arguments: Sequence[str]) -> Iterator[int]:
    """Those that a shell has given a command as files, such as of `<(pass show key)`."""
    for argument in arguments:
        for found in re.finditer(r"/dev/fd/([0-9]{1,7})(?![0-9])", argument):
            with contextlib.suppress(OSError):
                os.fstat(int(found[1]))
                if int(found[1]) > _STDERR:
                    yield int(found[1])


def _pass_on(process: subprocess.Popen[bytes], released: IO[bytes]) -> bool:
    """Print what a process prints until it releases us or ends; whether it released us."""
    assert process.stdout is not None and process.stderr is not None
    streams = {process.stdout: sys.stdout.buffer, process.stderr: sys.stderr.buffer}
    with selectors.DefaultSelector() as selector:
        for source in (*streams, released):
            os.set_blocking(source.fileno(), False)
            selector.register(source, selectors.EVENT_READ)
        answer = b""
        is_over = False
        while not is_over:
            for key, _ in selector.select():
                if key.fileobj is released:
                    answer, is_over = os.read(key.fd, 1), True
                elif not _copy(key.fd, streams[key.fileobj]):  # type: ignore[index]  # one of ours
                    selector.unregister(key.fileobj)
    # Others may hold its streams open, so their end is not waited for.
    for source, target in streams.items():
        while _copy(source.fileno(), target):
            pass
    return answer == _RELEASED


def _copy(source: int, target: IO[bytes]) -> bool:
    """Pass on what there is at once; whether there was anything."""
    try:
        data = os.read(source, _CHUNK_BYTES)
    except BlockingIOError:
        return False
    try:
        target.write(data)
        target.flush()
    except BrokenPipeError:
        # Who has read enough of the start wants the server all the same.
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), target.fileno())
    return bool(data)
