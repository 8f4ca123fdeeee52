"""The download engine, the real Hub client under it, against a Hub that misbehaves."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehub import FakeFile, Fault
from ggufctl.errors import AccessDenied, DoesNotFit, InvalidGguf, ModelNotFound, RemoteError
from ggufctl.remote import transfer as engine
from ggufctl.remote.layout import (
    FlatLayout,
    HubCacheLayout,
    Record,
    WantedFile,
    is_whole,
    parse_record,
    read_record,
    write_record,
)
from ggufctl.remote.transfer import Job, TransferEvent, transfer

SIZE = 3 << 20
NAMES = ("m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf")
REPO = "acme/m-GGUF"


def content(seed: int, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(engine, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def repo(hub):
    files = {name: FakeFile.whole(content(i)) for i, name in enumerate(NAMES)}
    return hub.add(REPO, files)


def wanted(repo) -> tuple[WantedFile, ...]:
    return tuple(WantedFile(p, f.size, f.sha256) for p, f in repo.files.items())


@pytest.fixture(params=["flat", "cache"])
def layout(request, tmp_path, repo):
    if request.param == "flat":
        return FlatLayout(tmp_path / "to", REPO, repo.commit)
    return HubCacheLayout(tmp_path / "hub", REPO, repo.commit, "main")


@pytest.fixture
def job(hub, repo, layout):
    return Job(files=wanted(repo), layout=layout, endpoint=hub.url, interval_seconds=0)


def fetch(job: Job) -> list[TransferEvent]:
    return list(transfer(job))


def states(events: list[TransferEvent]) -> set[str]:
    return {event.state for event in events}


def assert_whole(job: Job, repo) -> None:
    for file in job.files:
        assert job.layout.final(file).read_bytes() == repo.files[file.path].head
        assert is_whole(job.layout, file)
        assert not job.layout.partial(file).exists()


def file_requests(hub, path: str):
    return [r for r in hub.log if path in r.path and "/api/" not in r.path]


def content_requests(hub, path: str):
    return [r for r in file_requests(hub, path) if r.on_cdn]


def test_every_file_arrives_whole_and_is_recorded(hub, repo, job):
    events = fetch(job)

    assert_whole(job, repo)
    assert sum(event.state == "complete" for event in events) == 3
    last = events[-1]
    assert last.all_done_bytes == last.all_bytes == 3 * SIZE
    record = read_record(job.layout.record(job.files[0]))
    assert record is not None
    assert (record.sha256, record.repo, record.commit) == (job.files[0].sha256, REPO, repo.commit)


def test_what_is_there_is_neither_asked_for_nor_hashed_again(hub, job, monkeypatch):
    fetch(job)
    n_requests = len(hub.log)
    # Content that the record does not know of would be seen by nothing but a hash.
    final = job.layout.final(job.files[0])
    stat = final.stat()
    with open(final, "r+b") as file:
        file.write(b"\0")
    os.utime(final, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    events = fetch(job)

    assert states(events) == {"present"}
    assert len(hub.log) == n_requests


def test_a_file_that_changed_since_is_hashed_and_fetched_again(hub, repo, job):
    fetch(job)
    final = job.layout.final(job.files[1])
    os.chmod(final, 0o644)
    with open(final, "r+b") as file:
        file.write(b"spoilt")

    events = fetch(job)

    assert_whole(job, repo)
    assert {e.file for e in events if e.state == "started"} == {NAMES[1]}


def test_a_file_that_lost_its_record_is_hashed_once_and_not_fetched(hub, repo, job):
    fetch(job)
    n_bytes = hub.n_file_bytes()
    for file in job.files:
        job.layout.record(file).unlink()

    first, second = fetch(job), fetch(job)

    assert "complete" in states(first)
    assert states(second) == {"present"}
    assert hub.n_file_bytes() == n_bytes


def test_a_lost_connection_goes_on_where_it_was(hub, repo, job):
    hub.faults[NAMES[1]] = [Fault(drop_after=1 << 20), Fault(drop_after=5000), Fault(status=500)]

    events = fetch(job)

    assert_whole(job, repo)
    assert any("connection" in e.text for e in events if e.state == "retry")
    asked = content_requests(hub, NAMES[1])
    assert asked[0].range == ""
    assert all(request.range.startswith("bytes=") for request in asked[1:])
    assert sum(request.n_bytes for request in asked) <= SIZE + (128 << 10)


@pytest.mark.parametrize("at_hub", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=429, headers={"RateLimit": '"api";r=0;t=0'}),
        Fault(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault(status=500),
        Fault(status=503),
    ],
)
def test_what_passes_is_tried_again(hub, repo, job, fault, at_hub):
    hub.faults[NAMES[0]] = [
        Fault(status=fault.status, headers=fault.headers, at_hub=at_hub) for _ in range(2)
    ]

    events = fetch(job)

    assert_whole(job, repo)
    said = [event.text for event in events if event.state == "retry"]
    assert len(said) == 2
    assert str(fault.status) in said[0]
    if fault.headers:
        assert "again in 0 s" in said[0]


def test_a_server_that_fails_for_ever_is_given_up(hub, repo, job):
    hub.faults[NAMES[0]] = [Fault(status=429, headers={"Retry-After": "0"}) for _ in range(50)]

    with pytest.raises(RemoteError) as error:
        fetch(job)

    assert "too many requests" in error.value.message
    assert len(content_requests(hub, NAMES[0])) == engine.MAX_TRIES


def test_a_server_that_asks_to_wait_for_an_hour_is_not_waited_for(hub, job):
    hub.faults[NAMES[0]] = [Fault(status=429, headers={"Retry-After": "3600"})]

    with pytest.raises(RemoteError) as error:
        fetch(job)

    assert "3600 seconds" in error.value.message


def test_another_length_is_refused(hub, repo, job):
    hub.faults[NAMES[2]] = [Fault(size=SIZE - 7) for _ in range(50)]

    with pytest.raises(InvalidGguf) as error:
        fetch(job)

    assert f"{SIZE - 7} bytes" in error.value.message
    assert not job.layout.final(job.files[2]).exists()


def test_another_length_once_is_mended(hub, repo, job):
    hub.faults[NAMES[2]] = [Fault(size=SIZE + 7)]

    fetch(job)

    assert_whole(job, repo)


def test_other_content_never_gets_the_name(hub, repo, job):
    hub.faults[NAMES[0]] = [Fault(flip_at=70_000)]

    with pytest.raises(InvalidGguf) as error:
        fetch(job)

    assert "sha256 differs" in error.value.message
    assert not job.layout.final(job.files[0]).exists()
    assert not job.layout.partial(job.files[0]).exists()
    fetch(job)
    assert_whole(job, repo)


def test_a_spoilt_part_is_found_out_and_fetched_anew(hub, repo, job):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 100_000)

    events = fetch(job)

    assert_whole(job, repo)
    assert any("spoilt" in event.text for event in events)


@pytest.mark.parametrize("n_bytes", [1, 1 << 20, SIZE - 1, SIZE])
def test_a_part_is_continued(hub, repo, job, n_bytes):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content(0)[:n_bytes])

    fetch(job)

    assert_whole(job, repo)
    assert sum(r.n_bytes for r in content_requests(hub, NAMES[0])) == SIZE - n_bytes


def test_a_part_longer_than_the_file_is_forgotten(hub, repo, job):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * (SIZE + 1))

    fetch(job)

    assert_whole(job, repo)


def test_a_server_that_ignores_ranges_sends_the_whole_again(hub, repo, job):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"y" * 1_000_000)
    hub.ignore_range = True

    fetch(job)

    assert_whole(job, repo)


def test_a_range_that_is_refused_starts_from_nothing(hub, repo, job):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content(0)[:500_000])
    hub.faults[NAMES[0]] = [Fault(status=416)]

    fetch(job)

    assert_whole(job, repo)


def test_a_large_file_is_asked_for_in_parts(hub, repo, job, monkeypatch):
    monkeypatch.setattr(engine, "MAX_HTTP_BYTES", 2 << 20)

    fetch(job)

    assert_whole(job, repo)
    assert [r.range for r in content_requests(hub, NAMES[0])] == [
        f"bytes=0-{(2 << 20) - 1}",
        f"bytes={2 << 20}-{SIZE - 1}",
    ]


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, tmp_path):
    secret = "hf_" + "s" * 20
    repo = hub.add("acme/gated", {"g.gguf": FakeFile.whole(content(7))}, token=secret)
    layout = FlatLayout(tmp_path, repo.name, repo.commit)
    job = Job(files=wanted(repo), layout=layout, endpoint=hub.url, token=secret)

    fetch(job)

    asked = file_requests(hub, "g.gguf")
    assert [(r.on_cdn, r.is_authorized) for r in asked] == [(False, True), (True, False)]
    assert secret not in repr(job)
    assert not any(secret in p.read_text("latin-1") for p in tmp_path.rglob("*") if p.is_file())


def test_a_renamed_repository_is_followed_with_the_token(hub, tmp_path):
    repo = hub.add("new/name", {"g.gguf": FakeFile.whole(content(7))}, token="hf_good")
    hub.renamed["old/name"] = "new/name"
    layout = FlatLayout(tmp_path, "old/name", repo.commit)

    fetch(Job(files=wanted(repo), layout=layout, endpoint=hub.url, token="hf_good"))

    assert (tmp_path / "g.gguf").read_bytes() == content(7)


@pytest.mark.parametrize(
    ("options", "token", "kind", "words"),
    [
        ({"token": "hf_good"}, "", AccessDenied, "is gated."),
        ({"token": "hf_good"}, "hf_other", AccessDenied, "was not let in"),
        ({"token": "hf_good"}, "hf_bad", AccessDenied, "refuses the token"),
        ({"private": True, "token": "hf_good"}, "", ModelNotFound, "There is no repository"),
        ({"disabled": True}, "", AccessDenied, "disabled"),
        ({"revisions": ()}, "", ModelNotFound, "no such file"),
    ],
)
def test_what_may_not_be_had_is_said_in_a_sentence_of_its_own(
    hub, tmp_path, options, token, kind, words
):
    repo = hub.add("acme/closed", {"g.gguf": FakeFile.whole(content(7))}, **options)
    files = wanted(repo)
    if not options.get("token") and not options.get("disabled"):
        files = (WantedFile("other.gguf", 5, "0" * 64),)
    layout = FlatLayout(tmp_path, repo.name, repo.commit)

    with pytest.raises(kind) as error:
        fetch(Job(files=files, layout=layout, endpoint=hub.url, token=token))

    assert words in error.value.message


def test_a_dead_port_is_said_after_some_tries(tmp_path):
    layout = FlatLayout(tmp_path, REPO, "0" * 40)
    job = Job(
        files=(WantedFile("a.gguf", 5, "0" * 64),), layout=layout, endpoint="http://127.0.0.1:9"
    )

    with pytest.raises(RemoteError) as error:
        fetch(job)

    assert "cannot be had" in error.value.message


def test_there_must_be_room_before_the_first_byte(hub, job):
    full = Job(files=job.files, layout=job.layout, endpoint=hub.url, room_bytes=3 * SIZE - 1)

    with pytest.raises(DoesNotFit) as error:
        fetch(full)

    assert str(3 * SIZE) in error.value.message
    assert not hub.log


def test_what_is_there_in_part_needs_less_room(hub, repo, job):
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content(0)[:1000])

    fetch(Job(files=job.files, layout=job.layout, endpoint=hub.url, room_bytes=3 * SIZE - 1000))

    assert_whole(job, repo)


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
from pathlib import Path
from ggufctl.errors import DoesNotFit
from ggufctl.remote.transfer import FlatLayout, Job, WantedFile, transfer
endpoint, folder, repo, commit, path, size, sha = sys.argv[1:]
layout = FlatLayout(Path(folder), repo, commit)
try:
    for event in transfer(Job(
        files=(WantedFile(path, int(size), sha),), layout=layout, endpoint=endpoint
    )):
        pass
except DoesNotFit as error:
    print(error.message)
"""


