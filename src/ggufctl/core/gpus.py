"""GPUs that can be rented, and cards of one's own: frozen rows, their names, CUDA's own share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ggufctl.core.estimate import Basis, DeviceEstimate, Estimate, Term
from ggufctl.core.money import Prices
from ggufctl.core.speed import GpuSpeed, speeds_from_document
from ggufctl.errors import UsageError

__all__ = [
    "CudaOverhead",
    "Gpu",
    "GpuCatalogue",
    "is_called",
    "letters_of",
    "own_cards",
    "own_overhead",
    "with_overhead",
    "with_speeds",
]

_MIB = 1 << 20

POOL_BYTES = 16 * _MIB
"""Scratch of operations that every model needs, grown in granules of 2 MiB.  [bytes]"""

HOPPER = 9.0
"""Compute capability from which cuBLAS is given more memory to work in."""

POOL_COMPUTE_SHARE = 10
"""A further tenth of the compute buffer goes to scratch: quantised activations and the like."""


@dataclass(frozen=True, slots=True)
class CudaOverhead:
    """What a CUDA process takes beside the buffers that llama.cpp prints.  [bytes]"""

    context_low_bytes: int
    context_best_bytes: int
    context_high_bytes: int
    cublas_workspace_bytes: int
    source: str
    is_calibrated: bool = False

    def term(self, compute_bytes: int) -> Term:
        """The overhead of one device beside a compute buffer of this size.

        Source: llama.cpp ggml/src/ggml-cuda/common.cuh for the workspace and the pool; the
        context is a figure of the driver's.
        """
        pool = POOL_BYTES + compute_bytes // POOL_COMPUTE_SHARE
        fixed = self.cublas_workspace_bytes
        return Term(
            "CUDA overhead",
            self.context_best_bytes + fixed + pool,
            Basis.ESTIMATED,
            self.context_low_bytes,
            self.context_high_bytes + fixed + 2 * pool,
            self.source,
        )


@dataclass(frozen=True, slots=True)
class Gpu:
    """One type of GPU as a provider rents it."""

    name: str
    modal_names: tuple[str, ...]
    """Every name Modal knows it by, its own first; empty when it cannot be asked for."""
    device_name: str
    nominal_gb: int
    cuda_bytes: int | None
    """What a CUDA program sees; None when nobody knows.  [bytes]"""
    bandwidth_gb_s: int
    fp16_tflops: int
    compute_capability: str
    has_bf16: bool
    max_count: int
    """Most of them in one container."""
    usd_per_hour: float
    price_as_of: str
    price_source: str
    overhead: CudaOverhead
    note: str = ""
    speed: GpuSpeed | None = field(default=None, compare=False, repr=False)
    """Coefficients of its speed; None in a catalogue that was read without them."""
    n_own: int = 0
    """How many of it the user has, where Modal has nothing to do with it; else 0."""
    aliases: tuple[str, ...] = ()
    """Other names of a card of one's own."""

    @property
    def is_own(self) -> bool:
        """Whether it is a card of the user's, or rented elsewhere: nothing of Modal's is priced."""
        return self.n_own > 0

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of it that are looked at where none is said."""
        return tuple(range(1, (self.n_own or self.max_count) + 1))

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability as numbers that compare."""
        major, _, minor = self.compute_capability.partition(".")
        return int(major), int(minor)

    def asked_for_as(self, name: str) -> Gpu:
        """The same GPU, asked of Modal by the name given; any other name changes nothing.

        Modal's names of one GPU differ in what it may bring instead: `H100!` brings no H200.
        """
        wanted = name.strip().casefold()
        rest = [other for other in self.modal_names if other.casefold() != wanted]
        meant = [other for other in self.modal_names if other.casefold() == wanted]
        return replace(self, modal_names=(*meant, *rest)) if meant else self

    def price(self, count: int) -> float:
        """Price of `count` of them.  [US dollars per hour]"""
        return round(self.usd_per_hour * count, 6)

    def modal_gpu(self, count: int) -> str:
        """What Modal's `gpu=` takes for `count` of them."""
        name = self.modal_names[0] if self.modal_names else self.name
        return name if count == 1 else f"{name}:{count}"


