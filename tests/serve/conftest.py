"""Every test of serving has a state directory of its own."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where deployments of one test are kept."""
    directory = tmp_path / "state"
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(directory))
    return directory


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of engines that are not here, unless GGUFCTL_TEST_ENGINES names them."""
    named = os.environ.get("GGUFCTL_TEST_ENGINES", "").split(",")
    left_out = []
    for item in items:
        mark = item.get_closest_marker("engine")
        if mark is not None and mark.args[0] not in named and not _is_here(mark.args[0]):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_here(engine: str) -> bool:
    if engine == "llama-server":
        return shutil.which("llama-server") is not None
    return find_spec("llama_cpp") is not None
