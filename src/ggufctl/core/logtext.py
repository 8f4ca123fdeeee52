"""Lines of a log as the program wrote them: without colours, times and what collectors add.

Everything is read piece by piece, and no line is kept longer than needed, so that a log of any
size takes the same memory.
"""

from __future__ import annotations

import codecs
import csv
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol

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
_LEVELS = r"(?i:error|fatal|panic|warning|info|debug|exception|critical|traceback)"
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
        re.compile(
            r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{3,6})? [^\s:]+ "
            rf"(?P<stream>(?!{_LEVELS}:)[\w./@-]+(?:\[\d+\])?): ",
        ),
    ),
    # the same in other languages
    (
        "",
        re.compile(r"[^\s:]{2,8} [ \d]\d \d\d:\d\d:\d\d \S+ (?P<stream>[\w./@-]+\[\d+\]): "),
    ),
    (_DIGITS, re.compile(rf"{_ISO} [\w.-]+ (?P<stream>[\w./@-]+\[\d+\]): ")),
    # syslog's priority, and RFC 5424 with it
    ("<", re.compile(rf"<\d{{1,3}}>1 {_ISO} \S+ (?P<stream>\S+) \S+ \S+ (?:-|\[.{{0,200}}?\]) ")),
    ("<", re.compile(r"<\d{1,3}>(?=[A-Z][a-z]{2} [ \d]\d )")),
    # Heroku and Fly
    (
        _DIGITS,
        re.compile(rf"{_ISO} app\[(?P<stream>[\w.]+)\]:? (?:[a-z]{{3}} \[(?:info|error)\] ?)?"),
    ),
    # CloudWatch: the time as one number, and what is before a tab
    (_DIGITS, re.compile(r"\d{13}\t(?:\S+\t)?")),
    (_DIGITS, re.compile(rf"{_ISO}\t(?:(?P<stream>\S+)\t)?")),
    (_DIGITS, re.compile(rf"{_ISO} \S+/\S+/[0-9a-f]{{16,}} ")),
    # GitLab's runners, logcli
    (_DIGITS, re.compile(rf"{_ISO} \d\d[OE]\+? ?")),
    (_DIGITS, re.compile(rf"{_ISO} (?P<stream>\{{\w+=\"[^}}]{{0,300}}\}}) ")),
    # supervisord, Python's logging
    (_DIGITS, re.compile(rf"{_ISO} DEBG '(?P<stream>[^']+)' std(?:err|out) output: ?")),
    (_DIGITS, re.compile(rf"{_ISO} - [\w.-]+ - [A-Z]+ - ")),
    # pm2
    (_DIGITS, re.compile(rf"(?P<stream>\d{{1,4}}\|[\w.-]+) +\| (?:{_ISO}: )?")),
    # a shell that numbers lines or says in which file they are
    (_DIGITS, re.compile(r"\d{1,7}\t")),
    (_DIGITS, re.compile(r"\d{1,7}[:-](?=[A-Za-z\[{(])")),
    (
        _LOWER + _UPPER + "./",
        re.compile(r"(?P<stream>[\w./-]{1,200}\.(?:log|txt|out|err))(?:[:-]\d+[:-]|: )"),
    ),
    # what was said is quoted
    (">", re.compile(r"(?:> ?)+")),
    ("`", re.compile(r"`(?=.*`$)")),
    # PowerShell, of what a program says on its error output
    (_LOWER + _UPPER, re.compile(r"[\w.-]{1,60}\.exe : ")),
    # stern, kail, act
    (
        _LOWER + _DIGITS,
        re.compile(r"(?P<stream>[a-z0-9-]+-[a-z0-9]{8,10}-[a-z0-9]{5}) [a-z0-9-]+ "),
    ),
    (_LOWER, re.compile(r"(?P<stream>[a-z0-9-]+/[a-z0-9-]+\[[a-z0-9-]+\]): ")),
    ("[", re.compile(r"\[(?P<stream>[\w./ -]{2,60})\] +\| ")),
    # concurrently, Railway
    ("[", re.compile(r"\[(?:\d{1,2}|inf|err)\] +(?=\S)")),
    # Modal's dashboard
    (_UPPER, re.compile(r"[A-Z][a-z]{2} \d\d\s+\d\d:\d\d:\d\d\.\d+ \| ")),
    # ts of moreutils
    (_UPPER, re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? (?=\S)")),
    # BuildKit
    ("#", re.compile(r"#\d+ \d+\.\d+ ")),
    # Modal's --timestamps and its container ids
    ("t", re.compile(r"(?P<stream>ta-[0-9A-Za-z]{10,}):?\s")),
    ("[" + _DIGITS, re.compile(rf"\[?{_ISO}\]?:?[\s|]+")),
    (_DIGITS, re.compile(r"1[5-9]\d{8}\.\d{1,9}:? ")),
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
    r"\[(?:(?P<listed>error|fatal|E)|warn|warning|W)\]|(?i:level=(?:(?P<field>error|fatal)|warn))"
)
_LOG_FIELDS = ("log", "message", "msg", "line", "MESSAGE", "textPayload", "content", "_raw", "logs")
_NESTED_FIELDS = ("content", "jsonPayload", "_source", "result", "attributes", "event", "fields")
"""What collectors call the message, and the object that it is in."""

