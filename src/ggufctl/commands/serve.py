"""`serve`, `ps`, `logs`, `stop`, `switch` and `demo`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggufctl import completion
from ggufctl.commands import detached, modal
from ggufctl.commands import options as o
from ggufctl.commands.goal import GoalOptions, with_goal
from ggufctl.commands.listening import make_listener, show_key_once
from ggufctl.commands.output import is_terminal, print_json, print_line, require_output, say
from ggufctl.errors import AccessDenied, GgufctlError, RemoteError, UsageError
from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.deployments import Deployment
    from ggufctl.services.local_switch import Switch
    from ggufctl.services.serve import LocalPlan, LocalRequest

__all__ = ["register"]

EXIT_CODES = """\b
Exit codes:
  0  ok                               8  network, rate limit, Hub or Modal down
  2  usage                            9  never healthy, or no place for its state
  3  nothing of that name           129  the terminal was closed (not under nohup)
  4  no token, or no access         130  Ctrl-C
  5  does not fit                   143  SIGTERM
  6  invalid GGUF, or a shard missing"""

MAX_PORT = 65535

Threads = Annotated[
    int, o.option("-t", "--threads", env="THREADS", help="Threads to compute with; 0 = automatic.")
]
EngineName = Annotated[
    str,
    o.option(
        "--engine",
        env="ENGINE",
        help="auto, llama-server, xllamacpp or llama-cpp-python.",
        autocompletion=lambda: ["auto", "llama-server", "xllamacpp", "llama-cpp-python"],
    ),
]
Port = Annotated[
    int,
    o.option("--port", env="PORT", help="Port on 127.0.0.1; 0 = any that is free."),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events", help="Print events as JSON lines while it runs; with --json, on stderr."
    ),
]

On = Annotated[str, typer.Option("--on", help="Look on modal, on local, or on all.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="As ggufctl ps shows it.", autocompletion=completion.deployments
    ),
]
PresentName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="As ggufctl ps shows it.",
        autocompletion=completion.present_deployments,
    ),
]

ENVIRONMENT = """\b
Environment:
  GGUFCTL_STATE_DIR  where deployments are kept (~/.local/state/ggufctl)
  GGUFCTL_<OPTION>   default of an option, such as GGUFCTL_CTX_SIZE
  MODAL_TOKEN_ID, MODAL_TOKEN_SECRET  of Modal; else its profile is used

"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command, epilog in (
        (o.with_runtime(with_goal(serve)), _SERVE_EXAMPLES),
        (ps, "ggufctl ps\n  ggufctl ps --json"),
        (logs, "ggufctl logs smollm2 -f"),
        (stop, "ggufctl stop smollm2\n  ggufctl stop --all"),
        (o.with_runtime(switch), _SWITCH_EXAMPLES),
        (demo, "ggufctl demo"),
    ):
        epilog = f"\b\nExamples:\n  {epilog}\n\n{ENVIRONMENT}{EXIT_CODES}"
        app.command(epilog=epilog)(command)


_SWITCH_EXAMPLES = """ggufctl switch smollm2 --gpu H100
  ggufctl switch smollm2 --gpu 1 -c max        # on this machine: its second GPU
  ggufctl switch smollm2 --gpu cpu -np 2 -ctk q8_0 -ctv q8_0"""

_SERVE_EXAMPLES = """ggufctl serve org/repo --gpu auto
  ggufctl serve org/repo:Q4_K_M --gpu L40S,A100-80GB -c 32768 -np 8 --max-containers 4
  ggufctl serve org/repo --emit app.py
  ggufctl serve ./model.gguf --on local --port 8080
  ggufctl serve ./model.gguf --on local --gpu 0,1 -c max
  ggufctl serve org/repo:Q4_K_M --on local -c 16384 -np 4 --json
  ggufctl serve org/repo --on local --dry-run
  ggufctl serve ./model.gguf --on local -- --temp 0.2"""


