"""The models that this machine keeps: in the Hub client's cache, from URLs, and in folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

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
from ggufctl.errors import AccessDenied, ModelNotFound, UsageError
from ggufctl.remote.layout import (
    BEGUN,
    OWN_FOLDER,
    FlatLayout,
    HubCacheLayout,
    Layout,
    Record,
    WantedFile,
    is_whole,
    read_record,
)
from ggufctl.remote.transfer import bytes_to_come, free_bytes, missing, verify
from ggufctl.sources import hub
from ggufctl.sources.base import ModelFile
from ggufctl.sources.fetch import (
    fetch_to,
    hub_layout,
    note_use,
    url_folder,
    url_layout,
    wanted_urls,
)

__all__ = ["FolderPlace", "FolderStore", "HubCachePlace", "LocalStore", "named_folder"]

_STATES = {
    "verified": State.VERIFIED,
    "differs": State.DIFFERS,
    "missing": State.INCOMPLETE,
    "unverified": State.UNVERIFIED,
}


def named_folder(text: str, option: str) -> Path:
    """The folder that an option names, whether it is there or not.

    Raises: UsageError for what can be no folder; AccessDenied.
    """
    hint = "Use modal, local or a folder."
    if "://" in text:
        raise UsageError(f"{option} {quoted(text)} is no folder.", hint)
    folder = Path(os.path.expanduser(text)).absolute()
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except FileNotFoundError:
        return folder
    except PermissionError as error:
        raise AccessDenied(f"{quoted(str(folder), 0)}: {error.strerror}.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{option} {quoted(text)}: {reason}.", hint) from None
    if not is_folder:
        raise UsageError(f"{text} is a file, not a folder.", "Name a folder.")
    return folder


class _Place(ABC):
    """What every destination on this machine does in the same way."""

    name: str

    @abstractmethod
    def layout(self, selection: Selection) -> Layout:
        """Where a selection's files go."""

    def where(self, selection: Selection) -> str:
        """Where the files would lie, for people."""
        layout = self.layout(selection)
        return str(layout.final(_wanted(selection.files[0])).parent)

    def missing(self, selection: Selection) -> tuple[SelectedFile, ...]:
        """The files that are not there, whole and verified; nothing is hashed or fetched."""
        layout = self.layout(selection)
        lacking = {file.path for file in missing(layout, _all_wanted(selection))}
        return tuple(file for file in selection.files if file.path in lacking)

    def bytes_to_come(self, selection: Selection) -> int:
        """What would still be fetched, less what interrupted downloads have left.  [bytes]"""
        return bytes_to_come(self.layout(selection), _all_wanted(selection))

    def price(self, n_bytes: int) -> FetchPrice | None:
        """Nothing: this machine is not rented."""
        return None

    def fetch(self, selection: Selection, on_event: OnTransfer) -> tuple[str, ...]:
        """Bring what is missing, and return where each file lies, in the selection's order.

        Raises: as `remote.transfer.transfer`.
        """
        layout, wanted = self.layout(selection), _all_wanted(selection)
        if wanted[0].url:
            files = [ModelFile(file.url, file.size_bytes) for file in wanted]
            wanted = wanted_urls(layout, files)
        for event in fetch_to(layout, wanted):
            on_event(event.as_dict())
        found = tuple(layout.final(file) for file in wanted)
        for path in found:
            note_use(path)
        return tuple(str(path) for path in found)


class HubCachePlace(_Place):
    """The Hub client's cache, and one of our own for files from URLs."""

    name = "local"

    def layout(self, selection: Selection) -> Layout:
        """In the snapshot of the commit, which the branch then names."""
        if not selection.repo:
            return url_layout(selection.files[0].url)
        return hub_layout(selection.repo, selection.commit, selection.revision)

    def room_bytes(self) -> int:
        """Room on the disk of the cache.  [bytes]"""
        return free_bytes(hub.cache_folder())


