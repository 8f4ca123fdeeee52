"""The one download engine: a list of files at one commit, whole, verified and resumable.

Runs on this machine and in containers: nothing is needed beside our core but `huggingface_hub`.
Bytes go to a partial file that another process can continue; a file gets its name only when its
size and sha256 are right, and a record beside it says so, so that it need not be hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import queue
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from ggufctl.core.escape import escape, quoted, redact, redact_url
from ggufctl.core.hub_status import Asked, explain_status
from ggufctl.errors import (
    AccessDenied,
    DoesNotFit,
    GgufctlError,
    InvalidGguf,
    ModelNotFound,
    RemoteError,
    UsageError,
)
from ggufctl.remote.layout import (
    FlatLayout,
    HubCacheLayout,
    Layout,
    Record,
    WantedFile,
    can_be_kept,
    is_whole,
    read_record,
    write_record,
)

__all__ = [
    "URLS_VARIABLE",
    "FlatLayout",
    "HubCacheLayout",
    "Job",
    "Layout",
    "TransferEvent",
    "WantedFile",
    "bytes_to_come",
    "check_room",
    "is_whole",
    "job_from_config",
    "missing",
    "transfer",
    "verify",
]

URLS_VARIABLE = "GGUFCTL_URLS"
"""Of a container: where files come from that are not the Hub's."""

HUB = "https://huggingface.co"

MAX_TRIES = 5
"""Attempts at a file in a row of which none brought `WORTHWHILE_BYTES`."""

WORTHWHILE_BYTES = 1 << 20
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 300.0
TIMEOUT_SECONDS = 30.0
MAX_REDIRECTS = 5

MAX_HTTP_BYTES = 40_000_000_000
"""The Hub's storage sends no answer above 50 GB other than by xet: larger ones are asked for in
parts. Source: huggingface_hub constants.py MAX_HTTP_DOWNLOAD_SIZE."""

_HASH_BYTES = 1 << 20
_RATE_SECONDS = 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,19}", re.ASCII)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORTH_A_RETRY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class TransferEvent:
    """Something that happened to one file of a job.

    Attributes:
        file: its path.
        state: `present`, `waiting` for another process, `started`, `progress`, `retry`,
            `verifying`, `complete`; of `verify` also `verified`, `differs`,
            `missing` and `unverified`.
        done_bytes: of the file.  [bytes]
        size_bytes: of the file.  [bytes]
        all_done_bytes: of the whole job.  [bytes]
        all_bytes: of the whole job.  [bytes]
        bytes_per_second: that the job moved in the last seconds.
        text: why, where there is a why.
    """

    file: str
    state: str
    done_bytes: int = 0
    size_bytes: int = 0
    all_done_bytes: int = 0
    all_bytes: int = 0
    bytes_per_second: int = 0
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for another process."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TransferEvent:
        """What `as_dict` of perhaps another version made."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Files that are to be had, and where to put them.

    Attributes:
        files: exact names, sizes and checksums.
        layout: where they go.
        endpoint: of the Hub; empty for the usual one.
        token: for the Hub, never for another server; empty for none.
        n_workers: files fetched at once.
        interval_seconds: at least between two `progress` events of a file.
        room_bytes: there is for them; None to ask the file system, -1 not to ask.
    """

    files: tuple[WantedFile, ...]
    layout: Layout
    endpoint: str = ""
    token: str = field(default="", repr=False)
    n_workers: int = 4
    interval_seconds: float = 0.5
    room_bytes: int | None = None

    @property
    def asked(self) -> Asked:
        """For the words of a refusal."""
        return Asked(
            self.layout.repo, self.layout.commit, self.endpoint or HUB, has_token=bool(self.token)
        )

    def url(self, file: WantedFile) -> str:
        """Where a file is asked for."""
        if file.url:
            return file.url
        name = quote(file.path)
        return (
            f"{self.endpoint or HUB}/{self.layout.repo}/resolve/{quote(self.layout.commit)}/{name}"
        )