def serve(
    ctx: typer.Context,
    model: o.ModelRef,
    runtime: o.RuntimeOptions,
    engine_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ENGINE ARGS]", help="Further arguments of the engine's."),
    ] = None,
    on: Annotated[
        str, o.option("--on", env="ON", help="Where: modal, or local for this machine.")
    ] = "modal",
    port: Port = 8080,
    name: Annotated[
        str, typer.Option("--name", help="Name of the deployment. [default: the model's]")
    ] = "",
    engine: EngineName = "auto",
    auth: Annotated[
        str, o.option("--auth", env="AUTH", help="key, proxy (Modal's own tokens) or none.")
    ] = "key",
    allow_anyone: Annotated[
        bool,
        typer.Option("--allow-anyone", help="Let --auth none put the server in the open."),
    ] = False,
    gpu: o.Gpu = "auto",
    max_usd_per_hour: o.MaxUsdPerHour = None,
    goal: GoalOptions = None,
    requests_per_day: o.RequestsPerDay = None,
    prompt_tokens: o.PromptTokens = None,
    output_tokens: o.OutputTokens = None,
    max_containers: Annotated[
        int, o.option("--max-containers", env="MAX_CONTAINERS", help="On Modal: at once.")
    ] = 1,
    scaledown: Annotated[
        int,
        o.option(
            "--scaledown",
            metavar="SECONDS",
            env="SCALEDOWN",
            help="On Modal: how long a container stays without requests.",
        ),
    ] = 300,
    hold_requests: Annotated[
        bool,
        typer.Option(
            "--hold-requests", help="On Modal: hold requests while it starts, instead of a 503."
        ),
    ] = False,
    region: Annotated[
        str, o.option("--region", env="REGION", help="On Modal: where it may run; costs more.")
    ] = "",
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="On Modal: GPU memory snapshots (experimental).")
    ] = False,
    queue_timeout: Annotated[
        float,
        o.option(
            "--queue-timeout",
            metavar="SECONDS",
            env="QUEUE_TIMEOUT",
            help="On Modal: longest wait for a GPU.",
        ),
    ] = 900.0,
    emit: Annotated[
        str,
        typer.Option("--emit", metavar="FILE", help="Write the equivalent Modal app; - is stdout."),
    ] = "",
    api_key_file: Annotated[
        str,
        o.option(
            "--api-key-file",
            metavar="FILE",
            env="API_KEY_FILE",
            help="The key in FILE, which is made if it is not there.",
        ),
    ] = "",
    max_attempts: Annotated[
        int, o.option("--max-attempts", env="MAX_ATTEMPTS", help="Most starts of the engine.")
    ] = 4,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback", help="Try less memory when it runs out, saying so."
        ),
    ] = True,
    startup_timeout: Annotated[
        float | None,
        o.option(
            "--startup-timeout",
            metavar="SECONDS",
            env="STARTUP_TIMEOUT",
            help="Instead of the limit computed from the bytes to load.",
        ),
    ] = None,
    threads: Threads = 0,
    chat_format: Annotated[
        str, o.option("--chat-format", env="CHAT_FORMAT", help="Of llama-cpp-python.")
    ] = "",
    detach: Annotated[
        bool,
        typer.Option(
            "-d", "--detach", help="On this machine: return once it answers; ggufctl stop ends it."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say everything that would happen; do nothing.")
    ] = False,
    ctx_size: o.CtxSize = "",
    quant: o.Quant = "auto",
    as_json: o.AsJson = False,
    events: Events = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Serve a model behind an OpenAI-compatible URL of your own, with a key of its own.

    On Modal this returns once the server answers; the price is said before anything is spent.
    On this machine it stays in front until stopped, or goes on in the background with -d;
    nothing is left behind. --gpu picks among its GPUs there, all used together: numbers, CUDA1,
    RTX 4090:2, or cpu.
    """
    if on not in ("modal", "local"):
        raise UsageError(f"--on is modal or local, not {on!r}.")
    require_output()
    release = detached.detach() if detach and on == "local" and not dry_run else None
    o.named_gpus(gpu)
    _check_numbers(threads, startup_timeout)
    if not (quiet or ctx.obj["quiet"]):
        o.warn_of_unread(ctx)
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"--port must be between 0 and {MAX_PORT}, not {port}.")
    if name:
        from ggufctl.services.deployments import check_name

        check_name(name)
    if on == "modal" and not (dry_run or emit):
        modal.require_token()
    load = o.load_of(requests_per_day, prompt_tokens, output_tokens)
    if on == "local" and load is not None:
        raise UsageError("The bill of a month is that of a deployment on Modal: add --on modal.")
    if on == "local" and goal is not None:
        raise UsageError("--optimize and limits of speed choose among GPUs to rent: --on modal.")
    if on == "local" and emit:
        raise UsageError("--emit writes a Modal app: it goes with --on modal.")
    if on == "modal":
        _serve_on_modal(
            model=model,
            runtime=runtime,
            n_ctx=o.context(ctx_size),
            quant=quant,
            gpu=gpu,
            max_usd_per_hour=max_usd_per_hour,
            goal=goal,
            load=load,
            name=name,
            auth=auth,
            allow_public=allow_anyone,
            api_key_file=Path(os.path.expanduser(api_key_file)) if api_key_file else None,
            engine="llama-server" if engine == "auto" else engine,
            engine_args=_engine_args(engine_args or ()),
            chat_format=chat_format,
            max_containers=max_containers,
            scaledown=scaledown,
            hold_requests=hold_requests,
            snapshot=snapshot,
            region=region,
            max_attempts=max_attempts,
            fallback=fallback,
            startup_timeout_seconds=startup_timeout,
            queue_seconds=queue_timeout,
            port=port,
            flags={
                "as_json": as_json,
                "events": events,
                "quiet": quiet or ctx.obj["quiet"],
                "verbose": (verbose or ctx.obj["verbose"]) and not quiet,
                "dry_run": dry_run,
                "emit_to": emit,
            },
        )
        return
    from ggufctl.services.serve import LocalRequest

    request = LocalRequest(
        model=model,
        runtime=runtime,
        n_ctx=o.context(ctx_size),
        max_context=o.is_max(ctx_size),
        gpu=_gpu_here(ctx, gpu),
        quant=quant,
        name=name,
        port=port,
        auth=auth,
        api_key_file=Path(os.path.expanduser(api_key_file)) if api_key_file else None,
        engine=engine,
        engine_args=_engine_args(engine_args or ()),
        n_threads=threads,
        chat_format=chat_format,
        max_attempts=max_attempts,
        fallback=fallback,
        startup_timeout_seconds=startup_timeout,
    )
    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    listener = _listener(events=events, as_json=as_json, quiet=quiet, verbose=verbose)
    _serve_local(
        request,
        listener,
        as_json=as_json,
        dry_run=dry_run,
        quiet=quiet,
        events=events,
        release=release,
    )


def _check_numbers(threads: int, startup_timeout: float | None) -> None:
    """Refuse numbers that mean nothing.

    Raises: UsageError.
    """
    if threads < 0:
        raise UsageError(f"-t/--threads must be at least 0, not {threads}.", "0 is automatic.")
    if startup_timeout is not None and not 0 < startup_timeout < float("inf"):
        raise UsageError(f"--startup-timeout must be above 0 seconds, not {startup_timeout:g}.")


def _gpu_here(ctx: typer.Context, gpu: str) -> str:
    """GPUs of this machine: what a variable or the configuration file says is meant for Modal."""
    source = ctx.get_parameter_source("gpu")
    if gpu == "auto" or source is None or source.name == "COMMANDLINE":
        return gpu
    say(f"warning: --gpu {gpu} was not on the command line: it is for Modal, all GPUs are used.")
    return "auto"


def _engine_args(args: Sequence[str]) -> tuple[str, ...]:
    if args and not args[0].startswith("-"):
        raise UsageError(
            f"{args[0]!r} is one argument too many.", "Arguments for the engine come after --."
        )
    return tuple(args)


def _serve_on_modal(*, gpu: str, flags: dict[str, Any], **settings: Any) -> None:
    from ggufctl.core.planner import parse_gpu_list
    from ggufctl.services.modal import ModalRequest

    modal.serve_on_modal(ModalRequest(gpus=parse_gpu_list(gpu), **settings), **flags)


def _serve_local(
    request: LocalRequest,
    listener: Callable[[Event], None],
    *,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
    events: bool,
    release: detached.Release | None,
) -> None:
    from ggufctl.render import serve as render_serve
    from ggufctl.report import serve as report_serve
    from ggufctl.services.serve import plan_local, start_local

    plan = plan_local(request, listener)
    if dry_run:
        if as_json:
            print_json(report_serve.local_plan_report(plan))
        else:
            _print_dry_run(plan)
        return
    if not quiet:
        say(render_serve.price_line(plan), *(f"warning: {text}" for text in plan.warnings))
        if not (as_json or events):
            say(*render_serve.plan_lines(plan))
    server = start_local(plan, listener)
    try:
        if not quiet:
            show_key_once(server.key)
        if as_json:
            print_json(report_serve.local_server_report(server))
        elif events:
            print_line({"event": "ready", **report_serve.local_server_report(server)})
        else:
            lines = render_serve.summary_lines(server, is_in_front=release is None)
            typer.echo("\n".join(lines))
        sys.stdout.flush()
        if release is not None:
            release()
        server.wait(report_serve.local_server_report)
    except GgufctlError as error:
        server.stop(status="failed", reason=error.message)
        raise
    finally:
        server.stop()


def _print_dry_run(plan: LocalPlan) -> None:
    import shlex

    from ggufctl.render import serve as render_serve

    lines = [render_serve.price_line(plan), *render_serve.plan_lines(plan)]
    lines.append(f"limit    {plan.deadline_seconds:.0f} s to the first token")
    if plan.request.auth == "key":
        lines.append(f"key      in the environment, as {plan.command.key_variable}")
    lines += [f"warning  {text}" for text in plan.warnings]
    typer.echo("\n".join((*lines, f"run      {shlex.join(plan.command.argv)}")))


def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Those that have ended as well.")
    ] = False,
    on: On = "all",
    as_json: o.AsJson = False,
) -> None:
    """What is being served, here and on Modal."""
    from ggufctl.render import serve as render_serve
    from ggufctl.report import serve as report_serve
    from ggufctl.services.deployments import listed
    from ggufctl.services.state import remembers_modal

    found = listed(ended=everything) if on != "modal" else ()
    rows = [report_serve.deployment_report(deployment) for deployment in found]
    lines = render_serve.deployment_rows(found)
    if _asks_modal(on, is_needed=not rows):
        try:
            more_rows, more_lines = modal.ps_on_modal()
        except (RemoteError, AccessDenied) as error:
            # A script that reads JSON is not to take a part for the whole.
            if not rows or as_json:
                raise
            say(f"What is on Modal is not shown: {error.message}")
        else:
            rows += more_rows
            lines += more_lines
    elif on == "all" and remembers_modal():
        say("What is on Modal is not shown: there is no Modal token on this machine.")
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "deployments": rows})
    elif not rows:
        say("Nothing is being served.")
    elif is_terminal():
        render_serve.show_deployments(lines)
    else:
        typer.echo("\n".join(lines))
    n_lost = sum(deployment.status == "lost" for deployment in found)
    if n_lost and not (as_json or everything):
        say("Lost ones are gone without a word; ggufctl stop NAME, or --all, takes them off.")


def _asks_modal(on: str, name: str = "", *, is_needed: bool = False) -> bool:
    """Whether Modal is to be asked: when it is named, or where there is a token.

    Where something is needed that was deployed from here, a token has to be there.
    """
    from ggufctl.services.state import remembers_modal

    if on not in ("all", "local", "modal"):
        raise UsageError(f"--on is modal, local or all, not {on!r}.")
    if on == "modal" or (on == "all" and is_needed and remembers_modal(name)):
        modal.require_token()
    return on == "modal" or (on == "all" and modal.has_token())


def _is_on_modal(name: str, on: str) -> bool:
    """Whether a name is to be looked for on Modal: what runs here is found first."""
    from ggufctl.services.deployments import DeploymentNotFound, find

    if on == "modal":
        return _asks_modal(on)
    try:
        is_here = find(name, ended=True).is_alive
    except DeploymentNotFound:
        is_here = False
    return _asks_modal(on, name, is_needed=not is_here) and not is_here


def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the deployment ends.")
    ] = False,
    on: On = "all",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """The engine's log of a deployment, here or on Modal."""
    from ggufctl.core.escape import redact
    from ggufctl.services.deployments import DeploymentNotFound, find, follow_log

    lines = None
    if _is_on_modal(name, on):
        try:
            lines = list(modal.logs_on_modal(name, follow=False))
        except DeploymentNotFound:
            if on == "modal":
                raise
    if lines is not None:
        found = modal.logs_on_modal(name, follow=True) if follow else iter(lines)
    else:
        found = follow_log(find(name, ended=True), follow=follow)
    for line in found:
        if as_json:
            print_line({"schema_version": SCHEMA_VERSION, "name": name, "line": redact(line)})
        else:
            typer.echo(redact(line))


def stop(
    name: PresentName = "",
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Everything on this machine; --json as ps has it.")
    ] = False,
    on: On = "all",
    as_json: o.AsJson = False,
) -> None:
    """Stop a deployment and wait until nothing of it runs."""
    from ggufctl.report import serve as report_serve
    from ggufctl.services import deployments

    if everything:
        _stop_all(name, on, as_json=as_json)
        return
    if not name:
        raise UsageError("Nothing is named.", "Say ggufctl stop NAME, or --all.")
    if _is_on_modal(name, on):
        row = modal.stop_on_modal(name)
        if as_json:
            print_json({"schema_version": SCHEMA_VERSION, **row})
        else:
            say(f"{name} is stopped on Modal.")
        return
    stopped = deployments.stop(name)
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                **report_serve.deployment_report(stopped),
            }
        )
    else:
        say(f"{stopped.name} is stopped.")


