"""`ggufctl bench`: how fast a server is, within limits of requests, time and money."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggufctl import completion
from ggufctl.commands import options as o
from ggufctl.commands.output import is_terminal, print_json, say
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.bench import Change
    from ggufctl.remote.supervisor import Event, OnEvent

__all__ = ["register"]

EXAMPLES = """\b
Examples:
  ggufctl bench smollm2
  ggufctl bench smollm2 --json > before.json
  ggufctl bench smollm2 --compare before.json
  ggufctl bench qwen3 --cold --max-usd 0.50 --plot qwen3.png
  ggufctl bench https://host/v1 --concurrency 1,8,32 --n-prompt 1024 -n 128

\b
Exit codes:
  0  ok                         8  the server failed
  2  usage, or over --max-usd   9  not ready in time
  3  nothing of that name     130  Ctrl-C
  4  the key is not accepted  143  SIGTERM"""


def register(app: typer.Typer) -> None:
    """Add the command of this module to the command line."""
    app.command(epilog=EXAMPLES)(bench)


def bench(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|URL",
            help="A deployment of yours, or any OpenAI-compatible address.",
            autocompletion=completion.deployments,
        ),
    ],
    concurrency: Annotated[
        str,
        typer.Option(
            "--concurrency",
            metavar="N,…",
            help="Streams at once, level by level. [default: 1, 2, 4 … all slots]",
            show_default=False,
        ),
    ] = "",
    n_prompt: Annotated[int, typer.Option("-p", "--n-prompt", help="Tokens of each prompt.")] = 256,
    n_predict: Annotated[
        int, typer.Option("-n", "--predict", "--n-predict", help="Tokens of each answer.")
    ] = 64,
    seed: Annotated[int, typer.Option("-s", "--seed", help="Of prompts and sampling.")] = 1,
    requests: Annotated[
        int, typer.Option("--requests", help="At most this many requests in all.")
    ] = 200,
    max_seconds: Annotated[
        float,
        typer.Option("--max-seconds", help="At most this long, once the server is there."),
    ] = 300.0,
    max_usd: Annotated[
        float | None,
        o.option(
            "--max-usd",
            metavar="USD",
            env="MAX_USD",
            help="At most this much money, start and idle time included.",
        ),
    ] = None,
    usd_per_hour: Annotated[
        float | None,
        typer.Option("--usd-per-hour", metavar="USD", help="What the server costs, if not known."),
    ] = None,
    cold: Annotated[
        bool,
        typer.Option("--cold", help="Wait until it has scaled to zero, and measure its start."),
    ] = False,
    compare: Annotated[
        str,
        typer.Option("--compare", metavar="OLD.json", help="Show what has changed since then."),
    ] = "",
    plot: Annotated[
        str, typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", metavar="ID", help="Which model, at a server of several.")
    ] = "",
    wait: o.Wait = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON (see ggufctl schema bench).")
    ] = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure a server: cold start, time to first token, tokens/s at 1, 2, 4 … streams at once.

    The same seed asks the same, so that runs can be compared; no prompt begins like another, and
    llama-server is told to keep none, so that each is read in full. The price is said first.
    """
    from ggufctl.client import Client
    from ggufctl.commands.modal import has_token
    from ggufctl.core.bench import Settings
    from ggufctl.core.bench import compare as compared
    from ggufctl.report import SCHEMA_VERSION
    from ggufctl.report.bench import bench_report, with_comparison
    from ggufctl.services.bench import read_report, run_bench
    from ggufctl.services.target import Kind, find_target, kind_of, warnings_of

    quiet = quiet or ctx.obj["quiet"]
    settings = Settings(
        seed=_least("--seed", seed, 0),
        n_prompt=_least("--n-prompt", n_prompt, 2),
        n_predict=_least("-n", n_predict, 2),
        concurrency=_levels(concurrency),
        max_requests=_least("--requests", requests, 2),
        max_seconds=_positive("--max-seconds", max_seconds),
        max_usd=None if max_usd is None else _positive("--max-usd", max_usd),
    )
    if kind_of(target) is Kind.MODEL:
        raise UsageError(
            "A benchmark is of a server that runs.",
            f"Serve the model first: ggufctl serve {target} --on local.",
        )
    if wait is not None and not 0 <= wait < 1e7:
        raise UsageError(f"--wait must be a number of seconds, not {wait:g}.")
    before = read_report(compare) if compare else None
    if before is not None:
        # Before anything is spent, not afterwards.
        compared(before, {**before, "schema_version": SCHEMA_VERSION})
    if plot:
        _check_plot(plot)
    found = find_target(target, model, ask_modal=has_token())
    if usd_per_hour is not None:
        found = replace(found, usd_per_hour=_positive("--usd-per-hour", usd_per_hour))
    for text in () if quiet else warnings_of(found):
        say(f"warning: {text}")
    with Client(found.endpoint) as client:
        result = run_bench(
            client, found, settings, _listener(quiet=quiet), cold=cold, wait_seconds=wait
        )
    report = bench_report(result)
    changes, differing = compared(before, report) if before is not None else ((), ())
    if before is not None:
        report = with_comparison(report, changes, differing)
    if plot:
        from ggufctl.render.bench_plot import draw

        draw(report, before, plot)
        if not quiet:
            say(f"{plot} is written.")
    _show(report, changes, differing, as_json=as_json, quiet=quiet)
    if result.stopped_by == "interrupted":
        raise KeyboardInterrupt


def _show(
    report: dict[str, Any],
    changes: tuple[Change, ...],
    differing: tuple[str, ...],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from ggufctl.render import bench as render

    if as_json:
        print_json(report)
        return
    lines = render.notes(report)
    if report["comparison"] is not None:
        lines += render.comparison_lines(changes, differing)
    if is_terminal():
        typer.echo(render.headline(report))
        render.show_levels(report)
        typer.echo("\n".join(lines))
        return
    typer.echo(render.tsv_levels(report), nl=False)
    if not quiet:
        say(render.headline(report), *lines)


def _check_plot(path: str) -> None:
    """Refuse before anything is spent what could not be drawn afterwards."""
    from ggufctl.render.bench_plot import check

    check(path)


def _listener(*, quiet: bool) -> OnEvent:
    """Who hears of progress: a person, on stderr; a price is said in any case."""
    from ggufctl.core.escape import redact

    def hear(event: Event) -> None:
        if event.kind == "price" or not quiet:
            say(redact(event.text))

    return hear


def _levels(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) <= 1024 for part in parts):
        raise UsageError(
            f"--concurrency is a list of numbers from 1 to 1024 such as 1,2,8, not {text!r}."
        )
    return tuple(sorted({int(part) for part in parts}))


def _least(name: str, value: int, least: int) -> int:
    if not least <= value < 1 << 31:
        raise UsageError(f"{name} must be at least {least}, not {value}.")
    return value


def _positive(name: str, value: float) -> float:
    if not 0 < value < 1e9:
        raise UsageError(f"{name} must be above 0, not {value:g}.")
    return value
