"""Which models are the same to a plan: fine-tunes of one model share all their estimates."""

from __future__ import annotations

from collections.abc import Hashable

from ggufctl.core.header import Header
from ggufctl.core.placement import graph_classes

__all__ = ["graphs_key", "shape_key"]


class _Key:
    """A key that is as long as a header and hashed once, not at every look into a table."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, *parts: Hashable) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts == other._parts


def shape_key(header: Header) -> Hashable:
    """What estimates depend on: two headers with equal keys make equal `ModelShape`s.

    That is the architecture with its own keys, the size of the vocabulary, and the name, type and
    extents of every tensor. Names, licences, templates and the tokens themselves do not matter.
    """
    # As a list first: a tuple of a generator takes twice as long.
    weights = tuple([(t.name, t.type, t.shape, t.n_bytes) for t in header.tensors.values()])
    return _Key(_parameters(header), weights)


def graphs_key(header: Header) -> Hashable:
    """What `core.memory.Graphs` depend on: quants of one model have most of them in common."""
    return _Key(_parameters(header), graph_classes(header.architecture, header.tensors))


def _parameters(header: Header) -> Hashable:
    architecture = header.architecture
    own = sorted(
        (key, value) for key, value in header.metadata.items() if key.startswith(f"{architecture}.")
    )
    return (
        architecture,
        header.n_vocab,
        tuple((key, type(value).__name__, value) for key, value in own),
    )
