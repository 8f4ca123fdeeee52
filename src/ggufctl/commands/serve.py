"""`serve`, `ps`, `logs`, `stop` and `demo`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggufctl.commands import options as o
from ggufctl.errors import AccessDenied, GgufctlError, UsageError

if TYPE_CHECKING:
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.serve import LocalPlan, LocalRequest, LocalServer

__all__ = ["register"]

EXIT_CODES = """\b
Exit codes:
  0  ok                         6  invalid GGUF, or a shard missing
  2  usage                      8  network, rate limit, Hub or Modal down
  3  nothing of that name       9  started, never healthy
  4  no token, or no access   130  Ctrl-C
  5  does not fit             143  SIGTERM"""

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
    int, o.option("--port", env="PORT", help="Port on 127.0.0.1; 0 = any that is free.")
]
Events = Annotated[
    bool,
    typer.Option(
        "--events", help="Print events as JSON lines while it runs; with --json, on stderr."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    for command, epilog in (
        (serve, _SERVE_EXAMPLES),
        (ps, "ggufctl ps\n  ggufctl ps --json"),
        (logs, "ggufctl logs smollm2 -f"),
        (stop, "ggufctl stop smollm2"),
        (demo, "ggufctl demo"),
    ):
        app.command(epilog=f"\b\nExamples:\n  {epilog}\n\n{EXIT_CODES}")(command)


_SERVE_EXAMPLES = """ggufctl serve ./model.gguf --on local --port 8080
  ggufctl serve org/repo:Q4_K_M --on local -c 16384 -np 4 --json
  ggufctl serve org/repo --on local --dry-run
  ggufctl serve ./model.gguf --on local -- --temp 0.2"""


def serve(
    ctx: typer.Context,
    model: o.ModelRef,
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
    auth: Annotated[str, o.option("--auth", env="AUTH", help="key, or none (local only).")] = "key",
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say everything that would happen; do nothing.")
    ] = False,
    ctx_size: o.CtxSize = "",
    parallel: o.Parallel = None,
    kv_unified: o.KvUnified = None,
    cache_type_k: o.CacheTypeK = "f16",
    cache_type_v: o.CacheTypeV = "f16",
    flash_attn: o.FlashAttn = "auto",
    batch_size: o.BatchSize = 2048,
    ubatch_size: o.UbatchSize = 512,
    gpu_layers: o.GpuLayers = "all",
    n_cpu_moe: o.NCpuMoe = 0,
    cpu_moe: o.CpuMoe = False,
    split_mode: o.SplitMode = "layer",
    embedding: o.Embedding = False,
    swa_full: o.SwaFull = False,
    load_mode: o.LoadMode = "auto",
    mmproj: o.Mmproj = None,
    model_draft: o.ModelDraft = None,
    lora: o.Lora = None,
    quant: o.Quant = "auto",
    as_json: o.AsJson = False,
    events: Events = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Serve a model behind an OpenAI-compatible URL of your own, with a key of its own.

    On this machine it stays in front until stopped; nothing is left behind.
    """
    if on == "modal":
        raise _no_modal()
    if on != "local":
        raise UsageError(f"--on is modal or local, not {on!r}.")
    from ggufctl.core.runtime import Runtime
    from ggufctl.services.serve import LocalRequest

    runtime = Runtime(
        n_parallel=parallel,
        kv_unified=kv_unified,
        cache_type_k=cache_type_k,
        cache_type_v=cache_type_v,
        flash_attn=flash_attn,
        n_batch=batch_size,
        n_ubatch=ubatch_size,
        n_gpu_layers=o.layers(gpu_layers),
        n_cpu_moe=o.ALL_LAYERS if cpu_moe else n_cpu_moe,
        split_mode=split_mode,
        embeddings=embedding,
        swa_full=swa_full,
        load_mode=load_mode,
        mmproj=mmproj,
        draft_model=model_draft,
        lora=tuple(lora or ()),
    )
    request = LocalRequest(
        model=model,
        runtime=runtime,
        n_ctx=o.context(ctx_size),
        quant=quant,
        name=name,
        port=port,
        auth=auth,
        api_key_file=Path(api_key_file).expanduser() if api_key_file else None,
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
    _serve_local(request, listener, as_json=as_json, dry_run=dry_run, quiet=quiet, events=events)


def _engine_args(args: Sequence[str]) -> tuple[str, ...]:
    if args and not args[0].startswith("-"):
        raise UsageError(
            f"{args[0]!r} is one argument too many.", "Arguments for the engine come after --."
        )
    return tuple(args)


def _no_modal() -> AccessDenied | UsageError:
    if _has_modal_token():
        return UsageError("This version of ggufctl serves on this machine only.", "Add --on local.")
    return AccessDenied(
        "There is no Modal token on this machine, so nothing can be deployed there.",
        "Run modal token new, or serve on this machine with --on local.",
    )


def _has_modal_token() -> bool:
    """Whether the Modal client would find a token, without importing it."""
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return True
    import tomllib

    path = Path(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml").expanduser()
    try:
        profiles = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return False
    wanted = os.environ.get("MODAL_PROFILE")
    return any(
        isinstance(profile, dict)
        and (name == wanted if wanted else profile.get("active", len(profiles) == 1))
        and bool(profile.get("token_id"))
        for name, profile in profiles.items()
    )


def _serve_local(
    request: LocalRequest,
    listener: Callable[[Event], None],
    *,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
    events: bool,
) -> None:
    from ggufctl import render_serve, report_serve
    from ggufctl.services.serve import plan_local, start_local

    plan = plan_local(request, listener)
    if dry_run:
        if as_json:
            _print_json(report_serve.local_plan_report(plan))
        else:
            _print_dry_run(plan)
        return
    if not quiet:
        _say(render_serve.price_line(plan), *(f"warning: {text}" for text in plan.warnings))
        if not (as_json or events):
            _say(*render_serve.plan_lines(plan))
    server = start_local(plan, listener)
    try:
        if not quiet:
            _show_key_once(server)
        if as_json:
            _print_json(report_serve.local_server_report(server))
        elif events:
            _print_line({"event": "ready", **report_serve.local_server_report(server)})
        else:
            typer.echo("\n".join(render_serve.summary_lines(server)))
        sys.stdout.flush()
        server.wait()
    except GgufctlError:
        server.stop(status="failed")
        raise
    finally:
        server.stop()


def _print_dry_run(plan: LocalPlan) -> None:
    import shlex

    from ggufctl import render_serve

    lines = [render_serve.price_line(plan), *render_serve.plan_lines(plan)]
    lines.append(f"limit    {plan.deadline_seconds:.0f} s to the first token")
    if plan.request.auth == "key":
        lines.append(f"key      in the environment, as {plan.command.key_variable}")
    lines += [f"warning  {text}" for text in plan.warnings]
    typer.echo("\n".join((*lines, f"run      {shlex.join(plan.command.argv)}")))


def _show_key_once(server: LocalServer) -> None:
    key = server.key
    if key is None:
        return
    if key.is_new and sys.stderr.isatty():
        _say(f"key: {key.value}", f"It is kept in {key.path} and not shown again.")


def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Those that have ended as well.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """What is being served from here."""
    from ggufctl import render_serve, report_serve
    from ggufctl.services.deployments import listed

    found = listed(ended=everything)
    if as_json:
        rows = [report_serve.deployment_report(deployment) for deployment in found]
        _print_json({"schema_version": report_serve.SCHEMA_VERSION, "deployments": rows})
    elif found:
        typer.echo("\n".join(render_serve.deployment_rows(found)))
    else:
        _say("Nothing is being served.")


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As ggufctl ps shows it.")],
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the deployment ends.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """The engine's log of a deployment, also of one that has ended."""
    from ggufctl.core.escape import redact
    from ggufctl.services.deployments import find, follow_log

    for line in follow_log(find(name, ended=True), follow=follow):
        if as_json:
            _print_line({"name": name, "line": redact(line)})
        else:
            typer.echo(redact(line))


def stop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As ggufctl ps shows it.")],
    as_json: o.AsJson = False,
) -> None:
    """Stop a deployment and wait until nothing of it runs."""
    from ggufctl import report_serve
    from ggufctl.services import deployments

    stopped = deployments.stop(name)
    if as_json:
        _print_json(
            {
                "schema_version": report_serve.SCHEMA_VERSION,
                **report_serve.deployment_report(stopped),
            }
        )
    else:
        _say(f"{stopped.name} is stopped.")


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
    from ggufctl import render_serve, report_serve
    from ggufctl.services.demo import run_demo
    from ggufctl.services.serve import LocalRequest

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
        _print_json(report_serve.demo_report(result))
    elif events:
        _print_line({"event": "answer", **report_serve.demo_report(result)})
    else:
        typer.echo("\n".join(render_serve.demo_lines(result)))


def _listener(
    *, events: bool, as_json: bool, quiet: bool, verbose: bool
) -> Callable[[Event], None]:
    """Who hears of events: a program on stdout, or a person on stderr."""
    from ggufctl.core.escape import redact
    from ggufctl.render_serve import event_line

    def as_line(event: Event) -> None:
        typer.echo(redact(event.to_json()), err=as_json)

    def as_text(event: Event) -> None:
        if event.kind == "log":
            if verbose:
                _say(redact(event.text))
        elif line := event_line(event):
            _say(line)

    def silent(event: Event) -> None:
        """Hear nothing."""

    if events:
        return as_line
    return silent if quiet else as_text


def _say(*lines: str) -> None:
    for line in lines:
        typer.echo(line, err=True)


def _print_line(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=True))


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
