"""Lines of a log as the program wrote them: without colours, times and what collectors add.

Everything is read piece by piece, and no line is kept longer than needed, so that a log of any
size takes the same memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

__all__ = [
    "MAX_LINE_BYTES",
    "Filter",
    "LogLine",
    "LogReader",
    "clean",
    "read_log",
    "shape_of",
]

MAX_LINE_BYTES = 16 << 10
"""Of a longer line only the beginning and the end are looked at.  [bytes]"""

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]"
)

_ANSI_BYTES = re.compile(_ANSI.pattern.partition(r"|\x9b")[0].encode())

_ISO = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?Z|[+-]\d\d:?\d\d)?"
_DIGITS = "0123456789"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_PREFIXES = (
    # kubectl logs --prefix and stern
    ("[", re.compile(r"\[(?P<stream>pod/[^\]\s]+)\]\s")),
    # docker compose
    (
        _DIGITS + _UPPER + _LOWER,
        re.compile(r"(?P<stream>[A-Za-z0-9][\w.-]{0,60})\s+\|\s"),
    ),
    # containerd's and CRI-O's files
    (_DIGITS, re.compile(rf"{_ISO} (?:stdout|stderr) [FP] ")),
    # journald and syslog
    (
        _UPPER,
        re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ (?P<stream>[\w./@-]+(?:\[\d+\])?): "),
    ),
    # the same in other languages
    (
        "",
        re.compile(r"[^\s:]{2,8} [ \d]\d \d\d:\d\d:\d\d \S+ (?P<stream>[\w./@-]+\[\d+\]): "),
    ),
    (_DIGITS, re.compile(rf"{_ISO} [\w.-]+ (?P<stream>[\w./@-]+\[\d+\]): ")),
    # Modal's dashboard
    (_UPPER, re.compile(r"[A-Z][a-z]{2} \d\d\s+\d\d:\d\d:\d\d\.\d+ \| ")),
    # BuildKit
    ("#", re.compile(r"#\d+ \d+\.\d+ ")),
    # Modal's --timestamps and its container ids
    ("t", re.compile(r"(?P<stream>ta-[0-9A-Za-z]{10,}):?\s")),
    ("[" + _DIGITS, re.compile(rf"\[?{_ISO}\]?:?[\s|]+")),
    ("[" + _DIGITS, re.compile(r"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?:?\s+")),
    # llama.cpp's own, at its default verbosity
    (_DIGITS, re.compile(r"\d+\.\d{2}\.\d{3}\.\d{3} [A-Z] ")),
    # router mode of llama-server
    ("[", re.compile(r"\[(?P<stream>\d{4,5})\] (?=\d|[a-z]+[_ :])")),
    ("[IEWDF", re.compile(r"\[?(?:INFO|ERROR|WARN|WARNING|DEBUG|FATAL)\]?:?\s+(?=\S)")),
    # TrueNAS, which leaves no space
    (_DIGITS, re.compile(rf"{_ISO}(?=[A-Za-z0-9\"{{])")),
    # the kernel, Kubernetes, vLLM
    ("[", re.compile(r"\[ *\d+\.\d{3,6}\] ")),
    ("IWEF", re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w./-]+\.go:\d+\] ")),
    ("(", re.compile(r"\((?P<stream>\w+ pid=\d+)\) ")),
    (_DIGITS, re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d \[[\w./-]+:\d+\] ")),
)
"""Characters with which what is put in front of a line may begin, and what it is."""

_HEAD = 120
"""Characters in which a line says how bad it is."""

_LEVEL = re.compile(
    # llama.cpp's own, and that of Kubernetes and of gRPC
    r"\b\d+\.\d\d\.\d{3}\.\d{3} (?:(?P<engine>E)|W) |"
    r"(?:^|[\s|])(?:(?P<klog>[EF])|W)\d{4} \d\d:\d\d:\d\d|"
    r"\b(?:(?P<error>ERROR|ERR|FATAL|CRITICAL|SEVERE)|WARN|WARNING|WRN)\b|"
    r"\[(?:(?P<listed>error|fatal|E)|warn|warning|W)\]|level=(?:(?P<field>error|fatal)|warn)"
)
_LOG_FIELDS = ("log", "message", "msg", "line", "MESSAGE", "textPayload", "content")


class LogLine(NamedTuple):
    """One line."""

    number: int
    """Counted from 1, by line ends."""
    stream: str
    """Which container, unit or process wrote it, as far as the line says; mostly empty."""
    text: str
    is_error: bool | None = None
    """Whether its program wrote it as an error: False for a warning, None where it does not say."""
    raw: bytes = b""
    """As it was read."""


class Filter:
    """Finds lines that may matter in a piece of a log, without looking at lines one by one.

    Args:
        words: runs of letters in lower case; a line that has one of them as a whole matters.
        texts: what makes a line matter wherever it stands.
    """

    def __init__(self, words: Iterable[str], texts: Iterable[str]) -> None:
        self._words = frozenset(word.encode() for word in words)
        self._texts = tuple(text.encode() for text in texts)

    def select(self, piece: bytes) -> list[int]:
        """Where the lines begin that matter, in order; every line where most do.  [bytes]"""
        low = piece.lower()
        if b"\\" in low:
            # In JSON a line end is two characters, the second of them a letter.
            low = low.replace(b"\\n", b"  ").replace(b"\\t", b"  ")
        starts: set[int] = set()
        spaced = low.translate(_ONLY_LETTERS)
        words = self._words.intersection(spaced.split())
        if len(words) > _MANY:
            return [0, *(found.end() for found in _LINE_END.finditer(piece, 0, len(piece) - 1))]
        for word in words:
            self._collect(starts, low, spaced, b" " + word + b" ", 1)
            if spaced.startswith(word + b" "):
                starts.add(0)
        for text in self._texts:
            if text in low:
                self._collect(starts, low, low, text, 0)
        return sorted(starts)

    @staticmethod
    def _collect(starts: set[int], low: bytes, within: bytes, text: bytes, skip: int) -> None:
        """Add the beginning of every line that has a text, and go on after its end."""
        at = within.find(text)
        while at >= 0:
            starts.add(low.rfind(b"\n", 0, at + skip) + 1)
            end = low.find(b"\n", at + skip)
            if end < 0:
                return
            at = within.find(text, end)


_MANY = 48
"""Words in one piece beyond which all of its lines are looked at."""

_LINE_END = re.compile(rb"\n")
_ONLY_LETTERS = bytes(i if 97 <= i <= 122 else 32 for i in range(256))


_ONE_DIGIT = bytes(48 if 48 <= i <= 57 else i for i in range(256))


def shape_of(raw: bytes) -> bytes:
    """A line with every digit as 0: the same for lines that differ in numbers of equal length."""
    return raw.translate(_ONE_DIGIT)


class _Layout(NamedTuple):
    """Where a line has what it says; the same for all lines of one shape."""

    begin: int
    end: int
    stream: tuple[int, int]
    is_error: bool | None


_MAX_LAYOUTS = 4096


class Memory(Protocol):
    """What a reader asks about lines before it reads them.

    A shape is a line with every digit as 0.
    """

    def is_known(self, raw: bytes, shape: bytes) -> bool:
        """Whether a line says what others have said, so that it need not be yielded."""
        ...

    def note_empty(self, shape: bytes) -> None:
        """Take note of a line that does not matter."""
        ...


class LogReader:
    """Reads a log that comes in pieces of any size.

    Args:
        wanted: which lines to yield, None for all.
        memory: which lines need not be looked at again, None to look at all.
    """

    def __init__(self, wanted: Filter | None = None, memory: Memory | None = None) -> None:
        self._memory = memory
        self.n_lines = 0
        """Lines that were seen by now, wanted or not."""
        self._wanted = wanted
        self._layouts: dict[bytes, _Layout | None] = {}

    def read(self, chunks: Iterable[bytes]) -> Iterator[LogLine]:
        """The wanted lines, each as soon as it is complete."""
        rest = b""
        for chunk in chunks:
            end = chunk.rfind(b"\n") + 1
            if end:
                yield from self._piece(rest + chunk[:end])
                rest = chunk[end:]
            else:
                rest += chunk
            if len(rest) > 2 * MAX_LINE_BYTES:
                rest = _shortened(rest)
        if rest:
            yield from self._piece(rest + b"\n")

    def _piece(self, piece: bytes) -> Iterator[LogLine]:
        """Whole lines, the last with its end."""
        if b"\x00" in piece:
            # PowerShell writes UTF-16 where it redirects.
            piece = piece.replace(b"\x00", b"")
        if b"u001b" in piece:
            piece = piece.replace(b"\\u001b", b"\x1b")
        if b"\x1b" in piece:
            piece = _ANSI_BYTES.sub(b"", piece)
        number = self.n_lines
        self.n_lines += piece.count(b"\n")
        if self._wanted is None:
            for raw in piece.split(b"\n")[:-1]:
                number += 1
                yield from self._lines(number, raw, shape_of(raw))
            return
        numbers: Sequence[int] = range(number + 1, self.n_lines + 1)
        if self._memory is not None:
            numbers, piece = self._unknown(piece, number)
        yield from self._wanted_lines(self._wanted, piece, numbers)

    def _unknown(self, piece: bytes, number: int) -> tuple[list[int], bytes]:
        """The lines of a piece that are not known, with the number of each."""
        assert self._memory is not None
        is_known = self._memory.is_known
        numbers: list[int] = []
        lines: list[bytes] = []
        for raw, shape in zip(piece.split(b"\n"), shape_of(piece).split(b"\n"), strict=True):
            number += 1
            if not is_known(raw, shape):
                numbers.append(number)
                lines.append(raw)
        if lines and not lines[-1]:
            # What follows the last line end is no line.
            return numbers[:-1], b"\n".join(lines)
        return numbers, b"\n".join([*lines, b""])

    def _wanted_lines(
        self, wanted: Filter, piece: bytes, numbers: Sequence[int]
    ) -> Iterator[LogLine]:
        """Lines that a filter wants, with those numbers."""
        index = seen = 0
        for start in wanted.select(piece):
            skipped = piece.count(b"\n", seen, start)
            if skipped and self._memory is not None:
                for raw in piece[seen:start].split(b"\n")[:-1]:
                    self._memory.note_empty(shape_of(raw))
            index += skipped
            end = piece.find(b"\n", start)
            raw = piece[start:end]
            shape = shape_of(raw)
            if self._memory is None or not self._memory.is_known(raw, shape):
                yield from self._lines(numbers[index], raw, shape)
            index += 1
            seen = end + 1
        if self._memory is not None:
            for raw in piece[seen:].split(b"\n")[:-1]:
                self._memory.note_empty(shape_of(raw))

    def _lines(self, number: int, raw: bytes, shape: bytes) -> Iterable[LogLine]:
        """What one line says."""
        if shape in self._layouts:
            layout = self._layouts[shape]
        else:
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[shape] = _layout_of(raw)
        if layout is None:
            return _parts(number, raw)
        text = raw.decode("utf-8", "replace")
        begin, end, (stream, after), is_error = layout
        return (LogLine(number, text[stream:after], text[begin:end], is_error, raw),)


def read_log(chunks: Iterable[bytes], wanted: Filter | None = None) -> Iterator[LogLine]:
    """The lines of a log that comes in pieces of any size, each as soon as it is complete."""
    return LogReader(wanted).read(chunks)


def _shortened(raw: bytes) -> bytes:
    half = MAX_LINE_BYTES // 2
    return raw[:half] + raw[-half:]


def _parts(number: int, raw: bytes) -> Iterator[LogLine]:
    """A line, or what a progress bar wrote over it one after the other."""
    if len(raw) > MAX_LINE_BYTES:
        raw = _shortened(raw)
    text = raw.decode("utf-8", "replace")
    if "\r" not in text:
        yield LogLine(number, *clean(text), _is_error(text[:_HEAD]), raw)
        return
    for part in text.split("\r"):
        if part:
            yield LogLine(number, *clean(part), _is_error(part[:_HEAD]))


def _is_error(head: str) -> bool | None:
    found = _LEVEL.search(head)
    return None if found is None else found.lastgroup is not None


def _layout_of(raw: bytes) -> _Layout | None:
    """Where a line has what it says; None for one that has to be taken apart each time."""
    if len(raw) > MAX_LINE_BYTES or b"\r" in raw or b"\x1b" in raw or b"{" in raw:
        return None
    text = raw.decode("utf-8", "replace")
    if "\x9b" in text:
        return None
    end = len(text.rstrip())
    begin = _after_spaces(text, 0, end)
    stream = (0, 0)
    for _ in range(_MAX_PREFIXES):
        match = _prefix(text, begin, end)
        if match is None:
            break
        if match.re.groups:
            stream = match.span("stream")
        begin = _after_spaces(text, match.end(), end)
    return _Layout(begin, end, stream, _is_error(text[:_HEAD]))


def _after_spaces(text: str, begin: int, end: int) -> int:
    while begin < end and text[begin].isspace():
        begin += 1
    return begin


def clean(text: str) -> tuple[str, str]:
    """Which stream a line belongs to, and what it says without anything put in front of it."""
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    stream = ""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = _unwrapped(text)
    for _ in range(_MAX_PREFIXES):
        match = _prefix(text, 0, len(text))
        if match is None:
            break
        stream = match.groupdict().get("stream") or stream
        text = text[match.end() :].lstrip()
        if text.startswith("{") and text.endswith("}"):
            text = _unwrapped(text)
    return stream, text


_MAX_PREFIXES = 4
"""That are taken off one line."""


def _prefix(text: str, begin: int, end: int) -> re.Match[str] | None:
    for pattern in _beginning_with(text[begin : begin + 1]):
        match = pattern.match(text, begin, end)
        if match is not None:
            return match
    return None


@lru_cache(maxsize=1024)
def _beginning_with(char: str) -> tuple[re.Pattern[str], ...]:
    """What may be put in front of a line that begins with a character."""
    if not char:
        return ()
    return tuple(pattern for first, pattern in _PREFIXES if not first or char in first)


def _unwrapped(text: str) -> str:
    """The message of a line that a collector wrapped in JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(value, dict):
        return text
    for field in _LOG_FIELDS:
        message = value.get(field)
        if isinstance(message, str):
            error = value.get("error") or value.get("err")
            text = f"{message} error={error!r}" if isinstance(error, str) else message
            return _ANSI.sub("", text).strip()
    return text
