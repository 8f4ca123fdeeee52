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
from ggufctl.remote.supervisor import OnEvent
from ggufctl.services.modal.deployments import find_modal
from ggufctl.services.modal.launch import ModalServer, start_modal
from ggufctl.services.modal.plan import ModalRequest, ignore, plan_modal
from ggufctl.services.modal.state import remembered

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
        UsageError: it was deployed from elsewhere, so that its settings are not known here.
        DoesNotFit: the model does not fit there; nothing was changed.
        LaunchFailed: it did not come up there; the former is deployed.
    """
    find_modal(name)
    document = remembered(name)
    if not document:
        raise UsageError(
            f"{quoted(name)} was deployed from another machine: its settings are not here.",
            "Stop it and serve it again with --gpu.",
        )
    before = DeploymentSpec.from_dict(document["spec"])
    request = _request(document["request"], name)
    request = replace(
        request,
        gpus=request.gpus if gpus is None else tuple(gpus),
        n_ctx=request.n_ctx if n_ctx is None else n_ctx,
        runtime=request.runtime.with_(**(runtime or {})),
    )
    plan = plan_modal(request, on_event)
    return start_modal(plan, on_event, show_output=show_output, before=before)


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
