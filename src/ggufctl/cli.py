"""The command line: parses, calls a service, prints, exits."""

from __future__ import annotations

import os
import sys
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException as UsageException
from typer.main import get_command

from ggufctl import completion
from ggufctl.coercion import lighten
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typer.models import CommandInfo

    from ggufctl.core.plan import Plan
    from ggufctl.services.plan import NamePlan
    from ggufctl.sources.base import SourceEvent

__all__ = ["UsageException", "app", "make_command"]

EXIT_CODES = """\b
Exit codes:
  0  ok                         6  invalid GGUF, or a shard missing
  1  a bug in ggufctl           7  unsupported model or format
  2  usage                      8  network, rate limit, Hub down
  3  model not found           11  a check failed
  4  access denied            130  Ctrl-C
  5  does not fit             143  SIGTERM"""

ALL_EXIT_CODES = """\b
Exit codes:
  0  ok                         7  unsupported model or format
  1  a bug in ggufctl           8  network, rate limit, Hub or Modal down
  2  usage                      9  launch failed
  3  model not found           10  nothing diagnosed
  4  access denied             11  a check failed
  5  does not fit             130  Ctrl-C
  6  invalid GGUF             143  SIGTERM"""

app = typer.Typer(
    name="ggufctl",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=ALL_EXIT_CODES,
)

MAX_DIGITS = 9
"""Of a number of tokens."""

ALL_LAYERS = 512
"""What `--cpu-moe` stands for: llama.cpp has no more blocks."""


def make_command(arguments: Sequence[str] = ()) -> Any:
    """The command line, ready to run; usage errors come out as `UsageException`.

    Only the command that `arguments` begin with is made, since making all takes longer than
    many a plan; all are where there is none, for the help and completion.
    """
    first = next((a for a in arguments if not a.startswith("-")), "")
    named = [c for c in app.registered_commands if _name_of(c) == first]
    one = copy(app)
    one.registered_commands = named or app.registered_commands
    return lighten(get_command(one), typer.BadParameter)


def _name_of(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def _print_version(wanted: bool) -> None:
    if wanted:
        from ggufctl._version import VERSION

        typer.echo(f"ggufctl {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more about what is done and why.")
    ] = False,
) -> None:
    """Plan, serve and diagnose GGUF models: memory to the byte, price, one command.

    Settings come from flags, then GGUFCTL_* variables (GGUFCTL_CTX_SIZE for --ctx-size),
    then $XDG_CONFIG_HOME/ggufctl/config.toml.
    """
    from ggufctl.config import load_defaults

    ctx.default_map = load_defaults(_options(ctx))
    ctx.obj = {"quiet": quiet, "verbose": verbose}


def _options(ctx: typer.Context) -> dict[str, dict[str, str]]:
    """Command → long option → parameter, for the configuration file."""
    commands = getattr(ctx.command, "commands", {})
    return {
        name: {
            option.removeprefix("--"): str(parameter.name)
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and parameter.name
        }
        for name, command in commands.items()
    }


def _option(*names: str, env: str, **settings: Any) -> Any:
    """An option that `GGUFCTL_<env>` sets as well; the help of the group says so once."""
    return typer.Option(*names, envvar=f"GGUFCTL_{env}", show_envvar=False, **settings)


