"""What is kept on this machine: the Hub's cache, folders, and what came from URLs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir

import ggufs
from fakehub import FakeFile, Fault
from ggufctl.core.stored import State
from ggufctl.errors import (
    AccessDenied,
    AmbiguousReference,
    DoesNotFit,
    ModelNotFound,
    UnsupportedModel,
    UsageError,
)
from ggufctl.services import models as service
from ggufctl.services.download import choose_files, destination, download, plan_download
from ggufctl.services.models import find, kept, open_store, prune
from ggufctl.sources.base import ModelFile
from ggufctl.sources.fetch import fetch_files, missing_bytes

REPO = "acme/Tiny-GGUF"


def model(seed: int, n_layer: int = 2) -> FakeFile:
    raw = ggufs.whole(*ggufs.llama(n_layer=n_layer))
    return FakeFile.whole(raw[:-8] + seed.to_bytes(8, "little"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def repo(hub):
    files = {
        "Tiny-Q8_0.gguf": model(1),
        "Tiny-Q6_K.gguf": model(2),
        "Tiny-Q4_K_M.gguf": model(3),
        "mmproj-F16.gguf": FakeFile.whole(b"GGUF" + bytes(1000)),
    }
    return hub.add(REPO, files)


def fetch(ref: str, to: str = "local", **options) -> tuple[str, ...]:
    place = destination(to)
    return download(plan_download(ref, place, **options), place, lambda event: None)


def refs(models) -> list[str]:
    return [model.ref for model in service.shown(models)]


def test_what_was_fetched_is_listed_with_all_that_is_known(repo):
    (path,) = fetch(f"{REPO}:Q6_K")

    (kept,) = open_store("local").models()

    assert (kept.ref, kept.repo, kept.commit, kept.quant) == (
        f"{REPO}:Q6_K",
        REPO,
        repo.commit,
        "Q6_K",
    )
    assert kept.state is State.VERIFIED
    assert kept.size_bytes == repo.files["Tiny-Q6_K.gguf"].size
    assert kept.files[0].location == path
    assert kept.files[0].sha256 == repo.files["Tiny-Q6_K.gguf"].sha256
    assert kept.last_used is not None
    assert kept.downloaded is not None
    assert kept.last_used >= kept.downloaded


def test_a_second_download_costs_one_request(hub, repo):
    fetch(REPO)
    n_requests = len(hub.requests())

    plan = plan_download(REPO, destination("local"))

    assert plan.missing == ()
    assert plan.bytes_to_come == 0
    assert len(hub.requests()) == n_requests + 1


def test_auto_takes_what_plan_takes_and_a_small_gpu_the_best_that_fits(hub, repo):
    assert choose_files(REPO).quant == "Q8_0"
    assert choose_files(REPO, gpu="L4").reason == "Q8_0 is what plan picks, for L4"
    assert choose_files(REPO, quant="q4_k_m").ref == f"{REPO}:Q4_K_M"


def test_on_a_gpu_too_small_for_the_usual_quant_the_best_that_fits_is_taken(hub):
    raw, size = ggufs.header(
        *ggufs.llama(n_layer=120, n_embd=8192, n_vocab=32000, n_merges=10, type_="q4_K")
    )
    shares = {"Q8_0": 20, "Q4_K_M": 10, "Q3_K_M": 8, "Q2_K": 3, "IQ1_S": 2}
    hub.add(
        "acme/Large-GGUF",
        {f"L-{quant}.gguf": FakeFile(raw, size * tenths // 10) for quant, tenths in shares.items()},
    )

    chosen = choose_files("acme/Large-GGUF", gpu="L4")

    assert chosen.quant == "Q2_K"
    assert chosen.reason == "Q2_K is the best quant that fits L4"
    del hub.repos["acme/Large-GGUF"].files["L-IQ1_S.gguf"]
    with pytest.raises(DoesNotFit):
        choose_files("acme/Large-GGUF", gpu="T4")


def test_a_branch_that_was_asked_for_is_named_in_the_cache(hub, cache):
    other = hub.add(REPO, {"Tiny-Q8_0.gguf": model(9)}, revisions=("main", "dev"))

    selection = choose_files(f"{REPO}@dev:Q8_0")
    fetch(f"{REPO}@dev:Q8_0")

    assert selection.revision == "dev"
    assert selection.ref == f"{REPO}@dev:Q8_0"
    assert (cache / "models--acme--Tiny-GGUF/refs/dev").read_text() == other.commit


@pytest.mark.parametrize(
    ("ref", "options", "kind"),
    [
        (f"{REPO}:Q8_0", {"quant": "Q6_K"}, UsageError),
        (f"{REPO}/Tiny-Q8_0.gguf", {"quant": "Q6_K"}, UsageError),
        (f"{REPO}:Q3_K_M", {}, ModelNotFound),
        (f"{REPO}/mmproj-F16.gguf", {}, UnsupportedModel),
        (f"{REPO}:Q8_0", {"include": ["vae"]}, UsageError),
    ],
)
def test_what_makes_no_sense_is_refused(repo, ref, options, kind):
    with pytest.raises(kind):
        choose_files(ref, **options)


def test_room_is_looked_for_before_the_first_byte(hub, repo, tmp_path):
    place = destination(str(tmp_path / "to"))
    place.room_bytes = lambda: 10
    plan = plan_download(f"{REPO}:Q8_0", place)
    n_bytes = hub.n_file_bytes()

    with pytest.raises(DoesNotFit, match="has 10 left"):
        download(plan, place, lambda event: None)

    assert hub.n_file_bytes() == n_bytes


def test_the_size_of_a_file_that_the_list_hides_is_still_known(hub, repo):
    hub.hide_sizes = True

    (path,) = fetch(f"{REPO}:Q8_0")

    assert Path(path).read_bytes() == repo.files["Tiny-Q8_0.gguf"].head


def test_removing_takes_the_file_its_record_and_an_empty_repository(repo, cache):
    fetch(f"{REPO}:Q8_0")
    fetch(f"{REPO}:Q6_K")
    store = open_store("local")

    freed = store.remove(find(store.models(), f"{REPO}:Q8_0"))

    assert freed == repo.files["Tiny-Q8_0.gguf"].size
    assert refs(store.models()) == [f"{REPO}:Q6_K"]
    assert not scan_cache_dir(cache).warnings
    sha256 = repo.files["Tiny-Q8_0.gguf"].sha256
    assert not [path for path in cache.rglob("*") if sha256 in path.name and path.suffix != ".lock"]
    store.remove(store.models())
    assert store.models() == ()
    assert not scan_cache_dir(cache).warnings
    assert not (cache / "models--acme--Tiny-GGUF").exists()


def test_what_two_revisions_share_stays_until_the_last_is_gone(hub, repo, cache):
    fetch(f"{REPO}:Q8_0")
    first = repo.commit
    changed = {**repo.files, "Tiny-Q4_K_M.gguf": model(77)}
    hub.add(REPO, changed)
    fetch(f"{REPO}:Q8_0")
    store = open_store("local")
    old, new = (
        next(m for m in store.models() if (m.commit == first) == is_old) for is_old in (True, False)
    )

    assert store.freed_by([old]) == 0
    assert store.remove([old]) == 0
    assert [m.commit for m in store.models()] == [new.commit]
    assert store.models()[0].state is State.VERIFIED
    assert not scan_cache_dir(cache).warnings
    assert store.remove([new]) == repo.files["Tiny-Q8_0.gguf"].size


def test_pruning_keeps_the_best_of_each_model_and_its_projector(repo, hub):
    hub.add("acme/Other-GGUF", {"Other-Q4_K_M.gguf": model(50)})
    fetch(f"{REPO}:Q4_K_M", include=["mmproj"])
    fetch(f"{REPO}:Q6_K")
    fetch("acme/Other-GGUF:Q4_K_M")
    store = open_store("local")

    found = prune(store)

    assert refs(found.removed) == [f"{REPO}:Q4_K_M"]
    assert found.freed_bytes == repo.files["Tiny-Q4_K_M.gguf"].size
    assert refs(found.kept) == ["acme/Other-GGUF:Q4_K_M", f"{REPO}:Q6_K", f"{REPO}/mmproj-F16.gguf"]
    assert len(store.models()) == 4


@pytest.mark.parametrize("keep", ["Q4_K_M", f"{REPO}:Q4_K_M", "q4_k_m"])
def test_pruning_keeps_what_is_named(repo, keep):
    for quant in ("Q8_0", "Q6_K", "Q4_K_M"):
        fetch(f"{REPO}:{quant}")

    found = prune(open_store("local"), [keep])

    assert refs(found.kept) == [f"{REPO}:Q4_K_M"]
    assert refs(found.removed) == [f"{REPO}:Q8_0", f"{REPO}:Q6_K"]


def test_pruning_does_not_keep_a_half_model_for_its_quality(hub, tmp_path):
    shards = {f"S-Q8_0-0000{i}-of-00002.gguf": model(60 + i) for i in (1, 2)}
    hub.add("acme/S-GGUF", {**shards, "S-Q4_K_M.gguf": model(63)})
    fetch("acme/S-GGUF:Q4_K_M", str(tmp_path))
    half = tmp_path / "S-Q8_0-00001-of-00002.gguf"
    fetch_half = FakeFile.whole(shards[half.name].head)
    half.write_bytes(fetch_half.head)
    record = tmp_path / ".ggufctl" / "S-Q4_K_M.gguf.json"
    other = record.with_name(f"{half.name}.json")
    other.write_text(record.read_text())

    found = prune(open_store(str(tmp_path)))

    assert refs(found.kept) == ["acme/S-GGUF:Q4_K_M"]


def test_verifying_finds_the_byte_that_changed(repo, tmp_path):
    for quant in ("Q8_0", "Q6_K"):
        fetch(f"{REPO}:{quant}")
    store = open_store("local")
    path = Path(find(store.models(), f"{REPO}:Q8_0")[0].files[0].location)
    stat = path.stat()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    heard = []

    found = store.verify(service.shown(store.models()), heard.append)

    assert [(m.quant, m.state) for m in found] == [
        ("Q8_0", State.DIFFERS),
        ("Q6_K", State.VERIFIED),
    ]
    assert heard[-1]["all_done_bytes"] == heard[-1]["all_bytes"]
    fetch(f"{REPO}:Q8_0")
    assert all(m.state is State.VERIFIED for m in store.verify(store.models(), heard.append))


def test_a_folder_holds_what_was_fetched_and_what_lay_there(repo, tmp_path):
    folder = tmp_path / "to"
    fetch(f"{REPO}:Q8_0", str(folder), include=["mmproj"])
    (folder / "mine.gguf").write_bytes(model(5).head)
    (folder / "cut.gguf").write_bytes(b"GGUF")

    store = open_store(str(folder))

    by_ref = {m.ref: m.state for m in store.models()}
    assert by_ref == {
        f"{REPO}:Q8_0": State.VERIFIED,
        f"{REPO}/mmproj-F16.gguf": State.VERIFIED,
        "mine.gguf": State.UNVERIFIED,
        "cut.gguf": State.UNVERIFIED,
    }
    store.remove(find(store.models(), REPO))
    assert refs(store.models()) == ["cut.gguf", "mine.gguf"]
    assert refs(prune(store).removed) == []


def test_a_file_from_a_url_is_kept_and_continued(hub, own_cache):
    hub.plain["dir/m-Q8_0.gguf"] = model(8)
    url = f"{hub.url}/plain/dir/m-Q8_0.gguf"

    (path,) = fetch(f"{url}?token=s3cret")
    sent = hub.n_file_bytes()
    fetch(url)

    assert Path(path).read_bytes() == model(8).head
    assert hub.n_file_bytes() - sent <= 4 << 10
    (kept,) = open_store("local").models()
    assert kept.state is State.VERIFIED
    assert not any(b"s3cret" in p.read_bytes() for p in own_cache.rglob("*") if p.is_file())
    assert open_store("local").remove([kept]) == len(model(8).head)
    assert open_store("local").models() == ()


def test_a_changed_file_behind_a_url_is_fetched_again(hub):
    hub.plain["m.gguf"] = model(8)
    fetch(f"{hub.url}/plain/m.gguf")
    hub.plain["m.gguf"] = model(9)

    (path,) = fetch(f"{hub.url}/plain/m.gguf")

    assert Path(path).read_bytes() == model(9).head


def test_serving_fetches_from_a_url_as_well(hub):
    hub.plain["m.gguf"] = model(8)
    url = f"{hub.url}/plain/m.gguf"
    size = len(model(8).head)
    heard = []

    assert missing_bytes("", "", [ModelFile(url, size)]) == size
    (path,) = fetch_files("url", "", "", [ModelFile(url, size)], on_transfer=heard.append)

    assert path.read_bytes() == model(8).head
    assert heard[-1].state == "complete"
    assert missing_bytes("", "", [ModelFile(url, size)]) == 0


@pytest.mark.parametrize("kind", ["local", "folder"])
def test_what_was_begun_is_listed_as_incomplete_and_can_be_removed(
    hub, repo, tmp_path, cache, kind
):
    to = kind if kind == "local" else str(tmp_path / "to")
    hub.faults["Tiny-Q8_0.gguf"] = [Fault(drop_after=1000), Fault(status=403, at_hub=True)]
    place = destination(to)
    with pytest.raises(AccessDenied):
        download(plan_download(f"{REPO}:Q8_0", place), place, lambda event: None)
    store = open_store(to)

    (kept,) = store.models()

    assert kind == "folder" or not scan_cache_dir(cache).warnings
    assert (kept.ref, kept.state, kept.size_bytes) == (f"{REPO}:Q8_0", State.INCOMPLETE, 1000)
    (checked,) = store.verify([kept], lambda event: None)
    assert checked.state is State.INCOMPLETE
    assert store.remove([kept]) == 1000
    assert store.models() == ()
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    assert not [path for path in tmp_path.rglob("*") if "incomplete" in path.name]


def test_what_is_named_is_found_in_every_way_of_writing(hub, repo):
    hub.add("acme/Twin-GGUF", {"Tiny-Q8_0.gguf": model(31)})
    for ref in (f"{REPO}:Q8_0", f"{REPO}:Q6_K", "acme/Twin-GGUF:Q8_0"):
        fetch(ref)
    models = open_store("local").models()

    assert len(find(models, "ACME/tiny-gguf")) == 2
    assert refs(find(models, f"{REPO}:q8_0")) == [f"{REPO}:Q8_0"]
    assert refs(find(models, f"{REPO}@{repo.commit[:7]}:Q6_K")) == [f"{REPO}:Q6_K"]
    assert refs(find(models, "Tiny-Q6_K.gguf")) == [f"{REPO}:Q6_K"]
    with pytest.raises(AmbiguousReference):
        find(models, "Tiny-Q8_0.gguf")
    with pytest.raises(ModelNotFound, match="not kept"):
        find(models, "acme/tiny-ggu")


def test_two_models_of_one_quant_are_called_by_their_files(hub):
    paths = ("Small-Q4_K_M.gguf", "big/Large-Q4_K_M.gguf", "Small-Q8_0.gguf", "mmproj-Q8_0.gguf")
    hub.add(REPO, {path: model(40 + i) for i, path in enumerate(paths)})
    for path in paths[:3]:
        fetch(f"{REPO}/{path}", include=["mmproj"])
    store = open_store("local")

    everything = kept(store)

    by_file = {f"{REPO}/{path}" for path in (*paths[:2], paths[3])}
    assert set(refs(everything)) == {*by_file, f"{REPO}:Q8_0"}
    for each in everything:
        assert find(everything, each.ref) == (each,)
    with pytest.raises(AmbiguousReference) as error:
        service.one(everything, f"{REPO}:Q4_K_M")
    assert set(error.value.choices) == {f"{REPO}/{path}" for path in paths[:2]}
    store.remove(find(everything, f"{REPO}/{paths[1]}"))
    assert set(refs(kept(store))) == {f"{REPO}:Q4_K_M", f"{REPO}:Q8_0", f"{REPO}/{paths[3]}"}


def test_two_revisions_of_one_quant_are_called_by_their_commits(hub, repo):
    fetch(f"{REPO}:Q6_K", include=["mmproj"])
    later = hub.add(REPO, {**repo.files, "Tiny-Q6_K.gguf": model(50)})
    fetch(f"{REPO}:Q6_K", include=["mmproj"])
    everything = kept(open_store("local"))

    commits = {repo.commit, later.commit}
    assert {r for r in refs(everything) if "mmproj" not in r} == {
        f"{REPO}@{commit}:Q6_K" for commit in commits
    }
    for each in everything:
        assert find(everything, each.ref) == (each,)
    assert len(find(everything, f"{REPO}:Q6_K")) == 2


def test_files_of_one_name_from_several_urls_are_called_by_their_places(hub, own_cache):
    for folder in ("one", "two"):
        hub.plain[f"{folder}/m-Q8_0.gguf"] = model(60)
        fetch(f"{hub.url}/plain/{folder}/m-Q8_0.gguf")
    everything = kept(open_store("local"))

    assert len({each.ref for each in everything}) == 2
    for each in everything:
        assert find(everything, each.ref) == (each,)
