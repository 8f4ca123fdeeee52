"""Which models are the same to a plan: fine-tunes of one model share all their estimates."""

from __future__ import annotations

from collections.abc import Hashable

from ggufctl.core.header import Header

__all__ = ["shape_key"]


def shape_key(header: Header) -> Hashable:
    """What estimates depend on: two headers with equal keys make equal `ModelShape`s.

    That is the architecture with its own keys, the size of the vocabulary, and the name, type and
    extents of every tensor. Names, licences, templates and the tokens themselves do not matter.
    """
    architecture = header.architecture
    own = sorted(
        (key, value) for key, value in header.metadata.items() if key.startswith(f"{architecture}.")
    )
    return (
        architecture,
        header.n_vocab,
        tuple((key, type(value).__name__, value) for key, value in own),
        tuple((t.name, t.type, t.shape, t.n_bytes) for t in header.tensors.values()),
    )
