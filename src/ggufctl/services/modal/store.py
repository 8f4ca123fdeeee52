"""The models on the Volume: what lies there, what it costs, and how more comes and goes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from ggufctl import modal_app
from ggufctl.catalog import load_prices
from ggufctl.core.deployment import VOLUME_NAME, WeightFile, Weights, weights_folder, weights_mark
from ggufctl.core.escape import quoted
from ggufctl.core.selection import SelectedFile, Selection
from ggufctl.core.stored import (
    FetchPrice,
    OnTransfer,
    OnVerify,
    State,
    StoredFile,
    StoredModel,
    stored_models,
)
from ggufctl.errors import GgufctlError, UsageError
from ggufctl.modal_app import VolumeEntry
from ggufctl.remote.layout import OWN_FOLDER
from ggufctl.services.modal.weights import container_price, container_usd, download_weights
from ggufctl.sources.references import Reference, ReferenceKind
from ggufctl.sources.resolve import open_repo

__all__ = ["ModalPlace", "ModalStore", "modal_destination", "modal_store"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PARTIAL = re.compile(r"^(?P<path>.+)\.[0-9a-z]+\.partial$")
_STATES = {
    "verified": State.VERIFIED,
    "unverified": State.UNVERIFIED,
    "differs": State.DIFFERS,
    "missing": State.INCOMPLETE,
}


def modal_store(volume: str = VOLUME_NAME) -> ModalStore:
    """The models on a Volume.

    Raises: AccessDenied without a token; RemoteError.
    """
    modal_app.check_token()
    return ModalStore(volume)


def modal_destination(*, show_output: bool = False, volume: str = VOLUME_NAME) -> ModalPlace:
    """A Volume to download to, by a container that has no GPU.

    Raises: AccessDenied without a token; RemoteError.
    """
    modal_app.check_token()
    return ModalPlace(volume, show_output)


class ModalPlace:
    """A Volume as a place to download to."""

    name = "modal"

    def __init__(self, volume: str, show_output: bool) -> None:
        self.volume = volume
        self.show_output = show_output

    def where(self, selection: Selection) -> str:
        """Where the files would lie, for people."""
        return f"/{self._weights(selection).folder} on the Volume {self.volume}"

    def missing(self, selection: Selection) -> tuple[SelectedFile, ...]:
        """The files that are not there, whole and verified; nothing is hashed or fetched.

        Raises: AccessDenied; RemoteError.
        """
        lacking = {file.path for file in modal_app.missing_files(self._weights(selection))}
        return tuple(file for file in selection.files if file.path in lacking)

    def bytes_to_come(self, selection: Selection) -> int:
        """What would still be fetched, less what interrupted downloads have left.  [bytes]"""
        weights = self._weights(selection)
        left: dict[str, int] = {}
        own = PurePosixPath(weights.folder) / OWN_FOLDER
        for entry in modal_app.listing(weights.volume, weights.folder):
            path = PurePosixPath(entry.path)
            if path.is_relative_to(own) and (found := _PARTIAL.match(str(path.relative_to(own)))):
                left[found["path"]] = entry.size_bytes
        return sum(
            max(0, file.size_bytes - left.get(file.path, 0)) for file in self.missing(selection)
        )

    def room_bytes(self) -> int | None:
        """No limit is known: a Volume grows with what is put on it, and costs by its size."""
        return None

    def price(self, n_bytes: int) -> FetchPrice | None:
        """What fetching and keeping so much costs; None when nothing is fetched."""
        if not n_bytes:
            return None
        monthly = load_prices().storage_usd_per_month(n_bytes).high
        usd_per_hour, usd = container_usd(n_bytes)
        return FetchPrice(
            f"{container_price(n_bytes)}; at most ${monthly:.2f} per month for keeping it",
            usd_per_hour,
            usd,
            monthly,
        )

    def fetch(self, selection: Selection, on_event: OnTransfer) -> tuple[str, ...]:
        """Bring what is missing, and return where each file lies, in the selection's order.

        Raises: as `download_weights`.
        """
        weights = self._weights(selection)
        if self.missing(selection):
            download_weights(weights, on_event, show_output=self.show_output)
        return tuple(f"/{weights.folder}/{file.path}" for file in selection.files)

    def _weights(self, selection: Selection) -> Weights:
        if not selection.repo:
            raise UsageError(
                "A model behind a plain URL cannot be put on Modal yet.",
                "Download it with --to local, and serve its path.",
            )
        return Weights(
            files=tuple(WeightFile(f.path, f.size_bytes, f.sha256 or "") for f in selection.files),
            repo=selection.repo,
            commit=selection.commit,
            volume=self.volume,
        )


class ModalStore:
    """A Volume as a place that keeps models."""

    name = "modal"

    def __init__(self, volume: str) -> None:
        self.volume = volume

    def models(self) -> tuple[StoredModel, ...]:
        """Everything that is kept, by repository and quant.

        Raises: AccessDenied; RemoteError.
        """
        prices = load_prices()
        found = []
        for folder, entries in sorted(_by_folder(modal_app.listing(self.volume)).items()):
            repo, commit = _origin(folder)
            files, changed = _files(self.volume, folder, entries)
            used = entries.get(modal_app.used_path(folder))
            models = stored_models(
                self.name,
                repo,
                commit,
                files,
                last_used=used.changed_at if used is not None else None,
            )
            found += [
                replace(
                    model,
                    downloaded=max(changed[file.path] for file in model.files),
                    # What is free is free for the whole workspace: nobody can say for which model.
                    usd_per_month=prices.storage_usd_per_month(model.size_bytes).high,
                )
                for model in models
                if model.files
            ]
        return tuple(found)

    def freed_by(self, models: Sequence[StoredModel]) -> int:
        """What removing these models would free.  [bytes]"""
        return sum({f.location: f.size_bytes for model in models for f in model.files}.values())

    def remove(self, models: Sequence[StoredModel]) -> int:
        """Forget these models, and return what that freed.  [bytes]

        Raises: UsageError when one is deployed; AccessDenied; RemoteError.
        """
        _require_unused(models)
        freed = self.freed_by(models)
        gone = {self._path(file) for model in models for file in model.files}
        paths: list[str] = []
        for folder, entries in _by_folder(modal_app.listing(self.volume)).items():
            mine = {path for path in gone if path.startswith(f"{folder}/")}
            if not mine:
                continue
            own = f"{folder}/{OWN_FOLDER}/"
            kept = [p for p in entries if p not in mine and not p.startswith(own)]
            if kept:
                beside = {modal_app.record_path(folder, p.removeprefix(f"{folder}/")) for p in mine}
                paths += sorted(mine | (beside & set(entries)))
            else:
                paths.append(folder)
        modal_app.remove(self.volume, paths)
        return freed

    def verify(self, models: Sequence[StoredModel], on_event: OnVerify) -> tuple[StoredModel, ...]:
        """The same models, every file hashed by a container that has no GPU.

        Raises: AccessDenied; RemoteError.
        """
        folders: dict[str, list[StoredModel]] = {}
        for model in models:
            folders.setdefault(self._folder(model), []).append(model)
        states: dict[tuple[str, str], State] = {}
        for folder, mine in folders.items():
            whole = [f for model in mine for f in model.files if f.state is not State.INCOMPLETE]
            if not whole:
                continue

            def hear(event: Mapping[str, Any], folder: str = folder) -> None:
                if state := _STATES.get(str(event["state"])):
                    states[folder, str(event["file"])] = state
                on_event(event)

            modal_app.verify(_weights(self.volume, folder, mine[0], whole), hear)
        return tuple(
            model.with_states(
                {
                    path: state
                    for (folder, path), state in states.items()
                    if folder == self._folder(model)
                }
            )
            for model in models
        )

    def _path(self, file: StoredFile) -> str:
        return file.location.removeprefix(f"{self.volume}:/")

    def _folder(self, model: StoredModel) -> str:
        if model.repo:
            return weights_folder(model.repo, model.commit, ())
        return "/".join(self._path(model.files[0]).split("/")[:2])


def _by_folder(entries: Sequence[VolumeEntry]) -> dict[str, dict[str, VolumeEntry]]:
    """Folder of one commit, or of one upload → path → what lies there."""
    found: dict[str, dict[str, VolumeEntry]] = {}
    for entry in entries:
        parts = entry.path.split("/")
        n = 0
        if parts[0] == "hub":
            n = next((i + 1 for i, part in enumerate(parts[:4]) if _COMMIT.fullmatch(part)), 0)
        elif parts[0] == "local":
            n = 2
        if 0 < n < len(parts):
            found.setdefault("/".join(parts[:n]), {})[entry.path] = entry
    return found


def _origin(folder: str) -> tuple[str, str]:
    """Repository and commit of a folder; both empty for an upload."""
    parts = folder.split("/")
    return ("/".join(parts[1:-1]), parts[-1]) if parts[0] == "hub" else ("", "")


def _files(
    volume: str, folder: str, entries: Mapping[str, VolumeEntry]
) -> tuple[list[StoredFile], dict[str, Any]]:
    """The weights of a folder, what interrupted downloads left included, and their times."""
    files: dict[str, StoredFile] = {}
    changed = {}
    own = f"{folder}/{OWN_FOLDER}/"
    for place, entry in entries.items():
        location = f"{volume}:/{place}"
        if place.startswith(own):
            partial = _PARTIAL.match(place.removeprefix(own))
            if partial is None or f"{folder}/{partial['path']}" in entries:
                continue
            path, state = partial["path"], State.INCOMPLETE
        else:
            path = place.removeprefix(f"{folder}/")
            record = entries.get(modal_app.record_path(folder, path))
            is_verified = modal_app.is_verified(entry, record)
            state = State.VERIFIED if is_verified else State.UNVERIFIED
        files[path] = StoredFile(path, entry.size_bytes, None, state, location)
        changed[path] = entry.changed_at
    return list(files.values()), changed


def _weights(volume: str, folder: str, model: StoredModel, files: Sequence[StoredFile]) -> Weights:
    """Files to be hashed, with what the Hub says of those that were never verified."""
    hashes: dict[str, tuple[int, str]] = {}
    if model.repo and any(file.state is not State.VERIFIED for file in files):
        hashes = _hashes(model.repo, model.commit)
    return Weights(
        files=tuple(
            WeightFile(file.path, *hashes.get(file.path, (file.size_bytes, ""))) for file in files
        ),
        repo=model.repo,
        commit=model.commit,
        volume=volume,
        folder_name="" if model.repo else folder,
    )


def _hashes(repo: str, commit: str) -> dict[str, tuple[int, str]]:
    reference = Reference(repo, ReferenceKind.HUB, repo=repo, revision=commit)
    try:
        listing = open_repo(reference)
    except GgufctlError:
        return {}
    return {file.path: (file.size_bytes, file.sha256 or "") for file in listing.files}


def _require_unused(models: Sequence[StoredModel]) -> None:
    """Refuse to take away what a deployment would look for at its next start.

    Raises: UsageError.
    """
    marks: dict[str, str] = {}
    for model in models:
        location = model.files[0].location.partition(":/")[2] if model.files else ""
        folder = (
            weights_folder(model.repo, model.commit, ())
            if model.repo
            else "/".join(location.split("/")[:2])
        )
        marks[weights_mark(folder)] = model.ref
    for deployment in modal_app.list_deployments():
        ref = marks.get(deployment.tags.get("weights", ""))
        if ref is not None:
            raise UsageError(
                f"{quoted(ref)} may be in use: {quoted(deployment.name)} serves from its folder.",
                f"Stop it first: ggufctl stop {deployment.name}.",
            )
