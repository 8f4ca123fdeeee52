"""The command line: parses, calls a service, prints, exits."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException as UsageException
from typer.main import get_command

from ggufctl.coercion import lighten
from ggufctl.commands import bench, calibration, chat, diagnose, models, plan, serve, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer.models import CommandInfo

__all__ = ["UsageException", "app", "make_command"]

EXIT_CODES = """\b
Exit codes:
  0  ok                             8  network, rate limit, Hub or Modal down
  1  a bug, or a failed write       9  launch failed
  2  usage                         10  nothing diagnosed
  3  model not found               11  a check failed
  4  access denied                129  the terminal was closed (SIGHUP)
  5  does not fit                 130  Ctrl-C
  6  invalid GGUF                 143  SIGTERM
  7  unsupported model or format"""

app = typer.Typer(
    name="ggufctl",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)


def make_command(arguments: Sequence[str] = ()) -> Any:
    """The command line, ready to run; usage errors come out as `UsageException`.

    Only the command that `arguments` begin with is made, since making all takes longer than
    many a plan; all are where there is none, for the help and completion.
    """
    first = next((a for a in arguments if not a.startswith("-")), "")
    named = [c for c in app.registered_commands if _name_of(c) == first]
    one = copy(app)
    groups = [g for g in app.registered_groups if g.name == first]
    if named or groups:
        one.registered_commands, one.registered_groups = named, groups
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

    others = {_name_of(command) for command in app.registered_commands}
    ctx.default_map = load_defaults(_options(ctx), others)
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


SUMMARIES = {
    "plan": "What a model needs on every GPU, and the cheapest one.",
    "gpus": "The GPUs that can be rented, with memory and prices.",
    "schema": "The JSON schema of a document that --json prints.",
    "serve": "Serve a model behind an OpenAI-compatible URL of your own.",
    "logs": "The engine's log of a deployment.",
    "switch": "Move a deployment to other GPUs or other settings.",
    "demo": "Plan and serve a small real model on this machine's CPU.",
    "diagnose": "What is wrong, why, and what to do.",
    "chat": "Talk to a deployment, any such server, or a model.",
    "bench": "Measure a server: cold start, latency, tokens/s.",
    "download": "Fetch the files of a model: whole, verified, once.",
    "status": "How deployments are doing: memory, queue, speed, cost.",
    "config": "The settings as they are, and where each comes from.",
    "models": "Look after the models that are kept.",
    "models ls": "What is kept: quant, size, verified, last used.",
    "models rm": "Remove kept models; what others share with them stays.",
    "models prune": "Keep one quant of each model, and remove the others.",
    "models verify": "Hash kept models again; exits with 11 when one differs.",
    "calibration": "What your own servers have shown, kept here only.",
}
"""What lists of commands say of those whose first sentence is too long for 80 columns."""


def _summarize(listed: typer.Typer, prefix: str = "") -> None:
    for command in listed.registered_commands:
        command.short_help = SUMMARIES.get(prefix + _name_of(command))
    for group in listed.registered_groups:
        group.short_help = SUMMARIES.get(f"{prefix}{group.name}")
        if group.typer_instance is not None:
            _summarize(group.typer_instance, f"{prefix}{group.name} ")


for _module in (plan, serve, diagnose, chat, bench, models, status, calibration):
    _module.register(app)
_summarize(app)
