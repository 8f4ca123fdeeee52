"""Who hears of what `serve` and its like do, and who is shown a new key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import typer

from ggufctl.commands.output import say

if TYPE_CHECKING:
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.keys import Key

__all__ = ["make_listener", "show_key_once"]


def make_listener(
    event_line: Callable[[Event], str],
    *,
    events: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    always: Collection[str] = (),
) -> Callable[[Event], None]:
    """What hears events: for a program JSON lines on stdout, for a person text on stderr.

    Args:
        event_line: an event as text, empty for one that nobody wants to read.
        events: JSON lines; with `as_json` on stderr, since stdout is for the document.
        as_json: a document is printed in the end.
        quiet: text only of events that are always told.
        verbose: the engine's log as well.
        always: kinds that are told in any case, such as prices.
    """
    from ggufctl.core.escape import redact

    def as_line(event: Event) -> None:
        typer.echo(redact(event.to_json()), err=as_json)

    def as_text(event: Event) -> None:
        if event.kind == "log":
            if verbose:
                say(redact(event.text))
        elif (not quiet or event.kind in always) and (line := event_line(event)):
            say(line)

    return as_line if events else as_text


def show_key_once(key: Key | None) -> None:
    """A key that was just made, on a terminal's stderr; it is never shown again."""
    if key is not None and key.is_new and sys.stderr.isatty():
        say(f"key: {key.value}", f"It is kept in {key.path} and not shown again.")