class FolderPlace(_Place):
    """A folder of the user's, with the files by their names in the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)

    def layout(self, selection: Selection) -> Layout:
        """In the folder itself."""
        return FlatLayout(self.folder, selection.repo, selection.commit)

    def room_bytes(self) -> int:
        """Room on the disk of the folder.  [bytes]"""
        return free_bytes(self.folder)


def _wanted(file: SelectedFile) -> WantedFile:
    return WantedFile(file.path, file.size_bytes, file.sha256, file.url)


def _all_wanted(selection: Selection) -> tuple[WantedFile, ...]:
    return tuple(_wanted(file) for file in selection.files)


class FolderStore:
    """The models of one folder, those that were put there by hand included."""

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder = folder
        self.name = name or str(folder)

    def models(self) -> tuple[StoredModel, ...]:
        """Everything that is kept, by repository and quant.

        Raises: ModelNotFound when there is no such folder; AccessDenied.
        """
        if not self.folder.is_dir():
            raise ModelNotFound(f"There is no folder {quoted(str(self.folder))}.")
        groups: dict[tuple[str, str], list[StoredFile]] = {}
        layout = FlatLayout(self.folder)
        for path in _ggufs(self.folder):
            name = path.relative_to(self.folder).as_posix()
            record = read_record(layout.record(WantedFile(name, 0)))
            key = (record.repo, record.commit) if record is not None else ("", "")
            with contextlib.suppress(FileNotFoundError):
                file = _stored_file(path, name, layout, record)
                groups.setdefault(key, []).append(file)
        for partial, record in _begun(self.folder / OWN_FOLDER, _partial_beside):
            if not (self.folder / record.path).exists():
                with contextlib.suppress(FileNotFoundError):
                    file = _begun_file(partial, record)
                    groups.setdefault((record.repo, record.commit), []).append(file)
        found = [
            _dated(model)
            for (repo, commit), files in sorted(groups.items())
            for model in stored_models(self.name, repo, commit, files)
        ]
        return tuple(found)

    def freed_by(self, models: Sequence[StoredModel]) -> int:
        """What removing these models would free: nothing where one is a link.  [bytes]"""
        files = [file for model in models for file in model.files]
        return sum(file.size_bytes for file in files if not Path(file.location).is_symlink())

    def remove(self, models: Sequence[StoredModel]) -> int:
        """Forget these models, and return what that freed.  [bytes]

        Raises: UsageError while one is being fetched; AccessDenied.
        """
        freed = self.freed_by(models)
        with _nobody_fetching(models, self._layout), _removing():
            for model in models:
                layout = self._layout(model)
                for file in model.files:
                    wanted = WantedFile(file.path, file.size_bytes, file.sha256)
                    layout.final(wanted).unlink(missing_ok=True)
                    _forget(layout, wanted)
                    _remove_empty(layout.final(wanted).parent, self.folder)
                    _remove_empty(layout.record(wanted).parent, self.folder)
        return freed

    def verify(self, models: Sequence[StoredModel], on_event: OnVerify) -> tuple[StoredModel, ...]:
        """The same models, every file hashed: verified, differs or incomplete."""
        return _verified(models, self._layout, on_event)

    def _layout(self, model: StoredModel) -> FlatLayout:
        return FlatLayout(self.folder, model.repo, model.commit)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One commit of one repository in the Hub client's cache."""

    repo: str
    commit: str
    folder: Path

    @property
    def layout(self) -> HubCacheLayout:
        """Of the cache that it is in."""
        return HubCacheLayout(self.folder.parents[2], self.repo, self.commit)


