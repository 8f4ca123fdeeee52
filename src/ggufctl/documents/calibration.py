"""The published schema of what a user's own servers have shown."""

from __future__ import annotations

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["CalibrationClearDocument", "CalibrationDocument", "CalibrationExportDocument"]


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


class RunDocument(Document):
    """One start of a server, as planned and as it was; null is what nobody saw."""

    at: str = Field(description="RFC 3339")
    where: str = Field(description="local or modal")
    gpu: str = Field(description="the catalogue's name, else what the engine calls it; CPU = none")
    count: int
    build: str
    engine: str
    model: str = Field(description="reference, or name of the file")
    quant: str
    n_ctx: int
    planned_bytes: int | None = Field(description="of every buffer that the engine's log names")
    actual_bytes: int | None
    overhead_bytes: int | None = Field(description="used on the first GPU beside those buffers")
    compute_bytes: int = Field(description="compute buffer of the first GPU")
    planned_load_seconds: float | None
    load_seconds: float | None
    planned_tokens_per_s: float | None = Field(description="of one stream, without calibration")
    tokens_per_s: float | None


class CalibrationExportDocument(Document):
    """Output of `ggufctl calibration export --json`; without it each line is one of `runs`."""

    schema_version: str
    runs: list[RunDocument]


class CalibrationClearDocument(Document):
    """Output of `ggufctl calibration clear --json`."""

    schema_version: str
    n_runs: int = Field(description="that were forgotten")