@app.command(
    epilog="""\b
Examples:
  ggufctl plan bartowski/Llama-3.3-70B-Instruct-GGUF
  ggufctl plan unsloth/Qwen3-235B-A22B-GGUF:UD-Q4_K_XL -c 32768 -np 4
  ggufctl plan ./model-00001-of-00003.gguf --gpu L40S,H100 --json
  ggufctl plan org/repo:Q4_K_M --gpu L4 && deploy.sh

"""
    + EXIT_CODES
)
def plan(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="org/repo, org/repo:QUANT, org/repo/file.gguf, a URL or a path.",
        ),
    ],
    ctx_size: Annotated[
        str,
        _option(
            "-c",
            "--ctx-size",
            metavar="N|max",
            env="CTX_SIZE",
            help="Context in tokens; 0 = the model's own, max = the largest that fits. "
            "[default: the smaller of 8192 and the model's own]",
            show_default=False,
        ),
    ] = "",
    parallel: Annotated[
        int | None,
        _option("-np", "--parallel", env="PARALLEL", help="Slots."),
    ] = None,
    kv_unified: Annotated[
        bool | None,
        _option(
            "-kvu/-no-kvu",
            "--kv-unified/--no-kv-unified",
            env="KV_UNIFIED",
            help="One cache for all slots, or one for each.",
        ),
    ] = None,
    cache_type_k: Annotated[
        str,
        _option(
            "-ctk",
            "--cache-type-k",
            env="CACHE_TYPE_K",
            help="Type of the key cache.",
            autocompletion=lambda: list(completion.CACHE_TYPES),
        ),
    ] = "f16",
    cache_type_v: Annotated[
        str,
        _option(
            "-ctv",
            "--cache-type-v",
            env="CACHE_TYPE_V",
            help="Type of the value cache.",
            autocompletion=lambda: list(completion.CACHE_TYPES),
        ),
    ] = "f16",
    flash_attn: Annotated[
        str,
        _option("-fa", "--flash-attn", env="FLASH_ATTN", help="Flash attention: on, off, auto."),
    ] = "auto",
    batch_size: Annotated[
        int, _option("-b", "--batch-size", env="BATCH_SIZE", help="Logical batch.")
    ] = 2048,
    ubatch_size: Annotated[
        int,
        _option("-ub", "--ubatch-size", env="UBATCH_SIZE", help="Physical batch."),
    ] = 512,
    gpu_layers: Annotated[
        str,
        _option(
            "-ngl",
            "--gpu-layers",
            "--n-gpu-layers",
            metavar="N|all",
            env="GPU_LAYERS",
            help="Layers on the GPU.",
        ),
    ] = "all",
    n_cpu_moe: Annotated[
        int,
        _option(
            "-ncmoe",
            "--n-cpu-moe",
            env="N_CPU_MOE",
            help="Keep the experts of the first N layers in host memory.",
        ),
    ] = 0,
    cpu_moe: Annotated[
        bool,
        _option("-cmoe", "--cpu-moe", env="CPU_MOE", help="Keep all experts in host memory."),
    ] = False,
    split_mode: Annotated[
        str,
        _option("-sm", "--split-mode", env="SPLIT_MODE", help="Several GPUs: layer or none."),
    ] = "layer",
    embedding: Annotated[
        bool,
        _option("--embedding", "--embeddings", env="EMBEDDING", help="Serve embeddings."),
    ] = False,
    swa_full: Annotated[
        bool,
        _option("--swa-full", env="SWA_FULL", help="Full-size cache for sliding windows."),
    ] = False,
    load_mode: Annotated[
        str,
        _option("-lm", "--load-mode", env="LOAD_MODE", help="How weights are read."),
    ] = "auto",
    mmproj: Annotated[
        str | None,
        _option("-mm", "--mmproj", env="MMPROJ", help="Multimodal projector beside it."),
    ] = None,
    model_draft: Annotated[
        str | None,
        _option(
            "-md",
            "--model-draft",
            "--spec-draft-model",
            env="MODEL_DRAFT",
            help="Draft model beside it.",
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        _option("--lora", env="LORA", help="Adapter beside it; repeatable."),
    ] = None,
    gpu: Annotated[
        str,
        _option(
            "--gpu",
            metavar="NAMES",
            env="GPU",
            help="GPUs to choose from, such as L40S,H100:2; auto = all.",
            autocompletion=completion.gpus,
        ),
    ] = "auto",
    quant: Annotated[
        str,
        _option(
            "--quant",
            env="QUANT",
            help="Quant of a repository; auto = the best on the GPU that Q4_K_M needs.",
            autocompletion=completion.quants,
        ),
    ] = "auto",
    max_usd_per_hour: Annotated[
        float | None,
        _option(
            "--max-usd-per-hour",
            metavar="USD",
            env="MAX_USD_PER_HOUR",
            help="Budget for the GPUs.",
        ),
    ] = None,
    name_only: Annotated[
        bool, typer.Option("--name-only", help="What the name says; reads nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON (see ggufctl schema plan).")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Explain peaks and show requests.")
    ] = False,
) -> None:
    """What a model needs on every GPU, the cheapest that holds it, and the flags to run it.

    Reads headers only. Exits with 5 when nothing allowed fits, with a ladder of what would.
    """
    from ggufctl.core.planner import Constraints, parse_gpu_list
    from ggufctl.core.runtime import Runtime
    from ggufctl.services.plan import NamePlan, plan_by_name, plan_or_name

    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    if name_only:
        _show_name(plan_by_name(model), as_json=as_json)
        return
    runtime = Runtime(
        n_parallel=parallel,
        kv_unified=kv_unified,
        cache_type_k=cache_type_k,
        cache_type_v=cache_type_v,
        flash_attn=flash_attn,
        n_batch=batch_size,
        n_ubatch=ubatch_size,
        n_gpu_layers=_layers(gpu_layers),
        n_cpu_moe=ALL_LAYERS if cpu_moe else n_cpu_moe,
        split_mode=split_mode,
        embeddings=embedding,
        swa_full=swa_full,
        load_mode=load_mode,
        mmproj=mmproj,
        draft_model=model_draft,
        lora=tuple(lora or ()),
    )
    n_ctx = _context(ctx_size)
    constraints = Constraints(
        gpus=parse_gpu_list(gpu),
        max_usd_per_hour=max_usd_per_hour,
        max_context=ctx_size.casefold() == "max",
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


def _context(text: str) -> int | None:
    """Tokens of `-c`; None for the default, also where `max` raises it later."""
    if text == "" or text.casefold() == "max":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"-c/--ctx-size must be a number of tokens or max, not {text!r}.")
    if len(text) > MAX_DIGITS:
        raise UsageError(f"-c/--ctx-size must be at most {'9' * MAX_DIGITS}, not {text[:40]}.")
    return int(text)


