"""From a reference to a header: finds the files of a model, wherever they are, and reads them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from ggufctl.core.escape import about, escape, quoted
from ggufctl.core.header import (
    Header,
    SkippedArray,
    merge_shards,
    validate_model_metadata,
)
from ggufctl.core.names import Kind, Variant, detect, did_you_mean, pick, shard_paths, variants
from ggufctl.errors import (
    AccessDenied,
    AmbiguousReference,
    GgufctlError,
    InvalidGguf,
    ModelNotFound,
    RemoteError,
    UnsupportedModel,
)
from ggufctl.sources.base import (
    FIRST_READ_BYTES,
    LATER_SHARD_READ_BYTES,
    ModelFile,
    OnEvent,
    SourceEvent,
    ignore,
    read_header,
)
from ggufctl.sources.formats import foreign_format
from ggufctl.sources.local import read_local_header
from ggufctl.sources.references import (
    Reference,
    ReferenceKind,
    hub_endpoint,
    parse_reference,
)

__all__ = [
    "RepoListing",
    "ResolvedModel",
    "Role",
    "open_model",
    "open_repo",
    "open_variant",
    "variant_of",
]

_T = TypeVar("_T")

_N_WORKERS = 8
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


class Role(StrEnum):
    """What a file is wanted for."""

    MODEL = "model"
    MMPROJ = "mmproj"
    LORA = "lora"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class RepoListing:
    """What a repository of the Hub holds at one commit; no header has been read."""

    ref: Reference
    repo: str
    commit: str
    files: tuple[ModelFile, ...]
    variants: tuple[Variant, ...]
    """Every GGUF of the repository, shards joined; only those of `Kind.MODEL` are models."""
    is_stale: bool = False
    """The Hub could not be asked: this is what was there when it last could."""

    @property
    def models(self) -> tuple[Variant, ...]:
        """The variants that are models."""
        return tuple(variant for variant in self.variants if variant.kind is Kind.MODEL)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that was found, complete, and whose header was read."""

    ref: Reference
    source: ReferenceKind
    files: tuple[ModelFile, ...]
    """In shard order."""
    header: Header
    """Of the whole model, shards merged."""
    repo: str = ""
    commit: str = ""
    variant: Variant | None = None
    """Which of the repository's variants this is."""
    variants: tuple[Variant, ...] = ()
    """All of the repository's."""
    is_stale: bool = False
    """As `RepoListing.is_stale`."""


def open_model(
    ref: str | Reference, *, role: Role = Role.MODEL, on_event: OnEvent = ignore
) -> ResolvedModel:
    """The model that a reference names, with the header of the whole of it.

    A repository without a quant means what llama.cpp's `-hf` would load: Q4_K_M if it is there.

    Raises:
        UsageError, AmbiguousReference: the reference makes no sense, or means several models.
        ModelNotFound, AccessDenied, RemoteError: it cannot be had.
        InvalidGguf: the file is broken, or a shard is missing.
        UnsupportedModel: it is not a GGUF, or a GGUF that is not a model.
    """
    reference = parse_reference(ref) if isinstance(ref, str) else ref
    match reference.kind:
        case ReferenceKind.LOCAL:
            return _open_local(reference, role)
        case ReferenceKind.URL:
            return _open_url(reference, role, on_event)
        case ReferenceKind.HUB:
            listing = open_repo(reference, on_event=on_event)
            return open_variant(listing, variant_of(listing, role), role=role, on_event=on_event)


def open_repo(ref: str | Reference, *, on_event: OnEvent = ignore) -> RepoListing:
    """What the repository of a reference holds: one request, or none when the commit is known.

    When the Hub cannot be reached, what is cached of the repository is given, marked stale.

    Raises:
        ModelNotFound: no such repository or revision, with similar names as the hint.
        AccessDenied: gated, private or a bad token.
        UnsupportedModel: no GGUF in it, with conversions that exist as the hint.
        RemoteError: the Hub cannot be reached and nothing is cached.
    """
    reference = parse_reference(ref) if isinstance(ref, str) else ref
    if reference.kind is not ReferenceKind.HUB:
        raise ModelNotFound(f"{quoted(reference.text)} is not a repository on the Hub.")
    repo, commit, files, tags, is_stale = _listing(reference, on_event)
    found = variants((file.path, file.size_bytes) for file in files)
    listing = RepoListing(reference, repo, commit, files, found, is_stale)
    if not found:
        raise _not_gguf(reference, repo, files, tags)
    return listing


