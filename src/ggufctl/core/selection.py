"""Exactly the files that a plan needs of a repository, by name, at one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ggufctl.core.escape import quoted
from ggufctl.core.names import QUANT_QUALITY_ORDER, Kind, Variant
from ggufctl.errors import InvalidGguf, ModelNotFound, UsageError

__all__ = [
    "INCLUDABLE",
    "SelectedFile",
    "Selection",
    "best_projector",
    "best_quant",
    "quality_rank",
    "select",
]

INCLUDABLE = ("mmproj",)
"""What `--include` takes."""

_PROJECTORS = ("F16", "BF16", "F32")
"""What projectors are best kept in: F32 doubles the bytes and adds nothing to F16."""


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """One file that is to be had.

    Attributes:
        path: its exact name in the repository; the name alone behind a URL.
        size_bytes: of it.  [bytes]
        sha256: of it; None where nobody says.
        role: `model` or `mmproj`.
        url: of a file that is not on the Hub, query included; not safe to print.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    role: str = "model"
    url: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of one model, and what they were chosen from.

    Attributes:
        ref: what names this very choice, safe to print.
        repo: on the Hub; empty for a URL.
        commit: that every file is taken from.
        revision: the branch or tag that led there.
        quant: label, empty where there is none.
        files: model first, in shard order.
        reason: why this quant, empty when it was asked for.
    """

    ref: str
    repo: str
    commit: str
    revision: str
    quant: str
    files: tuple[SelectedFile, ...]
    reason: str = ""

    @property
    def size_bytes(self) -> int:
        """Of all files together.  [bytes]"""
        return sum(file.size_bytes for file in self.files)


def quality_rank(quant: str) -> int:
    """Place of a quant among all, the best first; what is not known comes last."""
    try:
        return QUANT_QUALITY_ORDER.index(quant)
    except ValueError:
        return len(QUANT_QUALITY_ORDER)


def best_quant(quants: Sequence[str]) -> str:
    """The quant of the best quality among these.

    Raises: ValueError when there are none.
    """
    return min(quants, key=quality_rank)


def best_projector(variants: Sequence[Variant], model: str) -> Variant:
    """The projector to load beside a model: the nearest in its folders, F16 before all others.

    Args:
        variants: all of the repository.
        model: path of the model's first file.

    Raises: ModelNotFound when the repository has none.
    Source: llama.cpp common/download.cpp `find_best_sibling`, for the folders.
    """
    folders = model.split("/")[:-1]

    def fits(variant: Variant) -> bool:
        mine = variant.paths[0].split("/")[:-1]
        return variant.kind is Kind.MMPROJ and mine == folders[: len(mine)]

    def order(variant: Variant) -> tuple[int, int, int]:
        label = variant.quant or ""
        first = _PROJECTORS.index(label) if label in _PROJECTORS else len(_PROJECTORS)
        return -variant.paths[0].count("/"), first, quality_rank(label)

    found = [variant for variant in variants if variant.complete and fits(variant)]
    if not found:
        raise ModelNotFound(
            "The repository has no multimodal projector (mmproj) for this model.",
            "Leave out --include mmproj.",
        )
    return min(found, key=order)


def select(
    model: Variant,
    variants: Sequence[Variant],
    sizes: Mapping[str, tuple[int, str | None]],
    include: Sequence[str] = (),
) -> tuple[SelectedFile, ...]:
    """The files of a variant, and of what is to be had beside it.

    Args:
        model: the variant.
        variants: all of the repository.
        sizes: path → `(bytes, sha256)`.
        include: of `INCLUDABLE`.

    Raises:
        UsageError: something else is to be included.
        InvalidGguf: the repository lacks a shard.
        ModelNotFound: it lacks what is to be included.
    """
    for wanted in include:
        if wanted not in INCLUDABLE:
            raise UsageError(f"--include takes {', '.join(INCLUDABLE)}, not {quoted(wanted)}.")
    if not model.complete:
        raise InvalidGguf(
            f"The repository lacks {len(model.missing)} of the files of "
            f"{quoted(model.paths[0], 0)}, such as {quoted(model.missing[0], 0)}.",
            "Take another quant, or ask its author for the file.",
        )
    parts = [(model, "model")]
    if "mmproj" in include:
        parts.append((best_projector(variants, model.paths[0]), "mmproj"))
    return tuple(
        SelectedFile(path, *sizes[path], role) for variant, role in parts for path in variant.paths
    )
