"""What an estimate says: bytes per device and term, and how sure each one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ggufctl.core.ggml.alloc import Live

__all__ = ["Basis", "DeviceEstimate", "Estimate", "HostEstimate", "Term"]


class Basis(StrEnum):
    """How a figure was found."""

    EXACT = "exact"
    """llama.cpp's own algorithm, to the byte."""
    DERIVED = "derived"
    """A formula checked against llama.cpp, with a stated range."""
    ESTIMATED = "estimated"
    """A calibrated allowance."""


@dataclass(frozen=True, slots=True)
class Term:
    """One figure with its range.  [bytes]"""

    name: str
    n_bytes: int
    basis: Basis = Basis.EXACT
    low: int | None = None
    high: int | None = None
    note: str = ""

    @property
    def low_bytes(self) -> int:
        """Least it may be.  [bytes]"""
        return self.n_bytes if self.low is None else self.low

    @property
    def high_bytes(self) -> int:
        """Most it may be.  [bytes]"""
        return self.n_bytes if self.high is None else self.high


def _total(terms: tuple[Term, ...]) -> int:
    return sum(t.n_bytes for t in terms)


@dataclass(frozen=True, slots=True)
class DeviceEstimate:
    """Memory of one GPU."""

    name: str
    """llama.cpp's name of the device, `CUDA0` …"""
    gpu: str
    weights: Term
    kv_cache: Term
    recurrent: Term
    compute: Term
    overhead: Term
    extras: tuple[Term, ...] = ()
    """Projector, draft model, adapters: each a term of its own."""
    peak: tuple[Live, ...] = ()
    """What is alive when the compute buffer is fullest, the largest first."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms in the order they are shown."""
        return (
            self.weights,
            self.kv_cache,
            self.recurrent,
            self.compute,
            *self.extras,
            self.overhead,
        )

    @property
    def weights_bytes(self) -> int:
        """Weights.  [bytes]"""
        return self.weights.n_bytes

    @property
    def kv_cache_bytes(self) -> int:
        """KV cache.  [bytes]"""
        return self.kv_cache.n_bytes

    @property
    def recurrent_bytes(self) -> int:
        """Recurrent state.  [bytes]"""
        return self.recurrent.n_bytes

    @property
    def compute_bytes(self) -> int:
        """Compute buffer.  [bytes]"""
        return self.compute.n_bytes

    @property
    def overhead_bytes(self) -> int:
        """CUDA context, cuBLAS workspace, pools.  [bytes]"""
        return self.overhead.n_bytes

    @property
    def total_bytes(self) -> int:
        """Everything on the device.  [bytes]"""
        return _total(self.terms)

    @property
    def high_bytes(self) -> int:
        """Everything on the device at the upper end of each range.  [bytes]"""
        return sum(t.high_bytes for t in self.terms)


@dataclass(frozen=True, slots=True)
class HostEstimate:
    """Memory of the host: pinned where CUDA is used, page cache for mapped weights."""

    weights: Term
    kv_cache: Term
    recurrent: Term
    compute: Term
    output: Term
    extras: tuple[Term, ...] = ()
    peak: tuple[Live, ...] = ()

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms in the order they are shown."""
        return (
            self.weights,
            self.kv_cache,
            self.recurrent,
            self.compute,
            self.output,
            *self.extras,
        )

    @property
    def weights_bytes(self) -> int:
        """Weights.  [bytes]"""
        return self.weights.n_bytes

    @property
    def kv_cache_bytes(self) -> int:
        """KV cache.  [bytes]"""
        return self.kv_cache.n_bytes

    @property
    def recurrent_bytes(self) -> int:
        """Recurrent state.  [bytes]"""
        return self.recurrent.n_bytes

    @property
    def compute_bytes(self) -> int:
        """Compute buffer.  [bytes]"""
        return self.compute.n_bytes

    @property
    def output_bytes(self) -> int:
        """Logits and embeddings handed out.  [bytes]"""
        return self.output.n_bytes

    @property
    def total_bytes(self) -> int:
        """Everything on the host.  [bytes]"""
        return _total(self.terms)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What llama.cpp allocates for a model, a runtime and some GPUs."""

    devices: tuple[DeviceEstimate, ...]
    host: HostEstimate
    n_ctx: int
    """Total context after llama.cpp's rounding.  [tokens]"""
    n_ctx_seq: int
    """Context of one slot.  [tokens]"""
    n_ubatch: int
    n_seq_max: int
    flash_attn: bool
    """Whether attention ends up fused."""
    n_copies: int = 1
    """Copies of inputs: 4 under pipeline parallelism."""
    has_graph: bool = True
    """Whether the compute buffers come from the architecture's own graph."""
    offloaded_layers: int = 0
    """Blocks on GPUs, the output counted as one more."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def idle_devices(self) -> tuple[str, ...]:
        """GPUs that hold no layer, of several."""
        if not any(device.weights_bytes for device in self.devices):
            return ()
        return tuple(
            d.name
            for d in self.devices
            if not (d.weights_bytes or d.kv_cache_bytes or d.recurrent_bytes)
        )

    @property
    def is_exact(self) -> bool:
        """Whether everything but the CUDA overhead is exact."""
        terms = [t for d in self.devices for t in d.terms[:-1]]
        return all(t.basis is Basis.EXACT for t in (*terms, *self.host.terms))