def open_variant(
    listing: RepoListing,
    variant: Variant,
    *,
    role: Role = Role.MODEL,
    on_event: OnEvent = ignore,
) -> ResolvedModel:
    """One variant of a repository with its header; its shards are read in parallel.

    Raises: as `open_model`.
    """
    name = f"{listing.repo}/{variant.paths[0]}"
    if not variant.complete:
        n_missing, n_files = len(variant.missing), len(variant.missing) + len(variant.paths)
        raise InvalidGguf(
            f"{quoted(name, 0)} is one of {n_files} files, of which the repository lacks "
            + (f"{n_missing}, such as " if n_missing > 1 else "")
            + f"{quoted(variant.missing[0], 0)}.",
            "Take another quant, or ask its author for the file.",
        )
    by_path = {file.path: file for file in listing.files}
    files = tuple(by_path[path] for path in variant.paths)

    def read(index: int) -> Header:
        return _hub_header(listing, files[index], is_first=index == 0, on_event=on_event)

    header = _merge(name, _in_parallel(read, len(files)))
    _check_role(header, name, role)
    return ResolvedModel(
        listing.ref,
        ReferenceKind.HUB,
        files,
        header,
        listing.repo,
        listing.commit,
        variant,
        listing.variants,
        listing.is_stale,
    )


def _listing(
    ref: Reference, on_event: OnEvent
) -> tuple[str, str, tuple[ModelFile, ...], tuple[str, ...], bool]:
    """`(repo, commit, files, tags, is stale)`, from the Hub or from what is cached."""
    from ggufctl.sources import cache, hub

    endpoint = hub_endpoint()
    is_commit = _COMMIT.fullmatch(ref.revision) is not None
    if is_commit and (known := _cached_listing(endpoint, ref.repo, ref.revision)):
        on_event(SourceEvent("cached", f"listing of {ref.repo}"))
        return (*known, False)
    on_event(SourceEvent("listing", ref.repo))
    try:
        found = hub.list_files(ref.repo, ref.revision)
    except RemoteError:
        named = detect(ref.repo)
        if named.format and not named.is_gguf:
            raise UnsupportedModel(
                f"{quoted(ref.repo)} is in {named.format} format by its name, and only GGUF "
                "models are supported."
            ) from None
        commit = cache.load("refs", endpoint, ref.repo, ref.revision)
        known = _cached_listing(endpoint, ref.repo, commit) if isinstance(commit, str) else None
        if known is None and (kept := hub.cached_files(ref.repo, ref.revision)):
            known = (kept.repo, kept.commit, kept.files, ())
        if known is None:
            raise
        on_event(SourceEvent("stale", f"the Hub cannot be reached: {ref.repo} as last seen"))
        return (*known, True)
    except ModelNotFound as error:
        raise _with_similar(error, ref, hub.similar_repos) from None
    document = {
        "repo": found.repo,
        "files": [[file.path, file.size_bytes, file.sha256] for file in found.files],
        "tags": list(found.tags),
    }
    cache.store(document, "listings", endpoint, ref.repo, found.commit)
    cache.store(found.commit, "refs", endpoint, ref.repo, ref.revision)
    return found.repo, found.commit, found.files, found.tags, False


def _cached_listing(
    endpoint: str, repo: str, commit: str
) -> tuple[str, str, tuple[ModelFile, ...], tuple[str, ...]] | None:
    from ggufctl.sources import cache

    document = cache.load("listings", endpoint, repo, commit)
    try:
        files = tuple(
            ModelFile(str(path), int(size_bytes), None if sha256 is None else str(sha256))
            for path, size_bytes, sha256 in document["files"]
        )
        return str(document["repo"]), commit, files, tuple(map(str, document["tags"]))
    except (KeyError, TypeError, ValueError):
        return None


def _with_similar(
    error: ModelNotFound, ref: Reference, similar_to: Callable[[str], tuple[str, ...]]
) -> ModelNotFound:
    if "revision" in error.message:
        return error
    similar = similar_to(ref.repo)
    if not similar:
        return error
    return ModelNotFound(error.message, f"{_meant(similar)} {error.hint}".rstrip())


def _meant(names: Sequence[str]) -> str:
    """The question that names what a user may have meant; empty without any."""
    return f"Did you mean {' or '.join(map(escape, names))}?" if names else ""


