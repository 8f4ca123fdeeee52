"""Checks of a model: its header, its completeness, and whether the pinned engine takes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ggufctl.core.checks import Check, Status
from ggufctl.core.escape import escape
from ggufctl.core.lint import lint_header
from ggufctl.errors import InvalidGguf, UnsupportedModel
from ggufctl.sources.base import OnEvent, ignore
from ggufctl.sources.resolve import open_model

__all__ = ["ModelReport", "lint_model"]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was found out about a model."""

    ref: str
    checks: tuple[Check, ...]
    facts: dict[str, str | int] = field(default_factory=dict)


def lint_model(ref: str, *, on_event: OnEvent = ignore) -> ModelReport:
    """Check the model that a reference names; its weights are not read.

    Raises: UsageError, ModelNotFound, AccessDenied, RemoteError: the model cannot be had.
    """
    try:
        resolved = open_model(ref, on_event=on_event)
    except (InvalidGguf, UnsupportedModel) as error:
        check = Check("header", Status.FAIL, escape(error.message), escape(error.hint))
        return ModelReport(escape(ref), (check,))
    header = resolved.header
    facts: dict[str, str | int] = {
        "model": resolved.ref.text,
        "architecture": header.architecture,
        "n_files": len(resolved.files),
        "size_bytes": header.file_size,
        "n_tensors": len(header.tensors),
    }
    if resolved.commit:
        facts["commit"] = resolved.commit
    return ModelReport(resolved.ref.text, lint_header(header), facts)
