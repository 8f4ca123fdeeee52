"""Bytes, tokens and dollars as people read them: the only place where they become text."""

from __future__ import annotations

__all__ = ["format_gib", "format_memory", "format_tokens", "format_usd", "n_of"]

GIB = 1 << 30


def format_gib(n_bytes: int, *, digits: int = 1) -> str:
    """Memory in GiB without the unit: `42.7`.  Rounded to nearest; exact bytes are in JSON."""
    return f"{n_bytes / GIB:.{digits}f}"


def format_memory(n_bytes: int) -> str:
    """Memory with its unit: `0.6 GiB`, or `43 MiB` where tenths of a GiB would say nothing."""
    if n_bytes >= GIB // 10:
        return f"{format_gib(n_bytes)} GiB"
    return f"{-(-n_bytes >> 20) if n_bytes < 1 << 20 else round(n_bytes / (1 << 20))} MiB"


def format_tokens(n_tokens: int) -> str:
    """A context as its users write it: `8k`, `131072` as `128k`, `0` as `-`."""
    if n_tokens <= 0:
        return "-"
    if n_tokens >= 1 << 20 and n_tokens % (1 << 20) == 0:
        return f"{n_tokens >> 20}M"
    # Down, since it says what fits.
    return f"{n_tokens >> 10}k" if n_tokens >= 1 << 10 else str(n_tokens)


def n_of(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_usd(usd_per_hour: float) -> str:
    """A price without the currency: `0.80`, and `1,831` where cents say nothing."""
    if usd_per_hour >= 100:
        return f"{usd_per_hour:,.0f}"
    return f"{usd_per_hour:.2f}" if usd_per_hour >= 0.01 else f"{usd_per_hour:g}"
