"""What a model's name alone says: size, experts, quant, shard, and what kind of file it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import NamedTuple

from ggufctl.core.names.families import KNOWN_NXM, Family, expert_merge_total, find_families
from ggufctl.core.names.quants import (
    UNQUANTIZED,
    find_quant,
    is_ggml_label,
    normalize_quant,
    quant_spans,
)
from ggufctl.errors import UsageError

__all__ = ["Detected", "Kind", "Shard", "detect", "kind_of_file", "names_experts"]


class Kind(StrEnum):
    """What a file or repository is, as far as its name says."""

    MODEL = "model"
    MMPROJ = "mmproj"
    IMATRIX = "imatrix"
    LORA = "lora"
    DRAFT = "draft"
    VOCAB = "vocab"
    CONTROL_VECTOR = "control_vector"


class Shard(NamedTuple):
    """Which part of a split file: 1-based `index` of `count`."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    count: int  # type: ignore[assignment]  # hides tuple.count, likewise


@dataclass(frozen=True, slots=True)
class Detected:
    """What a name says. None means that the name does not say it: nothing is guessed."""

    name: str
    n_params: int | None = None
    """Parameters in all; None also for files that are not a model (mmproj, imatrix, LoRA)."""
    n_active_params: int | None = None
    """Parameters used per token, of a mixture of experts or of an `E4B` (effective) model."""
    n_experts: int | None = None
    is_moe: bool = False
    quant: str | None = None
    """Canonical label (`Q4_K_M`, `UD-Q4_K_XL`, `BF16`)."""
    shard: Shard | None = None
    is_gguf: bool = False
    kind: Kind = Kind.MODEL
    format: str | None = None
    """The format the name carries where that is not GGUF (`GPTQ`, `safetensors`, `MLX`)."""


class _Parts(NamedTuple):
    owner: str
    parents: tuple[str, ...]
    """Repository and folders, outermost first."""
    file: str
    """File name, or the empty string for a repository."""
    tag: str


_FILE_ENDINGS = re.compile(
    r"\.(?:gguf(?:\.part\d+of\d+|-split-[a-z])?|safetensors|bin|pt|pth|ckpt|onnx|dat|imatrix|npz"
    r"|mlmodel|mlpackage|llamafile|engine|json|txt|md|jinja)$",
    re.IGNORECASE,
)


def _split(name: str) -> _Parts:
    text = name.strip()
    remote = re.match(r"(?i)(?:hf|https?)://", text)
    if remote:
        text = re.sub(r"[?#].*$", "", text)
        text = re.sub(r"(?i)^hf://|^https?://", "", text)
        text = re.sub(r"(?i)^(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/", "", text)
        text = re.sub(r"/(?:resolve|blob|tree|raw)/[^/]+", "", text)
    else:
        text = re.sub(r"(?i)^(?:huggingface\.co|hf\.co)/", "", text)
    text = re.sub(r"@[\w.-]+(?=$|/|:)", "", text)
    text = text.replace("\\", "/")
    tag = ""
    colon = re.search(r":([^/:]+)$", text)
    if colon and not re.match(r"^[A-Za-z]:/", text):
        tag = colon.group(1)
        text = text[: colon.start()]
    pieces = [piece for piece in text.split("/") if piece not in ("", ".", "..")]
    if not pieces:
        return _Parts("", (), "", tag)
    rooted = name.strip().startswith(("/", "./", "../", "~"))
    file = pieces.pop() if _FILE_ENDINGS.search(pieces[-1]) else ""
    if rooted:
        return _Parts("", tuple(pieces[-3:]), file, tag)
    if file and len(pieces) == 1:
        return _Parts("", tuple(pieces), file, tag)
    if len(pieces) > 1:
        return _Parts(pieces[0], tuple(pieces[1:]), file, tag)
    return _Parts("", tuple(pieces), file, tag)


