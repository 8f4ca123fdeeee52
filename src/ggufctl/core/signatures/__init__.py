"""The table of everything that goes wrong: cause, fix, and the lines that show it.

Facts of llama.cpp are those of the pinned build and of what older builds, forks and wrappers
print instead (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import cache

from ggufctl.core.signatures import (
    files,
    general,
    gpu,
    memory,
    network,
    packaging,
    platform,
    settings,
)
from ggufctl.core.signatures.table import (
    Basis,
    Phase,
    Severity,
    Signature,
    SignatureIndex,
    Tier,
    Variant,
    required_texts,
)

__all__ = [
    "SIGNATURES",
    "Basis",
    "Phase",
    "Severity",
    "Signature",
    "SignatureIndex",
    "Tier",
    "Variant",
    "required_texts",
    "signature_index",
]

SIGNATURES: tuple[Signature, ...] = (
    *memory.SIGNATURES,
    *files.SIGNATURES,
    *gpu.SIGNATURES,
    *settings.SIGNATURES,
    *network.SIGNATURES,
    *platform.SIGNATURES,
    *packaging.SIGNATURES,
    *general.SIGNATURES,
)
"""Every cause, grouped by what it is about."""


@cache
def signature_index() -> SignatureIndex:
    """The table, ready to be searched."""
    return SignatureIndex(SIGNATURES)
