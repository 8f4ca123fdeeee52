"""What this machine has: host memory that may be used, and how fast a file is read."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["HostMemory", "free_port", "host_memory", "is_port_free", "oom_kills", "read_rate"]

_SAMPLE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Host memory, the container's limit taken into account.  [bytes]"""

    total_bytes: int
    available_bytes: int


def host_memory() -> HostMemory:
    """What the host, or the container this runs in, has and has left."""
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    for limit_path, used_path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limit = int(Path(limit_path).read_text())
            used = int(Path(used_path).read_text())
            if 0 < limit < total:
                total, available = limit, max(0, min(available, limit - used))
    return HostMemory(total, available)


_OOM_COUNTERS = (
    "/proc/vmstat",
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
)
"""Each with a line `oom_kill N`; of the system, and of the container this runs in."""


def oom_kills() -> int | None:
    """Processes that were ended for lack of memory up to now; None where nobody counts them.

    Source: docs.kernel.org/admin-guide/cgroup-v2.html, memory.events.
    """
    found = []
    for path in _OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            rows = (line.split() for line in Path(path).read_text().splitlines())
            found += [int(row[1]) for row in rows if len(row) == 2 and row[0] == "oom_kill"]
    return sum(found) if found else None


def read_rate(path: Path) -> float:
    """How fast a file is read here, from a sample of its middle.  [bytes per second]"""
    size = path.stat().st_size
    wanted = min(_SAMPLE_BYTES, size)
    n_bytes = 0
    started = time.monotonic()
    with path.open("rb", buffering=0) as file:
        file.seek((size - wanted) // 2)
        while n_bytes < wanted and (chunk := file.read(_CHUNK_BYTES)):
            n_bytes += len(chunk)
    return n_bytes / max(time.monotonic() - started, 1e-6)


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
