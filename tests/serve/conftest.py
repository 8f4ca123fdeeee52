"""Every test of serving has a state directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where deployments of one test are kept."""
    directory = tmp_path / "state"
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(directory))
    return directory
