"""Models that are kept somewhere, and what every place that keeps them can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from ggufctl.core.names import Kind, Variant, variants
from ggufctl.core.selection import SelectedFile, Selection

__all__ = [
    "Destination",
    "FetchPrice",
    "OnTransfer",
    "OnVerify",
    "State",
    "Store",
    "StoredFile",
    "StoredModel",
    "stored_models",
    "told_apart",
]


@dataclass(frozen=True, slots=True)
class FetchPrice:
    """What fetching files and keeping them costs, as an estimate.

    Attributes:
        text: in words.
        usd_per_hour: of what fetches.
        usd: of fetching.
        usd_per_month: of keeping, at most.
    """

    text: str
    usd_per_hour: float
    usd: float
    usd_per_month: float


class State(StrEnum):
    """How far a model or a file can be trusted."""

    VERIFIED = "verified"
    """Its sha256 was checked, and it has not changed since."""
    UNVERIFIED = "unverified"
    """It has its full size; nobody has hashed it."""
    INCOMPLETE = "incomplete"
    """Something of it is missing."""
    DIFFERS = "differs"
    """Its content is not what it should be."""


_WORST_FIRST = (State.DIFFERS, State.INCOMPLETE, State.UNVERIFIED, State.VERIFIED)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file that is kept.

    Attributes:
        path: its name in its repository.
        size_bytes: that lie there.  [bytes]
        sha256: that it should have; None where nobody knows.
        state: what is known of it.
        location: where it lies.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    state: State = State.UNVERIFIED
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One quant of a model that is kept, with all of its shards.

    Attributes:
        store: `local`, `modal`, or the folder.
        repo: on the Hub; empty for another source.
        commit: of the files.
        quant: label, empty where the name has none.
        kind: of the files: a model, or a projector that lies beside one.
        files: in shard order.
        missing: shards that are not there.
        last_used: when it was last read or fetched, None where that is not known.
        downloaded: when it was last changed.
        usd_per_month: for keeping it; None where it costs nothing by itself.
        name: that tells it from others beside it; empty where its quant does.
    """

    store: str
    repo: str
    commit: str
    quant: str
    kind: Kind = Kind.MODEL
    files: tuple[StoredFile, ...] = ()
    missing: tuple[str, ...] = ()
    last_used: datetime | None = None
    downloaded: datetime | None = None
    usd_per_month: float | None = None
    name: str = ""

    @property
    def size_bytes(self) -> int:
        """Of everything of it that lies there.  [bytes]"""
        return sum(file.size_bytes for file in self.files)

    @property
    def state(self) -> State:
        """The worst of its files'."""
        states = {file.state for file in self.files}
        if self.missing:
            states.add(State.INCOMPLETE)
        return next((state for state in _WORST_FIRST if state in states), State.INCOMPLETE)

    @property
    def location(self) -> str:
        """Where its first file lies."""
        return self.files[0].location if self.files else ""

    @property
    def ref(self) -> str:
        """What to call it: `org/repo:QUANT`, or the path of its first file."""
        if self.name:
            return self.name
        if not self.repo:
            return self.path
        if self.kind is Kind.MODEL and self.quant:
            return f"{self.repo}:{self.quant}"
        return f"{self.repo}/{self.path}"

    @property
    def path(self) -> str:
        """Of its first file, in its repository or folder."""
        return self.files[0].path if self.files else (self.missing or ("",))[0]

    def with_states(self, states: Mapping[str, State]) -> StoredModel:
        """The same with what is now known of its files, by path."""
        files = tuple(replace(f, state=states.get(f.path, f.state)) for f in self.files)
        return replace(self, files=files)