@dataclass(frozen=True, slots=True)
class GpuCatalogue:
    """All types known, the cheapest first."""

    gpus: tuple[Gpu, ...]
    as_of: str
    prices: Prices | None = None
    """Of what is rented beside GPUs."""

    def __iter__(self) -> Iterator[Gpu]:
        return iter(self.gpus)

    def has(self, name: str) -> bool:
        """Whether something is called so."""
        return self._called(name) is not None

    def find(self, name: str) -> Gpu:
        """The GPU of this name, or of any name Modal has for it; case does not matter.

        A name that may bring either of two cards means the smaller one.

        Raises: UsageError with the names there are.
        """
        found = self._called(name)
        if found is not None:
            return found
        # Only a typo is worth importing what knows about names.
        from ggufctl.core.names import did_you_mean

        names = [gpu.name for gpu in self.gpus]
        near = did_you_mean(name, names)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"There is no GPU {name!r} in the catalogue.",
            f"{meant}The GPUs are {', '.join(names)}.",
        )

    def _called(self, name: str) -> Gpu | None:
        wanted = name.strip().casefold()
        for gpu in self.gpus:
            if gpu.name.casefold() == wanted:
                return gpu
        for gpu in self.gpus:
            if wanted in (other.casefold() for other in gpu.modal_names):
                return gpu
        return next((gpu for gpu in self.gpus if gpu.is_own and is_called(gpu, name)), None)

    def with_own(self, cards: Iterable[Gpu]) -> GpuCatalogue:
        """The catalogue with cards of one's own after what can be rented."""
        return replace(self, gpus=(*self.gpus, *cards))

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        speeds: Mapping[str, Any] | None = None,
        prices: Prices | None = None,
    ) -> GpuCatalogue:
        """The catalogue out of its JSON document.

        Args:
            document: `data/gpus.json`.
            speeds: `data/speed.json`; without it no speed can be predicted.
            prices: of the rest; without them nothing but GPUs is priced.
        """
        gpus = tuple(_gpu(row, _overhead(row["overhead"])) for row in document["gpus"])
        return cls(with_speeds(gpus, speeds) if speeds else gpus, str(document["as_of"]), prices)


def own_cards(document: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Cards that people have, out of their JSON document, without speeds.

    Args:
        document: `data/cards.json`.
    """
    return tuple(
        replace(
            _gpu({**_UNRENTED, **row}, own_overhead(document, row["compute_capability"])),
            max_count=document["max_count"],
            n_own=1,
            aliases=tuple(row["aliases"]),
        )
        for row in document["cards"]
    )


_UNRENTED = {
    "modal_names": (),
    "max_count": 1,
    "usd_per_hour": 0.0,
    "price_as_of": "",
    "price_source": "",
}


def own_overhead(document: Mapping[str, Any], compute_capability: str) -> CudaOverhead:
    """What CUDA takes of a card of one's own.

    Args:
        document: `data/cards.json`.
        compute_capability: such as `8.9`.

    Source: llama.cpp ggml/src/ggml-cuda/common.cuh `cublas_handle` for the workspace.
    """
    is_large = float(compute_capability) >= HOPPER
    workspace_bytes = (32 if is_large else 4) * _MIB
    return _overhead({**document["overhead"], "cublas_workspace_bytes": workspace_bytes})


def is_called(card: Gpu, name: str) -> bool:
    """Whether a card is called so: `RTX-4090`, `rtx 4090` and what its driver calls it."""
    names = (card.name, *card.modal_names, *card.device_name.split(" / "), *card.aliases)
    return letters_of(name) in map(letters_of, names)


def letters_of(name: str) -> str:
    """What names are told apart by; empty where nothing is left of one."""
    letters = "".join(letter for letter in name.casefold() if letter.isalnum())
    return letters.removeprefix("nvidia").removeprefix("geforce")


def with_speeds(gpus: Iterable[Gpu], speeds: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """The same with the coefficients of their speed.

    Args:
        gpus: without them.
        speeds: `data/speed.json`.
    """
    gpus = tuple(gpus)
    found = speeds_from_document(
        speeds,
        {gpu.name: gpu.bandwidth_gb_s for gpu in gpus},
        {gpu.name: gpu.fp16_tflops for gpu in gpus},
    )
    return tuple(replace(gpu, speed=found[gpu.name]) for gpu in gpus)


def _gpu(row: Mapping[str, Any], overhead: CudaOverhead) -> Gpu:
    return Gpu(
        name=row["name"],
        modal_names=tuple(row["modal_names"]),
        device_name=row["device_name"],
        nominal_gb=row["nominal_gb"],
        cuda_bytes=row["cuda_bytes"],
        bandwidth_gb_s=row["bandwidth_gb_s"],
        fp16_tflops=row["fp16_tflops"],
        compute_capability=row["compute_capability"],
        has_bf16=row["has_bf16"],
        max_count=row["max_count"],
        usd_per_hour=row["usd_per_hour"],
        price_as_of=row["price_as_of"],
        price_source=row["price_source"],
        overhead=overhead,
        note=row["note"],
    )


def _overhead(row: Mapping[str, Any]) -> CudaOverhead:
    return CudaOverhead(
        row["context_low_bytes"],
        row["context_best_bytes"],
        row["context_high_bytes"],
        row["cublas_workspace_bytes"],
        row["source"],
        row["calibrated"],
    )


def with_overhead(estimate: Estimate, gpus: Iterable[Gpu]) -> Estimate:
    """The same estimate with each device named for its GPU and given its CUDA overhead."""

    def on(device: DeviceEstimate, gpu: Gpu) -> DeviceEstimate:
        # Made anew, not replaced: that is looked up field by field, for every row of a plan.
        return DeviceEstimate(
            name=device.name,
            gpu=gpu.name,
            weights=device.weights,
            kv_cache=device.kv_cache,
            recurrent=device.recurrent,
            compute=device.compute,
            overhead=gpu.overhead.term(device.compute_bytes),
            extras=device.extras,
            peak=device.peak,
        )

    devices = tuple(on(device, gpu) for device, gpu in zip(estimate.devices, gpus, strict=False))
    return replace(estimate, devices=devices)