def _layers(text: str) -> int:
    if text.casefold() in ("all", "auto"):
        return -1
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"-ngl/--n-gpu-layers must be a number or all, not {text!r}.") from None


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
        from ggufctl.report import plan_report

        _print_json(plan_report(plan))
        if verbose:
            _explain(plan, err=True)
        return
    from ggufctl import render

    if _is_terminal():
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
    from ggufctl import render
    from ggufctl.services.plan import explain

    estimate = explain(plan)
    if estimate is not None:
        typer.echo("\n".join(render.explanation(estimate)), err=err)


def _show_name(plan: NamePlan, *, as_json: bool) -> None:
    from ggufctl import render
    from ggufctl.report import name_report

    if as_json:
        _print_json(name_report(plan))
    elif _is_terminal():
        render.show_name(plan)
    else:
        typer.echo("# from the name only, header not read")
        typer.echo(render.tsv_name(plan), nl=False)


@app.command(
    epilog="""\b
Examples:
  ggufctl gpus
  ggufctl gpus --json
"""
)
def gpus(
    as_json: Annotated[bool, typer.Option("--json", help="Print the catalogue as JSON.")] = False,
) -> None:
    """The GPUs that can be rented: what CUDA sees of their memory, and dated prices."""
    from ggufctl.catalog import load_catalogue

    catalogue = load_catalogue()
    if as_json:
        from ggufctl.report import gpus_report

        _print_json(gpus_report(catalogue))
        return
    from ggufctl import render

    if _is_terminal():
        render.show_gpus(catalogue)
    else:
        typer.echo(render.tsv_gpus(catalogue), nl=False)


@app.command(
    epilog="""\b
Examples:
  ggufctl schema plan
"""
)
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
    from ggufctl.documents import SCHEMAS

    _print_json(SCHEMAS[document].model_json_schema())


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))


from ggufctl.commands import serve as _serve  # noqa: E402  # it adds its commands to ours

_serve.register(app)

from ggufctl.commands import diagnose as _diagnose  # noqa: E402  # likewise

_diagnose.register(app)
