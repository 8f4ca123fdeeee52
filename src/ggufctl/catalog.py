"""Loads the data that comes with the package: GPUs, their speed, prices; and cards of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ggufctl.config import CARDS, cards_table, config_path
from ggufctl.core.escape import quoted
from ggufctl.core.gpus import (
    Gpu,
    GpuCatalogue,
    is_called,
    letters_of,
    own_cards,
    own_overhead,
    with_speeds,
)
from ggufctl.core.money import Prices
from ggufctl.core.rates import Rates, apply_rates
from ggufctl.core.units import GIB
from ggufctl.errors import UsageError
from ggufctl.sources import cache as disk

__all__ = [
    "all_known",
    "keep_rates",
    "known_by",
    "load_cards",
    "load_catalogue",
    "load_prices",
    "shipped_catalogue",
    "with_cards",
]

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


def load_cards() -> tuple[Gpu, ...]:
    """Cards that people have: those known, as the configuration file has them, and its own.

    Raises: UsageError for a card in that file that cannot be planned with.
    """
    cards = list(_shipped_cards())
    said: set[int] = set()
    for name, values in cards_table().items():
        _check_name(name)
        place = next((i for i, card in enumerate(cards) if is_called(card, name)), len(cards))
        if place in said:
            raise UsageError(f"{_where(name)}: there is a table for {cards[place].name} already.")
        said.add(place)
        known = cards[place] if place < len(cards) else None
        cards[place : place + 1] = [_own_card(name, values, known)]
    return with_speeds(cards, _card_speeds())


@cache
def _shipped_cards() -> tuple[Gpu, ...]:
    return own_cards(_data("cards"))


@cache
def _card_speeds() -> dict[str, Any]:
    """Coefficients of cards, and those of what nobody measured, beside what all GPUs share."""
    return {**_data("speed"), **_data("cards")["speeds"]}


def with_cards(catalogue: GpuCatalogue, wanted: Iterable[str]) -> GpuCatalogue:
    """The catalogue with those cards of one's own that are asked for.

    Where something is asked for that is neither, all cards are in it, for whoever says so.

    Args:
        catalogue: of what can be rented.
        wanted: names such as `L4`, `RTX-4090` and `RTX-4090:2`.

    Raises: as `load_cards`.
    """
    names = [name.partition(":")[0] for name in wanted if isinstance(name, str)]
    names = [name for name in names if not catalogue.has(name)]
    if not names:
        return catalogue
    cards = load_cards()
    asked = [[card for card in cards if is_called(card, name)][:1] for name in names]
    if all(asked):
        cards = tuple(dict.fromkeys(card for found in asked for card in found))
    return _extended(catalogue, cards)


def all_known() -> GpuCatalogue:
    """What can be rented, and every card of one's own.

    Raises: as `load_cards`.
    """
    return _extended(load_catalogue(), load_cards())


def known_by(descriptions: Iterable[str]) -> GpuCatalogue:
    """What can be rented, and cards of one's own only where one of some GPUs is none of these.

    Args:
        descriptions: of GPUs, as their driver calls them; `CPU` and nothing are none.

    Raises: as `load_cards`, where they are needed.
    """
    # Statistics take long to import, and most plans need none.
    from ggufctl.core.calibration import gpu_name

    catalogue = load_catalogue()
    rented = {gpu.name for gpu in catalogue}
    found = {gpu_name(catalogue, text) for text in descriptions if text not in ("", "CPU")}
    return catalogue if found <= rented else all_known()


@lru_cache(maxsize=8)
def _extended(catalogue: GpuCatalogue, cards: tuple[Gpu, ...]) -> GpuCatalogue:
    # Whoever plans a long batch keeps what was found out by the catalogue it is of.
    return catalogue.with_own(cards)


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


_KEYS = ("memory-gib", "bandwidth-gb-s", "fp16-tflops", "compute-capability", "count")
_LEAST = _KEYS[:4]
"""What has to be said of a card that nothing is known of."""


_LONGEST_NAME = 60


def _where(name: str) -> str:
    return f"{quoted(str(config_path()))}: {CARDS}.{quoted(name)}"


def _check_name(name: str) -> None:
    """Raises: UsageError for a name that `--gpu` cannot ask for, or that is Modal's."""
    is_plain = all(letter.isalnum() or letter in " -_.+()" for letter in name)
    if not is_plain or len(name) > _LONGEST_NAME or letters_of(name) in ("", "auto"):
        raise UsageError(
            f"{_where(name)} is no name for --gpu.",
            f"Take up to {_LONGEST_NAME} letters, digits, dashes and spaces, such as My-48.",
        )
    rented = next((gpu for gpu in shipped_catalogue() if is_called(gpu, name)), None)
    if rented is not None:
        raise UsageError(
            f"{_where(name)}: {rented.name} is what Modal rents.",
            f"Call your own something else, such as My-{rented.name}.",
        )


def _own_card(name: str, values: Mapping[str, object], known: Gpu | None) -> Gpu:
    """A card as the configuration file describes it.

    Args:
        name: as it is written there.
        values: what it says.
        known: the card as it is known without; None for another one.

    Raises: UsageError for what no card is like.
    """
    where = _where(name)
    values = {key.replace("_", "-"): value for key, value in values.items()}
    unknown = sorted(set(values) - {*_KEYS, "usd-per-hour"})
    missing = [key for key in _LEAST if key not in values] if known is None else []
    if unknown or missing:
        what = f"has no {quoted(unknown[0])}" if unknown else f"lacks {' and '.join(missing)}"
        raise UsageError(f"{where} {what}.", f"It takes {', '.join(_KEYS)} and usd-per-hour.")

    def number(key: str, least: float, most: float) -> float:
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{where}: {key} must be a number.")
        if not least <= value <= most:
            raise UsageError(f"{where}: {key} must be from {least:g} to {most:g}.")
        return value

    base = known or replace(
        _shipped_cards()[0], name=name, device_name=name, aliases=(), note="", cuda_bytes=None
    )
    changes: dict[str, Any] = {}
    if "memory-gib" in values:
        gib = number("memory-gib", 1, 4096)
        changes |= {"cuda_bytes": int(gib * GIB), "nominal_gb": round(gib)}
    if "bandwidth-gb-s" in values:
        changes["bandwidth_gb_s"] = int(number("bandwidth-gb-s", 10, 100_000))
    if "fp16-tflops" in values:
        changes["fp16_tflops"] = int(number("fp16-tflops", 1, 100_000))
    if "compute-capability" in values:
        capability = number("compute-capability", 7.5, 20)
        changes |= {
            "compute_capability": f"{capability:.1f}",
            "has_bf16": capability >= 8,
            "overhead": own_overhead(_data("cards"), f"{capability:.1f}"),
        }
    if "count" in values:
        count = int(number("count", 1, 16))
        if count != values["count"]:
            raise UsageError(f"{where}: count must be a whole number.")
        changes |= {"n_own": count, "max_count": max(count, base.max_count)}
    if "usd-per-hour" in values:
        changes |= {
            "usd_per_hour": abs(float(number("usd-per-hour", 0, 1000))),
            "price_source": "the configuration file",
        }
    return replace(base, **changes)