@cache
def _re(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_WORD_END = r"(?![a-z0-9])"
_WORD_START = r"(?<![a-z0-9])"
_NOT_AFTER_NUMBER = r"(?<![a-z0-9])(?<!\d\.)"

_SHARD = r"[-_.](\d{1,6})-of-(\d{1,6})(?=\.gguf$|\.safetensors$|\.bin$|$)"
_PART = r"\.part(\d{1,6})of(\d{1,6})$"

_MMPROJ = rf"mmproj|mm-proj|{_WORD_START}mm_projector|{_WORD_START}projector{_WORD_END}"
_DRAFT_HEAD = rf"{_WORD_START}(?:dflash\d?|dspark|eagle-?[23]|medusa|speculator){_WORD_END}"
_DRAFT = rf"{_WORD_START}(?:draft(?:er)?){_WORD_END}"
_LORA = rf"{_WORD_START}(?:lora|dora|lora-adapter|adapter){_WORD_END}"


def _words(text: str) -> str:
    return text.lower().replace("_", "-").replace(" ", "-")


def kind_of_file(file: str) -> Kind:
    """What a file is by its own name.

    Source: llama.cpp common/download.cpp gguf_filename_is_model, which leaves out mmproj,
    imatrix and the mtp-, eagle3-, dflash- and dspark- side files; LoRA adapters, vocabularies
    and control vectors are not models either.
    """
    name = _words(file)
    label = find_quant(file)
    if _re(_MMPROJ).search(name):
        return Kind.MMPROJ
    if name.endswith((".dat", ".imatrix")) or name.startswith("imatrix"):
        return Kind.IMATRIX
    if "imatrix" in name and name.endswith(".gguf") and label is None:
        return Kind.IMATRIX
    if _re(rf"{_WORD_START}control-?vector").search(name):
        return Kind.CONTROL_VECTOR
    if name.startswith("ggml-vocab") or _re(rf"{_WORD_START}vocab(?:-only)?{_WORD_END}").search(
        name
    ):
        return Kind.VOCAB
    if _re(_DRAFT_HEAD).search(name) or _re(_DRAFT).search(name) or name.startswith("mtp-"):
        return Kind.DRAFT
    # A merged model keeps "lora" in its name; adapters themselves are hardly ever quantised.
    if (
        _re(_LORA).search(name)
        and "merge" not in name
        and (label is None or not is_ggml_label(label) or label == "Q8_0")
    ):
        return Kind.LORA
    return Kind.MODEL


def _kind(parts: _Parts) -> Kind:
    if parts.file:
        kind = kind_of_file(parts.file)
        if kind is not Kind.MODEL:
            return kind
    for parent in parts.parents:
        name = _words(parent)
        if _re(_DRAFT_HEAD).search(name) or _re(_DRAFT).search(name):
            return Kind.DRAFT
        # "LoRA" in a repository's name mostly tells how a whole model was tuned.
        if not parts.file and (
            name.startswith("lora-")
            or (_re(_LORA).search(name) and find_quant(parent) in UNQUANTIZED)
        ):
            return Kind.LORA
        if not parts.file and _re(_MMPROJ).search(name):
            return Kind.MMPROJ
    return Kind.MODEL


_FORMAT_ENDINGS = {
    ".safetensors": "safetensors",
    ".bin": "PyTorch .bin",
    ".pt": "PyTorch .bin",
    ".pth": "PyTorch .bin",
    ".ckpt": "PyTorch .bin",
    ".onnx": "ONNX",
    ".npz": "MLX",
    ".mlmodel": "Core ML",
    ".mlpackage": "Core ML",
    ".llamafile": "llamafile",
    ".engine": "TensorRT",
}
_FORMAT_WORDS = (
    ("gptq", "GPTQ"),
    ("awq", "AWQ"),
    ("exl2", "EXL2"),
    ("exl3", "EXL3"),
    ("mlx", "MLX"),
    ("bnb", "bitsandbytes"),
    ("bitsandbytes", "bitsandbytes"),
    ("nf4", "bitsandbytes"),
    ("aqlm", "AQLM"),
    ("hqq", "HQQ"),
    ("quip", "QuIP#"),
    ("autoround", "AutoRound"),
    ("torchao", "torchao"),
    ("onnx", "ONNX"),
    ("openvino", "OpenVINO"),
    ("tensorrt", "TensorRT"),
    ("trt", "TensorRT"),
    ("coreml", "Core ML"),
    ("ggmlv3", "GGML"),
    ("ggml", "GGML"),
    ("safetensors", "safetensors"),
    ("fp8", "FP8"),
    ("nvfp4", "NVFP4"),
    ("w4a16", "compressed-tensors"),
    ("w8a8", "compressed-tensors"),
    ("w8a16", "compressed-tensors"),
    ("int4", "INT4"),
    ("int8", "INT8"),
)


def _foreign_format(parts: _Parts) -> str | None:
    file = parts.file.lower()
    if re.search(r"ggmlv\d|(?<![a-z0-9])ggml(?![a-z0-9]).*\.bin$", file):
        return "GGML"
    words = "/".join(_words(text) for text in (*parts.parents, parts.file))
    for word, label in _FORMAT_WORDS:
        if _re(rf"{_WORD_START}{word}{_WORD_END}").search(words):
            return label
    for ending, label in _FORMAT_ENDINGS.items():
        if file.endswith(ending):
            return label
    if parts.owner.lower() in ("mlx-community", "lmstudio-mlx"):
        return "MLX"
    if _re(rf"{_WORD_START}\d\.\d+bpw{_WORD_END}").search(words):
        return "EXL2"
    return None


def _is_gguf(parts: _Parts, quant: str | None, foreign: str | None) -> bool:
    if parts.file:
        return bool(re.search(r"(?i)\.gguf(?:\.part\d+of\d+|-split-[a-z])?$", parts.file))
    if any("gguf" in parent.lower() for parent in parts.parents):
        return True
    if parts.tag and normalize_quant(parts.tag):
        return True
    return foreign is None and quant is not None and is_ggml_label(quant)


def _quant(parts: _Parts) -> str | None:
    for text in (parts.tag, parts.file, *reversed(parts.parents)):
        stem = _FILE_ENDINGS.sub("", text)
        label = find_quant(stem)
        if label:
            return label
    return None


def _shard(file: str) -> Shard | None:
    match = _re(_SHARD).search(file.lower()) or _re(_PART).search(file.lower())
    if not match:
        return None
    index, count = int(match.group(1)), int(match.group(2))
    return Shard(index, count) if 1 <= index <= count else None


class _Size(NamedTuple):
    billions: float
    start: int
    end: int
    active: float | None = None


class _Sizes(NamedTuple):
    """Every number of one text that may be a parameter count."""

    plain: tuple[_Size, ...] = ()
    millions: tuple[_Size, ...] = ()
    trillions: tuple[_Size, ...] = ()
    nxm: tuple[int, float] | None = None
    active: float | None = None
    effective: float | None = None
    n_experts: int | None = None


def _blank(text: str, spans: list[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


_NUMBER = r"\d{1,4}(?:\.\d{1,3})?"
_NXM = rf"(?<![\d.])(\d{{1,3}})x({_NUMBER})([bm])(?![a-z0-9])"
_MXN = rf"{_NOT_AFTER_NUMBER}({_NUMBER})b[-_]?x(\d{{1,2}}){_WORD_END}"
_ACTIVE = rf"{_WORD_START}a({_NUMBER})([bm]){_WORD_END}"
_EFFECTIVE = rf"{_WORD_START}e({_NUMBER})b{_WORD_END}"
_EXPERTS = rf"{_WORD_START}(\d{{1,3}})(?:e|-?experts?){_WORD_END}"
_PLAIN = (
    rf"{_NOT_AFTER_NUMBER}({_NUMBER})(b|m|t)" r"(?=$|[^a-z0-9]|v\d|x\d|\d{1,4}k|instruct|chat|base)"
)
_UNDERSCORED = r"(?<![a-z0-9_.])([01])_(\d)b(?![a-z0-9])"
_NESTED = rf"{_NOT_AFTER_NUMBER}(\d{{1,2}})b(\d){_WORD_END}"
_GLUED = r"(?<=[a-z])(?<![-_. ][avekqr])(\d{1,3}(?:\.\d+)?)b(?![a-z0-9])"
# Numbers with a unit that count something else: quantisation, training tokens, hashes.
_NOISE = (
    rf"(?<![a-z0-9]){_NUMBER}[-_]?(?:bpw|bits?)(?![a-z0-9])",
    r"(?<![a-z0-9])\d+b-\d+g(?![a-z0-9])",
    rf"(?<![a-z0-9]){_NUMBER}[bt][-_ ]?tok(?:en)?s?(?![a-z0-9])",
    r"(?<![a-z0-9])(?=[0-9]*[a-f])(?=[a-f]*\d)[0-9a-f]{7,40}(?![a-z0-9])",
    rf"-from-{_NUMBER}b(?![a-z0-9])",
    r"(?<![a-z0-9])\d+m[-_]?(?:ctx|context|tokens?|steps?)(?![a-z0-9])",
)
_MAX_BILLIONS = 4000.0
_MIN_MILLIONS = 14.0


def _number(text: str, unit: str) -> float:
    return float(text) * {"b": 1.0, "m": 1e-3, "t": 1e3}[unit]


def _find_sizes(raw: str) -> _Sizes:
    text = _re(_SHARD).sub("", _FILE_ENDINGS.sub("", raw.lower()))
    text = _blank(text, quant_spans(text))
    for noise in _NOISE:
        text = _blank(text, [match.span() for match in _re(noise).finditer(text)])
    text = _re(_UNDERSCORED).sub(r"\1.\2b", text)

    experts = _re(_EXPERTS).search(text)
    nxm: tuple[int, float] | None = None
    for match in _re(_NXM).finditer(text):
        nxm = int(match.group(1)), _number(match.group(2), match.group(3))
        text = _blank(text, [match.span()])
    for match in _re(_MXN).finditer(text):
        nxm = int(match.group(2)), float(match.group(1))
        text = _blank(text, [match.span()])
    actives = tuple(
        _Size(_number(m.group(1), m.group(2)), m.start(), m.end())
        for m in _re(_ACTIVE).finditer(text)
    )
    effective = _re(_EFFECTIVE).search(text)
    by_unit: dict[str, list[_Size]] = {"b": [], "m": [], "t": []}
    for match in _re(_PLAIN).finditer(text):
        size = _number(match.group(1), match.group(2))
        if 0 < size <= _MAX_BILLIONS:
            after = next((a.billions for a in actives if 0 < a.start - match.end() <= 1), None)
            by_unit[match.group(2)].append(_Size(size, match.start(), match.end(), after))
    for match in _re(_NESTED).finditer(text):
        size = float(f"{match.group(1)}.{match.group(2)}")
        by_unit["b"].append(_Size(size, match.start(), match.end()))
    if not by_unit["b"] and nxm is None:
        for match in _re(_GLUED).finditer(text):
            by_unit["b"].append(_Size(float(match.group(1)), match.start(), match.end()))
    glued_m = _re(r"(?<=[a-z])(\d{2,3})m(?![a-z0-9])").search(text)
    if glued_m and not by_unit["b"] and not by_unit["m"]:
        by_unit["m"].append(_Size(int(glued_m.group(1)) / 1e3, *glued_m.span()))
    plain = tuple(by_unit["b"])
    if experts and plain:
        # 17B-16E: the size in front of the experts is what ONE token uses.
        ahead = [s for s in plain if 0 <= experts.start() - s.end <= 1]
        if ahead:
            plain = tuple(s for s in plain if s not in ahead)
            actives = (*actives, *ahead)
    return _Sizes(
        plain=_without_teachers(text, plain),
        millions=tuple(s for s in by_unit["m"] if s.billions * 1e3 >= _MIN_MILLIONS),
        trillions=tuple(by_unit["t"]),
        nxm=nxm,
        active=actives[0].billions if actives else None,
        effective=float(effective.group(1)) if effective else None,
        n_experts=int(experts.group(1)) if experts else (nxm[0] if nxm else None),
    )


def _without_teachers(text: str, sizes: tuple[_Size, ...]) -> tuple[_Size, ...]:
    """Of a distillation only the student's size: the smallest, whichever way it is written."""
    if len(sizes) < 2 or "distill" not in text:
        return sizes
    return (min(sizes, key=lambda s: s.billions),)


def _own_sizes(parts: _Parts) -> tuple[_Sizes, ...]:
    """Sizes of the file, then of its folders and repository: the most specific first."""
    texts = [text for text in (parts.file, parts.tag, *reversed(parts.parents)) if text]
    return tuple(_find_sizes(text) for text in texts)


def _one_size(sizes: _Sizes) -> _Size | None:
    """The size that one text settles on: one with its active size beside it, else the last.

    Names go from the base to the result: `Llama-3-8B-...-16.5B` has 16.5B.
    """
    if sizes.plain:
        with_active = [s for s in sizes.plain if s.active is not None]
        return with_active[-1] if with_active else sizes.plain[-1]
    if sizes.millions and sizes.nxm is None and sizes.effective is None:
        return sizes.millions[0]
    return None


def names_experts(name: str) -> bool:
    """Whether a name says mixture of experts outright: `moe`, or an NxM pattern."""
    text = name.lower()
    return "moe" in text or bool(_re(_NXM).search(text) or _re(_MXN).search(text))


def _says_moe(parts: _Parts) -> bool:
    texts = "/".join((*parts.parents, parts.file, parts.tag)).lower()
    return bool(_re(r"moe(?:s|fied)?(?![a-z])").search(texts))


def _close(value: float, target: float) -> bool:
    return abs(value - target) <= 0.02 * target


# A prune keeps most of a model; a smaller size beside a family's name is a distillation.
_LEAST_PRUNED = 0.2


class _Answer(NamedTuple):
    total: float | None = None
    active: float | None = None
    n_experts: int | None = None
    is_moe: bool = False


def _resolve(parts: _Parts) -> _Answer:
    sizes = _own_sizes(parts)
    chosen = next(((s, one) for s in sizes if (one := _one_size(s))), None)
    nxm = next((s.nxm for s in sizes if s.nxm), None)
    active = next((s.active for s in sizes if s.active), None)
    effective = next((s.effective for s in sizes if s.effective), None)
    n_experts = next((s.n_experts for s in sizes if s.n_experts), None)
    families = _families(parts)
    distilled = "distill" in "/".join((*parts.parents, parts.file)).lower()
    says_moe = _says_moe(parts) or nxm is not None

    if chosen is not None and (nxm is None or chosen[1].billions > nxm[1] * 1.05):
        size = chosen[1]
        own_active = size.active or (
            chosen[0].active if len(chosen[0].plain) == 1 and not distilled else None
        )
        labelled = next((f for f in families if f.label and _close(size.billions, f.label)), None)
        if labelled is not None and labelled.total is not None:
            return _Answer(
                labelled.total,
                own_active or labelled.active,
                n_experts or labelled.n_experts,
                labelled.is_moe or says_moe,
            )
        kin = next(
            (
                f
                for f in families
                if f.label is None
                and f.is_moe
                and not (f.teacher and (distilled or f.total is None))
                and (f.total is None or size.billions >= _LEAST_PRUNED * f.total)
            ),
            None,
        )
        same = kin is not None and kin.total is not None and _near(size.billions, kin.total)
        return _Answer(
            kin.total if kin is not None and same else size.billions,
            own_active or (kin.active if kin is not None and same else None),
            n_experts or (kin.n_experts if kin is not None and same else None),
            says_moe or kin is not None or own_active is not None,
        )

    plain = [f for f in families if f.label is None and not (distilled and f.teacher)]
    family = plain[0] if plain else None
    if nxm is not None:
        total, nxm_active = KNOWN_NXM.get(nxm) or (expert_merge_total(*nxm), None)
        if family is not None and family.is_moe and family.total is not None:
            total, nxm_active = family.total, family.active
        return _Answer(total, active or nxm_active, nxm[0], True)
    if family is not None:
        return _Answer(
            family.total,
            active or effective or family.active,
            n_experts or family.n_experts,
            family.is_moe or says_moe or active is not None,
        )
    trillions = next((s.trillions[-1] for s in sizes if s.trillions), None)
    return _Answer(
        trillions.billions if trillions else None,
        active or effective,
        n_experts,
        says_moe or active is not None or (n_experts is not None),
    )


def _near(value: float, target: float) -> bool:
    return abs(value - target) <= 0.1 * target


def _families(parts: _Parts) -> tuple[Family, ...]:
    """Matching rows, the best first: the file's before the repository's, teachers last."""
    found: list[tuple[tuple[bool, int, int], Family]] = []
    texts = [text for text in (parts.file, *reversed(parts.parents)) if text]
    for rank, text in enumerate(texts):
        name = _words(_FILE_ENDINGS.sub("", text))
        if parts.tag and text == texts[-1] and not normalize_quant(parts.tag):
            name = f"{name}-{_words(parts.tag)}"
        for family, length in find_families(name):
            found.append(((family.teacher, rank, -length), family))
    found.sort(key=lambda item: item[0])
    return tuple(family for _, family in found)


_DRAFT_LIMIT = 4.0


def _draft_size(parts: _Parts) -> float | None:
    """A draft model's own size: heads like DFlash only carry the size of their target."""
    text = "/".join(_words(piece) for piece in (*parts.parents, parts.file))
    if _re(_DRAFT_HEAD).search(text) or not _re(_DRAFT).search(text):
        return None
    small = [
        size.billions
        for sizes in _own_sizes(parts)
        for size in (*sizes.plain, *sizes.millions)
        if size.billions <= _DRAFT_LIMIT
    ]
    return min(small) if small else None


def _count(billions: float | None) -> int | None:
    return None if billions is None else round(billions * 1e9)


def detect(name: str) -> Detected:
    """What a model's name says, without a network or a file.

    Args:
        name: a repository (`org/repo`, `org/repo:Q4_K_M`), a file in one, a file name, a path or
            a URL.

    Returns: sizes as parameter counts; whatever the name does not say is None. Version numbers,
    dates, context lengths and training tokens are not sizes; `8x7B` is not a product.

    Raises: UsageError when the name is not a text.
    """
    if not isinstance(name, str):
        raise UsageError(f"A name is a text, not {type(name).__name__}.")
    return _detect(name)


@lru_cache(maxsize=256)
def _detect(name: str) -> Detected:
    """As `detect`; a plan asks for the same name more than once."""
    parts = _split(name)
    kind = _kind(parts)
    quant = _quant(parts)
    foreign = _foreign_format(parts)
    is_gguf = _is_gguf(parts, quant, foreign)
    answer = _Answer()
    if kind is Kind.MODEL:
        answer = _resolve(parts)
    elif kind is Kind.DRAFT:
        answer = _Answer(total=_draft_size(parts))
    active = answer.active
    if active is not None and answer.total is not None and active > answer.total:
        active = None
    return Detected(
        name=name,
        n_params=_count(answer.total),
        n_active_params=_count(active),
        n_experts=answer.n_experts,
        is_moe=answer.is_moe,
        quant=quant,
        shard=_shard(parts.file),
        is_gguf=is_gguf,
        kind=kind,
        format=None if is_gguf else foreign,
    )
