"""The same deployment on other GPUs or with other settings, without dropping a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ggufctl.core.deployment import DeploymentSpec
from ggufctl.core.escape import quoted
from ggufctl.core.runtime import Runtime
from ggufctl.errors import UsageError
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.modal.deployments import find_modal
from ggufctl.services.modal.launch import Former, ModalServer, start_modal
from ggufctl.services.modal.plan import ModalRequest, ignore, plan_modal
from ggufctl.services.modal.state import recalled
from ggufctl.services.modal.urls import is_url_path

__all__ = ["switch_modal"]


def switch_modal(
    name: str,
    gpus: Sequence[str] | None = None,
    on_event: OnEvent = ignore,
    *,
    n_ctx: int | None = None,
    runtime: Mapping[str, Any] | None = None,
    show_output: bool = False,
) -> ModalServer:
    """The same deployment on other GPUs or with other settings; its URL and key stay.

    The former serves until the new one has answered; if that never happens, the former stays.

    Args:
        name: as `ps` shows it.
        gpus: to choose from, as in a request; None for those of before.
        on_event: hears of everything.
        n_ctx: another context, 0 for the model's own.  [tokens]
        runtime: fields of `Runtime` that change.
        show_output: Modal's own progress on stderr.

    Raises:
        DeploymentNotFound: nothing of this name is deployed.
        UsageError: its settings or its file are not known here, or somebody else switches it.
        DoesNotFit: the model does not fit there; nothing was changed.
        LaunchFailed: it did not come up there; the former is deployed.
    """
    found = find_modal(name, lambda text: on_event(Event("warning", 0.0, text, {})))
    document = recalled(found)
    if not document:
        raise UsageError(
            f"{quoted(name)} was deployed from another machine: its settings are neither here nor "
            "on its Volume.",
            "Stop it and serve it again with --gpu.",
        )
    spec = DeploymentSpec.from_dict(document["spec"])
    request = _request(document["request"], name)
    _require_files(name, request, spec)
    before = Former(
        spec,
        found.attempt,
        is_from_here=request.api_key_file is not None,
        is_settled=document.get("attempt", "") == found.attempt,
    )
    request = replace(
        request,
        gpus=request.gpus if gpus is None else tuple(gpus),
        n_ctx=request.n_ctx if n_ctx is None else n_ctx,
        runtime=request.runtime.with_(**(runtime or {})),
    )
    plan = plan_modal(request, on_event)
    return start_modal(plan, on_event, show_output=show_output, before=before)


def _require_files(name: str, request: ModalRequest, spec: DeploymentSpec) -> None:
    """Planning anew needs the model's file where it was uploaded from a machine.

    Raises: UsageError.
    """
    if is_url_path(request.model) or spec.repo:
        return
    if not Path(request.model).expanduser().exists():
        raise UsageError(
            f"{quoted(request.model)}, which {quoted(name)} was made of, is not on this machine.",
            "Switch it where the file is, or stop it and serve it again.",
        )


def _request(kept: Mapping[str, Any], name: str) -> ModalRequest:
    values = dict(kept)
    try:
        path = values["api_key_file"]
        values["runtime"] = Runtime(**values["runtime"])
        values["api_key_file"] = Path(str(path)) if path else None
        for each in ("engine_args", "gpus"):
            values[each] = tuple(values[each])
        return ModalRequest(**{**values, "name": name})
    except (TypeError, KeyError, ValueError):
        raise UsageError(
            f"What is remembered of {quoted(name)} cannot be read.",
            "Stop it and serve it again with --gpu.",
        ) from None
