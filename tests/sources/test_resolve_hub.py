from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakehub import FakeFile, FakeHub
from ggufctl.core.header import Header, parse_header
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
from ggufctl.sources.base import MAX_REQUESTS, SourceEvent
from ggufctl.sources.resolve import Role, open_model, open_repo, open_variant
from ggufs import header, llama, pad, shards

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def model_file(**shape: Any) -> FakeFile:
    raw, size = header(*llama(**shape))
    return FakeFile(raw, size)


def add_quants(hub: FakeHub) -> None:
    hub.add(
        "acme/Tiny-GGUF",
        {
            "README.md": b"hello",
            "Tiny-Q4_K_M.gguf": model_file(n_layer=2),
            "Tiny-Q8_0.gguf": model_file(n_layer=3),
            "mmproj-Tiny-F16.gguf": FakeFile(b"GGUF"),
        },
    )


def big_shards(count: int = 3) -> dict[str, FakeFile | bytes]:
    files = shards(*llama(n_layer=20, n_vocab=60_000, n_merges=60_000), count)
    return {
        f"Big-Q8_0-{i:05d}-of-{count:05d}.gguf": FakeFile(*file) for i, file in enumerate(files, 1)
    }


def test_a_quant_is_found_and_its_header_read(hub: FakeHub) -> None:
    add_quants(hub)

    model = open_model("acme/Tiny-GGUF:q8_0")

    assert model.files[0].path == "Tiny-Q8_0.gguf"
    assert model.header.metadata["llama.block_count"] == 3
    assert model.files[0].sha256 == hub.repos["acme/Tiny-GGUF"].files["Tiny-Q8_0.gguf"].sha256
    assert model.commit == hub.repos["acme/Tiny-GGUF"].commit


def test_a_whole_repository_means_the_quant_that_llama_cpp_would_load(hub: FakeHub) -> None:
    add_quants(hub)

    assert open_model("acme/Tiny-GGUF").files[0].path == "Tiny-Q4_K_M.gguf"


@pytest.mark.parametrize(
    "form",
    [
        "acme/Tiny-GGUF/Tiny-Q8_0.gguf",
        "hf://acme/Tiny-GGUF/Tiny-Q8_0.gguf",
        "hf.co/acme/Tiny-GGUF:Q8_0",
        "https://huggingface.co/acme/Tiny-GGUF/blob/main/Tiny-Q8_0.gguf",
        "https://huggingface.co/acme/Tiny-GGUF/resolve/main/Tiny-Q8_0.gguf?download=true",
        "{hub}/acme/Tiny-GGUF/resolve/main/Tiny-Q8_0.gguf",
        "acme/Tiny-GGUF@main:Q8_0",
        "acme/Tiny-GGUF:Q8_0@main",
    ],
)
def test_every_form_of_a_reference_reaches_the_file(hub: FakeHub, form: str) -> None:
    add_quants(hub)

    assert open_model(form.format(hub=hub.url)).files[0].path == "Tiny-Q8_0.gguf"


