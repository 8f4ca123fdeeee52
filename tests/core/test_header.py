from __future__ import annotations

import hashlib
import json
import mmap
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ggufctl.core import header as reader
from ggufctl.core.header import (
    Header,
    NeedMoreBytes,
    SkippedArray,
    merge_shards,
    parse_header,
    validate_model_metadata,
)
from ggufctl.errors import GgufctlError, InvalidGguf, UnsupportedModel
from ggufs import (
    Array,
    Tensor,
    Typed,
    Writable,
    entry,
    header,
    llama,
    shards,
    text,
    whole,
    words,
    write,
)

DATA = Path(__file__).parent.parent / "data"
HOSTILE = json.loads((DATA / "hostile_headers.json").read_text())["cases"]


def bytes_of(case: dict[str, Any]) -> bytes:
    if case["hex"] is not None:
        return bytes.fromhex(str(case["hex"]))
    recipe = case["recipe"]
    return (
        bytes.fromhex(str(recipe["prefix_hex"]))
        + bytes.fromhex(recipe["repeat_hex"]) * int(recipe["count"])
        + bytes.fromhex(recipe["suffix_hex"])
    )


def test_scalars_strings_and_short_arrays_come_back_as_written() -> None:
    metadata: dict[str, Writable] = {
        "general.architecture": "llama",
        "a.u8": Typed("uint8", 255),
        "a.i8": Typed("int8", -128),
        "a.u16": Typed("uint16", 65535),
        "a.i16": Typed("int16", -1),
        "a.i32": Typed("int32", -5),
        "a.f32": 0.5,
        "a.u64": Typed("uint64", 2**64 - 1),
        "a.i64": Typed("int64", -(2**63)),
        "a.f64": Typed("float64", 0.1),
        "a.yes": True,
        "a.pattern": Array("bool", [True, False, True]),
        "a.heads": Array("int32", [8, 0, 8]),
        "a.factors": Array("float32", [1.0, 2.5]),
        "general.tags": Array("string", ["chat", "日本語"]),
        "a.none": Array("uint32", []),
    }
    raw = whole(metadata)

    found = parse_header(raw, len(raw))

    expected = {
        key: tuple(value.values) if isinstance(value, Array) else getattr(value, "value", value)
        for key, value in metadata.items()
    }
    assert dict(found.metadata) == expected
    assert found.metadata["a.yes"] is True
    assert found.metadata["a.pattern"] == (True, False, True)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_the_format_are_read(version: int) -> None:
    raw = whole(*llama(), version=version)

    assert parse_header(raw, len(raw)).version == version


def test_tensors_come_with_type_shape_place_and_bytes() -> None:
    raw = whole(
        {"general.architecture": "llama"},
        [Tensor("a.weight", "q4_K", (512, 3)), Tensor("b.bias", "f32", (5,))],
    )

    found = parse_header(raw, len(raw))

    assert tuple(found.tensors["a.weight"]) == ("a.weight", "q4_K", (512, 3), 0, 864)
    assert tuple(found.tensors["b.bias"]) == ("b.bias", "f32", (5,), 864, 20)
    assert found.n_bytes + 884 == found.file_size == len(raw)
    assert found.tensor_bytes == 884


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_the_alignment_of_the_file_moves_the_data(alignment: int) -> None:
    metadata, tensors = llama()
    raw = whole({"general.alignment": alignment, **metadata}, tensors, alignment=alignment)

    found = parse_header(raw, len(raw))

    assert found.alignment == alignment
    assert found.n_bytes % alignment == 0


def test_vocabularies_are_counted_and_not_kept() -> None:
    raw = whole(*llama(n_vocab=5000, n_merges=9000))

    found = parse_header(raw, len(raw))

    assert found.n_vocab == 5000
    assert found.metadata["tokenizer.ggml.merges"] == SkippedArray("string", 9000)
    assert found.metadata["tokenizer.ggml.token_type"] == SkippedArray("int32", 5000)


def test_a_mapped_file_a_view_and_bytes_read_alike(tmp_path: Path) -> None:
    raw, size = header(*llama(n_vocab=5000))
    path = write(tmp_path / "m.gguf", raw, size)
    content = path.read_bytes()

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        from_map = parse_header(mapped, size)

    assert from_map == parse_header(content, size) == parse_header(memoryview(content), size)


