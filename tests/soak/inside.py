"""Many servers after one another in one process: nothing of one may stay in the next."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import serving
from ggufctl.services.serve import LocalRequest, plan_local, start_local

WARM_UP = 3
SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Held:
    """What a process holds on to."""

    files: int
    threads: int
    resident_bytes: int


def held() -> Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), pages * 4096)


def start_and_stop() -> None:
    request = LocalRequest(model=str(serving.model_path()), port=0, engine="llama-server")
    start_local(plan_local(request)).stop()


def run_inside(n_cycles: int) -> tuple[Held, Held]:
    """What is held after a few cycles, and after all."""
    for _ in range(WARM_UP):
        start_and_stop()
    before = held()
    for _ in range(n_cycles):
        start_and_stop()
    after = held()
    # The thread that reads an engine's log may outlive it by a moment.
    deadline = time.monotonic() + SETTLE_SECONDS
    while leaks(before, after) and time.monotonic() < deadline:
        time.sleep(0.2)
        after = held()
    return before, after


def leaks(before: Held, after: Held) -> bool:
    """Whether more is held than before."""
    return after.files > before.files or after.threads > before.threads
