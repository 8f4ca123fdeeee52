"""What this machine remembers of its deployments on Modal: settings, never secrets."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ggufctl.services.deployments import state_dir
from ggufctl.services.keys import Key
from ggufctl.services.modal.plan import RATE_FILE, ModalPlan

__all__ = ["forget", "key_file", "remember_rate", "remembered", "save", "state_folder"]

LARGE_BYTES = 1_000_000_000
"""Loading at least so much takes long enough to be a measurement."""


def state_folder() -> Path:
    """Where it is kept; made if it is not there."""
    folder = state_dir() / "modal"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def save(plan: ModalPlan, url: str, key: Key | None) -> None:
    """Remember what was deployed, without secrets."""
    request = asdict(plan.request)
    request["api_key_file"] = str(key.path.absolute()) if key else ""
    request["runtime"] = asdict(plan.runtime)
    request["n_ctx"] = plan.runtime.n_ctx
    if plan.request.goal is not None:
        # What was searched for is found: the quant and the settings stay as they are.
        request["goal"] = None
        request["quant"] = plan.spec.quant if plan.plan.quants else plan.request.quant
    document = {"spec": plan.spec.to_dict(), "request": request, "url": url}
    path = state_folder() / f"{plan.spec.name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(path)


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
        document = json.loads((state_dir() / "modal" / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    parts = (document.get("spec"), document.get("request"))
    return document if all(isinstance(part, dict) for part in parts) else {}


def key_file(name: str) -> str:
    """Where the key of a deployment is kept on this machine; empty when it is not here."""
    return str(remembered(name).get("request", {}).get("api_key_file") or "")


def forget(name: str) -> None:
    """Remove what is kept of a deployment, its key included."""
    folder = state_dir() / "modal"
    for suffix in (".json", ".key"):
        with contextlib.suppress(OSError):
            (folder / f"{name}{suffix}").unlink()
