"""Where the files of a download lie, and what is known about each: here and in containers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

__all__ = [
    "BEGUN",
    "OWN_FOLDER",
    "FlatLayout",
    "HubCacheLayout",
    "Layout",
    "Record",
    "WantedFile",
    "can_be_kept",
    "is_whole",
    "own_name",
    "parse_record",
    "read_record",
    "write_record",
]

OWN_FOLDER = ".ggufctl"
"""Holds everything of ours beside the files themselves."""

BEGUN = ".begun"
"""Ends the name of a record of what is not there in full yet."""

_NS = 1_000_000_000

_LONGEST_NAME_BYTES = 200
"""Most of a file's name that begins one of ours: with its ending that must be 255 bytes or less."""


def can_be_kept(path: str) -> bool:
    """Whether a name of a repository leads to one place under a folder, and to nothing of ours."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or parts[0] == OWN_FOLDER:
        return False
    # On Windows a colon is a drive, or another stream of a file.
    if "\\" in path or "\0" in path or (os.name == "nt" and ":" in path):
        return False
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def own_name(path: str) -> str:
    """What names of ours for a file begin with: its path, a name too long for that cut."""
    folder, _, name = path.rpartition("/")
    raw = name.encode()
    if len(raw) > _LONGEST_NAME_BYTES:
        mark = hashlib.sha256(raw).hexdigest()[:16]
        kept = raw[: _LONGEST_NAME_BYTES - len(mark) - 1].decode(errors="ignore")
        name = f"{kept}~{mark}"
    return f"{folder}/{name}" if folder else name


@dataclass(frozen=True, slots=True)
class WantedFile:
    """One file that is to be had.

    Attributes:
        path: its name in the repository, or under the destination.
        size_bytes: it must have.  [bytes]
        sha256: it must have; None where nobody knows it.
        url: of a file that is not on the Hub.
        etag: of the file now, where there is no sha256.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    url: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was found when a file was last verified.

    Attributes:
        path: of the file in its repository.
        size_bytes: then.  [bytes]
        mtime_ns: then.  [ns since the epoch]
        sha256: of its content, empty where there was none to compare it with.
        etag: that its server gave it.
        repo: on the Hub; empty for another source.
        commit: of the repository.
        verified_at: when.  [s since the epoch]
    """

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str = ""
    etag: str = ""
    repo: str = ""
    commit: str = ""
    verified_at: int = 0


def parse_record(text: str | bytes) -> Record | None:
    """The record that a file of ours holds; None when it is cut, foreign or of another kind."""
    try:
        found = json.loads(text)
        record = Record(**found)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (record.path, record.sha256, record.etag, record.repo, record.commit)
    numbers = (record.size_bytes, record.mtime_ns, record.verified_at)
    if not all(isinstance(each, str) for each in texts):
        return None
    # What a record says becomes a place: one that somebody else wrote must not lead elsewhere.
    places = (record.path, record.repo or "none", record.commit or "none")
    if not all(can_be_kept(each) for each in places):
        return None
    return record if all(type(each) is int for each in numbers) else None


def read_record(path: Path) -> Record | None:
    """The record at a place; None where there is none that can be read."""
    try:
        return parse_record(path.read_bytes())
    except OSError:
        return None


def write_record(path: Path, record: Record) -> None:
    """Put a record in its place, whole or not at all.

    Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike those of tempfile, readable for the others who share a cache.
    temporary = path.with_name(f".record-{_mark()}")
    try:
        temporary.write_text(json.dumps(asdict(record)))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class Layout(Protocol):
    """Where everything of a download has its place."""

    @property
    def root(self) -> Path:
        """What the files lie under."""

    @property
    def repo(self) -> str:
        """The files' repository on the Hub; empty for another source."""

    @property
    def commit(self) -> str:
        """The files' commit."""

    def final(self, file: WantedFile) -> Path:
        """Where those look for the file who want to read it."""

    def content(self, file: WantedFile) -> Path:
        """Where its bytes are put; the same, or what `final` links to."""

    def partial(self, file: WantedFile) -> Path:
        """Where its bytes are until they are all there and verified."""

    def begun(self, file: WantedFile) -> Path:
        """Where it is kept what the partial file is a part of."""

    def outdated(self, file: WantedFile) -> tuple[Path, ...]:
        """What is left of downloads of another content of the file."""

    def staging(self, file: WantedFile) -> Path:
        """A folder for the Hub client, where it is the one that fetches the file."""

    def record(self, file: WantedFile) -> Path:
        """Where it is kept that the file was verified."""

    def lock(self, file: WantedFile) -> Path:
        """Held by whoever fetches it."""

    def publish(self, file: WantedFile) -> None:
        """Let readers find what lies at `content`."""


