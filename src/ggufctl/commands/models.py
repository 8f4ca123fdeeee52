"""`download` and `models`: bring models somewhere, and look after those that are kept."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ggufctl.commands import options as o
from ggufctl.commands.output import confirm, is_terminal, print_json, say
from ggufctl.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ggufctl.core.stored import Store, StoredModel
    from ggufctl.render.models import ProgressView
    from ggufctl.sources.base import SourceEvent

__all__ = ["progress_view", "register"]

_DOWNLOAD_EXAMPLES = """\b
Examples:
  ggufctl download unsloth/Qwen3-235B-A22B-GGUF:UD-Q4_K_XL
  ggufctl download org/repo --quant auto --gpu L4 --to local
  ggufctl download org/repo:Q8_0 --to ./dir --include mmproj --dry-run

"""
_CODES = """\b
Exit codes:
  0  ok                         5  no room
  2  usage                      6  not what the Hub says it is
  3  model not found            8  network, rate limit, Hub or Modal down
  4  access denied             11  a file FAILed its check
"""

On = Annotated[
    str,
    o.option("--on", env="ON", help="Where: modal (its Volume), local (this machine) or a folder."),
]
Yes = o.Yes
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say everything, do nothing.")]
Refs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="org/repo, org/repo:QUANT or a file's name."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog=_DOWNLOAD_EXAMPLES + _CODES)(download)
    models = typer.Typer(
        name="models",
        help="Look after the models that are kept: list, show, remove, prune, verify.",
        no_args_is_help=True,
        rich_markup_mode=None,
        epilog="\b\nExamples:\n  ggufctl models ls --on local\n  ggufctl models prune --dry-run\n",
    )
    for name, command, examples in (
        ("ls", list_models, "ls --on local\n  ggufctl models ls --on ./dir --json"),
        ("show", show_model, "show org/repo:Q4_K_M --on local"),
        ("rm", remove_models, "rm org/repo:Q8_0 --on local --dry-run"),
        ("prune", prune_models, "prune --on local --dry-run"),
        ("verify", verify_models, "verify --on local"),
    ):
        epilog = f"\b\nExamples:\n  ggufctl models {examples}\n\n{_CODES}"
        models.command(name, epilog=epilog)(command)
    app.add_typer(models, name="models")


def download(
    ctx: typer.Context,
    model: o.ModelRef,
    to: Annotated[
        str,
        o.option(
            "--to",
            env="TO",
            metavar="modal|local|DIR",
            help="Modal's Volume, the Hub's cache on this machine, or a folder.",
        ),
    ] = "modal",
    quant: o.Quant = "auto",
    gpu: o.Gpu = "auto",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="mmproj", help="The best projector as well."),
    ] = None,
    dry_run: DryRun = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Fetch exactly the files that a model needs: whole, verified, and never twice.

    Run it again after whatever went wrong: what is there is kept, and a file that was begun goes
    on where it was.
    """
    from ggufctl.render import models as render
    from ggufctl.report.models import download_report
    from ggufctl.services.download import destination, plan_download
    from ggufctl.services.download import download as run

    quiet = quiet or ctx.obj["quiet"]
    place = destination(to, show_output=ctx.obj["verbose"])
    plan = plan_download(
        model,
        place,
        quant=quant,
        gpu=gpu,
        include=include or (),
        on_event=_said if ctx.obj["verbose"] and not quiet else _unheard,
    )
    # What is about to cost money is said in any case.
    if plan.price is not None and not (quiet and dry_run):
        say(f"cost     {plan.price.text}")
    if dry_run:
        if as_json:
            print_json(download_report(plan, is_dry_run=True))
        elif is_terminal():
            _print_lines(render.plan_lines(plan))
        else:
            _print_lines(render.download_rows(plan))
            if not quiet:
                say(*render.plan_lines(plan)[:4])
        return
    began = time.monotonic()
    with progress_view(quiet=quiet) as view:
        locations = run(plan, place, view.hear)
    seconds = time.monotonic() - began
    if as_json:
        print_json(download_report(plan, locations, seconds=seconds))
        return
    if quiet:
        return
    say(render.result_line(plan, seconds))
    if not is_terminal():
        _print_lines(render.download_rows(plan, locations))


def list_models(
    ctx: typer.Context,
    on: On = "modal",
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """What is kept: quant, size, whether it was verified, when it was last used, what it costs."""
    from ggufctl.render import models as render
    from ggufctl.report.models import models_report
    from ggufctl.services.models import kept, open_store, shown

    store = open_store(on)
    models = shown(kept(store))
    if as_json:
        print_json(models_report(store.name, models))
    elif not is_terminal():
        _print_lines(render.model_rows(models))
    elif models:
        render.show_models(models)
    elif not (quiet or ctx.obj["quiet"]):
        say(f"No model is kept on {on}.")


def show_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As models ls shows it.")],
    on: On = "modal",
    as_json: o.AsJson = False,
) -> None:
    """Everything about one kept model: files, places, checksums."""
    from ggufctl.render import models as render
    from ggufctl.report.models import models_report
    from ggufctl.services.models import find, kept, open_store, shown

    store = open_store(on)
    found = shown(find(kept(store), model))
    if as_json:
        print_json(models_report(store.name, found))
        return
    for index, each in enumerate(found):
        _print_lines([*([""] if index else []), *render.model_lines(each)])


