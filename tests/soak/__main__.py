"""`python -m tests.soak [CYCLES] [SEED]`: prints what was done and every problem found."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent)]

from tests.soak.cycles import run_cycles  # noqa: E402  # needs the path
from tests.soak.inside import leaks, run_inside  # noqa: E402  # likewise

REQUESTS_A_DAY = 288
"""Starts in a day of a server that is used every five minutes and ends in between."""


def main() -> int:
    n_cycles = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS_A_DAY
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    # Shells have what runs in their background ignore it, and so would the servers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = run_cycles(Path(folder), n_cycles, seed)
        for name, count in sorted(soak.done.items()):
            print(f"{count:5} {name}")
        os.environ.update(soak.env)
        before, after = run_inside(n_cycles // 3)
    print(f"{n_cycles // 3:5} in one process: {before} before, {after} after")
    for problem in soak.problems:
        print(f"PROBLEM {problem}")
    print(f"{n_cycles} cycles, {len(soak.problems)} problems, {time.monotonic() - started:.0f} s")
    return 1 if soak.problems or leaks(before, after) else 0


if __name__ == "__main__":
    sys.exit(main())
