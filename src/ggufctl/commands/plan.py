"""`plan`, `gpus` and `schema`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ggufctl import completion
from ggufctl.commands import options as o
from ggufctl.commands import plan_many as many
from ggufctl.commands.goal import GoalOptions, with_goal
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
  1  a bug, or a failed write   7  unsupported model or format
  2  usage                      8  network, rate limit, Hub down
  3  model not found           11  a check failed
  4  access denied            130  Ctrl-C
  5  does not fit             143  SIGTERM"""

_PLAN_EXAMPLES = """\b
Examples:
  ggufctl plan bartowski/Llama-3.3-70B-Instruct-GGUF
  ggufctl plan unsloth/Qwen3-235B-A22B-GGUF:UD-Q4_K_XL -c 32768 -np 4
  ggufctl plan ./model-00001-of-00003.gguf --gpu L40S,H100 --json
  ggufctl plan org/repo:Q4_K_M --gpu L4 -q && deploy.sh
  ggufctl plan --compare org/repo:Q4_K_M org/repo:Q8_0 other/repo
  ggufctl plan --batch references.txt --output plans.jsonl
  ggufctl plan org/repo --plot plan.png

"""


_GPUS_EPILOG = """\b
Examples:
  ggufctl gpus
  ggufctl gpus --json
  ggufctl gpus --refresh

\b
Exit codes:
  0  ok
  2  usage
  4  --refresh without a token, or it is not accepted
  8  Modal is down, or its prices cannot be right
"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog=_PLAN_EXAMPLES + EXIT_CODES)(o.with_runtime(with_goal(plan)))
    app.command(epilog=_GPUS_EPILOG)(gpus)
    app.command(epilog="\b\nExamples:\n  ggufctl schema plan\n")(schema)


def plan(
    ctx: typer.Context,
    runtime: o.RuntimeOptions,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="org/repo, org/repo:QUANT, org/repo/file.gguf, a URL or a path; "
            "several with --compare.",
        ),
    ] = None,
    ctx_size: o.CtxSize = "",
    gpu: o.Gpu = "auto",
    quant: o.Quant = "auto",
    max_usd_per_hour: o.MaxUsdPerHour = None,
    goal: GoalOptions = None,
    requests_per_day: o.RequestsPerDay = None,
    prompt_tokens: o.PromptTokens = None,
    output_tokens: o.OutputTokens = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show several models side by side.")
    ] = False,
    batch: Annotated[
        str,
        typer.Option(
            "--batch",
            metavar="FILE|-",
            help="Plan every line: a reference, or JSON with model and options. Prints JSON lines.",
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where --batch appends its lines; a rerun goes on where it stopped.",
        ),
    ] = "",
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", help="Models that --batch fetches at a time.")
    ] = 8,
    plot: Annotated[
        str,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw memory over context and speed over price: .png, .svg or .html.",
        ),
    ] = "",
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

    Picks one card before several, by the GPU's price per hour, or with --requests-per-day by the
    month's. Memory is in GiB: used/usable of the fullest GPU, rest = buffers and CUDA's own;
    a verdict of -2.2 lacks 2.2 GiB over all GPUs. Reads headers only. Exits with 5 when nothing
    allowed fits, with a ladder of what would; --compare and --batch exit with the code of the
    first model that fails. -q prints nothing but errors, and JSON where --json asks for it.
    """
    from ggufctl.core.planner import Constraints, parse_gpu_list
    from ggufctl.services.plan import NamePlan, plan_by_name, plan_or_name

    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    named = models or []
    if not quiet:
        o.warn_of_unread(ctx)
    _check_mode(named, compare=compare, batch=batch, output=output, plot=plot, name_only=name_only)
    if name_only:
        by_name = plan_by_name(many.one_model(named))
        if as_json or not quiet:
            _show_name(by_name, as_json=as_json)
        return
    n_ctx = o.context(ctx_size)
    load = o.load_of(requests_per_day, prompt_tokens, output_tokens)
    if load is not None and (batch or compare):
        raise UsageError(
            "--requests-per-day, --prompt-tokens and --output-tokens are for the plan of one "
            "model: leave out --batch or --compare."
        )
    constraints = Constraints(
        gpus=parse_gpu_list(o.named_gpus(gpu)),
        max_usd_per_hour=max_usd_per_hour,
        max_context=o.is_max(ctx_size),
        goal=goal,
        load=load,
    )
    if batch:
        from ggufctl.services.batch import Defaults

        defaults = Defaults(runtime, constraints, n_ctx, quant)
        many.show_batch(batch, output, defaults, n_threads=jobs, whole=as_json, quiet=quiet)
        return
    if compare:
        many.show_comparison(
            named,
            runtime,
            constraints,
            n_ctx=n_ctx,
            quant=quant,
            as_json=as_json,
            quiet=quiet,
            on_event=_listener(verbose),
        )
        return
    model = many.one_model(named)
    found = plan_or_name(
        model, runtime, constraints, n_ctx=n_ctx, quant=quant, on_event=_listener(verbose)
    )
    if isinstance(found, NamePlan):
        if not (as_json or quiet):
            _show_name(found, as_json=False)
        if found.error is not None:
            raise found.error
        return
    if plot:
        many.plot_to(plot, found, quiet=quiet)
    try:
        _show_plan(found, as_json=as_json, quiet=quiet, verbose=verbose)
    except BrokenPipeError:
        # Whoever stopped reading may still branch on the exit code.
        from ggufctl.stdout import drop_stdout

        drop_stdout()
    found.require_choice()


