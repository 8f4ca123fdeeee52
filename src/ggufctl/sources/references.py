"""What a user may write to name a model, taken apart without asking anybody."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ggufctl.core.escape import escape, quoted, redact_url
from ggufctl.errors import UsageError

__all__ = ["Reference", "ReferenceKind", "hub_endpoint", "parse_reference"]

_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}", re.ASCII)
_FILE_VIEWS = frozenset({"resolve", "blob", "raw", "tree"})
_FORMS = "org/repo, org/repo:QUANT, org/repo/file.gguf, an http(s) URL or a path"


class ReferenceKind(StrEnum):
    """Where a reference points."""

    LOCAL = "local"
    URL = "url"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Reference:
    """A model as the user named it."""

    text: str
    """As written, without the query of a URL; safe to print."""
    kind: ReferenceKind
    repo: str = ""
    """`org/name` on the Hub."""
    revision: str = ""
    """Branch, tag or commit on the Hub; empty for its default."""
    quant: str = ""
    """Quant label as written, or empty for the whole repository."""
    path: str = ""
    """File on this machine or in the repository, or a directory."""
    url: str = ""
    """Where a plain URL points, query included; not safe to print."""


def hub_endpoint() -> str:
    """Where the Hub is: `HF_ENDPOINT`, or the public one; without a trailing slash.

    Raises: UsageError when it is not an http(s) URL.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not endpoint.lower().startswith(("http://", "https://")):
        raise UsageError(
            f"HF_ENDPOINT is {quoted(endpoint)}, not an http(s) URL.",
            "Unset it to use https://huggingface.co.",
        )
    return endpoint


def parse_reference(text: str) -> Reference:
    """What `text` names: a model on this machine, behind a URL, or on the Hub.

    Something that exists on this machine is taken for local. Nothing is sent anywhere.

    Raises: UsageError when `text` is none of the forms of a reference.
    """
    if not text or text != text.strip() or "\0" in text:
        raise UsageError(f"{quoted(text)} is not a model reference.", f"Write {_FORMS}.")
    scheme, separator, rest = text.partition("://")
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return _from_scheme(text, scheme.lower(), rest)
    if _exists(text):
        return Reference(escape(text), ReferenceKind.LOCAL, path=os.path.expanduser(text))
    host, _, rest = text.partition("/")
    if host.lower() in _HUB_HOSTS and rest:
        return _from_hub_page(text, rest)
    if _looks_local(text):
        return Reference(escape(text), ReferenceKind.LOCAL, path=os.path.expanduser(text))
    return _from_hub_path(text, text)


def _exists(text: str) -> bool:
    try:
        path = Path(os.path.expanduser(text))
        return path.is_file() or (path.is_dir() and any(path.glob("*.[gG][gG][uU][fF]")))
    except (OSError, RuntimeError, ValueError):
        return False


