"""The published schemas of plans and of the catalogue."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.core.plan import Plan
from ggufctl.documents.base import Document
from ggufctl.documents.optimize import OptimizationDocument
from ggufctl.report.plan import plan_report

__all__ = ["GpusDocument", "NameDocument", "PlanDocument"]


class FileDocument(Document):
    """One file of the model."""

    path: str
    size_bytes: int
    sha256: str | None = None


class ModelDocument(Document):
    """The model that was planned."""

    ref: str = Field(description="the reference that names exactly this model")
    source: Literal["local", "url", "hub"]
    repo: str | None
    commit: str | None
    files: list[FileDocument]
    size_bytes: int
    architecture: str
    n_params: int
    n_active_params: int
    quant: str | None
    is_moe: bool
    n_ctx_train: int = Field(description="0 when the header does not say")


class ShardDocument(Document):
    """Which part of a split file a name names."""

    index: int
    count: int


class RuleDocument(Document):
    """What the name alone suggests."""

    gpu: str
    memory_utilization: float
    engine_flags: str


class DetectedDocument(Document):
    """What the name says."""

    name: str
    n_params: int | None
    n_active_params: int | None
    n_experts: int | None
    is_moe: bool
    quant: str | None
    shard: ShardDocument | None
    is_gguf: bool
    kind: str
    format: str | None
    rule: RuleDocument | None


class RuntimeDocument(Document):
    """The settings, under llama-server's names; the context is resolved."""

    n_ctx: int
    n_parallel: int | None
    kv_unified: bool | None
    cache_type_k: str
    cache_type_v: str
    flash_attn: str
    n_batch: int
    n_ubatch: int
    n_gpu_layers: int
    n_cpu_moe: int
    override_tensor: list[str]
    no_kv_offload: bool
    split_mode: str
    tensor_split: list[float] = Field(description="share of the layers per GPU; empty = by memory")
    n_outputs: int | None
    embeddings: bool
    swa_full: bool
    load_mode: str
    mmproj: str | None
    draft_model: str | None
    lora: list[str]
    spec_type: str
    spec_draft_n_max: int
    spec_draft_type_k: str
    spec_draft_type_v: str


class TermDocument(Document):
    """One figure and how sure it is."""

    name: str
    basis: Literal["exact", "derived", "estimated"]
    low_bytes: int
    best_bytes: int
    high_bytes: int
    note: str


class DeviceDocument(Document):
    """Memory of one GPU."""

    name: str
    gpu: str
    weights_bytes: int
    kv_cache_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    overhead_bytes: int
    extras_bytes: int
    total_bytes: int
    terms: list[TermDocument]


class HostDocument(Document):
    """Memory of the host."""

    weights_bytes: int
    kv_cache_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    output_bytes: int
    extras_bytes: int
    total_bytes: int
    terms: list[TermDocument]


class MemoryDocument(Document):
    """Memory of everything."""

    devices: list[DeviceDocument]
    host: HostDocument
    n_ctx: int
    n_ctx_seq: int
    flash_attn: bool
    has_graph: bool


class RangeDocument(Document):
    """An estimate with its limits."""

    low: float
    best: float
    high: float


class SpeedDocument(Document):
    """Estimated speed."""

    decode_tokens_per_s: RangeDocument = Field(description="one stream alone")
    aggregate_tokens_per_s: RangeDocument = Field(description="all slots busy, together")
    prefill_tokens_per_s: RangeDocument = Field(description="a prompt of one physical batch")
    ttft_prompt_tokens: int
    ttft_seconds: RangeDocument = Field(description="to the first token after such a prompt")
    n_slots: int
    depth_tokens: int = Field(description="context in use that decoding is stated for")
    active_bytes: int = Field(description="weights that one token reads")
    basis: list[str] = Field(description="where the figures come from")


class PhaseDocument(RangeDocument):
    """One part of a start, in seconds."""

    name: str


class ColdStartDocument(Document):
    """Estimated start from nothing to a first answer."""

    seconds: RangeDocument
    phases: list[PhaseDocument]
    limit_seconds: float = Field(description="after which something must be wrong")
    basis: list[str]


class MonthDocument(Document):
    """Estimated bill of a month for a load."""

    requests_per_day: float
    prompt_tokens: int
    output_tokens: int
    usd: RangeDocument
    up_hours: RangeDocument
    cold_starts: RangeDocument
    containers: RangeDocument = Field(description="kept busy at once, on average")
    storage_usd: RangeDocument
    usd_per_million_tokens: RangeDocument


class CostDocument(Document):
    """Estimated cost."""

    usd_per_hour: RangeDocument = Field(description="in use: GPUs, cores and memory")
    gpu_usd_per_hour: float
    idle_window_usd: RangeDocument = Field(description="from the last request to the end")
    cold_start_usd: RangeDocument
    usd_per_million_tokens: RangeDocument = Field(description="of output, one stream, never idle")
    usd_per_million_tokens_all_slots: RangeDocument
    storage_usd_per_month: RangeDocument
    month: MonthDocument | None = Field(description="null without --requests-per-day")
    prices_as_of: str
    prices_source: str


