"""Downloads: which files, where to, whether there is room, and then the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ggufctl.catalog import load_catalogue, with_cards
from ggufctl.core.escape import quoted
from ggufctl.core.planner import Allowed, Constraints, parse_gpu_list
from ggufctl.core.runtime import Runtime
from ggufctl.core.selection import (
    SelectedFile,
    Selection,
    best_quant,
    select,
)
from ggufctl.core.stored import Destination, FetchPrice, OnTransfer
from ggufctl.errors import (
    AccessDenied,
    DoesNotFit,
    GgufctlError,
    ModelNotFound,
    RemoteError,
    UsageError,
)
from ggufctl.remote.layout import can_be_kept
from ggufctl.services.plan import plan_reference
from ggufctl.sources.base import OnEvent, ignore
from ggufctl.sources.fetch import url_name, whole_url
from ggufctl.sources.references import Reference, ReferenceKind, parse_reference
from ggufctl.sources.resolve import RepoListing, open_model, open_repo, variant_of

__all__ = ["DownloadPlan", "destination", "download", "plan_download"]


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """Everything that would happen, before any of it does.

    Attributes:
        selection: the files.
        to: `local`, `modal`, or the folder.
        where: the files would lie.
        missing: files that are not there yet, whole and verified.
        bytes_to_come: less what interrupted downloads have left.  [bytes]
        room_bytes: that is left there; None where no limit is known.  [bytes]
        price: of fetching and keeping it; None where that costs nothing.
    """

    selection: Selection
    to: str
    where: str
    missing: tuple[SelectedFile, ...]
    bytes_to_come: int
    room_bytes: int | None
    price: FetchPrice | None = None

    @property
    def has_room(self) -> bool:
        """Whether what is to come fits."""
        return self.room_bytes is None or self.bytes_to_come <= self.room_bytes


def destination(to: str, *, show_output: bool = False) -> Destination:
    """The place that `--to` names.

    Args:
        to: `modal`, `local`, or a folder.
        show_output: Modal's own words on stderr.

    Raises: AccessDenied without a token of Modal's; UsageError.
    """
    if to.casefold() == "modal":
        from ggufctl.services.modal.store import modal_destination

        try:
            return modal_destination(show_output=show_output)
        except AccessDenied as error:
            raise AccessDenied(
                error.message, "Run modal setup, or download to this machine with --to local."
            ) from None
    from ggufctl.sources.store import FolderPlace, HubCachePlace, named_folder

    if to.casefold() == "local":
        return HubCachePlace()
    if not to.strip():
        raise UsageError("--to names nothing.", "Use modal, local or a folder.")
    return FolderPlace(named_folder(to, "--to"))


def plan_download(
    ref: str,
    place: Destination,
    *,
    quant: str = "auto",
    gpu: str = "auto",
    include: Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> DownloadPlan:
    """What a download would fetch, and whether there is room for it. Fetches headers at most.

    Args:
        ref: as plans take it, but for files of this machine.
        place: where to.
        quant: label, or `auto` for the one that `plan` picks.
        gpu: as plans take it, a bare name being one of it; the best quant that fits is taken.
        include: `mmproj` for a projector.
        on_event: hears of look-ups.

    Raises: as reading the model does; DoesNotFit when no quant fits the GPU that was named.
    """
    selection = choose_files(ref, quant=quant, gpu=gpu, include=include, on_event=on_event)
    for file in selection.files:
        if not can_be_kept(file.path):
            raise UsageError(f"{quoted(file.path)} is not the name of a file that can be kept.")
    lacking = place.missing(selection)
    to_come = place.bytes_to_come(selection) if lacking else 0
    return DownloadPlan(
        selection=selection,
        to=place.name,
        where=place.where(selection),
        missing=lacking,
        bytes_to_come=to_come,
        room_bytes=place.room_bytes(),
        price=place.price(to_come),
    )


def download(plan: DownloadPlan, place: Destination, on_event: OnTransfer) -> tuple[str, ...]:
    """Fetch what a plan lacks, and return where each file lies.

    Raises: DoesNotFit when there is no room; as `remote.transfer.transfer`.
    """
    if not plan.has_room:
        raise DoesNotFit(
            f"The download has {plan.bytes_to_come} bytes and {plan.where} has "
            f"{plan.room_bytes} left.",
            "Make room (ggufctl models prune), or choose another place with --to.",
        )
    return place.fetch(plan.selection, on_event)


def choose_files(
    ref: str,
    *,
    quant: str = "auto",
    gpu: str = "auto",
    include: Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> Selection:
    """Exactly the files that are needed, at one commit.

    Raises: as `plan_download`.
    """
    reference = parse_reference(ref)
    # Looked at also where the quant is named: a GPU that does not exist is a mistake.
    gpus = parse_gpu_list(gpu)
    Allowed.by(Constraints(gpus=gpus), with_cards(load_catalogue(), gpus))
    is_auto = quant.casefold() in ("", "auto")
    if reference.kind is ReferenceKind.LOCAL:
        raise UsageError(f"{reference.text!r} is on this machine already.")
    if reference.kind is ReferenceKind.URL:
        return _of_url(reference, is_auto, include, on_event)
    if not is_auto and (
        reference.path or (reference.quant or quant).casefold() != quant.casefold()
    ):
        raise UsageError(
            f"--quant {quant} is not what {reference.text!r} says.", "Leave one of them out."
        )
    reason, wanted = "", reference
    if is_auto and not reference.quant and not reference.path:
        wanted, reason = _planned(reference, gpu, on_event)
    elif not is_auto and not reference.quant:
        wanted = replace(reference, quant=quant)
    try:
        listing = open_repo(wanted, on_event=on_event)
        return _of_listing(listing, reference, include, reason)
    except ModelNotFound as error:
        raise _unless_offline(error) from None


def _unless_offline(error: ModelNotFound) -> GgufctlError:
    """What is not found in a cache alone may well be there when the Hub is asked."""
    from ggufctl.sources.hub import is_offline

    if not is_offline():
        return error
    return RemoteError(
        f"Offline mode is on, and among what is cached: {error.message}",
        "Unset HF_HUB_OFFLINE to ask the Hub.",
    )


def _of_listing(
    listing: RepoListing, asked: Reference, include: Sequence[str], reason: str
) -> Selection:
    variant = variant_of(listing)
    sizes = {file.path: (file.size_bytes, file.sha256) for file in listing.files}
    files = select(variant, listing.variants, sizes, include)
    same = [v for v in listing.models if v.quant == variant.quant]
    by_quant = variant.quant is not None and len(same) == 1
    name = listing.repo + (f"@{asked.revision}" if asked.revision else "")
    return Selection(
        ref=f"{name}:{variant.quant}" if by_quant else f"{name}/{variant.paths[0]}",
        repo=listing.repo,
        commit=listing.commit,
        revision=asked.revision or "main",
        quant=variant.quant or "",
        files=files,
        reason=reason,
    )


def _planned(reference: Reference, gpu: str, on_event: OnEvent) -> tuple[Reference, str]:
    """What `plan` picks of a repository, at the commit that it saw, and why.

    Raises: DoesNotFit when a GPU was named that holds none.
    """
    constraints = Constraints(gpus=parse_gpu_list(_one_each(gpu)))
    plan = plan_reference(reference.text, Runtime(), constraints, on_event=on_event)
    # What was just listed is known at its commit, and costs no second request.
    at_commit = replace(reference, revision=plan.model.commit)
    picked = replace(at_commit, path=plan.model.files[0].path)
    if plan.choice is not None:
        row = plan.choice.row
        name = row.gpu.name if row.count == 1 else f"{row.count}×{row.gpu.name}"
        return picked, f"{plan.model.quant or 'the model'} is what plan picks, for {name}"
    if gpu.casefold() == "auto":
        return picked, "it fits no GPU that can be rented"
    fitting = [each.quant for each in plan.quants if each.choice is not None]
    if not fitting:
        plan.require_choice()
    best = best_quant(fitting)
    return replace(at_commit, quant=best), f"{best} is the best quant that fits {gpu}"


def _one_each(gpus: str) -> str:
    """A list of GPUs in which a bare name means one of them: what fits an L4 fits one L4."""
    if gpus.casefold() == "auto":
        return gpus
    return ",".join(name if ":" in name else f"{name}:1" for name in gpus.split(","))


def _of_url(
    reference: Reference, is_auto: bool, include: Sequence[str], on_event: OnEvent
) -> Selection:
    if not is_auto or include:
        raise UsageError(
            f"{reference.text!r} is one file: --quant and --include pick from a repository."
        )
    model = open_model(reference, on_event=on_event)
    files = tuple(
        SelectedFile(url_name(file.path), file.size_bytes, url=whole_url(file.path, (reference,)))
        for file in model.files
    )
    return Selection(reference.text, "", "", "", "", files)
