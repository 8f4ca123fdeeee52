"""The published schemas of what is served: plans, servers that answer, and rows of `ps`.

One schema covers this machine and Modal. What only one of the two knows is optional: null or
absent in the documents of the other.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document
from ggufctl.documents.plan import ColdStartDocument, CostDocument, SpeedDocument

__all__ = ["DemoDocument", "PsDocument", "ServeDocument", "ServePlanDocument", "StopDocument"]

Where = Literal["local", "modal"]
Auth = Literal["key", "proxy", "none", ""]


class EngineDocument(Document):
    """The engine that would run."""

    name: str
    build: str = Field(description="as it says itself; empty when it is not known before")


class DeviceDocument(Document):
    """One GPU of this machine as the engine sees it."""

    name: str
    description: str
    total_bytes: int
    free_bytes: int


class ServedFileDocument(Document):
    """One file that is loaded."""

    path: str
    size_bytes: int


class PlannedTermDocument(Document):
    """One term of memory as planned."""

    device: str
    term: str
    planned_bytes: int
    low_bytes: int
    high_bytes: int
    basis: str


class MeasuredTermDocument(Document):
    """One term of memory, planned and as the engine's log has it."""

    device: str
    term: str
    planned_bytes: int
    actual_bytes: int
    difference_bytes: int
    is_as_planned: bool
    note: str


class PhaseDocument(Document):
    """One phase of a start."""

    phase: str
    seconds: float


class ServePlanDocument(Document):
    """Output of `ggufctl serve --dry-run --json`: what would happen; nothing was done."""

    schema_version: str
    where: Where
    dry_run: Literal[True]
    name: str
    model: str
    alias: str = Field(description="the model's name towards clients")
    engine: EngineDocument
    llama_cpp_build: str = Field(description="that the plan models")
    auth: Auth
    argv: list[str] = Field(description="of the engine; no secret is in it")
    n_ctx: int = Field(description="tokens, of all slots together")
    n_ctx_slot: int
    n_parallel: int
    memory: list[PlannedTermDocument]
    startup_timeout_seconds: float
    usd_per_hour: float = Field(description="while it runs; 0 on this machine")
    warnings: list[str]
    devices: list[DeviceDocument] | None = Field(None, description="local: none is the CPU")
    key_variable: str | None = Field(None, description="local: holds the key")
    download_bytes: int | None = Field(None, description="local: not on this machine yet")
    app: str | None = Field(None, description="Modal: the app's name")
    quant: str | None = None
    repo: str | None = None
    commit: str | None = None
    files: list[ServedFileDocument] | None = None
    image: str | None = Field(None, description="Modal: the container image")
    gpus: list[str] | None = Field(None, description="Modal: in the order they are asked for")
    cpu: float | None = Field(None, description="Modal: physical cores")
    memory_mib: int | None = Field(None, description="Modal: host memory")
    volume: str | None = Field(None, description="Modal: the Volume with the weights")
    secret: str | None = Field(None, description="Modal: name of the Secret with the key")
    hold_requests: bool | None = None
    max_containers: int | None = None
    scaledown_seconds: int | None = None
    planned_bytes: int | None = Field(None, description="on all devices together")
    gpu_usd_per_hour: float | None = None
    host_usd_per_hour: float | None = Field(None, description="Modal: cores and memory")
    idle_usd_per_hour: float | None = Field(None, description="while nobody asks")
    scaledown_usd: float | None = Field(None, description="Modal: of waiting for requests, once")
    speed: SpeedDocument | None = Field(None, description="Modal: estimated")
    cold_start: ColdStartDocument | None = Field(None, description="Modal: estimated")
    cost: CostDocument | None = Field(None, description="Modal: estimated")


class ServeDocument(Document):
    """Output of `ggufctl serve --json` and `ggufctl switch --json`: a server that answers."""

    schema_version: str
    name: str
    where: Where
    status: Literal["running"]
    model: str
    alias: str
    engine: str
    engine_build: str = Field(description="as its log has it")
    llama_cpp_build: str = Field(description="that the plan models")
    url: str = Field(description="for clients of OpenAI's API")
    auth: Auth
    key_file: str | None = Field(description="where the key is kept on this machine")
    n_ctx: int
    n_ctx_slot: int
    n_parallel: int
    offloaded_layers: list[int] | None = Field(description="on GPUs, of how many")
    phases: list[PhaseDocument]
    memory: list[MeasuredTermDocument]
    is_as_planned: bool
    attempts: int
    tried: list[str] = Field(description="what was changed after attempts that failed")
    usd_per_hour: float
    warnings: list[str]
    started_at: str | None = Field(None, description="RFC 3339")
    pid: int | None = Field(None, description="local: of the ggufctl that supervises it")
    engine_pid: int | None = None
    memory_bytes: int | None = Field(None, description="local: planned, of devices and host")
    devices: list[str] | None = Field(None, description="local: as the engine names them")
    app: str | None = None
    gpus: list[str] | None = None
    gpu_found: dict[str, str] | None = Field(None, description="Modal: name, driver, memory_mib")
    gpu_usd_per_hour: float | None = None
    host_usd_per_hour: float | None = None
    idle_usd_per_hour: float | None = None
    scaledown_usd: float | None = None


class DeploymentDocument(Document):
    """One deployment: a row of `ps`."""

    name: str
    where: Where
    status: Literal["starting", "running", "idle", "stopped", "failed", "lost"]
    model: str
    alias: str
    engine: str
    engine_build: str
    url: str = Field(description="empty where there is none")
    auth: Auth
    key_file: str | None
    started_at: str = Field(description="RFC 3339; empty when it is not known")
    usd_per_hour: float = Field(description="of what runs now")
    pid: int | None = None
    engine_pid: int | None = None
    memory_bytes: int | None = None
    gpu: str | None = None
    n_containers: int | None = None


class PsDocument(Document):
    """Output of `ggufctl ps --json`."""

    schema_version: str
    deployments: list[DeploymentDocument]


class StopDocument(DeploymentDocument):
    """Output of `ggufctl stop --json`: the deployment as it was last."""

    schema_version: str


class LogLineDocument(Document):
    """Each line of `ggufctl logs --json`."""

    schema_version: str
    name: str = Field(description="of the deployment")
    line: str = Field(description="of the engine's log, keys left out")


class DemoDocument(Document):
    """Output of `ggufctl demo --json`."""

    schema_version: str
    model: str = Field(description="its name towards clients")
    source: str = Field(description="where it came from, in words")
    engine: str
    engine_build: str
    llama_cpp_build: str = Field(description="that the plan models")
    question: str
    answer: str
    n_tokens: int
    tokens_per_second: float
    startup_seconds: float
    memory: list[MeasuredTermDocument]
    is_as_planned: bool
    usd_per_hour: float
