"""How deployments are doing now: processes, memory, slots, speed, errors and cost, at each look.

Nothing here starts, wakes or changes anything. What cannot be seen is said in a sentence, and is
never taken for zero.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from ggufctl.core.escape import quoted
from ggufctl.core.status import (
    HOST,
    Health,
    LogCount,
    MemoryUse,
    ProcessUse,
    ServerStatus,
    prometheus_text,
    with_rates,
)
from ggufctl.errors import GgufctlError, UsageError
from ggufctl.remote.logfile import former_log
from ggufctl.services import deployments
from ggufctl.services.deployments import Deployment
from ggufctl.services.engine_http import Engine
from ggufctl.services.machine import host_memory

__all__ = ["InBackground", "LocalWatch", "now_text", "write_prometheus"]

NVIDIA_SMI_SECONDS = 5.0
"""How long the driver may take to say how its GPUs are doing."""

MAX_KEY_BYTES = 4096
MAX_LOG_LINE = 1 << 16

_MIB = 1 << 20


def now_text() -> str:
    """The time, as RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class _LogReader:
    """What an engine's log counted up to now; only what is new is read."""

    path: Path
    count: LogCount = field(default_factory=LogCount)
    _identity: tuple[int, int] = (0, 0)
    _position: int = 0
    _rest: str = ""

    def read(self) -> LogCount:
        """Count what was written since the last time."""
        if not self._identity[1]:
            self._read_file(former_log(self.path), 0)
        try:
            found = self.path.stat()
        except OSError:
            return self.count
        identity = (found.st_dev, found.st_ino)
        if identity != self._identity:
            if self._identity[1]:
                # It was full, and was put aside; the engine may also have been started anew.
                self._read_file(former_log(self.path), self._position)
            self._identity, self._position = identity, 0
        if found.st_size < self._position:
            self._position, self.count = 0, LogCount()
        self._position = self._read_file(self.path, self._position)
        return self.count

    def _read_file(self, path: Path, start: int) -> int:
        try:
            with path.open("rb") as file:
                file.seek(start)
                while raw := file.readline(MAX_LOG_LINE):
                    if not raw.endswith(b"\n") and len(raw) < MAX_LOG_LINE:
                        return file.tell() - len(raw)
                    self.count.feed(raw.decode("utf-8", "replace"))
                return file.tell()
        except OSError:
            return start


class LocalWatch:
    """Looks at the deployments of this machine, again and again.

    What lies between two looks, such as the use of a processor, is known from the second on.
    """

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._logs: dict[tuple[str, str], _LogReader] = {}
        self._before: dict[tuple[str, str], ServerStatus] = {}
        self._smi = shutil.which("nvidia-smi")

    def look(self, name: str = "") -> tuple[ServerStatus, ...]:
        """One deployment, or all that run; of an ended one, how it ended.

        Raises: DeploymentNotFound.
        """
        found = (deployments.find(name, ended=True),) if name else deployments.listed()
        gpus = _gpus(self._smi) if self._smi and any(d.devices for d in found) else ()
        return tuple(self._look_at(deployment, gpus) for deployment in found)

    def _look_at(self, deployment: Deployment, gpus: Sequence[_Gpu]) -> ServerStatus:
        me = (deployment.name, deployment.started_at)
        log = self._logs.setdefault(me, _LogReader(deployment.log_path)).read()
        status = ServerStatus(
            name=deployment.name,
            where=deployment.where,
            status=deployment.status,
            health=Health.NO_ANSWER,
            at=now_text(),
            at_seconds=time.monotonic(),
            model=deployment.model,
            engine=deployment.engine,
            build=deployment.build,
            url=deployment.url,
            started_at=deployment.started_at,
            n_slots=deployment.n_slots or None,
            n_ctx=deployment.n_ctx or None,
            n_requests=log.n_requests,
            n_errors=log.n_errors,
            last_error=log.last_error,
            usd_per_hour=deployment.usd_per_hour,
            usd_so_far=0.0,
        )
        if deployment.status not in ("starting", "running"):
            said = {
                "lost": "The process that served it is gone without a word.",
                "failed": "It did not come up, or ended by itself.",
            }.get(deployment.status, "It was stopped.")
            problems = (deployment.reason or said,)
            return replace(status, memory=_planned(deployment), problems=problems)
        processes = tuple(
            self._process(role, pid)
            for role, pid in (("supervisor", deployment.pid), ("engine", deployment.engine_pid))
            if pid
        )
        status = replace(
            status,
            processes=processes,
            uptime_seconds=_age_seconds(deployment),
            memory=_memory(deployment, processes, gpus),
        )
        status = _asked(status, deployment, processes)
        status = with_rates(status, self._before.get(me))
        self._before[me] = status
        return status

    def _process(self, role: str, pid: int) -> ProcessUse:
        try:
            process = self._processes.get(pid)
            if process is None or not process.is_running():
                process = self._processes[pid] = psutil.Process(pid)
                process.cpu_percent()
                cpu = None
            else:
                cpu = process.cpu_percent()
            if process.status() == psutil.STATUS_ZOMBIE:
                return ProcessUse(role=role, id=str(pid), is_alive=False)
            n_bytes = int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return ProcessUse(role=role, id=str(pid), is_alive=False)
        except psutil.AccessDenied:
            return ProcessUse(role=role, id=str(pid), is_alive=True)
        return ProcessUse(
            role=role, id=str(pid), is_alive=True, memory_bytes=n_bytes, cpu_percent=cpu
        )


