"""The Hugging Face Hub, through its own client. The only module that imports huggingface_hub.

The client is imported inside functions: most commands never need it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufctl.core.escape import quoted, redact
from ggufctl.core.hub_status import Asked, explain_status
from ggufctl.core.names import did_you_mean
from ggufctl.errors import (
    AccessDenied,
    GgufctlError,
    RemoteError,
    UsageError,
)
from ggufctl.sources.base import ModelFile
from ggufctl.sources.http import ConnectionLost, HttpFile, Response
from ggufctl.sources.references import hub_endpoint

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "HubListing",
    "cache_folder",
    "cached_file",
    "cached_files",
    "conversions_of",
    "hub_file",
    "list_files",
    "open_url",
    "similar_repos",
]

_TIMEOUT_SECONDS = 10.0
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


@dataclass(frozen=True, slots=True)
class HubListing:
    """What a repository holds at one commit."""

    repo: str
    """As the Hub spells it."""
    commit: str
    files: tuple[ModelFile, ...]
    tags: tuple[str, ...] = ()


def list_files(repo: str, revision: str) -> HubListing:
    """Every file of a repository with its size, in one request.

    Args:
        repo: `org/name`.
        revision: branch, tag or commit, or empty for the default.

    Raises: ModelNotFound, AccessDenied, RemoteError.
    """
    from huggingface_hub.hf_api import RepoFile

    with _translated(repo, revision):
        api = _api()
        info = api.model_info(
            repo, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
        commit = info.sha or ""
        siblings = info.siblings or []
        files = [_model_file(s.rfilename, s.size, s.lfs) for s in siblings]
        if any(s.size is None for s in siblings if s.rfilename.lower().endswith(".gguf")):
            rows = api.list_repo_tree(repo, recursive=True, revision=commit or revision or None)
            files = [
                _model_file(row.path, row.size, row.lfs)
                for row in rows
                if isinstance(row, RepoFile)
            ]
        tags = tuple(str(tag) for tag in info.tags or ())
        name = info.id if isinstance(info.id, str) and info.id.count("/") == 1 else repo
    if not commit:
        raise RemoteError(f"The Hub does not say at which commit {quoted(repo)} is.")
    return HubListing(name, commit, tuple(f for f in files if _is_plain(f.path)), tags)


def hub_file(repo: str, commit: str, file: ModelFile) -> HttpFile:
    """One file of a repository as a `ByteSource`; each range is resolved anew.

    The locations that the Hub redirects to are signed and expire.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, file.path, revision=commit, endpoint=hub_endpoint())
    return HttpFile(
        url,
        open_url,
        name=quoted(f"{repo}/{file.path}", 0),
        size=file.size_bytes,
        headers=build_hf_headers(library_name="ggufctl"),
        on_status=_StatusOf(repo, commit),
    )


def open_url(url: str, headers: Mapping[str, str]) -> Response:
    """A GET request through the Hub client's session, its body not yet read.

    The session follows redirects and drops the token when they leave the host.

    Raises: RemoteError.
    """
    from huggingface_hub.utils import get_session

    session = get_session()
    with _transport_errors(url):
        request = session.build_request("GET", url, headers=dict(headers), timeout=_TIMEOUT_SECONDS)
        return _Body(session.send(request, stream=True, follow_redirects=True), url)


def conversions_of(repo: str, limit: int = 5) -> tuple[str, ...]:
    """Repositories with GGUF conversions of a model, most downloaded first; empty if unknown."""
    return _search(filter=f"base_model:quantized:{repo}", limit=4 * limit, only_gguf=True)[:limit]


def similar_repos(repo: str, limit: int = 5) -> tuple[str, ...]:
    """Repositories whose name is like the one that was not found; empty if unknown."""
    org, _, name = repo.partition("/")
    found = _search(search=name, limit=20) + _search(author=org, limit=50)
    named: dict[str, list[str]] = {}
    for candidate in dict.fromkeys(found):
        if candidate != repo:
            named.setdefault(candidate.partition("/")[2], []).append(candidate)
    near = did_you_mean(name, named, n=limit)
    return tuple(candidate for close in near for candidate in named[close])[:limit]


