"""Loads the data that comes with the package: GPUs, their speed, prices."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.money import Prices
from ggufctl.core.rates import Rates, apply_rates
from ggufctl.sources import cache as disk

__all__ = ["keep_rates", "load_catalogue", "load_prices", "shipped_catalogue"]

_KEPT = ("prices", "modal")


@cache
def load_catalogue() -> GpuCatalogue:
    """The GPUs that can be rented, with dated prices: the workspace's own where they were read."""
    rates = Rates.from_dict(disk.load(*_KEPT))
    shipped = shipped_catalogue()
    # Kept by another version, or by another hand: what a refresh would refuse is not used.
    if rates is None or not rates.is_plausible(shipped):
        return shipped
    return apply_rates(shipped, rates)


@cache
def shipped_catalogue() -> GpuCatalogue:
    """The catalogue as it came with the package."""
    prices = Prices.from_document(_data("prices"))
    return GpuCatalogue.from_document(_data("gpus"), _data("speed"), prices)


def load_prices() -> Prices:
    """Dated prices of everything that is rented beside GPUs."""
    prices = load_catalogue().prices
    assert prices is not None
    return prices


def keep_rates(rates: Rates | None) -> None:
    """Use the prices of a workspace from now on; None = those of the package again."""
    disk.store(None if rates is None else rates.to_dict(), *_KEPT)
    load_catalogue.cache_clear()


def _data(name: str) -> Any:
    # importlib.resources costs more to import than the whole catalogue to read
    path = Path(__file__).with_name("data").joinpath(f"{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))
