"""What every engine has in common."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ggufctl.core.escape import escape
from ggufctl.core.launch import Launch, clean_environment
from ggufctl.core.runtime import Runtime

__all__ = ["Command", "Device", "Engine", "Found", "parse_devices", "run_for_text", "run_python"]

PROBE_SECONDS = 60.0
"""How long an engine may take to say what it is: the first start of a large binary is slow."""

_DEVICE = re.compile(r"^ *(\S+): (.+) \((\d+) MiB, (\d+) MiB free\)$", re.MULTILINE)
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU as the engine sees it."""

    name: str
    """llama.cpp's name: `CUDA0` …"""
    description: str
    total_bytes: int
    free_bytes: int
    seen_as: str = ""
    """Its name where all GPUs are seen; empty = the same."""


@dataclass(frozen=True, slots=True)
class Found:
    """An engine that is here, and what it says of itself."""

    engine: str
    program: tuple[str, ...]
    """What its arguments are appended to."""
    build: str
    """llama.cpp's build, such as `b11434`, the package's version, or `unknown`."""
    devices: tuple[Device, ...] = ()
    variables: frozenset[str] = frozenset()
    """Environment variables, in upper case, that it takes settings from by itself."""
    settings: tuple[tuple[str, str], ...] = ()
    """Environment variables that say which GPUs it sees."""

    @property
    def label(self) -> str:
        """Engine and build in words."""
        if re.fullmatch(r"b\d+", self.build):
            return f"{self.engine} with llama.cpp {self.build}"
        if self.build == "unknown":
            return f"{self.engine} of an unnumbered build"
        return f"{self.engine} {self.build}"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What it is run in: without secrets, and without settings nobody checked."""
        clean = clean_environment(environ)
        kept = {name: value for name, value in clean.items() if name.upper() not in self.variables}
        return {**kept, **dict(self.settings)}


@dataclass(frozen=True, slots=True)
class Command:
    """How to start an engine and how to see that it is ready."""

    argv: tuple[str, ...]
    key_variable: str
    """The environment variable it reads its key from."""
    ready_path: str = "/health"
    ready_needs_key: bool = False


class Engine(Protocol):
    """One kind of server."""

    @property
    def name(self) -> str:
        """As `--engine` takes it."""

    @property
    def install_hint(self) -> str:
        """How to get it."""

    def find(self) -> Found | None:
        """The engine as it is installed here, or None."""

    def check(self, runtime: Runtime, extra: Sequence[str]) -> None:
        """Raise UsageError for an option that it lacks, naming an engine that has it."""

    def command(self, found: Found, launch: Launch) -> Command:
        """How to start it."""


def run_for_text(argv: Sequence[str]) -> str | None:
    """Everything a short command prints, escaped but for line ends; None when it fails."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            env=clean_environment(os.environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    text = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
    return "\n".join(escape(line) for line in text.splitlines())


def run_python(code: str) -> str | None:
    """What a few lines of Python print in a process of their own; None when they fail.

    An engine's library is never loaded here: it is large, and it may crash.
    """
    return run_for_text((sys.executable, "-P", "-c", code))


def parse_devices(text: str) -> tuple[Device, ...]:
    """GPUs out of llama.cpp's list of devices."""
    return tuple(
        Device(name, description, int(total) * _MIB, int(free) * _MIB)
        for name, description, total, free in _DEVICE.findall(text)
        if not name.startswith(("CPU", "BLAS", "RPC"))
    )
