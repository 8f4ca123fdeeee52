"""How a running `serve --on local` is told to go on with other settings.

Who asks puts one file into the deployment's directory; the process in front, which looks for it
while it waits, answers line by line in a file of its own. Both are private to the user, and both
work wherever files do.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ggufctl.errors import GgufctlError, LaunchFailed, UsageError
from ggufctl.remote.supervisor import Event
from ggufctl.services.deployments import Deployment

__all__ = ["Replies", "Switch", "SwitchRefused", "ask_for_switch", "pending"]

PICK_UP_SECONDS = 15.0
"""A process in front that has not answered by then does not look for requests."""

POLL_SECONDS = 0.05

_REQUEST = "switch.json"
_PART = ".switch-part"


@dataclass(frozen=True, slots=True)
class Switch:
    """What is to be changed.

    Attributes:
        gpu: as `--gpu`; None = as before.
        n_ctx: tokens, 0 for the model's own; None = as before.
        max_context: the largest context that fits instead.
        runtime: fields of `Runtime` and their new values.
    """

    gpu: str | None = None
    n_ctx: int | None = None
    max_context: bool = False
    runtime: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        """Whether all stays as it is."""
        return self == Switch()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "gpu": self.gpu,
            "n_ctx": self.n_ctx,
            "max_context": self.max_context,
            "runtime": dict(self.runtime),
        }


class SwitchRefused(GgufctlError):
    """What the process in front answered, with its exit code."""

    def __init__(self, message: str, hint: str, exit_code: int, code: str) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.code = code


def ask_for_switch(deployment: Deployment, switch: Switch) -> Iterator[Event | dict[str, Any]]:
    """Events of a switch as they happen, then the server's document.

    Raises:
        UsageError: another switch is under way.
        SwitchRefused: what was asked for cannot be; the server runs as before, unless its own
            words say otherwise.
        LaunchFailed: nobody answers.
    """
    number = secrets.token_hex(8)
    request = deployment.directory / _REQUEST
    replies = _replies_path(deployment.directory, number)
    _put(request, {"id": number, "switch": switch.to_dict()})
    try:
        yield from _follow(deployment, replies)
    finally:
        with contextlib.suppress(OSError):
            if not replies.exists():
                # Nobody took it: nobody is to find it later.
                request.unlink()
            replies.unlink()


def _follow(deployment: Deployment, replies: Path) -> Iterator[Event | dict[str, Any]]:
    since = time.monotonic()
    rest, position = "", 0
    while True:
        is_alive = deployment.is_alive
        with contextlib.suppress(OSError), replies.open(encoding="utf-8") as file:
            file.seek(position)
            rest += file.read()
            position = file.tell()
        *lines, rest = rest.split("\n")
        for line in lines:
            found = json.loads(line)
            if "error" in found:
                error = found["error"]
                raise SwitchRefused(
                    error["message"], error["hint"], error["exit_code"], error["code"]
                )
            if "document" in found:
                yield found["document"]
                return
            yield Event(found["event"], found["seconds"], found["text"], found["data"])
        if not is_alive and not lines:
            raise LaunchFailed(
                f"{deployment.name} ended while it was being switched.",
                f"The whole log: ggufctl logs {deployment.name}",
            )
        if not position and time.monotonic() - since > PICK_UP_SECONDS:
            raise LaunchFailed(
                f"{deployment.name} does not take requests to switch.",
                "An older ggufctl serves it, or it is starting its engine: try again, or stop it.",
            )
        time.sleep(POLL_SECONDS)


def pending(directory: Path) -> Replies | None:
    """A request that waits to be answered; None when there is none."""
    path = directory / _REQUEST
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text())
        number = str(document["id"])
        if not (number.isalnum() and len(number) <= 32):
            raise ValueError(number)
        switch = Switch(**document["switch"])
    except (OSError, ValueError, KeyError, TypeError):
        # Written by nobody we know.
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    _forget_killed(directory, number)
    return Replies(switch, path, _replies_path(directory, number))


def _forget_killed(directory: Path, number: str) -> None:
    """Remove what those left who were killed while they asked: one asks at a time."""
    own = _replies_path(directory, number)
    for path in (*directory.glob(_replies_path(directory, "*").name), *directory.glob(f"*{_PART}")):
        if path != own:
            with contextlib.suppress(OSError):
                path.unlink()


class Replies:
    """A request to switch, and where its answers go.

    Args:
        switch: what is asked for.
        request: its file, removed at the end.
        path: of the answers.
    """

    def __init__(self, switch: Switch, request: Path, path: Path) -> None:
        self.switch = switch
        self._request = request
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        self.hear(Event("switch", 0.0, "switching"))

    def hear(self, event: Event) -> None:
        """Pass on an event; the engine's log has a file of its own."""
        if event.kind != "log":
            self._say(
                {
                    "event": event.kind,
                    "seconds": event.seconds,
                    "text": event.text,
                    "data": dict(event.data),
                }
            )

    def refuse(self, error: GgufctlError) -> None:
        """Say why it cannot be."""
        self._end(
            {
                "error": {
                    "message": error.message,
                    "hint": error.hint,
                    "exit_code": error.exit_code,
                    "code": error.code,
                }
            }
        )

    def done(self, document: Mapping[str, Any]) -> None:
        """Say what runs now."""
        self._end({"document": dict(document)})

    def _end(self, last: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._request.unlink()
        self._say(last)
        with contextlib.suppress(OSError):
            self._file.close()

    def _say(self, line: Mapping[str, Any]) -> None:
        # Who asked may be gone, and the disk full: neither stops the server.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def _replies_path(directory: Path, number: str) -> Path:
    return directory / f"switch-{number}.jsonl"


def _put(path: Path, document: Mapping[str, Any]) -> None:
    """Make a file whole, or not at all.

    Raises: UsageError when it is there already.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=_PART)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(document, file)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise UsageError(
                f"{path.parent.name} is being switched already.", "Wait until that has ended."
            ) from None
    finally:
        os.unlink(temporary)
