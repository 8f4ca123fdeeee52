"""What every test runs in: no network but the loopback, no home directory, empty caches."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
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

# A shell has what it runs in the background ignore Ctrl-C, and what tests start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent))

from fakehub import FakeHub  # noqa: E402  # the environment comes first


class _FailuresAtOnce:
    """Prints each failure when it happens: a run that is cut off never gets to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(
                f"\n{report.when} of {report.nodeid} failed:\n{report.longreprtext}"
            )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_FailuresAtOnce(config))


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
