"""Becomes another program that does not outlive whoever started it.

``python -m ggufctl.remote.tether PARENT_PID PROGRAM ARGUMENT…`` replaces itself with the program.
Where the system can do it (Linux), the program is told to stop when its parent disappears, so that
a supervisor killed outright leaves no engine behind. It must be started from the main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["tether"]

_PR_SET_PDEATHSIG = 1


def tether(parent_pid: int) -> None:
    """Ask the system to end this process when its parent does; exit if that has happened."""
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent_pid:
        sys.exit(143)


def main() -> None:
    """Tether this process and become the program that the arguments name."""
    parent, program, *rest = sys.argv[1:]
    tether(int(parent))
    try:
        os.execvp(program, [program, *rest])
    except OSError as error:
        sys.stderr.write(f"{program}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
