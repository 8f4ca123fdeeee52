"""`status` and `config`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggufctl import completion
from ggufctl.commands import modal
from ggufctl.commands import options as o
from ggufctl.commands.output import is_terminal, print_json, print_line, say
from ggufctl.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from ggufctl.config import Option
    from ggufctl.core.status import ServerStatus
    from ggufctl.services.status import InBackground

    Look = Callable[[], tuple[ServerStatus, ...]]

__all__ = ["register"]

LEAST_EVERY_SECONDS = 0.2

SECOND_LOOK_SECONDS = 0.5

_STATUS_EPILOG = """\b
Examples:
  ggufctl status
  ggufctl status smollm2 --watch
  ggufctl status --json | jq '.deployments[].predicted_tokens_per_second'
  ggufctl status --watch --json >> status.jsonl
  ggufctl status --watch -q --prometheus /var/lib/node_exporter/ggufctl.prom

\b
Off a terminal: tab-separated values under their titles; with --watch one more line for each
deployment at each look, with --json one document per line. Empty and null are what nobody
could see. On this machine a look is of the second; on Modal it is some ten seconds old, and
never starts a container.

\b
Environment:
  GGUFCTL_STATE_DIR  where deployments are kept (~/.local/state/ggufctl)
  MODAL_TOKEN_ID, MODAL_TOKEN_SECRET  of Modal; else its profile is used

\b
Exit codes:
  0  ok                         8  Modal is down
  2  usage                     11  NAME has failed, is lost, or does not answer
  3  nothing of that name     130  Ctrl-C
  4  no token, or no access   143  SIGTERM"""

_CONFIG_EPILOG = """\b
Examples:
  ggufctl config                # what is set, and where
  ggufctl config serve          # all settings of one command
  ggufctl config --all --json

\b
Where settings come from, the first that has one: the command line, GGUFCTL_* variables,
the configuration file, the defaults. The file is TOML, with one table per command:
  [serve]
  ctx-size = 16384

\b
Environment:
  GGUFCTL_CONFIG   the file, instead of $XDG_CONFIG_HOME/ggufctl/config.toml

\b
Exit codes:
  0  ok
  2  usage, or a file that makes no sense"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog=_STATUS_EPILOG)(status)
    app.command(epilog=_CONFIG_EPILOG)(config)


def status(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="As ggufctl ps shows it; all that run without one.",
            autocompletion=completion.deployments,
        ),
    ] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Look again and again.")] = False,
    every: Annotated[
        float, o.option("--every", metavar="SECONDS", env="EVERY", help="Between two looks.")
    ] = 1.0,
    count: Annotated[
        int,
        typer.Option("--count", metavar="N", help="With --watch: end after N looks; 0 = never."),
    ] = 0,
    prometheus: Annotated[
        str,
        o.option(
            "--prometheus",
            metavar="FILE",
            env="PROMETHEUS",
            help="Write each look to FILE as well, for Prometheus' node exporter.",
        ),
    ] = "",
    on: Annotated[str, typer.Option("--on", help="Look on modal, on local, or on all.")] = "all",
    as_json: o.AsJson = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing but errors; for --prometheus.")
    ] = False,
) -> None:
    """How deployments are doing: memory against plan, slots, queue, speed, errors, cost.

    Looks only: nothing is started, woken or changed.
    """
    from ggufctl.services.status import write_prometheus

    if not every >= LEAST_EVERY_SECONDS:
        raise UsageError(f"--every must be at least {LEAST_EVERY_SECONDS} seconds.")
    if count < 0:
        raise UsageError("--count must not be negative.")
    source = ctx.get_parameter_source("count")
    if count and not watch and source is not None and source.name == "COMMANDLINE":
        raise UsageError("--count is how often --watch looks.", f"Say --watch --count {count}.")
    if on not in ("all", "local", "modal"):
        raise UsageError(f"--on is modal, local or all, not {on!r}.")
    if on == "modal":
        modal.require_token()
    path = Path(os.path.expanduser(prometheus)) if prometheus else None
    watcher = _Watcher(name, on, in_background=watch)
    quiet = quiet or ctx.obj["quiet"]
    seen: list[ServerStatus] = []

    def kept(show: Callable[[tuple[ServerStatus, ...]], None]) -> None:
        found = watcher.look()
        if not watch and any(each.n_busy for each in found):
            # The speed of answers being written lies between two looks.
            time.sleep(SECOND_LOOK_SECONDS)
            found = watcher.look()
        seen[:] = found
        if path is not None:
            write_prometheus(path, found)
        if not quiet:
            show(found)

    try:
        if watch:
            _watch(kept, watcher, every, count, as_json=as_json, on_screen=not quiet)
        else:
            kept(lambda found: _print(found, as_json=as_json))
            if watcher.problem:
                say(f"warning: {_about_modal(watcher.problem)}")
            if name and any(each.is_broken for each in seen):
                raise typer.Exit(CheckFailed.exit_code)
    finally:
        watcher.stop()


