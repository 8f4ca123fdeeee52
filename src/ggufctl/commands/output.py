"""Where commands put what they say: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys

import typer

from ggufctl.errors import UsageError

__all__ = ["confirm", "is_terminal", "print_json", "print_line", "require_output", "say"]


def is_terminal() -> bool:
    """Whether a person reads stdout, on something that can show a table."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def require_output() -> None:
    """Refuse to begin what takes long, or costs something, where nobody could read of it.

    Raises: OSError when standard output is closed.
    """
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    os.write(number, b"")


def say(*lines: str) -> None:
    """Lines for people, on stderr."""
    for line in lines:
        typer.echo(line, err=True)


def confirm(yes: bool, question: str, hint: str) -> None:
    """Ask on stderr before something is gone, unless that was settled.

    Args:
        yes: whether it was.
        question: to be answered with yes or no; no ends the command.
        hint: what to do where nobody can be asked.

    Raises: UsageError where nobody can be asked.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("Nobody can be asked here.", hint)
    typer.confirm(question, abort=True, err=True)


def print_line(document: object) -> None:
    """One line of JSON."""
    typer.echo(json.dumps(document, ensure_ascii=True))


def print_json(document: object) -> None:
    """A document of JSON."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
