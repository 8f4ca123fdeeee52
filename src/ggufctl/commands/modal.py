"""What `serve`, `ps`, `logs`, `stop` and `switch` do for deployments on Modal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from ggufctl.commands.listening import make_listener, show_key_once
from ggufctl.commands.output import print_json, print_line, say
from ggufctl.errors import AccessDenied, UsageError

if TYPE_CHECKING:
    from ggufctl.remote.supervisor import Event
    from ggufctl.services.modal import ModalRequest, ModalServer

__all__ = [
    "has_token",
    "logs_on_modal",
    "ps_on_modal",
    "require_deployment",
    "require_token",
    "serve_on_modal",
    "stop_on_modal",
    "switch_on_modal",
]


def has_token() -> bool:
    """Whether Modal's client would find a token, without importing it."""
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return True
    import tomllib

    path = Path(os.path.expanduser(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml"))
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


def require_token() -> None:
    """Refuse at once what needs Modal where nobody is signed in.

    Raises: AccessDenied.
    """
    if not has_token():
        raise AccessDenied(
            "There is no Modal token on this machine, so nothing can be asked of Modal.",
            "Run modal setup, or serve on this machine with --on local.",
        )


def require_deployment(name: str) -> None:
    """Refuse a name that nothing on Modal has.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    from ggufctl.services.modal import find_modal

    find_modal(name, say)


def serve_on_modal(
    request: ModalRequest,
    *,
    as_json: bool,
    events: bool,
    quiet: bool,
    verbose: bool,
    dry_run: bool,
    emit_to: str,
) -> None:
    """Plan, then deploy and watch; or only say, or write, what that would be."""
    from ggufctl.render import modal as render_modal
    from ggufctl.report import modal as report_modal
    from ggufctl.services import modal
    from ggufctl.services.emit import emit

    hear = _listener(events=events, as_json=as_json, quiet=quiet, verbose=verbose)
    if dry_run or emit_to:
        plan = modal.plan_modal(request, hear)
        if emit_to and plan.urls:
            raise UsageError(
                "An app that is written down would hold the model's URL.",
                "Download the file and emit with its path.",
            )
        if emit_to:
            _write_app(emit(plan.spec), emit_to)
        elif as_json:
            print_json(report_modal.modal_plan_report(plan))
        else:
            typer.echo("\n".join(render_modal.dry_run_lines(plan)))
        return
    require_token()
    _end_with_the_terminal()
    server = modal.serve_modal(
        request, hear, leave=_wants_to_leave, show_output=verbose and not quiet
    )
    _tell(server, as_json=as_json, events=events, quiet=quiet)


def _write_app(source: str, path: str) -> None:
    if path == "-":
        typer.echo(source, nl=False)
        return
    from ggufctl.core.escape import quoted

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(source)
    except FileExistsError:
        raise UsageError(f"{quoted(path)} exists already.", "Name a new file.") from None
    except OSError as error:
        raise UsageError(f"{quoted(path)} cannot be written: {error.strerror}.") from None
    say(f"{path} is written; modal deploy {path} deploys it.")


def _end_with_the_terminal() -> None:
    """When the terminal is closed, leave nothing half started; under nohup go on."""
    number = getattr(signal, "SIGHUP", None)
    if number is not None and signal.getsignal(number) is signal.SIG_DFL:
        signal.signal(number, _hang_up)


def _hang_up(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _wants_to_leave() -> bool:
    """After Ctrl-C: whether what was started is to be left running; not without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return not typer.confirm("Stop what was started on Modal?", default=True, err=True)
    except (KeyboardInterrupt, typer.Abort):
        return False


def _tell(server: ModalServer, *, as_json: bool, events: bool, quiet: bool) -> None:
    from ggufctl.render import modal as render_modal
    from ggufctl.report import modal as report_modal

    if not quiet:
        show_key_once(server.key)
    if as_json:
        print_json(report_modal.modal_server_report(server))
    elif events:
        print_line({"event": "ready", **report_modal.modal_server_report(server)})
    else:
        typer.echo("\n".join(render_modal.summary_lines(server)))


def ps_on_modal() -> tuple[list[dict[str, Any]], list[str]]:
    """Rows for JSON and for people."""
    from ggufctl.render.modal import modal_rows
    from ggufctl.report.modal import modal_row_report
    from ggufctl.services.modal import key_file, modal_deployments

    found = modal_deployments(say)
    return [modal_row_report(each, key_file(each.name)) for each in found], modal_rows(found)


def logs_on_modal(name: str, *, follow: bool) -> Iterator[str]:
    """Lines of a deployment's log."""
    from ggufctl.services.modal import modal_log

    return modal_log(name, follow=follow)


def stop_on_modal(name: str) -> dict[str, Any]:
    """Stop a deployment; its last row."""
    from ggufctl.report.modal import modal_row_report
    from ggufctl.services.modal import stop_modal

    return modal_row_report(stop_modal(name))


def switch_on_modal(
    name: str,
    *,
    gpu: str | None,
    n_ctx: int | None,
    runtime: Mapping[str, Any],
    as_json: bool,
    events: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Go on with other GPUs or settings under the same URL and key; see `switch_modal`."""
    from ggufctl.core.planner import parse_gpu_list
    from ggufctl.services.modal import switch_modal

    hear = _listener(events=events, as_json=as_json, quiet=quiet, verbose=verbose)
    _end_with_the_terminal()
    server = switch_modal(
        name,
        None if gpu is None else parse_gpu_list(gpu),
        hear,
        n_ctx=n_ctx,
        runtime=runtime,
        show_output=verbose,
    )
    _tell(server, as_json=as_json, events=events, quiet=quiet)


def _listener(
    *, events: bool, as_json: bool, quiet: bool, verbose: bool
) -> Callable[[Event], None]:
    """Who hears of events; prices are said in any case."""
    from ggufctl.render.modal import event_line

    return make_listener(
        event_line,
        events=events,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        always=("price", "fallback", "left"),
    )
