"""dots.llm1: the graph of bailingmoe2.

Source: llama.cpp src/models/dots1.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.bailingmoe2 import build_bailingmoe2
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("dots1", ties_output=False)
def build_dots1(b: Builder) -> None:
    """Build the dots1 graph."""
    build_bailingmoe2(b)
