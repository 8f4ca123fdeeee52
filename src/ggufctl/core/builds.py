"""Builds of llama.cpp beside the pinned one, and what their graphs need less or more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.estimate import Basis, Estimate, Term
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import Runtime
from ggufctl.errors import UnsupportedModel

if TYPE_CHECKING:
    from ggufctl.core.graphs.builder import Builder

__all__ = ["PINNED", "Build", "as_built_by", "build_of", "with_bindings", "with_range"]

OTHER_LOW_PERMILLE, OTHER_HIGH_PERMILLE = 650, 1250
"""Range of a compute buffer whose graph was not compared with the pin's.

The one difference that is known, the room for mixed batches, makes -31 to +19 % over 300 models,
-8 % in the median.
"""


PYTHON_MIB = (60, 80, 120)
"""Interpreter, NumPy, pydantic, FastAPI and uvicorn: least, usual and most.  [MiB]

Measured at 75 MiB with CPython 3.11.
"""

_MIB = 1 << 20
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Build:
    """One build of llama.cpp, as far as memory depends on it.

    Attributes:
        name: in words, to name it in notes.
        is_known: whether its source was compared with the pin's, file by file.
        mixes_batches: whether graphs have room for batches of tokens and embeddings mixed.
            Builds without it also scale embeddings in one operation and gather recurrent
            states in two.
        unplanned: architectures that the build lacks, or has with a graph that is nothing like the
            pin's.
    """

    name: str
    is_known: bool = True
    mixes_batches: bool = True
    unplanned: frozenset[str] = frozenset()


PINNED = Build(f"llama.cpp {LLAMA_CPP_BUILD}")

_LLAMA_CPP_PYTHON = {
    # Its vendor/llama.cpp calls itself 0.5.0-dev, with ggml 0.25.3; the pin is 0.6.0 with 0.26.0.
    "0.3.36": Build(
        "llama-cpp-python 0.3.36",
        mixes_batches=False,
        unplanned=frozenset({"clef", "glm5-next", "qwen4exp"}),
    )
}
"""By version.  Source: vendor/llama.cpp of the sdist, compared with the pin."""


def build_of(engine: str, version: str) -> Build:
    """What an engine runs: the pin's graphs, but for llama-cpp-python, which bundles its own.

    Args:
        engine: as `core.launch.ENGINES` names it.
        version: of llama-cpp-python; empty = not known yet.
    """
    if engine != "llama-cpp-python":
        return PINNED
    unknown = Build(f"{engine} {version}".strip(), is_known=False)
    return _LLAMA_CPP_PYTHON.get(version, unknown)


@lru_cache(maxsize=8)
def as_built_by(build: Build, shape: ModelShape) -> ModelShape:
    """The shape with the graph that a build makes of it.

    Raises: UnsupportedModel for an architecture whose memory there nothing is known of.
    """
    arch = shape.arch
    if shape.hp.arch in build.unplanned:
        raise UnsupportedModel(
            f"{build.name} has the architecture {shape.hp.arch!r} in an early form or not at all.",
            "Use --engine llama-server or --engine xllamacpp.",
        )
    if arch is None or build.mixes_batches:
        return shape

    def earlier(builder: Builder) -> None:
        builder.is_before_mixing = True
        arch.build(builder)

    other = ModelShape(shape.hp.header)
    other.arch = replace(arch, build=earlier, mixed_batch=False)
    return other


def with_range(build: Build, shape: ModelShape, estimate: Estimate) -> Estimate:
    """The estimate with the range of what is not modelled of a build's graph.

    That is nothing for a build that was compared, on the host. Its CUDA backend arranges shared
    experts otherwise, so that their models have a range on GPUs.
    """
    is_rearranged = bool(estimate.devices) and _has_shared_experts(shape)
    if build.is_known and (build is PINNED or not is_rearranged):
        return estimate

    def widened(term: Term) -> Term:
        low = term.n_bytes * OTHER_LOW_PERMILLE // 1000
        high = term.n_bytes * OTHER_HIGH_PERMILLE // 1000
        note = f"{build.name} builds its graph otherwise"
        return Term(term.name, term.n_bytes, Basis.DERIVED, low, high, note)

    host = estimate.host
    return replace(
        estimate,
        devices=tuple(replace(d, compute=widened(d.compute)) for d in estimate.devices),
        host=host if build.is_known else replace(host, compute=widened(host.compute)),
    )


def with_bindings(estimate: Estimate, shape: ModelShape, runtime: Runtime) -> Estimate:
    """The estimate with the host memory that Python around llama.cpp takes.

    That is the interpreter with what the server imports, and arrays: of each token of a batch as
    many sequence ids as the context is long, of which one page is ever touched, of each token of
    the vocabulary a candidate, and the context's tokens. Room for a batch's logits is set aside
    and never written.

    Source: llama-cpp-python 0.3.36 llama_cpp/llama.py `Llama.__init__`, llama.cpp
    `llama_batch_init`.
    """
    n_ctx = runtime.n_ctx or shape.hp.n_ctx_train
    touched = min(n_ctx, runtime.n_batch) * min(4 * n_ctx, _PAGE)
    arrays = touched + 4 * n_ctx + 12 * shape.hp.n_vocab
    low, usual, high = (mib * _MIB + arrays for mib in PYTHON_MIB)
    term = Term("Python", usual, Basis.ESTIMATED, low, high)
    host = estimate.host
    return replace(estimate, host=replace(host, extras=(*host.extras, term)))


def _has_shared_experts(shape: ModelShape) -> bool:
    return any("ffn_up_shexp" in name for name in shape.hp.tensors)
