"""Reads the header of a GGUF file out of a buffer: metadata and tensor list, never the data.

A header of a large model is mostly vocabulary, which planning does not need. Numeric arrays are
skipped by arithmetic. Arrays of strings have no length in bytes: the reader looks for the entry
that must follow and takes it only when the rest of the header parses from there to the last
tensor and nothing that was skipped looks like another entry. In every other case it walks the
array element by element. Damage inside a vocabulary that leaves all else intact is therefore not
always noticed here; nothing that is read depends on it.

Every count, length and offset comes from a stranger's file and is compared with the size of the
file, in Python integers, before it is used.

Source: llama.cpp ggml/src/gguf.cpp `gguf_init_from_reader` (pin in core/_pins.py).
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ggufctl.core._pins import GGUF_VERSIONS
from ggufctl.core.escape import is_unsafe, quoted
from ggufctl.core.ggml.types import TYPES_BY_ID
from ggufctl.errors import GgufctlError, InvalidGguf, UnsupportedModel

__all__ = [
    "MAX_ALIGNMENT",
    "MAX_HEADER_BYTES",
    "MAX_KEYS",
    "MAX_LAYERS",
    "MAX_NAME_BYTES",
    "MAX_SHARDS",
    "MAX_STRING_BYTES",
    "MAX_TEMPLATE_BYTES",
    "MAX_TENSORS",
    "Buffer",
    "Header",
    "NeedMoreBytes",
    "SkippedArray",
    "TensorInfo",
    "Value",
    "merge_shards",
    "parse_header",
    "validate_model_metadata",
]

MAX_KEYS = 100_000
"""Most metadata entries a header may have."""

MAX_TENSORS = 65_536
"""Most tensors a header may describe."""

MAX_STRING_BYTES = 1 << 20
"""Longest string, a chat template excepted.  [bytes]"""

MAX_TEMPLATE_BYTES = 8 << 20
"""Longest chat template.  [bytes]"""

MAX_NAME_BYTES = 63
"""Longest tensor name; ggml keeps a terminator in its 64.  [bytes]"""

MAX_DIMS = 4
"""Most dimensions of a tensor."""

MAX_ALIGNMENT = 1 << 20
"""Largest `general.alignment`.  [bytes]"""

MAX_HEADER_BYTES = 256 << 20
"""Largest header.  [bytes]"""

MAX_SHARDS = 1000
"""Most files one model may be split into."""

MAX_LAYERS = 512
"""Most layers llama.cpp is built for.