def variant_of(listing: RepoListing, role: Role = Role.MODEL) -> Variant:
    """The variant of a repository that its reference means.

    Raises: ModelNotFound, AmbiguousReference, UnsupportedModel.
    """
    ref = listing.ref
    if ref.path:
        return _by_path(listing, ref, role)
    if role is not Role.MODEL:
        wanted = tuple(v for v in listing.variants if v.kind.value == role.value)
        if wanted:
            return _only(
                listing, wanted, f"{quoted(listing.repo)} holds several {role.value} files."
            )
    models = listing.models
    if not models:
        kinds = ", ".join(sorted({v.kind.value for v in listing.variants}))
        raise UnsupportedModel(f"{quoted(listing.repo)} holds no model, only {kinds} files.")
    if ref.quant:
        try:
            return pick(models, ref.quant)
        except AmbiguousReference as error:
            choices = tuple(f"{listing.repo}/{path}" for path in error.choices)
            message = f"{quoted(listing.repo)} holds several models with the quant {ref.quant}."
            raise AmbiguousReference(message, choices, error.hint) from None
        except ModelNotFound as error:
            message = f"{quoted(listing.repo)} has no model with the quant {ref.quant}."
            raise ModelNotFound(message, error.hint) from None
    chosen = pick(models)
    alike = tuple(v for v in models if v.quant == chosen.quant)
    return _only(listing, alike, f"{quoted(listing.repo)} holds several models.")


def _only(listing: RepoListing, found: Sequence[Variant], problem: str) -> Variant:
    if len(found) > 1:
        choices = tuple(f"{listing.repo}/{variant.paths[0]}" for variant in found)
        raise AmbiguousReference(problem, choices, "Name one of the files.")
    return found[0]


def _by_path(listing: RepoListing, ref: Reference, role: Role) -> Variant:
    """The variant that a file or folder of the repository belongs to."""
    for variant in listing.variants:
        if ref.path in variant.paths or ref.path in variant.missing:
            if role is Role.MODEL and variant.kind is not Kind.MODEL:
                raise UnsupportedModel(
                    f"{quoted(ref.path, 0)} is {_KIND_NAMES[variant.kind]}, not a model."
                )
            return variant
    inside = tuple(v for v in listing.models if v.paths[0].startswith(ref.path.rstrip("/") + "/"))
    if inside:
        return _only(listing, inside, f"{quoted(ref.path, 0)} holds several models.")
    paths = [file.path for file in listing.files]
    if ref.path in paths:
        raise UnsupportedModel(f"{quoted(ref.path, 0)} is {_format_of(ref.path)}, not a GGUF.")
    near = did_you_mean(ref.path, [path for v in listing.variants for path in v.paths])
    message = f"{quoted(listing.repo)} has no file {quoted(ref.path, 0)}."
    raise ModelNotFound(message, _meant(near))


_KIND_NAMES = {
    Kind.MODEL: "a model",
    Kind.MMPROJ: "a multimodal projector (mmproj)",
    Kind.IMATRIX: "an importance matrix",
    Kind.LORA: "a LoRA adapter",
    Kind.DRAFT: "a draft for speculative decoding",
    Kind.VOCAB: "a vocabulary only",
    Kind.CONTROL_VECTOR: "a control vector",
}


def _format_of(path: str) -> str:
    found = foreign_format("", (path,))
    return f"a {found} file" if found else "some other file"


def _not_gguf(
    ref: Reference, repo: str, files: Sequence[ModelFile], tags: Sequence[str]
) -> UnsupportedModel:
    from ggufctl.sources import hub

    found = foreign_format(repo, (file.path for file in files), tags)
    what = f"is in {found} format" if found else "holds no GGUF file"
    conversions: tuple[str, ...] = ()
    for model in (repo, *_converted_from(tags)):
        conversions = conversions or hub.conversions_of(model)
    hint = ""
    if conversions:
        hint = f"GGUF conversions by downloads: {', '.join(map(escape, conversions))}."
    return UnsupportedModel(f"{quoted(repo)} {what}, and only GGUF models are supported.", hint)


def _converted_from(tags: Sequence[str]) -> tuple[str, ...]:
    """The models that a repository says it is another format of."""
    head = "base_model:quantized:"
    return tuple(tag.removeprefix(head) for tag in tags if tag.startswith(head))


def _hub_header(
    listing: RepoListing, file: ModelFile, *, is_first: bool, on_event: OnEvent
) -> Header:
    """The header of one file of a repository, from the nearest place that has it."""
    from ggufctl.sources import cache, hub

    # The repository is part of the key: another one may claim any checksum it likes.
    content = file.sha256 or f"{listing.commit}/{file.path}"
    key = ("hub", hub_endpoint(), listing.repo, content, str(file.size_bytes))
    if (known := cache.load_header(*key)) is not None:
        on_event(SourceEvent("cached", escape(file.path)))
        return known
    name = f"{listing.repo}/{file.path}"
    with _named(name):
        if (path := hub.cached_file(listing.repo, listing.commit, file.path)) is not None:
            return read_local_header(path)
        source = hub.hub_file(listing.repo, listing.commit, file)
        try:
            first_bytes = FIRST_READ_BYTES if is_first else LATER_SHARD_READ_BYTES
            header = read_header(source, first_bytes=first_bytes, on_event=on_event)
        finally:
            source.close()
    cache.store_header(header, *key)
    return header


