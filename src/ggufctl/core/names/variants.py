"""A repository's file listing as the models it holds, and the one that a quant means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ggufctl.core.names.detect import Kind, kind_of_file
from ggufctl.core.names.quants import find_quant, normalize_quant
from ggufctl.errors import AmbiguousReference, ModelNotFound

__all__ = ["Variant", "did_you_mean", "pick", "shard_paths", "variants"]

_MAX_SHARDS = 99_999
_SPLIT = re.compile(r"^(?P<prefix>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
_CUT = re.compile(r"^(?P<whole>.+\.gguf)(?:\.part(?P<index>\d+)of\d+|-split-[a-z])$", re.IGNORECASE)
_DEFAULT_QUANTS = ("Q4_K_M", "Q8_0")


@dataclass(frozen=True, slots=True)
class Variant:
    """One loadable GGUF of a repository: a single file, or all shards of a split one."""

    quant: str | None
    """Canonical label, None when the path names none."""
    paths: tuple[str, ...]
    """The files that are there, in shard order."""
    size_bytes: int
    complete: bool
    missing: tuple[str, ...]
    """Paths of the shards that are not there."""
    kind: Kind


def shard_paths(path: str, count: int) -> tuple[str, ...]:
    """All paths of a set of `count` shards, given any one of them or the bare path.

    Raises: ValueError if `count` is not one that five digits can hold.
    Source: llama.cpp src/llama.cpp llama_split_path.
    """
    if not 1 <= count <= _MAX_SHARDS:
        raise ValueError(f"a GGUF cannot have {count} shards")
    match = _SPLIT.match(path)
    prefix = match["prefix"] if match else re.sub(r"(?i)\.gguf$", "", path)
    return tuple(f"{prefix}-{index:05d}-of-{count:05d}.gguf" for index in range(1, count + 1))


def _quant_of_path(path: str) -> str | None:
    folder, _, file = path.rpartition("/")
    stem = re.sub(r"(?i)-\d{5}-of-\d{5}\.gguf$|\.gguf.*$", "", file)
    return find_quant(stem) or find_quant(folder.rpartition("/")[2])


def variants(files: Iterable[tuple[str, int]]) -> tuple[Variant, ...]:
    """The GGUFs of a listing of (path, size in bytes), shards joined, in order of their paths.

    Other files are left out. mmproj, imatrix, LoRA, draft and vocabulary files are variants of
    their own kind, never `Kind.MODEL`. A set with a shard missing is there, marked incomplete;
    so is a file cut into `.part1of2` pieces, which must be joined before anything can load it.
    """
    splits: dict[tuple[str, int], dict[int, tuple[str, int]]] = {}
    cuts: dict[str, list[tuple[str, int]]] = {}
    found: list[Variant] = []
    for path, size_bytes in files:
        split = _SPLIT.match(path)
        if split and 1 <= int(split["index"]) <= int(split["count"]):
            key = (split["prefix"], int(split["count"]))
            splits.setdefault(key, {})[int(split["index"])] = (path, size_bytes)
        elif cut := _CUT.match(path):
            cuts.setdefault(cut["whole"], []).append((path, size_bytes))
        elif path.lower().endswith(".gguf"):
            found.append(_variant(path, [(path, size_bytes)], ()))
    for (prefix, count), shards in splits.items():
        present = [shards[index] for index in sorted(shards)]
        names = shard_paths(f"{prefix}.gguf", count)
        missing = tuple(name for i, name in enumerate(names, 1) if i not in shards)
        found.append(_variant(present[0][0], present, missing))
    for whole, pieces in cuts.items():
        found.append(_variant(whole, sorted(pieces), (whole,)))
    return tuple(sorted(found, key=lambda v: v.paths))


def _variant(path: str, files: Sequence[tuple[str, int]], missing: tuple[str, ...]) -> Variant:
    return Variant(
        quant=_quant_of_path(path),
        paths=tuple(name for name, _ in files),
        size_bytes=sum(size for _, size in files),
        complete=not missing,
        missing=missing,
        kind=kind_of_file(path.rpartition("/")[2]),
    )


def pick(choices: Iterable[Variant], quant: str | None = None) -> Variant:
    """The model variant that `user/repo:QUANT` means, as llama.cpp's `-hf` reads it.

    Case does not matter and `i1-` may be written or left out. The exact label wins, so `Q4_K_M`
    is never a `UD-Q4_K_M` beside it; otherwise the text may end any part of a path. Without a
    quant: Q4_K_M, else Q8_0, else the first model.

    Raises: ModelNotFound if nothing matches, with what is there; AmbiguousReference if several
    do, with their paths.
    Source: llama.cpp common/download.cpp find_best_model.
    """
    models = tuple(v for v in choices if v.kind is Kind.MODEL)
    if not models:
        raise ModelNotFound("No GGUF model is among the files.")
    if not quant:
        for label in _DEFAULT_QUANTS:
            matching = _exact(models, label) or _by_path(models, label)
            if matching:
                return matching[0]
        return models[0]
    matching = _exact(models, normalize_quant(quant) or quant) or _by_path(models, quant)
    if len(matching) > 1:
        paths = tuple(v.paths[0] for v in matching)
        raise AmbiguousReference(
            f"{quant} means {len(paths)} different models here.", paths, "Name the file instead."
        )
    if not matching:
        labels = tuple(dict.fromkeys(v.quant for v in models if v.quant))
        close = did_you_mean(quant, labels)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Use {', '.join(labels)}."
        raise ModelNotFound(f"No file with the quant {quant} is there.", hint if labels else "")
    return matching[0]


def _exact(models: tuple[Variant, ...], label: str) -> tuple[Variant, ...]:
    return tuple(v for v in models if v.quant is not None and v.quant.upper() == label.upper())


def _by_path(models: tuple[Variant, ...], text: str) -> tuple[Variant, ...]:
    pattern = re.compile(re.escape(text) + "[.-]", re.IGNORECASE)
    return tuple(v for v in models if pattern.search(v.paths[0]))


def did_you_mean(text: str, choices: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Up to `n` of `choices` that `text` may be a misspelling of, the closest first.

    Case does not count; the answers are spelled as the choices are.
    """
    # difflib costs milliseconds that a command without a typo should not pay
    from difflib import get_close_matches

    by_folded = {_distinctive(choice): choice for choice in choices}
    close = get_close_matches(_distinctive(text), by_folded, n=n, cutoff=0.6)
    return tuple(by_folded[name] for name in close)


def _distinctive(name: str) -> str:
    """What tells a name from others: its ending is the same for all."""
    return name.casefold().removesuffix("gguf").rstrip(".-_")
