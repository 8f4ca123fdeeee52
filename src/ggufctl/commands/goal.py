"""Options of a goal: what to make small, and what to keep to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ggufctl.commands.options import option
from ggufctl.errors import UsageError

if TYPE_CHECKING:
    from ggufctl.core.goal import Goal

    GoalOptions = Goal | None
else:
    GoalOptions = Any
    """Stands in a command's signature for the options of `with_goal`."""

__all__ = ["GoalOptions", "with_goal"]

_OBJECTIVES = ("cost", "latency", "memory")
_JUDGES = ("careful", "likely")

_Optimize = Annotated[
    str,
    option(
        "--optimize",
        metavar="|".join(_OBJECTIVES),
        env="OPTIMIZE",
        help="Search GPUs, quants and settings that are not given for the cheapest, fastest or "
        "smallest, and show the Pareto front.",
        autocompletion=lambda: list(_OBJECTIVES),
    ),
]
_MinTokensPerS = Annotated[
    float | None,
    option(
        "--min-tokens-per-s", metavar="N", env="MIN_TOKENS_PER_S", help="Of one request's answer."
    ),
]
_MaxTtft = Annotated[
    float | None,
    option("--max-ttft", metavar="SECONDS", env="MAX_TTFT", help="To the first token."),
]
_MaxColdStart = Annotated[
    float | None,
    option(
        "--max-cold-start", metavar="SECONDS", env="MAX_COLD_START", help="To start from nothing."
    ),
]
_MinQuant = Annotated[
    str,
    option(
        "--min-quant",
        metavar="QUANT",
        env="MIN_QUANT",
        help="Least quant that --optimize looks at. [default: Q4_K_M]",
        show_default=False,
    ),
]
_Judge = Annotated[
    str,
    option(
        "--judge",
        metavar="|".join(_JUDGES),
        env="JUDGE",
        help="End of estimated ranges that is compared: the worst, or the likeliest.",
        autocompletion=lambda: list(_JUDGES),
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "optimize": (_Optimize, ""),
    "min_tokens_per_s": (_MinTokensPerS, None),
    "max_ttft": (_MaxTtft, None),
    "max_cold_start": (_MaxColdStart, None),
    "min_quant": (_MinQuant, ""),
    "judge": (_Judge, "careful"),
}
_FIELDS = {
    "parallel": "n_parallel",
    "kv_unified": "kv_unified",
    "cache_type_k": "cache_type_k",
    "cache_type_v": "cache_type_v",
    "ubatch_size": "n_ubatch",
    "n_cpu_moe": "n_cpu_moe",
    "cpu_moe": "n_cpu_moe",
    "override_tensor": "n_cpu_moe",
}
"""Option → the setting that is then never varied."""


def with_goal(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a goal, after the budget, in place of its `goal`."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "goal":
            parameters.append(parameter.replace(annotation=hints.get(name, parameter.annotation)))
        if name == "max_usd_per_hour":
            parameters += [
                inspect.Parameter(key, parameter.kind, default=default, annotation=annotation)
                for key, (annotation, default) in _OPTIONS.items()
            ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {key: values.pop(key) for key in _OPTIONS}
        command(**values, goal=_goal(values["ctx"], given, values))

    del run.__wrapped__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _goal(ctx: typer.Context, given: dict[str, Any], others: dict[str, Any]) -> Goal | None:
    """The goal that options describe; None when none of them is given.

    Raises: UsageError.
    """
    asked, judge = given["optimize"].casefold(), given["judge"].casefold()
    if asked and asked not in _OBJECTIVES:
        raise UsageError(
            f"--optimize is {', '.join(_OBJECTIVES[:-1])} or {_OBJECTIVES[-1]}, "
            f"not {given['optimize']!r}."
        )
    if judge not in _JUDGES:
        raise UsageError(f"--judge is {' or '.join(_JUDGES)}, not {given['judge']!r}.")
    figures = (given["min_tokens_per_s"], given["max_ttft"], given["max_cold_start"])
    if not asked and all(each is None for each in figures):
        if given["min_quant"]:
            raise UsageError("--min-quant is for --optimize.", "Name one quant with --quant.")
        return None
    from ggufctl.core.goal import OUTPUT_TOKENS, PROMPT_TOKENS, Goal, Judge, Limits, Objective

    if asked and others.get("ctx_size", "").casefold() == "max":
        raise UsageError(
            "-c max and --optimize exclude each other.", "Say the context that is needed."
        )
    return Goal(
        objective=Objective(asked) if asked else None,
        limits=Limits(
            min_tokens_per_s=figures[0],
            max_ttft_seconds=figures[1],
            max_cold_start_seconds=figures[2],
        ),
        fixed=tuple(field for name, field in _FIELDS.items() if _is_given(ctx, name)),
        min_quant=given["min_quant"],
        judge=Judge(judge),
        prompt_tokens=others.get("prompt_tokens") or PROMPT_TOKENS,
        output_tokens=others.get("output_tokens") or OUTPUT_TOKENS,
    )


def _is_given(ctx: typer.Context, name: str) -> bool:
    """Whether a flag, a variable or the configuration file sets an option."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
