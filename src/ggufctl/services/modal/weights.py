"""A model's files on the Volume: whole and verified, before anything that costs a GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ggufctl import modal_app
from ggufctl.catalog import load_prices
from ggufctl.core.deployment import Weights
from ggufctl.core.escape import escape, quoted
from ggufctl.core.units import n_of
from ggufctl.errors import DoesNotFit, RemoteError
from ggufctl.remote.transfer import TransferEvent
from ggufctl.services.modal.ask import ask
from ggufctl.services.modal.urls import UrlFile
from ggufctl.sources.hub import hub_token
from ggufctl.sources.references import hub_endpoint

__all__ = [
    "MAX_FILE_BYTES",
    "Say",
    "bring_weights",
    "container_price",
    "container_usd",
    "download_weights",
]

MAX_FILE_BYTES = 1 << 40
"""A file on a Volume is smaller than this. Source: modal.com/docs/guide/volumes"""

SLOW_BYTES_PER_SECOND = 100_000_000
"""What the time of a download is said with.  [bytes/s]"""

WAIT_SECONDS = 3.0
"""Between two looks whether another download of the same files has ended."""

_NOTHING = TransferEvent("", "").as_dict()

OnProgress = Callable[[Mapping[str, Any]], None]


class Say(Protocol):
    """Tells who listens."""

    def __call__(self, kind: str, text: str, **data: Any) -> None:
        """One event."""


def container_price(n_bytes: int) -> str:
    """What fetching costs, in words: an estimate, as nobody knows the Hub's speed today."""
    hourly, usd = container_usd(n_bytes)
    return (
        f"{n_bytes / 1e9:.2f} GB by a container without a GPU, about ${hourly:.2f} per hour: "
        f"about {math.ceil(_seconds(n_bytes) / 60)} min and {_usd(usd)} at 100 MB/s"
    )


def container_usd(n_bytes: int) -> tuple[float, float]:
    """The same in numbers.  [US dollars per hour, US dollars]"""
    hourly = load_prices().host_usd_per_hour(modal_app.CPU_CORES, modal_app.CPU_MEMORY_MIB).best
    return hourly, hourly * _seconds(n_bytes) / 3600


def _seconds(n_bytes: int) -> float:
    return n_bytes / SLOW_BYTES_PER_SECOND + 30


def _usd(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 0.01 else "less than $0.01"


def bring_weights(
    weights: Weights,
    local_paths: Mapping[str, Path],
    say: Say,
    *,
    urls: Sequence[UrlFile] = (),
    show_output: bool = False,
) -> None:
    """Have everything that a server loads whole on its Volume.

    Args:
        weights: what it loads.
        local_paths: files of this machine, by their names on the Volume.
        say: hears of it.
        urls: files that come from plain URLs.
        show_output: Modal's own progress on stderr.

    Raises: as `download_weights`.
    """
    missing = modal_app.missing_files(weights)
    if missing:
        n_bytes = sum(file.size_bytes for file in missing)
        say("weights", f"{n_of(len(missing), 'file')} ({n_bytes / 1e9:.2f} GB) go to the Volume")
        fetched = _fetched(weights, urls)
        if fetched is not None:
            say("price", container_price(n_bytes))
            download_weights(fetched, _teller(say), urls=urls, show_output=show_output)
        if local_paths:
            modal_app.upload(weights, local_paths)
        _require_whole(weights)
    say("weights", f"complete on the Volume {weights.volume}")


def _fetched(weights: Weights, urls: Sequence[UrlFile]) -> Weights | None:
    """Of all files those that a container fetches: of a repository all, else those of URLs."""
    if weights.repo:
        return weights
    names = {each.name for each in urls}
    files = tuple(file for file in weights.files if file.path in names)
    return replace(weights, files=files, folder_name=weights.folder) if files else None


def download_weights(
    weights: Weights,
    on_progress: OnProgress,
    *,
    urls: Sequence[UrlFile] = (),
    show_output: bool = False,
) -> None:
    """Have a container fetch files of the Hub onto the Volume, whole and verified.

    Args:
        weights: what is wanted, all of one commit.
        on_progress: hears of it, as `remote.transfer.TransferEvent.as_dict` has it.
        urls: where files come from that are not the Hub's.
        show_output: Modal's own progress on stderr.

    Raises:
        DoesNotFit: a file is larger than a Volume takes.
        AccessDenied, ModelNotFound, RemoteError, InvalidGguf: as the Hub and Modal answer.
    """
    for file in weights.files:
        if file.size_bytes >= MAX_FILE_BYTES:
            raise DoesNotFit(
                f"{quoted(file.path)} has {file.size_bytes} bytes; a file on a Volume is smaller "
                f"than {MAX_FILE_BYTES}.",
                "Take a quant that is split into shards.",
            )
    endpoint = hub_endpoint()
    token = hub_token() if weights.repo and _needs_token(weights, endpoint) else ""
    while missing := modal_app.missing_files(weights):
        try:
            modal_app.download(
                weights,
                endpoint=endpoint,
                token=token,
                urls={each.name: (each.url, each.etag) for each in urls},
                on_progress=on_progress,
                show_output=show_output,
            )
        except modal_app.BeingFetched:
            for file in missing:
                on_progress({**_NOTHING, "file": file.path, "state": "waiting"})
            _wait(weights)
        else:
            break
    _require_whole(weights)


def _wait(weights: Weights) -> None:
    """Until nobody fetches these files any more.

    Raises: RemoteError when that takes longer than it may.
    """
    end = time.monotonic() + modal_app.longest_seconds(weights)
    while modal_app.is_being_fetched(weights):
        if time.monotonic() > end:
            raise RemoteError(
                "Another download of the same files does not end.",
                "Its app is called ggufctl-download: stop it on Modal's dashboard, and try again.",
            )
        time.sleep(WAIT_SECONDS)


def _needs_token(weights: Weights, endpoint: str) -> bool:
    """It leaves this machine only for a repository that asks for it."""
    address = f"{endpoint}/{weights.repo}/resolve/{weights.commit}/{quote(weights.files[0].path)}"
    status, _ = ask(address, {"Range": "bytes=0-0"})
    return status in (401, 403, 404)


def _require_whole(weights: Weights) -> None:
    missing = modal_app.missing_files(weights)
    if missing:
        raise RemoteError(
            f"{quoted(missing[0].path)} is not whole on the Volume after it was put there.",
            "Try again: what is there is not fetched twice.",
        )


def _teller(say: Say) -> OnProgress:
    def hear(progress: Mapping[str, Any]) -> None:
        name, state = escape(str(progress["file"]), 200), str(progress["state"])
        text = f"{name}: {state}"
        if state == "progress" and progress["size_bytes"]:
            share = 100 * int(progress["done_bytes"]) // int(progress["size_bytes"])
            rate = int(progress["bytes_per_second"]) / 1e6
            text = f"{name}: {share}%, {rate:.0f} MB/s"
        elif progress.get("text"):
            text += f" ({escape(str(progress['text']), 200)})"
        numbers = {k: v for k, v in progress.items() if isinstance(v, int)}
        say("download", text, file=name, state=state, **numbers)

    return hear
