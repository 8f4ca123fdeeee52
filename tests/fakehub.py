"""A Hugging Face Hub on the loopback interface, for the real client.

Repositories live in memory and may declare sizes far beyond what they hold. Files are served by
a redirect to a second port, as the Hub does, so that a token which crosses hosts is seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class FakeFile:
    """The first bytes of a file and how long it claims to be; the rest is zeros."""

    head: bytes
    size: int = -1
    lfs: bool = True

    def __post_init__(self) -> None:
        self.size = max(self.size, len(self.head))
        self.sha256 = hashlib.sha256(self.head + b"%d" % self.size).hexdigest()

    @classmethod
    def whole(cls, content: bytes) -> FakeFile:
        """A file that is what it claims to be, its checksum included."""
        file = cls(content)
        file.sha256 = hashlib.sha256(content).hexdigest()
        return file

    def read(self, start: int, end: int) -> bytes:
        return self.head[start:end].ljust(min(end, self.size) - start, b"\0")


@dataclass
class Fault:
    """What goes wrong, once, when the content of a file is asked for."""

    status: int = 0
    """Answer with this status instead."""
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int = -1
    """Hang up after this many bytes."""
    size: int = -1
    """Have a file of another size."""
    flip_at: int = -1
    """Send another byte at this place of the file."""
    is_whole: bool = False
    """Ignore the range that is asked for."""
    at_hub: bool = False
    """Already where the file is resolved, not where it is stored."""


@dataclass
class FakeRepo:
    """One model repository at one commit."""

    name: str
    files: dict[str, FakeFile]
    token: str = ""
    """Only this token may see the files."""
    private: bool = False
    tags: tuple[str, ...] = ()
    downloads: int = 0
    revisions: tuple[str, ...] = ("main",)
    disabled: bool = False

    @property
    def commit(self) -> str:
        listing = "".join(f"{path}{file.sha256}" for path, file in sorted(self.files.items()))
        return hashlib.sha1(f"{self.name}{listing}".encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Request:
    """One line of the log."""

    method: str
    path: str
    range: str
    is_authorized: bool
    status: int
    n_bytes: int
    on_cdn: bool


@dataclass
class FakeHub:
    """Two servers on free ports. Use as a context manager."""

    page_size: int = 1000
    direct: bool = False
    """Serve files from the first port instead of redirecting."""
    ignore_range: bool = False
    hide_sizes: bool = False
    """Leave the sizes out of the short listing."""
    fail_with: int = 0
    """Answer everything with this status."""
    repos: dict[str, FakeRepo] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    """Path of a file → drop the connection after this many bytes, once."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """Path of a file → what goes wrong the next times."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Repository → what it is called now."""
    seconds_per_chunk: float = 0.0
    """Pause after each chunk of content."""
    chunk_bytes: int = 64 << 10
    says_xet: bool = False
    """Say that files are kept in xet storage, but not where: the client takes them as usual."""
    plain: dict[str, FakeFile] = field(default_factory=dict)
    """Files under `/plain/` of the first port, for plain URLs."""

    def __enter__(self) -> FakeHub:
        self._log: list[Request] = []
        self._n_running = 0
        self.n_sent = 0
        self._idle = threading.Condition()
        self._servers = [
            _Server(("127.0.0.1", 0), _Handler, self, on_cdn) for on_cdn in (False, True)
        ]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn_url(self) -> str:
        """Where files are redirected to."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add(self, name: str, files: dict[str, FakeFile | bytes], **options: Any) -> FakeRepo:
        """Put a repository on the hub."""
        made = {
            path: file if isinstance(file, FakeFile) else FakeFile(file, lfs=False)
            for path, file in files.items()
        }
        repo = FakeRepo(name, made, **options)
        self.repos[name] = repo
        return repo

    @property
    def log(self) -> list[Request]:
        """Every request, once those under way are finished."""
        with self._idle:
            self._idle.wait_for(lambda: self._n_running == 0, timeout=10)
            return self._log

    def requests(self) -> list[Request]:
        """The log without what the client does on its own, and without redirects."""
        return [
            request
            for request in self.log
            if "agent-harnesses" not in request.path and request.status not in {301, 302, 307}
        ]

    def n_file_bytes(self) -> int:
        """Bytes of file content that were sent."""
        return sum(r.n_bytes for r in self.log if "/api/" not in r.path)

    def begin(self) -> None:
        with self._idle:
            self._n_running += 1

    def finish(self, request: Request) -> None:
        with self._idle:
            self._log.append(request)
            self._n_running -= 1
            self._idle.notify_all()

    def sending(self, n_bytes: int) -> None:
        """Count content that goes out, requests under way included."""
        with self._idle:
            self.n_sent += n_bytes

    def drop_after(self, path: str) -> int | None:
        with self._idle:
            return self.drops.pop(path, None)

    def fault(self, path: str, *, at_hub: bool) -> Fault:
        """What goes wrong this time; nothing if nothing does."""
        with self._idle:
            waiting = self.faults.get(path, [])
            if waiting and waiting[0].at_hub == at_hub:
                return waiting.pop(0)
        return Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any, hub: FakeHub, on_cdn: bool) -> None:
        super().__init__(address, handler)
        self.hub = hub
        self.on_cdn = on_cdn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._form = parse_qs(self.rfile.read(length).decode())
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        hub.begin()
        self._sent = 0
        self._status = 0
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        try:
            if hub.fail_with:
                self._refuse(hub.fail_with)
            elif self.server.on_cdn:
                self._cdn(path)
            elif self._moved(path):
                pass
            elif path.startswith("/plain/"):
                self._plain(path.removeprefix("/plain/"))
            elif path == "/api/models":
                self._search(query)
            elif path.startswith("/api/models/"):
                self._api(path.removeprefix("/api/models/"), query)
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._resolve(*found.groups())
            else:
                self._refuse(404)
        finally:
            hub.finish(
                Request(
                    self.command,
                    path,
                    self.headers.get("Range", ""),
                    "Authorization" in self.headers,
                    self._status,
                    self._sent,
                    self.server.on_cdn,
                )
            )

    def _moved(self, path: str) -> bool:
        """Lead on to the new name of a repository, as the Hub does."""
        for old, new in self.server.hub.renamed.items():
            for before in (f"/api/models/{old}", f"/{old}/resolve/"):
                if path == before or path.startswith(before.rstrip("/") + "/"):
                    self._send(307, b"", {"Location": self.path.replace(old, new, 1)})
                    return True
        return False

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, declared: int = -1
    ) -> None:
        self._status = status
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if declared < 0 else declared))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self._sent += len(body)

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {"Content-Type": "application/json", **(headers or {})})

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        headers = {}
        if code:
            headers["X-Error-Code"] = code
        if message:
            headers["X-Error-Message"] = message
        self._send(status, json.dumps({"error": message or code}).encode(), headers)

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repo(self, name: str, *, content: bool) -> FakeRepo | None:
        """The repository, or None after refusing."""
        repo = self.server.hub.repos.get(name)
        token = self._token()
        if token == "hf_bad":
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif repo is None or (repo.private and token != repo.token):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repo.disabled:
            self._refuse(403, message="Access to this resource is disabled.")
        elif content and repo.token and token != repo.token:
            self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        else:
            return repo
        return None

    def _search(self, query: dict[str, list[str]]) -> None:
        found = []
        for repo in self.server.hub.repos.values():
            wanted = query.get("filter", [])
            text = query.get("search", [""])[0].lower()
            author = query.get("author", [""])[0]
            if (
                all(tag in repo.tags for tag in wanted)
                and text in repo.name.lower()
                and (not author or repo.name.startswith(author + "/"))
            ):
                found.append(repo)
        found.sort(key=lambda repo: -repo.downloads)
        limit = int(query.get("limit", ["1000"])[0])
        self._json([self._info(repo) for repo in found[:limit]])

    def _info(self, repo: FakeRepo) -> dict[str, Any]:
        return {
            "id": repo.name,
            "sha": repo.commit,
            "tags": list(repo.tags),
            "downloads": repo.downloads,
            "private": repo.private,
            "gated": "manual" if repo.token and not repo.private else False,
        }

    def _api(self, rest: str, query: dict[str, list[str]]) -> None:
        parts = rest.split("/")
        repo = self._repo("/".join(parts[:2]), content=False)
        if repo is None:
            return
        verb = parts[2] if len(parts) > 2 else ""
        revision = parts[3] if len(parts) > 3 else "main"
        if revision not in {*repo.revisions, repo.commit}:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif verb in {"", "revision"}:
            blobs = bool(query.get("blobs")) and not self.server.hub.hide_sizes
            siblings = [self._sibling(path, file, blobs) for path, file in repo.files.items()]
            self._json({**self._info(repo), "siblings": siblings})
        elif verb == "tree":
            self._tree(repo, revision, query)
        elif verb == "paths-info":
            wanted = self._form.get("paths", [])
            self._json([self._row(p, f) for p, f in repo.files.items() if p in wanted])
        else:
            self._refuse(404)

    def _sibling(self, path: str, file: FakeFile, blobs: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"rfilename": path}
        if blobs:
            row |= {"size": file.size, "blobId": file.sha256[:40]}
            if file.lfs:
                row["lfs"] = {"size": file.size, "sha256": file.sha256, "pointerSize": 135}
        return row

    def _row(self, path: str, file: FakeFile) -> dict[str, Any]:
        row: dict[str, Any] = {
            "type": "file",
            "path": path,
            "size": file.size,
            "oid": file.sha256[:40],
        }
        if file.lfs:
            row["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 135}
        return row

    def _tree(self, repo: FakeRepo, revision: str, query: dict[str, list[str]]) -> None:
        size = self.server.hub.page_size
        start = int(query.get("cursor", ["0"])[0])
        rows = [self._row(path, file) for path, file in repo.files.items()]
        headers = {}
        if start + size < len(rows):
            link = f"{self.server.hub.url}/api/models/{repo.name}/tree/{revision}"
            headers["Link"] = f'<{link}?recursive=true&cursor={start + size}>; rel="next"'
        self._json(rows[start : start + size], headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, content=True)
        if repo is None:
            return
        if revision not in {*repo.revisions, repo.commit}:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        file = repo.files.get(path)
        if file is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        fault = self.server.hub.fault(path, at_hub=True)
        if fault.status:
            self._send(fault.status, b"", fault.headers)
            return
        etag = f'"{file.sha256 if file.lfs else file.sha256[:40]}"'
        headers = {"X-Repo-Commit": repo.commit, "ETag": etag, "Accept-Ranges": "bytes"}
        if self.server.hub.direct or not file.lfs:
            self._content(path, file, headers)
            return
        if self.server.hub.says_xet:
            headers["X-Xet-Hash"] = file.sha256
        headers |= {
            "X-Linked-Size": str(file.size),
            "X-Linked-Etag": etag,
            "Location": f"{self.server.hub.cdn_url}/cdn/{name}/{quote(path)}?Signature=s3cret",
        }
        self._send(302, b"", headers)

    def _cdn(self, path: str) -> None:
        found = re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path)
        repo = self.server.hub.repos.get(found[1]) if found else None
        file = repo.files.get(found[2]) if repo and found else None
        if file is None or found is None:
            self._refuse(404)
        else:
            self._content(found[2], file, {"ETag": f'"{file.sha256}"'})

    def _plain(self, path: str) -> None:
        file = self.server.hub.plain.get(path)
        if file is None:
            self._refuse(404)
        else:
            self._content(path, file, {"ETag": f'"{file.sha256}"'})

    def _content(self, path: str, file: FakeFile, headers: dict[str, str]) -> None:
        if self.headers.get("If-None-Match", "") == headers["ETag"]:
            self._send(304, b"", headers)
            return
        hub = self.server.hub
        fault = hub.fault(path, at_hub=False) if self.command == "GET" else Fault()
        if fault.status:
            self._send(fault.status, b"", fault.headers)
            return
        size = fault.size if fault.size >= 0 else file.size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
            wanted = None
        start, end, status = 0, size, 200
        if wanted and not hub.ignore_range and not fault.is_whole:
            start, status = int(wanted[1]), 206
            end = min(int(wanted[2] or size) + 1, size)
            if start >= size:
                self._send(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if self.command == "HEAD":
            self._send(status, b"", headers, declared=end - start)
            return
        stop = fault.drop_after if fault.drop_after >= 0 else hub.drop_after(path)
        self._status = status
        self.send_response(status)
        self.send_header("Content-Length", str(end - start))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        position = start
        for chunk in self._chunks(file, start, end if stop is None else min(end, start + stop)):
            if position <= fault.flip_at < position + len(chunk):
                at = fault.flip_at - position
                chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
            self.wfile.write(chunk)
            self._sent += len(chunk)
            position += len(chunk)
            hub.sending(len(chunk))
            if hub.seconds_per_chunk:
                time.sleep(hub.seconds_per_chunk)
        if stop is not None:
            self.close_connection = True

    def _chunks(self, file: FakeFile, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            stop = min(start + self.server.hub.chunk_bytes, end)
            yield file.read(start, stop).ljust(stop - start, b"\0")
            start = stop
