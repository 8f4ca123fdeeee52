"""Bytes, tokens and dollars as people read them: the only place where they become text."""

from __future__ import annotations

__all__ = ["format_gib", "format_tokens", "format_usd"]

GIB = 1 << 30


def format_gib(n_bytes: int, *, digits: int = 1) -> str:
    """Memory in GiB without the unit: `42.7`.  Rounded to nearest; exact bytes are in JSON."""
    return f"{n_bytes / GIB:.{digits}f}"


def format_tokens(n_tokens: int) -> str:
    """A context as its users write it: `8k`, `131072` as `128k`, `0` as `-`."""
    if n_tokens <= 0:
        return "-"
    if n_tokens >= 1 << 20 and n_tokens % (1 << 20) == 0:
        return f"{n_tokens >> 20}M"
    # Down, since it says what fits.
    return f"{n_tokens >> 10}k" if n_tokens >= 1 << 10 else str(n_tokens)


def format_usd(usd_per_hour: float) -> str:
    """A price without the currency: `0.80`."""
    return f"{usd_per_hour:.2f}" if usd_per_hour >= 0.01 else f"{usd_per_hour:g}"
