"""Turns the text of options into their types without pydantic.

Typer coerces every parameter through pydantic, whose import costs as much as a whole plan. The
options here have plain types only, which take a few lines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["lighten"]

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_NAMES = {int: "whole number", float: "number", bool: "truth value", str: "text"}
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def lighten(command: Any, refusal: Callable[..., Exception]) -> Any:
    """Make a command and all its subcommands coerce plain types by themselves.

    Parameters of any other type are left to Typer.

    Args:
        command: made by Typer.
        refusal: Typer's exception for a value that makes no sense.
    """
    for parameter in command.params:
        _lighten_parameter(parameter, refusal)
    own_help_option = command.get_help_option

    def get_help_option(ctx: Any) -> Any:
        return _lighten_parameter(own_help_option(ctx), refusal)

    command.get_help_option = get_help_option
    for child in getattr(command, "commands", {}).values():
        lighten(child, refusal)
    return command


def _lighten_parameter(parameter: Any, refusal: Callable[..., Exception]) -> Any:
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if annotation in (bool, int, float, str) or annotation == list[str]:
        parameter.process_value = partial(_process, parameter, annotation, refusal)
    return parameter


def _process(
    parameter: Any, annotation: Any, refusal: Callable[..., Exception], ctx: Any, value: Any
) -> Any:
    """The value of one parameter; what Typer's own method does, for plain types."""
    if value is not None:
        try:
            value = _coerced(annotation, value)
        except (ValueError, TypeError):
            wanted = _NAMES.get(annotation, "list of texts")
            raise refusal(f"{value!r} is not a {wanted}.", ctx=ctx, param=parameter) from None
    if ctx.resilient_parsing:
        # The shell is completing: nothing has to be there yet.
        return value
    if parameter.required and parameter.value_is_missing(value):
        # Typer's own method says what is missing.
        return type(parameter).process_value(parameter, ctx, value)
    return value if parameter.callback is None else parameter.callback(ctx, parameter, value)


def _coerced(annotation: Any, value: Any) -> Any:
    if annotation == list[str]:
        items = value.split() if isinstance(value, str) else list(value)
        return [_coerced(str, item) for item in items]
    if annotation is str:
        if isinstance(value, list | tuple):
            return ",".join(_coerced(str, item) for item in value)
        if isinstance(value, bool | dict):
            raise ValueError(value)
        return str(value)
    if annotation is bool:
        if isinstance(value, bool):
            return value
        text = str(value).casefold()
        if text not in _TRUE | _FALSE:
            raise ValueError(text)
        return text in _TRUE
    if isinstance(value, bool) or (annotation is int and isinstance(value, float)):
        raise ValueError(value)
    return annotation(value)
