from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakehub import FakeFile, FakeHub
from ggufctl.errors import (
    AccessDenied,
    AmbiguousReference,
    GgufctlError,
    InvalidGguf,
    ModelNotFound,
    RemoteError,
    UnsupportedModel,
    UsageError,
)
from ggufctl.sources import cache
from ggufctl.sources.references import ReferenceKind
from ggufctl.sources.resolve import Role, open_model
from ggufs import header, llama, shards, write

DATA = Path(__file__).parent.parent / "data"
HOSTILE = json.loads((DATA / "hostile_headers.json").read_text())["cases"]


def write_shards(folder: Path, count: int = 3) -> list[Path]:
    return [
        write(folder / f"m-{i:05d}-of-{count:05d}.gguf", *file)
        for i, file in enumerate(shards(*llama(n_layer=4), count), 1)
    ]


def test_a_local_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", *header(*llama()))

    model = open_model(str(path))

    assert model.source is ReferenceKind.LOCAL
    assert [(f.path, f.size_bytes) for f in model.files] == [(str(path), path.stat().st_size)]
    assert len(model.header.tensors) == 21


def test_any_local_shard_names_the_whole_set(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)

    models = [open_model(str(path)) for path in (*paths, tmp_path)]

    assert all(model.header == models[0].header for model in models)
    assert [f.path for f in models[1].files] == [str(path) for path in paths]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_local_shard_is_named(tmp_path: Path, gone: int) -> None:
    paths = write_shards(tmp_path)
    paths[gone].unlink()

    with pytest.raises(InvalidGguf, match=f"0000{gone + 1}-of-00003"):
        open_model(str(paths[(gone + 1) % 3]))


def test_a_renamed_shard_is_refused(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)
    paths[1].rename(tmp_path / "second.gguf")

    with pytest.raises(InvalidGguf, match="shard 2 of 3"):
        open_model(str(tmp_path / "second.gguf"))


def test_swapped_shards_are_refused(tmp_path: Path) -> None:
    a, b, _ = write_shards(tmp_path)
    a.rename(tmp_path / "x")
    b.rename(a)
    (tmp_path / "x").rename(b)

    with pytest.raises(InvalidGguf):
        open_model(str(a))


def test_a_directory_of_several_models_is_ambiguous(tmp_path: Path) -> None:
    for name in ("a-Q8_0.gguf", "b-Q4_0.gguf"):
        write(tmp_path / name, *header(*llama()))

    with pytest.raises(AmbiguousReference) as caught:
        open_model(str(tmp_path))

    assert len(caught.value.choices) == 2


def test_a_projector_beside_the_model_does_not_make_a_directory_ambiguous(tmp_path: Path) -> None:
    write(tmp_path / "a-Q8_0.gguf", *header(*llama()))
    (tmp_path / "mmproj-a-F16.gguf").write_bytes(b"GGUF")

    assert open_model(str(tmp_path)).files[0].path.endswith("a-Q8_0.gguf")


def test_a_misspelt_local_file_brings_the_right_one_to_mind(tmp_path: Path) -> None:
    write(tmp_path / "model-Q8_0.gguf", *header(*llama()))

    with pytest.raises(ModelNotFound) as caught:
        open_model(str(tmp_path / "model-Q8_O.gguf"))

    assert "model-Q8_0.gguf" in caught.value.hint


def test_a_directory_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")

    with pytest.raises(UnsupportedModel, match="safetensors"):
        open_model(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({"general.architecture": "clip"}, "mmproj"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "LoRA"),
        ({"general.architecture": "llama", "adapter.type": "lora"}, "LoRA"),
        ({"general.type": "imatrix"}, "importance matrix"),
        ({"general.architecture": "controlvector"}, "control vector"),
        ({"general.architecture": "eagle3", "eagle3.block_count": 1}, "draft"),
        ({"general.architecture": "llama", "general.type": "vocab"}, "vocabulary"),
    ],
)
def test_a_gguf_that_is_not_a_model_is_told_by_its_header(
    tmp_path: Path, metadata: dict[str, str | int], what: str
) -> None:
    path = write(tmp_path / "m.gguf", *header(metadata))

    with pytest.raises(UnsupportedModel, match=what):
        open_model(str(path))


