"""What is being served from this machine: one directory each, private to its user.

A deployment is known by its name. Its directory holds its state, its key and the engine's log;
the state is replaced as a whole, so that who reads it never sees half of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any

from ggufctl.core.escape import escape, quoted
from ggufctl.core.launch import slug
from ggufctl.errors import GgufctlError, LaunchFailed, UsageError
from ggufctl.remote.logfile import former_log
from ggufctl.services.state import state_dir

__all__ = [
    "LEAST_ROOM_BYTES",
    "Deployment",
    "DeploymentEnded",
    "DeploymentNotFound",
    "StateUnwritable",
    "check_name",
    "claim",
    "discard",
    "find",
    "follow_log",
    "has_ended",
    "listed",
    "process_start",
    "require_room",
    "save",
    "state_dir",
    "stop",
    "writing",
]

STOP_SECONDS = 30.0
"""How long a deployment may take to end after it was asked to."""

MAX_ENDED = 50
"""Deployments that are remembered after their end, with their logs."""

_STATE = "state.json"
_LOG = "engine.log"
_KEY = "api-key"
_PRESENT = ("starting", "running", "lost")
_RUNNING = ("starting", "running")
_CLAIM_SECONDS = 60.0
"""A directory this young may belong to somebody who has not written its state yet."""


LEAST_ROOM_BYTES = 1 << 20
"""Free where deployments are kept, for a state, a key and the log of a start."""


class DeploymentNotFound(GgufctlError):
    """Nothing of this name is deployed."""

    exit_code = 3
    code = "deployment_not_found"


class DeploymentEnded(DeploymentNotFound):
    """What had this name has ended."""


class StateUnwritable(LaunchFailed):
    """What is served cannot be kept note of.

    Args:
        reason: of the system, without a full stop.
    """

    code = "state_unwritable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Nothing can be kept in the state directory {quoted(str(state_dir()))}: {reason}.",
            "Make room there or make it writable, or set GGUFCTL_STATE_DIR to another directory.",
        )


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Say which directory it is that cannot be written.

    Raises: StateUnwritable.
    """
    try:
        yield
    except OSError as error:
        raise StateUnwritable(error.strerror or type(error).__name__) from None


