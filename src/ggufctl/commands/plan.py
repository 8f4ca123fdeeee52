"""`plan`, `gpus` and `schema`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ggufctl import completion
from ggufctl.commands import options as o
from ggufctl.commands.output import is_terminal, print_json
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.plan import Plan
    from ggufctl.services.plan import NamePlan
    from ggufctl.sources.base import SourceEvent

__all__ = ["register"]

EXIT_CODES = """\b
Exit codes:
  0  ok                         6  invalid GGUF, or a shard missing
  1  a bug in ggufctl           7  unsupported model or format
  2  usage                      8  network, rate limit, Hub down
  3  model not found           11  a check failed
  4  access denied            130  Ctrl-C
  5  does not fit             143  SIGTERM"""

_PLAN_EXAMPLES = """\b
Examples:
  ggufctl plan bartowski/Llama-3.3-70B-Instruct-GGUF
  ggufctl plan unsloth/Qwen3-235B-A22B-GGUF:UD-Q4_K_XL -c 32768 -np 4
  ggufctl plan ./model-00001-of-00003.gguf --gpu L40S,H100 --json
  ggufctl plan org/repo:Q4_K_M --gpu L4 && deploy.sh

"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog=_PLAN_EXAMPLES + EXIT_CODES)(o.with_runtime(plan))
    app.command(epilog="\b\nExamples:\n  ggufctl gpus\n  ggufctl gpus --json\n")(gpus)
    app.command(epilog="\b\nExamples:\n  ggufctl schema plan\n")(schema)


def plan(
    ctx: typer.Context,
    model: o.ModelRef,
    runtime: o.RuntimeOptions,
    ctx_size: o.CtxSize = "",
    gpu: o.Gpu = "auto",
    quant: o.Quant = "auto",
    max_usd_per_hour: o.MaxUsdPerHour = None,
    name_only: Annotated[
        bool, typer.Option("--name-only", help="What the name says; reads nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON (see ggufctl schema plan).")
    ] = False,
    quiet: o.Quiet = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Explain peaks and show requests.")
    ] = False,
) -> None:
    """What a model needs on every GPU, the cheapest that holds it, and the flags to run it.

    Reads headers only. Exits with 5 when nothing allowed fits, with a ladder of what would.
    """
    from ggufctl.core.planner import Constraints, parse_gpu_list
    from ggufctl.services.plan import NamePlan, plan_by_name, plan_or_name

    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    if name_only:
        _show_name(plan_by_name(model), as_json=as_json)
        return
    n_ctx = o.context(ctx_size)
    constraints = Constraints(
        gpus=parse_gpu_list(gpu),
        max_usd_per_hour=max_usd_per_hour,
        max_context=o.is_max(ctx_size),
    )
    found = plan_or_name(
        model, runtime, constraints, n_ctx=n_ctx, quant=quant, on_event=_listener(verbose)
    )
    if isinstance(found, NamePlan):
        if not as_json:
            _show_name(found, as_json=False)
        if found.error is not None:
            raise found.error
        return
    try:
        _show_plan(found, as_json=as_json, quiet=quiet, verbose=verbose)
    except BrokenPipeError:
        # Whoever stopped reading may still branch on the exit code.
        from ggufctl.stdout import drop_stdout

        drop_stdout()
    found.require_choice()


def _listener(verbose: bool) -> Callable[[SourceEvent], None]:
    from ggufctl.sources.base import ignore

    if not verbose:
        return ignore

    def show(event: SourceEvent) -> None:
        size = f" ({event.n_bytes} bytes)" if event.n_bytes else ""
        typer.echo(f"{event.kind}: {event.text}{size}", err=True)

    return show


def _show_plan(plan: Plan, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    if as_json:
        from ggufctl.report.plan import plan_report

        print_json(plan_report(plan))
        if verbose:
            _explain(plan, err=True)
        return
    from ggufctl.render import plan as render

    if is_terminal():
        render.show_plan(plan)
        if verbose:
            _explain(plan, err=False)
        return
    typer.echo(render.tsv_plan(plan), nl=False)
    if not quiet:
        typer.echo("\n".join((render.headline(plan), *render.summary(plan))), err=True)
    if verbose:
        _explain(plan, err=True)


def _explain(plan: Plan, *, err: bool) -> None:
    """Why the compute buffers of the choice are as large as they are."""
    from ggufctl.render import plan as render
    from ggufctl.services.plan import explain

    estimate = explain(plan)
    if estimate is not None:
        typer.echo("\n".join(render.explanation(estimate)), err=err)


def _show_name(plan: NamePlan, *, as_json: bool) -> None:
    from ggufctl.render import plan as render
    from ggufctl.report.plan import name_report

    if as_json:
        print_json(name_report(plan))
    elif is_terminal():
        render.show_name(plan)
    else:
        typer.echo("# from the name only, header not read")
        typer.echo(render.tsv_name(plan), nl=False)


def gpus(
    as_json: Annotated[bool, typer.Option("--json", help="Print the catalogue as JSON.")] = False,
) -> None:
    """The GPUs that can be rented: what CUDA sees of their memory, and dated prices."""
    from ggufctl.catalog import load_catalogue

    catalogue = load_catalogue()
    if as_json:
        from ggufctl.report.plan import gpus_report

        print_json(gpus_report(catalogue))
        return
    from ggufctl.render import plan as render

    if is_terminal():
        render.show_gpus(catalogue)
    else:
        typer.echo(render.tsv_gpus(catalogue), nl=False)


def schema(
    document: Annotated[
        str,
        typer.Argument(
            help="diagnose, gpus, name or plan.",
            autocompletion=lambda: list(completion.SCHEMAS),
        ),
    ],
) -> None:
    """The JSON schema of a document that --json prints."""
    if document not in completion.SCHEMAS:
        raise UsageError(
            f"There is no document {document!r}.", f"Use {', '.join(completion.SCHEMAS)}."
        )
    from ggufctl.documents import schema_of

    print_json(schema_of(document).model_json_schema())
