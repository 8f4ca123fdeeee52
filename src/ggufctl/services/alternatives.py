"""Other quants of the same model."""

from __future__ import annotations

from ggufctl.core.model import Model
from ggufctl.errors import GgufctlError
from ggufctl.sources.references import Reference, ReferenceKind
from ggufctl.sources.resolve import open_repo

__all__ = ["alternatives"]


def alternatives(model: Model, limit: int = 4) -> tuple[str, ...]:
    """References of smaller quants of the same repository, the largest first; empty if unknown."""
    if not model.repo:
        return ()
    try:
        listing = open_repo(
            Reference(model.repo, ReferenceKind.HUB, repo=model.repo, revision=model.commit)
        )
    except GgufctlError:
        return ()
    smaller = [
        variant
        for variant in listing.models
        if variant.complete and variant.quant and variant.size_bytes < model.size_bytes
    ]
    smaller.sort(key=lambda variant: -variant.size_bytes)
    return tuple(dict.fromkeys(f"{model.repo}:{variant.quant}" for variant in smaller))[:limit]