def _asked(
    status: ServerStatus, deployment: Deployment, processes: Sequence[ProcessUse]
) -> ServerStatus:
    """The status with what the engine says of itself."""
    engine = next((p for p in processes if p.role == "engine"), None)
    if engine is not None and not engine.is_alive and deployment.status == "running":
        return replace(status, problems=("The engine's process is gone.",))
    if deployment.status == "starting":
        return replace(status, health=Health.LOADING)
    key, problems = _key(deployment)
    is_server = deployment.engine != "llama-cpp-python"
    running = Engine(
        deployment.url.removesuffix("/v1"), key, "/health" if is_server else "/v1/models"
    )
    health = running.health()
    if health is not Health.OK:
        if health is Health.NO_ANSWER:
            problems += ("The engine does not answer.",)
        return replace(status, health=health, problems=problems)
    if not is_server:
        problems += ("llama-cpp-python counts nothing that could be asked for.",)
        return replace(status, health=health, problems=problems)
    counters, slots = running.counters(), running.slots()
    if counters is None:
        problems += ("The engine does not say what it counts: it wants another key, or is older.",)
    return replace(
        status,
        health=health,
        counters=counters,
        slots=slots,
        n_slots=len(slots) or status.n_slots,
        problems=problems,
    )


def _key(deployment: Deployment) -> tuple[str, tuple[str, ...]]:
    """The key of a deployment, and what is wrong with it."""
    if not deployment.key_file:
        return "", ()
    try:
        with open(deployment.key_file, encoding="utf-8") as file:
            lines = [line.strip() for line in file.read(MAX_KEY_BYTES).splitlines()]
    except (OSError, UnicodeDecodeError):
        lines = []
    key = next((line for line in lines if line and not line.startswith("#")), "")
    if not key.isascii() or not key.isprintable() or not key:
        return "", (f"Its key cannot be read from {quoted(deployment.key_file)}.",)
    return key, ()


def _age_seconds(deployment: Deployment) -> float | None:
    try:
        started = datetime.fromisoformat(deployment.started_at)
        return max(0.0, (datetime.now(UTC) - started).total_seconds())
    except (ValueError, TypeError):
        return None


def _planned(deployment: Deployment) -> tuple[MemoryUse, ...]:
    """What was planned, without anybody who uses it."""
    return tuple(
        MemoryUse(where=where, description=deployment.devices.get(where, ""), planned_bytes=n_bytes)
        for where, n_bytes in deployment.planned.items()
    )


