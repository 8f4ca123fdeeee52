"""Starts and switches that were cut off: whoever comes next brings them to an end.

A client that is killed outright can take nothing back. So it notes what it is about to do before it
does it: in the state directory, for this machine, and in the tags of the app, for all others.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ggufctl import modal_app
from ggufctl.core.deployment import ATTEMPT_TAG, DeploymentSpec, app_name
from ggufctl.errors import GgufctlError
from ggufctl.modal_app import ModalDeployment
from ggufctl.services.modal.one import StartsNow, only_one
from ggufctl.services.modal.state import all_begun, begun, ended, keep, own_key_path

__all__ = ["Tell", "finish", "finish_all", "finish_begun", "nobody", "settle"]

OTHER_HOST_SECONDS = 24 * 3600.0
"""A state directory may be shared: what another host has begun is left alone for this long."""

SKEW_SECONDS = 120.0
"""Clocks differ by less."""

Tell = Callable[[str], None]
"""Hears in a sentence what was brought to an end."""


def nobody(text: str) -> None:
    """Hear nothing."""


def finish_all(tell: Tell = nobody) -> None:
    """Bring everything to an end that this machine has begun and nobody works on any more.

    What Modal does not allow now is left for the next time, and told.
    """
    for name in all_begun():
        try:
            finish(name, tell)
        except GgufctlError as error:
            tell(f"The start of {name} that was cut off is not ended yet: {error.message}")


def finish(name: str, tell: Tell = nobody) -> None:
    """Bring one start to an end, unless somebody on this machine works on it.

    Raises: as Modal answers.
    """
    if not begun(name):
        return
    # Whoever works on it here holds its name.
    with contextlib.suppress(StartsNow), only_one(name):
        finish_begun(name, tell)


def finish_begun(name: str, tell: Tell = nobody) -> None:
    """The same for who holds the name.

    Raises: as Modal answers.
    """
    note = begun(name)
    if not note or _is_of_another_host(note):
        return
    tags = modal_app.tags_of(name)
    attempt = note.get("attempt")
    if attempt and tags is not None and tags.get(ATTEMPT_TAG) == attempt:
        _finish_deployed(name, note, tell)
    elif tags is None and not note.get("before"):
        _forget_key(name, note)
    _give_back(name, note)
    ended(name)


def _is_of_another_host(note: Mapping[str, Any]) -> bool:
    is_here = note.get("host") == platform.node()
    return not is_here and time.time() - _began(note) < OTHER_HOST_SECONDS


def _began(note: Mapping[str, Any]) -> float:
    try:
        return float(note.get("began", 0.0))
    except (TypeError, ValueError):
        return 0.0


def _finish_deployed(name: str, note: Mapping[str, Any], tell: Tell) -> None:
    """What was cut off is deployed: it stays if it has answered, else the former comes back."""
    before = note.get("before")
    if _has_answered(name, note):
        modal_app.set_min_containers(app_name(name), 0)
        if isinstance(document := note.get("document"), dict):
            keep(name, document)
        modal_app.replace_tags(name)
        tell(f"The start of {name} was cut off after it had answered: it is deployed.")
    elif isinstance(before, dict):
        former = DeploymentSpec.from_dict(before["spec"])
        modal_app.deploy(former, str(before.get("attempt", "")), roll_over=True)
        gpus = ", ".join(former.gpus) or "CPU"
        tell(f"The switch of {name} was cut off: it is deployed on {gpus} again, as before.")
    else:
        modal_app.stop_app(app_name(name))
        _forget_key(name, note)
        tell(f"The start of {name} was cut off before it answered: it is stopped.")


def _has_answered(name: str, note: Mapping[str, Any]) -> bool:
    """Whether a container of this attempt has said that its engine answers."""
    mark = f'{{"event": "ready", "attempt": "{note.get("attempt")}"'
    since = datetime.fromtimestamp(_began(note), UTC) - timedelta(seconds=SKEW_SECONDS)
    found = modal_app.lines_with(app_name(name), mark, since)
    return any(mark in line.text for line in found)


def _forget_key(name: str, note: Mapping[str, Any]) -> None:
    """Take away the key of what is not deployed, where this start has made it."""
    if not note.get("has_stored_key"):
        return
    modal_app.delete_secret(name)
    path = Path(str(note.get("key_file") or ""))
    if path == own_key_path(name):
        with contextlib.suppress(OSError):
            path.unlink()


def _give_back(name: str, note: Mapping[str, Any]) -> None:
    """Give the name back, if it was taken."""
    if mine := str(note.get("claim") or ""):
        modal_app.release(name, mine)
    elif note.get("claims_at"):
        modal_app.release(name, made_about=float(note["claims_at"]))


def settle(found: Iterable[ModalDeployment], tell: Tell = nobody) -> None:
    """Let no container be held by a start that must be over, whichever machine began it.

    Args:
        found: what is deployed.
        tell: hears of it.
    """
    for each in found:
        if not 0 < each.until < time.time() - SKEW_SECONDS:
            continue
        try:
            modal_app.set_min_containers(app_name(each.name), 0)
            modal_app.replace_tags(each.name, each.attempt)
        except GgufctlError as error:
            tell(f"Whether a container of {each.name} is held is not known: {error.message}")
        else:
            tell(f"A start of {each.name} that was cut off holds no container any more.")