def _check_mode(
    models: Sequence[str], *, compare: bool, batch: str, output: str, plot: str, name_only: bool
) -> None:
    """Refuse options that exclude each other, before anything is read.

    Raises: UsageError.
    """
    modes = [
        text
        for text, given in (
            ("--compare", compare),
            ("--batch", batch),
            ("--plot", plot),
            ("--name-only", name_only),
        )
        if given
    ]
    if len(modes) > 1:
        raise UsageError(f"{modes[0]} and {modes[1]} exclude each other.")
    if batch and models:
        raise UsageError("--batch takes its models from the file, not from arguments.")
    if output and not batch:
        raise UsageError("--output is for --batch.")
    if plot:
        many.check_plot(plot)


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
    if quiet:
        return
    from ggufctl.render import plan as render

    if is_terminal():
        render.show_plan(plan)
        if verbose:
            _explain(plan, err=False)
        return
    if plan.optimization is not None and plan.optimization.goal.objective is not None:
        from ggufctl.render.optimize import tsv_front

        typer.echo(tsv_front(plan.optimization), nl=False)
    else:
        typer.echo(render.tsv_plan(plan), nl=False)
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
        typer.echo(f"# {render.name_heading(plan)}")
        typer.echo(render.tsv_name(plan), nl=False)


def gpus(
    as_json: Annotated[bool, typer.Option("--json", help="Print the catalogue as JSON.")] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh", help="Read the prices of your Modal workspace, and plan with them."
        ),
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Plan with the prices of this release again.")
    ] = False,
    own: Annotated[
        bool,
        typer.Option("--own", help="Cards of one's own instead; --gpu of plan takes them by name."),
    ] = False,
) -> None:
    """The GPUs that can be rented: what CUDA sees of their memory, and dated prices."""
    from ggufctl.catalog import load_cards, load_catalogue

    if own and (refresh or reset):
        raise UsageError("--own is about cards that nobody rents out.")
    if refresh and reset:
        raise UsageError("--refresh and --reset exclude each other.")
    if refresh or reset:
        from ggufctl.services import prices

        if refresh:
            from ggufctl.render.prices import refresh_lines

            found = prices.refresh()
            typer.echo("\n".join(refresh_lines(found)), err=True)
        else:
            prices.reset()
    catalogue = load_catalogue()
    if own:
        catalogue = replace(catalogue, gpus=load_cards())
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
            metavar="DOCUMENT",
            help=f"One of {', '.join(completion.SCHEMAS)}; all are listed without one.",
            autocompletion=lambda: list(completion.SCHEMAS),
        ),
    ] = "",
) -> None:
    """The JSON schema of a document that --json prints; without one, the list of documents."""
    if not document:
        typer.echo("\n".join(completion.SCHEMAS))
        return
    if document not in completion.SCHEMAS:
        raise UsageError(
            f"There is no document {document!r}.", f"Use {', '.join(completion.SCHEMAS)}."
        )
    from ggufctl.documents import schema_of

    print_json(schema_of(document).model_json_schema())
