"""The published schema of what a search for a goal found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["OptimizationDocument"]


class LimitsDocument(Document):
    """What every candidate keeps to."""

    min_tokens_per_s: float | None
    max_ttft_seconds: float | None
    max_cold_start_seconds: float | None


class CandidateDocument(Document):
    """A quant on some GPUs with some settings; estimates are at the end that is judged by."""

    quant: str
    bits_per_weight: float
    gpu: str
    count: int
    cache_type_k: str
    cache_type_v: str
    n_parallel: int | None
    n_ubatch: int
    n_cpu_moe: int
    changes: list[str] = Field(description="llama-server's flags that differ from those asked for")
    usd_per_hour: float = Field(description="GPUs, cores and host memory")
    gpu_usd_per_hour: float
    month_usd: float | None = Field(
        description="with the load that was given (a card of one's own: never stopped), else null"
    )
    tokens_per_s: float = Field(description="of one request's answer")
    ttft_seconds: float
    request_seconds: float = Field(description="the latency: from a request to its last token")
    cold_start_seconds: float | None = Field(description="null for a card of one's own")
    memory_bytes: int = Field(description="on all GPUs together")
    is_pick: bool


class BindingDocument(Document):
    """A limit that is in the way, and the nearest that comes to it."""

    limit: str = Field(description="the option, or memory")
    asked: float
    reached: float
    gap: float
    is_alone: bool = Field(description="whether giving up this limit alone is enough")
    text: str
    nearest: CandidateDocument | None


class OptimizationDocument(Document):
    """What a search for a goal found."""

    objective: Literal["cost", "latency", "memory"] | None
    judged_by: Literal["careful", "likely"] = Field(
        description="careful: the worst end of estimated ranges; likely: their best figure"
    )
    limits: LimitsDocument
    reading_floor_tokens_per_s: float | None = Field(
        description="least speed that was kept to without having been asked for"
    )
    prompt_tokens: int
    output_tokens: int
    fixed: list[str] = Field(description="settings that were given and never varied")
    n_candidates: int
    n_planned: int = Field(description="candidates planned to the byte")
    sentence: str
    pick: CandidateDocument | None
    front: list[CandidateDocument]
    binding: list[BindingDocument]