def test_a_prefix_says_how_much_more_it_needs_and_never_too_much() -> None:
    raw, size = header(*llama(n_vocab=6000, n_merges=7000))
    whole_header = parse_header(raw.ljust(size, b"\0"), size)
    walked: dict[int, tuple[int, int]] = {}
    have, rounds = 24, 0
    while True:
        try:
            found = parse_header(raw[:have], size, walked=walked)
            break
        except NeedMoreBytes as short:
            assert have < short.at_least <= len(raw)
            assert short.at_least <= short.likely
            have, rounds = short.at_least, rounds + 1

    assert found == whole_header
    assert rounds < 200


def test_every_strict_prefix_asks_for_more() -> None:
    metadata, tensors = llama(n_layer=1, n_vocab=12, n_merges=6)
    raw, size = header(metadata, tensors)
    end = len(raw.rstrip(b"\0"))

    for cut in range(0, end - 8, 7):
        with pytest.raises(NeedMoreBytes):
            parse_header(raw[:cut], size)


def test_a_file_cut_short_is_truncated_wherever_it_was_cut() -> None:
    raw = whole(*llama(n_layer=1, n_vocab=12, n_merges=6))

    for cut in range(4, len(raw), 997):
        with pytest.raises(InvalidGguf):
            parse_header(raw[:cut], cut)


# Jumping over vocabularies ---------------------------------------------------------------------


def with_vocabulary(tokens: list[bytes], **extra: Any) -> bytes:
    metadata, tensors = llama()
    metadata["tokenizer.ggml.tokens"] = Array("string", tokens)
    metadata["tokenizer.ggml.token_type"] = Array("int32", [1] * len(tokens))
    return whole({**metadata, **extra}, tensors)


def walked_header(raw: bytes) -> Header:
    """The header as the plain walk finds it, the yardstick of every jump."""
    prefix_end = len(raw) - 1
    return parse_header(raw[:prefix_end], len(raw))


FAKE_ENTRIES = [
    b"tokenizer.ggml.token_type",
    text("tokenizer.ggml.token_type") + b"\x04\0\0\0",
    entry("tokenizer.ggml.bos_token_id", 7),
    entry("general.quantization_version", 2) * 3,
    entry("llama.block_count", 99),
    entry("tokenizer.ggml.token_type", Array("int32", [1] * 50)),
    bytes(64) + entry("tokenizer.ggml.eos_token_id", 2),
    b"",
    b"\0" * 40,
]


@pytest.mark.parametrize("fake", FAKE_ENTRIES)
@pytest.mark.parametrize("place", [0, 2500, 5998, 5999])
def test_text_that_looks_like_an_entry_changes_nothing(fake: bytes, place: int) -> None:
    tokens = words(6000, 4)
    tokens[place] = fake
    raw = with_vocabulary(tokens)

    found = parse_header(raw, len(raw))

    assert found == walked_header(raw)
    assert found.metadata["llama.block_count"] == 2
    assert found.n_vocab == 6000


def test_a_whole_second_header_inside_a_token_is_not_believed() -> None:
    """The token holds every entry and tensor that would end the file just as validly."""
    tokens = words(6000, 1)
    honest = with_vocabulary(tokens)
    n_entries, n_tensors = struct.unpack_from("<Q", honest, 16)[0], 0
    found = parse_header(honest, len(honest))
    n_tensors = len(found.tensors)
    keys = list(found.metadata)
    left = n_entries - keys.index("tokenizer.ggml.tokens") - 1
    fake = entry("tokenizer.ggml.x0", Typed("uint8", 0))
    fake += b"".join(entry(f"tokenizer.ggml.x{i}", Typed("uint8", 0)) for i in range(1, left))
    for i in range(n_tensors):
        fake += text(f"t{i}") + struct.pack("<IQIQ", 1, 8, 0, 32 * i)
    tokens[5990] = fake + b"\0" * 64
    raw = with_vocabulary(tokens)

    assert parse_header(raw, len(raw)) == walked_header(raw)
    assert "t0" not in parse_header(raw, len(raw)).tensors


def test_an_array_followed_by_an_unknown_kind_of_key_is_walked() -> None:
    metadata, tensors = llama()
    metadata["tokenizer.ggml.zz"] = Array("string", words(6000, 4))
    metadata["zzz.strange"] = 5
    raw = whole(metadata, tensors)

    found = parse_header(raw, len(raw))

    assert found.metadata["zzz.strange"] == 5
    assert found == walked_header(raw)


