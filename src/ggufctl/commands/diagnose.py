"""`diagnose`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ggufctl.commands import options as o
from ggufctl.commands.output import print_json
from ggufctl.errors import CheckFailed, NoDiagnosis, UsageError

if TYPE_CHECKING:
    from ggufctl.core.checks import Check
    from ggufctl.core.diagnosis import Diagnosis
    from ggufctl.remote.supervisor import Event
    from ggufctl.sources.base import SourceEvent

__all__ = ["register"]

_EPILOG = """\b
Examples:
  ggufctl diagnose
  ggufctl diagnose server.log
  kubectl logs llama-0 | ggufctl diagnose - --json
  ggufctl diagnose org/repo:Q4_K_M
  ggufctl diagnose --app llama
  ggufctl diagnose --app llama --live

\b
Exit codes:
  0  a cause was found in the log, or no check FAILs
  2  usage                      8  network, rate limit, Hub down
  3  model not found           10  nothing wrong found in the log
  4  access denied             11  a check of the machine, model or app FAILs"""


def register(app: typer.Typer) -> None:
    """Add the command of this module to the command line."""
    app.command(epilog=_EPILOG, context_settings={"allow_extra_args": True})(diagnose)


def diagnose(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="[LOG|-|MODEL]",
            help="A log, - for stdin, or a model. [default: this machine]",
            show_default=False,
        ),
    ] = "",
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="MODEL", help="The model that a log is about, to plan what fits."
        ),
    ] = "",
    app: Annotated[
        str, typer.Option("--app", metavar="NAME", help="A deployment on Modal: state and log.")
    ] = "",
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="With --app: start one container as it has them, and look inside."
        ),
    ] = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show requests as well.")
    ] = False,
) -> None:
    """What is wrong, why, and what to do: of a log, a model, an app, or this machine.

    The root cause comes first, with the lines that show it.
    """
    from ggufctl.services.diagnose import TargetKind, kind_of

    quiet = quiet or ctx.obj["quiet"]
    verbose = verbose or ctx.obj["verbose"]
    if ctx.args:
        raise UsageError(
            f"{len(ctx.args) + 1} targets are named, and one is diagnosed at a time.",
            "Parts of one log go in through a pipe, the oldest first: "
            "cat server.log.1 server.log | ggufctl diagnose -",
        )
    if app:
        if target or model:
            raise UsageError("--app takes no log and no model.")
        _app(app, live=live, as_json=as_json, quiet=quiet)
        return
    if live:
        raise UsageError("--live goes with --app.")
    kind = kind_of(target)
    if model and kind is not TargetKind.LOG:
        raise UsageError("--model goes with a log.")
    if kind is TargetKind.LOG:
        _log(target, model, as_json=as_json, quiet=quiet)
        return
    checks: Sequence[Check]
    facts: Mapping[str, str | int] = {}
    if kind is TargetKind.MACHINE:
        from ggufctl.config import config_path
        from ggufctl.services.doctor import run_doctor

        checks = run_doctor(config_path())
    else:
        from ggufctl.services.lint import lint_model
        from ggufctl.sources.base import ignore

        found = lint_model(target, on_event=_say if verbose and not quiet else ignore)
        checks, facts = found.checks, found.facts
    _checks(kind.value, checks, facts, as_json=as_json, quiet=quiet)


def _say(event: SourceEvent) -> None:
    typer.echo(f"{event.kind}: {event.text}", err=True)


def _log(target: str, model: str, *, as_json: bool, quiet: bool) -> None:
    from ggufctl.core.escape import quoted
    from ggufctl.report.diagnose import announcement, log_lines, log_report
    from ggufctl.services.diagnose import diagnose_log
    from ggufctl.services.packed import read_chunks

    is_stdin = target == "-"
    if is_stdin and sys.stdin.isatty():
        raise UsageError("There is no log on standard input.", "Pipe one in, or name its file.")

    def tell(found: Diagnosis) -> None:
        typer.echo(announcement(found), err=True)

    def note(text: str) -> None:
        typer.echo(f"note: {text}", err=True)

    on_diagnosis = tell if is_stdin and not quiet else None
    on_note = None if quiet else note
    interrupts: list[KeyboardInterrupt] = []
    try:
        with ExitStack() as stack:
            file = (
                sys.stdin.buffer
                if is_stdin
                else stack.enter_context(Path(os.path.expanduser(target)).open("rb"))
            )
            report = diagnose_log(
                _until_told(read_chunks(file, on_note), interrupts),
                model=model,
                on_diagnosis=on_diagnosis,
                on_note=on_note,
            )
    except OSError as error:
        raise UsageError(f"{quoted(target)} cannot be read: {error.strerror}.") from None
    if as_json:
        print_json(log_report(report))
    elif not quiet or report.diagnoses:
        typer.echo("\n".join(log_lines(report)))
    if interrupts:
        raise interrupts[0]
    if not report.diagnoses:
        raise typer.Exit(NoDiagnosis.exit_code)


def _until_told(chunks: Iterator[bytes], interrupts: list[KeyboardInterrupt]) -> Iterator[bytes]:
    """A log that somebody watches ends with Ctrl-C: what it has shown is told all the same."""
    try:
        yield from chunks
    except KeyboardInterrupt as interrupt:
        interrupts.append(interrupt)


def _app(name: str, *, live: bool, as_json: bool, quiet: bool) -> None:
    from ggufctl.report.diagnose import app_report
    from ggufctl.services.app_check import check_app

    def tell(event: Event) -> None:
        # What costs money is said in any case.
        typer.echo(event.text, err=True)

    found = check_app(name, live=live, on_event=tell)
    if as_json:
        print_json(app_report(found.log, found.checks, found.facts))
    _checks("app", found.checks, found.facts, as_json=None if as_json else False, quiet=quiet)


def _checks(
    kind: str,
    checks: Sequence[Check],
    facts: Mapping[str, str | int],
    *,
    as_json: bool | None,
    quiet: bool,
) -> None:
    """Print checks, unless `as_json` is None, and exit with 11 when one FAILs."""
    from ggufctl.core.checks import Status
    from ggufctl.report.diagnose import check_lines, checks_report

    if as_json:
        print_json(checks_report(kind, checks, facts))
    elif as_json is not None:
        lines = check_lines(checks, quiet=quiet)
        if lines:
            typer.echo("\n".join(lines))
    if any(check.status is Status.FAIL for check in checks):
        raise typer.Exit(CheckFailed.exit_code)