def test_a_model_is_not_taken_for_an_adapter(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", *header(*llama()))

    with pytest.raises(UnsupportedModel, match="not a LoRA"):
        open_model(str(path), role=Role.LORA)
    assert open_model(str(path), role=Role.DRAFT).header.architecture == "llama"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.gguf").mkdir()
    (tmp_path / "empty.gguf").write_bytes(b"")

    with pytest.raises((InvalidGguf, ModelNotFound)):
        open_model(str(tmp_path / "d.gguf"))
    with pytest.raises(InvalidGguf, match="empty"):
        open_model(str(tmp_path / "empty.gguf"))


@pytest.mark.parametrize("target", ["nowhere.gguf", "model.gguf"])
def test_a_link_to_nothing_says_so(tmp_path: Path, target: str) -> None:
    (tmp_path / "model.gguf").symlink_to(target)

    with pytest.raises(ModelNotFound, match="is a link to a file that is not there"):
        open_model(str(tmp_path / "model.gguf"))


def test_a_name_that_no_disk_can_hold_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        open_model(str(tmp_path / ("a" * 300 + ".gguf")))


@pytest.mark.parametrize(
    ("name", "named"), [("model.safetensors", "safetensors"), ("model.bin", "PyTorch .bin")]
)
def test_a_file_of_another_format_is_told_by_its_name(
    tmp_path: Path, name: str, named: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 100)

    with pytest.raises(UnsupportedModel, match=named):
        open_model(str(tmp_path / name))


def test_an_empty_file_behind_a_url_is_said_to_be_empty(hub: FakeHub) -> None:
    hub.plain["m.gguf"] = FakeFile(b"")

    with pytest.raises(InvalidGguf, match="the file is empty"):
        open_model(f"{hub.url}/plain/m.gguf")


def test_a_broken_file_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x\x1b[2J.gguf"
    path.write_bytes(b"nonsense" * 10)

    with pytest.raises(InvalidGguf) as caught:
        open_model(str(path))

    assert caught.value.message.isprintable()
    assert "\\x1b[2J.gguf" in caught.value.message


@pytest.mark.parametrize("case", HOSTILE, ids=[case["name"] for case in HOSTILE])
def test_a_hostile_file_is_refused_wherever_it_comes_from(
    hub: FakeHub, tmp_path: Path, case: dict[str, Any]
) -> None:
    recipe = case.get("recipe")
    raw = (
        bytes.fromhex(case["hex"])
        if recipe is None
        else bytes.fromhex(recipe["prefix_hex"])
        + bytes.fromhex(recipe["repeat_hex"]) * recipe["count"]
        + bytes.fromhex(recipe["suffix_hex"])
    )
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    hub.plain["m.gguf"] = FakeFile(raw)

    for reference in (str(path), f"{hub.url}/plain/m.gguf"):
        with pytest.raises(GgufctlError) as caught:
            open_model(reference)
        assert caught.value.exit_code in {5, 6, 7}
        assert caught.value.message.isprintable()


# Plain URLs ------------------------------------------------------------------------------------


def test_a_plain_url_is_read_in_ranges(hub: FakeHub) -> None:
    raw, size = header(*llama(n_embd=2048, n_vocab=30_000, n_merges=30_000))
    hub.plain["m.gguf"] = FakeFile(raw, size)

    model = open_model(f"{hub.url}/plain/m.gguf?Signature=s3cret")

    assert model.source is ReferenceKind.URL
    assert "s3cret" not in repr(model.files)
    assert hub.n_file_bytes() <= len(raw) + max(len(raw) // 10, 256 << 10)


def test_a_plain_url_that_has_not_changed_costs_one_request_and_no_bytes(hub: FakeHub) -> None:
    hub.plain["m.gguf"] = FakeFile(*header(*llama()))
    first = open_model(f"{hub.url}/plain/m.gguf?Signature=one")
    hub.log.clear()

    second = open_model(f"{hub.url}/plain/m.gguf?Signature=two")

    assert second.header == first.header
    assert [(r.status, r.n_bytes) for r in hub.requests()] == [(304, 0)]


def test_a_plain_url_that_changed_is_read_again(hub: FakeHub) -> None:
    url = f"{hub.url}/plain/m.gguf"
    hub.plain["m.gguf"] = FakeFile(*header(*llama(n_layer=2)))
    open_model(url)
    hub.plain["m.gguf"] = FakeFile(*header(*llama(n_layer=3)))

    assert open_model(url).header.metadata["llama.block_count"] == 3


def test_the_shards_behind_a_url_are_found(hub: FakeHub) -> None:
    for i, file in enumerate(shards(*llama(n_layer=4), 3), 1):
        hub.plain[f"d/m-{i:05d}-of-00003.gguf"] = FakeFile(*file)

    model = open_model(f"{hub.url}/plain/d/m-00002-of-00003.gguf")

    assert len(model.files) == 3
    assert len(model.header.tensors) == 39


def test_a_token_never_goes_to_a_plain_url(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.plain["m.gguf"] = FakeFile(*header(*llama()))
    monkeypatch.setenv("HF_TOKEN", "hf_good")

    open_model(f"{hub.url}/plain/m.gguf".replace("127.0.0.1", "localhost"))

    assert not any(request.is_authorized for request in hub.log)


@pytest.mark.parametrize("ending", ["missing.gguf", "m.gguf"])
def test_a_url_that_answers_badly_is_an_error_of_ours(hub: FakeHub, ending: str) -> None:
    hub.plain["m.gguf"] = FakeFile(b"<!doctype html><title>Sign in</title>" * 10)

    with pytest.raises((ModelNotFound, InvalidGguf)) as caught:
        open_model(f"{hub.url}/plain/{ending}?token=s3cret")

    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(("status", "error"), [(403, AccessDenied), (500, RemoteError)])
def test_a_refused_url_says_why(hub: FakeHub, status: int, error: type[Exception]) -> None:
    hub.fail_with = status

    with pytest.raises(error):
        open_model(f"{hub.url}/plain/m.gguf")


def test_a_url_nobody_answers_is_a_remote_error() -> None:
    with pytest.raises(RemoteError) as caught:
        open_model("http://127.0.0.1:9/m.gguf?sig=s3cret")

    assert "s3cret" not in caught.value.message


def test_a_url_nobody_answers_says_why_and_not_what_is_missing() -> None:
    with pytest.raises(RemoteError, match="cannot be reached: Connection refused"):
        open_model("http://127.0.0.1:9/model.gguf")


def test_a_url_that_cannot_be_one_is_a_usage_error() -> None:
    with pytest.raises((UsageError, RemoteError)):
        open_model("http://a b\u202e/m.gguf")


def test_the_cache_gives_back_every_kind_of_value(tmp_path: Path) -> None:
    raw, size = header(*llama(llama__pattern=True, llama__x=float("-inf")))
    from ggufctl.core.header import parse_header

    found = parse_header(raw.ljust(size, b"\0"), size)
    cache.store_header(found, "a", "b")

    assert cache.load_header("a", "b") == found
    assert cache.load_header("a", "c") is None