def test_a_vocabulary_at_the_very_end_of_the_metadata_is_found() -> None:
    metadata, tensors = llama()
    metadata["tokenizer.ggml.last"] = Array("string", words(9000, 4))
    raw = whole(metadata, tensors)

    assert parse_header(raw, len(raw)) == walked_header(raw)


def test_strings_longer_than_255_bytes_are_walked_over_rightly() -> None:
    raw = with_vocabulary([b"x" * (i % 700) for i in range(6000)])

    assert parse_header(raw, len(raw)) == walked_header(raw)


# Hostile files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", HOSTILE, ids=[case["name"] for case in HOSTILE])
def test_a_hostile_header_ends_in_one_clear_sentence(case: dict[str, Any]) -> None:
    raw = bytes_of(case)
    assert len(raw) == case["bytes"]

    with pytest.raises(GgufctlError) as caught:
        validate_model_metadata(parse_header(raw, len(raw)))

    assert caught.value.exit_code in {5, 6, 7}
    assert caught.value.message.isprintable()
    assert 10 < len(caught.value.message) < 300


def test_hostile_headers_take_neither_time_nor_memory(tmp_path: Path) -> None:
    """All of them together stay within the second and the 200 MB that each is allowed."""
    script = tmp_path / "all.py"
    script.write_text(
        "import json, resource, sys, time\n"
        "from ggufctl.core.header import parse_header, validate_model_metadata\n"
        "from ggufctl.errors import GgufctlError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "for case in json.load(open(sys.argv[1]))['cases']:\n"
        "    recipe = case.get('recipe')\n"
        "    raw = bytes.fromhex(case['hex']) if recipe is None else (\n"
        "        bytes.fromhex(recipe['prefix_hex'])\n"
        "        + bytes.fromhex(recipe['repeat_hex']) * recipe['count']\n"
        "        + bytes.fromhex(recipe['suffix_hex']))\n"
        "    started = time.process_time()\n"
        "    try:\n"
        "        validate_model_metadata(parse_header(raw, len(raw)))\n"
        "    except GgufctlError:\n"
        "        print(time.process_time() - started)\n"
    )

    ran = subprocess.run(
        [sys.executable, str(script), str(DATA / "hostile_headers.json")],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    times = [float(line) for line in ran.stdout.split()]
    assert len(times) == len(HOSTILE)
    assert max(times) < 1


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"<!DOCTYPE html><html>" + b" " * 80, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64, "git-lfs"),
        (b"tjgg" + bytes(60), "GGML"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big endian"),
        (struct.pack("<Q", 40) + b'{"a":{"dtype":"F16"}}' + bytes(60), "safetensors"),
        (b"PK\x03\x04" + bytes(60), "PyTorch"),
        (b"", "empty"),
    ],
)
def test_what_is_not_a_gguf_is_named(raw: bytes, named: str) -> None:
    with pytest.raises(GgufctlError, match=named):
        parse_header(raw, len(raw))


def changed(**metadata: Any) -> Header:
    values, tensors = llama()
    values.update({key.replace("__", "."): value for key, value in metadata.items()})
    raw = whole(values, tensors)
    return parse_header(raw, len(raw))


@pytest.mark.parametrize(
    "metadata",
    [
        {"llama__block_count": 513},
        {"llama__block_count": Array("int32", [2, 2])},
        {"llama__context_length": 0},
        {"llama__attention__head_count": Array("int32", [4, -4])},
        {"llama__attention__head_count_kv": 0.5},
        {"llama__rope__freq_base": float("inf")},
        {"llama__attention__scale": float("nan")},
        {"general__architecture": "LLaMA"},
        {"general__architecture": "a" * 65},
        {"general__architecture": ""},
    ],
)
def test_numbers_that_no_plan_can_be_made_of_are_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidGguf):
        validate_model_metadata(changed(**metadata))


def test_infinity_is_fine_where_no_plan_uses_it() -> None:
    validate_model_metadata(changed(llama__kda__gate_lower_bound=float("-inf")))


def test_a_model_without_heads_is_fine_when_it_is_recurrent() -> None:
    validate_model_metadata(changed(llama__attention__head_count=0, llama__ssm__state_size=16))


def test_a_vocabulary_alone_is_no_model() -> None:
    metadata, _ = llama()
    raw = whole(metadata)

    with pytest.raises(UnsupportedModel, match="vocabulary"):
        validate_model_metadata(parse_header(raw, len(raw)))


# Shards ----------------------------------------------------------------------------------------


