"""What a Modal container runs: looks around, starts the engine, tells what happens in its log.

Everything it is told is plain data. Standard library and our own core alone: nothing is installed
in the engine's image but Python.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ggufctl.remote.supervisor import EngineFailed, Event, Spec, Supervisor
from ggufctl.remote.surroundings import StartFailed, gpus, program_of

__all__ = ["EVENT_PREFIX", "Serving", "StartFailed", "serve"]

EVENT_PREFIX = "ggufctl-event "
"""Begins every line of the log that is an event of ours."""

KEY_VARIABLE = "LLAMA_API_KEY"

_NOT_FOR_ENGINES = ("LLAMA_", "MODAL_", "HF_", "API_KEY")
"""Variables that begin so would be settings nobody planned, or secrets."""

_NOT_FOR_PYTHON = ("HOST", "PORT", "CONFIG_FILE")
"""Variables that llama-cpp-python prefers to its arguments."""


class Serving:
    """An engine that answers, in a container; made by `serve`."""

    def __init__(self, supervisor: Supervisor, attempt: str) -> None:
        self.supervisor = supervisor
        self._attempt = attempt
        self._is_stopping = False
        threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def stop(self) -> None:
        """End the engine; what it is answering may be finished within its grace."""
        self._is_stopping = True
        self.supervisor.stop()

    def _guard(self) -> None:
        """End the container when its engine ends by itself: nothing would answer any more."""
        self.supervisor.wait()
        if self._is_stopping:
            return
        error = self.supervisor.failed()
        _say(self._attempt, "died", text=error.failure.text, failure=error.failure.kind.value)
        os.kill(os.getpid(), signal.SIGTERM)


LAST_LOOK_SECONDS = 10.0
"""How long a container that fails waits until it is not held any more."""

LATE_SECONDS = 600
"""Clocks differ by less than this."""


def serve(config: Mapping[str, Any], let_go: Callable[[], bool] | None = None) -> Serving:
    """The engine, once it has answered; its death ends the container.

    Args:
        config: see `modal_app.server.container_config`.
        let_go: takes back that the container is held although nobody asks for it, and says whether
            it was.

    Raises: StartFailed, after the reason was written to the log as an event.
    """
    looked = threading.Event()
    if let_go is not None and config.get("let_go_until"):
        args = (config, let_go, looked)
        threading.Thread(target=_keep_letting_go, args=args, name="let-go", daemon=True).start()
    else:
        looked.set()
    try:
        return _serve(config)
    except StartFailed:
        # A container that is held is started again and again, and paid for each time.
        looked.wait(LAST_LOOK_SECONDS)
        raise


def _keep_letting_go(
    config: Mapping[str, Any], let_go: Callable[[], bool], looked: threading.Event
) -> None:
    """Look at once, and on until the start that this container is of must be over."""
    while True:
        try:
            if let_go():
                _say(str(config["attempt"]), "let go")
        except Exception as error:
            # The engine is served in any case, and the client looks as well.
            sys.stdout.write(f"whether the container is held is not known: {error}\n")
        looked.set()
        if time.time() > float(config["let_go_until"]) + LATE_SECONDS:
            return
        time.sleep(float(config["let_go_seconds"]))


def _serve(config: Mapping[str, Any]) -> Serving:
    attempt = str(config["attempt"])
    try:
        surroundings = _surroundings()
        _say(attempt, "container", **surroundings)
        _check_files(config)
        spec = _spec(config)
    except StartFailed as error:
        _say(attempt, "failed", text=str(error), failure="bad file", line="")
        raise
    supervisor = Supervisor(spec, lambda event: _hear(attempt, event))
    try:
        supervisor.start()
    except EngineFailed as error:
        raise StartFailed(error.failure.text) from None
    found = {
        "buffers": [[b.device, b.term, b.n_bytes] for b in supervisor.log.buffers],
        "build": supervisor.log.build,
        "offloaded": list(supervisor.log.offloaded or ()),
        "settings": supervisor.log.settings,
        "devices": supervisor.log.devices,
        "durations": {name: round(took, 3) for name, took in supervisor.durations.items()},
        "free_mib": [row[3] for row in gpus() or ()],
        # Whoever began to listen late has not heard of them.
        "gpus": surroundings["gpus"],
    }
    _say(attempt, "ready", **found)
    return Serving(supervisor, attempt)


_ME = secrets.token_hex(6)
"""Of this process, so that its events are told from those of others, and from copies of its own."""

_NUMBERS = itertools.count(1)


def _say(attempt: str, kind: str, **data: Any) -> None:
    event = {"event": kind, "attempt": attempt, **data, "by": _ME, "number": next(_NUMBERS)}
    line = json.dumps(event, ensure_ascii=True)
    sys.stdout.write(f"{EVENT_PREFIX}{line}\n")
    sys.stdout.flush()


def _hear(attempt: str, event: Event) -> None:
    if event.kind == "log":
        sys.stdout.write(f"{event.text}\n")
        sys.stdout.flush()
        return
    data = {key: value for key, value in event.data.items() if key != "argv"}
    _say(attempt, event.kind, seconds=event.seconds, text=event.text, **data)


def _surroundings() -> dict[str, Any]:
    """GPUs, driver and host as found; what cannot be found is left out."""
    found: dict[str, Any] = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "cores": os.cpu_count() or 0,
        "region": os.environ.get("MODAL_REGION", ""),
        "gpus": [],
    }
    for name, driver, memory_mib, free_mib in gpus() or ():
        row = {"name": name, "driver": driver, "memory_mib": memory_mib, "free_mib": free_mib}
        found["gpus"].append(row)
    return found


def _check_files(config: Mapping[str, Any]) -> None:
    for path, size_bytes in config["files"]:
        try:
            actual = Path(path).stat().st_size
        except OSError:
            raise StartFailed(f"{Path(path).name} is not on the Volume.") from None
        if actual != size_bytes:
            raise StartFailed(
                f"{Path(path).name} has {actual} bytes on the Volume and should have {size_bytes}."
            )


def _spec(config: Mapping[str, Any]) -> Spec:
    key = os.environ.get(KEY_VARIABLE, "")
    if config["needs_key"] and not key:
        raise StartFailed(
            "The Secret holds no key: a server that everybody can use is not started."
        )
    is_python = config["engine"] == "llama-cpp-python"
    env = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_FOR_ENGINES)}
    env |= dict(config["env"])
    if is_python:
        env = {name: value for name, value in env.items() if name not in _NOT_FOR_PYTHON}
    package = str(Path(__file__).resolve().parents[2])
    path = [package, *filter(None, [env.get("PYTHONPATH", "")])]
    env["PYTHONPATH"] = os.pathsep.join(path)
    if key:
        env["API_KEY" if is_python else KEY_VARIABLE] = key
    return Spec(
        argv=(*program_of(config), *config["argv"]),
        env=env,
        base_url=f"http://127.0.0.1:{config['port']}",
        model=config["alias"],
        deadline_seconds=float(config["deadline"]),
        key=key,
        ready_path="/v1/models" if is_python else "/health",
        ready_needs_key=is_python,
        owns_port=True,
        is_embedding=bool(config["is_embedding"]),
        expected_layers=int(config["expected_layers"]),
        grace_seconds=float(config["grace"]),
    )
