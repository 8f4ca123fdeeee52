"""`plan --compare`, `plan --batch` and `plan --plot`: more than one plan, or more than text."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from ggufctl.commands.output import is_terminal, print_json, say
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.plan import Plan
    from ggufctl.core.planner import Constraints
    from ggufctl.core.runtime import Runtime
    from ggufctl.services.batch import BatchResult, BatchRow, Defaults, Done
    from ggufctl.sources.base import SourceEvent

__all__ = ["MAX_JOBS", "check_plot", "one_model", "plot_to", "show_batch", "show_comparison"]

MAX_JOBS = 64
"""Fetches at a time."""

PROGRESS_SECONDS = 0.2
"""Between two states of the line that shows progress."""


def one_model(models: Sequence[str]) -> str:
    """The model of a plan of one.

    Raises: UsageError for none and for several.
    """
    if not models:
        raise UsageError("Missing argument 'MODEL'.", "Try 'ggufctl plan --help'.")
    if len(models) > 1:
        raise UsageError(
            f"{len(models)} models are named.",
            "Add --compare to see them side by side, or --batch FILE for a file of them.",
        )
    return models[0]


def check_plot(text: str) -> None:
    """Refuse a picture that cannot be drawn, before anything is planned.

    Raises: UsageError for a suffix that says nothing, or a folder that is not there.
    """
    from ggufctl.render.plot import check_path

    check_path(Path(text))


def plot_to(text: str, plan: Plan, *, quiet: bool) -> None:
    """Draw a plan and say where.

    Raises: UsageError when the file cannot be written.
    """
    from ggufctl.render.plot import write_plot
    from ggufctl.services.picture import picture

    write_plot(picture(plan), Path(text))
    if not quiet:
        say(f"plot: {text}")


def show_comparison(
    models: Sequence[str],
    runtime: Runtime,
    constraints: Constraints,
    *,
    n_ctx: int | None,
    quant: str,
    as_json: bool,
    quiet: bool,
    on_event: Callable[[SourceEvent], None],
) -> None:
    """Plan models side by side; exit with the code of the first that fails."""
    from ggufctl.services.compare import compare

    if len(models) < 2:
        raise UsageError("--compare needs two models or more.", "Such as --compare A B C.")
    found = compare(models, runtime, constraints, n_ctx=n_ctx, quant=quant, on_event=on_event)
    if as_json:
        from ggufctl.report.compare import compare_report

        print_json(compare_report(found))
    elif not quiet:
        from ggufctl.render import compare as render

        if is_terminal():
            render.show_compare(found)
        else:
            typer.echo(render.tsv_compare(found), nl=False)
            say(*render.summary(found))
    code = next((model.exit_code for model in found if model.exit_code), 0)
    if code:
        raise typer.Exit(code)


def show_batch(
    source: str,
    output: str,
    defaults: Defaults,
    *,
    n_threads: int,
    whole: bool,
    quiet: bool,
) -> None:
    """Plan every row of a file or of standard input; exit with the code of the first failure."""
    from ggufctl.services.batch import Batch, Done, read_done, read_rows

    if not 1 <= n_threads <= MAX_JOBS:
        raise UsageError(f"-j/--jobs must be between 1 and {MAX_JOBS}, not {n_threads}.")
    with ExitStack() as stack:
        rows = read_rows(_opened(source, stack), defaults)
        done = Done()
        before = _begun(output, stack) if output else None
        if output:
            done = read_done(Path(output))
        tally = _Tally(quiet=quiet)
        batch = Batch(_left(rows, done, tally), n_threads=n_threads, brief=not whole)
        write = _writer(output, before, stack, whole=whole)
        try:
            for result in batch:
                write(result)
                tally.add(result.row.line, result.exit_code)
        except (KeyboardInterrupt, SystemExit):
            # What is done already is not asked for again by the next run.
            for result in batch.finished():
                write(result)
                tally.add(result.row.line, result.exit_code)
            raise
        finally:
            tally.end()
    if tally.exit_code:
        raise typer.Exit(tally.exit_code)


def _opened(source: str, stack: ExitStack) -> IO[bytes]:
    if source == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(source).open("rb"))
    except OSError as error:
        from ggufctl.core.escape import quoted

        raise UsageError(f"{quoted(source)} cannot be read: {error.strerror}.") from None


def _left(rows: Iterator[BatchRow], done: Done, tally: _Tally) -> Iterator[BatchRow]:
    """Rows that still need planning."""
    for row in rows:
        if done.holds(row):
            tally.skip(row.line, done.rows[row.line][1])
        else:
            yield row


def _begun(output: str, stack: ExitStack) -> IO[bytes]:
    """The output, to be written by nobody else until the stack ends."""
    from ggufctl.services.batch import keep_to_one

    path = Path(output)
    try:
        file = stack.enter_context(path.open("ab", buffering=0))
    except OSError as error:
        from ggufctl.core.escape import quoted

        raise UsageError(f"{quoted(output)} cannot be written: {error.strerror}.") from None
    keep_to_one(file, path)
    return file


def _writer(
    output: str, before: IO[bytes] | None, stack: ExitStack, *, whole: bool
) -> Callable[[BatchResult], None]:
    import json

    from ggufctl.report.compare import batch_report

    def line(result: BatchResult) -> str:
        return json.dumps(batch_report(result, whole=whole), ensure_ascii=True)

    if before is None:

        def write_out(result: BatchResult) -> None:
            sys.stdout.write(f"{line(result)}\n")
            sys.stdout.flush()

        return write_out
    file = before
    with contextlib.suppress(FileNotFoundError):
        if not os.path.samestat(os.fstat(before.fileno()), os.stat(output)):
            # It was replaced, without what is asked for again.
            file = _begun(output, stack)

    def write(result: BatchResult) -> None:
        # In one piece, so that an interruption leaves whole lines.
        file.write(f"{line(result)}\n".encode())

    return write


class _Tally:
    """Counts results, and shows the count on a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shows = not quiet and sys.stderr.isatty()
        self._codes: Counter[int] = Counter()
        self._n_skipped = 0
        self._first = (0, 0)
        self._started = time.monotonic()
        self._shown = 0.0

    @property
    def exit_code(self) -> int:
        """Of the first row of the input that failed, or 0."""
        return self._first[1]

    def skip(self, line: int, code: int) -> None:
        """Count a row that an earlier run planned."""
        self._n_skipped += 1
        self._note(line, code)

    def add(self, line: int, code: int) -> None:
        """Count a result."""
        self._codes[code] += 1
        self._note(line, code)
        now = time.monotonic()
        if self._shows and now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            sys.stderr.write(f"\r\x1b[K{self._text()}")
            sys.stderr.flush()

    def end(self) -> None:
        """Say what came of it all."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
        if not self._quiet:
            say(self._text())

    def _note(self, line: int, code: int) -> None:
        if code and (not self._first[0] or line < self._first[0]):
            self._first = (line, code)

    def _text(self) -> str:
        n = self._codes.total()
        if not n:
            if not self._n_skipped:
                return "nothing to do, there are no rows"
            rows = "row" if self._n_skipped == 1 else "rows"
            return f"nothing to do, {self._n_skipped:,} {rows} done before"
        seconds = max(time.monotonic() - self._started, 1e-9)
        rows = "row" if n == 1 else "rows"
        took = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
        parts = [f"{n:,} {rows} in {took} s ({n / seconds:.0f}/s)"]
        parts[0] += f": {self._codes[0]:,} planned"
        failed = sorted(code for code in self._codes if code)
        parts += [f"{self._codes[code]:,} × exit {code}" for code in failed]
        if self._n_skipped:
            parts.append(f"{self._n_skipped:,} done before")
        return ", ".join(parts)