def job_from_config(config: Mapping[str, Any]) -> Job:
    """The job of a container: onto a Volume, as plain data has it, what is secret from variables.

    The token is in `HF_TOKEN`, what is not the Hub's in `GGUFCTL_URLS`: name → URL and etag.

    Args:
        config: `repo`, `commit`, `endpoint`, `folder` and `files` as path, size and sha256.
    """
    layout = FlatLayout(
        Path(config["folder"]),
        config["repo"],
        config["commit"],
        # A lock on a Volume would be kept with it, and nobody would ever let go of it.
        locks=Path(config.get("locks") or "/tmp/ggufctl-locks"),
    )
    urls = json.loads(os.environ.get(URLS_VARIABLE) or "{}")
    files = []
    for path, size, sha256 in config["files"]:
        url, etag = urls.get(path, ("", ""))
        files.append(WantedFile(path, size, sha256, url=url, etag=etag))
    return Job(
        files=tuple(files),
        layout=layout,
        endpoint=config.get("endpoint") or "",
        token=os.environ.get("HF_TOKEN", ""),
        room_bytes=config.get("room_bytes"),
    )


def missing(layout: Layout, files: Sequence[WantedFile]) -> tuple[WantedFile, ...]:
    """The files that are not there, whole and verified; nothing is hashed or asked for."""
    return tuple(file for file in files if not is_whole(layout, file))


def bytes_to_come(layout: Layout, files: Sequence[WantedFile]) -> int:
    """What is still to be fetched, less what interrupted downloads have left.  [bytes]"""
    return sum(
        max(file.size_bytes - max(_size(layout.partial(file)), 0), 0)
        for file in files
        if _size(layout.content(file)) != file.size_bytes
    )


def free_bytes(folder: Path) -> int:
    """Room where a folder is, or is to be.  [bytes]"""
    # Not Path.exists, which raises for what may not be looked at.
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(layout: Layout, files: Sequence[WantedFile], room_bytes: int | None = None) -> None:
    """Refuse what there is no room for, before its first byte.

    Args:
        layout: where the files are to go.
        files: all of them.
        room_bytes: there is; None to ask the file system, -1 not to ask.

    Raises: DoesNotFit.
    """
    if room_bytes is not None and room_bytes < 0:
        return
    needed = bytes_to_come(layout, files)
    free = free_bytes(layout.root) if room_bytes is None else room_bytes
    if needed > free:
        raise DoesNotFit(
            f"The download has {needed} bytes and {quoted(str(layout.root))} has {free} left.",
            "Make room (ggufctl models prune), or choose another place with --to.",
        )


def transfer(job: Job) -> Iterator[TransferEvent]:
    """Fetch what is not there yet, several files at once, and say how it goes.

    Ending the iteration ends the download; another one continues it.

    Raises:
        AccessDenied, ModelNotFound: as the server answers.
        RemoteError: it failed again and again, or asks to wait too long.
        InvalidGguf: what it sends is not what it should be.
        DoesNotFit: the disk is full.
    """
    board = _Board(job.files, job.interval_seconds)
    wanted = []
    for file in job.files:
        _check_name(file.path)
        if is_whole(job.layout, file):
            yield board.event(file, "present", file.size_bytes)
        else:
            wanted.append(file)
    if not wanted:
        return
    check_room(job.layout, wanted, job.room_bytes)
    todo = deque(wanted)
    # Not an executor's threads: what cannot be interrupted must not keep the process from ending.
    threads = [
        threading.Thread(target=_work, args=(job, board, todo), daemon=True)
        for _ in range(max(1, min(job.n_workers, len(wanted))))
    ]
    for thread in threads:
        thread.start()
    n_running = len(threads)
    try:
        while n_running:
            said = board.said.get()
            if isinstance(said, BaseException):
                raise said
            if said is None:
                n_running -= 1
            else:
                yield said
    finally:
        board.stop.set()
        for thread in threads:
            thread.join(timeout=1.0)


