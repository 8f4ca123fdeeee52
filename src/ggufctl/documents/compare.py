"""The published schemas of comparisons and of the rows of a batch."""

from __future__ import annotations

from pydantic import Field

from ggufctl.documents.base import Document
from ggufctl.documents.plan import PlanDocument

__all__ = ["BatchDocument", "CompareDocument"]


class ErrorDocument(Document):
    """What a model failed with."""

    code: str
    message: str
    hint: str
    choices: list[str] = Field(description="references that would be unambiguous")


class RangeDocument(Document):
    """An estimate, and how far off it may be."""

    low: float
    best: float
    high: float


class ComparedDocument(Document):
    """One of the models."""

    ref: str = Field(description="as written")
    exit_code: int = Field(description="of ggufctl plan for this model alone")
    error: ErrorDocument | None
    tokens_per_s: RangeDocument | None = Field(description="of one stream on the pick")
    usd_per_million_tokens: RangeDocument | None = Field(description="of output of that stream")
    plan: PlanDocument | None = Field(description="also there when nothing fits")


class CompareDocument(Document):
    """What `ggufctl plan --compare --json` prints."""

    schema_version: str
    llama_cpp_build: str
    models: list[ComparedDocument]


class BatchGpuDocument(Document):
    """What one type and number of GPUs makes of a model."""

    gpu: str
    count: int
    fits: bool
    used_bytes: int = Field(description="on the fullest of them")
    usable_bytes: int = Field(description="of each")
    short_by_bytes: int
    max_n_ctx: int
    usd_per_hour: float


class SummaryDocument(Document):
    """A plan in short."""

    ref: str = Field(description="the reference that names exactly this model")
    architecture: str
    quant: str | None
    size_bytes: int
    n_params: int
    n_active_params: int
    n_ctx: int
    gpu: str | None = Field(description="the pick; null when nothing allowed fits")
    count: int | None
    usd_per_hour: float | None
    max_n_ctx: int | None
    tokens_per_s: RangeDocument | None = Field(description="of one stream on the pick")
    usd_per_million_tokens: RangeDocument | None = Field(description="of output of that stream")
    engine_args: list[str]
    gpus: list[BatchGpuDocument]
    would_fit: list[str] = Field(description="changes with which it would fit")
    warnings: list[str]


class BatchDocument(Document):
    """One line that `ggufctl plan --batch` writes."""

    schema_version: str
    line: int = Field(description="of the input, counted from 1")
    id: str | int | None = Field(description="as the row gave it")
    model: str = Field(description="as the row named it")
    fingerprint: str = Field(description="of the row and the options, for resuming")
    exit_code: int = Field(description="of ggufctl plan for this row alone")
    error: ErrorDocument | None
    summary: SummaryDocument | None
    plan: PlanDocument | None = Field(description="the whole plan, with --json")
