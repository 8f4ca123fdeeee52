"""What this machine remembers of its deployments on Modal: settings, never secrets."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ggufctl import modal_app
from ggufctl.core.deployment import VOLUME_TAG
from ggufctl.modal_app import ModalDeployment
from ggufctl.remote.layout import OWN_FOLDER
from ggufctl.services.deployments import state_dir
from ggufctl.services.keys import Key
from ggufctl.services.modal.plan import RATE_FILE, ModalPlan
from ggufctl.services.modal.urls import without_secrets

__all__ = [
    "all_begun",
    "begin",
    "begun",
    "described",
    "ended",
    "forget",
    "keep",
    "key_file",
    "note_path",
    "note_text",
    "own_key_path",
    "recalled",
    "remember_rate",
    "remembered",
    "state_folder",
]

_BEGUN = ".begun"
"""Ends the name of the note of a start that is under way."""

LARGE_BYTES = 1_000_000_000
"""Loading at least so much takes long enough to be a measurement."""


def state_folder() -> Path:
    """Where it is kept; made if it is not there."""
    folder = state_dir() / "modal"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def described(plan: ModalPlan, url: str, key: Key | None, attempt: str) -> dict[str, Any]:
    """What is kept of a deployment, without secrets."""
    request = asdict(plan.request)
    request["api_key_file"] = str(key.path.absolute()) if key else ""
    request["runtime"] = asdict(plan.runtime)
    request["n_ctx"] = plan.runtime.n_ctx
    if plan.request.goal is not None:
        # What was searched for is found: the quant and the settings stay as they are.
        request["goal"] = None
        request["quant"] = plan.spec.quant if plan.plan.quants else plan.request.quant
    return {
        "spec": plan.spec.to_dict(),
        "request": request,
        "url": url,
        "attempt": attempt,
    }


def keep(name: str, document: Mapping[str, Any]) -> None:
    """Remember a deployment on this machine."""
    _write(state_folder() / f"{name}.json", document)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    # A model's URL may be all that lets somebody in.
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file)
    part.replace(path)


def note_path(name: str) -> str:
    """Where other machines find what is kept of a deployment, on its Volume."""
    return f"{OWN_FOLDER}/deployments/{name}.json"


def note_text(document: Mapping[str, Any]) -> str:
    """What other machines are told of a deployment: nothing of this one."""
    request = {**document["request"], "api_key_file": ""}
    return json.dumps(without_secrets({**document, "request": request}))


def remember_rate(n_bytes: int, seconds: float) -> None:
    """Keep what a start has shown of a Volume's speed; small models show nothing of it."""
    if n_bytes < LARGE_BYTES or seconds <= 0:
        return
    document = {"bytes_per_second": round(n_bytes / seconds)}
    with contextlib.suppress(OSError):
        (state_folder() / RATE_FILE).write_text(json.dumps(document))


def remembered(name: str) -> dict[str, Any]:
    """What `save` kept: `spec`, `request` and `url`; empty when it was not from here."""
    try:
        return _parsed((state_dir() / "modal" / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}


def recalled(found: ModalDeployment) -> dict[str, Any]:
    """What is known of a deployment: here if it is the latest, else as its Volume has it.

    Raises: as `modal_app.read_note`.
    """
    here = remembered(found.name)
    if here and here.get("attempt", "") == found.attempt:
        return here
    volume = found.tags.get(VOLUME_TAG)
    there = _parsed(modal_app.read_note(volume, note_path(found.name))) if volume else {}
    if not there or there.get("attempt") != found.attempt:
        return here
    path = here["request"].get("api_key_file") if here else ""
    return {**there, "request": {**there["request"], "api_key_file": path or ""}}


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(document, dict):
        return {}
    parts = (document.get("spec"), document.get("request"))
    return document if all(isinstance(part, dict) for part in parts) else {}


def key_file(name: str) -> str:
    """Where the key of a deployment is kept on this machine; empty when it is not here."""
    return str(remembered(name).get("request", {}).get("api_key_file") or "")


def own_key_path(name: str) -> Path:
    """Where the key of a deployment is kept that is in no file of the user's."""
    return state_folder() / f"{name}.key"


# A start that is under way, so that whoever comes next can end what was cut off


def begin(name: str, **what: Any) -> None:
    """Note a start that is under way, or more of it."""
    before = begun(name)
    more = {"host": platform.node(), "began": before.get("began", time.time()), **what}
    _write(state_folder() / f"{name}{_BEGUN}", {**before, **more})


def begun(name: str) -> dict[str, Any]:
    """The start of this name that is noted; empty when there is none."""
    try:
        found = json.loads((state_dir() / "modal" / f"{name}{_BEGUN}").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def all_begun() -> tuple[str, ...]:
    """The names whose start is noted."""
    folder = state_dir() / "modal"
    return tuple(sorted(path.name.removesuffix(_BEGUN) for path in folder.glob(f"*{_BEGUN}")))


def ended(name: str) -> None:
    """Nothing is under way any more."""
    with contextlib.suppress(OSError):
        (state_dir() / "modal" / f"{name}{_BEGUN}").unlink()


def forget(name: str) -> None:
    """Remove what is kept of a deployment, its key included."""
    folder = state_dir() / "modal"
    for suffix in (".json", ".key", _BEGUN):
        with contextlib.suppress(OSError):
            (folder / f"{name}{suffix}").unlink()