def _open_local(ref: Reference, role: Role) -> ResolvedModel:
    path = Path(ref.path)
    if os.path.isdir(path):
        path = _only_model_in(path)
    header = _local_header(path)
    names = _shard_names(path.name, header)
    paths = [path.with_name(name) for name in names]
    missing = [other for other in paths if not os.path.exists(other)]
    if missing:
        raise InvalidGguf(
            f"{quoted(str(path), 0)} is one of {len(paths)} files, and "
            f"{quoted(missing[0].name, 0)} is missing.",
            "Download the whole set into one directory.",
        )

    def read(index: int) -> Header:
        return header if paths[index].name == path.name else _local_header(paths[index])

    merged = _merge(str(path), [read(index) for index in range(len(paths))])
    _check_role(merged, str(path), role)
    files = tuple(ModelFile(str(each), each.stat().st_size) for each in paths)
    return ResolvedModel(ref, ReferenceKind.LOCAL, files, merged)


def _only_model_in(folder: Path) -> Path:
    try:
        files = [path for path in folder.iterdir() if os.path.isfile(path)]
    except OSError as error:
        raise AccessDenied(
            f"{quoted(str(folder), 0)} cannot be listed: {error.strerror}."
        ) from None
    found = variants((path.name, path.stat().st_size) for path in files)
    models = [variant for variant in found if variant.kind is Kind.MODEL]
    if not models:
        name = foreign_format("", (path.name for path in files))
        if name and not found:
            raise UnsupportedModel(
                f"{quoted(str(folder), 0)} holds a model in {name} format, and only GGUF models "
                "are supported."
            )
        raise ModelNotFound(f"There is no GGUF model in {quoted(str(folder), 0)}.")
    if len(models) > 1:
        choices = tuple(str(folder / variant.paths[0]) for variant in models)
        raise AmbiguousReference(
            f"{quoted(str(folder), 0)} holds several models.", choices, "Name one of the files."
        )
    return folder / models[0].paths[0]


def _local_header(path: Path) -> Header:
    if os.path.islink(path) and not os.path.exists(path):
        raise ModelNotFound(f"{quoted(str(path), 0)} is a link to a file that is not there.")
    if _is_absent(path):
        here: list[str] = []
        with contextlib.suppress(OSError):
            here = [p.name for p in path.parent.iterdir() if p.suffix.lower() == ".gguf"]
        near = did_you_mean(path.name, here)
        raise ModelNotFound(f"There is no file {quoted(str(path), 0)}.", _meant(near))
    with _named(str(path)), _told_by_its_name(path.name):
        return read_local_header(path)


def _is_absent(path: Path) -> bool:
    """Whether there is no such file; one that may not be looked at counts as there."""
    try:
        os.lstat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _told_by_its_name(name: str) -> Iterator[None]:
    """Of what does not begin as a GGUF, the ending of its name says the format."""
    try:
        yield
    except InvalidGguf as error:
        if (found := foreign_format("", (name,))) == "":
            raise
        raise UnsupportedModel(f"The file is in {found} format, not a GGUF.") from error


def _open_url(ref: Reference, role: Role, on_event: OnEvent) -> ResolvedModel:
    header, size_bytes = _url_header(ref.url, on_event)
    parts = urlsplit(ref.url)
    folder, _, name = parts.path.rpartition("/")
    names = _shard_names(name, header)
    urls = [urlunsplit(parts._replace(path=f"{folder}/{each}")) for each in names]

    def read(index: int) -> tuple[Header, int]:
        return (header, size_bytes) if names[index] == name else _url_header(urls[index], on_event)

    found = _in_parallel(read, len(urls))
    merged = _merge(ref.text, [each for each, _ in found])
    _check_role(merged, ref.text, role)
    files = tuple(
        ModelFile(parse_reference(url).text, size)
        for url, (_, size) in zip(urls, found, strict=True)
    )
    return ResolvedModel(ref, ReferenceKind.URL, files, merged)


