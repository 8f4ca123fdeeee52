"""Options of llama-server's that are known here and not taken, and why."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["explain_unplanned"]

COMMANDS = frozenset({"plan", "serve", "switch"})
"""Commands that llama-server's options are pasted to."""

_ONE_DEVICE = "--gpu says what it runs on"
_ROPE = "the model's own positions are planned with"
_MODEL = "the model is the command's argument: ggufctl {command} MODEL"
_FIT = "plans are exact, so the engine is started with -fit off"
_DRAFT = "a draft is planned with all its layers on the GPUs, where it is sampled as well"
_REASONS: dict[tuple[str, ...], str] = {
    ("-mg", "--main-gpu"): _ONE_DEVICE,
    ("-dev", "--device"): _ONE_DEVICE,
    ("--rope-scaling",): _ROPE,
    ("--rope-scale",): _ROPE,
    ("--rope-freq-base",): _ROPE,
    ("--rope-freq-scale",): _ROPE,
    ("--yarn-orig-ctx",): _ROPE,
    ("--yarn-ext-factor",): _ROPE,
    ("--yarn-attn-factor",): _ROPE,
    ("--yarn-beta-slow",): _ROPE,
    ("--yarn-beta-fast",): _ROPE,
    ("-nr", "--no-repack"): "weights on the host are planned as they are repacked",
    ("-fitt", "--fit-target"): _FIT,
    ("-fitc", "--fit-ctx"): _FIT,
    ("-lzm", "--lazy-mode"): "weights are planned as resident",
    ("-ngld", "--gpu-layers-draft"): _DRAFT,
    ("-devd", "--device-draft"): _DRAFT,
    ("-otd", "--override-tensor-draft"): _DRAFT,
    ("-ncmoed", "--n-cpu-moe-draft"): _DRAFT,
    ("--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"): _DRAFT,
    ("--override-kv",): "the header is planned as it is",
    ("--control-vector",): "control vectors are not counted",
    ("--pooling",): "the header's own pooling is planned with",
    ("-m", "--model"): _MODEL,
    ("-mu", "--model-url"): _MODEL,
    ("-hf", "--hf-repo"): _MODEL,
}
_BY_NAME = {name: names for names in _REASONS for name in names}
_NOT_PASSED = frozenset({_MODEL, _FIT, _ONE_DEVICE})
"""Reasons for which passing an option to the engine would not help."""


def explain_unplanned(command: str, arguments: Sequence[str]) -> tuple[str, str] | None:
    """What to say of the first known option that a command does not take, and what helps.

    Args:
        command: that refused an option.
        arguments: all of them; what comes after `--` is the engine's and left alone.
    """
    if command not in COMMANDS:
        return None
    for argument in arguments:
        if argument == "--":
            return None
        names = _BY_NAME.get(argument.partition("=")[0])
        if names is None:
            continue
        reason = _REASONS[names]
        what = "/".join(names)
        if reason is _MODEL:
            return f"{what} is not taken: {reason.format(command=command)}.", ""
        hint = (
            "" if reason in _NOT_PASSED else "With serve, it can be passed to the engine after --."
        )
        return f"{what} is not planned: {reason}.", hint
    return None
