"""Architectures and the functions that build their graphs.

A family is one file of this package. It registers each of its architectures with
`architecture`; `find` imports the file of an architecture when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypedDict, Unpack

from ggufctl.core.graphs.index import FAMILIES
from ggufctl.core.layout import build_draft_layout, build_layout

if TYPE_CHECKING:
    from ggufctl.core.graphs.builder import Builder
    from ggufctl.core.hparams import HParams
    from ggufctl.core.layout import ContextParams, Layout

__all__ = ["Architecture", "architecture", "find", "is_known"]

BuildGraph = Callable[["Builder"], None]


def _no_hparams(hp: HParams) -> None:
    """Architectures without hyper-parameters of their own."""


class _Traits(TypedDict, total=False):
    hparams: Callable[[HParams], None]
    layout: Callable[[HParams, ContextParams], Layout]
    loads: Callable[[HParams, str], bool]
    ties_output: bool
    mixed_batch: bool
    has_encoder: bool
    reserve_one_seq: bool
    period: int
    fused_ops: tuple[str, ...]
    caveat: str
    draft: BuildGraph
    draft_layout: Callable[[HParams, ContextParams], Layout]
    rolls_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How llama.cpp treats one `general.architecture`.

    Attributes:
        name: as in the header.
        build: adds the whole graph to a builder.
        hparams: completes the hyper-parameters (`load_arch_hparams`).
        layout: memory of a context, where it is not the usual one.
        loads: whether the loader keeps a tensor; None = all of the trunk's blocks.
        ties_output: whether `token_embd` stands in for a missing output matrix.
        mixed_batch: whether a batch may mix tokens and embeddings.
        has_encoder: whether outputs are reserved for the whole batch.
        reserve_one_seq: whether a second reserve assumes a single sequence.
        period: period, in blocks, of what the builder decides by the block's number
            alone (rope on every fourth block …), which no tensor shows.
        fused_ops: operations used only if every block's would land on its own device.
        caveat: what the reserved buffers do not tell about this architecture.
        draft: adds the graph of nextn/MTP blocks; None = llama.cpp has none.
        draft_layout: memory of their context, where it is not the usual one.
        rolls_back: whether recurrent states are kept to take drafted tokens back
            (llm_arch_supports_rs_rollback).
    """

    name: str
    build: BuildGraph
    hparams: Callable[[HParams], None] = _no_hparams
    layout: Callable[[HParams, ContextParams], Layout] | None = None
    loads: Callable[[HParams, str], bool] | None = None
    ties_output: bool = True
    mixed_batch: bool = True
    has_encoder: bool = False
    reserve_one_seq: bool = False
    period: int = 1
    fused_ops: tuple[str, ...] = ()
    caveat: str = ""
    draft: BuildGraph | None = None
    draft_layout: Callable[[HParams, ContextParams], Layout] | None = None
    rolls_back: bool = False

    def lay_out(self, hp: HParams, ctx: ContextParams) -> Layout:
        """Memory of a context."""
        if ctx.drafts:
            return (self.draft_layout or build_draft_layout)(hp, ctx)
        return (self.layout or build_layout)(hp, ctx)


_REGISTERED: dict[str, Architecture] = {}


def architecture(*names: str, **traits: Unpack[_Traits]) -> Callable[[BuildGraph], BuildGraph]:
    """Register a builder for the named architectures; the traits are `Architecture`'s."""

    def register(build: BuildGraph) -> BuildGraph:
        for name in names:
            _REGISTERED[name] = Architecture(name=name, build=build, **traits)
        return build

    return register


def is_known(name: str) -> bool:
    """Whether the pinned llama.cpp knows an architecture."""
    return name in FAMILIES


def find(name: str) -> Architecture | None:
    """Architecture of this name, or None if it has no graph here."""
    if name not in _REGISTERED:
        module = FAMILIES.get(name)
        if module is None or find_spec(f"ggufctl.core.graphs.{module}") is None:
            return None
        import_module(f"ggufctl.core.graphs.{module}")
    return _REGISTERED.get(name)
