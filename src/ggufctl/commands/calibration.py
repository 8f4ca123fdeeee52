"""`calibration`: what starts of servers have shown, kept on this machine."""

from __future__ import annotations

import typer

from ggufctl.commands import options as o
from ggufctl.commands.output import confirm, is_terminal, print_json, say

__all__ = ["register"]


_EPILOG = """\b
Examples:
  ggufctl calibration {}

\b
Exit codes:
  0  ok
  2  usage, or nobody to confirm
"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="What your own servers have shown of memory, load time and speed. Kept here only.",
    )
    for command, example in (
        (show, "show --json"),
        (export, "export > runs.jsonl"),
        (clear, "clear --yes"),
    ):
        group.command(epilog=_EPILOG.format(example))(command)
    app.add_typer(group, name="calibration")


def show(as_json: o.AsJson = False) -> None:
    """Runs by GPU, build and model, and which estimates they tighten."""
    from ggufctl.core._pins import LLAMA_CPP_BUILD
    from ggufctl.core.calibration import calibrated_names, summarize
    from ggufctl.services.calibration import calibrated_catalogue, calibration_path, load_runs

    runs = load_runs()
    found, names = summarize(runs), calibrated_names(calibrated_catalogue())
    if as_json:
        from ggufctl.report.calibration import calibration_report

        print_json(calibration_report(found, names, str(calibration_path()), LLAMA_CPP_BUILD))
        return
    from ggufctl.render import calibration as render

    if not runs:
        say("There are no runs of your own yet: every start of a server adds one.")
        return
    if is_terminal():
        render.show_runs(found)
    else:
        typer.echo(render.tsv_runs(found), nl=False)
    say(*(f"{name}: {note}" for name, note in names.items()))


def export(as_json: o.AsJson = False) -> None:
    """All runs, one JSON object per line; with --json, as one document."""
    from ggufctl.report.calibration import export_report
    from ggufctl.services.calibration import load_runs

    runs = load_runs()
    if as_json:
        print_json(export_report(runs))
        return
    for run in runs:
        typer.echo(run.to_line())


def clear(yes: o.Yes = False, as_json: o.AsJson = False) -> None:
    """Forget all runs."""
    from ggufctl.report import SCHEMA_VERSION
    from ggufctl.services.calibration import clear as forget
    from ggufctl.services.calibration import load_runs

    n_kept = len(load_runs())
    if n_kept:
        runs = "the run" if n_kept == 1 else f"all {n_kept} runs"
        confirm(yes, f"Forget {runs}?", "Say --yes, or keep them first with export.")
    n = forget()
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "n_runs": n})
    else:
        say(f"{n} run{'' if n == 1 else 's'} forgotten.")
