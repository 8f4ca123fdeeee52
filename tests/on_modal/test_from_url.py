"""A model behind a plain URL, whose query is all that lets somebody in, served on Modal."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ggufctl.errors import AccessDenied, GgufctlError
from ggufctl.services.deployments import state_dir
from ggufctl.services.modal import plan_modal, serve_modal, switch_modal
from ggufctl.services.modal.ask import ask
from tests.ggufs import llama, whole
from tests.on_modal.conftest import NAME

SIGNATURE = "topsecret-signature"


class Store(BaseHTTPRequestHandler):
    """Answers who has the signature, and nobody else."""

    content = whole(*llama())
    asked = 0

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if query != f"sig={SIGNATURE}" or not path.endswith("/tiny-Q8_0.gguf"):
            self.send_response(403 if path.endswith(".gguf") else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        type(self).asked += 1
        size, found = len(self.content), re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        start, end = (int(found[1]), int(found[2] or size - 1) + 1) if found else (0, size)
        body = self.content[start : min(end, size)]
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()[:16]}"')
        if found:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def store(monkeypatch) -> Iterator[str]:
    """The address of the folder that the model lies in."""
    monkeypatch.setattr(Store, "content", Store.content)
    monkeypatch.setattr(Store, "asked", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/models"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def request_of_url(store, request_for):
    return request_for(model=f"{store}/tiny-Q8_0.gguf?sig={SIGNATURE}")


def on_the_volume(modal):
    (volume,) = modal.state.volumes.values()
    return volume.path


def test_it_is_fetched_by_a_container_without_a_gpu_and_served(modal, request_of_url, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_of_url, heard)

    assert (
        ask(f"{server.base_url}/models", {"Authorization": f"Bearer {server.key.value}"})[0] == 200
    )
    (path,) = on_the_volume(modal).glob("local/*/tiny-Q8_0.gguf")
    assert path.read_bytes() == Store.content
    (record,) = path.parent.glob(".ggufctl/*.json")
    assert json.loads(record.read_text())["sha256"] == hashlib.sha256(Store.content).hexdigest()
    (task,) = modal.tasks_of("download")
    assert task.gpu == ""
    kinds = [event.kind for event in heard]
    assert kinds.count("price") == 2 and kinds.index("download") > kinds.index("price")


def test_what_lets_somebody_in_is_nowhere_but_in_a_secret(modal, request_of_url, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_of_url, heard)

    assert modal.holds(SIGNATURE) == []
    holding = [s for s in modal.state.secrets.values() if SIGNATURE in str(s.env)]
    assert [(secret.name, list(secret.env)) for secret in holding] == [("", ["GGUFCTL_URLS"])]
    told = "\n".join(event.to_json() for event in heard)
    assert SIGNATURE not in told + repr(server.plan.urls) + json.dumps(server.spec.to_dict())
    volume = on_the_volume(modal)
    for path in volume.rglob("*"):
        assert SIGNATURE not in str(path)
        assert path.is_dir() or SIGNATURE.encode() not in path.read_bytes()
    kept = state_dir() / "modal" / f"{NAME}.json"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_it_is_switched_without_being_fetched_again(modal, request_of_url, heard):
    modal.faults.engine["*"] = "healthy"
    former = serve_modal(request_of_url, heard)
    server = switch_modal(NAME, ("H100",), heard)

    assert (server.url, server.spec.folder) == (former.url, former.spec.folder)
    assert len(modal.tasks_of("download")) == 1


def test_another_content_has_another_place(modal, request_of_url, monkeypatch):
    before = plan_modal(request_of_url).spec.folder
    monkeypatch.setattr(Store, "content", Store.content[:-1] + b"\x01")

    assert plan_modal(request_of_url).spec.folder != before


def test_without_its_signature_nothing_is_made(modal, store, request_for, heard):
    with pytest.raises(AccessDenied):
        serve_modal(request_for(model=f"{store}/tiny-Q8_0.gguf"), heard)

    assert modal.requests_of("AppCreate") == []


def test_a_link_that_ends_while_it_is_fetched_leaves_nothing(
    modal, request_of_url, heard, monkeypatch
):
    def end(event):
        heard(event)
        if event.kind == "price" and "container" in event.text:
            monkeypatch.setattr(Store, "content", b"")
            monkeypatch.setattr("tests.on_modal.test_from_url.SIGNATURE", "another")

    with pytest.raises(GgufctlError) as error:
        serve_modal(request_of_url, end)

    assert "topsecret" not in error.value.message + error.value.hint
    modal.assert_nothing_is_left()
    assert not [secret for secret in modal.state.secrets.values() if secret.name]
