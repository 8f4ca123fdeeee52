"""Models behind plain URLs, whose address may be all that lets somebody in: it is kept secret."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ggufctl.core.escape import redact_url
from ggufctl.remote.layout import FlatLayout
from ggufctl.sources.base import ModelFile
from ggufctl.sources.fetch import wanted_urls, whole_url
from ggufctl.sources.references import Reference

__all__ = ["UrlFile", "is_url_path", "url_file", "without_secrets"]

_NOWHERE = FlatLayout(Path("/nonexistent"))
"""Nothing of a Volume is known here."""


@dataclass(frozen=True, slots=True)
class UrlFile:
    """A file behind a plain URL.

    Attributes:
        name: it gets on the Volume.
        url: with all that lets somebody in; never to be printed.
        etag: of its content now; empty where its server tells none.
    """

    name: str
    url: str = field(repr=False)
    etag: str = ""

    @property
    def mark(self) -> int:
        """Another number for another content: it has another place on the Volume."""
        text = f"{redact_url(self.url)} {self.etag}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def is_url_path(path: str) -> bool:
    """Whether a file is behind a plain URL."""
    return path.lower().startswith(("http://", "https://"))


def url_file(path: str, size_bytes: int, refs: Sequence[Reference]) -> UrlFile:
    """Where a file comes from, with the query that its reference had; one request.

    Raises: as its server answers.
    """
    whole = ModelFile(whole_url(path, refs), size_bytes)
    (wanted,) = wanted_urls(_NOWHERE, [whole])
    return UrlFile(wanted.path, wanted.url, wanted.etag)


def without_secrets(value: Any) -> Any:
    """Plain data, every URL in it without what lets somebody in."""
    if isinstance(value, dict):
        return {key: without_secrets(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(each) for each in value]
    if isinstance(value, str) and is_url_path(value):
        return redact_url(value)
    return value
