"""Looks around in a container as a deployment has it: GPU, engine, files. Serves nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggufctl.remote.container import KEY_VARIABLE
from ggufctl.remote.surroundings import (
    PROBE_SECONDS,
    StartFailed,
    gpus,
    output_of,
    program_of,
)

__all__ = ["probe"]


def probe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a container finds, as plain data without secrets.

    Args:
        config: as `container.serve` takes it.

    Returns:
        `gpus` as `surroundings.gpus` has them; `engine` and `engine_error`, what
        the engine says of its version, or why it does not; `files` as path, size wanted and size
        found, -1 for none; `has_key`; `python`, `cores` and `region`.
    """
    engine, error = _engine(config)
    return {
        "gpus": gpus(),
        "engine": engine,
        "engine_error": error,
        "files": [[path, size, _size(Path(path))] for path, size in config["files"]],
        "has_key": bool(os.environ.get(KEY_VARIABLE)),
        "python": ".".join(map(str, sys.version_info[:3])),
        "cores": os.cpu_count() or 0,
        "region": os.environ.get("MODAL_REGION", ""),
    }


def _engine(config: Mapping[str, Any]) -> tuple[str, str]:
    try:
        program = program_of(config)
    except StartFailed as error:
        return "", str(error)
    command = (*program, "--version")
    if config["engine"] == "llama-cpp-python":
        command = (sys.executable, "-P", "-c", "import llama_cpp; print(llama_cpp.__version__)")
    done = output_of(command)
    if done is None:
        return "", f"It cannot be started, or says nothing within {PROBE_SECONDS:.0f} s."
    text = done.stdout + done.stderr
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if done.returncode != 0:
        return "", (lines or [f"It ended with exit code {done.returncode}."])[-1][:300]
    version = next((line for line in lines if line.startswith("version")), (lines or [""])[-1])
    return version[:200], ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
