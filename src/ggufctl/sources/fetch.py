"""Brings the files of a model to this machine: a complete set of shards at one commit, or nothing.

What comes from the Hub goes into the Hub client's own cache, so that nothing is fetched twice and
everything that knows that cache finds it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

from ggufctl.core.escape import escape, quoted
from ggufctl.errors import GgufctlError, InvalidGguf, ModelNotFound, UsageError
from ggufctl.remote.layout import FlatLayout, HubCacheLayout, Layout, WantedFile, read_record
from ggufctl.remote.transfer import Job, TransferEvent, bytes_to_come, transfer
from ggufctl.sources import cache, hub
from ggufctl.sources.base import ModelFile, OnEvent, SourceEvent, ignore
from ggufctl.sources.http import HttpFile
from ggufctl.sources.references import Reference, ReferenceKind, hub_endpoint, parse_reference

__all__ = [
    "OnTransfer",
    "fetch_files",
    "fetch_to",
    "hub_layout",
    "missing_bytes",
    "url_folder",
    "url_layout",
    "url_name",
    "wanted_urls",
    "whole_url",
]

OnTransfer: TypeAlias = Callable[[TransferEvent], None]
"""Hears of a download, several times a second."""


def hub_layout(repo: str, commit: str, revision: str = "") -> HubCacheLayout:
    """The places of a repository's files in the Hub client's cache.

    Args:
        repo: `org/name`.
        commit: of the files.
        revision: the branch or tag that the commit was found by; empty for none.
    """
    return HubCacheLayout(hub.cache_folder(), repo, commit, revision)


def url_folder() -> Path:
    """Where files from plain URLs are kept."""
    return cache.cache_dir() / "models"


def url_layout(url: str) -> FlatLayout:
    """The places of the files that lie beside a URL, its query left out."""
    parts = urlsplit(url)
    folder = urlunsplit((parts.scheme, parts.netloc, parts.path.rpartition("/")[0], "", ""))
    return FlatLayout(url_folder() / hashlib.sha256(folder.encode()).hexdigest()[:16])


def missing_bytes(repo: str, commit: str, files: Sequence[ModelFile]) -> int:
    """What would have to be downloaded of these files.  [bytes]"""
    if repo:
        return bytes_to_come(hub_layout(repo, commit), [_wanted(file) for file in files])
    if files and _is_url(files[0].path):
        wanted = [WantedFile(url_name(file.path), file.size_bytes) for file in files]
        return bytes_to_come(url_layout(files[0].path), wanted)
    return 0


def fetch_files(
    source: str,
    repo: str,
    commit: str,
    files: Sequence[ModelFile],
    *,
    on_event: OnEvent = ignore,
    on_transfer: OnTransfer | None = None,
    refs: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Where the files lie on this machine, in the same order, whole and verified.

    Args:
        source: `local`, `hub` or `url`.
        repo: repository on the Hub; empty for other sources.
        commit: the one commit that all shards are taken from.
        files: in shard order.
        on_event: hears of each download, and every tenth of it.
        on_transfer: hears of it several times a second.
        refs: as the user gave them, for what a URL had after its path.

    Raises: as the sources do; InvalidGguf for a file of the wrong size or content; DoesNotFit
        when the disk is too small for it.
    """
    if source == "local":
        return tuple(_local(file) for file in files)
    if source == "url":
        layout: Layout = url_layout(files[0].path)
        wanted = wanted_urls(layout, files, [parse_reference(ref) for ref in refs])
    else:
        layout = hub_layout(repo, commit)
        wanted = tuple(_wanted(file) for file in files)
    for event in fetch_to(layout, wanted):
        if on_transfer is not None:
            on_transfer(event)
        _say(event, on_event, repo)
    found = tuple(layout.final(file) for file in wanted)
    for path in found:
        note_use(path)
    return found


def fetch_to(layout: Layout, wanted: Sequence[WantedFile]) -> Iterator[TransferEvent]:
    """Fetch what is missing, as the user of this machine.

    Raises: as `remote.transfer.transfer`.
    """
    wanted = tuple(wanted)
    token = hub.hub_token() if layout.repo else ""
    job = Job(files=wanted, layout=layout, endpoint=hub_endpoint(), token=token)
    yield from transfer(job)


def note_use(path: Path) -> None:
    """Remember on the file itself that it was used, also where the file system does not.

    Only the time of reading is set: that of the last change says that the content is the same.
    """
    try:
        stat = path.stat()
        os.utime(path, ns=(max(_now_ns(), stat.st_mtime_ns), stat.st_mtime_ns))
    except OSError:
        # Another user's file, or a disk that cannot be written to.
        return


def _now_ns() -> int:
    import time

    return time.time_ns()


def _say(event: TransferEvent, on_event: OnEvent, repo: str) -> None:
    name = escape(f"{repo}/{event.file}" if repo else event.file)
    if event.state == "started":
        on_event(SourceEvent("downloading", name, event.size_bytes))
    elif event.state == "retry":
        on_event(SourceEvent("retry", f"{name}: {escape(event.text)}", event.done_bytes))


def _local(file: ModelFile) -> Path:
    path = Path(os.path.expanduser(file.path)).absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no file {quoted(str(path))}.")
    size = path.stat().st_size
    if file.size_bytes and size != file.size_bytes:
        raise InvalidGguf(
            f"{quoted(str(path))} has {size} bytes and should have {file.size_bytes}.",
            "Fetch it again.",
        )
    return path


def _wanted(file: ModelFile) -> WantedFile:
    return WantedFile(file.path, file.size_bytes, file.sha256)


def wanted_urls(
    layout: Layout, files: Sequence[ModelFile], refs: Sequence[Reference] = ()
) -> tuple[WantedFile, ...]:
    """Files behind URLs as what is to be had: each is asked for its etag, which is one request.

    When its server cannot be asked, what is there counts.
    """
    found = []
    for file in files:
        url = whole_url(file.path, refs)
        wanted = WantedFile(url_name(file.path), file.size_bytes, url=url)
        source = HttpFile(url, hub.open_url)
        try:
            source.read(0, 1)
            etag = "" if source.etag.startswith("W/") else source.etag
        except GgufctlError:
            known = read_record(layout.record(wanted))
            if known is None:
                raise
            etag = known.etag
        finally:
            source.close()
        found.append(WantedFile(wanted.path, file.size_bytes, url=url, etag=etag))
    return tuple(found)


def whole_url(url: str, refs: Sequence[Reference]) -> str:
    """A URL with the query that its reference had: it may be what lets us in."""
    parts = urlsplit(url)
    for reference in refs:
        given = urlsplit(reference.url)
        if reference.kind is ReferenceKind.URL and given.netloc == parts.netloc:
            same_folder = given.path.rpartition("/")[0] == parts.path.rpartition("/")[0]
            if same_folder:
                return urlunsplit(given._replace(path=parts.path))
    return url


def _is_url(path: str) -> bool:
    return path.lower().startswith(("http://", "https://"))


def url_name(url: str) -> str:
    """The name of the file behind a URL.

    Raises: UsageError when it has none.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError(f"{quoted(url)} names no file.")
    return name