_MOST_NESTED = 4
_EXPORTED = re.compile(rf'"?(?:\d{{10,19}}|{_ISO})"?,')
"""How a line of a table begins whose first column is the time."""

_ENTITY = re.compile(rb"&(?:lt|gt|amp|quot|nbsp|apos|#x?[0-9a-fA-F]{1,5});")
_TYPED = {
    "\u00a0": b" ",
    "\u201c": b'"',
    "\u201d": b'"',
    "\u2018": b"'",
    "\u2019": b"'",
}
_TYPED_BYTES = {text.encode(): plain for text, plain in _TYPED.items()}
_TYPED_PATTERN = re.compile(b"|".join(map(re.escape, _TYPED_BYTES)))
"""What word processors and web pages make of spaces and quotes."""

_WIDTHS = frozenset({72, 76, 78, 79, 80, 90, 99, 100, 110, 119, 120, 130, 132, 140, 150, 160, 180})
"""Columns at which consoles and mails break lines, known by one line of that length."""

_LEAST_WIDTH, _MOST_WIDTH = 60, 250
_LOOKS_WHOLE = re.compile(
    r"\s|$|[\w.-]+:{1,2} |(?:srv|slot|cmn|que|res|main) +\w+: |time=|\[|#|➜ |\./|at |File |"
    r"Traceback"
)
"""How a line begins that is not the rest of another."""


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
        openers: such texts after which the next few lines matter as well.
    """

    def __init__(
        self, words: Iterable[str], texts: Iterable[str], openers: Iterable[str] = ()
    ) -> None:
        self._words = frozenset(word.encode() for word in words)
        self._texts = tuple(text.encode() for text in texts)
        self._openers = tuple(text.encode() for text in openers)

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
        for text in self._openers:
            if text in low:
                opened: set[int] = set()
                self._collect(opened, low, low, text, 0)
                starts |= {start for at in opened for start in _lines_from(low, at)}
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


_OPENED = 3
"""Lines that matter after one that opens them."""


def _lines_from(piece: bytes, begin: int) -> Iterator[int]:
    """Where a line begins, and the next few."""
    yield begin
    for _ in range(_OPENED):
        begin = piece.find(b"\n", begin) + 1
        if begin in (0, len(piece)):
            return
        yield begin


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
        self._width: int | None = None

    def read(self, chunks: Iterable[bytes]) -> Iterator[LogLine]:
        """The wanted lines, each as soon as it is complete."""
        rest = b""
        for chunk in _as_utf_8(chunks):
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
        piece = _plain(piece)
        if self._width is None:
            self._width = _width_of(piece)
        if self._width:
            piece = _unbroken(piece, self._width)
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


_BYTE_ORDERS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def _as_utf_8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same log in UTF-8, where its first bytes say that it is in UTF-16."""
    begin = b""
    rest = iter(chunks)
    for chunk in rest:
        begin += chunk
        if len(begin) >= len(b"\xff\xfe"):
            break
    encoding = _BYTE_ORDERS.get(begin[:2])
    if encoding is None:
        yield begin
        yield from rest
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chain((begin[2:],), rest):
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


_PANEL = re.compile(
    r"^(?P<before>[^\n╭│╰]{0,120})╭─+ (?P<title>(?:Error|Warning|Fehler)\b[^\n─]{0,60}?) ─*╮"
    r"[ \t\r]*\n(?P<body>(?:[^\n╭│╰]{0,120}│[^\n]*│[ \t\r]*\n){1,60})(?=[^\n╭│╰]{0,120}╰)",
    re.MULTILINE,
)
"""What Rich and Typer draw around an error."""


def _unframed(found: re.Match[str]) -> str:
    """A framed sentence in one line, and an empty one for each of the others."""
    lines = found["body"].split("\n")[:-1]
    words = " ".join(line.partition("│")[2].strip().strip("│").strip() for line in lines)
    told = f"{found['before']}{found['title']}: {words.strip()}"
    return "\n".join(("", told, *[""] * (len(lines) - 1), ""))


def _plain(piece: bytes) -> bytes:
    """A piece of a log without what terminals, consoles and web pages add to text."""
    if b"\x00" in piece:
        # PowerShell writes UTF-16 where it redirects.
        piece = piece.replace(b"\x00", b"")
    if b"u001b" in piece:
        piece = piece.replace(b"\\u001b", b"\x1b")
    if b"\x1b" in piece:
        piece = _ANSI_BYTES.sub(b"", piece)
    if not piece.isascii():
        piece = piece.removeprefix(b"\xef\xbb\xbf")
        if b"\xc2\xa0" in piece or b"\xe2\x80" in piece:
            piece = _TYPED_PATTERN.sub(lambda found: _TYPED_BYTES[found[0]], piece)
        if "╭".encode() in piece:
            piece = _PANEL.sub(_unframed, piece.decode("utf-8", "replace")).encode()
    if b"&" in piece and b";" in piece:
        piece = _ENTITY.sub(_unescaped, piece)
    return piece