def test_planning_a_large_model_costs_few_requests_and_little_more_than_its_header(
    hub: FakeHub,
) -> None:
    raw, size = header(*llama(n_layer=80, n_embd=8192, n_vocab=128_256, n_merges=280_000))
    hub.add("acme/Large-GGUF", {"Large-Q8_0.gguf": FakeFile(raw, size)})

    model = open_model("acme/Large-GGUF:Q8_0")

    assert size > 30 * GIB
    assert model.header == parse_header(raw, size) or len(raw) < size
    assert hub.n_file_bytes() <= len(raw) + max(len(raw) // 10, 256 * KIB)
    assert len(hub.requests()) <= 10


def test_a_small_header_costs_one_listing_and_one_range(hub: FakeHub) -> None:
    add_quants(hub)

    open_model("acme/Tiny-GGUF:Q8_0")

    assert [request.method for request in hub.requests()] == ["GET", "GET"]


def test_the_second_plan_costs_one_request_and_no_bytes_of_the_file(hub: FakeHub) -> None:
    add_quants(hub)
    first = open_model("acme/Tiny-GGUF:Q8_0")
    hub.log.clear()

    second = open_model("acme/Tiny-GGUF:Q8_0")

    assert second == first
    assert len(hub.requests()) == 1
    assert hub.n_file_bytes() == 0


def test_a_commit_that_was_seen_costs_no_request_at_all(hub: FakeHub) -> None:
    add_quants(hub)
    commit = hub.repos["acme/Tiny-GGUF"].commit
    open_model(f"acme/Tiny-GGUF:Q8_0@{commit}")
    hub.log.clear()

    open_model(f"acme/Tiny-GGUF:Q8_0@{commit}")

    assert hub.requests() == []


def test_a_corrupted_cache_is_read_over(hub: FakeHub, own_cache: Path) -> None:
    add_quants(hub)
    first = open_model("acme/Tiny-GGUF:Q8_0")
    for number, entry in enumerate(sorted(own_cache.rglob("*.json"))):
        raw = entry.read_bytes()
        entry.write_bytes([b"", raw[: len(raw) // 2], b"00000000\n{}", raw + b"x"][number % 4])

    assert open_model("acme/Tiny-GGUF:Q8_0") == first


def test_a_cache_that_cannot_be_written_is_no_error(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_quants(hub)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GGUFCTL_CACHE_DIR", str(blocked / "below"))

    assert open_model("acme/Tiny-GGUF:Q8_0").header.tensors


def test_shards_are_merged_and_cost_no_more_than_their_headers(hub: FakeHub) -> None:
    files = big_shards()
    hub.add("acme/Big-GGUF", files)

    model = open_model("acme/Big-GGUF:Q8_0")

    heads = sum(len(f.head) for f in files.values() if isinstance(f, FakeFile))
    assert len(model.files) == 3
    assert len(model.header.tensors) == 3 + 9 * 20
    assert model.header.n_shards == 3
    assert hub.n_file_bytes() <= heads + max(heads // 10, 256 * KIB)


def test_any_shard_names_the_whole_set(hub: FakeHub) -> None:
    hub.add("acme/Big-GGUF", big_shards())

    by_last = open_model("acme/Big-GGUF/Big-Q8_0-00003-of-00003.gguf")

    assert by_last.header == open_model("acme/Big-GGUF:Q8_0").header


def test_a_missing_shard_is_an_invalid_gguf(hub: FakeHub) -> None:
    files = big_shards()
    del files["Big-Q8_0-00002-of-00003.gguf"]
    hub.add("acme/Big-GGUF", files)

    with pytest.raises(InvalidGguf, match="00002-of-00003"):
        open_model("acme/Big-GGUF:Q8_0")


def test_a_repository_of_many_quants_costs_one_request_until_one_is_opened(hub: FakeHub) -> None:
    add_quants(hub)

    listing = open_repo("acme/Tiny-GGUF")

    assert [variant.quant for variant in listing.models] == ["Q4_K_M", "Q8_0"]
    assert len(hub.requests()) == 1
    assert open_variant(listing, listing.models[1]).header.metadata["llama.block_count"] == 3


def test_sizes_missing_from_the_short_listing_come_from_the_long_one(hub: FakeHub) -> None:
    add_quants(hub)
    hub.hide_sizes = True
    hub.page_size = 2

    listing = open_repo("acme/Tiny-GGUF")

    assert all(file.size_bytes for file in listing.files)


def test_a_token_goes_to_the_hub_and_to_nobody_else(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("acme/Gated-GGUF", {"m-Q8_0.gguf": model_file()}, token="hf_good")
    monkeypatch.setenv("HF_TOKEN", "hf_good")

    open_model("acme/Gated-GGUF:Q8_0")

    assert any(request.is_authorized for request in hub.log if not request.on_cdn)
    assert not any(request.is_authorized for request in hub.log if request.on_cdn)


def test_a_gated_repository_says_how_to_get_in(hub: FakeHub) -> None:
    hub.add("acme/Gated-GGUF", {"m-Q8_0.gguf": model_file()}, token="hf_good")

    with pytest.raises(AccessDenied, match="gated") as caught:
        open_model("acme/Gated-GGUF:Q8_0")

    assert "hf auth login" in caught.value.hint


def test_a_token_that_cannot_be_read_is_not_a_network_error(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "token").mkdir()
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    add_quants(hub)

    with pytest.raises(AccessDenied, match="token"):
        open_model("acme/Tiny-GGUF:Q8_0")


def test_a_bad_token_is_named_but_never_printed(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_quants(hub)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")

    with pytest.raises(AccessDenied, match="token") as caught:
        open_model("acme/Tiny-GGUF:Q8_0")

    assert "hf_bad" not in caught.value.message + caught.value.hint


def test_a_disabled_repository_is_access_denied(hub: FakeHub) -> None:
    hub.add("acme/Gone-GGUF", {"m-Q8_0.gguf": model_file()}, disabled=True)

    with pytest.raises(AccessDenied):
        open_model("acme/Gone-GGUF")


def test_a_misspelt_repository_brings_the_right_one_to_mind(hub: FakeHub) -> None:
    add_quants(hub)

    with pytest.raises(ModelNotFound) as caught:
        open_model("acme/Tinny-GGUF")

    assert "acme/Tiny-GGUF" in caught.value.hint


def test_a_misspelt_quant_brings_the_right_one_to_mind(hub: FakeHub) -> None:
    add_quants(hub)

    with pytest.raises(ModelNotFound) as caught:
        open_model("acme/Tiny-GGUF:Q4_KM_")

    assert "Q4_K_M" in caught.value.hint


def test_a_misspelt_file_brings_the_right_one_to_mind(hub: FakeHub) -> None:
    add_quants(hub)

    with pytest.raises(ModelNotFound) as caught:
        open_model("acme/Tiny-GGUF/Tiny-Q8_O.gguf")

    assert "Tiny-Q8_0.gguf" in caught.value.hint


def test_an_unknown_revision_is_not_found(hub: FakeHub) -> None:
    add_quants(hub)

    with pytest.raises(ModelNotFound, match="revision"):
        open_model("acme/Tiny-GGUF@v2")


def test_two_models_of_one_quant_are_ambiguous_and_listed(hub: FakeHub) -> None:
    hub.add("acme/Two-GGUF", {"A-Q8_0.gguf": model_file(), "B-Q8_0.gguf": model_file()})

    for reference in ("acme/Two-GGUF", "acme/Two-GGUF:Q8_0"):
        with pytest.raises(AmbiguousReference) as caught:
            open_model(reference)
        assert len(caught.value.choices) == 2


@pytest.mark.parametrize(
    ("repo", "files", "tags", "named"),
    [
        ("acme/Plain", ("model.safetensors", "config.json"), (), "safetensors"),
        ("acme/Plain-GPTQ", ("model.safetensors",), (), "GPTQ"),
        ("acme/Plain-x", ("model.safetensors",), ("awq", "4-bit"), "AWQ"),
        ("acme/Old", ("pytorch_model.bin",), (), "PyTorch"),
        ("acme/Plain-4bit", ("model.safetensors",), ("mlx",), "MLX"),
        ("acme/Nothing", ("README.md",), (), "no GGUF"),
    ],
)
def test_another_format_is_named_and_conversions_are_offered_by_downloads(
    hub: FakeHub, repo: str, files: tuple[str, ...], tags: tuple[str, ...], named: str
) -> None:
    hub.add(repo, dict.fromkeys(files, b"x"), tags=tags)
    quantized = ("gguf", f"base_model:quantized:{repo}")
    hub.add("few/Plain-GGUF", {}, tags=quantized, downloads=5)
    hub.add("many/Plain-GGUF", {}, tags=quantized, downloads=500)
    hub.add("other/Plain-AWQ", {}, tags=(quantized[1],), downloads=900)

    with pytest.raises(UnsupportedModel, match=named) as caught:
        open_model(repo)

    assert caught.value.exit_code == 7
    assert caught.value.hint.endswith("many/Plain-GGUF, few/Plain-GGUF.")


def test_of_a_conversion_to_another_format_the_gguf_conversions_of_its_base_are_offered(
    hub: FakeHub,
) -> None:
    of_base = ("base_model:acme/Base", "base_model:quantized:acme/Base")
    hub.add("acme/Base-AWQ", {"model.safetensors": b"x"}, tags=("awq", *of_base))
    hub.add("few/Base-GGUF", {}, tags=("gguf", *of_base), downloads=5)
    hub.add("many/Base-GGUF", {}, tags=("gguf", *of_base), downloads=500)

    with pytest.raises(UnsupportedModel, match="AWQ") as caught:
        open_model("acme/Base-AWQ")

    assert caught.value.hint.endswith(" many/Base-GGUF, few/Base-GGUF.")


def test_a_name_that_nothing_is_like_brings_nothing_to_mind(hub: FakeHub) -> None:
    add_quants(hub)

    with pytest.raises(ModelNotFound) as caught:
        open_model("acme/Private-GGUF")

    assert "Tiny" not in caught.value.hint


def test_choices_can_be_pasted_as_they_are(hub: FakeHub) -> None:
    hub.add("acme/Two-GGUF", {"A-Q8_0.gguf": model_file(), "B-Q8_0.gguf": model_file()})

    with pytest.raises(AmbiguousReference) as caught:
        open_model("acme/Two-GGUF:Q8_0")

    assert caught.value.choices == ("acme/Two-GGUF/A-Q8_0.gguf", "acme/Two-GGUF/B-Q8_0.gguf")


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://hub"])
def test_an_endpoint_that_is_no_url_is_a_usage_error(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)

    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        open_model("acme/Tiny-GGUF")


def test_files_beside_the_model_are_never_taken_for_it(hub: FakeHub) -> None:
    hub.add("acme/Side-GGUF", {"mmproj-F16.gguf": FakeFile(b"GGUF"), "x.imatrix": b""})

    for reference in ("acme/Side-GGUF", "acme/Side-GGUF/mmproj-F16.gguf"):
        with pytest.raises(UnsupportedModel, match="mmproj"):
            open_model(reference)


def test_a_projector_is_opened_where_one_is_wanted(hub: FakeHub) -> None:
    raw, size = header({"general.architecture": "clip", "general.type": "mmproj"})
    hub.add("acme/Side-GGUF", {"mmproj-F16.gguf": FakeFile(raw, size), "m-Q8_0.gguf": b"GGUF"})

    projector = open_model("acme/Side-GGUF", role=Role.MMPROJ)

    assert projector.header.architecture == "clip"


def test_an_unreachable_hub_is_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(RemoteError) as caught:
        open_model("acme/Tiny-GGUF:Q8_0")

    assert caught.value.exit_code == 8


def test_an_unreachable_hub_does_not_hide_that_a_name_is_of_another_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(UnsupportedModel, match="GPTQ"):
        open_model("acme/Tiny-GPTQ")


def test_what_was_read_once_is_planned_without_the_hub(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_quants(hub)
    first = open_model("acme/Tiny-GGUF:Q8_0")
    hub.fail_with = 503
    heard: list[SourceEvent] = []

    again = open_model("acme/Tiny-GGUF:Q8_0", on_event=heard.append)

    assert again.header == first.header
    assert "stale" in [event.kind for event in heard]


def test_offline_mode_plans_what_was_read_once_and_asks_nobody(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_quants(hub)
    first = open_model("acme/Tiny-GGUF:Q8_0")
    hub.log.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert open_model("acme/Tiny-GGUF:Q8_0").header == first.header
    with pytest.raises(RemoteError, match="offline"):
        open_model("acme/Tiny-GGUF:Q4_K_M")
    assert hub.requests() == []


def test_a_file_that_the_hub_client_downloaded_is_read_from_its_cache(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    add_quants(hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    hf_hub_download(
        "acme/Tiny-GGUF", "Tiny-Q8_0.gguf", endpoint=hub.url, cache_dir=tmp_path / "hub"
    )
    hub.fail_with = 503

    model = open_model("acme/Tiny-GGUF:Q8_0")

    assert model.header.metadata["llama.block_count"] == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failing_hub_is_a_remote_error(hub: FakeHub, status: int) -> None:
    hub.fail_with = status

    with pytest.raises(RemoteError):
        open_model("acme/Tiny-GGUF:Q8_0")


def test_a_dropped_connection_is_taken_up_where_it_broke(hub: FakeHub) -> None:
    add_quants(hub)
    hub.drops["Tiny-Q8_0.gguf"] = 1000

    model = open_model("acme/Tiny-GGUF:Q8_0")

    assert model.header.metadata["llama.block_count"] == 3
    assert any(request.range.startswith("bytes=1000-") for request in hub.log)


def test_a_server_that_ignores_ranges_is_read_only_as_far_as_needed(hub: FakeHub) -> None:
    raw, size = header(*llama(n_embd=4096, n_vocab=40_000, n_merges=40_000))
    hub.add("acme/Tiny-GGUF", {"Tiny-Q8_0.gguf": FakeFile(raw, size)})
    hub.ignore_range = True

    model = open_model("acme/Tiny-GGUF:Q8_0")

    gets = [r for r in hub.requests() if r.on_cdn]
    assert len(model.header.tensors) == 21
    assert len(gets) <= 1


def test_a_file_of_another_size_than_listed_is_refused(hub: FakeHub) -> None:
    add_quants(hub)
    listing = open_repo("acme/Tiny-GGUF")
    changed = hub.repos["acme/Tiny-GGUF"].files["Tiny-Q8_0.gguf"]
    changed.size += 32

    with pytest.raises(InvalidGguf, match="long"):
        open_variant(listing, listing.models[1])


def test_a_page_of_a_dataset_is_not_a_model(hub: FakeHub) -> None:
    with pytest.raises(GgufctlError, match="not of a model"):
        open_model("https://huggingface.co/datasets/acme/data")


def test_a_header_that_never_ends_stops_after_a_bounded_number_of_requests(hub: FakeHub) -> None:
    # Entries are many and small, and nothing says how long they are: each read finds a few more.
    many = {f"x.{i}": "y" * 400 for i in range(90_000)}
    raw, size = header({"general.architecture": "llama", **many})
    hub.add("acme/Endless-GGUF", {"m-Q8_0.gguf": FakeFile(raw, size)})

    outcome: Header | None = None
    try:
        outcome = open_model("acme/Endless-GGUF:Q8_0").header
    except InvalidGguf:
        assert outcome is None

    assert len([r for r in hub.log if r.on_cdn]) <= MAX_REQUESTS
    assert hub.n_file_bytes() <= pad(len(raw)) + max(len(raw) // 10, 256 * KIB)
