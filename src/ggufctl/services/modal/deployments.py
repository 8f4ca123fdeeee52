"""Living with deployments on Modal: which there are, what they say, and their end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ggufctl import modal_app
from ggufctl.core.deployment import app_name
from ggufctl.core.escape import escape, quoted
from ggufctl.errors import RemoteError
from ggufctl.modal_app import LogReader, ModalDeployment
from ggufctl.remote.container import EVENT_PREFIX
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.modal.state import forget

__all__ = ["find_modal", "modal_deployments", "modal_log", "stop_modal"]


def modal_deployments() -> tuple[ModalDeployment, ...]:
    """Ours that are deployed on Modal, also from other machines.

    Raises: AccessDenied without a token; RemoteError.
    """
    modal_app.check_token()
    return modal_app.list_deployments()


def find_modal(name: str) -> ModalDeployment:
    """The deployment of a name.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    found = modal_deployments()
    for each in found:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in found)
    raise DeploymentNotFound(
        f"Nothing called {quoted(name)} is deployed on Modal.",
        f"Deployed: {names}." if names else "Nothing is deployed; see ggufctl ps.",
    )


def modal_log(name: str, *, n_lines: int = 200, follow: bool = False) -> Iterator[str]:
    """Lines of a deployment's log, our own events left out; with `follow`, as they come.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    deployment = find_modal(name)
    app = app_name(name)
    if not follow:
        for line in modal_app.recent_log(app, n_lines):
            if line.text and not line.text.startswith(EVENT_PREFIX):
                yield escape(line.text, 4000)
        return
    reader = LogReader(app)
    try:
        while True:
            found = reader.next(5.0)
            if found is not None and not found.text.startswith(EVENT_PREFIX):
                yield escape(found.text, 4000)
            if found is None and not _is_still_there(deployment):
                return
    finally:
        reader.close()


def _is_still_there(deployment: ModalDeployment) -> bool:
    """Whether it is deployed; while Modal does not answer, it is taken to be."""
    try:
        return any(each.app_id == deployment.app_id for each in modal_app.list_deployments())
    except RemoteError:
        return True


def stop_modal(name: str) -> ModalDeployment:
    """Stop a deployment and forget its key; weights stay on the Volume.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    deployment = find_modal(name)
    modal_app.stop_app(app_name(name))
    # A name that is not found any more cannot be stopped again: what is here goes in any case.
    forget(name)
    modal_app.delete_secret(name)
    return replace(deployment, n_containers=0, url="")
