"""The configuration file: defaults that flags and `GGUFCTL_*` variables override.

It is TOML with one table per command, whose keys are the long options without dashes in front::

    [plan]
    gpu = "L40S,H100"
    ctx-size = 16384

and one for each card of one's own (`ggufctl.catalog.load_cards`)::

    [cards.RTX-4090]
    count = 2
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ggufctl.core.escape import quoted, redact
from ggufctl.errors import UsageError

__all__ = [
    "CARDS",
    "Option",
    "Origin",
    "Setting",
    "card_settings",
    "cards_table",
    "config_path",
    "effective_settings",
    "load_defaults",
    "own_variables",
]


CARDS = "cards"
"""The table that is no command's: cards of one's own, by name."""


def config_path() -> Path:
    """Where the file is looked for: `GGUFCTL_CONFIG`, or ggufctl/config.toml of the user's."""
    if own := os.environ.get("GGUFCTL_CONFIG"):
        return Path(os.path.expanduser(own))
    base = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.config"))
    return root / "ggufctl" / "config.toml"


def load_defaults(
    known: Mapping[str, Mapping[str, str]], others: Collection[str] = ()
) -> dict[str, dict[str, object]]:
    """Defaults of every command, by the names of its parameters; empty without a file.

    Args:
        known: command → option without leading dashes → parameter.
        others: further commands, whose tables are not looked into.

    Raises: UsageError for a file that is not TOML, or a key that no option has.
    """
    path = config_path()
    found: dict[str, dict[str, object]] = {}
    for command, values in _document(path).items():
        if command == CARDS:
            continue
        options = known.get(command)
        if (options is None and command not in others) or not isinstance(values, dict):
            raise UsageError(f"{quoted(str(path))}: there is no command {quoted(command)}.")
        for key, value in values.items() if options is not None else ():
            parameter = options.get(key.replace("_", "-")) if options is not None else None
            if parameter is None:
                raise UsageError(f"{quoted(str(path))}: {command} has no option {quoted(key)}.")
            found.setdefault(command, {})[parameter] = value
    return found


def cards_table() -> dict[str, Any]:
    """What the file says of cards of one's own, name by name; not looked into.

    Raises: UsageError as `load_defaults`.
    """
    path = config_path()
    found = _document(path).get(CARDS, {})
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
        raise UsageError(f"{quoted(str(path))}: {CARDS} must hold one table for each card.")
    return found


def _document(path: Path) -> dict[str, Any]:
    """What the file says; empty where there is none."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if os.environ.get("GGUFCTL_CONFIG"):
            raise UsageError(
                f"GGUFCTL_CONFIG names {quoted(str(path))}, which is not there."
            ) from None
        return {}
    except OSError as error:
        raise UsageError(f"{quoted(str(path))} cannot be read: {error.strerror}.") from None
    import tomllib

    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{quoted(str(path))} is not a TOML file: {error}.") from None


class Origin(StrEnum):
    """Where a setting comes from."""

    DEFAULT = "default"
    FILE = "file"
    VARIABLE = "variable"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command, as it is declared."""

    command: str
    name: str
    """With its dashes."""
    parameter: str
    default: object
    variable: str = ""
    """`GGUFCTL_…`, or empty where no variable sets it."""
    aliases: tuple[str, ...] = ()
    """Its other long names, which the file may use as well."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The value that an option has where the command line says nothing."""

    option: Option
    value: object
    origin: Origin
    source: str = ""
    """The file's path or the variable's name; empty for a default."""


def effective_settings(
    options: Sequence[Option], environ: Mapping[str, str] = os.environ
) -> tuple[Setting, ...]:
    """What each option is without the command line, and where that comes from.

    Raises: UsageError as `load_defaults`.
    """
    known: dict[str, dict[str, str]] = {}
    for option in options:
        for name in (option.name, *option.aliases):
            known.setdefault(option.command, {})[name.lstrip("-")] = option.parameter
    in_file = load_defaults(known)
    path = str(config_path())
    found = []
    for option in options:
        values = in_file.get(option.command, {})
        # As for the command line itself, an empty variable says nothing.
        if option.variable and environ.get(option.variable):
            value: object = environ[option.variable]
            found.append(Setting(option, value, Origin.VARIABLE, option.variable))
        elif option.parameter in values:
            found.append(Setting(option, values[option.parameter], Origin.FILE, path))
        else:
            found.append(Setting(option, option.default, Origin.DEFAULT))
    return tuple(found)


def card_settings() -> tuple[Setting, ...]:
    """What the file says of cards of one's own, key by key.

    Raises: UsageError as `cards_table`.
    """
    path = str(config_path())
    return tuple(
        Setting(Option(f"{CARDS}.{name}", str(key), "", None), value, Origin.FILE, path)
        for name, values in cards_table().items()
        for key, value in values.items()
    )


SECRETS = frozenset(
    {"GGUFCTL_API_KEY", "HF_TOKEN", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "OPENAI_API_KEY"}
)
"""Variables of which only is said that they are set."""

_VARIABLES = (
    "GGUFCTL_API_KEY",
    "GGUFCTL_CACHE_DIR",
    "GGUFCTL_CONFIG",
    "GGUFCTL_DEBUG",
    "GGUFCTL_STATE_DIR",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MODAL_CONFIG_PATH",
    "MODAL_PROFILE",
    "MODAL_TOKEN_ID",
    "MODAL_TOKEN_SECRET",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)
"""That mean something beside options."""


def _shown(name: str, value: str) -> str:
    """A variable's value; of an address without a user's name and password."""
    return redact(value) if name.endswith(("_ENDPOINT", "_URL")) else value


def own_variables(
    options: Sequence[Option],
    environ: Mapping[str, str] = os.environ,
    *,
    names: Collection[str] = (),
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """`(variable and value, variables of ours that nothing reads)`; of a secret `(set)` alone.

    Args:
        options: of all commands.
        environ: the variables there are.
        names: of further variables that something reads.
    """
    found = tuple(
        (name, "(set)" if name in SECRETS else _shown(name, environ[name]))
        for name in _VARIABLES
        if environ.get(name)
    )
    read = {*_VARIABLES, *(option.variable for option in options), *names}
    unread = (
        name
        for name in environ
        if name.startswith("GGUFCTL_") and not name.startswith("GGUFCTL_TEST_")
    )
    return found, tuple(sorted(set(unread) - read))
