"""Makes text from strangers safe to print, and hides what must not be printed at all.

Names and values of a model file, names on the Hub and lines of a log reach a terminal only
through here. A terminal obeys control characters, and bidirectional marks make it lie.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["about", "escape", "escape_prose", "is_unsafe", "quoted", "redact", "redact_url"]

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian separator
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidi
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb"  # variation selectors, byte order mark, annotations
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e0fff]"  # tags
)
_PROSE = frozenset("\n\t\u200c\u200d\ufe0e\ufe0f")
_ARTICLES = frozenset({"A", "An", "No", "One", "The", "There"})
_SECRET = re.compile(r"\b(?:hf|sk|ak|as|wk|ws)[-_][A-Za-z0-9_-]{16,}|(?<=Bearer )\S+", re.ASCII)
_QUERY = re.compile(r"(https?://[^\s?#'\"]+)\?[^\s'\"]*")
_USERINFO = re.compile(r"(https?://)[^\s/@'\"]+@")


def is_unsafe(text: str) -> bool:
    """Whether a terminal would do more with `text` than show it."""
    return not (text.isascii() and text.isprintable()) and _UNSAFE.search(text) is not None


def escape(text: str, limit: int = 0) -> str:
    """`text` with every control, bidirectional and invisible character as `\\x1b` or `\\u202e`.

    Args:
        text: from a file, the Hub or a log.
        limit: most characters to show of it, 0 for all.
    """
    if limit and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    return _UNSAFE.sub(_as_escape, text)


def escape_prose(text: str) -> str:
    """Text of several lines, such as a model's answer: as `escape`, but that it keeps its lines.

    Tabs stay as well, and what joins letters and emoji.
    """
    return _UNSAFE.sub(_prose, text.replace("\r\n", "\n"))


def quoted(text: str, limit: int = 80) -> str:
    """`text` in quotes and escaped, for a message; the end of a long one stays: a file's name."""
    if 0 < limit < len(text):
        head = limit // 3
        text = text[:head] + "…" + text[head + 1 - limit :]
    return f"'{escape(text)}'"


def about(name: str, sentence: str) -> str:
    """A sentence with what it is about in front, such as `'model.gguf': the file is empty.`"""
    first, _, rest = sentence.partition(" ")
    return f"{name}: {first.lower() if first in _ARTICLES else first} {rest}"


def redact_url(url: str) -> str:
    """`url` without query, fragment and user name, where signatures and tokens live."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return escape(urlunsplit((parts.scheme, host, parts.path, "", "")))


def redact(text: str) -> str:
    """`text` with tokens, keys and the queries of URLs replaced by `…`, and escaped."""
    text = _USERINFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?…", text)
    return escape(_SECRET.sub("…", text))


def _prose(match: re.Match[str]) -> str:
    return match[0] if match[0] in _PROSE else _as_escape(match)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
