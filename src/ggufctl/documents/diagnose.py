"""The published schema of what `ggufctl diagnose --json` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["DiagnoseDocument"]


class EvidenceDocument(Document):
    """One line that shows a cause."""

    line: int = Field(description="counted from 1")
    text: str


class DiagnosisDocument(Document):
    """One cause."""

    id: str
    severity: Literal["fatal", "remark"]
    cause: str
    fix: list[str]
    evidence: list[EvidenceDocument]
    confidence: float = Field(ge=0, le=1)
    n_lines: int = Field(description="lines that show it")


class CheckDocument(Document):
    """One check of a machine or a model."""

    id: str
    status: Literal["PASS", "WARN", "FAIL"]
    text: str
    fix: str
    details: list[str]


class MemoryFactDocument(Document):
    """One term of memory as the engine printed it."""

    device: str
    term: str
    n_bytes: int


class LogFactsDocument(Document):
    """What a log shows of a running engine; empty, 0 or null where it does not."""

    engine: str
    build: str
    model: str
    path: str
    architecture: str
    quant: str
    devices: list[str]
    memory: list[MemoryFactDocument]
    offloaded: int
    n_layers: int
    n_ctx: int
    n_ctx_slot: int
    n_slots: int
    cache_type_k: str
    cache_type_v: str
    n_ubatch: int
    flash_attn: bool | None
    prompt_tokens_per_second: float
    tokens_per_second: float
    free_bytes: dict[str, int]
    n_lines: int
    is_up: bool


class DiagnoseDocument(Document):
    """Output of `ggufctl diagnose --json`."""

    schema_version: str
    kind: Literal["log", "machine", "model", "app"]
    diagnoses: list[DiagnosisDocument] = Field(description="what is wrong, the root first")
    remarks: list[DiagnosisDocument] = Field(description="what is survived or worth knowing")
    checks: list[CheckDocument] = Field(description="of a machine or a model")
    facts: LogFactsDocument | dict[str, str | int]
