"""Live prices of a Modal workspace: read, checked, kept with their date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ggufctl import catalog
from ggufctl.core.escape import quoted
from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.rates import PriceChange, Rates, apply_rates, changes, read_rates
from ggufctl.errors import GgufctlError
from ggufctl.sources.cache import cache_dir

__all__ = ["Refreshed", "refresh", "reset"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found."""

    catalogue: GpuCatalogue
    rates: Rates
    changes: tuple[PriceChange, ...]
    """Against the prices used before."""


def refresh() -> Refreshed:
    """Read the prices of the workspace, and use them from now on.

    Raises:
        AccessDenied: there is no token, or Modal does not take it.
        RemoteError: Modal cannot be reached, or answers what cannot be right.
        GgufctlError: the cache cannot be written.
    """
    from ggufctl.modal_app.running import live_rates

    before = catalog.load_catalogue()
    shipped = catalog.shipped_catalogue()
    rates = read_rates(live_rates(), shipped, datetime.now(UTC).date().isoformat())
    catalog.keep_rates(rates)
    after = apply_rates(shipped, rates)
    if catalog.load_catalogue() != after:
        raise GgufctlError(
            f"The prices cannot be kept in {quoted(str(cache_dir()))}.",
            "Make it writable, or name another directory with GGUFCTL_CACHE_DIR.",
        )
    return Refreshed(after, rates, changes(before, after))


def reset() -> GpuCatalogue:
    """Forget what a refresh has kept; the catalogue that ggufctl came with."""
    catalog.keep_rates(None)
    return catalog.shipped_catalogue()