def verify(layout: Layout, files: Sequence[WantedFile]) -> Iterator[TransferEvent]:
    """Hash files that are there: `verifying` as it goes, then what was found.

    That is `verified`, `differs`, `missing`, or `unverified` where nobody knows what the content
    should be. What agrees is recorded, where that may be written; the record of what does not is
    taken away.

    Raises: AccessDenied when a file cannot be read.
    """
    board = _Board(files, 0.5)
    for file in files:
        content = layout.content(file)
        if _size(content) < 0:
            yield board.event(file, "missing", 0)
            continue
        digest = hashlib.sha256()
        try:
            stat = content.stat()
            for n_bytes in _hashed(content, digest):
                if (event := board.progress(file, "verifying", n_bytes)) is not None:
                    yield event
        except FileNotFoundError:
            # Somebody removed it meanwhile.
            yield board.event(file, "missing", 0)
            continue
        except OSError as error:
            raise AccessDenied(
                f"{quoted(str(content), 0)} cannot be read: {error.strerror}."
            ) from None
        known = read_record(layout.record(file))
        if not file.sha256:
            state = "unverified"
        elif (stat.st_size, digest.hexdigest()) == (file.size_bytes, file.sha256):
            state = "verified"
            etag = file.etag or (known.etag if known is not None else "")
            with contextlib.suppress(OSError):
                _note(layout, file, stat.st_mtime_ns, etag)
        else:
            state = "differs"
            with contextlib.suppress(OSError):
                layout.record(file).unlink()
        yield board.event(file, state, file.size_bytes)


class _Stopped(Exception):
    """Nobody listens any more."""


