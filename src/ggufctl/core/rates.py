"""A workspace's own prices: read from what Modal says of them, checked, put into the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from math import isfinite
from typing import Any

from ggufctl.core.escape import quoted
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.money import WORKSPACE_PRICES
from ggufctl.errors import RemoteError

__all__ = ["PriceChange", "Rates", "apply_rates", "changes", "read_rates"]

GPU_PREFIX = "gpuhourcost"
CORE, MEMORY = "cpuhourcost", "memgibhourcost"
"""Modal's names of prices per hour, without what separates their words."""

ROUNDING = 0.005
"""Modal says prices per hour in cents and per second in millionths of a dollar."""

PLAUSIBLE = 5.0
"""A price is refused that is so many times, or such a part of, the one the package knows."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one workspace on one day.  [US dollars per hour]"""

    gpus: tuple[tuple[str, float], ...]
    """Name in the catalogue → price."""
    usd_per_core_hour: float
    usd_per_gib_hour: float
    as_of: str
    missing: tuple[str, ...] = ()
    """GPUs that can be asked for and that no price was given of."""

    def is_plausible(self, catalogue: GpuCatalogue) -> bool:
        """Whether every price is near the one that a catalogue came with."""
        prices = catalogue.prices
        before = {gpu.name: gpu.usd_per_hour for gpu in catalogue}
        if prices is None or not set(dict(self.gpus)) <= set(before):
            return False
        pairs = [(usd, before[name]) for name, usd in self.gpus]
        pairs.append((self.usd_per_core_hour, prices.usd_per_core_hour))
        pairs.append((self.usd_per_gib_hour, prices.usd_per_gib_hour))
        return bool(self.gpus) and all(_is_near(value, known) for value, known in pairs)

    def to_dict(self) -> dict[str, Any]:
        """As plain data that JSON can hold."""
        return {
            "gpus": dict(self.gpus),
            "usd_per_core_hour": self.usd_per_core_hour,
            "usd_per_gib_hour": self.usd_per_gib_hour,
            "as_of": self.as_of,
            "missing": list(self.missing),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Rates | None:
        """Out of `to_dict`; None when it is no such thing."""
        try:
            return cls(
                tuple((str(name), float(usd)) for name, usd in data["gpus"].items()),
                float(data["usd_per_core_hour"]),
                float(data["usd_per_gib_hour"]),
                date.fromisoformat(data["as_of"]).isoformat(),
                tuple(map(str, data["missing"])),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One price that differs from the one known before.  [US dollars per hour]"""

    name: str
    before: float
    after: float


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def read_rates(rates: Mapping[str, str], catalogue: GpuCatalogue, as_of: str) -> Rates:
    """Prices out of what Modal's API returns, checked against those of the package.

    Args:
        rates: Modal's name → price as text.
        catalogue: the GPUs, with the prices that the package came with.
        as_of: today.

    Raises: RemoteError for an answer without prices, or with one that cannot be right.
    Source: modal.Workspace.billing.rates(); its names, such as `gpu_hour_cost_a100_80gb`, are
    those that public programs read.
    """
    known = {_plain(name): text for name, text in rates.items()}
    found: dict[str, float] = {}
    missing = []
    for gpu in catalogue:
        text = next((known[key] for key in _keys(gpu) if key in known), None)
        if text is not None:
            found[gpu.name] = _price(gpu.name, text, gpu.usd_per_hour)
        elif gpu.modal_names:
            missing.append(gpu.name)
    prices = catalogue.prices
    if not found or prices is None or CORE not in known or MEMORY not in known:
        raise RemoteError(
            "Modal's answer holds no prices of GPUs, cores and memory that ggufctl knows.",
            "The prices that came with ggufctl stay in use; modal billing rates shows Modal's.",
        )
    return Rates(
        tuple(found.items()),
        _price("a core", known[CORE], prices.usd_per_core_hour),
        _price("memory", known[MEMORY], prices.usd_per_gib_hour),
        as_of,
        tuple(missing),
    )


def _keys(gpu: Gpu) -> list[str]:
    """Under which names a GPU's price may be; Modal calls the A10 by the name A10G too."""
    names = (gpu.name, *(name for name in gpu.modal_names if name[-1:].isalnum()))
    exact = [name for name in names if name != "A100"]
    return [GPU_PREFIX + _plain(name) for name in exact]


def _is_near(value: float, before: float) -> bool:
    return isfinite(value) and before / PLAUSIBLE <= value <= before * PLAUSIBLE


def _price(what: str, text: str, before: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not _is_near(value, before):
        raise RemoteError(
            f"Modal says {quoted(text)} dollars per hour of {what}, which cannot be right: "
            f"it was {before:g}.",
            "Nothing was changed.",
        )
    return value


def apply_rates(catalogue: GpuCatalogue, rates: Rates) -> GpuCatalogue:
    """The catalogue with a workspace's prices, each with its date and source."""
    known = dict(rates.gpus)

    def priced(gpu: Gpu) -> Gpu:
        if gpu.name not in known:
            return gpu
        return replace(
            gpu,
            usd_per_hour=known[gpu.name],
            price_as_of=rates.as_of,
            price_source=WORKSPACE_PRICES,
        )

    gpus = tuple(sorted(map(priced, catalogue), key=lambda gpu: gpu.usd_per_hour))
    prices = catalogue.prices
    if prices is not None:
        prices = replace(
            prices,
            usd_per_core_hour=rates.usd_per_core_hour,
            usd_per_gib_hour=rates.usd_per_gib_hour,
            as_of=rates.as_of,
            source=WORKSPACE_PRICES,
        )
    return replace(catalogue, gpus=gpus, prices=prices)


def changes(before: GpuCatalogue, after: GpuCatalogue) -> tuple[PriceChange, ...]:
    """Prices that differ by more than what rounding to cents does."""
    old = {gpu.name: gpu.usd_per_hour for gpu in before}
    pairs = [(gpu.name, old[gpu.name], gpu.usd_per_hour) for gpu in after]
    if before.prices is not None and after.prices is not None:
        was, now = before.prices, after.prices
        pairs.append(("core", was.usd_per_core_hour, now.usd_per_core_hour))
        pairs.append(("GiB of memory", was.usd_per_gib_hour, now.usd_per_gib_hour))
    return tuple(
        PriceChange(*pair) for pair in pairs if abs(pair[2] - pair[1]) >= ROUNDING * pair[1]
    )
