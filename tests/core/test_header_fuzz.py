"""Whatever the bytes are, the reader ends with a header or one of its own errors."""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ggufctl.core.header import (
    Header,
    NeedMoreBytes,
    SkippedArray,
    parse_header,
    validate_model_metadata,
)
from ggufctl.errors import GgufctlError, InvalidGguf, UnsupportedModel
from ggufs import Array, header, llama, whole, words

_METADATA, _TENSORS = llama(n_layer=1, n_vocab=20, n_merges=10)
VALID = whole(_METADATA, _TENSORS)
HEADER_END = len(header(_METADATA, _TENSORS)[0])

_LONG, _LONG_TENSORS = llama(n_layer=1, n_vocab=5000, n_merges=4200)
LONG = whole(_LONG, _LONG_TENSORS)
LONG_END = len(header(_LONG, _LONG_TENSORS)[0])

many = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
INTERESTING = [0, 1, 2, 9, 31, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]


def outcome(raw: bytes, file_size: int) -> Header | GgufctlError:
    """What came of it; an error of any other kind passes through and fails the test."""
    try:
        found = parse_header(raw, file_size)
    except (InvalidGguf, UnsupportedModel, NeedMoreBytes) as error:
        assert error.message.isprintable()
        if isinstance(error, NeedMoreBytes):
            assert len(raw) < error.at_least <= error.likely or error.at_least <= file_size
            assert error.at_least > len(raw)
        return error
    check(found, file_size)
    return found


def check(found: Header, file_size: int) -> None:
    """What every header that is accepted keeps to."""
    end = 0
    for name, tensor in found.tensors.items():
        assert name == tensor.name
        # GGML_MAX_DIMS of ggml.h is 4, and a tensor has at least one.
        assert 1 <= len(tensor.shape) <= 4
        assert min(tensor.shape) > 0
        assert tensor.offset % found.alignment == 0
        assert tensor.offset >= end
        end = tensor.offset + tensor.n_bytes
    assert not found.tensors or found.n_bytes + end <= file_size
    try:
        validate_model_metadata(found)
    except (InvalidGguf, UnsupportedModel) as error:
        assert error.message.isprintable()


@many
@given(st.binary(max_size=400))
@example(b"GGUF")
def test_random_bytes_end_in_an_error_of_ours(raw: bytes) -> None:
    outcome(raw, len(raw))


@many
@given(st.binary(max_size=400), st.integers(0, 6), st.integers(0, 6))
def test_random_bytes_behind_a_valid_preamble_end_in_an_error_of_ours(
    raw: bytes, n_tensors: int, n_kv: int
) -> None:
    raw = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_kv) + raw
    outcome(raw, len(raw))
    outcome(raw, len(raw) + 1000)


@many
@given(st.integers(0, len(VALID)))
def test_a_truncated_file_is_refused(cut: int) -> None:
    result = outcome(VALID[:cut], cut)

    assert isinstance(result, InvalidGguf) or cut == len(VALID)


@many
@given(st.integers(0, HEADER_END - 1), st.integers(0, 255))
def test_one_changed_byte_is_survived(position: int, value: int) -> None:
    raw = bytearray(VALID)
    raw[position] = value
    outcome(bytes(raw), len(raw))


@many
@given(
    st.integers(0, HEADER_END - 8),
    st.sampled_from(INTERESTING),
    st.sampled_from(["<I", "<Q", ">Q"]),
)
def test_a_number_made_absurd_is_survived(position: int, value: int, code: str) -> None:
    raw = bytearray(VALID)
    mask = 2**32 - 1 if code == "<I" else 2**64 - 1
    struct.pack_into(code, raw, position, value & mask)
    outcome(bytes(raw), len(raw))


@many
@given(
    st.lists(st.tuples(st.integers(0, HEADER_END), st.integers(0, HEADER_END)), max_size=4),
    st.binary(max_size=40),
)
def test_pieces_moved_about_are_survived(cuts: list[tuple[int, int]], extra: bytes) -> None:
    raw = VALID
    for a, b in cuts:
        raw = raw[:a] + raw[b:] if a < b else raw[:b] + extra + raw[b:a] + raw[a:]
    outcome(raw, len(raw))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, LONG_END - 1), st.binary(min_size=1, max_size=12))
@example(427, b"\x00\x81\x7f")
def test_a_jump_over_a_damaged_vocabulary_finds_what_a_walk_finds_or_what_was_written(
    position: int, patch: bytes
) -> None:
    raw = bytearray(LONG)
    raw[position : position + len(patch)] = patch
    raw = raw[: len(LONG)]

    jumped = outcome(bytes(raw), len(raw))
    walked = outcome(bytes(raw[:-1]), len(raw))

    # Where a string of the vocabulary lies about its length, nothing else depends on it: the
    # jump may then still find every entry and tensor that was written.
    if isinstance(walked, Header):
        # By their words: a number that became NaN is not equal to itself.
        assert repr(jumped) == repr(walked)
    elif isinstance(jumped, Header):
        assert jumped.tensors == parse_header(LONG, len(LONG)).tensors


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_key_like_text_anywhere_in_a_vocabulary_changes_nothing(data: st.DataObject) -> None:
    tokens = words(4200, 3)
    key = data.draw(st.sampled_from(["tokenizer.ggml.a", "general.b", "llama.block_count"]))
    kind = data.draw(st.integers(0, 13))
    fake = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        tail = data.draw(st.binary(max_size=24))
        tokens[place] = fake * data.draw(st.integers(1, 3)) + tail
    metadata = {**_METADATA, "tokenizer.ggml.tokens": Array("string", tokens)}
    raw = whole(metadata, _TENSORS)

    found = parse_header(raw, len(raw))

    assert found == parse_header(raw[:-1], len(raw))
    assert found.metadata["tokenizer.ggml.tokens"] == SkippedArray("string", 4200)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=30))
def test_a_file_that_arrives_in_any_pieces_reads_as_the_whole(steps: list[int]) -> None:
    walked: dict[int, tuple[int, int]] = {}
    have = 0
    for step in [*steps, len(VALID)]:
        have = min(have + step, len(VALID))
        try:
            found = parse_header(VALID[:have], len(VALID), walked=walked)
        except NeedMoreBytes as short:
            assert have < short.at_least <= HEADER_END
        else:
            assert found == parse_header(VALID, len(VALID))