class LocalStore:
    """The GGUF models of the Hub client's cache, and what was fetched from URLs."""

    name = "local"

    def models(self) -> tuple[StoredModel, ...]:
        """Everything that is kept, by repository and quant."""
        groups: dict[tuple[str, str], list[StoredFile]] = {}
        root = hub.cache_folder()
        with _removing("listed"):
            snapshots = list(_snapshots(root))
            owns = sorted(root.glob(f"models--*/{OWN_FOLDER}"))
        for snapshot in snapshots:
            layout = snapshot.layout
            files = groups.setdefault((snapshot.repo, snapshot.commit), [])
            for path in _ggufs(snapshot.folder):
                name = path.relative_to(snapshot.folder).as_posix()
                sha256 = _blob_sha256(path)
                record = read_record(layout.record(WantedFile(name, 0, sha256)))
                with contextlib.suppress(FileNotFoundError):
                    files.append(_stored_file(path, name, layout, record, sha256))
        for own in owns:
            for partial, record in _begun(own, _partial_in_blobs):
                final = hub_layout(record.repo, record.commit).final(WantedFile(record.path, 0))
                if not final.exists():
                    with contextlib.suppress(FileNotFoundError):
                        file = _begun_file(partial, record)
                        groups.setdefault((record.repo, record.commit), []).append(file)
        found = [
            _dated(model)
            for (repo, commit), files in sorted(groups.items())
            for model in stored_models(self.name, repo, commit, files)
        ]
        for store in self._url_stores():
            found += store.models()
        return tuple(found)

    def freed_by(self, models: Sequence[StoredModel]) -> int:
        """What removing these models would free: what other revisions share stays.  [bytes]"""
        of_hub = [model for model in models if model.repo]
        blobs = self._own_blobs(of_hub)
        freed = sum(_size(blob) for blob in blobs if not blob.is_symlink())
        return freed + sum(model.size_bytes for model in models if not model.repo)

    def remove(self, models: Sequence[StoredModel]) -> int:
        """Forget these models, and return what that freed.  [bytes]

        Raises: UsageError while one is being fetched; AccessDenied.
        """
        freed = self.freed_by(models)
        of_hub = [model for model in models if model.repo]
        blobs = self._own_blobs(of_hub)
        with _nobody_fetching(of_hub, lambda m: hub_layout(m.repo, m.commit)), _removing():
            for model in of_hub:
                layout = hub_layout(model.repo, model.commit)
                for file in model.files:
                    Path(file.location).unlink(missing_ok=True)
                    final = layout.final(WantedFile(file.path, 0))
                    _remove_empty(final.parent, layout.folder / "snapshots")
                if not (layout.folder / "snapshots" / model.commit).exists():
                    _forget_refs(layout)
            for blob in blobs:
                blob.unlink(missing_ok=True)
                sha256 = blob.name.partition(".")[0]
                for record in (blob.parents[1] / OWN_FOLDER).glob(f"{sha256}.*"):
                    _remove(record)
            for folder in {hub_layout(model.repo, "").folder for model in of_hub}:
                if _is_empty(folder):
                    # An empty repository is one that the Hub client calls broken.
                    shutil.rmtree(folder, ignore_errors=True)
        for store in self._url_stores():
            store.remove([m for m in models if not m.repo and _lies_in(m, store.folder)])
        return freed

    def verify(self, models: Sequence[StoredModel], on_event: OnVerify) -> tuple[StoredModel, ...]:
        """The same models, every file hashed: verified, differs or incomplete."""

        def layout(model: StoredModel) -> Layout:
            if model.repo:
                return hub_layout(model.repo, model.commit)
            return FlatLayout(Path(model.files[0].location).parent)

        return _verified(models, layout, on_event)

    def _url_stores(self) -> list[FolderStore]:
        root = url_folder()
        folders = sorted(root.iterdir()) if root.is_dir() else []
        return [FolderStore(folder, self.name) for folder in folders if folder.is_dir()]

    def _own_blobs(self, models: Sequence[StoredModel]) -> set[Path]:
        """Blobs that these models link to, and nothing else does."""
        gone = {Path(file.location) for model in models for file in model.files}
        blobs = {_blob_of(path) for path in gone}
        for folder in {hub_layout(model.repo, "").folder for model in models}:
            for path in (folder / "snapshots").rglob("*"):
                if path not in gone and not path.is_dir():
                    blobs.discard(_blob_of(path))
        return blobs


def _verified(
    models: Sequence[StoredModel], layout_of: Callable[[StoredModel], Layout], on_event: OnVerify
) -> tuple[StoredModel, ...]:
    found = []
    done, total = 0, sum(model.size_bytes for model in models)
    for model in models:
        states: dict[str, State] = {}
        wanted = [WantedFile(f.path, f.size_bytes, f.sha256) for f in model.files]
        for event in verify(layout_of(model), wanted):
            states[event.file] = _STATES.get(event.state, State.UNVERIFIED)
            so_far = done + event.all_done_bytes
            on_event(event.as_dict() | {"all_done_bytes": so_far, "all_bytes": total})
        done += model.size_bytes
        found.append(model.with_states(states))
    return tuple(found)


def _snapshots(root: Path) -> Iterator[_Snapshot]:
    for folder in sorted(root.glob("models--*/snapshots/*")):
        if folder.is_dir():
            repo = folder.parents[1].name.removeprefix("models--").replace("--", "/")
            yield _Snapshot(repo, folder.name, folder)


def _ggufs(folder: Path) -> list[Path]:
    """Every GGUF under a folder, but for what lies in hidden folders.

    Raises: AccessDenied.
    """
    found = []
    with _removing("listed"):
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(parent, name) for name in names if name.lower().endswith(".gguf")]
    return sorted(path for path in found if path.is_file())


def _raise(error: OSError) -> None:
    raise error


