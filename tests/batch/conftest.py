"""Small models on a Hub, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ggufs import header, llama

from fakehub import FakeFile, FakeHub

SHAPE = {"n_layer": 4, "n_embd": 1024, "n_vocab": 2000, "n_merges": 10, "type_": "q4_K"}


def small(name: str = "small") -> FakeFile:
    """A model of a few megabytes whose metadata hold a name of its own."""
    metadata, tensors = llama(
        **SHAPE,
        general__name=name,
        llama__context_length=32768,
        llama__attention__head_count=8,
        llama__attention__head_count_kv=4,
    )
    raw, size = header(metadata, tensors)
    return FakeFile(raw, size)


@pytest.fixture
def models(hub: FakeHub) -> FakeHub:
    """A Hub with two repositories, one of them with two quants."""
    hub.add("org/a-GGUF", {"a-Q4_K_M.gguf": small("a")})
    hub.add("org/b-GGUF", {"b-Q4_K_M.gguf": small("b"), "b-Q8_0.gguf": small("b8")})
    return hub


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`ggufctl plan` in an empty folder."""

    def call(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": os.environ["HF_ENDPOINT"],
            "GGUFCTL_CACHE_DIR": str(tmp_path / "cache"),
        }
        return subprocess.run(
            [sys.executable, "-m", "ggufctl", "plan", *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call