class _Retry(Exception):
    """Something that another attempt may mend."""

    def __init__(self, reason: str, final: GgufctlError, wait_seconds: float = -1.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        """What it is when no attempt does."""
        self.wait_seconds = wait_seconds
        """As the server asks; below zero if it does not."""


class _Board:
    """What all workers of a job share: how far each file is, and who hears of it."""

    def __init__(self, files: Sequence[WantedFile], interval_seconds: float) -> None:
        self.said: queue.SimpleQueue[TransferEvent | BaseException | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.xet = threading.Lock()
        self._interval_seconds = interval_seconds
        self._all_bytes = sum(file.size_bytes for file in files)
        self._done: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._moved = 0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._lock = threading.Lock()

    def moved(self, n_bytes: int) -> None:
        """Count bytes that arrived."""
        with self._lock:
            self._moved += n_bytes

    def progress(self, file: WantedFile, state: str, done_bytes: int) -> TransferEvent | None:
        """An event, unless there was one of this file a moment ago."""
        now = time.monotonic()
        if now - self._last.get(file.path, -1e9) < self._interval_seconds:
            return None
        self._last[file.path] = now
        return self.event(file, state, done_bytes)

    def event(self, file: WantedFile, state: str, done_bytes: int, text: str = "") -> TransferEvent:
        """An event, with the sums as they are now."""
        with self._lock:
            self._done[file.path] = done_bytes
            now = time.monotonic()
            self._samples.append((now, self._moved))
            while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
                self._samples.popleft()
            since, moved = self._samples[0]
            rate = int((self._moved - moved) / (now - since)) if now > since else 0
            all_done = sum(self._done.values())
        return TransferEvent(
            file.path, state, done_bytes, file.size_bytes, all_done, self._all_bytes, rate, text
        )

    def say(self, file: WantedFile, state: str, done_bytes: int, text: str = "") -> None:
        """Have an event heard."""
        self.said.put(self.event(file, state, done_bytes, text))

    def say_progress(self, file: WantedFile, done_bytes: int, state: str = "progress") -> None:
        """Have an event heard if it is time for one."""
        if self.stop.is_set():
            raise _Stopped
        if (event := self.progress(file, state, done_bytes)) is not None:
            self.said.put(event)


def _work(job: Job, board: _Board, todo: deque[WantedFile]) -> None:
    """One worker: file after file until there are none, or one cannot be had."""
    try:
        while not board.stop.is_set():
            try:
                file = todo.popleft()
            except IndexError:
                break
            with _translated(job.layout, file):
                _Fetch(job, board, file).run()
    except _Stopped:
        pass
    except BaseException as error:
        board.said.put(error)
    board.said.put(None)


@contextlib.contextmanager
def _translated(layout: Layout, file: WantedFile) -> Iterator[None]:
    """What the operating system refuses, as errors of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            done, size = _size(layout.partial(file)), file.size_bytes
            raise DoesNotFit(
                f"{quoted(str(layout.root))} is full: {quoted(file.path)} lacks "
                f"{size - max(done, 0)} of its {size} bytes.",
                "Make room (ggufctl models prune) and run it again: what is there is kept.",
            ) from None
        where = error.filename if isinstance(error.filename, str) else str(layout.root)
        if where.rpartition("/")[2].startswith(".record-"):
            where = where.rpartition("/")[0]
        if error.errno == errno.ENOENT:
            raise RemoteError(
                f"{quoted(where)} is gone: something else removed it meanwhile.", "Run it again."
            ) from None
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"{quoted(str(layout.root))} cannot hold {quoted(file.path)}: its name is too long "
                "for the disk.",
                "Name another place with --to.",
            ) from None
        raise AccessDenied(f"{quoted(where)}: {error.strerror or error}.") from None


class _Fetch:
    """One file, from nothing or from a part to its place."""

    def __init__(self, job: Job, board: _Board, file: WantedFile) -> None:
        self.job = job
        self.board = board
        self.file = file
        self.layout = job.layout
        self.partial = job.layout.partial(file)
        self.etag = ""
        self.sha256 = ""
        self._hasher: _Hasher | None = None

    def run(self) -> None:
        """Until the file is whole and verified where it belongs."""
        with self._locked():
            if is_whole(self.layout, self.file):
                self.board.say(self.file, "present", self.file.size_bytes)
            elif self._adopted():
                self.board.say(self.file, "complete", self.file.size_bytes)
            elif isinstance(self.layout, HubCacheLayout) and not self.file.sha256:
                self._into_cache(self.layout)
            else:
                self._fetch_verified()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else fetches this file now."""
        lock_of = import_module("huggingface_hub.utils").WeakFileLock
        timeout = import_module("filelock").Timeout
        path = self.layout.lock(self.file)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(lock_of(path, timeout=0.5))
                except timeout:
                    self.board.say_progress(self.file, max(_size(self.partial), 0), "waiting")
                except OSError as error:
                    if error.errno not in _READ_ONLY:
                        raise
                    # What may only be read may still be used; nothing can be fetched there.
                    break
                else:
                    break
            yield

    def _adopted(self) -> bool:
        """Whether somebody else has put the right content where it belongs; hashed once."""
        content = self.layout.content(self.file)
        if not self.file.sha256 or _size(content) != self.file.size_bytes:
            return False
        digest = hashlib.sha256()
        mtime_ns = content.stat().st_mtime_ns
        for n_bytes in _hashed(content, digest):
            self.board.say_progress(self.file, n_bytes, "verifying")
        if digest.hexdigest() != self.file.sha256:
            return False
        try:
            _note(self.layout, self.file, mtime_ns, self.file.sha256)
            self.layout.publish(self.file)
        except OSError as error:
            if error.errno not in _READ_ONLY or not self._is_published():
                raise
        return True

    def _is_published(self) -> bool:
        """Whether readers find it already."""
        try:
            return self.layout.final(self.file).samefile(self.layout.content(self.file))
        except OSError:
            return False

    def _fetch_verified(self) -> None:
        # The Hub client calls a cached repository broken that has no snapshot yet.
        for folder in (self.partial.parent, self.layout.final(self.file).parent):
            folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # A name that the disk cannot take is told before anything is fetched.
            self.layout.final(self.file).lstat()
        for path in self.layout.outdated(self.file):
            path.unlink(missing_ok=True)
        resumed = self._resumable() > 0
        write_record(self.layout.begun(self.file), self._record(0))
        self.board.say(self.file, "started", self._resumable())
        if not self._fetch():
            return
        if not self._is_right():
            self._forget_partial()
            if not resumed:
                raise self._not_as_said()
            self.board.say(self.file, "retry", 0, "what was left of an earlier download is spoilt")
            if not self._fetch():
                return
            if not self._is_right():
                self._forget_partial()
                raise self._not_as_said()
        self._put_in_place()

    def _not_as_said(self) -> InvalidGguf:
        self.layout.begun(self.file).unlink(missing_ok=True)
        return InvalidGguf(
            f"{quoted(self.file.path)} is not what it is said to be: its sha256 differs.",
            "Nothing of it was kept. Try again; if it stays so, its author must mend it.",
        )

    def _resumable(self) -> int:
        """What of the file is there and may be continued.  [bytes]"""
        have = _size(self.partial)
        if have > self.file.size_bytes or (not self.file.sha256 and not self._known_etag()):
            self._forget_partial()
            return 0
        return max(have, 0)

    def _known_etag(self) -> str:
        """Of what the partial file is a part, where no sha256 tells."""
        try:
            etag = self._etag_path.read_text()
        except OSError:
            return ""
        return "" if self.file.etag and etag != self.file.etag else etag

    @property
    def _etag_path(self) -> Path:
        return self.partial.with_name(self.partial.name + ".etag")

    def _forget_partial(self) -> None:
        if self._hasher is not None:
            self._hasher.leave()
            self._hasher = None
        for path in (self.partial, self._etag_path):
            path.unlink(missing_ok=True)

    def _record(self, mtime_ns: int) -> Record:
        """Of the file as it is wanted."""
        return Record(
            path=self.file.path,
            size_bytes=self.file.size_bytes,
            mtime_ns=mtime_ns,
            sha256=self.file.sha256 or "",
            repo=self.layout.repo,
            commit=self.layout.commit,
        )

    def _fetch(self) -> bool:
        """Bring every byte to the partial file; False if the Hub client has done it otherwise."""
        tries = 0
        while (have := self._resumable()) < self.file.size_bytes or not self.partial.exists():
            try:
                if not self._request(have):
                    return False
                self._require_gain(have)
            except _Retry as retry:
                gained = _size(self.partial) - have
                tries = 1 if gained >= WORTHWHILE_BYTES else tries + 1
                self._pause(retry, tries)
        return True

    def _require_gain(self, have: int) -> None:
        """Take an answer that was good and short for a connection that was lost."""
        now = _size(self.partial)
        if now < self.file.size_bytes and now - have < WORTHWHILE_BYTES:
            reason = "the server ended before the file did"
            raise _Retry(reason, RemoteError(f"{quoted(self.file.path)}: {reason}."))

    def _pause(self, retry: _Retry, tries: int) -> None:
        if tries >= MAX_TRIES:
            raise retry.final
        seconds = retry.wait_seconds
        if seconds > LONGEST_WAIT_SECONDS:
            raise RemoteError(
                f"The server asks to wait {seconds:.0f} seconds before "
                f"{quoted(self.file.path)} goes on.",
                "Run it again then: what is there is kept.",
            )
        if seconds < 0:
            seconds = min(FIRST_WAIT_SECONDS * 2 ** (tries - 1), 8.0)
        text = f"{retry.reason}; again in {seconds:g} s"
        self.board.say(self.file, "retry", max(_size(self.partial), 0), text)
        if self.board.stop.wait(seconds):
            raise _Stopped

    def _request(self, have: int) -> bool:
        """One answer of the server, written as it comes; False if xet was the better way."""
        end = min(have + MAX_HTTP_BYTES, self.file.size_bytes)
        headers = {"Accept-Encoding": "identity"}
        if have or end < self.file.size_bytes:
            headers["Range"] = f"bytes={have}-{end - 1}"
            if have and not self.file.sha256:
                headers["If-Range"] = self._known_etag()
        with _open(self.job, self.file, headers, may_use_xet=not have) as (response, is_xet):
            if is_xet:
                response.close()
                self._through_xet()
                return False
            start = self._check(response, have)
            if start == 0:
                self._begin(response)
            self._write(response, start)
        return True

    def _check(self, response: Any, have: int) -> int:
        """At which byte of the file the body of an answer begins."""
        size, status = self.file.size_bytes, int(response.status_code)
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if found is None or int(found[1]) != have:
                reason = "the server answered with another range"
                self._forget_partial()
                raise _Retry(reason, RemoteError(f"{quoted(self.file.path)}: {reason}."))
            total = -1 if found[3] == "*" else int(found[3])
        else:
            # It ignores ranges, or the file is another one now.
            have = 0
            length = response.headers.get("content-length", "")
            total = int(length) if _LENGTH.fullmatch(length) else -1
        if total not in (-1, size):
            reason = f"the server has {total} bytes, and it should be {size}"
            raise _Retry(reason, InvalidGguf(f"{quoted(self.file.path)}: {reason}."))
        return have

    def _begin(self, response: Any) -> None:
        """Forget what there was: the answer has the file from its first byte."""
        self._forget_partial()
        etag = response.headers.get("etag", "")
        self.etag = etag
        if not self.file.sha256 and etag and not etag.startswith("W/"):
            self._etag_path.write_text(etag)

    def _write(self, response: Any, start: int) -> None:
        path, size, position = self.partial, self.file.size_bytes, start
        board, file = self.board, self.file
        with open(path, "ab", buffering=0) as out:
            hasher = self._hashing()
            try:
                with _transport(self.job.url(self.file)):
                    for chunk in response.iter_raw():
                        n_bytes = len(chunk)
                        if position + n_bytes > size:
                            self._forget_partial()
                            reason = f"the server sends more than {size} bytes"
                            raise _Retry(reason, InvalidGguf(f"{quoted(file.path)}: {reason}."))
                        _write_all(out, chunk)
                        position += n_bytes
                        board.moved(n_bytes)
                        hasher.written = position
                        board.say_progress(file, position)
            finally:
                hasher.written = position

    def _hashing(self) -> _Hasher:
        """What hashes the partial file behind the writer, from its first byte."""
        if self._hasher is None:
            self._hasher = _Hasher(self.partial, self.file.size_bytes, self.board.stop)
        return self._hasher

    def _is_right(self) -> bool:
        """Whether what is there has the sha256 it should have."""
        hasher = self._hashing()
        hasher.written = self.file.size_bytes
        while not hasher.finished.wait(0.2):
            self.board.say_progress(self.file, hasher.position, "verifying")
        self.sha256 = hasher.hexdigest
        return not self.file.sha256 or self.sha256 == self.file.sha256

    def _put_in_place(self) -> None:
        with open(self.partial, "rb+") as file:
            # The record says that the content is right, so it must not get ahead of it.
            os.fsync(file.fileno())
        content = self.layout.content(self.file)
        content.parent.mkdir(parents=True, exist_ok=True)
        mtime_ns = self.partial.stat().st_mtime_ns
        etag = self.etag or self._known_etag()
        _note(self.layout, self.file, mtime_ns, etag, self.sha256)
        os.replace(self.partial, content)
        for path in (self._etag_path, self.layout.begun(self.file)):
            path.unlink(missing_ok=True)
        self.layout.publish(self.file)
        self.board.say(self.file, "complete", self.file.size_bytes)

    def _through_xet(self) -> None:
        """Have the Hub client fetch the file by xet, which is faster and knows no limit of size."""
        folder = self.layout.staging(self.file)
        # What a killed client leaves there cannot be continued.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with self.board.xet:
            found = self._by_client(local_dir=folder)
        os.replace(found, self.partial)
        shutil.rmtree(folder, ignore_errors=True)
        if not self._is_right():
            self._forget_partial()
            raise self._not_as_said()
        self._put_in_place()

    def _into_cache(self, layout: HubCacheLayout) -> None:
        """Have the Hub client put a file into its cache that only the Hub knows the name of."""
        self.board.say(self.file, "started", 0)
        tries = 0
        while True:
            try:
                found = self._by_client(cache_dir=layout.root)
                break
            except _Retry as retry:
                tries += 1
                self._pause(retry, tries)
        stat = found.stat()
        if stat.st_size != self.file.size_bytes:
            raise self._not_as_said()
        digest = hashlib.sha256()
        for n_bytes in _hashed(found, digest):
            self.board.say_progress(self.file, n_bytes, "verifying")
        _note(layout, self.file, stat.st_mtime_ns, found.resolve().name, digest.hexdigest())
        layout.publish(self.file)
        self.board.say(self.file, "complete", self.file.size_bytes)

    def _by_client(self, **where: Path) -> Path:
        """The file as the Hub client itself fetched it.

        Raises: _Retry, or as the Hub refuses it.
        """
        os.environ.setdefault("HF_XET_HIGH_PERFORMANCE", "1")
        hub = import_module("huggingface_hub")
        errors = import_module("huggingface_hub.errors")
        name = quoted(self.file.path)
        try:
            with _transport(self.job.url(self.file)):
                found = hub.hf_hub_download(
                    self.layout.repo,
                    self.file.path,
                    revision=self.layout.commit,
                    endpoint=self.job.endpoint or None,
                    token=self.job.token or False,
                    library_name="ggufctl",
                    # A class, since the client looks at what its class can do.
                    tqdm_class=type("Bar", (_Bar,), {"board": self.board, "file": self.file}),
                    **where,
                )
        except errors.HfHubHTTPError as error:
            status = int(error.response.status_code)
            refusal = explain_status(status, error.response.headers, self.job.asked)
            if status in _WORTH_A_RETRY:
                raise _Retry(str(status), refusal, _retry_after(error.response.headers)) from None
            raise refusal from None
        except errors.OfflineModeIsEnabled:
            raise _offline() from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise _Retry(_reason(error), RemoteError(f"{name}: {_reason(error)}.")) from None
        except (ValueError, RuntimeError) as error:
            raise _Retry(_reason(error), RemoteError(f"{name}: {_reason(error)}.")) from None
        return Path(found)


class _Hasher:
    """The sha256 of a file that is being written, a step behind its writer.

    Reads what lies on the disk, so that it covers what an earlier process left there too.
    """

    def __init__(self, path: Path, size_bytes: int, stop: threading.Event) -> None:
        self.written = 0
        """How far the file may be read; set by the writer.  [bytes]"""
        self.position = 0
        self.hexdigest = ""
        self.finished = threading.Event()
        self._path = path
        self._size_bytes = size_bytes
        self._stop = stop
        self._is_left = False
        threading.Thread(target=self._run, daemon=True).start()

    def leave(self) -> None:
        """Nobody wants to know any more."""
        self._is_left = True

    def _run(self) -> None:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_HASH_BYTES))
        with contextlib.suppress(OSError), open(self._path, "rb", buffering=0) as file:
            while self.position < self._size_bytes and not (self._is_left or self._stop.is_set()):
                ready = min(self.written - self.position, len(buffer))
                if ready < len(buffer) and self.position + ready < self._size_bytes:
                    time.sleep(0.005)
                    continue
                n_bytes = file.readinto(buffer[:ready])
                if not n_bytes:
                    break
                digest.update(buffer[:n_bytes])
                self.position += n_bytes
        if self.position == self._size_bytes:
            self.hexdigest = digest.hexdigest()
        self.finished.set()


