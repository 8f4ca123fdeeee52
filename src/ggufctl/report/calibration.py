"""Runs of the user's own servers as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from ggufctl.core.calibration import Run, Summary

__all__ = ["calibration_report", "export_report"]


def calibration_report(
    runs: Sequence[Summary], calibrated: Mapping[str, str], path: str, build: str
) -> dict[str, Any]:
    """The document that `ggufctl schema calibration` describes.

    Args:
        runs: by GPU, build and model.
        calibrated: GPU → what its estimates owe to them.
        path: where they are kept.
        build: that plans are made for.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "path": path,
        "build": build,
        "runs": [asdict(each) for each in runs],
        "calibrated": [{"gpu": gpu, "note": note} for gpu, note in calibrated.items()],
    }


def export_report(runs: Sequence[Run]) -> dict[str, Any]:
    """The document that `ggufctl schema calibration-export` describes."""
    return {"schema_version": SCHEMA_VERSION, "runs": [asdict(run) for run in runs]}