class GpuPlanDocument(Document):
    """One type and number of GPUs."""

    gpu: str
    count: int
    fits: bool
    is_allowed: bool
    used_bytes: int = Field(description="on the fullest device")
    usable_bytes: int = Field(description="what may be filled of all of them together")
    usable_bytes_per_gpu: int
    utilization: float = Field(description="used of usable memory on the fullest device")
    short_by_bytes: int
    headroom_bytes: int
    max_n_ctx: int = Field(description="largest context that fits, 0 when none does")
    usd_per_hour: float
    memory: MemoryDocument | None = Field(description="null when the GPU's memory is unknown")
    reason: str = Field(description="why it may not be chosen; empty when it may")
    speed: SpeedDocument | None = Field(None, description="null where it does not fit")
    cold_start: ColdStartDocument | None = None
    cost: CostDocument | None = None


class ChoiceDocument(Document):
    """What to rent and how to run it."""

    gpu: str
    count: int
    modal_gpu: list[str] = Field(description="for Modal's gpu=, in the order to try")
    memory_utilization: float
    usd_per_hour: float
    max_n_ctx: int
    engine_args: list[str] = Field(description="llama-server's flags, the model left out")
    reason: str
    speed: SpeedDocument | None = None
    cold_start: ColdStartDocument | None = None
    cost: CostDocument | None = None


class StepDocument(Document):
    """One change that would make the model fit."""

    kind: Literal[
        "tensor_split",
        "spec_type",
        "context",
        "cache_type",
        "slots",
        "ubatch",
        "pipeline",
        "n_cpu_moe",
        "gpu_layers",
        "gpu",
        "quant",
    ]
    changes: list[str]
    text: str
    gpu: str
    count: int
    usd_per_hour: float
    in_use_usd_per_hour: float = Field(description="with the container's cores and host memory")
    decode_tokens_per_s: RangeDocument | None = Field(
        description="of one stream, an estimate; null where there is none"
    )
    n_ctx: int
    max_n_ctx: int
    used_bytes: int
    usable_bytes: int
    host_bytes: int
    quant: str | None


class QuantChoiceDocument(Document):
    """The cheapest GPU of a quant."""

    gpu: str
    count: int
    usd_per_hour: float
    max_n_ctx: int


class QuantGpuDocument(Document):
    """One quant on one type and number of GPUs."""

    gpu: str
    count: int
    fits: bool
    used_bytes: int
    usable_bytes: int
    short_by_bytes: int
    max_n_ctx: int
    usd_per_hour: float
    reason: str


class QuantDocument(Document):
    """One quant of the repository."""

    quant: str
    ref: str
    size_bytes: int
    n_files: int
    is_exact: bool = Field(description="false: scaled from another quant by the size of its files")
    choice: QuantChoiceDocument | None
    gpus: list[QuantGpuDocument]


class PlanDocument(Document):
    """Output of `ggufctl plan --json`."""

    schema_version: str
    llama_cpp_build: str
    model: ModelDocument
    detected: DetectedDocument
    runtime: RuntimeDocument
    gpus: list[GpuPlanDocument]
    choice: ChoiceDocument | None = Field(description="null when nothing allowed fits")
    ladder: list[StepDocument] = Field(description="what would fit, when nothing asked for does")
    cheaper: list[StepDocument] = Field(description="small changes that reach a cheaper GPU")
    quants: list[QuantDocument] = Field(description="all quants, for a whole repository")
    warnings: list[str]
    optimization: OptimizationDocument | None = Field(
        default=None, description="what --optimize found; null without it"
    )

    @classmethod
    def from_plan(cls, plan: Plan) -> PlanDocument:
        """The document of a plan."""
        return cls.model_validate(plan_report(plan))


class NameDocument(Document):
    """Output of `ggufctl plan --name-only --json`."""

    schema_version: str
    ref: str
    basis: Literal["name"]
    detected: DetectedDocument


class OverheadDocument(Document):
    """What CUDA takes of a GPU before any buffer."""

    low_bytes: int
    best_bytes: int
    high_bytes: int
    source: str
    is_calibrated: bool


class GpuDocument(Document):
    """One type of GPU."""

    name: str
    modal_names: list[str]
    device_name: str
    nominal_gb: int
    cuda_bytes: int | None = Field(description="what CUDA sees; null when nobody knows")
    bandwidth_gb_s: int
    fp16_tflops: int
    compute_capability: str
    has_bf16: bool
    max_count: int
    usd_per_hour: float
    price_as_of: str
    price_source: str
    overhead: OverheadDocument
    note: str
    is_own: bool = Field(default=False, description="a card of one's own, which nobody rents out")


class GpusDocument(Document):
    """Output of `ggufctl gpus --json`."""

    schema_version: str
    as_of: str
    gpus: list[GpuDocument]
