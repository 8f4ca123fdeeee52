"""What is loaded beside a model: image projector, draft model, adapters.

Source: llama.cpp tools/mtmd/clip.cpp, src/llama-adapter.cpp, tools/server/server-context.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ggufctl.core.estimate import Basis, DeviceEstimate, Estimate, HostEstimate, Term
from ggufctl.core.ggml.cuda import ALIGNMENT
from ggufctl.core.header import Header
from ggufctl.core.layout import pad
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.placement import block_of
from ggufctl.core.runtime import Runtime

__all__ = ["LoadedExtras"]

_HOST_ALIGNMENT = 32
_INPUT = ("token_embd.", "position_embd.", "token_types.")


@dataclass(frozen=True, slots=True)
class LoadedExtras:
    """Headers of everything that is loaded beside a model."""

    mmproj: Header | None = None
    draft: ModelShape | None = None
    lora: tuple[Header, ...] = ()

    def added_to(self, estimate: Estimate, runtime: Runtime) -> Estimate:
        """The estimate with a term for each of them on the devices they go to."""
        devices = list(estimate.devices)
        host = estimate.host
        if self.mmproj is not None:
            terms = _projector_terms(self.mmproj)
            if devices:
                devices[0] = _with(devices[0], terms)
            else:
                host = replace(host, extras=host.extras + terms)
        for adapter in self.lora:
            devices, host = _with_adapter(devices, host, adapter)
        if self.draft is not None:
            devices, host = _with_draft(devices, host, self.draft, runtime)
        return replace(estimate, devices=tuple(devices), host=host)


def _with(device: DeviceEstimate, terms: Iterable[Term]) -> DeviceEstimate:
    return replace(device, extras=(*device.extras, *terms))


def _projector_terms(header: Header) -> tuple[Term, ...]:
    """Weights of a projector, and a range for the graph of its largest image.  [bytes]"""
    weights = sum(pad(tensor.n_bytes, ALIGNMENT) for tensor in header.tensors.values())
    n_embd = _integer(header, "clip.vision.embedding_length", 1024)
    n_ff = _integer(header, "clip.vision.feed_forward_length", 4 * n_embd)
    n_head = _integer(header, "clip.vision.attention.head_count", 16)
    size = _integer(header, "clip.vision.image_size", 448)
    patch = _integer(header, "clip.vision.patch_size", 14) or 14
    n_patches = (size // patch) ** 2
    # One block's activations are alive at a time; attention is fused or holds its scores.
    activations = 4 * n_patches * (4 * n_embd + 2 * n_ff)
    scores = 4 * n_patches * n_patches * n_head
    return (
        Term("projector weights", weights),
        Term(
            "projector compute",
            activations + scores // 2,
            Basis.ESTIMATED,
            activations // 2,
            2 * activations + 2 * scores,
            "image graph at the projector's own image size",
        ),
    )


def _integer(header: Header, key: str, default: int) -> int:
    value = header.metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 20:
        return default
    return value


def _with_adapter(
    devices: list[DeviceEstimate], host: HostEstimate, adapter: Header
) -> tuple[list[DeviceEstimate], HostEstimate]:
    """Each tensor lies where the weight lies that it changes."""
    on_device = [0] * len(devices)
    on_host = 0
    blocks = [block_of(name) for name in adapter.tensors]
    n_layer = 1 + max((il for il in blocks if il is not None), default=0)
    for (name, tensor), il in zip(adapter.tensors.items(), blocks, strict=True):
        if not devices or name.startswith(_INPUT):
            on_host += pad(tensor.n_bytes, _HOST_ALIGNMENT)
            continue
        where = len(devices) - 1 if il is None else il * len(devices) // n_layer
        on_device[where] += pad(tensor.n_bytes, ALIGNMENT)
    devices = [
        _with(device, (Term("adapter", n_bytes, Basis.DERIVED, note="adapter weights"),))
        for device, n_bytes in zip(devices, on_device, strict=True)
    ]
    return devices, replace(host, extras=(*host.extras, Term("adapter", on_host, Basis.DERIVED)))


def _with_draft(
    devices: list[DeviceEstimate], host: HostEstimate, draft: ModelShape, runtime: Runtime
) -> tuple[list[DeviceEstimate], HostEstimate]:
    """The draft model has a context as long as the model's, with a cache in f16."""
    own = runtime.with_(
        cache_type_k="f16",
        cache_type_v="f16",
        n_gpu_layers=-1,
        n_cpu_moe=0,
        mmproj=None,
        draft_model=None,
        lora=(),
    )
    found = estimate_memory(draft, own, ("",) * len(devices))
    note = "draft model: weights, cache and compute buffer"
    devices = [
        _with(device, (Term("draft model", of_draft.total_bytes, Basis.DERIVED, note=note),))
        for device, of_draft in zip(devices, found.devices, strict=True)
    ]
    term = Term("draft model", found.host.total_bytes, Basis.DERIVED, note=note)
    return devices, replace(host, extras=(*host.extras, term))