def test_shards_in_any_order_merge_into_the_model_they_were_split_from() -> None:
    metadata, tensors = llama(n_layer=4)
    single = whole(metadata, tensors)
    parts = [
        parse_header(raw.ljust(size, b"\0"), size) for raw, size in shards(metadata, tensors, 3)
    ]

    merged = merge_shards(reversed(parts))

    assert {name: t[1:3] for name, t in merged.tensors.items()} == {
        name: t[1:3] for name, t in parse_header(single, len(single)).tensors.items()
    }
    assert merged.metadata == parse_header(single, len(single)).metadata
    assert merged.file_size == sum(part.file_size for part in parts)
    assert [part.shard_no for part in merged.shards] == [0, 1, 2]


def test_an_incomplete_or_mixed_set_of_shards_is_refused() -> None:
    metadata, tensors = llama(n_layer=4)
    a, b, c = (parse_header(r.ljust(s, b"\0"), s) for r, s in shards(metadata, tensors, 3))
    other = shards(metadata, tensors, 2)[1]
    d = parse_header(other[0].ljust(other[1], b"\0"), other[1])

    for wrong in ([a, c], [a, b, b], [a, b, c, d], [], [b]):
        with pytest.raises(InvalidGguf):
            merge_shards(wrong)


# The reference reader --------------------------------------------------------------------------


def reference(
    path: Path,
) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...], int, int]]]:
    """Metadata and tensors as PyPI gguf reads them; long arrays as their lengths."""
    import gguf

    found = gguf.GGUFReader(path)
    metadata: dict[str, Any] = {}
    for field in found.fields.values():
        if field.name.startswith("GGUF."):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            long = len(field.data) > 64 or field.name.startswith("tokenizer.")
            metadata[field.name] = len(field.data) if long else tuple(field.contents())
        else:
            metadata[field.name] = field.contents()
    tensors = {
        t.name: (
            t.tensor_type.name.lower(),
            tuple(int(n) for n in t.shape),
            int(t.data_offset - found.data_offset),
            int(t.n_bytes),
        )
        for t in found.tensors
    }
    return metadata, tensors


def ours(path: Path) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...], int, int]]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = parse_header(mapped, len(mapped))
    metadata: dict[str, Any] = {}
    for key, value in found.metadata.items():
        if isinstance(value, SkippedArray):
            metadata[key] = value.length
        elif isinstance(value, tuple) and len(value) > 64:
            metadata[key] = len(value)
        else:
            metadata[key] = value
    tensors = {
        t.name: (t.type.lower(), t.shape, t.offset, t.n_bytes) for t in found.tensors.values()
    }
    return metadata, tensors


def test_the_reference_reader_finds_the_same_in_a_small_file(tmp_path: Path) -> None:
    metadata, tensors = llama(n_layer=3, n_vocab=700)
    metadata["llama.attention.pattern"] = Array("bool", [True, False])
    metadata["tokenizer.chat_template"] = "{{ messages }}" * 40
    path = write(tmp_path / "m.gguf", *header(metadata, tensors))

    assert ours(path) == reference(path)


BIG_HEADERS: dict[str, dict[str, Any]] = {
    "deep-128k": {"n_layer": 80, "n_embd": 1024, "n_vocab": 128_256, "n_merges": 40_000},
    "middle-152k": {"n_layer": 48, "n_embd": 512, "n_vocab": 151_936, "n_merges": 20_000},
    "wide-201k": {"n_layer": 24, "n_embd": 512, "n_vocab": 201_088, "n_merges": 10_000},
}


@pytest.mark.parametrize("shape", list(BIG_HEADERS.values()), ids=list(BIG_HEADERS))
def test_the_reference_reader_finds_the_same_in_a_big_header(
    tmp_path: Path, shape: dict[str, Any]
) -> None:
    path = write(tmp_path / "big.gguf", *header(*llama(**shape)))

    assert ours(path) == reference(path)


def test_reading_a_header_needs_only_the_standard_library() -> None:
    script = (
        "import sys; before = set(sys.modules); import ggufctl.core.header; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names) - {'ggufctl'}))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert ran.stdout.strip() == "[]"


def test_the_chat_template_is_kept_as_text_and_as_nothing_more() -> None:
    template = "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}"
    found = changed(tokenizer__chat_template=template)

    kept = found.metadata["tokenizer.chat_template"]

    assert isinstance(kept, str)
    assert hashlib.sha256(kept.encode()).digest() == hashlib.sha256(template.encode()).digest()
    assert "jinja2" not in vars(reader)