class _Watcher:
    """Where a look comes from: this machine, Modal, or both."""

    def __init__(self, name: str, on: str, *, in_background: bool) -> None:
        from ggufctl.services.status import InBackground, LocalWatch

        self._local: Look | None = None
        self._modal: Look | None = None
        self._background: InBackground | None = None
        here = LocalWatch()
        asks_modal = on == "modal" or (on == "all" and modal.has_token())
        if name:
            self._of_one(name, on, asks_modal, lambda: here.look(name))
        else:
            self._local = here.look if on != "modal" else None
            self._modal = _statuses_on_modal if asks_modal else None
        self.problem = ""
        if in_background and self._modal is not None:
            self._background = InBackground(self._modal)

    def _of_one(self, name: str, on: str, asks_modal: bool, here: Look) -> None:
        from ggufctl.services.deployments import DeploymentNotFound, find

        def there() -> tuple[ServerStatus, ...]:
            from ggufctl.services.modal.status import modal_status

            return (modal_status(name),)

        if not asks_modal:
            find(name, ended=True)
            self._local = here
            return
        try:
            if on == "all" and find(name).is_alive:
                self._local = here
                return
        except DeploymentNotFound:
            pass
        try:
            there()
        except DeploymentNotFound:
            if on == "modal":
                raise
            find(name, ended=True)
            self._local = here
        else:
            self._modal = there

    def look(self) -> tuple[ServerStatus, ...]:
        """Everything that there is to see now."""
        from ggufctl.errors import GgufctlError

        found = self._local() if self._local is not None else ()
        if self._background is not None:
            self.problem = self._background.problem
            return found + self._background.latest()
        if self._modal is not None:
            try:
                return found + self._modal()
            except GgufctlError as error:
                if self._local is None:
                    raise
                # What runs here is shown all the same.
                self.problem = error.message
        return found

    def stop(self) -> None:
        """Look no more."""
        if self._background is not None:
            self._background.stop()


def _statuses_on_modal() -> tuple[ServerStatus, ...]:
    from ggufctl.services.modal.status import modal_statuses

    return modal_statuses()


def _watch(
    kept: Callable[[Callable[[tuple[ServerStatus, ...]], None]], None],
    watcher: _Watcher,
    every: float,
    count: int,
    *,
    as_json: bool,
    on_screen: bool,
) -> None:
    from ggufctl.render import status as render

    def looks(show: Callable[[tuple[ServerStatus, ...]], None]) -> None:
        done, next_at = 0, time.monotonic()
        while True:
            kept(show)
            done += 1
            if done == count:
                return
            next_at = max(next_at + every, time.monotonic())
            time.sleep(max(0.0, next_at - time.monotonic()))

    if on_screen and not as_json and is_terminal():
        with render.LiveStatus() as live:
            looks(lambda found: live.show(found, _note(watcher, every)))
        return
    if on_screen and not as_json:
        typer.echo(render.tsv_titles())
    looks(lambda found: _print_lines(found, as_json=as_json))


