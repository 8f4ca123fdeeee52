"""How far a download is, in words."""

from __future__ import annotations

__all__ = ["Tenths", "format_bytes", "format_seconds", "progress_text", "seconds_left"]

_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def format_bytes(n_bytes: int) -> str:
    """The size of a download as the Hub shows it, in decimal units: `4.92 GB`."""
    for unit, name in _UNITS:
        if n_bytes >= unit:
            return f"{n_bytes / unit:.2f} {name}"
    return f"{n_bytes} B"


def format_seconds(seconds: float) -> str:
    """A time as people say it: `0.4 s`, `45 s`, `3 min`, `1 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def seconds_left(done_bytes: int, all_bytes: int, bytes_per_second: int) -> float | None:
    """What is left to wait; None while nobody can know.  [s]"""
    if bytes_per_second <= 0:
        return None
    return max(all_bytes - done_bytes, 0) / bytes_per_second


def progress_text(done_bytes: int, all_bytes: int, bytes_per_second: int) -> str:
    """One line: `40% of 4.92 GB, 105.30 MB/s, 28 s left`."""
    share = 100 * done_bytes // all_bytes if all_bytes else 100
    text = f"{share}% of {format_bytes(all_bytes)}"
    left = seconds_left(done_bytes, all_bytes, bytes_per_second)
    if left is None or done_bytes >= all_bytes:
        return text
    return f"{text}, {format_bytes(bytes_per_second)}/s, {format_seconds(left)} left"


class Tenths:
    """Says when another tenth of something is done."""

    def __init__(self) -> None:
        self._last = 0

    def is_new(self, done_bytes: int, all_bytes: int) -> bool:
        """Whether this is the first time that so many tenths are done."""
        tenths = 10 * done_bytes // all_bytes if all_bytes else 10
        if tenths <= self._last:
            return False
        self._last = tenths
        return True
