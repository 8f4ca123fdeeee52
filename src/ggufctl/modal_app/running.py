"""What is deployed and what runs of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import modal
import modal.exception

from ggufctl.core.deployment import APP_PREFIX, ATTEMPT_TAG, SERVER_NAME, TOOL_TAG, UNTIL_TAG
from ggufctl.errors import RemoteError
from ggufctl.modal_app.client import require_network, translated

__all__ = [
    "ModalDeployment",
    "is_deployed",
    "list_deployments",
    "live_rates",
    "n_containers",
    "stop_app",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalDeployment:
    """One of our apps as Modal knows it."""

    name: str
    app_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    deployed_at: datetime | None = None
    n_containers: int = 0
    url: str = ""

    @property
    def until(self) -> int:
        """When the start or switch that is under way is over at the latest; 0 = none is.

        In seconds since the epoch.
        """
        text = self.tags.get(UNTIL_TAG, "")
        return int(text) if text.isascii() and text.isdigit() else 0

    @property
    def attempt(self) -> str:
        """Which of our attempts deployed it; empty for one of an older ggufctl."""
        return self.tags.get(ATTEMPT_TAG, "")

    @property
    def status(self) -> str:
        """`running` while a container is up, `idle` while none is, `stopped` without an address."""
        if not self.url:
            return "stopped"
        return "running" if self.n_containers else "idle"


def n_containers(app: str) -> int:
    """Containers of a deployment's server, those that start included."""
    with translated("the number of containers"):
        stats = modal.Function.from_name(app, SERVER_NAME).get_current_stats()
    return int(stats.num_total_runners)


def is_deployed(app: str) -> bool:
    """Whether an app of this name is live.

    Raises: as `translated`.
    """
    with translated("looking for the app"):
        try:
            modal.App.lookup(app)
        except modal.exception.NotFoundError:
            return False
    return True


def stop_app(app: str) -> bool:
    """Stop an app with everything that runs in it; whether there was one.

    Raises: as `translated`.
    """
    with translated("stopping the app"):
        try:
            found = _found(app)
        except modal.exception.NotFoundError:
            return False
        try:
            found.stop()
        except modal.exception.NotFoundError:
            # Somebody else was faster; or it is there all the same.
            if is_deployed(app):
                raise
    return True


def _found(name: str) -> modal.App:
    """The app of a name, by the list of them all where it cannot be looked up.

    Raises: modal.exception.NotFoundError when there is none; as Modal answers.
    """
    try:
        return modal.App.lookup(name)
    except modal.exception.Error:
        with contextlib.suppress(modal.exception.Error):
            for app in modal.Environment.from_context().apps.list():
                if name in (app.name, app.description):
                    return app
        raise


def list_deployments() -> tuple[ModalDeployment, ...]:
    """Our apps that are deployed, by name.

    Raises: as `translated`.
    """
    found = []
    with translated("the list of apps"):
        for app in modal.Environment.from_context().apps.list():
            name = app.name or ""
            if not name.startswith(APP_PREFIX):
                continue
            try:
                tags = app.get_tags()
            except modal.exception.NotFoundError:
                # It ended meanwhile; what goes on must not be taken for ended.
                if is_deployed(name):
                    raise
                continue
            if TOOL_TAG not in tags or tags[TOOL_TAG] == "download":
                continue
            found.append(_described(app, name.removeprefix(APP_PREFIX), tags))
    return tuple(sorted(found, key=lambda each: each.name))


def _described(app: modal.App, name: str, tags: Mapping[str, str]) -> ModalDeployment:
    url, n_running = "", 0
    # An app of this name with something else in it; any other error must not look like an end.
    with contextlib.suppress(modal.exception.NotFoundError):
        server = modal.Server.from_name(APP_PREFIX + name, SERVER_NAME)
        function = modal.Function.from_name(APP_PREFIX + name, SERVER_NAME)
        n_running = int(function.get_current_stats().num_total_runners)
        url = server.get_url() or function.get_web_url() or ""
    deployed_at = None
    with contextlib.suppress(modal.exception.Error):
        # The list may leave it out; then it is a question of its own.
        deployed_at = app.info().lifecycle.deployed_at
    return ModalDeployment(
        name=name,
        app_id=str(app.app_id or ""),
        tags=dict(tags),
        deployed_at=deployed_at,
        n_containers=n_running,
        url=url.rstrip("/"),
    )


def live_rates() -> dict[str, str]:
    """Modal's own prices of this workspace, by Modal's names for them."""
    require_network()
    with translated("the prices"):
        try:
            rates = modal.Workspace.from_context().billing.rates()
        except ArithmeticError:
            # Modal's client makes numbers of them before anybody can look.
            raise RemoteError("Modal's prices are not all numbers: nothing was changed.") from None
        return {str(name): str(value) for name, value in rates.items()}