@dataclass(frozen=True, slots=True)
class FlatLayout:
    """Files by their names in one folder; what is ours in a folder of its own beside them.

    Attributes:
        root: the folder.
        repo: of the files on the Hub; empty for another source.
        commit: of the files.
        locks: where locks are, if not in the folder: on a Volume they would outlive their owner.
    """

    root: Path
    repo: str = ""
    commit: str = ""
    locks: Path | None = None

    def final(self, file: WantedFile) -> Path:
        """Where those look for the file who want to read it."""
        return self.root / file.path

    def content(self, file: WantedFile) -> Path:
        """The same: there are no links."""
        return self.final(file)

    def partial(self, file: WantedFile) -> Path:
        """Named after the content too, so that it is never continued with another's."""
        mark = file.sha256[:16] if file.sha256 else "plain"
        return self._own(f"{own_name(file.path)}.{mark}.partial")

    def begun(self, file: WantedFile) -> Path:
        """Where it is kept what the partial file is a part of."""
        return _beside(self.partial(file), BEGUN)

    def outdated(self, file: WantedFile) -> tuple[Path, ...]:
        """What is left of downloads of another content of the file."""
        folder, mine = self._own(file.path).parent, self.partial(file).name
        name = f"{own_name(file.path).rpartition('/')[2]}."
        try:
            found = [path for path in folder.iterdir() if path.name.startswith(name)]
        except OSError:
            return ()
        return tuple(
            path
            for path in found
            if ".partial" in path.name.removeprefix(name) and not path.name.startswith(mine)
        )

    def staging(self, file: WantedFile) -> Path:
        """A folder for the Hub client, where it is the one that fetches the file."""
        return self._own(f"{own_name(file.path)}.xet")

    def record(self, file: WantedFile) -> Path:
        """Where it is kept that the file was verified."""
        return self._own(f"{own_name(file.path)}.json")

    def lock(self, file: WantedFile) -> Path:
        """Held by whoever fetches it."""
        if self.locks is not None:
            return self.locks / f"{own_name(file.path.replace('/', '--'))}.lock"
        return self._own(f"{own_name(file.path)}.lock")

    def publish(self, file: WantedFile) -> None:
        """Nothing more is needed."""

    def records(self) -> Iterator[Record]:
        """Every record that can be read."""
        own = self.root / OWN_FOLDER
        for path in sorted(own.rglob("*.json")):
            if (record := read_record(path)) is not None:
                yield record

    def _own(self, name: str) -> Path:
        return self.root / OWN_FOLDER / name


