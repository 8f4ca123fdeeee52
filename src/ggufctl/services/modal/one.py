"""What keeps two starts of one name apart, and an end from being cut short."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError
from ggufctl.services.modal.state import state_folder

__all__ = ["StartsNow", "only_one", "uninterrupted"]


class StartsNow(UsageError):
    """Another process on this machine starts something under the same name."""

    code = "name_taken"


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold a deployment's name on this machine; its end gives it back, however it comes.

    Raises: StartsNow when another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(state_folder() / f"{name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise StartsNow(
            f"Another ggufctl on this machine is starting {quoted(name)}.",
            "Wait for it, or give this one another --name.",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def uninterrupted(say: Callable[[], None]) -> Iterator[None]:
    """Let signals of a user who is in a hurry only say that something is still being done.

    What is left half undone may cost money for as long as nobody looks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(signum: int, frame: FrameType | None) -> None:
        # It may come while a line is being written.
        with contextlib.suppress(OSError, RuntimeError):
            say()

    # Windows has no SIGHUP.
    wanted = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, each) for each in wanted if hasattr(signal, each)]
    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
