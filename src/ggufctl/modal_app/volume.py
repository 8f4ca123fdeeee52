"""The Volume with the weights: what lies on it, and how more comes there."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import modal
import modal.exception

from ggufctl.core.deployment import APP_PREFIX, TOOL_TAG, WeightFile, Weights, weights_mark
from ggufctl.errors import GgufctlError, RemoteError
from ggufctl.modal_app.client import one_line, output, translated
from ggufctl.modal_app.image import python_version, with_source
from ggufctl.remote.layout import OWN_FOLDER, own_name
from ggufctl.remote.transfer import URLS_VARIABLE

__all__ = [
    "CPU_CORES",
    "CPU_MEMORY_MIB",
    "BeingFetched",
    "VolumeEntry",
    "download",
    "is_being_fetched",
    "is_verified",
    "listing",
    "longest_seconds",
    "mark_used",
    "missing_files",
    "read_note",
    "record_path",
    "remove",
    "upload",
    "used_path",
    "verify",
]

SECONDS_PER_GB = 30
"""Slower than a tenth of the downloads of large files that anyone has published."""

CPU_CORES = 4.0
CPU_MEMORY_MIB = 16_384
"""Of a container that fetches or hashes: xet at its fastest wants cores and room for buffers."""


MAX_NOTE_BYTES = 1 << 20
"""A note is shorter than this."""

DOWNLOAD_APP = f"{APP_PREFIX}download"


class BeingFetched(RemoteError):
    """Somebody else is fetching the same files."""

    code = "being_fetched"


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """One file on a Volume.

    Attributes:
        path: from the Volume's root, without a slash in front.
        size_bytes: of it.  [bytes]
        changed_at: when.
    """

    path: str
    size_bytes: int
    changed_at: datetime


def _volume(name: str) -> modal.Volume:
    return modal.Volume.from_name(name, create_if_missing=True, version=2)


def listing(volume: str, folder: str = "") -> tuple[VolumeEntry, ...]:
    """Every file on a Volume, or in a folder of it; none where there is no such thing.

    Raises: as `translated`.
    """
    with translated("listing the Volume"):
        try:
            found = modal.Volume.from_name(volume).listdir(f"/{folder}", recursive=True)
        except (modal.exception.NotFoundError, FileNotFoundError):
            return ()
    return tuple(
        VolumeEntry(entry.path.lstrip("/"), entry.size, datetime.fromtimestamp(entry.mtime, UTC))
        for entry in found
        if entry.type.name == "FILE"
    )


def record_path(folder: str, path: str) -> str:
    """Where it is kept on the Volume that a file was verified."""
    return str(PurePosixPath(folder) / OWN_FOLDER / f"{own_name(path)}.json")


def used_path(folder: str) -> str:
    """What is written anew whenever something in a folder is deployed."""
    return str(PurePosixPath(folder) / OWN_FOLDER / "last-used")


def missing_files(weights: Weights) -> tuple[WeightFile, ...]:
    """The files that are not on their Volume, whole and, if they are the Hub's, verified.

    Raises: as `translated`.
    """
    entries = {entry.path: entry for entry in listing(weights.volume, weights.folder)}

    def is_whole(file: WeightFile) -> bool:
        entry = entries.get(str(PurePosixPath(weights.folder) / file.path))
        if entry is None or entry.size_bytes != file.size_bytes:
            return False
        return not weights.repo or is_verified(entry, entries.get(_record_of(weights, file)))

    return tuple(file for file in weights.files if not is_whole(file))


def _record_of(weights: Weights, file: WeightFile) -> str:
    return record_path(weights.folder, file.path)


def is_verified(entry: VolumeEntry, record: VolumeEntry | None) -> bool:
    """Whether a file was hashed after it was last changed."""
    return record is not None and record.changed_at >= entry.changed_at


def upload(weights: Weights, paths: Mapping[str, Path]) -> None:
    """Put files of this machine on the Volume.

    Args:
        weights: what they are.
        paths: the name of each → where it lies here.

    Raises: as `translated`.
    """
    with translated("the upload"), _volume(weights.volume).batch_upload(force=True) as batch:
        for name, path in paths.items():
            batch.put_file(path, f"/{weights.folder}/{name}")


def mark_used(weights: Weights, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Note on the Volume that these files are in use today.

    Args:
        weights: what is in use.
        more: further notes, path → text.

    Raises: as `translated`.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (
        translated("the note on the Volume"),
        _volume(weights.volume).batch_upload(force=True) as batch,
    ):
        for path, text in {used_path(weights.folder): now, **more}.items():
            batch.put_file(io.BytesIO(text.encode()), f"/{path}")


def read_note(volume: str, path: str) -> str:
    """A short text that lies on a Volume; empty when there is none.

    Raises: as `translated`.
    """
    found = bytearray()
    with translated("the note on the Volume"):
        try:
            for chunk in modal.Volume.from_name(volume).read_file(path):
                found += chunk
                if len(found) > MAX_NOTE_BYTES:
                    return ""
        except (modal.exception.NotFoundError, FileNotFoundError):
            return ""
    return found.decode("utf-8", "replace")


def remove(volume: str, paths: Sequence[str]) -> None:
    """Take files and folders away.

    Raises: as `translated`.
    """
    with translated("removing files from the Volume"):
        for path in paths:
            try:
                _volume(volume).remove_file(f"/{path}", recursive=True)
            except (modal.exception.NotFoundError, FileNotFoundError):
                continue


def download(
    weights: Weights,
    *,
    endpoint: str,
    token: str,
    on_progress: Callable[[Mapping[str, Any]], None],
    urls: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    show_output: bool = False,
) -> None:
    """Have a container without a GPU fetch what is missing from the Hub onto the Volume.

    Args:
        weights: what is wanted.
        endpoint: of the Hub; empty for the usual one.
        token: for a gated or private repository; empty for none.
        on_progress: hears how it goes, as `remote.transfer.TransferEvent.as_dict` has it.
        urls: of files that are not the Hub's, name → URL and etag; told to the container alone.
        show_output: Modal's own progress on stderr.

    Raises:
        BeingFetched: another download of the same files began before.
        GgufctlError: as `translated`; as `remote.transfer.transfer` in the container.
    """
    config = {
        "task": "download",
        "endpoint": endpoint,
        # What a container's file system says of a Volume is not how much goes onto it.
        "room_bytes": -1,
    }
    told: dict[str, str | None] = {"HF_TOKEN": token} if token else {}
    if urls:
        told[URLS_VARIABLE] = json.dumps({name: list(each) for name, each in urls.items()})
    secrets = [modal.Secret.from_dict(told)] if told else []
    try:
        _run(weights, config, secrets, on_progress, show_output)
    except BeingFetched:
        raise
    except RemoteError as error:
        hint = "What has arrived stays on the Volume: run it again, and it goes on from there."
        raise type(error)(error.message, hint) from None


def verify(
    weights: Weights,
    on_progress: Callable[[Mapping[str, Any]], None],
    *,
    show_output: bool = False,
) -> None:
    """Have a container without a GPU hash files of the Volume again.

    Args:
        weights: what to hash.
        on_progress: hears of it: `verifying`, then `verified`, `unverified` where nobody knows
            what the hash should be, `differs` or `missing`.
        show_output: Modal's own progress on stderr.

    Raises: as `translated`.
    """
    _run(weights, {"task": "verify", "endpoint": ""}, [], on_progress, show_output)


def longest_seconds(weights: Weights) -> int:
    """Modal ends a container that fetches or hashes these files after so long.  [s]"""
    return int(min(86_000, 600 + SECONDS_PER_GB * weights.size_bytes / 1e9))


def _run(
    weights: Weights,
    task: Mapping[str, Any],
    secrets: Sequence[modal.Secret],
    on_progress: Callable[[Mapping[str, Any]], None],
    show_output: bool,
) -> None:
    """A container with a CPU only that works on the Volume, from its start to its end."""
    config = {
        **task,
        "repo": weights.repo,
        "commit": weights.commit,
        "folder": str(PurePosixPath(weights.mount_path) / weights.folder),
        "files": [[file.path, file.size_bytes, file.sha256] for file in weights.files],
    }
    name = weights.volume
    what = str(task["task"])

    def work() -> Iterator[dict[str, Any]]:
        import modal

        from ggufctl.remote.volume_work import work as run

        yield from run(config, modal.Volume.from_name(name).commit)

    tags = {TOOL_TAG: "download", "weights": weights_mark(weights.folder)}
    app = modal.App(DOWNLOAD_APP if what == "download" else f"{APP_PREFIX}{what}", tags=tags)
    function = app.function(
        name=what,
        serialized=True,
        image=_image(),
        cpu=CPU_CORES,
        memory=CPU_MEMORY_MIB,
        volumes={weights.mount_path: _volume(weights.volume)},
        secrets=list(secrets),
        timeout=longest_seconds(weights),
        max_containers=1,
        include_source=False,
        is_generator=True,
    )(work)
    try:
        with translated(f"the {what}"), output(show_output), app.run():
            if what == "download" and _came_first(app, weights):
                raise BeingFetched("Another download of these files is under way.")
            for progress in function.remote_gen():
                on_progress(progress)
    except GgufctlError:
        # Also one of ours that was raised in the container.
        raise
    except Exception as error:
        # Errors of the container arrive as what they were there.
        raise RemoteError(f"The {what} failed: {one_line(error)}") from None


def is_being_fetched(weights: Weights) -> bool:
    """Whether a container of anybody's in the workspace is fetching these files now.

    Raises: as `translated`.
    """
    with translated("the list of apps"):
        return bool(_downloads(weights))


def _downloads(weights: Weights) -> list[modal.App]:
    mark = weights_mark(weights.folder)
    return [
        app
        for app in modal.Environment.from_context().apps.list()
        if DOWNLOAD_APP in (app.name, app.description) and app.get_tags().get("weights") == mark
    ]


def _came_first(own: modal.App, weights: Weights) -> bool:
    """Whether another download of the same files began before this one: one of two goes on."""

    def age(app: modal.App) -> tuple[datetime, str]:
        return app.info().lifecycle.created_at, str(app.app_id)

    found = {str(app.app_id): age(app) for app in _downloads(weights)}
    mine = found.get(str(own.app_id))
    return mine is not None and min(found.values()) < mine


def _image() -> modal.Image:
    from importlib.metadata import version

    image = modal.Image.debian_slim(python_version=python_version()).pip_install(
        f"huggingface_hub=={version('huggingface_hub')}"
    )
    return with_source(image.env({"HF_XET_HIGH_PERFORMANCE": "1"}))