class _Bar:
    """What the Hub client takes for a progress bar."""

    board: _Board
    file: WantedFile

    def __init__(self, **options: Any) -> None:
        self.n = int(options.get("initial") or 0)
        self.total = options.get("total")

    def update(self, n: float = 1) -> None:
        """More bytes are there."""
        self.n += int(n)
        self.board.moved(int(n))
        event = self.board.progress(self.file, "progress", min(self.n, self.file.size_bytes))
        if event is not None:
            self.board.said.put(event)

    def update_transfer(self, n: float = 1) -> None:
        """Bytes on the way count when they are there."""

    def set_postfix_str(self, *args: Any, **options: Any) -> None:
        """Nothing is drawn."""

    set_transfer_postfix_str = refresh = close = set_postfix_str

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _open(
    job: Job, file: WantedFile, headers: Mapping[str, str], *, may_use_xet: bool
) -> Iterator[tuple[Any, bool]]:
    """`(answer, whether to use xet instead)` to a GET, its body not read.

    Redirects are followed here: the token goes to no other origin, and what the Hub says of the
    file on the way is held against what is known.
    """
    utils = import_module("huggingface_hub.utils")
    session = utils.get_session()
    first = url = job.url(file)
    token = job.token if not file.url else ""
    sent = {**utils.build_hf_headers(token=token or False, library_name="ggufctl"), **headers}
    for _ in range(MAX_REDIRECTS + 1):
        if _origin(url) != _origin(first):
            sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
        with _transport(url):
            request = session.build_request("GET", url, headers=sent, timeout=TIMEOUT_SECONDS)
            response = session.send(request, stream=True, follow_redirects=False)
        try:
            location = response.headers.get("location", "")
            if response.status_code >= 400:
                raise _refused(job, file, url, response)
            if not file.url:
                _check_link(file, response.headers)
                if may_use_xet and response.headers.get("x-xet-hash") and _has_xet():
                    yield response, True
                    return
            if not (300 <= response.status_code < 400 and location):
                yield response, False
                return
        finally:
            response.close()
        url = urljoin(url, location)
        if urlsplit(url).scheme not in ("http", "https"):
            break
    raise RemoteError(f"{redact_url(first)} leads from one place to the next without an end.")