def _unescaped(found: re.Match[bytes]) -> bytes:
    text = html.unescape(found[0].decode())
    return text.replace("\u00a0", " ").encode() if text.isprintable() else found[0]


def _width_of(piece: bytes) -> int:
    """At which column the lines of a log are broken; 0 if they are whole, < 0 if they may be.

    Args:
        piece: its beginning.
    """
    lines = piece[:_BEGINNING].decode("utf-8", "replace").replace("\r", "").split("\n")
    width = max(map(len, lines))
    if not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        return 0
    broken = {
        shape_of(line.encode())
        for line, rest in pairwise(lines)
        if len(line) == width and _is_rest(rest, line)
    }
    if len(broken) > 1:
        return width
    return -width if broken and width in _WIDTHS else 0


_BEGINNING = 1 << 16
"""Where it is found out how wide a log is.  [bytes]"""


def _is_rest(line: str, before: str) -> bool:
    """Whether a line may be the rest of the one before it."""
    return (
        _LOOKS_WHOLE.match(line) is None
        and line.split(None, 1)[0] != before.split(None, 1)[0]
        and _prefix(line, 0, len(line)) is None
    )


def _unbroken(piece: bytes, width: int) -> bytes:
    """Lines that were broken at a column, put together; there are as many lines as before.

    Args:
        piece: whole lines.
        width: the column; < 0 where the lines may be whole, so that each is kept as well.
    """
    whole: list[str] = []
    n_taken = 0
    before = ""
    for line in piece.decode("utf-8", "replace").replace("\r", "").split("\n"):
        # A line that is surely broken may be so before a space.
        rest = line.removeprefix(" ") if width > 0 else line
        if len(before) != abs(width) or not _is_rest(rest, before):
            n_taken = 0
            whole.append(line)
        elif width < 0:
            whole.append(whole[-1] + line)
        else:
            whole[-1 - n_taken] += line
            n_taken += 1
            whole.append("")
        before = line
    return "\n".join(whole).encode()


def _shortened(raw: bytes) -> bytes:
    half = MAX_LINE_BYTES // 2
    return raw[:half] + raw[-half:]


def _parts(number: int, raw: bytes) -> Iterator[LogLine]:
    """A line, what a progress bar wrote over it, or the lines of a message that it holds."""
    if len(raw) > MAX_LINE_BYTES:
        raw = _shortened(raw)
    text = raw.decode("utf-8", "replace")
    parts = [part for part in text.split("\r") if part] if "\r" in text else [text]
    for part in parts:
        stream, message, head = _taken_apart(part)
        if "\n" not in message:
            is_whole = len(parts) == 1
            yield LogLine(number, stream, message, _is_error(head), raw if is_whole else b"")
            continue
        for line in message.split("\n"):
            inner, text = clean(line)
            yield LogLine(number, stream or inner, text, _is_error(line[:_HEAD]))


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
    stream, text, _ = _taken_apart(text)
    return stream, text


def _taken_apart(text: str) -> tuple[str, str, str]:
    """The stream, what a line says, and the text that says how bad it is."""
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    stream, head = "", text[:_HEAD]
    text = text.strip()
    for _ in range(_MAX_PREFIXES + 1):
        if (found := _unwrapped(text)) is not None:
            text, head = found
        match = _prefix(text, 0, len(text))
        if match is None:
            break
        stream = match.groupdict().get("stream") or stream
        text = text[match.end() :].lstrip()
    return stream, text, head


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


def _unwrapped(text: str) -> tuple[str, str] | None:
    """What a collector put into JSON or into a table; None for a line that is neither.

    Returns: the message, and the text that says how bad it is.
    """
    if text.startswith(("{", "[{")):
        return _of_json(text.lstrip("[").rstrip(",]"))
    if '"' in text and _EXPORTED.match(text):
        cell = max(next(csv.reader([text]), [text]), key=len)
        return cell, cell[:_HEAD]
    return None


def _of_json(text: str) -> tuple[str, str] | None:
    """The same of an object; None if it holds no message."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for _ in range(_MOST_NESTED):
        if not isinstance(value, dict):
            return None
        message = next((value[f] for f in _LOG_FIELDS if isinstance(value.get(f), str)), None)
        if message is not None:
            return _told_in(value, _ANSI.sub("", message).strip())
        value = next((value[f] for f in _NESTED_FIELDS if isinstance(value.get(f), dict)), None)
    return None


def _told_in(value: dict[str, Any], message: str) -> tuple[str, str]:
    """A message with the error and the level that its object has beside it."""
    if message.startswith("{") and (inner := _of_json(message)) is not None:
        return inner
    level = value.get("level") or value.get("levelname")
    head = f"level={level} {message[:_HEAD]}" if isinstance(level, str) else message[:_HEAD]
    error = value.get("error") or value.get("err")
    return f"{message} error={error!r}" if isinstance(error, str) else message, head
