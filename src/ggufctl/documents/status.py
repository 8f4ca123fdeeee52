"""The published schema of `ggufctl status`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["StatusDocument"]


class ProcessStatusDocument(Document):
    """A process of this machine, or a container on Modal."""

    role: Literal["supervisor", "engine", "container"]
    id: str
    is_alive: bool
    memory_bytes: int | None
    cpu_percent: float | None = Field(description="of one core, since the look before")


class MemoryStatusDocument(Document):
    """Memory in one place; null is what nobody could see."""

    device: str = Field(description="CUDA0 …, or host")
    description: str
    planned_bytes: int | None
    used_bytes: int | None = Field(description="by this deployment")
    busy_bytes: int | None = Field(description="by everybody")
    total_bytes: int | None
    utilization_percent: int | None = Field(description="time that the GPU was computing")


class SlotStatusDocument(Document):
    """One slot of the engine."""

    id: int
    is_busy: bool
    n_ctx: int
    n_used: int = Field(description="tokens of its context that are filled")
    n_decoded: int = Field(description="tokens of the answer being written")


class DeploymentStatusDocument(Document):
    """One deployment at one look."""

    name: str
    where: Literal["local", "modal"]
    status: str = Field(description="as in ps")
    health: Literal["ok", "loading", "no answer", "not asked"] = Field(
        description="not asked: it would have started, and paid for, a container"
    )
    at: str = Field(description="RFC 3339")
    model: str
    engine: str
    engine_build: str
    url: str
    started_at: str = Field(description="RFC 3339; empty when it is not known")
    uptime_seconds: float | None
    n_containers: int = Field(description="engines or containers that run")
    processes: list[ProcessStatusDocument]
    memory: list[MemoryStatusDocument]
    n_parallel: int | None
    n_busy: int | None
    n_queued: int | None
    n_ctx: int | None
    n_ctx_used: int | None
    slots: list[SlotStatusDocument]
    prompt_tokens: int | None = Field(description="read since the engine's start")
    predicted_tokens: int | None = Field(description="written since the engine's start")
    prompt_tokens_per_second: float | None
    predicted_tokens_per_second: float | None
    window_seconds: float | None = Field(
        description="that the speed is of; 0 = average of all requests so far"
    )
    n_requests: int | None = Field(description="that the engine has finished, its first included")
    n_errors: int | None
    last_error: str | None
    usd_per_hour: float = Field(description="of what runs now")
    usd_so_far: float | None
    problems: list[str]


class StatusDocument(Document):
    """Output of `ggufctl status --json`; with --watch, each line is one."""

    schema_version: str
    at: str = Field(description="RFC 3339")
    deployments: list[DeploymentStatusDocument]