def _check_link(file: WantedFile, headers: Mapping[str, str]) -> None:
    """Refuse what is another file than the one that was looked up."""
    etag = headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    size = headers.get("x-linked-size", "")
    differs = bool(file.sha256) and len(etag) == 64 and etag != file.sha256
    if differs or (_LENGTH.fullmatch(size) and int(size) != file.size_bytes):
        raise InvalidGguf(
            f"The Hub now has another {quoted(file.path)} than it listed.", "Try again."
        )


def _refused(job: Job, file: WantedFile, url: str, response: Any) -> Exception:
    """What an answer of 400 and above means, as what to raise."""
    status, headers = int(response.status_code), response.headers
    name = redact_url(url) if file.url else quoted(file.path)
    if status in _WORTH_A_RETRY:
        reason = f"the server answers {status}"
        if file.url:
            final: GgufctlError = RemoteError(f"{name}: {reason}.", "Try again later.")
        else:
            final = explain_status(status, headers, job.asked)
        return _Retry(reason, final, _retry_after(headers))
    if status == 416:
        reason = "the server has no such part of the file"
        job.layout.partial(file).unlink(missing_ok=True)
        return _Retry(reason, InvalidGguf(f"{name} is shorter than it is said to be."))
    if not file.url and _origin(url) == _origin(job.url(file)):
        return explain_status(status, headers, job.asked)
    if not file.url:
        # The address is signed and expires: another one is asked for.
        reason = f"the Hub's storage answers {status}"
        return _Retry(reason, RemoteError(f"{name}: {reason}."))
    if status in (401, 403):
        return AccessDenied(f"{name}: the server refuses access ({status}).")
    if status in (404, 410):
        return ModelNotFound(f"{name}: there is no such file ({status}).")
    return RemoteError(f"{name}: the server answers {status}.")