def _stored_file(
    path: Path, name: str, layout: Layout, record: Record | None, sha256: str | None = None
) -> StoredFile:
    size = path.stat().st_size
    known = sha256 or (record.sha256 or None if record is not None else None)
    # What has another size than it was verified with is no longer that file.
    is_cut = record is not None and record.size_bytes != size
    state = State.UNVERIFIED
    if is_cut:
        state = State.DIFFERS
    elif record is not None and is_whole(layout, WantedFile(name, size, known)):
        state = State.VERIFIED
    return StoredFile(name, size, known, state, str(path))


def _begun(folder: Path, partial_of: Callable[[Path], Path]) -> Iterator[tuple[Path, Record]]:
    """`(partial file, what it is a part of)` of every download that was not completed."""
    for path in sorted(folder.rglob(f"*{BEGUN}")):
        partial, record = partial_of(path), read_record(path)
        if record is not None and partial.is_file():
            yield partial, record


def _partial_beside(begun: Path) -> Path:
    return begun.with_name(begun.name.removesuffix(BEGUN))


def _partial_in_blobs(begun: Path) -> Path:
    sha256 = begun.name.removesuffix(BEGUN)
    return begun.parents[1] / "blobs" / f"{sha256}.ggufctl.incomplete"


def _begun_file(partial: Path, record: Record) -> StoredFile:
    sha256 = record.sha256 or None
    size = partial.stat().st_size
    return StoredFile(record.path, size, sha256, State.INCOMPLETE, str(partial))


@contextlib.contextmanager
def _nobody_fetching(
    models: Sequence[StoredModel], layout_of: Callable[[StoredModel], Layout]
) -> Iterator[None]:
    """Keep others from going on with downloads that are not complete.

    Raises: UsageError while one goes on.
    """
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    with contextlib.ExitStack() as stack:
        for model in models:
            begun = [file for file in model.files if file.state is State.INCOMPLETE]
            for file in begun:
                lock = layout_of(model).lock(WantedFile(file.path, file.size_bytes, file.sha256))
                if not lock.exists():
                    continue
                try:
                    stack.enter_context(WeakFileLock(lock, timeout=0.1))
                except Timeout:
                    raise UsageError(
                        f"{quoted(model.ref)} is being downloaded by another process.",
                        "Stop that first, or wait until it is done.",
                    ) from None
                except OSError as error:
                    raise AccessDenied(f"{quoted(str(lock), 0)}: {error.strerror}.") from None
        yield


def _is_empty(folder: Path) -> bool:
    """Whether a repository of the Hub client's cache holds nothing, not even what was begun."""
    if any(path.suffix == ".incomplete" for path in (folder / "blobs").glob("*")):
        return False
    if any((folder / OWN_FOLDER).glob("*.xet")):
        return False
    return all(path.is_dir() for path in (folder / "snapshots").rglob("*"))


def _dated(model: StoredModel) -> StoredModel:
    """The model with when it was last read and changed."""
    stats = []
    for file in model.files:
        with contextlib.suppress(OSError):
            stats.append(Path(file.location).stat())
    if not stats:
        return model
    return replace(
        model,
        last_used=datetime.fromtimestamp(max(stat.st_atime for stat in stats), UTC),
        downloaded=datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC),
    )


def _blob_of(path: Path) -> Path:
    """What a file of a snapshot links to, one step; itself where it is no link."""
    if not path.is_symlink():
        return path
    return Path(os.path.abspath(path.parent / os.readlink(path)))


def _blob_sha256(path: Path) -> str | None:
    """The checksum that a blob is named by; None for small files, which are named otherwise."""
    name = _blob_of(path).name
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else None


def _lies_in(model: StoredModel, folder: Path) -> bool:
    return any(Path(file.location).is_relative_to(folder) for file in model.files)


def _forget(layout: FlatLayout, file: WantedFile) -> None:
    for path in (layout.record(file), layout.lock(file), layout.partial(file), layout.begun(file)):
        _remove(path)
    _remove(layout.staging(file))


def _forget_refs(layout: HubCacheLayout) -> None:
    """Take away branches that name a commit of which nothing is left."""
    refs = layout.folder / "refs"
    for path in list(refs.rglob("*")) if refs.is_dir() else []:
        if path.is_file() and path.read_text().strip() == layout.commit:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path, root: Path) -> None:
    """Take away a folder, and those above it up to a root, while they hold nothing."""
    while folder != root and folder.is_relative_to(root):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if folder.exists():
            return
        folder = folder.parent


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def _removing(what: str = "removed") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = quoted(str(error.filename or ""), 0)
        raise AccessDenied(f"{name} cannot be {what}: {error.strerror}.") from None
