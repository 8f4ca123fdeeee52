"""The version, where reading it costs nothing."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