def cached_files(repo: str, revision: str) -> HubListing | None:
    """What the Hub client's own cache holds of a repository, without a request, or None."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    commit = revision
    with contextlib.suppress(OSError):
        commit = (root / "refs" / (revision or "main")).read_text().strip() or commit
    if not commit or not _is_plain(commit):
        return None
    folder = root / "snapshots" / commit
    files = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                relative = path.relative_to(folder).as_posix()
                files.append(ModelFile(relative, path.stat().st_size))
    return HubListing(repo, commit, tuple(files)) if files else None


def cache_folder() -> Path:
    """Where the Hub client keeps what it fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Whether the Hub client may ask nobody."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_file(repo: str, commit: str, path: str) -> Path | None:
    """Where the Hub client's own cache holds a file, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, path, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub_endpoint(), library_name="ggufctl")


def _search(*, limit: int, only_gguf: bool = False, **query: Any) -> tuple[str, ...]:
    """Names of repositories; a search that fails only means that there is nothing to offer."""
    found: list[str] = []
    with contextlib.suppress(GgufctlError), _translated("", ""):
        for model in _api().list_models(sort="downloads", limit=limit, **query):
            tags = model.tags or ()
            if not only_gguf or "gguf" in tags or "gguf" in model.id.lower():
                found.append(model.id)
    return tuple(found)


def _model_file(path: str, size: object, lfs: Any) -> ModelFile:
    sha256 = getattr(lfs, "sha256", None)
    if lfs is not None and sha256 is None and isinstance(lfs, Mapping):
        sha256 = lfs.get("sha256") or lfs.get("oid")
    known = isinstance(sha256, str) and len(sha256) == 64 and sha256.isalnum()
    return ModelFile(
        path, size if isinstance(size, int) and size >= 0 else 0, sha256 if known else None
    )


def _is_plain(path: str) -> bool:
    """Whether a path from the Hub stays where it is put."""
    return not path.startswith("/") and not {"", ".", ".."} & set(path.split("/"))


class _Body:
    """A streamed response whose failures are ours."""

    def __init__(self, response: Any, url: str) -> None:
        self._response = response
        self._url = url
        self.status_code: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def iter_raw(self) -> Iterator[bytes]:
        """The body as it arrives; a lost connection comes out as ConnectionLost."""
        with _transport_errors(self._url):
            # Unchunked, so that what arrived before a connection broke is not lost with it.
            yield from self._response.iter_raw()

    def close(self) -> None:
        """Drop what is left of the body."""
        self._response.close()


@contextlib.contextmanager
def _transport_errors(what: str) -> Iterator[None]:
    """Failures of the connection as RemoteError, ConnectionLost where it was tried."""
    import httpx2
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

    name = redact(what)
    try:
        yield
    except OfflineModeIsEnabled:
        raise RemoteError(
            f"{name} was not asked: offline mode is on.", "Unset HF_HUB_OFFLINE."
        ) from None
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            # A file of the client's own, such as that of the token.
            raise AccessDenied(f"{quoted(error.filename)}: {error.strerror}.") from None
        raise ConnectionLost(f"{name} cannot be reached: {_reason(error)}.") from None
    except (httpx2.InvalidURL, UnicodeError):
        raise UsageError(f"{name} is not a URL that can be opened.") from None


def _reason(error: BaseException) -> str:
    lines = redact(str(error)).strip().splitlines()
    text = _ERRNO.sub("", lines[0]).rstrip(".") if lines else ""
    return text or type(error).__name__


@contextlib.contextmanager
def _translated(repo: str, revision: str) -> Iterator[None]:
    """Everything the client raises as errors of ours."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        with _transport_errors(hub_endpoint()):
            try:
                yield
            except HfHubHTTPError as error:
                raise _status_error(error.response, repo, revision) from None
    except HFValidationError as error:
        raise UsageError(f"{quoted(repo)}: {_reason(error)}.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RemoteError(f"The Hub's answer makes no sense: {_reason(error)}.") from None


@dataclass(frozen=True, slots=True)
class _StatusOf:
    """Explains a refused request for a file of a repository."""

    repo: str
    revision: str

    def __call__(self, response: Response) -> None:
        raise _status_error(response, self.repo, self.revision)


def _status_error(response: Response | Any, repo: str, revision: str) -> GgufctlError:
    """What an answer of 400 and above means, as the error to raise."""
    asked = Asked(repo, revision, hub_endpoint(), has_token=_has_token())
    return explain_status(int(response.status_code), response.headers, asked)


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())


def hub_token() -> str:
    """The user's token for the Hub; empty without one."""
    from huggingface_hub import get_token

    return get_token() or ""