def _about_modal(problem: str) -> str:
    return problem if "Modal" in problem else f"Modal: {problem}"


def _note(watcher: _Watcher, every: float) -> str:
    from ggufctl.services.status import now_text

    problem = f" · {_about_modal(watcher.problem)}" if watcher.problem else ""
    return f"{now_text()} · every {every:g} s · Ctrl-C ends{problem}"


def _print_lines(found: tuple[ServerStatus, ...], *, as_json: bool) -> None:
    from ggufctl.render import status as render

    if as_json:
        print_line(_document(found))
    else:
        for row in render.tsv_rows(found):
            typer.echo(row)


def _print(found: tuple[ServerStatus, ...], *, as_json: bool) -> None:
    from ggufctl.render import status as render

    if as_json:
        print_json(_document(found))
    elif is_terminal():
        render.show_status(found)
    elif found:
        typer.echo("\n".join((render.tsv_titles(), *render.tsv_rows(found))))
    else:
        say("Nothing is being served.")


def _document(found: tuple[ServerStatus, ...]) -> dict[str, Any]:
    from ggufctl.report.status import status_report
    from ggufctl.services.status import now_text

    return status_report(now_text(), found)


def config(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="Show all settings of one command.")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Those at their defaults as well.")
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """The settings as they are, and where each comes from: default, file or variable.

    Of a secret only is said that it is set.
    """
    from ggufctl.catalog import load_cards
    from ggufctl.config import (
        Origin,
        card_settings,
        config_path,
        effective_settings,
        own_variables,
    )
    from ggufctl.render import config as render
    from ggufctl.report.config import config_report
    from ggufctl.services.deployments import state_dir
    from ggufctl.sources.cache import cache_dir

    options = all_options()
    names = list(dict.fromkeys(option.command for option in options))
    if command and command not in names:
        raise UsageError(f"There is no command {command!r}.", f"Use {', '.join(names)}.")
    # Read as a whole, so that a mistake anywhere in the file is found.
    settings = effective_settings(options)
    load_cards()
    shown = tuple(
        setting
        for setting in settings
        # A switch changes what is named on the command line, and nothing else.
        if (setting.option.command == command if command else setting.option.command != "switch")
        and (everything or command or setting.origin is not Origin.DEFAULT)
    )
    if not command:
        shown += card_settings()
    variables, unread = own_variables(options)
    places = {
        "config_file": (str(config_path()), config_path().exists()),
        "state_directory": (str(state_dir()), state_dir().exists()),
        "cache_directory": (str(cache_dir()), cache_dir().exists()),
    }
    if as_json:
        print_json(config_report(places, shown, variables, unread))
        return
    if is_terminal():
        n_hidden = 0 if command else len(settings) - len(shown)
        render.show_config(places, shown, variables, n_hidden=n_hidden)
    else:
        typer.echo(render.tsv_config(places, shown, variables), nl=False)
    for name in unread:
        say(f"warning: {name} is set, and no option reads it.")


def all_options() -> tuple[Option, ...]:
    """Every option of every command that the configuration file or a variable can set."""
    from ggufctl.cli import make_command
    from ggufctl.config import Option

    found = []
    for name, command in sorted(make_command().commands.items()):
        for parameter in command.params:
            long = [option for option in parameter.opts if option.startswith("--")]
            is_hidden = getattr(parameter, "hidden", False)
            if not long or is_hidden or parameter.name == "help":
                continue
            variable = parameter.envvar
            default = parameter.default
            found.append(
                Option(
                    name,
                    max(long, key=len),
                    str(parameter.name),
                    None if callable(default) else default,
                    variable if isinstance(variable, str) else "",
                    tuple(long),
                )
            )
    return tuple(found)