def _stop_all(name: str, on: str, *, as_json: bool) -> None:
    """Stop what runs on this machine; what is paid for by others is never stopped unnamed."""
    from ggufctl.report import serve as report_serve
    from ggufctl.services import deployments

    if name:
        raise UsageError("--all and a name exclude each other.")
    if on not in ("all", "local"):
        raise UsageError("--all is for this machine: on Modal say which, by name.")
    stopped = [deployments.stop(each.name) for each in deployments.listed()]
    if as_json:
        rows = [report_serve.deployment_report(each) for each in stopped]
        print_json({"schema_version": SCHEMA_VERSION, "deployments": rows})
        return
    say(*(f"{each.name} is stopped." for each in stopped))
    if not stopped:
        say("Nothing is being served on this machine.")


_FIELDS = {
    "parallel": "n_parallel",
    "batch_size": "n_batch",
    "ubatch_size": "n_ubatch",
    "gpu_layers": "n_gpu_layers",
    "cpu_moe": "n_cpu_moe",
    "embedding": "embeddings",
    "model_draft": "draft_model",
    "kv_offload": "no_kv_offload",
}
"""Option → the field of a runtime that it sets, where their names differ."""


def switch(
    ctx: typer.Context,
    name: PresentName,
    runtime: o.RuntimeOptions,
    ctx_size: o.CtxSize = "",
    gpu: o.Gpu = "auto",
    as_json: o.AsJson = False,
    events: Events = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Move a deployment to other GPUs, or go on with other settings: same URL, key and name.

    Only what is named changes. What does not fit is refused before anything is touched, and if
    the new one does not come up, the former is brought back. On this machine requests that are
    being answered are finished first; new ones wait until the new engine answers them.
    """
    from ggufctl.services.deployments import DeploymentNotFound, find, has_ended
    from ggufctl.services.local_switch import Switch

    require_output()
    given = {
        option
        for option in (*o.RUNTIME_NAMES, "ctx_size", "gpu")
        if (source := ctx.get_parameter_source(option)) is not None and source.name == "COMMANDLINE"
    }
    o.named_gpus(gpu)
    fields = {_FIELDS.get(option, option) for option in given & set(o.RUNTIME_NAMES)}
    wanted = Switch(
        gpu=gpu if "gpu" in given else None,
        n_ctx=o.context(ctx_size) if "ctx_size" in given else None,
        max_context=o.is_max(ctx_size) and "ctx_size" in given,
        runtime={field: getattr(runtime, field) for field in sorted(fields)},
    )
    deployment = missing = None
    try:
        deployment = find(name)
    except DeploymentNotFound as error:
        missing = error
    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    if deployment is not None and not deployment.is_alive:
        missing = has_ended(deployment)
    if missing is not None:
        if not _asks_modal("all", name, is_needed=True):
            raise missing
        modal.require_deployment(name)
    if wanted.is_nothing:
        raise UsageError(
            "Nothing is to be changed.", f"Say what: ggufctl switch {name} --gpu 1, or -c 8192."
        )
    if deployment is None or missing is not None:
        if wanted.max_context:
            raise UsageError("On Modal a switch takes -c as a number of tokens.")
        modal.switch_on_modal(
            name,
            gpu=wanted.gpu,
            n_ctx=wanted.n_ctx,
            runtime=wanted.runtime,
            as_json=as_json,
            events=events,
            quiet=quiet,
            verbose=verbose,
        )
        return
    listener = _listener(events=events, as_json=as_json, quiet=quiet, verbose=verbose)
    _switch_here(deployment, wanted, listener, as_json=as_json, events=events)


def _switch_here(
    deployment: Deployment,
    wanted: Switch,
    listener: Callable[[Event], None],
    *,
    as_json: bool,
    events: bool,
) -> None:
    from ggufctl.remote.supervisor import Event
    from ggufctl.render.serve import switched_lines
    from ggufctl.services.local_switch import ask_for_switch

    for found in ask_for_switch(deployment, wanted):
        if isinstance(found, Event):
            listener(found)
        elif as_json:
            print_json(found)
        elif events:
            print_line({"event": "ready", **found})
        else:
            typer.echo("\n".join(switched_lines(found)))


def demo(
    ctx: typer.Context,
    engine: EngineName = "auto",
    threads: Threads = 0,
    hub: Annotated[
        bool, typer.Option("--hub/--no-hub", help="Whether the Hub is asked for the model first.")
    ] = True,
    as_json: o.AsJson = False,
    events: Events = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Plan and serve a small real model on this machine's CPU, ask it one question, stop."""
    from ggufctl.render import serve as render_serve
    from ggufctl.report import serve as report_serve
    from ggufctl.services.demo import run_demo
    from ggufctl.services.serve import LocalRequest

    require_output()
    quiet = quiet or ctx.obj["quiet"]
    verbose = (verbose or ctx.obj["verbose"]) and not quiet
    listener = _listener(events=events, as_json=as_json, quiet=quiet, verbose=verbose)

    def show_plan(plan: LocalPlan) -> None:
        if not (as_json or events):
            typer.echo("\n".join((render_serve.price_line(plan), *render_serve.plan_lines(plan))))
            sys.stdout.flush()

    request = LocalRequest(model="", name="", port=0, engine=engine, n_threads=threads)
    result = run_demo(request, listener, show_plan, use_hub=hub)
    if as_json:
        print_json(report_serve.demo_report(result))
    elif events:
        print_line({"event": "answer", **report_serve.demo_report(result)})
    else:
        typer.echo("\n".join(render_serve.demo_lines(result)))


def _listener(
    *, events: bool, as_json: bool, quiet: bool, verbose: bool
) -> Callable[[Event], None]:
    """Who hears of events: a program on stdout, or a person on stderr."""
    from ggufctl.render.serve import event_line

    verbose = verbose and not quiet
    return make_listener(event_line, events=events, as_json=as_json, quiet=quiet, verbose=verbose)