def _url_header(url: str, on_event: OnEvent) -> tuple[Header, int]:
    """`(header, size of the file in bytes)` of a URL; one request when it has not changed."""
    from ggufctl.sources import cache
    from ggufctl.sources.http import HttpFile, NotModified
    from ggufctl.sources.hub import open_url

    # A signature in the query changes with every link to the same file.
    bare = urlunsplit(urlsplit(url)._replace(query="", fragment=""))
    etag = cache.load("etags", bare)
    known = cache.load_header("url", bare, etag) if isinstance(etag, str) and etag else None
    source = HttpFile(url, open_url, known_etag=etag if known is not None else "")
    with _named(source.name), _told_by_its_name(urlsplit(url).path):
        try:
            header = read_header(source, on_event=on_event)
        except NotModified:
            if known is None:
                raise RemoteError("The server answered 304 unasked.") from None
            on_event(SourceEvent("cached", source.name))
            return known, known.file_size
        finally:
            source.close()
    if source.etag and not source.etag.startswith("W/"):
        cache.store_header(header, "url", bare, source.etag)
        cache.store(source.etag, "etags", bare)
    return header, source.size


def _shard_names(name: str, header: Header) -> tuple[str, ...]:
    """The file names of the whole set that a file called `name` belongs to."""
    if header.n_shards == 1:
        return (name,)
    names = shard_paths(name, header.n_shards)
    if name not in names:
        raise InvalidGguf(
            f"{quoted(name, 0)} is shard {header.shard_no + 1} of {header.n_shards}, and its "
            "name does not say so.",
            "Give the shards the names they were made with.",
        )
    if names.index(name) != header.shard_no:
        raise InvalidGguf(f"{quoted(name, 0)} says inside that it is shard {header.shard_no + 1}.")
    return names


def _merge(name: str, headers: Sequence[Header]) -> Header:
    with _named(name):
        return merge_shards(headers)


def _check_role(header: Header, name: str, role: Role) -> None:
    """Refuse a GGUF that is not what it is wanted for."""
    kind = _kind_of(header)
    with _named(name):
        if role is Role.DRAFT and kind in {Kind.MODEL, Kind.DRAFT}:
            return
        if kind.value != role.value:
            raise UnsupportedModel(f"The file is {_KIND_NAMES[kind]}, not {_ROLE_NAMES[role]}.")
        if role is Role.MODEL:
            validate_model_metadata(header)


_ROLE_NAMES = {
    Role.MODEL: "a model",
    Role.MMPROJ: "a multimodal projector",
    Role.LORA: "a LoRA adapter",
    Role.DRAFT: "a draft model",
}
_TYPES = {
    "adapter": Kind.LORA,
    "imatrix": Kind.IMATRIX,
    "mmproj": Kind.MMPROJ,
    "vocab": Kind.VOCAB,
}
_ARCHITECTURES = {
    "clip": Kind.MMPROJ,
    "controlvector": Kind.CONTROL_VECTOR,
    "imatrix": Kind.IMATRIX,
    "eagle3": Kind.DRAFT,
    "dflash": Kind.DRAFT,
}


def _kind_of(header: Header) -> Kind:
    """What a GGUF is, by its own header.

    Source: gguf-py gguf/constants.py `GGUFType`; llama.cpp src/llama-adapter.cpp, tools/mtmd.
    """
    metadata = header.metadata
    stated = metadata.get("general.type")
    if isinstance(stated, str) and stated in _TYPES:
        return _TYPES[stated]
    if header.architecture in _ARCHITECTURES:
        return _ARCHITECTURES[header.architecture]
    if "adapter.type" in metadata:
        return Kind.LORA
    if "imatrix.datasets" in metadata or "imatrix.chunk_count" in metadata:
        return Kind.IMATRIX
    if not header.tensors and isinstance(metadata.get("tokenizer.ggml.tokens"), SkippedArray):
        # Without tensors but with layers it is a header cut off its data, for the checks to name.
        return Kind.MODEL if f"{header.architecture}.block_count" in metadata else Kind.VOCAB
    return Kind.MODEL


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the name of the file before what is wrong with it."""
    try:
        yield
    except (InvalidGguf, UnsupportedModel) as error:
        if escape(name) in error.message:
            raise
        raise type(error)(about(quoted(name, 0), error.message), error.hint) from None


def _in_parallel(read: Callable[[int], _T], count: int) -> list[_T]:
    """`read(0) … read(count - 1)`, a few at a time; the first failure ends it."""
    if count == 1:
        return [read(0)]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_N_WORKERS, count)) as pool:
        futures = [pool.submit(read, index) for index in range(count)]
        try:
            return [future.result() for future in futures]
        except GgufctlError:
            for future in futures:
                future.cancel()
            raise