def _looks_local(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or text in {".", ".."}:
        return True
    if re.match(r"[A-Za-z]:[\\/]", text) or "\\" in text:
        return True
    return text.count("/") < 2 and text.lower().endswith(".gguf")


def _from_scheme(text: str, scheme: str, rest: str) -> Reference:
    if scheme in {"hf", "huggingface"}:
        return _from_hub_path(text, rest.removeprefix("models/"))
    if scheme == "file":
        return Reference(escape(text), ReferenceKind.LOCAL, path=unquote(urlsplit(text).path))
    if scheme not in {"http", "https"}:
        raise UsageError(f"{quoted(text)}: {quoted(scheme)} is not a way to reach a model.")
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise UsageError(f"{quoted(text)} is not a URL.") from None
    if not host:
        raise UsageError(f"{quoted(redact_url(text))} is a URL without a host.")
    endpoint = urlsplit(hub_endpoint())
    if host in _HUB_HOSTS:
        return _from_hub_page(redact_url(text), unquote(parts.path.strip("/")))
    if parts.netloc.lower() == endpoint.netloc.lower():
        path = unquote(parts.path.removeprefix(endpoint.path).strip("/"))
        if _is_hub_page(path):
            return _from_hub_page(redact_url(text), path)
    return Reference(redact_url(text), ReferenceKind.URL, url=text)


def _is_hub_page(path: str) -> bool:
    """Whether a path on another endpoint is one of the Hub's, and not just a file there."""
    parts = path.split("/")
    if len(parts) > 3:
        return parts[2] in _FILE_VIEWS
    return len(parts) == 2 and not path.lower().endswith(".gguf")


def _from_hub_page(text: str, path: str) -> Reference:
    """A reference out of the path of a page or file URL of the Hub."""
    parts = path.rstrip("/").split("/")
    if parts[0] in {"datasets", "spaces", "collections", "papers", "docs"}:
        raise UsageError(f"{quoted(text)} is a page of the Hub, but not of a model.")
    if parts[0] == "models":
        parts = parts[1:]
    if len(parts) > 3 and parts[2] in _FILE_VIEWS:
        # `refs/pr/7` is the one kind of revision with slashes that the Hub shows in URLs.
        n_revision = 3 if parts[3] == "refs" and len(parts) > 5 else 1
        revision = "/".join(parts[3 : 3 + n_revision])
        rest = "/".join(parts[3 + n_revision :])
        return _hub(text, "/".join(parts[:2]), revision, "", rest)
    return _from_hub_path(text, "/".join(parts))


def _from_hub_path(text: str, path: str) -> Reference:
    """A reference out of `org/repo`, with its revision, quant or file."""
    parts = path.rstrip("/").split("/")
    if len(parts) < 2:
        raise UsageError(
            f"{quoted(text)} is neither a file here nor a repository.", f"Write {_FORMS}."
        )
    org, name, rest = parts[0], parts[1], "/".join(parts[2:])
    revision = quant = ""
    name, quant, revision = _split_suffixes(name)
    if "@" in rest and rest.rpartition("@")[0].lower().endswith(".gguf"):
        rest, _, revision = rest.rpartition("@")
    elif revision and rest and not rest.lower().endswith(".gguf"):
        # A revision with slashes: `org/repo@refs/pr/7` or `org/repo@refs/pr/7:Q4_K_M`.
        rest, _, quant = rest.partition(":")
        revision, rest = f"{revision}/{rest}", ""
    elif revision == "refs" and rest.count("/") > 1:
        head = rest.split("/", 2)
        revision, rest = f"refs/{head[0]}/{head[1]}", head[2]
    return _hub(text, f"{org}/{name}", revision, quant, rest)


def _split_suffixes(name: str) -> tuple[str, str, str]:
    """`(name, quant, revision)` of `name:QUANT@rev` or `name@rev:QUANT`."""
    found = re.fullmatch(r"([^:@]+)(?::([^:@]+))?(?:@([^:@]+))?(?::([^:@]+))?", name)
    if found is None or (found[2] and found[4]):
        raise UsageError(
            f"{quoted(name)} is not a repository name.",
            "Write org/repo:QUANT or org/repo@revision.",
        )
    return found[1], found[2] or found[4] or "", found[3] or ""


def _hub(text: str, repo: str, revision: str, quant: str, path: str) -> Reference:
    org, _, name = repo.partition("/")
    for part in (org, name):
        if not _REPO_PART.fullmatch(part) or "--" in part or ".." in part:
            raise UsageError(_of(text, repo, "a repository name"), f"Write {_FORMS}.")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UsageError(_of(text, revision, "a revision"))
    if quant and not _QUANT.fullmatch(quant):
        raise UsageError(_of(text, quant, "a quant label"))
    if any(part in {"", ".", ".."} for part in path.split("/")) and path:
        raise UsageError(_of(text, path, "a file of a repository"))
    return Reference(
        escape(text),
        ReferenceKind.HUB,
        repo=repo,
        revision=revision,
        quant=quant,
        path=path,
    )


def _of(text: str, part: str, kind: str) -> str:
    """That a part of a reference is not what it should be."""
    where = "" if part == text else f"{quoted(text)}: "
    return f"{where}{quoted(part)} is not {kind}."