@dataclass(frozen=True, slots=True)
class HubCacheLayout:
    """The Hub client's own cache, so that everything that knows it finds the files.

    Files are kept by their sha256, once for all revisions, and linked from those.

    Attributes:
        root: the cache, `HF_HUB_CACHE`.
        repo: on the Hub.
        commit: of the files.
        revision: the branch or tag that the commit was found by; empty for none.

    Source: huggingface_hub file_download.py `_hf_hub_download_to_cache_dir`.
    """

    root: Path
    repo: str
    commit: str
    revision: str = ""

    @property
    def folder(self) -> Path:
        """Of the repository."""
        return self.root / ("models--" + self.repo.replace("/", "--"))

    def final(self, file: WantedFile) -> Path:
        """In the commit's snapshot."""
        return self.folder / "snapshots" / self.commit / file.path

    def content(self, file: WantedFile) -> Path:
        """The blob of its sha256, or where there is none what the Hub client made of it."""
        return self.folder / "blobs" / file.sha256 if file.sha256 else self.final(file)

    def partial(self, file: WantedFile) -> Path:
        """Called what the Hub client calls its own, so that `hf cache prune` knows it."""
        return self.folder / "blobs" / f"{file.sha256}.ggufctl.incomplete"

    def begun(self, file: WantedFile) -> Path:
        """Where it is kept what the partial file is a part of."""
        return self.folder / OWN_FOLDER / f"{file.sha256}{BEGUN}"

    def outdated(self, file: WantedFile) -> tuple[Path, ...]:
        """Nothing: what is another's content has another place, and another use."""
        return ()

    def staging(self, file: WantedFile) -> Path:
        """A folder for the Hub client, where it is the one that fetches the file."""
        return self.folder / OWN_FOLDER / f"{file.sha256}.xet"

    def record(self, file: WantedFile) -> Path:
        """Beside the blobs, which hold nothing but blobs."""
        name = file.sha256 or f"{self.commit}/{file.path}"
        return self.folder / OWN_FOLDER / f"{name}.json"

    def lock(self, file: WantedFile) -> Path:
        """The very lock that the Hub client takes."""
        name = f"{file.sha256 or file.path.replace('/', '--')}.lock"
        return self.root / ".locks" / self.folder.name / name

    def publish(self, file: WantedFile) -> None:
        """Link the blob from the snapshot, and let the branch name the commit."""
        blob, final = self.content(file), self.final(file)
        final.parent.mkdir(parents=True, exist_ok=True)
        if blob != final and not _is_same(blob, final):
            _link(blob, final)
        if self.revision and self.revision != self.commit:
            ref = self.folder / "refs" / self.revision
            with contextlib.suppress(OSError):
                if ref.read_text() == self.commit:
                    return
            ref.parent.mkdir(parents=True, exist_ok=True)
            temporary = ref.with_name(f".{ref.name}.{_mark()}")
            temporary.write_text(self.commit)
            os.replace(temporary, ref)


def _mark() -> str:
    """Of nobody else: threads share a process's number, and containers theirs with others."""
    return os.urandom(6).hex()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_same(blob: Path, final: Path) -> bool:
    try:
        return blob.samefile(final)
    except OSError:
        return False


def _link(blob: Path, final: Path) -> None:
    """Make `final` a relative link to the blob, or where links are not allowed the blob itself."""
    temporary = final.with_name(f".{_mark()}.link")
    try:
        os.symlink(os.path.relpath(blob, final.parent), temporary)
    except OSError:
        os.replace(blob, final)
        return
    os.replace(temporary, final)


def is_whole(layout: Layout, file: WantedFile) -> bool:
    """Whether a file is there and was verified, and has not changed since: nothing is hashed."""
    if not can_be_kept(file.path):
        return False
    try:
        stat = layout.final(file).stat()
    except OSError:
        return False
    record = read_record(layout.record(file))
    if record is None or stat.st_size != file.size_bytes or record.size_bytes != stat.st_size:
        return False
    if not _is_same_time(stat.st_mtime_ns, record.mtime_ns):
        return False
    if file.sha256:
        return record.sha256 == file.sha256
    if layout.repo and (record.repo, record.commit) != (layout.repo, layout.commit):
        # Nothing but its place says that it is this file.
        return False
    return not file.etag or record.etag == file.etag


def _is_same_time(now_ns: int, then_ns: int) -> bool:
    """Whether two times of change are one; some file systems keep whole seconds only."""
    if now_ns == then_ns:
        return True
    return now_ns % _NS == 0 and now_ns // _NS == then_ns // _NS
