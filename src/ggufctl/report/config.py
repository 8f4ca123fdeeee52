"""Settings and where they come from, as plain values ready for JSON: never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.core.escape import redact
from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ggufctl.config import Setting

__all__ = ["config_report", "value_text"]


def config_report(
    places: Mapping[str, tuple[str, bool]],
    settings: Sequence[Setting],
    variables: Sequence[tuple[str, str]],
    unread: Sequence[str],
) -> dict[str, Any]:
    """The settings: `config --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        **{name: {"path": path, "exists": is_there} for name, (path, is_there) in places.items()},
        "settings": [
            {
                "command": setting.option.command,
                "option": setting.option.name,
                "value": value_text(setting.value),
                "origin": setting.origin.value,
                "source": setting.source or None,
                "variable": setting.option.variable or None,
            }
            for setting in settings
        ],
        "variables": [{"name": name, "value": redact(value)} for name, value in variables],
        "unread_variables": list(unread),
    }


def value_text(value: object) -> str | None:
    """A value as the command line would take it; None for none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(value_text(item) or "" for item in value)
    return redact(str(value))
