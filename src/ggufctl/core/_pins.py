"""The one build of llama.cpp that every formula here models and cites."""

from __future__ import annotations

LLAMA_CPP_BUILD = "b11434"
"""Build tag of llama.cpp. Moving it means measuring everything again."""

GGUF_VERSIONS = (2, 3)
"""Versions of the file format that this build reads."""

OLDEST_COMPUTE_CAPABILITY = "7.5"
"""Oldest CUDA architecture that the pinned image of llama.cpp has kernels for."""

OLDEST_DRIVER, WANTED_DRIVER = 525, 570
"""Drivers that CUDA 12 and 12.8 came with; the pinned image has 12.8."""
