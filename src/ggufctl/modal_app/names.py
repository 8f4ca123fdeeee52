"""Who a deployment's name belongs to while something starts under it, and what its app says of it.

A name is claimed by a Secret of its own: of all that try to make one, Modal lets one succeed.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping

import modal
import modal.exception

from ggufctl.core.deployment import ATTEMPT_TAG, UNTIL_TAG, app_name, claim_name
from ggufctl.core.escape import quoted
from ggufctl.errors import UsageError
from ggufctl.modal_app.client import translated

__all__ = ["STALE_SECONDS", "NameTaken", "claim", "release", "replace_tags", "tags_of"]

STALE_SECONDS = 3600.0
"""A claim is kept until its app is deployed; one that is this old was left by a process that was
killed."""

ABOUT_SECONDS = 120.0
"""Clocks differ by less."""

CLAIM_VARIABLE = "GGUFCTL_CLAIM"


class NameTaken(UsageError):
    """Somebody else starts something under this name."""

    code = "name_taken"


def claim(name: str, mine: str = "") -> str:
    """Take a name, so that nobody else in the workspace starts something under it.

    Args:
        name: of the deployment.
        mine: id of a claim that is this machine's own, left by an earlier start.

    Returns: the id of the claim, for `release`.

    Raises: NameTaken; as `translated`.
    """
    secret = claim_name(name)
    with translated("claiming the name"):
        if not _make(secret):
            found = _found(secret)
            if found is not None:
                if found.object_id != mine and not _is_stale(found):
                    raise _taken(name)
                modal.Secret.objects.delete(secret, allow_missing=True)
            if not _make(secret):
                raise _taken(name)
        made = _found(secret)
    return str(made.object_id) if made is not None else ""


def _make(secret: str) -> bool:
    """Whether this is who made it: of all that try, Modal lets one."""
    try:
        modal.Secret.objects.create(secret, {CLAIM_VARIABLE: secrets.token_hex(8)})
    except modal.exception.AlreadyExistsError:
        return False
    return True


def _taken(name: str) -> NameTaken:
    return NameTaken(
        f"Another machine is starting or switching {quoted(name)}.",
        "Wait for it, or give this one another --name. If nobody is: "
        f"ggufctl stop {name} gives the name back.",
    )


def release(name: str, mine: str = "", *, made_about: float = 0.0) -> bool:
    """Give a name back; whether it was taken.

    Args:
        name: of the deployment.
        mine: only where the claim still is the one of this id; empty for any.
        made_about: only where the claim was made about then, in seconds since the epoch; 0 = ever.

    Raises: as `translated`.
    """
    secret = claim_name(name)
    with translated("giving the name back"):
        found = _found(secret)
        if found is None or mine not in ("", found.object_id):
            return False
        if made_about and abs(_made_at(found) - made_about) > ABOUT_SECONDS:
            return False
        modal.Secret.objects.delete(secret, allow_missing=True)
    return True


def _found(secret: str) -> modal.Secret | None:
    try:
        return modal.Secret.from_name(secret).hydrate()
    except modal.exception.NotFoundError:
        return None


def _is_stale(found: modal.Secret) -> bool:
    # Without a time it is taken to be new.
    return 0.0 < _made_at(found) < time.time() - STALE_SECONDS


def _made_at(found: modal.Secret) -> float:
    """When, in seconds since the epoch; 0 where Modal does not say."""
    created = found.info().created_at
    return created.timestamp() if created is not None else 0.0


def tags_of(name: str) -> Mapping[str, str] | None:
    """The tags of a deployment's app; None when there is none.

    Raises: as `translated`.
    """
    with translated("looking for the app"):
        try:
            return dict(modal.App.lookup(app_name(name)).get_tags())
        except modal.exception.NotFoundError:
            return None


def replace_tags(name: str, attempt: str = "") -> None:
    """Note on an app that its start is over.

    Args:
        name: of the deployment.
        attempt: only where this attempt deployed it; empty for any.

    Raises: as `translated`.
    """
    with translated("the app's tags"), contextlib.suppress(modal.exception.NotFoundError):
        app = modal.App.lookup(app_name(name))
        tags = app.get_tags()
        if UNTIL_TAG in tags and attempt in ("", tags.get(ATTEMPT_TAG)):
            app.set_tags({key: value for key, value in tags.items() if key != UNTIL_TAG})
