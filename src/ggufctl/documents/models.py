"""The published schemas of `ggufctl download --json` and `ggufctl models … --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["DownloadDocument", "ModelsDocument"]

Sha256 = Field(description="64 hexadecimal digits; null where nobody knows it")


class DownloadedFileDocument(Document):
    """One file of a download."""

    path: str = Field(description="exact name in the repository")
    role: Literal["model", "mmproj"]
    size_bytes: int
    sha256: str | None = Sha256
    was_present: bool = Field(description="whether it was there before, whole and verified")
    location: str | None = Field(description="where it lies; null in a dry run")


class FetchPriceDocument(Document):
    """What fetching files and keeping them costs, as estimated before."""

    usd: float = Field(description="of the container that fetches, at 100 MB/s")
    usd_per_hour: float = Field(description="of that container")
    usd_per_month: float = Field(description="of keeping the files, at most")


class DownloadDocument(Document):
    """What `ggufctl download` fetched, or with --dry-run would fetch."""

    schema_version: Literal["1.0"]
    model: str
    repo: str = Field(description="empty for a URL")
    commit: str
    quant: str
    reason: str = Field(description="why this quant; empty when it was asked for")
    to: str = Field(description="local, modal, or the folder")
    where: str = Field(description="what the files lie under")
    is_dry_run: bool
    files: list[DownloadedFileDocument]
    size_bytes: int = Field(description="of all files")
    download_bytes: int = Field(description="that were not there before")
    room_bytes: int | None = Field(description="that was left; null where no limit is known")
    price: FetchPriceDocument | None = Field(None, description="null where it costs nothing")
    seconds: float | None


class StoredFileDocument(Document):
    """One file that is kept."""

    path: str
    size_bytes: int
    sha256: str | None = Sha256
    state: Literal["verified", "unverified", "incomplete", "differs"]
    location: str


class StoredModelDocument(Document):
    """One quant of a model that is kept, shards joined."""

    ref: str = Field(description="org/repo:QUANT, or the name of the file")
    repo: str
    commit: str
    quant: str
    kind: str = Field(description="model, mmproj, draft, ...")
    state: Literal["verified", "unverified", "incomplete", "differs"]
    size_bytes: int
    last_used: str | None = Field(description="ISO 8601, UTC")
    downloaded: str | None = Field(description="ISO 8601, UTC")
    usd_per_month: float | None = Field(description="for keeping it; null where that is free")
    missing: list[str] = Field(description="shards that are not there")
    files: list[StoredFileDocument]


class ModelsDocument(Document):
    """What `ggufctl models ls`, `show`, `rm`, `prune` and `verify` print."""

    schema_version: Literal["1.0"]
    on: str = Field(description="local, modal, or the folder")
    models: list[StoredModelDocument] = Field(description="that are there, or were looked at")
    size_bytes: int
    usd_per_month: float | None
    removed: list[StoredModelDocument]
    freed_bytes: int | None
    is_dry_run: bool
