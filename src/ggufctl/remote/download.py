"""Brings a model's files onto a Volume, in a container that has a CPU only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ggufctl.remote.transfer import job_from_config, transfer

__all__ = ["download"]


def download(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Fetch what is missing and say so as it goes; a half file never has its final name.

    Args:
        config: as `remote.transfer.job_from_config` takes it.

    Raises: as `remote.transfer.transfer`.
    """
    for event in transfer(job_from_config(config)):
        yield {**event.as_dict(), "bytes": event.size_bytes}