def _memory(
    deployment: Deployment, processes: Sequence[ProcessUse], gpus: Sequence[_Gpu]
) -> tuple[MemoryUse, ...]:
    """Planned and used memory, GPUs first."""
    own = {int(process.id) for process in processes}
    left = list(gpus)
    found = []
    for use in _planned(deployment):
        if use.where == HOST:
            continue
        # By our process, where the driver shows it; else by the card's name, in order.
        alike = [g for g in left if g.name.casefold() == use.description.casefold()]
        gpu = next((g for g in alike if own & g.used_by.keys()), next(iter(alike), None))
        if gpu is not None:
            left.remove(gpu)
            used = [n for pid, n in gpu.used_by.items() if pid in own]
            use = replace(
                use,
                used_bytes=sum(used) if used else None,
                busy_bytes=gpu.used_bytes,
                total_bytes=gpu.total_bytes,
                utilization_percent=gpu.utilization_percent,
            )
        found.append(use)
    host = host_memory()
    engine = [p.memory_bytes for p in processes if p.role == "engine"]
    used_bytes = next(iter(engine), None)
    return (
        *found,
        MemoryUse(
            where=HOST,
            planned_bytes=deployment.planned.get(HOST),
            used_bytes=used_bytes,
            busy_bytes=host.total_bytes - host.available_bytes,
            total_bytes=host.total_bytes,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Gpu:
    """One GPU as the driver sees it."""

    name: str
    used_bytes: int
    total_bytes: int
    utilization_percent: int | None
    used_by: dict[int, int]
    """Process → bytes."""


def _gpus(program: str) -> tuple[_Gpu, ...]:
    """The GPUs as NVIDIA's driver sees them, in its order; empty where it says nothing."""
    fields = "uuid,name,memory.used,memory.total,utilization.gpu"
    rows = _csv(program, f"--query-gpu={fields}")
    by_gpu: dict[str, dict[int, int]] = {}
    for row in _csv(program, "--query-compute-apps=gpu_uuid,pid,used_memory"):
        with contextlib.suppress(ValueError):
            uuid, pid, used = row
            by_gpu.setdefault(uuid, {})[int(pid)] = int(used) * _MIB
    found = []
    for row in rows:
        with contextlib.suppress(ValueError):
            uuid, name, used, total, busy = row
            found.append(
                _Gpu(
                    name,
                    int(used) * _MIB,
                    int(total) * _MIB,
                    int(busy) if busy.isdecimal() else None,
                    by_gpu.get(uuid, {}),
                )
            )
    return tuple(found)


def _csv(program: str, query: str) -> Iterator[list[str]]:
    try:
        done = subprocess.run(
            (program, query, "--format=csv,noheader,nounits"),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=NVIDIA_SMI_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == 0:
        for line in done.stdout.splitlines():
            yield [cell.strip() for cell in line.split(",")]


def write_prometheus(path: Path, found: Sequence[ServerStatus]) -> None:
    """Put the statuses where Prometheus' node exporter looks for text files, whole or not at all.

    Raises: UsageError when the file cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"{quoted(str(path))} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(prometheus_text(found))
        # Whoever scrapes it is another user.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise UsageError(f"{quoted(str(path))} cannot be written: {error.strerror}.") from None


class InBackground:
    """The latest of something that takes long to look at, looked at every now and then.

    Args:
        look: takes a while, and may fail.
        every_seconds: between the end of one look and the next.
    """

    def __init__(
        self, look: Callable[[], tuple[ServerStatus, ...]], every_seconds: float = 10.0
    ) -> None:
        self.problem = ""
        """Why the last look failed; empty when it did not."""
        self._look = look
        self._every_seconds = every_seconds
        self._latest: tuple[ServerStatus, ...] = ()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._ended = threading.Event()
        self._thread.start()

    def latest(self) -> tuple[ServerStatus, ...]:
        """What was seen last; nothing before the first look has ended."""
        return self._latest

    def stop(self) -> None:
        """Look no more; a look that is under way is not waited for."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._latest, self.problem = self._look(), ""
            except GgufctlError as error:
                self.problem = error.message
            self._ended.wait(self._every_seconds)
