"""Loads the GPU catalogue that comes with the package."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ggufctl.core.gpus import GpuCatalogue

__all__ = ["load_catalogue"]


@cache
def load_catalogue() -> GpuCatalogue:
    """The GPUs that can be rented, with dated prices."""
    # importlib.resources costs more to import than the whole catalogue to read
    text = Path(__file__).with_name("data").joinpath("gpus.json").read_text(encoding="utf-8")
    return GpuCatalogue.from_document(json.loads(text))