Source: llama.cpp src/llama-hparams.h `LLAMA_MAX_LAYERS`.
"""

_MAX_KEY_BYTES = 65_535
_KEPT_NUMBERS = 4096
_KEPT_STRINGS = 256
_WALKED_STRINGS = 4096
_DOUBT_WINDOW_BYTES = 1 << 20
_DEFAULT_ALIGNMENT = 32
_MAX_COUNT = 2**31 - 1

_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9
_SCALARS: dict[int, tuple[str, struct.Struct]] = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<B")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_ARRAY_HEAD = struct.Struct("<IQ").unpack_from
_TENSOR_TAIL = tuple(struct.Struct(f"<{n}QIQ") for n in range(MAX_DIMS + 1))

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
_SHARD_KEYS = ("split.no", "split.count", "split.tensors.count")

Buffer: TypeAlias = bytes | mmap.mmap | memoryview
"""What `parse_header` reads from: a whole file, or its first bytes."""


class NeedMoreBytes(GgufctlError):
    """The buffer ends inside the header.

    Args:
        at_least: the header certainly reaches this far.  [bytes]
        likely: it probably reaches this far, judged by the part that was seen.  [bytes]
    """

    def __init__(self, at_least: int, likely: int = 0) -> None:
        super().__init__(f"the header needs at least {at_least} bytes")
        self.at_least = at_least
        self.likely = max(at_least, likely)


class TensorInfo(NamedTuple):
    """One tensor of a GGUF file."""

    name: str
    type: str
    """llama.cpp's name of the type, such as `q4_K`."""
    shape: tuple[int, ...]
    """One to four extents, row length first, as stored."""
    offset: int
    """From the start of the tensor data of its own file.  [bytes]"""
    n_bytes: int


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array whose elements are not kept: a vocabulary, its scores, its merges."""

    type: str
    length: int


Value: TypeAlias = (
    int | float | bool | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | SkippedArray
)
"""One metadata value."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file, or a complete set of shards, says about itself."""

    version: int
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]
    n_bytes: int
    """Where the tensor data starts; over all shards, their sum.  [bytes]"""
    alignment: int
    file_size: int
    """Of all shards together.  [bytes]"""
    n_shards: int = 1
    """How many files the model has, as this header says."""
    shard_no: int = 0
    """Which of them this is, counted from 0."""
    shards: tuple[Header, ...] = field(default=(), repr=False)
    """The headers that were merged; empty for one file."""

    @property
    def architecture(self) -> str:
        """`general.architecture`, or the empty string."""
        value = self.metadata.get("general.architecture", "")
        return value if isinstance(value, str) else ""

    @property
    def n_vocab(self) -> int:
        """Number of tokens in the vocabulary; 0 when the file has none."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens.length if isinstance(tokens, SkippedArray) else 0

    @property
    def tensor_bytes(self) -> int:
        """Sum of all tensors, without padding.  [bytes]"""
        return sum(tensor.n_bytes for tensor in self.tensors.values())


def parse_header(
    buffer: Buffer, file_size: int, *, walked: dict[int, tuple[int, int]] | None = None
) -> Header:
    """Read the header at the start of `buffer`.

    Args:
        buffer: the file, or as much of its beginning as is at hand.
        file_size: size of the whole file.  [bytes]
        walked: progress within long arrays, filled and used when the same file is parsed again
            with a longer buffer.

    Raises:
        NeedMoreBytes: the buffer is shorter than the file and ends inside the header.
        InvalidGguf: the file is broken, truncated or hostile.
        UnsupportedModel: the file is a model of another format.
    """
    data = bytes(buffer) if isinstance(buffer, memoryview) else buffer
    if len(data) > file_size:
        raise InvalidGguf(f"The file is {file_size:,} bytes long but more were read.")
    if len(data) == file_size:
        parser = _Parser(data, file_size, may_jump=True, walked={})
        try:
            header = parser.parse()
            if not parser.jumps or not parser.is_doubtful(header):
                return header
        except InvalidGguf:
            if not parser.jumps:
                raise
    return _Parser(data, file_size, may_jump=False, walked={} if walked is None else walked).parse()


class _Parser:
    """One pass over one buffer."""

    def __init__(
        self,
        data: bytes | mmap.mmap,
        file_size: int,
        *,
        may_jump: bool,
        walked: dict[int, tuple[int, int]],
    ) -> None:
        self.data = data
        self.file_size = file_size
        self.end = len(data)
        self.may_jump = may_jump
        self.walked = walked
        self.jumps = 0
        self.skipped: list[tuple[int, int]] = []
        self.architecture = b""

    def parse(self) -> Header:
        version, n_tensors, n_kv = self._preamble()
        metadata, position = self._metadata(n_kv)
        alignment = _alignment(metadata)
        tensors, position = self._tensors(position, n_tensors, alignment)
        n_bytes = _pad(position, alignment) if n_tensors else position
        self._check_extents(tensors, n_bytes)
        n_shards, shard_no = _shard_of(metadata)
        return Header(
            version, metadata, tensors, n_bytes, alignment, self.file_size, n_shards, shard_no
        )

    def is_doubtful(self, header: Header) -> bool:
        """Whether anything outside the parsed entries looks like an entry of a header."""
        window = (header.n_bytes, min(header.n_bytes + _DOUBT_WINDOW_BYTES, self.end))
        return any(
            self._find_entry(start, end, family) >= 0
            for start, end in (*self.skipped, window)
            for family in self._families()
        )

    def _need(self, at_least: int, likely: int = 0) -> GgufctlError:
        """Why the bytes up to `at_least` cannot be read, as the error to raise."""
        if at_least > self.file_size:
            return InvalidGguf(
                f"The file is truncated or corrupt: its header reaches past the "
                f"{self.file_size:,} bytes of the file."
            )
        if at_least > MAX_HEADER_BYTES:
            return InvalidGguf(f"The header is larger than {MAX_HEADER_BYTES >> 20} MiB.")
        return NeedMoreBytes(at_least, min(likely, self.file_size, MAX_HEADER_BYTES))

    def _require(self, at_least: int) -> None:
        if at_least > self.end or at_least > MAX_HEADER_BYTES:
            raise self._need(at_least)

    def _preamble(self) -> tuple[int, int, int]:
        data, size = self.data, self.file_size
        magic = bytes(data[: min(self.end, 64)])
        if magic[:4] != b"GGUF":
            if len(magic) < min(64, size):
                self._require(min(64, size))
            raise _not_gguf(magic, size)
        self._require(8)
        version = _U32(data, 4)[0]
        if version & 0xFFFF == 0 and version:
            raise InvalidGguf(
                "The file is big endian, and llama.cpp on a GPU host reads little endian only."
            )
        if version not in GGUF_VERSIONS:
            readable = " and ".join(str(v) for v in GGUF_VERSIONS)
            raise InvalidGguf(f"GGUF version {version} is not readable; versions {readable} are.")
        self._require(24)
        n_tensors, n_kv = _U64(data, 8)[0], _U64(data, 16)[0]
        if n_tensors > MAX_TENSORS:
            raise InvalidGguf(
                f"The header declares {n_tensors:,} tensors; {MAX_TENSORS:,} is most."
            )
        if n_kv > MAX_KEYS:
            raise InvalidGguf(f"The header declares {n_kv:,} entries; {MAX_KEYS:,} is the most.")
        smallest = 24 + n_kv * 14 + n_tensors * 33
        if smallest > size:
            raise InvalidGguf(
                f"The header declares {n_kv:,} entries and {n_tensors:,} tensors, more than "
                f"its {size:,} bytes can hold."
            )
        return version, n_tensors, n_kv

    def _metadata(self, n_kv: int) -> tuple[dict[str, Value], int]:
        metadata: dict[str, Value] = {}
        position = 24
        for _ in range(n_kv):
            key, position = self._key(position)
            if key in metadata:
                raise InvalidGguf(f"The key {quoted(key)} is there twice.")
            metadata[key], position = self._value(key, position)
            if key == "general.architecture":
                value = metadata[key]
                if not isinstance(value, str):
                    raise InvalidGguf("general.architecture is not a string.")
                self.architecture = value.encode()[:64]
        return metadata, position

    def _key(self, position: int) -> tuple[str, int]:
        self._require(position + 12)
        length = _U64(self.data, position)[0]
        if not 0 < length <= _MAX_KEY_BYTES:
            raise InvalidGguf(f"A key of {length:,} bytes is not possible.")
        start = position + 8
        self._require(start + length + 4)
        try:
            key = str(self.data[start : start + length], "utf-8")
        except UnicodeDecodeError:
            raise InvalidGguf("A key is not valid UTF-8.") from None
        if is_unsafe(key):
            raise InvalidGguf(f"The key {quoted(key)} holds control characters.")
        return key, start + length

    def _value(self, key: str, position: int) -> tuple[Value, int]:
        kind = _U32(self.data, position)[0]
        position += 4
        if key == "general.alignment" and kind != _UINT32:
            raise InvalidGguf("general.alignment is not a uint32.")
        if kind == _STRING:
            return self._string(key, position)
        if kind == _ARRAY:
            return self._array(key, position)
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise InvalidGguf(f"The key {quoted(key)} has the unknown value type {kind}.")
        layout = scalar[1]
        self._require(position + layout.size)
        value: int | float = layout.unpack_from(self.data, position)[0]
        if kind == _BOOL:
            if value > 1:
                raise InvalidGguf(f"The key {quoted(key)} is neither true nor false.")
            value = bool(value)
        return value, position + layout.size

    def _string(self, key: str, position: int) -> tuple[str, int]:
        self._require(position + 8)
        length = _U64(self.data, position)[0]
        position += 8
        is_template = key.startswith("tokenizer.chat_template")
        limit = MAX_TEMPLATE_BYTES if is_template else MAX_STRING_BYTES
        if length > limit:
            raise InvalidGguf(
                f"The value of {quoted(key)} claims {length:,} bytes; {limit:,} is most."
            )
        self._require(position + length)
        end = position + length
        if length > 64:
            self.skipped.append((position, end))
        return str(self.data[position:end], "utf-8", "replace"), end

    def _array(self, key: str, position: int) -> tuple[Value, int]:
        self._require(position + 12)
        kind, length = _ARRAY_HEAD(self.data, position)
        start = position + 12
        if kind == _STRING:
            return self._string_array(key, start, length)
        scalar = _SCALARS.get(kind)
        if scalar is None:
            what = "nested arrays" if kind == _ARRAY else f"the unknown element type {kind}"
            raise InvalidGguf(f"The key {quoted(key)} holds {what}, which GGUF does not allow.")
        name, layout = scalar
        end = start + length * layout.size
        self._require(end)
        if kind == _BOOL and self.data[start:end].translate(None, b"\0\1"):
            raise InvalidGguf(f"The key {quoted(key)} holds a bool that is neither true nor false.")
        if length > _KEPT_NUMBERS or key.startswith("tokenizer."):
            self.skipped.append((start, end))
            return SkippedArray(name, length), end
        values = struct.unpack_from(f"<{length}{layout.format[1:]}", self.data, start)
        return (tuple(map(bool, values)) if kind == _BOOL else values), end

    def _string_array(self, key: str, start: int, length: int) -> tuple[Value, int]:
        if start + 8 * length > self.file_size:
            raise InvalidGguf(
                f"The key {quoted(key)} claims {length:,} strings, more than the file can hold."
            )
        is_vocabulary = key.startswith("tokenizer.")
        if length <= _KEPT_STRINGS and not is_vocabulary:
            values, position = [], start
            for _ in range(length):
                text, position = self._string(key, position)
                values.append(text)
            return tuple(values), position
        end = -1
        if self.may_jump and length > _WALKED_STRINGS:
            end = self._next_entry(start + 8 * length)
        if end < 0:
            end = self._walk(key, start, length)
        return SkippedArray("string", length), end

    def _walk(self, key: str, start: int, length: int) -> int:
        """The end of an array of strings, by reading the length of each."""
        index, position = self.walked.get(start, (0, start))
        data, last = self.data, min(self.end, MAX_HEADER_BYTES) - 8
        limit = (
            MAX_TEMPLATE_BYTES if key.startswith("tokenizer.chat_template") else MAX_STRING_BYTES
        )
        unpack = _U64
        for done in range(index, length):
            if position > last:
                self.walked[start] = (done, position)
                raise self._need(
                    position + 8 * (length - done),
                    position + _likely_bytes(position - start, done, length - done),
                )
            size = unpack(data, position)[0]
            if size > limit:
                raise InvalidGguf(f"A string in {quoted(key)} claims {size:,} bytes.")
            position += 8 + size
        self.walked[start] = (length, position)
        self._require(position)
        return position

    def _families(self) -> tuple[bytes, ...]:
        own = (self.architecture + b".",) if self.architecture else ()
        return (b"tokenizer.", b"general.", *own)

    def _next_entry(self, start: int) -> int:
        """Where the nearest thing that looks like an entry begins, or -1."""
        self.jumps += 1
        nearest = -1
        end = min(self.end, MAX_HEADER_BYTES)
        for family in self._families():
            found = self._find_entry(start, end if nearest < 0 else nearest, family)
            if found >= 0:
                nearest = found
        return nearest

    def _find_entry(self, start: int, end: int, family: bytes) -> int:
        """Where the first plausible entry with a key of `family` begins in a range, or -1."""
        data = self.data
        # A key shorter than 256 bytes has one byte of length and seven zeros before its text.
        needle = bytes(7) + family
        found = data.find(needle, start, end)
        while found >= 0:
            position = found - 1
            after = found + 7 + data[position]
            if position >= start and after + 4 <= self.end:
                kind = _U32(data, after)[0]
                key = data[found + 7 : after]
                if (
                    kind <= max(_SCALARS)
                    and len(key) > len(family)
                    and not key.translate(None, _KEY)
                ):
                    return position
            found = data.find(needle, found + 1, end)
        return -1

    def _tensors(
        self, position: int, n_tensors: int, alignment: int
    ) -> tuple[dict[str, TensorInfo], int]:
        data, end = self.data, min(self.end, MAX_HEADER_BYTES)
        tensors: dict[str, TensorInfo] = {}
        expected = 0
        for done in range(n_tensors):
            left = n_tensors - done
            if position + 8 > end:
                raise self._need(position + 33 * left, position + 48 * left)
            length = _U64(data, position)[0]
            if not 0 < length <= MAX_NAME_BYTES:
                raise InvalidGguf(
                    f"A tensor name of {length:,} bytes is not possible; {MAX_NAME_BYTES} is most."
                )
            start = position + 8
            position = start + length
            if position + 4 > end:
                raise self._need(position + 24 + 33 * (left - 1), position + 48 * left)
            try:
                name = str(data[start:position], "utf-8")
            except UnicodeDecodeError:
                raise InvalidGguf("A tensor name is not valid UTF-8.") from None
            if is_unsafe(name):
                raise InvalidGguf(f"The tensor name {quoted(name)} holds control characters.")
            if name in tensors:
                raise InvalidGguf(f"The tensor {quoted(name)} is there twice.")
            n_dims = _U32(data, position)[0]
            if not 0 < n_dims <= MAX_DIMS:
                raise InvalidGguf(
                    f"The tensor {quoted(name)} has {n_dims:,} dimensions, not 1 to 4."
                )
            layout = _TENSOR_TAIL[n_dims]
            position += 4
            if position + layout.size > end:
                raise self._need(position + layout.size + 33 * (left - 1), position + 48 * left)
            *shape, type_id, offset = layout.unpack_from(data, position)
            position += layout.size
            tensor = _tensor(name, tuple(shape), type_id, offset)
            if offset != expected:
                raise _misplaced(tensor, expected, alignment)
            tensors[name] = tensor
            expected = _pad(offset + tensor.n_bytes, alignment)
        return tensors, position

    def _check_extents(self, tensors: dict[str, TensorInfo], n_bytes: int) -> None:
        if not tensors:
            return
        last = next(reversed(tensors.values()))
        needed = n_bytes + last.offset + last.n_bytes
        if needed > self.file_size:
            raise InvalidGguf(
                f"The file is truncated or corrupt: its tensors need {needed:,} bytes and it has "
                f"{self.file_size:,}."
            )


_KEY = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


def _likely_bytes(seen_bytes: int, n_seen: int, n_left: int) -> int:
    """A cautious guess at the bytes of the strings left, from those that were seen.

    A little under their mean: asking for too much is what a remote reader must avoid, and a
    vocabulary begins with its shortest strings.
    """
    text_bytes = seen_bytes - 8 * n_seen
    return 8 * n_left + (7 * n_left * text_bytes // (8 * n_seen) if n_seen else 0)


def _pad(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


def _not_gguf(magic: bytes, file_size: int) -> GgufctlError:
    """What a file without the GGUF magic is, as the error to raise."""
    text = magic.lstrip().lower()
    if file_size == 0:
        return InvalidGguf("The file is empty.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return InvalidGguf(
            "The file is a web page, not a GGUF.",
            "A login or error page was saved under this name: download it again.",
        )
    if text.startswith(b"version https://git-lfs"):
        return InvalidGguf(
            "The file is a git-lfs pointer, not the GGUF it points to.",
            "Run `git lfs pull`, or download the file itself.",
        )
    if magic[:4] in {b"GGML", b"lmgg", b"fmgg", b"tjgg", b"algg", b"ggml", b"ggmf", b"ggjt"}:
        return InvalidGguf("The file is in the GGML format that GGUF replaced; convert it again.")
    if magic[:4] == b"FUGG":
        return InvalidGguf("The file is a byte-swapped GGUF.")
    if magic[:4] == b"PK\x03\x04":
        return UnsupportedModel("The file is a PyTorch or zip archive, not a GGUF.")
    if len(magic) > 8 and magic[8:9] == b"{" and 0 < _U64(magic, 0)[0] < file_size:
        return UnsupportedModel("The file is in the safetensors format, not a GGUF.")
    if b"GGUF".startswith(magic):
        return InvalidGguf(f"The file ends after {file_size} bytes, inside the GGUF magic.")
    return InvalidGguf("The file does not start with the GGUF magic.")


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or value <= 0 or value & (value - 1) or value > MAX_ALIGNMENT:
        raise InvalidGguf(
            f"general.alignment is {value}, not a power of two up to {MAX_ALIGNMENT:,}."
        )
    return value


def _shard_of(metadata: Mapping[str, Value]) -> tuple[int, int]:
    """`(number of shards, index of this one)` of a header."""
    count, number = metadata.get("split.count", 0), metadata.get("split.no", 0)
    if not isinstance(count, int) or not isinstance(number, int):
        raise InvalidGguf("split.count or split.no is not a number.")
    if not 0 <= count <= MAX_SHARDS:
        raise InvalidGguf(
            f"The model claims to be split into {count:,} files; {MAX_SHARDS} is most."
        )
    if not 0 <= number < max(count, 1):
        raise InvalidGguf(f"The file claims to be shard {number} of {count}, counted from 0.")
    return max(count, 1), number


def _tensor(name: str, shape: tuple[int, ...], type_id: int, offset: int) -> TensorInfo:
    known = TYPES_BY_ID.get(type_id)
    if known is None:
        raise InvalidGguf(f"The tensor {quoted(name)} has the unknown or removed type {type_id}.")
    if shape[0] % known.block_size:
        raise InvalidGguf(
            f"A row of the tensor {quoted(name)} has {shape[0]:,} elements, not whole blocks of "
            f"{known.block_size}."
        )
    n_bytes = shape[0] // known.block_size * known.type_size
    for extent in shape[1:]:
        n_bytes *= extent
    if n_bytes == 0:
        raise InvalidGguf(f"The tensor {quoted(name)} has an empty dimension.")
    if n_bytes >= 1 << 63:
        raise InvalidGguf(f"The tensor {quoted(name)} is larger than any machine can address.")
    return TensorInfo(name, known.name, shape, offset, n_bytes)


def _misplaced(tensor: TensorInfo, expected: int, alignment: int) -> InvalidGguf:
    where = f"The tensor {quoted(tensor.name)} starts at byte {tensor.offset:,} of the data"
    if tensor.offset % alignment:
        return InvalidGguf(f"{where}, which is not a multiple of {alignment}.")
    if tensor.offset < expected:
        return InvalidGguf(f"{where} and overlaps the one before it.")
    return InvalidGguf(f"{where}, not at {expected:,} where the one before it ends.")


def merge_shards(headers: Iterable[Header]) -> Header:
    """One header for a model that is split into several files, given in any order.

    Metadata is the first shard's, as in llama.cpp; tensors are those of all of them.

    Raises: InvalidGguf when a shard is missing, there twice, or of another model.
    """
    shards = tuple(sorted(headers, key=lambda header: header.shard_no))
    if not shards:
        raise InvalidGguf("No shard was given.")
    first = shards[0]
    numbers = [shard.shard_no for shard in shards]
    if any(shard.n_shards != first.n_shards for shard in shards):
        raise InvalidGguf("The shards disagree about how many there are.")
    if numbers != list(range(first.n_shards)):
        missing = sorted(set(range(first.n_shards)) - set(numbers))
        raise InvalidGguf(
            f"The model is split into {first.n_shards} files and "
            + (f"shard {missing[0] + 1} is missing." if missing else "one is there twice.")
        )
    if len(shards) == 1:
        return first
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name in shard.tensors:
            if name in tensors:
                raise InvalidGguf(f"The tensor {quoted(name)} is in two shards.")
        tensors.update(shard.tensors)
    declared = first.metadata.get("split.tensors.count", len(tensors))
    if declared != len(tensors):
        raise InvalidGguf(
            f"The shards hold {len(tensors):,} tensors and the first one promises {declared:,}."
        )
    return Header(
        version=first.version,
        metadata={k: v for k, v in first.metadata.items() if k not in _SHARD_KEYS},
        tensors=tensors,
        n_bytes=sum(shard.n_bytes for shard in shards),
        alignment=first.alignment,
        file_size=sum(shard.file_size for shard in shards),
        n_shards=first.n_shards,
        shards=shards,
    )


_BOUNDS: dict[str, tuple[int, int]] = {
    "block_count": (1, MAX_LAYERS),
    "context_length": (1, _MAX_COUNT),
    "embedding_length": (1, 1 << 24),
    "feed_forward_length": (0, 1 << 26),
    "attention.head_count": (0, 1 << 16),
    "attention.head_count_kv": (0, 1 << 16),
    "attention.key_length": (0, 1 << 20),
    "attention.value_length": (0, 1 << 20),
    "attention.key_length_mla": (0, 1 << 20),
    "attention.value_length_mla": (0, 1 << 20),
    "attention.q_lora_rank": (0, 1 << 24),
    "attention.kv_lora_rank": (0, 1 << 24),
    "attention.sliding_window": (-1, _MAX_COUNT),
    "expert_count": (0, 1 << 16),
    "expert_used_count": (0, 1 << 16),
    "expert_shared_count": (0, 1 << 16),
    "expert_feed_forward_length": (0, 1 << 26),
    "leading_dense_block_count": (0, MAX_LAYERS),
    "nextn_predict_layers": (0, MAX_LAYERS),
    "rope.dimension_count": (0, 1 << 20),
    "ssm.conv_kernel": (0, 1 << 16),
    "ssm.group_count": (0, 1 << 20),
    "ssm.inner_size": (0, 1 << 26),
    "ssm.state_size": (0, 1 << 20),
    "ssm.time_step_rank": (0, 1 << 20),
    "vocab_size": (0, 1 << 28),
    "wkv.head_size": (0, 1 << 20),
}


def validate_model_metadata(header: Header) -> None:
    """Refuse a well-formed header whose numbers no plan can be made of.

    Called on the header of the whole model, shards merged.

    Raises:
        InvalidGguf: the architecture is missing or no identifier, or a count, length or float
            that planning uses is missing, out of bounds or not finite.
        UnsupportedModel: the file holds a vocabulary and no model.
    """
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise InvalidGguf("The header does not say which architecture the model has.")
    if not _ARCHITECTURE.fullmatch(architecture):
        raise InvalidGguf(f"general.architecture is {quoted(architecture)}, not an identifier.")
    prefix = architecture + "."
    for key, (low, high) in _BOUNDS.items():
        value = header.metadata.get(prefix + key)
        if value is not None:
            _check_bounds(prefix + key, value, low, high)
    for key, value in header.metadata.items():
        if key.startswith(prefix):
            _check_finite(key, value, no_infinity=key.startswith(prefix + "rope."))
    n_layer = header.metadata.get(prefix + "block_count")
    if isinstance(n_layer, tuple) or n_layer is None:
        if n_layer is None and not header.tensors and header.n_vocab:
            raise UnsupportedModel("The file holds a vocabulary only, no model.")
        raise InvalidGguf(f"The header has no usable {prefix}block_count.")
    _check_heads(header, prefix)
    if not header.tensors:
        if header.n_vocab:
            raise UnsupportedModel("The file holds a vocabulary only, no model.")
        raise InvalidGguf("The file describes no tensors.")


def _check_bounds(key: str, value: Value, low: int, high: int) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidGguf(f"{quoted(key)} is not a whole number.")
        if not low <= number <= high:
            raise InvalidGguf(f"{quoted(key)} is {number:,}, not between {low:,} and {high:,}.")


def _check_finite(key: str, value: Value, *, no_infinity: bool) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and (
            math.isnan(number) or (no_infinity and math.isinf(number))
        ):
            raise InvalidGguf(f"{quoted(key)} is {number}, not a number a plan can use.")


def _check_heads(header: Header, prefix: str) -> None:
    """A model without attention heads is one that keeps a recurrent state."""
    heads = header.metadata.get(prefix + "attention.head_count")
    if heads != 0:
        return
    if not any(key.startswith((prefix + "ssm.", prefix + "wkv.")) for key in header.metadata):
        raise InvalidGguf(f"{quoted(prefix + 'attention.head_count')} is 0 in an attention model.")
