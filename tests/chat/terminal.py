"""A command in front of a terminal of a given width, typed into and read as a person would."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from tests.serving import environment

SECONDS = 60.0
PROMPT_SECONDS = 1.0
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A running command and all that it has shown."""

    def __init__(self, process: subprocess.Popen[bytes], handle: int) -> None:
        self.process = process
        self.raw = ""
        self._handle = handle
        self._from = 0

    @property
    def text(self) -> str:
        """What was shown, without styles."""
        return _ANSI.sub("", self.raw).replace("\r\n", "\n")

    def expect(self, words: str) -> str:
        """Wait until `words` are shown after what was expected before; that part of the text."""
        end = time.monotonic() + SECONDS
        while (place := self.text.find(words, self._from)) < 0:
            assert time.monotonic() < end, f"{words!r} is not in {self.text[self._from :]!r}"
            if not self._read():
                place = self.text.find(words, self._from)
                assert place >= 0, f"it ended: {self.text[self._from :]!r}"
                break
        shown = self.text[self._from : place + len(words)]
        self._from = place + len(words)
        return shown

    def type(self, line: str) -> None:
        os.write(self._handle, line.encode() + b"\n")

    def interrupt(self) -> None:
        """Ctrl-C, as the keyboard does it."""
        os.write(self._handle, b"\x03")

    def interrupt_prompt(self) -> None:
        """The same at a prompt, no sooner than a person could.

        A signal that comes after readline has shown its prompt and before it waits for keys is
        told to Python with the next key only.
        """
        time.sleep(PROMPT_SECONDS)
        self.interrupt()

    def end_of_input(self) -> None:
        os.write(self._handle, b"\x04")

    def wait(self) -> int:
        """The exit code, once all that it shows was read."""
        end = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < end, f"it does not end: {self.text[self._from :]!r}"
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._handle], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._handle, 1 << 16)
        except OSError:
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


@contextlib.contextmanager
def on_terminal(*args: str, state: Path, columns: int = 80, **more: str) -> Iterator[Terminal]:
    """`ggufctl` with these arguments, in a terminal of its own."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    env = environment(state, TERM="xterm", **more)
    env.pop("COLUMNS", None)
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", *args),
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)


def _take_terminal() -> None:
    """Make the terminal this process's own, so that Ctrl-C reaches it."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