def _retry_after(headers: Mapping[str, str]) -> float:
    """How long the server asks to wait; below zero if it does not.  [s]"""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    if value:
        with contextlib.suppress(ValueError, TypeError):
            return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    limits = import_module("huggingface_hub.utils").parse_ratelimit_headers(headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    return -1.0


@contextlib.contextmanager
def _transport(url: str) -> Iterator[None]:
    """Failures of the connection as `_Retry`; what no attempt mends as errors of ours."""
    errors = import_module("huggingface_hub.errors")
    client = import_module("httpx2")
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise _offline() from None
    except errors.HfHubHTTPError:
        raise
    except errors.HTTPError as error:
        name = redact_url(url)
        reason = f"the connection to {escape(urlsplit(url).netloc)} failed: {_reason(error)}"
        final = RemoteError(
            f"{name} cannot be had: {_reason(error)}.", "Run it again: what is there is kept."
        )
        raise _Retry(reason, final) from None
    except (client.InvalidURL, UnicodeError):
        raise UsageError(f"{redact_url(url)} is not a URL that can be opened.") from None


def _offline() -> RemoteError:
    return RemoteError(
        "Offline mode is on, and not everything is here.",
        "Unset HF_HUB_OFFLINE; what is complete can be used without it.",
    )


def _reason(error: BaseException) -> str:
    lines = redact(str(error)).strip().splitlines()
    text = lines[0].rstrip(".") if lines else ""
    return text or type(error).__name__


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _has_xet() -> bool:
    """Whether the Hub client can and may use xet."""
    return (
        find_spec("hf_xet") is not None
        and not import_module("huggingface_hub.constants").HF_HUB_DISABLE_XET
    )


def _check_name(path: str) -> None:
    """Refuse a name that leads out of the destination."""
    if not can_be_kept(path):
        raise UsageError(f"{quoted(path)} is not the name of a file that can be kept.")


def _note(layout: Layout, file: WantedFile, mtime_ns: int, etag: str, sha256: str = "") -> None:
    """Record that a file is as it should be."""
    record = Record(
        path=file.path,
        size_bytes=file.size_bytes,
        mtime_ns=mtime_ns,
        sha256=file.sha256 or sha256,
        etag=file.etag or etag,
        repo=layout.repo,
        commit=layout.commit,
        verified_at=int(time.time()),
    )
    write_record(layout.record(file), record)


def _hashed(path: Path, digest: Any) -> Iterator[int]:
    """Update a digest with a file, and say how far that is.  [bytes]"""
    buffer = memoryview(bytearray(_HASH_BYTES))
    done = 0
    with open(path, "rb", buffering=0) as file:
        while n_bytes := file.readinto(buffer):
            digest.update(buffer[:n_bytes])
            done += n_bytes
            yield done


def _write_all(out: Any, chunk: bytes) -> None:
    """Write a chunk; a disk that is nearly full takes a part of it first."""
    n_bytes = out.write(chunk)
    while n_bytes < len(chunk):
        chunk = chunk[n_bytes:]
        n_bytes = out.write(chunk)


def _size(path: Path) -> int:
    """Of a file, -1 where there is none.  [bytes]"""
    try:
        return path.stat().st_size
    except OSError:
        return -1
