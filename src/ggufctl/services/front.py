"""A server's port on this machine: whose it is, and what becomes of requests there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ggufctl.core.escape import redact
from ggufctl.errors import LaunchFailed
from ggufctl.front.orders import Limits, Stage

__all__ = ["Front", "Held", "needed", "port_of_our_own"]

HEAR_SECONDS = 30.0
"""A front that has not done as told by then never will: its machine is busy, or it is stuck."""

END_SECONDS = 5.0

SHORT_SECONDS = 5.0
"""One that ends sooner has not been of use."""

MOST_SHORT = 5

_POLL_SECONDS = 0.05

_LAST_WORDS = 300
"""Of what it says when it ends, at most.  [characters]"""

_NEEDED = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|LD_LIBRARY_PATH|DYLD_\w+|__PYVENV_LAUNCHER__|AIOHTTP_\w+"
    r"|PYTHON\w+"
)
"""Environment variables that a Python with its libraries goes by."""


@dataclass(frozen=True, slots=True)
class Held:
    """What holding came to.

    Attributes:
        n_requests: that were held.
        n_refused: of these and others, because of a limit.
        longest_seconds: that one of them waited.
    """

    n_requests: int
    n_refused: int
    longest_seconds: float


def needed(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment what the process needs that passes requests on."""
    return {name: value for name, value in environ.items() if _NEEDED.fullmatch(name)}


@contextlib.contextmanager
def port_of_our_own(host: str) -> Iterator[int]:
    """A port that nobody else is given while an engine starts that is to listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kept:
        # Two that say so may have it, as long as one of them does not listen.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((host, 0))
        port = int(kept.getsockname()[1])
        if sys.platform != "linux":
            kept.close()
        yield port


class Front:
    """A port of this machine, kept from now on, and the process that passes its requests on.

    Args:
        host: address to listen on.
        port: to listen on.
        limits: of what is held.

    Raises: LaunchFailed when the port is taken.
    """

    def __init__(self, host: str, port: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._order: dict[str, Any] = {"stage": Stage.LOADING.value}
        self._said: dict[str, Any] = {}
        self._has_news = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._n_short = 0
        self._last_words = ""
        try:
            self._listener: socket.socket | None = socket.create_server((host, port), backlog=1024)
        except OSError:
            raise LaunchFailed(
                f"Port {port} of {host} is taken.", "Choose another with --port, or --port 0."
            ) from None
        self.port = int(self._listener.getsockname()[1])

    @property
    def pid(self) -> int:
        """Of the process; 0 without one."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Answer from now on: that the model is being loaded, until there is an engine."""
        assert self._listener is not None
        number = self._listener.fileno()
        limits = json.dumps(asdict(self._limits))
        self._started_at = time.monotonic()
        # Not in a thread of its own: what this process computes meanwhile would be in its way.
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-m", "ggufctl.front.proxy", str(number), limits),
            # It passes on words of others: no secret of ours is for it.
            env=needed(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(number,),
            # A Ctrl-C in this terminal is ours to act on.
            start_new_session=True,
        )
        for hear in (self._listen, self._hear_last_words):
            threading.Thread(target=hear, args=(self._process,), name="front", daemon=True).start()
        if self._order["stage"] != Stage.LOADING:
            self._tell(self._order)

    def mend(self) -> bool:
        """Start the process again if it has ended; whether it had.

        Raises: LaunchFailed when it ends again and again.
        """
        if self._process is None or self._process.poll() is None:
            return False
        is_short = time.monotonic() - self._started_at < SHORT_SECONDS
        self._n_short = self._n_short + 1 if is_short else 0
        if self._n_short > MOST_SHORT:
            text = (
                "What passes requests on to the engine ends as soon as it is started, with "
                f"{self._process.returncode}."
            )
            words = redact(self._last_words)
            raise LaunchFailed(f"{text} Its words: {words}" if words else text)
        self._release(self._process)
        self.start()
        return True

    def open(self, port: int) -> Held:
        """Pass requests on to who listens at a port of this machine, those that are held first."""
        said = self._obeyed({"stage": Stage.OPEN.value, "port": port})
        return Held(
            int(said.get("held", 0)), int(said.get("refused", 0)), float(said.get("longest", 0.0))
        )

    def hold(self, seconds: float) -> None:
        """Keep new requests from now on, for about so long."""
        self._obeyed({"stage": Stage.HOLDING.value, "seconds": seconds})

    def drained(self, seconds: float) -> bool:
        """Wait until no request is being answered; whether that came about in time."""
        until = time.monotonic() + seconds
        with self._has_news:
            while self._is_up and int(self._said.get("active", 0)):
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._has_news.wait(min(left, _POLL_SECONDS))
        return True

    def leave(self) -> None:
        """Take no more requests; those that are being answered are finished."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            self._carried_out({"stage": Stage.LEAVING.value}, END_SECONDS)

    def close(self) -> None:
        """End it; whoever is still waiting for an answer gets none. Safe to call twice."""
        self.leave()
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def _is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _obeyed(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give an order, and what is said once it is carried out; nothing where nobody does."""
        self._order = order
        self.mend()
        return self._carried_out(order, HEAR_SECONDS)

    def _carried_out(self, order: dict[str, Any], seconds: float) -> dict[str, Any]:
        with self._has_news:
            self._said = {}
        self._tell(order)
        until = time.monotonic() + seconds
        with self._has_news:
            while self._said.get("stage") != order["stage"] and time.monotonic() < until:
                if not self._is_up:
                    break
                self._has_news.wait(_POLL_SECONDS)
            return dict(self._said)

    def _tell(self, order: dict[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            # One that has ended is noticed elsewhere.
            with contextlib.suppress(OSError, ValueError):
                os.write(process.stdin.fileno(), json.dumps(order).encode() + b"\n")

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                with self._has_news:
                    self._said = json.loads(line)
                    self._has_news.notify_all()

    def _hear_last_words(self, process: subprocess.Popen[bytes]) -> None:
        """Read what it says on stderr, which it would else wait for somebody to do."""
        assert process.stderr is not None
        with process.stderr as stream:
            for line in iter(lambda: stream.readline(1 << 16), b""):
                text = line.decode("utf-8", "replace").strip()
                self._last_words = text[:_LAST_WORDS] or self._last_words

    @staticmethod
    def _release(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
