"""The real Modal client against our stand-in of its API; the state of the stand-in is the judge."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ggufs import llama, whole

os.environ.update(
    MODAL_CONFIG_PATH=os.devnull, MODAL_TOKEN_ID="ak-test", MODAL_TOKEN_SECRET="as-test"
)
for _name in ("MODAL_PROFILE", "MODAL_ENVIRONMENT", "MODAL_KEY", "MODAL_SECRET"):
    os.environ.pop(_name, None)

from modal import Client  # noqa: E402  # it reads the environment
from openai import OpenAI  # noqa: E402

from ggufctl.core.runtime import Runtime  # noqa: E402  # Modal's client reads the environment
from ggufctl.modal_app import logs  # noqa: E402
from ggufctl.remote.supervisor import Event  # noqa: E402
from ggufctl.services.modal import ModalRequest, ModalServer  # noqa: E402
from tests.modal_standin.server import StandIn  # noqa: E402

NAME = "tiny"


@pytest.fixture(scope="session")
def running_standin() -> Iterator[StandIn]:
    folder = Path(tempfile.mkdtemp(prefix="gm"))
    try:
        with StandIn(folder) as running:
            os.environ["MODAL_SERVER_URL"] = running.url
            yield running
            # Its connections would outlive the server's end of them.
            Client.from_env().close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def modal(running_standin: StandIn) -> Iterator[StandIn]:
    """Modal with nothing in it; every RPC that a test makes must be one that it knows."""
    running_standin.reset()
    yield running_standin
    unknown = list(running_standin.state.unimplemented)
    running_standin.reset()
    assert unknown == []


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start with nothing to load would spend most of its time on leaving the log."""
    monkeypatch.setattr(logs, "IDLE_STREAM_SECONDS", 0.4)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small model file: the fake engine does not read it."""
    path = tmp_path / "tiny-Q8_0.gguf"
    path.write_bytes(whole(*llama()))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def streamed_chat(server: ModalServer) -> str:
    """What a server says in a streamed chat that the official client asks with our key."""
    assert server.key is not None
    client = OpenAI(base_url=server.base_url, api_key=server.key.value, max_retries=0, timeout=300)
    stream = client.chat.completions.create(
        model=server.spec.alias,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=8,
        stream=True,
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


@pytest.fixture
def request_for(tiny: Path) -> Callable[..., ModalRequest]:
    """A request for the small model, on a port of its own."""

    def make(**changes: Any) -> ModalRequest:
        values: dict[str, Any] = {
            "model": str(tiny),
            "name": NAME,
            "n_ctx": 512,
            "runtime": Runtime(n_parallel=2),
            "port": free_port(),
        }
        return ModalRequest(**{**values, **changes})

    return make


class Heard(list[Event]):
    """Events, in order."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: str) -> list[str]:
        return [event.text for event in self if event.kind == kind]


@pytest.fixture
def heard() -> Heard:
    return Heard()
