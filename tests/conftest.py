"""What every test runs in: no network but the loopback, no home directory, empty caches."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOME = tempfile.mkdtemp(prefix="ggufctl-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
# The Hub client reads these once, when it is first imported.
os.environ.update(
    {
        "HF_HOME": _HOME,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "XDG_CACHE_HOME": _HOME,
        "XDG_CONFIG_HOME": _HOME,
        "XDG_STATE_HOME": _HOME,
    }
)
for _name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "GGUFCTL_CACHE_DIR"):
    os.environ.pop(_name, None)

sys.path.insert(0, str(Path(__file__).parent))

from fakehub import FakeHub  # noqa: E402  # the environment comes first


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory that no other test sees."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("GGUFCTL_CACHE_DIR", str(directory))
    return directory


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty Hub on the loopback interface, which the client is pointed at."""
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
