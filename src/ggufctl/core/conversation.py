"""A conversation with a model: who said what, what a line typed into it means, how it is kept."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError

__all__ = [
    "COMMANDS",
    "Conversation",
    "Image",
    "Line",
    "LineKind",
    "Message",
    "Role",
    "image_type",
    "parse_line",
    "parse_questions",
]

FORMAT = "ggufctl-conversation"
"""Marks a file that a conversation was saved in."""

VERSION = "1.0"

MAX_IMAGE_BYTES = 20 << 20
"""Largest image that is sent: servers limit a whole request, and base64 adds a third."""

COMMANDS = {
    "/help": "this list",
    "/system [TEXT]": "show or set the system prompt; - removes it",
    "/image FILE": "send an image with the next question",
    "/retry": "another answer to the last question",
    "/clear": "forget everything but the system prompt",
    "/save FILE": "keep the conversation",
    "/load FILE": "go on with one that was kept",
    "/exit": "leave (as do Ctrl-D, and Ctrl-C twice)",
}
"""What may be typed instead of a question, and what it does."""

_ALIASES = {"/quit": "/exit", "/bye": "/exit", "/q": "/exit", "/?": "/help"}
_WORDS = frozenset(text.split()[0] for text in COMMANDS)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]*)", re.ASCII)


class Role(StrEnum):
    """Who says a message."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that goes with a question."""

    data: bytes
    media_type: str

    @property
    def url(self) -> str:
        """The image itself as a URL, which is how it is sent."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()

    def to_api(self) -> dict[str, Any]:
        """As the API of OpenAI's takes it."""
        if not self.images:
            return {"role": self.role.value, "content": self.text}
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": image.url}} for image in self.images
        ]
        return {"role": self.role.value, "content": [*parts, {"type": "text", "text": self.text}]}


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that was said, in order; questions and answers alternate."""

    system: str = ""
    messages: tuple[Message, ...] = ()

    def asked(self, text: str, images: tuple[Image, ...] = ()) -> Conversation:
        """With one more question."""
        return replace(self, messages=(*self.messages, Message(Role.USER, text, images)))

    def answered(self, text: str) -> Conversation:
        """With the answer to the last question."""
        return replace(self, messages=(*self.messages, Message(Role.ASSISTANT, text)))

    def without_question(self) -> Conversation:
        """As before the last question, with or without its answer."""
        last = self.last_question
        return self if last is None else replace(self, messages=self.messages[: last[0]])

    def cleared(self) -> Conversation:
        """With nothing said but the system prompt."""
        return replace(self, messages=())

    @property
    def last_question(self) -> tuple[int, Message] | None:
        """The last question and where it is; None before the first."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].role is Role.USER:
                return index, self.messages[index]
        return None

    def to_api(self) -> list[dict[str, Any]]:
        """The messages as the API of OpenAI's takes them."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, *(message.to_api() for message in self.messages)]

    def to_json(self) -> str:
        """All of it, images included, as a document that `from_json` reads."""
        document = {
            "format": FORMAT,
            "schema_version": VERSION,
            "system": self.system,
            "messages": [
                {
                    "role": message.role.value,
                    "text": message.text,
                    "images": [image.url for image in message.images],
                }
                for message in self.messages
            ],
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Conversation:
        """Out of what `to_json` wrote.

        Raises: UsageError when it is anything else.
        """
        try:
            found = json.loads(text)
            if found["format"] != FORMAT or not isinstance(found["system"], str):
                raise ValueError
            return cls(found["system"], tuple(_message(raw) for raw in found["messages"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError("This is no conversation that ggufctl chat has saved.") from None


def _message(raw: Mapping[str, Any]) -> Message:
    if not isinstance(raw["text"], str):
        raise TypeError
    return Message(Role(raw["role"]), raw["text"], tuple(_image(url) for url in raw["images"]))


def _image(url: str) -> Image:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise ValueError
    try:
        return Image(base64.b64decode(found[2], validate=True), found[1])
    except binascii.Error:
        raise ValueError from None


def image_type(name: str, data: bytes) -> str:
    """The media type of an image by how it begins.

    Raises: UsageError for anything that llama.cpp does not read as an image.
    Source: llama.cpp tools/mtmd/mtmd-helper.cpp, which reads images with stb_image.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise UsageError(
            f"{quoted(name)} is larger than {MAX_IMAGE_BYTES >> 20} MiB.", "Scale it down first."
        )
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    raise UsageError(
        f"{quoted(name)} is no PNG, JPEG, GIF or BMP image.", "Convert it to PNG or JPEG first."
    )


class LineKind(StrEnum):
    """What a line typed into a conversation is."""

    EMPTY = "empty"
    QUESTION = "question"
    COMMAND = "command"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is meant."""

    kind: LineKind
    text: str = ""
    """The question; the command without its argument; or the word that is none."""
    argument: str = ""


def parse_line(line: str) -> Line:
    """What a line means: a question, unless it begins with a slash; `//` begins a question too."""
    text = line.strip()
    if not text:
        return Line(LineKind.EMPTY)
    if text.startswith("//"):
        return Line(LineKind.QUESTION, text[1:])
    if not text.startswith("/"):
        return Line(LineKind.QUESTION, text)
    word, _, rest = text.partition(" ")
    word = _ALIASES.get(word.casefold(), word.casefold())
    if word not in _WORDS:
        return Line(LineKind.UNKNOWN, word)
    return Line(LineKind.COMMAND, word, rest.strip())


def parse_questions(text: str) -> tuple[str, ...]:
    """Questions of a file: a JSON list of strings, or one on each line that is not empty.

    Raises: UsageError when there are none.
    """
    found: tuple[str, ...] = tuple(line.strip() for line in text.splitlines() if line.strip())
    if text.lstrip().startswith("["):
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError):
            raw = None
        if isinstance(raw, list):
            if not all(isinstance(each, str) and each.strip() for each in raw):
                raise UsageError("The JSON list of questions holds something that is no question.")
            found = tuple(raw)
    if not found:
        raise UsageError("There are no questions in the file.")
    return found
