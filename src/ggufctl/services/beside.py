"""What is loaded beside a model: headers of it, and how llama-server is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from ggufctl.core.escape import quoted
from ggufctl.core.names import Kind, pick
from ggufctl.core.planner import Extras
from ggufctl.errors import GgufctlError
from ggufctl.sources.references import ReferenceKind, hub_endpoint
from ggufctl.sources.resolve import Role

if TYPE_CHECKING:
    from ggufctl.core.runtime import Runtime
    from ggufctl.services.plan import Workshop
    from ggufctl.sources.base import OnEvent
    from ggufctl.sources.resolve import ResolvedModel

__all__ = ["NOTHING", "Beside", "is_named_by_quant", "open_beside"]

_FILE_FLAGS = {Role.MMPROJ: "--mmproj", Role.DRAFT: "-md", Role.LORA: "--lora"}


@dataclass(frozen=True, slots=True)
class Beside:
    """What is loaded beside a model.

    Attributes:
        extras: headers of it; None when it is nothing.
        flags: llama-server's, which load just that.
        warnings: what has to be done before they can.
    """

    extras: Extras | None = None
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NOTHING = Beside()
"""Beside most models nothing is loaded."""


def open_beside(runtime: Runtime, workshop: Workshop, on_event: OnEvent) -> Beside:
    """The projector, the draft model and the adapters that settings name.

    Raises: as `sources.resolve.open_model`.
    """
    if not (runtime.mmproj or runtime.draft_model or runtime.lora):
        return NOTHING

    def opened(ref: str | None, role: Role) -> tuple[ResolvedModel, ...]:
        return (workshop.open_model(ref, role=role, on_event=on_event),) if ref else ()

    projectors = opened(runtime.mmproj, Role.MMPROJ)
    drafts = opened(runtime.draft_model, Role.DRAFT)
    adapters = tuple(found for ref in runtime.lora for found in opened(ref, Role.LORA))
    extras = Extras(
        mmproj=projectors[0].header if projectors else None,
        draft=workshop.shape(drafts[0].header) if drafts else None,
        lora=tuple(found.header for found in adapters),
    )
    flags: list[str] = []
    warnings: list[str] = []
    for role, group in ((Role.MMPROJ, projectors), (Role.DRAFT, drafts), (Role.LORA, adapters)):
        for found in group:
            mine, has_to_be_fetched = _flags(role, found)
            flags += mine
            if has_to_be_fetched:
                warnings.append(_how_to_fetch(role, found))
    return Beside(extras, tuple(flags), tuple(warnings))


def is_named_by_quant(resolved: ResolvedModel) -> bool:
    """Whether the quant alone names these files in their repository."""
    variant = resolved.variant
    if variant is None or variant.quant is None:
        return False
    models = [other for other in resolved.variants if other.kind is Kind.MODEL]
    try:
        return pick(models, variant.quant) == variant
    except GgufctlError:
        return False


def _flags(role: Role, found: ResolvedModel) -> tuple[tuple[str, ...], bool]:
    """`(flags, whether a file has to be fetched first)` for one file or set of them.

    Source: llama.cpp common/arg.cpp: a projector is taken from a path or a URL, a draft from a
    path or a repository, an adapter from a path alone.
    """
    first = found.files[0].path
    if found.source is ReferenceKind.LOCAL:
        return (_FILE_FLAGS[role], first), False
    if role is Role.MMPROJ:
        return ("--mmproj-url", _url(found)), False
    if role is Role.DRAFT and found.source is ReferenceKind.HUB:
        if is_named_by_quant(found) and found.variant is not None:
            return ("-hfd", f"{found.repo}:{found.variant.quant}"), False
        return ("-hfd", found.repo, "-md", first), False
    return (_FILE_FLAGS[role], _local_name(found)), True


def _url(found: ResolvedModel) -> str:
    """Where the first file can be had, without what is secret."""
    first = found.files[0].path
    if found.source is ReferenceKind.URL:
        return first
    return f"{hub_endpoint()}/{found.repo}/resolve/{found.commit}/{quote(first)}"


def _local_name(found: ResolvedModel) -> str:
    """What the first file is called once it was fetched to the current folder."""
    first = found.files[0].path
    return first.rpartition("/")[2] if found.source is ReferenceKind.URL else first


def _how_to_fetch(role: Role, found: ResolvedModel) -> str:
    what = f"llama-server's {_FILE_FLAGS[role]} takes a file"
    if found.source is ReferenceKind.URL:
        return f"{what}: fetch {quoted(_url(found), 0)} to {quoted(_local_name(found), 0)} first."
    name = quoted(_local_name(found), 0)
    return f"{what}: fetch {name} of {found.repo} at {found.commit[:12]} to the same path first."
