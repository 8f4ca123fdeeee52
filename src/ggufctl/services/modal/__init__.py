"""Serving on Modal, from the plan of a deployment to its end."""

from __future__ import annotations

from ggufctl.services.modal.deployments import (
    find_modal,
    modal_deployments,
    modal_log,
    stop_modal,
)
from ggufctl.services.modal.launch import ModalServer, serve_modal, start_modal
from ggufctl.services.modal.plan import ModalPlan, ModalRequest, plan_modal
from ggufctl.services.modal.state import key_file
from ggufctl.services.modal.switch import switch_modal

__all__ = [
    "ModalPlan",
    "ModalRequest",
    "ModalServer",
    "find_modal",
    "key_file",
    "modal_deployments",
    "modal_log",
    "plan_modal",
    "serve_modal",
    "start_modal",
    "stop_modal",
    "switch_modal",
]
