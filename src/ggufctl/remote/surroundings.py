"""What is in a container: its GPUs, and the engine's program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["GPU_FIELDS", "PROBE_SECONDS", "StartFailed", "gpus", "output_of", "program_of"]

PROBE_SECONDS = 20.0
"""How long any program may take to say what it is."""

GPU_FIELDS = ("name", "driver_version", "memory.total", "memory.free")


class StartFailed(Exception):
    """The container cannot serve; its message is one sentence without secrets."""


def gpus() -> list[list[str]] | None:
    """Each GPU by `GPU_FIELDS` as the driver sees it, memory in MiB; None without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = f"--query-gpu={','.join(GPU_FIELDS)}"
    done = output_of((program, query, "--format=csv,noheader,nounits"))
    if done is None or done.returncode != 0:
        return None
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
    return [row for row in rows if len(row) == len(GPU_FIELDS)]


def program_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that starts the engine, without its arguments.

    Raises: StartFailed when the image has no such program.
    """
    if config["engine"] == "llama-cpp-python":
        return (sys.executable, "-P", "-m", "llama_cpp.server")
    # The image has its program outside PATH.
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/app"))
    program = shutil.which("llama-server", path=search)
    if program is None:
        raise StartFailed("There is no llama-server in the image.")
    return (program,)


def output_of(command: tuple[str, ...]) -> subprocess.CompletedProcess[str] | None:
    """What a program says; None when it cannot be started, or says nothing in time."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