def remove_models(
    ctx: typer.Context,
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="As models ls shows them.")
    ],
    on: On = "modal",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Remove kept models; what another revision shares with them stays."""
    from ggufctl.services.models import find, kept, open_store, shown

    store = open_store(on)
    everything = kept(store)
    wanted = [each for ref in models for each in find(everything, ref)]
    found = shown(list(dict.fromkeys(wanted)))
    gone = set(found)
    left = [each for each in everything if each not in gone]
    _remove(
        store,
        found,
        shown(left),
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        quiet=_is_quiet(ctx, quiet),
    )


def prune_models(
    ctx: typer.Context,
    keep: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL|QUANT]...", help="To keep, in place of the best."),
    ] = None,
    on: On = "modal",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Keep one quant of each model, the best or those that are named, and remove the others."""
    from ggufctl.services.models import open_store, prune

    store = open_store(on)
    found = prune(store, keep or ())
    _remove(
        store,
        found.removed,
        found.kept,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        quiet=_is_quiet(ctx, quiet),
        show_left=True,
    )


def verify_models(
    ctx: typer.Context,
    models: Refs = None,
    on: On = "modal",
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Hash kept models again, all or those named; exits with 11 when one is not as it should be."""
    from ggufctl.core.stored import State
    from ggufctl.report.models import models_report
    from ggufctl.services.models import find, kept, open_store, shown

    store = open_store(on)
    everything = kept(store)
    wanted = [each for ref in models or () for each in find(everything, ref)]
    chosen = shown(list(dict.fromkeys(wanted)) if models else everything)
    if store.name == "modal" and chosen:
        from ggufctl.services.modal.weights import container_price

        # Hashing reads everything, in a container that is paid for.
        say(f"cost     {container_price(sum(each.size_bytes for each in chosen))}")
    with progress_view(quiet=_is_quiet(ctx, quiet)) as view:
        found = store.verify(chosen, view.hear)
    if as_json:
        print_json(models_report(store.name, found))
    else:
        _print_lines(_verdict(each) for each in found)
    broken = [each for each in found if each.state in (State.DIFFERS, State.INCOMPLETE)]
    if broken:
        raise CheckFailed(
            f"{len(broken)} of {len(found)} kept models are not whole.",
            f"Fetch again what differs: ggufctl download {broken[0].ref} --to {on}",
        )


def _verdict(model: StoredModel) -> str:
    from ggufctl.core.escape import escape
    from ggufctl.core.stored import State

    words = {State.VERIFIED: "PASS", State.UNVERIFIED: "WARN"}
    text = f"{words.get(model.state, 'FAIL')}\t{escape(model.ref)}\t{model.state.value}"
    if model.state is State.UNVERIFIED:
        text += ": nobody knows what its checksum should be"
    return text


def _remove(
    store: Store,
    models: Sequence[StoredModel],
    left: Sequence[StoredModel],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    show_left: bool = False,
) -> None:
    """Say what would go and how much that frees, ask, and do it."""
    from ggufctl.core.escape import escape
    from ggufctl.core.progress import format_bytes
    from ggufctl.report.models import models_report
    from ggufctl.services.models import require_unserved

    n_bytes = store.freed_by(models)
    if not quiet:
        if show_left:
            say(*(f"stays    {escape(each.ref)} {format_bytes(each.size_bytes)}" for each in left))
        say(*(f"removes  {escape(each.ref)} {format_bytes(each.size_bytes)}" for each in models))
        say(f"frees    {format_bytes(n_bytes)}")
    if models and not dry_run:
        require_unserved(store, models)
        question = f"Remove {len(models)} of {len(models) + len(left)}?"
        confirm(yes, question, "Say --yes, or look first with --dry-run.")
        n_bytes = store.remove(models)
    if as_json:
        print_json(
            models_report(store.name, left, removed=models, freed_bytes=n_bytes, is_dry_run=dry_run)
        )


def progress_view(*, quiet: bool) -> ProgressView:
    """Bars for a person, lines for a log, nothing with -q; all on stderr."""
    from ggufctl.render import models as render

    if quiet:
        return render.Silence()
    if sys.stderr.isatty():
        return render.ProgressBars()
    return render.ProgressLines(say)


def _print_lines(lines: Iterable[str]) -> None:
    """Lines of data."""
    for line in lines:
        typer.echo(line)


def _is_quiet(ctx: typer.Context, quiet: bool) -> bool:
    found: bool = quiet or ctx.obj["quiet"]
    return found


def _said(event: SourceEvent) -> None:
    say(f"{event.kind}: {event.text}")


def _unheard(event: SourceEvent) -> None:
    """Hear nothing."""
