"""Downloads and kept models as plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from ggufctl.core.stored import StoredModel
    from ggufctl.services.download import DownloadPlan

__all__ = ["download_report", "models_report"]


def download_report(
    plan: DownloadPlan,
    locations: Sequence[str] = (),
    *,
    seconds: float | None = None,
    is_dry_run: bool = False,
) -> dict[str, Any]:
    """What was fetched, or would be.

    Args:
        plan: of the download.
        locations: where each file lies now; none before.
        seconds: that fetching took.
        is_dry_run: whether nothing was done.
    """
    selection = plan.selection
    missing = {file.path for file in plan.missing}
    places: Sequence[str | None] = locations or [None] * len(selection.files)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": selection.ref,
        "repo": selection.repo,
        "commit": selection.commit,
        "quant": selection.quant,
        "reason": selection.reason,
        "to": plan.to,
        "where": plan.where,
        "is_dry_run": is_dry_run,
        "files": [
            {
                "path": file.path,
                "role": file.role,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "was_present": file.path not in missing,
                "location": place,
            }
            for file, place in zip(selection.files, places, strict=True)
        ],
        "size_bytes": selection.size_bytes,
        "download_bytes": plan.bytes_to_come,
        "room_bytes": plan.room_bytes,
        "price": None
        if plan.price is None
        else {
            "usd": round(plan.price.usd, 4),
            "usd_per_hour": round(plan.price.usd_per_hour, 4),
            "usd_per_month": round(plan.price.usd_per_month, 4),
        },
        "seconds": None if seconds is None else round(seconds, 3),
    }


def models_report(
    on: str,
    models: Sequence[StoredModel],
    *,
    removed: Sequence[StoredModel] = (),
    freed_bytes: int | None = None,
    is_dry_run: bool = False,
) -> dict[str, Any]:
    """The models of a store, or those that a command was about.

    Args:
        on: the store.
        models: that are there, or were looked at.
        removed: that are there no longer, or would not be.
        freed_bytes: by that; None where nothing was to be removed.
        is_dry_run: whether nothing was done.
    """
    prices = [model.usd_per_month for model in models if model.usd_per_month is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        "on": on,
        "models": [_row(model) for model in models],
        "size_bytes": sum(model.size_bytes for model in models),
        "usd_per_month": round(sum(prices), 4) if prices else None,
        "removed": [_row(model) for model in removed],
        "freed_bytes": freed_bytes,
        "is_dry_run": is_dry_run,
    }


def _row(model: StoredModel) -> dict[str, Any]:
    usd = model.usd_per_month
    return {
        "ref": model.ref,
        "repo": model.repo,
        "commit": model.commit,
        "quant": model.quant,
        "kind": model.kind.value,
        "state": model.state.value,
        "size_bytes": model.size_bytes,
        "last_used": _time(model.last_used),
        "downloaded": _time(model.downloaded),
        "usd_per_month": None if usd is None else round(usd, 4),
        "missing": list(model.missing),
        "files": [
            {
                "path": file.path,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "state": file.state.value,
                "location": file.location,
            }
            for file in model.files
        ],
    }


def _time(when: datetime | None) -> str | None:
    if when is None:
        return None
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
