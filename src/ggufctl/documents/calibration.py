"""The published schema of what a user's own servers have shown."""

from __future__ import annotations

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["CalibrationDocument"]


class RunsDocument(Document):
    """Runs of one GPU, build and model together; figures are medians."""

    gpu: str
    build: str
    model: str
    n_runs: int
    last_at: str = Field(description="RFC 3339")
    memory_ratio: float | None = Field(description="actual over planned buffers")
    load_seconds: float | None
    tokens_per_s: float | None
    speed_ratio: float | None = Field(description="measured over predicted tokens/s")


class CalibratedDocument(Document):
    """A GPU whose estimates the runs tighten."""

    gpu: str
    note: str


class CalibrationDocument(Document):
    """Output of `ggufctl calibration show --json`."""

    schema_version: str
    path: str
    build: str = Field(description="that plans are made for; runs of others change nothing")
    runs: list[RunsDocument]
    calibrated: list[CalibratedDocument]