def test_a_full_disk_keeps_what_is_there_and_the_next_run_goes_on(hub, repo, tmp_path):
    file = wanted(repo)[0]
    layout = FlatLayout(tmp_path, REPO, repo.commit)

    words = (file.path, str(file.size_bytes), str(file.sha256))
    found = subprocess.run(
        [sys.executable, "-c", FULL, hub.url, str(tmp_path), REPO, repo.commit, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert f"lacks {SIZE - 2_000_000} of its {SIZE} bytes" in found.stdout
    assert not layout.final(file).exists()
    assert layout.partial(file).stat().st_size == 2_000_000
    fetch(Job(files=(file,), layout=layout, endpoint=hub.url))
    assert layout.final(file).read_bytes() == content(0)
    sent = content_requests(hub, file.path)
    assert sent[-1].range == f"bytes=2000000-{SIZE - 1}"


def test_two_downloads_at_once_fetch_each_file_once(hub, repo, job):
    hub.seconds_per_chunk = 0.002
    failures: list[BaseException] = []

    def run() -> None:
        try:
            fetch(job)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert_whole(job, repo)
    assert hub.n_file_bytes() == 3 * SIZE


def test_ending_the_iteration_ends_the_download_and_another_goes_on(hub, repo, job):
    hub.seconds_per_chunk = 0.005
    running = transfer(job)
    for event in running:
        if event.state == "progress" and event.all_done_bytes > 1 << 20:
            break
    running.close()
    hub.seconds_per_chunk = 0

    n_before = len(hub.log)
    fetch(job)

    assert_whole(job, repo)
    again = [r for r in hub.log[n_before:] if r.on_cdn]
    assert sum(r.n_bytes for r in again) < 3 * SIZE - (1 << 20)


def test_the_cache_is_one_that_the_hub_client_made(hub, repo, tmp_path):
    from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

    layout = HubCacheLayout(tmp_path / "hub", REPO, repo.commit, "main")
    fetch(Job(files=wanted(repo), layout=layout, endpoint=hub.url))
    n_requests = len(hub.log)

    path = hf_hub_download(
        REPO, NAMES[0], revision=repo.commit, cache_dir=layout.root, endpoint=hub.url
    )
    found = scan_cache_dir(layout.root)

    assert len(hub.log) == n_requests
    assert Path(path).read_bytes() == content(0)
    assert try_to_load_from_cache(REPO, NAMES[1], cache_dir=layout.root) is not None
    assert not found.warnings
    (cached,) = found.repos
    (revision,) = cached.revisions
    assert (cached.repo_id, revision.commit_hash, revision.refs) == (
        REPO,
        repo.commit,
        frozenset({"main"}),
    )
    assert cached.size_on_disk == 3 * SIZE


def test_what_the_hub_client_fetched_is_hashed_and_taken(hub, repo, tmp_path):
    from huggingface_hub import hf_hub_download

    layout = HubCacheLayout(tmp_path / "hub", REPO, repo.commit)
    hf_hub_download(REPO, NAMES[0], cache_dir=layout.root, endpoint=hub.url)
    before = hub.n_file_bytes()
    job = Job(files=wanted(repo)[:1], layout=layout, endpoint=hub.url)

    events = fetch(job)

    assert_whole(job, repo)
    assert "complete" in states(events)
    assert hub.n_file_bytes() == before


def test_another_revision_with_the_same_content_costs_no_byte(hub, repo, tmp_path):
    layout = HubCacheLayout(tmp_path / "hub", REPO, repo.commit)
    fetch(Job(files=wanted(repo), layout=layout, endpoint=hub.url))
    before = len(hub.log)
    other = HubCacheLayout(tmp_path / "hub", REPO, "f" * 40)

    fetch(Job(files=wanted(repo), layout=other, endpoint=hub.url))

    assert other.final(wanted(repo)[0]).read_bytes() == content(0)
    assert len(hub.log) == before


def test_a_small_file_of_the_repository_itself_goes_through_the_client(hub, tmp_path):
    repo = hub.add("acme/small", {"a.gguf": b"GGUF" * 100})
    files = (WantedFile("a.gguf", 400),)
    layout = HubCacheLayout(tmp_path / "hub", repo.name, repo.commit)
    job = Job(files=files, layout=layout, endpoint=hub.url)

    first, second = fetch(job), fetch(job)

    assert layout.final(files[0]).read_bytes() == b"GGUF" * 100
    assert "complete" in states(first)
    assert states(second) == {"present"}


def test_a_file_behind_a_url_is_continued_while_its_etag_stays(hub, tmp_path):
    hub.plain["a.gguf"] = FakeFile.whole(content(3))
    url = f"{hub.url}/plain/a.gguf"
    etag = f'"{hub.plain["a.gguf"].sha256}"'
    file = WantedFile("a.gguf", SIZE, url=url, etag=etag)
    layout = FlatLayout(tmp_path)
    hub.faults["a.gguf"] = [Fault(drop_after=2 << 20)]

    fetch(Job(files=(file,), layout=layout))

    assert layout.final(file).read_bytes() == content(3)
    assert [r.range for r in hub.log] == ["", f"bytes={2 << 20}-{SIZE - 1}"]


def test_a_file_behind_a_url_that_changed_is_fetched_from_the_start(hub, tmp_path):
    hub.plain["a.gguf"] = FakeFile.whole(content(3))
    url = f"{hub.url}/plain/a.gguf"
    layout = FlatLayout(tmp_path)
    file = WantedFile("a.gguf", SIZE, url=url)
    partial = layout.partial(file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"old" * 1000)
    partial.with_name(partial.name + ".etag").write_text('"another"')

    fetch(Job(files=(file,), layout=layout))

    assert layout.final(file).read_bytes() == content(3)


@pytest.mark.parametrize("path", ["../a.gguf", "/a.gguf", "a/../../b.gguf", "", "a//b"])
def test_no_name_leads_out_of_the_folder(tmp_path, path):
    job = Job(files=(WantedFile(path, 1, "0" * 64),), layout=FlatLayout(tmp_path))

    with pytest.raises(Exception, match="not the name of a file"):
        fetch(job)


@given(cut=st.integers(0, 400), junk=st.binary(max_size=30))
def test_a_record_cut_or_followed_by_anything_means_not_verified(tmp_path_factory, cut, junk):
    path = tmp_path_factory.mktemp("r") / "record.json"
    record = Record(path="a", size_bytes=1, mtime_ns=2, sha256="ab", repo="o/n", commit="c")
    write_record(path, record)
    raw = path.read_bytes()

    assert parse_record(raw) == record
    assert parse_record(raw[: min(cut, len(raw) - 1)]) is None
    assert parse_record(junk) is None


def test_verify_finds_what_differs_and_what_is_gone(hub, repo, job):
    fetch(job)
    with open(job.layout.content(job.files[0]), "r+b") as file:
        file.write(b"spoilt")
    job.layout.content(job.files[1]).unlink()

    found = {e.file: e.state for e in engine.verify(job.layout, job.files)}

    assert found == dict(zip(NAMES, ("differs", "missing", "verified"), strict=True))
    assert not is_whole(job.layout, job.files[0])
    assert hashlib.sha256(job.layout.final(job.files[2]).read_bytes()).hexdigest() == (
        job.files[2].sha256
    )


def test_what_is_in_xet_storage_is_left_to_the_hub_client(hub, repo, job):
    hub.says_xet = True

    events = fetch(job)

    assert_whole(job, repo)
    assert not job.layout.staging(job.files[0]).exists()
    assert [r.method for r in file_requests(hub, NAMES[0])][:2] == ["GET", "HEAD"]
    for file in job.files:
        done = [e.done_bytes for e in events if e.file == file.path]
        assert done == sorted(done)
        assert done[-1] == SIZE
    assert os.environ["HF_XET_HIGH_PERFORMANCE"] == "1"


def test_what_was_begun_by_range_goes_on_by_range_also_in_xet_storage(hub, repo, job):
    hub.says_xet = True
    partial = job.layout.partial(job.files[0])
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content(0)[:1_000_000])

    fetch(job)

    assert_whole(job, repo)
    (asked,) = content_requests(hub, NAMES[0])
    assert asked.range == f"bytes=1000000-{SIZE - 1}"


@pytest.mark.parametrize(
    "fault", [Fault(flip_at=9), Fault(status=500), Fault(size=SIZE - 1)], ids=["flip", "500", "cut"]
)
def test_what_the_client_brings_from_xet_is_checked_and_tried_again(hub, repo, job, fault):
    hub.says_xet = True
    hub.faults[NAMES[0]] = [fault]
    staging = job.layout.staging(job.files[0])
    staging.mkdir(parents=True)
    (staging / "left-by-a-killed-client").write_bytes(b"x")

    if fault.flip_at >= 0:
        with pytest.raises(InvalidGguf, match="sha256 differs"):
            fetch(job)
    fetch(job)

    assert_whole(job, repo)
    assert not staging.exists()


def test_a_part_of_another_content_is_not_kept(hub, repo, tmp_path):
    layout = FlatLayout(tmp_path, REPO, repo.commit)
    old = layout.partial(WantedFile(NAMES[0], 5, "0" * 64))
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    unrelated = layout.partial(WantedFile(f"x{NAMES[0]}", 5, "0" * 64))
    unrelated.write_bytes(b"kept")

    fetch(Job(files=wanted(repo)[:1], layout=layout, endpoint=hub.url))

    assert not old.exists()
    assert unrelated.exists()


def test_a_folder_that_may_only_be_read_serves_what_is_whole(hub, repo, tmp_path, monkeypatch):
    layout = FlatLayout(tmp_path, REPO, repo.commit)
    job = Job(files=wanted(repo)[:1], layout=layout, endpoint=hub.url)
    layout.final(job.files[0]).write_bytes(content(0))
    real = os.replace

    def refuse(source, target):
        if str(target).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)

    events = fetch(job)

    assert states(events) == {"complete"} or states(events) == {"verifying", "complete"}
    assert not file_requests(hub, NAMES[0])
