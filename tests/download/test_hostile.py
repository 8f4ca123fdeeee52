"""What strangers and other processes do to downloads and to what is kept."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock

import serving
from fakehub import FakeFile, Fault
from ggufctl.core.stored import State
from ggufctl.errors import AccessDenied, InvalidGguf, RemoteError, UsageError
from ggufctl.remote import transfer as engine
from ggufctl.remote.layout import (
    FlatLayout,
    HubCacheLayout,
    Record,
    WantedFile,
    can_be_kept,
    is_whole,
    parse_record,
    read_record,
    write_record,
)
from ggufctl.remote.transfer import Job, transfer, verify
from ggufctl.services.download import choose_files, destination, download, plan_download
from ggufctl.services.models import open_store, prune, require_unserved
from tests.download.test_store import REPO, model

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def repo(hub):
    files = {f"Tiny-{quant}.gguf": model(n) for n, quant in enumerate(("Q8_0", "Q6_K", "Q4_K_M"))}
    return hub.add(REPO, files)


def begin(hub, quant: str, to: str = "local") -> None:
    """Leave the first 1000 bytes of a download."""
    name = f"Tiny-{quant}.gguf"
    hub.faults[name] = [Fault(drop_after=1000), Fault(status=403, at_hub=True)]
    with pytest.raises(AccessDenied):
        fetch(f"{REPO}:{quant}", to)


def fetch(ref: str, to: str = "local") -> tuple[str, ...]:
    place = destination(to)
    return download(plan_download(ref, place), place, lambda event: None)


def refuse(monkeypatch, number: int, under: Path) -> None:
    """Have the system refuse to make or replace anything under a folder."""
    replace, mkdir = os.replace, os.mkdir

    def check(target: object) -> None:
        if str(target).startswith(str(under)):
            raise OSError(number, os.strerror(number), str(target))

    def refused_replace(source, target):
        check(target)
        replace(source, target)

    def refused_mkdir(path, *args, **more):
        check(path)
        mkdir(path, *args, **more)

    monkeypatch.setattr(os, "replace", refused_replace)
    monkeypatch.setattr(os, "mkdir", refused_mkdir)


@pytest.mark.parametrize("to", ["local", "folder"])
def test_removing_one_begun_download_leaves_the_others_theirs(hub, repo, tmp_path, to):
    to = to if to == "local" else str(tmp_path / "to")
    begin(hub, "Q8_0", to)
    begin(hub, "Q6_K", to)
    store = open_store(to)
    gone = next(each for each in store.models() if each.quant == "Q6_K")

    store.remove([gone])

    (left,) = store.models()
    assert (left.quant, left.state, left.size_bytes) == ("Q8_0", State.INCOMPLETE, 1000)


@pytest.mark.parametrize("to", ["local", "folder"])
def test_what_is_being_downloaded_is_not_removed_under_it(hub, repo, tmp_path, to):
    to = to if to == "local" else str(tmp_path / "to")
    begin(hub, "Q8_0", to)
    store = open_store(to)
    (kept,) = store.models()
    place = destination(to)
    selection = plan_download(f"{REPO}:Q8_0", place).selection
    file = selection.files[0]
    lock = place.layout(selection).lock(WantedFile(file.path, file.size_bytes, file.sha256))

    with WeakFileLock(lock), pytest.raises(UsageError, match="being downloaded"):
        store.remove([kept])

    assert store.models() == (kept,)
    assert store.remove([kept]) == 1000


def test_what_is_being_served_is_not_removed(hub, repo, tmp_path, monkeypatch):
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(tmp_path / "state"))
    fetch(f"{REPO}:Q8_0")
    (path,) = fetch(f"{REPO}:Q6_K", str(tmp_path / "to"))
    serving.put("by-name", model=f"{REPO}:Q8_0")
    serving.put("by-path", model=path)
    local, folder = open_store("local"), open_store(str(tmp_path / "to"))

    with pytest.raises(UsageError, match="served as 'by-name'") as found:
        require_unserved(local, local.models())
    with pytest.raises(UsageError, match="served as 'by-path'"):
        require_unserved(folder, folder.models())

    assert found.value.hint.endswith("ggufctl stop by-name")
    serving.deployment("by-path", model=path, pid=0)
    fetch(f"{REPO}:Q4_K_M")
    require_unserved(local, [each for each in local.models() if each.quant == "Q4_K_M"])


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "\ud800", ".ggufctl/a.json"],
)
def test_names_that_lead_elsewhere_are_not_kept(tmp_path, path):
    assert not can_be_kept(path)
    assert not is_whole(FlatLayout(tmp_path), WantedFile(path, 1))


@pytest.mark.parametrize("path", ["a.gguf", "a b/c\nd.gguf", "..a/b..gguf", "%2e%2e/x", ".git/x"])
def test_odd_names_are_kept(path):
    assert can_be_kept(path)


@pytest.mark.parametrize("field", ["path", "repo", "commit"])
def test_a_record_that_leads_elsewhere_is_no_record(tmp_path, field):
    good = {"path": "a.gguf", "size_bytes": 1, "mtime_ns": 1, "repo": REPO, "commit": "c"}
    write_record(tmp_path / "good", Record(**good))
    write_record(tmp_path / "bad", Record(**{**good, field: "../../elsewhere"}))

    assert read_record(tmp_path / "good") is not None
    assert read_record(tmp_path / "bad") is None
    assert parse_record(b"[]") is None


def test_a_file_without_a_checksum_is_that_of_its_own_repository_alone(tmp_path):
    mine, other = (FlatLayout(tmp_path, repo, "c") for repo in ("acme/a", "acme/b"))
    file = WantedFile("m.gguf", 3)
    mine.final(file).write_bytes(b"abc")
    mtime_ns = mine.final(file).stat().st_mtime_ns
    write_record(
        mine.record(file),
        Record(path="m.gguf", size_bytes=3, mtime_ns=mtime_ns, repo="acme/a", commit="c"),
    )

    assert is_whole(mine, file)
    assert not is_whole(other, file)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_may_only_be_read_serves_and_verifies_what_is_there(
    hub, repo, cache, monkeypatch, number
):
    (path,) = fetch(f"{REPO}:Q8_0")
    layout = HubCacheLayout(cache, REPO, repo.commit, "main")
    file = WantedFile("Tiny-Q8_0.gguf", os.stat(path).st_size, repo.files["Tiny-Q8_0.gguf"].sha256)
    layout.record(file).unlink()
    layout.record(file).parent.rmdir()
    refuse(monkeypatch, number, cache)
    n_requests = len(hub.log)

    events = list(transfer(Job(files=(file,), layout=layout, endpoint=hub.url)))
    checked = [event.state for event in verify(layout, [file])]

    assert events[-1].state == "complete"
    assert checked[-1] == "verified"
    assert len(hub.log) == n_requests


def test_what_cannot_be_read_is_said_when_it_is_verified(tmp_path, monkeypatch):
    (tmp_path / "m.gguf").write_bytes(b"abc")

    def refused(*args):
        raise PermissionError(errno.EACCES, "Permission denied", "m.gguf")
        yield

    monkeypatch.setattr(engine, "_hashed", refused)

    with pytest.raises(AccessDenied, match="cannot be read"):
        list(verify(FlatLayout(tmp_path), [WantedFile("m.gguf", 3)]))


def test_wrong_content_leaves_no_trace_of_its_download(hub, repo, tmp_path):
    hub.faults["Tiny-Q8_0.gguf"] = [Fault(flip_at=1000) for _ in range(3)]

    with pytest.raises(InvalidGguf):
        fetch(f"{REPO}:Q8_0", str(tmp_path / "to"))

    left = {path.suffix for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert left <= {".lock"}


def test_a_branch_is_named_by_many_at_once(tmp_path):
    layout = HubCacheLayout(tmp_path, REPO, "c" * 40, "main")
    failed: list[OSError] = []

    def publish(seed: int) -> None:
        file = WantedFile(f"{seed}.gguf", 1, f"{seed:064x}")
        layout.content(file).parent.mkdir(parents=True, exist_ok=True)
        layout.content(file).write_bytes(b"x")
        try:
            for _ in range(20):
                (layout.folder / "refs" / "main").unlink(missing_ok=True)
                layout.publish(file)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=publish, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []


def test_a_link_frees_nothing_and_its_file_stays(tmp_path):
    real = tmp_path / "real.bin"
    real.write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "m-Q8_0.gguf").symlink_to(real)
    store = open_store(str(tmp_path / "to"))

    assert store.remove(store.models()) == 0
    assert real.exists()
    assert store.models() == ()


@pytest.mark.parametrize("name", ["https://host/x", "x" * 300, "file/x", "a\0b"])
def test_what_can_be_no_folder_is_refused_in_a_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")

    for called in (destination, open_store):
        with pytest.raises(UsageError):
            called(name)


def test_local_is_local_in_capitals_too():
    assert destination("LOCAL").name == open_store("Local").name == "local"


def test_a_gpu_that_does_not_exist_is_refused_also_with_a_named_quant(repo):
    with pytest.raises(UsageError, match="no GPU"):
        choose_files(f"{REPO}:Q8_0", gpu="NOPE")


def test_offline_what_is_not_cached_is_not_said_not_to_exist(repo, monkeypatch):
    fetch(f"{REPO}:Q8_0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(RemoteError, match="Offline mode is on"):
        choose_files(f"{REPO}:Q5_K_M")


def test_a_name_with_a_null_byte_is_refused_before_anything_is_asked(hub, tmp_path):
    hub.add("acme/Odd-GGUF", {"a\0b-Q8_0.gguf": FakeFile.whole(model(1).head)})

    with pytest.raises(UsageError, match="can be kept"):
        plan_download("acme/Odd-GGUF:Q8_0", destination(str(tmp_path / "to")))


def test_pruning_keeps_every_model_of_a_repository_that_holds_several(hub):
    names = ("Small-Q8_0", "Small-Q4_K_M", "Large-Q6_K", "Large-q4_k_m")
    hub.add("acme/Two-GGUF", {f"{name}.gguf": model(n) for n, name in enumerate(names)})
    for name in names:
        fetch(f"acme/Two-GGUF/{name}.gguf")

    found = prune(open_store("local"))

    assert {each.files[0].path for each in found.kept} == {"Small-Q8_0.gguf", "Large-Q6_K.gguf"}
    assert len(found.removed) == 2


@pytest.mark.parametrize("to", ["local", "folder"])
@pytest.mark.parametrize("letter", ["a", "ä"])
def test_a_name_as_long_as_a_disk_takes_is_fetched_continued_and_removed(hub, tmp_path, to, letter):
    name = letter * ((250 - len("sub-Q8_0")) // len(letter.encode())) + "-Q8_0.gguf"
    name = "m" * (255 - len(name.encode())) + name
    content = model(1)
    hub.add(REPO, {name: content})
    to = to if to == "local" else str(tmp_path / "to")
    hub.faults[name] = [Fault(drop_after=1000), Fault(status=403, at_hub=True)]
    with pytest.raises(AccessDenied):
        fetch(f"{REPO}/{name}", to)
    hub.faults.clear()
    sent = hub.n_file_bytes()

    (path,) = fetch(f"{REPO}/{name}", to)

    assert len(name.encode()) == 255
    assert Path(path).read_bytes() == content.head
    assert hub.n_file_bytes() - sent < content.size + (4 << 10)
    store = open_store(to)
    (kept,) = store.models()
    assert kept.state is State.VERIFIED
    store.remove([kept])
    assert store.models() == ()


@pytest.mark.parametrize("to", ["local", "folder"])
def test_a_name_longer_than_a_disk_takes_is_no_question_of_access(hub, tmp_path, to):
    name = "m" * 251 + ".gguf"
    hub.add(REPO, {name: model(1)})

    with pytest.raises(UsageError, match="its name is too long for the disk"):
        fetch(f"{REPO}/{name}", to if to == "local" else str(tmp_path / "to"))

    assert hub.n_file_bytes() < model(1).size
