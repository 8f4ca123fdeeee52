"""Where commands put what they say: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys

import typer

__all__ = ["is_terminal", "print_json", "print_line", "say"]


def is_terminal() -> bool:
    """Whether a person reads stdout, on something that can show a table."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def say(*lines: str) -> None:
    """Lines for people, on stderr."""
    for line in lines:
        typer.echo(line, err=True)


def print_line(document: object) -> None:
    """One line of JSON."""
    typer.echo(json.dumps(document, ensure_ascii=True))


def print_json(document: object) -> None:
    """A document of JSON."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
