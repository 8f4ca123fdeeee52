"""Living with deployments on Modal: which there are, what they say, and their end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ggufctl import modal_app
from ggufctl.core.deployment import VOLUME_TAG, app_name, is_name
from ggufctl.core.escape import escape, quoted
from ggufctl.errors import GgufctlError, RemoteError
from ggufctl.modal_app import LogReader, ModalDeployment
from ggufctl.remote.container import EVENT_PREFIX
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.modal.state import begun, forget, note_path, remembered
from ggufctl.services.modal.unfinished import Tell, finish_all, nobody, settle

__all__ = ["find_modal", "modal_deployments", "modal_log", "stop_modal"]


def modal_deployments(tell: Tell = nobody) -> tuple[ModalDeployment, ...]:
    """Ours that are deployed on Modal, also from other machines.

    Starts and switches that were cut off are brought to an end first: see `unfinished`.

    Args:
        tell: hears in a sentence what was brought to an end.

    Raises: AccessDenied without a token; RemoteError.
    """
    modal_app.check_token()
    finish_all(tell)
    found = modal_app.list_deployments()
    settle(found, tell)
    return found


def find_modal(name: str, tell: Tell = nobody) -> ModalDeployment:
    """The deployment of a name.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    return _found(name, modal_deployments(tell))


def _found(name: str, deployed: Iterable[ModalDeployment]) -> ModalDeployment:
    found = tuple(deployed)
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
    modal_app.check_token()
    # What was cut off is not brought to an end first: this is its end.
    try:
        deployment = _found(name, modal_app.list_deployments())
    except DeploymentNotFound:
        _forget_rest(name)
        return ModalDeployment(name=name, app_id="")
    modal_app.stop_app(app_name(name))
    # What is here goes in any case.
    forget(name)
    modal_app.delete_secret(name)
    modal_app.release(name)
    with contextlib.suppress(GgufctlError):
        if volume := deployment.tags.get(VOLUME_TAG):
            modal_app.remove(volume, [note_path(name)])
    return replace(deployment, n_containers=0, url="")


def _forget_rest(name: str) -> None:
    """Take away what a stop or a start that was cut off has left of what is not deployed.

    Raises: DeploymentNotFound when there is nothing of it.
    """
    is_known = is_name(name) and bool(remembered(name) or begun(name))
    if is_name(name):
        has_secret, has_claim = modal_app.delete_secret(name), modal_app.release(name)
        is_known = is_known or has_secret or has_claim
    if not is_known:
        _found(name, modal_app.list_deployments())
    forget(name)