def require_room() -> None:
    """Find out whether a deployment can be kept, before anything is started for it.

    Raises: StateUnwritable.
    """
    folder = state_dir() / "deployments"
    with writing():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            free_bytes = shutil.disk_usage(folder).free
    if free_bytes < LEAST_ROOM_BYTES:
        raise StateUnwritable(f"only {free_bytes >> 10} KiB are free, and a log needs more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One served model."""

    name: str
    status: str
    """`starting`, `running`, `stopped`, `failed`, or `lost` when its process is gone."""
    model: str
    alias: str
    engine: str
    build: str
    url: str
    auth: str
    key_file: str
    """Empty without a key."""
    pid: int
    """Of the ggufctl that supervises the engine."""
    pid_start: str
    """When the system started that process, so that its number alone is never trusted."""
    engine_pid: int = 0
    started_at: str = ""
    """RFC 3339."""
    where: str = "local"
    usd_per_hour: float = 0.0
    memory_bytes: int = 0
    """Planned, of all devices and the host."""
    planned: dict[str, int] = field(default_factory=dict)
    """Planned bytes by device, `host` among them."""
    devices: dict[str, str] = field(default_factory=dict)
    """GPUs by the engine's names for them."""
    n_ctx: int = 0
    """Of all slots together.  [tokens]"""
    n_slots: int = 0
    reason: str = ""
    """Why it failed, in a sentence; empty otherwise, or where nobody could say."""

    @property
    def is_alive(self) -> bool:
        """Whether the process that supervises it still runs."""
        return process_start(self.pid) == self.pid_start

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return state_dir() / "deployments" / self.name

    @property
    def log_path(self) -> Path:
        """The engine's log."""
        return self.directory / _LOG

    @property
    def own_key_path(self) -> Path:
        """Where its key is kept when the user names no file."""
        return self.directory / _KEY


def process_start(pid: int) -> str:
    """When the system started a process, as a mark that no other process shares; empty if gone."""
    if pid <= 0:
        return ""
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        after = text.rpartition(")")[2].split()
        return "" if after[0] in ("Z", "X") else after[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "other"
    return "alive"


def listed(*, ended: bool = False) -> tuple[Deployment, ...]:
    """Deployments by name: those that run, or all that are remembered.

    A deployment whose process is gone without saying so is shown as `lost`.
    """
    found = []
    with contextlib.suppress(OSError):
        for path in sorted((state_dir() / "deployments").iterdir()):
            deployment = _read(path.name)
            if deployment is not None and (ended or deployment.status in _PRESENT):
                found.append(deployment)
    return tuple(found)


def find(name: str, *, ended: bool = False) -> Deployment:
    """The deployment of a name.

    Raises: DeploymentNotFound.
    """
    deployment = _read(name) if _is_name(name) else None
    if deployment is not None and (ended or deployment.status in _PRESENT):
        return deployment
    if deployment is not None:
        raise has_ended(deployment)
    names = ", ".join(d.name for d in listed() if d.status in _RUNNING)
    raise DeploymentNotFound(
        f"Nothing called {quoted(name)} is deployed.",
        f"Running: {names}." if names else "Nothing is running; see ggufctl ps.",
    )


_ENDS = {
    "stopped": "was stopped, and does not run any more",
    "failed": "has failed, and does not run any more",
    "lost": "is gone without a word",
}


def has_ended(deployment: Deployment) -> DeploymentEnded:
    """How a deployment has ended, how to look into it, and how to have it back."""
    model, name = shlex.quote(escape(deployment.model)), deployment.name
    return DeploymentEnded(
        f"{quoted(name)} {_ENDS.get(deployment.status, 'has ended')}.",
        f"Start it again: ggufctl serve {model} --on local --name {name}; "
        f"its log: ggufctl logs {name}.",
    )


def claim(name: str, *, exactly: bool) -> str:
    """A name that is free now, its empty directory made.

    Args:
        name: wanted.
        exactly: whether only that name will do; else a number is added.

    Raises: UsageError when it is taken, or is no name.
    """
    if not _is_name(name):
        raise _no_name(name)
    for number in range(1, 100):
        candidate = name if number == 1 else f"{name}-{number}"
        if _take(candidate):
            _forget_oldest()
            return candidate
        if exactly:
            break
    raise UsageError(f"{quoted(name)} is running already.", f"Run ggufctl stop {name} first.")


def check_name(name: str) -> None:
    """Refuse a name that would have to be changed to be one.

    Raises: UsageError.
    """
    if slug(name) != name:
        raise _no_name(name)


def _no_name(name: str) -> UsageError:
    return UsageError(
        f"{quoted(name)} is no name of a deployment.",
        "Use lower-case letters, digits, dots and dashes, 60 at most, no dot or dash at an end.",
    )


def save(deployment: Deployment) -> Deployment:
    """Keep the state of a deployment; it is replaced as a whole.

    Raises: StateUnwritable.
    """
    directory = deployment.directory
    with writing():
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(asdict(deployment), file)
            os.replace(temporary, directory / _STATE)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    return deployment


def discard(deployment: Deployment) -> bool:
    """Give a claimed name back whose state was never kept; whether it was not."""
    if (deployment.directory / _STATE).exists():
        return False
    shutil.rmtree(deployment.directory, ignore_errors=True)
    return True


def stop(name: str) -> Deployment:
    """End a deployment and wait until it has ended.

    Raises: DeploymentNotFound; GgufctlError when it does not end.
    """
    deployment = find(name)
    if deployment.is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(deployment.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while deployment.is_alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if deployment.is_alive:
            # The engine is tied to this process and is ended by the system with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(deployment.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        deployment.own_key_path.unlink()
    after = _read(name) or deployment
    if after.status in _PRESENT:
        after = save(replace(after, status="stopped"))
    return after


def follow_log(deployment: Deployment, *, follow: bool) -> Iterator[str]:
    """Lines of the engine's log; with `follow`, as they are written, until it ends."""
    yield from _lines(former_log(deployment.log_path), lambda: False)
    while (yield from _lines(deployment.log_path, lambda: follow and deployment.is_alive)):
        pass


def _lines(path: Path, goes_on: Callable[[], bool]) -> Generator[str, None, bool]:
    """Lines of one file, waiting for more; whether another took its place meanwhile."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError:
        return False
    rest = ""
    with file:
        while True:
            # Asked before the last look, so that nothing written in between is missed.
            was_replaced, more = _is_replaced(file, path), goes_on()
            while part := file.readline():
                rest += part
                if rest.endswith("\n"):
                    yield rest.rstrip("\n")
                    rest = ""
            if was_replaced or not more:
                break
            time.sleep(0.2)
    if rest:
        yield rest
    return was_replaced and more


def _is_replaced(file: IO[str], path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _is_name(name: str) -> bool:
    return (
        0 < len(name) <= 80
        and name[0].isalnum()
        and all(c.isascii() and (c.isalnum() or c in ".-_") for c in name)
    )


def _take(name: str) -> bool:
    directory = state_dir() / "deployments" / name
    with writing():
        directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for _ in range(2):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            deployment = _read(name)
            if deployment is not None and deployment.status in ("starting", "running"):
                return False
            if deployment is None and _age_seconds(directory) < _CLAIM_SECONDS:
                return False
            shutil.rmtree(directory, ignore_errors=True)
        except OSError as error:
            raise StateUnwritable(error.strerror or type(error).__name__) from None
        else:
            return True
    return False


def _forget_oldest() -> None:
    """Remove what is left of the deployments that ended longest ago."""
    with contextlib.suppress(OSError):
        ended = [
            path
            for path in (state_dir() / "deployments").iterdir()
            if _age_seconds(path) > _CLAIM_SECONDS
            and ((found := _read(path.name)) is None or not found.is_alive)
        ]
        ended.sort(key=_age_seconds)
        for path in ended[MAX_ENDED:]:
            shutil.rmtree(path, ignore_errors=True)


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return _CLAIM_SECONDS


def _is_all(values: dict[str, Any], kind: type) -> bool:
    return all(isinstance(key, str) and type(value) is kind for key, value in values.items())


def _read(name: str) -> Deployment | None:
    path = state_dir() / "deployments" / name / _STATE
    try:
        raw = json.loads(path.read_text())
        known = {field.name: field.type for field in fields(Deployment)}
        values = {key: value for key, value in dict(raw).items() if key in known}
        deployment = Deployment(**values)
    except (OSError, ValueError, TypeError):
        return None
    for key, value in values.items():
        kind = str(known[key]).partition("[")[0]
        whole = kind == "float" and type(value) is int
        if type(value).__name__ != kind and not whole:
            return None
    if not _is_all(deployment.planned, int) or not _is_all(deployment.devices, str):
        return None
    if deployment.name != name:
        return None
    if deployment.status in ("starting", "running") and not deployment.is_alive:
        return replace(deployment, status="lost")
    return deployment
