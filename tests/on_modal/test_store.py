"""The models on the Volume: fetched by a container, listed, hashed again, and taken away."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from fakehub import FakeFile
from ggufctl import modal_app
from ggufctl.core.deployment import VOLUME_NAME, WeightFile, Weights
from ggufctl.core.selection import SelectedFile, Selection
from ggufctl.core.stored import State
from ggufctl.errors import AccessDenied, DoesNotFit, InvalidGguf, RemoteError, UsageError
from ggufctl.services.modal import serve_modal, weights
from ggufctl.services.modal.store import modal_destination, modal_store
from ggufctl.services.modal.weights import MAX_FILE_BYTES, container_price, download_weights
from tests.ggufs import llama, whole

REPO = "org/sharded-GGUF"
SHARDS = ("m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf")


class Events(list[Mapping[str, Any]]):
    """What a transfer said."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.append(event)

    def states(self, file: str) -> list[str]:
        return [event["state"] for event in self if event["file"] == file]


@pytest.fixture
def events() -> Events:
    return Events()


def content(seed: int, n_bytes: int = 300_000) -> bytes:
    block = hashlib.sha256(b"%d" % seed).digest()
    return (block * (n_bytes // len(block) + 1))[:n_bytes]


def publish(hub, files: Mapping[str, bytes], repo: str = REPO) -> Selection:
    """A repository with these files, and the choice of all of them."""
    made = {path: FakeFile.whole(data) for path, data in files.items()}
    found = hub.add(repo, made)
    selected = tuple(SelectedFile(p, len(f.head), f.sha256) for p, f in made.items())
    return Selection(f"{repo}:Q8_0", repo, found.commit, "main", "Q8_0", selected)


@pytest.fixture
def sharded(hub) -> Selection:
    return publish(hub, {path: content(i) for i, path in enumerate(SHARDS)})


def volume_of(modal):
    (volume,) = modal.state.volumes.values()
    return volume


def test_a_download_brings_every_shard_and_says_so(modal, sharded, events):
    place = modal_destination()
    before = place.missing(sharded)
    paths = place.fetch(sharded, events)

    assert [file.path for file in before] == list(SHARDS)
    assert place.missing(sharded) == ()
    assert [path.rpartition("/")[2] for path in paths] == list(SHARDS)
    for file in sharded.files:
        data = (volume_of(modal).path / paths[0].lstrip("/")).with_name(file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256
        assert events.states(file.path)[-1] == "complete"
    (task,) = modal.tasks_of("download")
    assert task.gpu == ""
    assert events[-1]["all_done_bytes"] == events[-1]["all_bytes"] == sharded.size_bytes
    modal.assert_nothing_is_left()


def test_what_is_there_is_not_asked_for_again(modal, hub, sharded, events):
    place = modal_destination()
    place.fetch(sharded, events)
    n_bytes, n_tasks = hub.n_file_bytes(), len(modal.state.tasks)
    modal.records.clear()

    assert place.missing(sharded) == ()
    assert len(modal.requests_of("VolumeListFiles2")) == 1
    place.fetch(sharded, events)
    assert (hub.n_file_bytes(), len(modal.state.tasks)) == (n_bytes, n_tasks)


def test_a_container_that_is_killed_loses_nothing_it_had_kept(modal, hub, events):
    size = 6 << 20
    wanted = publish(hub, {"m-Q8_0.gguf": content(1, size)})
    hub.seconds_per_chunk = 0.02
    place = modal_destination()
    killed = threading.Event()

    def kill(event: Mapping[str, Any]) -> None:
        events(event)
        if event["state"] == "progress" and event["done_bytes"] > 1 << 20 and not killed.is_set():
            killed.set()
            (task,) = modal.live_tasks()
            os.killpg(task.process.pid, signal.SIGKILL)

    with pytest.raises(RemoteError) as error:
        place.fetch(wanted, kill)
    assert "run it again" in error.value.hint
    modal.assert_nothing_is_left()
    assert [f.path for f in place.missing(wanted)] == ["m-Q8_0.gguf"]
    left = place.bytes_to_come(wanted)
    assert left <= size - (1 << 20)
    (half,) = modal_store().models()
    assert half.state is State.INCOMPLETE

    hub.seconds_per_chunk = 0.0
    n_before = hub.n_sent
    place.fetch(wanted, events)

    assert place.missing(wanted) == ()
    assert hub.n_sent - n_before <= left + (1 << 16)
    (model,) = modal_store().models()
    assert (model.state, model.size_bytes) == (State.VERIFIED, size)


def test_two_downloads_at_once_fetch_once(modal, hub, sharded, monkeypatch):
    monkeypatch.setattr(weights, "WAIT_SECONDS", 0.2)
    hub.seconds_per_chunk = 0.1
    heard = [Events(), Events()]
    failed = []

    def fetch(events: Events) -> None:
        try:
            modal_destination().fetch(sharded, events)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=fetch, args=(events,)) for events in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failed == []
    assert modal_destination().missing(sharded) == ()
    assert hub.n_sent <= sharded.size_bytes + (1 << 16)
    assert any("waiting" in events.states(SHARDS[0]) for events in heard)
    modal.assert_nothing_is_left()


def test_half_a_file_is_never_taken_for_a_model(modal, hub, sharded, events):
    place = modal_destination()
    place.fetch(sharded, events)
    (path, *_) = place.fetch(sharded, events)
    (volume_of(modal).path / path.lstrip("/")).write_bytes(b"GGUF")

    assert [file.path for file in place.missing(sharded)] == [SHARDS[0]]


def test_a_download_of_something_else_is_refused_by_its_hash(modal, hub, sharded, events):
    hub.repos[REPO].files[SHARDS[1]].head = content(99)
    with pytest.raises(InvalidGguf):
        modal_destination().fetch(sharded, events)

    assert SHARDS[1] in [file.path for file in modal_destination().missing(sharded)]
    modal.assert_nothing_is_left()


def test_refusals_of_the_hub_cross_the_container_as_they_are(modal, hub, sharded, events):
    hub.repos[REPO].token = "hf_somebodyElses"
    with pytest.raises(AccessDenied) as error:
        modal_destination().fetch(sharded, events)

    assert error.value.exit_code == 4
    modal.assert_nothing_is_left()


def test_the_store_lists_what_lies_there_with_its_price(modal, hub, sharded, events):
    assert modal_store().models() == ()
    assert modal.state.volumes == {}
    modal_destination().fetch(sharded, events)
    (model,) = modal_store().models()

    assert (model.repo, model.commit, model.quant) == (REPO, sharded.commit, "Q8_0")
    assert [file.path for file in model.files] == list(SHARDS)
    assert model.state is State.VERIFIED
    assert model.size_bytes == sharded.size_bytes
    assert model.usd_per_month > 0
    assert model.downloaded is not None and model.last_used is None


def test_what_is_served_has_been_used_and_is_not_taken_away(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(), heard)
    store = modal_store()
    (model,) = store.models()

    assert model.last_used is not None
    assert (model.repo, model.state) == ("", State.UNVERIFIED)
    with pytest.raises(UsageError) as error:
        store.remove([model])
    assert server.spec.name in error.value.message
    assert store.models() == (model,)


def test_hashing_again_finds_what_was_changed(modal, hub, sharded, events):
    place = modal_destination()
    path, _ = place.fetch(sharded, events)
    file = volume_of(modal).path / path.lstrip("/")
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    stat = file.stat()
    file.write_bytes(bytes(data))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    store = modal_store()
    (checked,) = store.verify(store.models(), events)

    assert [f.state for f in checked.files] == [State.DIFFERS, State.VERIFIED]
    assert [f.path for f in place.missing(sharded)] == [SHARDS[0]]
    assert [task.gpu for task in modal.tasks_of("verify")] == [""]


def test_uploads_have_nothing_to_be_held_against(modal, request_for, tiny, events):
    upload = Weights(files=(WeightFile(tiny.name, tiny.stat().st_size),))
    modal_app.upload(upload, {tiny.name: tiny})
    store = modal_store()
    (checked,) = store.verify(store.models(), events)

    assert checked.state is State.UNVERIFIED
    assert events.states(tiny.name)[-1] == "unverified"


def test_only_what_is_named_is_taken_away(modal, hub, events):
    chosen = publish(hub, {"a-Q8_0.gguf": content(1), "a-Q4_K_M.gguf": content(2)})
    place, store = modal_destination(), modal_store()
    place.fetch(chosen, events)
    large, small = sorted(store.models(), key=lambda model: model.quant, reverse=True)

    assert store.remove([large]) == store.freed_by([large]) == large.size_bytes
    assert store.models() == (small,)
    assert [file.path for file in place.missing(chosen)] == ["a-Q8_0.gguf"]
    store.remove([small])
    assert store.models() == ()
    assert not [path for path in volume_of(modal).path.rglob("*") if path.is_file()]


def test_a_file_that_no_volume_takes_is_refused_before_anything(modal, hub, sharded):
    huge = WeightFile("x.gguf", MAX_FILE_BYTES)
    with pytest.raises(DoesNotFit):
        download_weights(Weights(files=(huge,), repo=REPO, commit=sharded.commit), print)

    assert modal.state.tasks == {}


def test_a_changed_file_of_this_machine_is_uploaded_again(modal, request_for, tiny, heard):
    modal.faults.engine["*"] = "healthy"
    first = serve_modal(request_for(), heard).spec
    tiny.write_bytes(whole(*llama()))
    os.utime(tiny, ns=(1, 1))
    second = serve_modal(request_for(name="other"), heard).spec

    assert first.folder != second.folder


def test_the_price_of_fetching_is_said_before(modal, sharded):
    text = modal_destination().price(sharded.size_bytes).text

    assert "per hour" in text and "per month" in text
    large = modal_destination().price(37_000_000_000)
    assert container_price(37_000_000_000) in large.text
    assert large.usd == pytest.approx(large.usd_per_hour * 400 / 3600)
    assert large.usd_per_month > 0
    assert modal_destination().price(0) is None


def test_without_a_token_nothing_is_done(modal, monkeypatch):
    from modal.client import _Client

    monkeypatch.delenv("MODAL_TOKEN_ID")
    monkeypatch.delenv("MODAL_TOKEN_SECRET")
    monkeypatch.setattr(_Client, "_client_from_env", None)
    for act in (modal_store, modal_destination):
        with pytest.raises(AccessDenied):
            act()
    assert modal.records == []
    assert VOLUME_NAME not in [volume.name for volume in modal.state.volumes.values()]
