"""The configuration file: defaults that flags and `GGUFCTL_*` variables override.

It is TOML with one table per command, whose keys are the long options without dashes in front::

    [plan]
    gpu = "L40S,H100"
    ctx-size = 16384
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError

__all__ = ["config_path", "load_defaults"]


def config_path() -> Path:
    """Where the file is looked for: `GGUFCTL_CONFIG`, or ggufctl/config.toml of the user's."""
    if own := os.environ.get("GGUFCTL_CONFIG"):
        return Path(os.path.expanduser(own))
    base = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.config"))
    return root / "ggufctl" / "config.toml"


def load_defaults(known: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, object]]:
    """Defaults of every command, by the names of its parameters; empty without a file.

    Args:
        known: command → option without leading dashes → parameter.

    Raises: UsageError for a file that is not TOML, or a key that no option has.
    """
    path = config_path()
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{quoted(str(path))} cannot be read: {error.strerror}.") from None
    import tomllib

    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{quoted(str(path))} is not a TOML file: {error}.") from None
    found: dict[str, dict[str, object]] = {}
    for command, values in document.items():
        options = known.get(command)
        if options is None or not isinstance(values, dict):
            raise UsageError(f"{quoted(str(path))}: there is no command {quoted(command)}.")
        for key, value in values.items():
            parameter = options.get(key.replace("_", "-"))
            if parameter is None:
                raise UsageError(f"{quoted(str(path))}: {command} has no option {quoted(key)}.")
            found.setdefault(command, {})[parameter] = value
    return found
