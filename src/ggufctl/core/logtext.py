"""Lines of a log as the program wrote them: without colours, times and what collectors add.

Everything is read piece by piece, and no line is kept longer than needed, so that a log of any
size takes the same memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["MAX_LINE_BYTES", "LogLine", "clean", "read_log"]

MAX_LINE_BYTES = 16 << 10
"""Of a longer line only the beginning and the end are looked at.  [bytes]"""

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]"
)

_ISO = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?Z|[+-]\d\d:?\d\d)?"
_PREFIXES = (
    # kubectl logs --prefix and stern
    re.compile(r"\[(?P<stream>pod/[^\]\s]+)\]\s"),
    # docker compose
    re.compile(r"(?P<stream>[A-Za-z0-9][\w.-]{0,60})\s+\|\s"),
    # containerd's and CRI-O's files
    re.compile(rf"{_ISO} (?:stdout|stderr) [FP] "),
    # journald and syslog
    re.compile(
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ (?P<stream>[\w./@-]+(?:\[\d+\])?): "
    ),
    re.compile(rf"{_ISO} [\w.-]+ (?P<stream>[\w./@-]+\[\d+\]): "),
    # Modal's --timestamps and its container ids
    re.compile(r"(?P<stream>ta-[0-9A-Za-z]{10,}):?\s"),
    re.compile(rf"\[?{_ISO}\]?:?[\s|]+"),
    re.compile(r"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?:?\s+"),
    # llama.cpp's own, at its default verbosity
    re.compile(r"\d+\.\d{2}\.\d{3}\.\d{3} [A-Z] "),
    # router mode of llama-server
    re.compile(r"\[(?P<stream>\d{4,5})\] (?=\d|[a-z]+[_ :])"),
    re.compile(r"\[?(?:INFO|ERROR|WARN|WARNING|DEBUG|FATAL)\]?:?\s+(?=\S)"),
)
_FIRST = frozenset("0123456789[")
_LOG_FIELDS = ("log", "message", "msg", "line", "MESSAGE", "textPayload", "content")


class LogLine(NamedTuple):
    """One line."""

    number: int
    """Counted from 1, by line ends."""
    stream: str
    """Which container, unit or process wrote it, as far as the line says; mostly empty."""
    text: str


def read_log(chunks: Iterable[bytes]) -> Iterator[LogLine]:
    """The lines of a log that comes in pieces of any size, each as soon as it is complete."""
    number = 0
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            number += 1
            yield from _parts(number, raw)
        if len(rest) > MAX_LINE_BYTES:
            rest = _shortened(rest)
    if rest:
        yield from _parts(number + 1, rest)


def _shortened(raw: bytes) -> bytes:
    half = MAX_LINE_BYTES // 2
    return raw[:half] + raw[-half:]


def _parts(number: int, raw: bytes) -> Iterator[LogLine]:
    """A line, or what a progress bar wrote over it one after the other."""
    if len(raw) > MAX_LINE_BYTES:
        raw = _shortened(raw)
    text = raw.decode("utf-8", "replace")
    if "\x00" in text:
        # PowerShell writes UTF-16 where it redirects.
        text = text.replace("\x00", "")
    if "\r" not in text:
        yield LogLine(number, *clean(text))
        return
    for part in text.split("\r"):
        if part:
            yield LogLine(number, *clean(part))


def clean(text: str) -> tuple[str, str]:
    """Which stream a line belongs to, and what it says without anything put in front of it."""
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    stream = ""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = _unwrapped(text)
    for _ in range(4):
        match = _prefix(text)
        if match is None:
            break
        stream = match.groupdict().get("stream") or stream
        text = text[match.end() :].lstrip()
        if text.startswith("{") and text.endswith("}"):
            text = _unwrapped(text)
    return stream, text


def _prefix(text: str) -> re.Match[str] | None:
    head = text[:96]
    if head[:1] not in _FIRST and " | " not in head and not head[:1].isalpha():
        return None
    for pattern in _PREFIXES:
        match = pattern.match(text)
        if match is not None:
            return match
    return None


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