OnVerify: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Hears of hashing, as `remote.transfer.TransferEvent.as_dict` has it."""


OnTransfer: TypeAlias = OnVerify
"""Hears of a download, in the same form."""


class Destination(Protocol):
    """A place that a selection of files can be brought to."""

    @property
    def name(self) -> str:
        """`local`, `modal`, or the folder."""

    def where(self, selection: Selection) -> str:
        """Where the files would lie, for people."""

    def missing(self, selection: Selection) -> tuple[SelectedFile, ...]:
        """The files that are not there, whole and verified; nothing is hashed or fetched.

        Raises: GgufctlError when the place cannot be looked at.
        """

    def bytes_to_come(self, selection: Selection) -> int:
        """What would still be fetched, less what interrupted downloads have left.  [bytes]"""

    def price(self, n_bytes: int) -> FetchPrice | None:
        """What fetching and keeping so much costs; None where it costs nothing."""

    def room_bytes(self) -> int | None:
        """Room that is left; None where there is no limit that is known.  [bytes]"""

    def fetch(self, selection: Selection, on_event: OnTransfer) -> tuple[str, ...]:
        """Bring what is missing, and return where each file lies, in the selection's order.

        Raises: GgufctlError.
        """


class Store(Protocol):
    """A place that keeps models."""

    @property
    def name(self) -> str:
        """`local`, `modal`, or the folder."""

    def models(self) -> tuple[StoredModel, ...]:
        """Everything that is kept, by repository and quant.

        Raises: GgufctlError when the place cannot be looked at.
        """

    def freed_by(self, models: Sequence[StoredModel]) -> int:
        """What removing these models would free.  [bytes]"""

    def remove(self, models: Sequence[StoredModel]) -> int:
        """Forget these models, and return what that freed.  [bytes]

        What another kept model shares with them stays.

        Raises: GgufctlError.
        """

    def verify(self, models: Sequence[StoredModel], on_event: OnVerify) -> tuple[StoredModel, ...]:
        """The same models, every file hashed: verified, differs or incomplete.

        Raises: GgufctlError.
        """


def told_apart(models: Sequence[StoredModel]) -> tuple[StoredModel, ...]:
    """The same models, each called something that names no other of them.

    By the path where a repository holds several of one quant, by the commit where several
    revisions are kept, by the place where it came from no repository.
    """
    alike: dict[str, list[StoredModel]] = {}
    for model in models:
        alike.setdefault(model.ref, []).append(model)
    names: dict[int, str] = {}
    for group in alike.values():
        if len(group) > 1:
            names |= zip(map(id, group), _names_of(group), strict=True)
    return tuple(replace(m, name=names[id(m)]) if id(m) in names else m for m in models)


def _names_of(alike: Sequence[StoredModel]) -> list[str]:
    by_path = [f"{m.repo}/{m.path}" if m.repo else m.location for m in alike]
    by_commit = [
        f"{m.repo}@{m.commit}:{m.quant}" if m.ref.endswith(f":{m.quant}") else f"{m.ref}@{m.commit}"
        for m in alike
    ]
    for names in (by_path, by_commit):
        if len(set(names)) == len(names):
            return names
    return [f"{path}@{m.commit}" for path, m in zip(by_path, alike, strict=True)]


def stored_models(
    store: str,
    repo: str,
    commit: str,
    files: Iterable[StoredFile],
    **known: Any,
) -> tuple[StoredModel, ...]:
    """The files of one repository and commit as the models they are, shards joined.

    Args:
        store: name of the place.
        repo: on the Hub; empty for another source.
        commit: of the files.
        files: what lies there.
        known: further fields of `StoredModel`, the same for all.
    """
    by_path = {file.path: file for file in files}
    found = variants((file.path, file.size_bytes) for file in by_path.values())
    return tuple(_stored(store, repo, commit, variant, by_path, known) for variant in found)


def _stored(
    store: str,
    repo: str,
    commit: str,
    variant: Variant,
    by_path: Mapping[str, StoredFile],
    known: Mapping[str, Any],
) -> StoredModel:
    return StoredModel(
        store=store,
        repo=repo,
        commit=commit,
        quant=variant.quant or "",
        kind=variant.kind,
        files=tuple(by_path[path] for path in variant.paths),
        missing=variant.missing,
        **known,
    )
