"""How a model is to be run: llama-server's own options under their own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Complex, Number, Real
from os import PathLike, fspath
from typing import TypeGuard

from ggufctl.core.ggml.types import TYPES
from ggufctl.errors import UsageError

__all__ = ["CACHE_TYPES", "DEFAULT_N_PARALLEL", "DRAFT_N_MAX", "SPEC_TYPES", "Runtime"]

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""Types that `-ctk` and `-ctv` accept."""

DEFAULT_N_PARALLEL = 4
"""Slots of llama-server without `-np`; the cache is unified then.

Source: llama.cpp tools/server/server.cpp.
"""

DRAFT_N_MAX = 3
"""Tokens drafted at a time without `--spec-draft-n-max`.

Source: llama.cpp common/common.h `common_params_speculative_draft`.
"""

NO_DRAFT, DRAFT_SIMPLE, DRAFT_MTP = "none", "draft-simple", "draft-mtp"
SPEC_TYPES = (NO_DRAFT, DRAFT_SIMPLE, DRAFT_MTP)
"""Values of `--spec-type` that are planned."""

MAX_DRAFTED = 1024
"""Tokens that may be drafted at a time here; llama-server itself has no limit."""

_NO_SPECULATION = (NO_DRAFT, DRAFT_N_MAX, "f16", "f16")
"""Settings of speculation by default, which need no look."""

MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ."""

MAX_SHARES = 15
"""Values of `-ts`: llama.cpp refuses as many as it can have devices (16), or more.

Source: llama.cpp common/arg.cpp, src/llama.cpp `llama_max_devices`.
"""

_SHARE_RANGE = 1e-30, 1e30
"""What single precision has for values of `-ts` and their sum, with room to spare."""

_FLASH_ATTN = ("auto", "on", "off")
_SPLIT_MODES = ("none", "layer", "row", "tensor")
_LOAD_MODES = ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")


_BUFFER = re.compile(r"CPU|CUDA[0-9]{1,2}")
_NOT_ECMASCRIPT = re.compile(r"\(\?[^:=!]|[*+?}]\+")
"""Groups and quantifiers that Python has and ECMAScript lacks."""
_SHARE = re.compile(r"\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.ASCII | re.IGNORECASE)
_SHARE_HINT = "Write one number of 0 or more for each GPU, as in 3,1."
_OVERRIDE_HINT = "Write PATTERN=CPU or PATTERN=CUDA0, as in \\.ffn_up_exps=CPU."


def _reference(value: object) -> str:
    """A path or reference as text.

    Raises: UsageError when it is neither.
    """
    if not isinstance(value, str | PathLike):
        raise UsageError(f"{value!r} is neither a path nor a reference to a model.")
    return str(fspath(value))


def _overrides(given: object) -> Iterator[str]:
    """Entries of `-ot`, checked.

    Raises: UsageError for one that llama-server would not take.
    """
    if not isinstance(given, Iterable) or isinstance(given, str):
        given = (given,) if given else ()
    for text in given:
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no override of a tensor.", _OVERRIDE_HINT)
        for entry in text.split(","):
            pattern, equals, buffer = entry.partition("=")
            if not equals or not _BUFFER.fullmatch(buffer):
                raise UsageError(
                    f"{entry!r} is no override of a tensor: no known type of buffer follows a "
                    "first '='.",
                    _OVERRIDE_HINT,
                )
            try:
                re.compile(pattern)
                is_valid = not _NOT_ECMASCRIPT.search(pattern)
            except re.error:
                is_valid = False
            if not is_valid:
                raise UsageError(
                    f"{pattern!r} is no regular expression as llama.cpp takes it (ECMAScript).",
                    _OVERRIDE_HINT,
                )
            yield entry


def _shares(given: object) -> tuple[float, ...]:
    """Values of `-ts`, checked; commas and slashes divide them, as for llama.cpp.

    Raises: UsageError for those that it would not take, or that make no shares.
    """
    parts: object = given
    if isinstance(given, str):
        parts = re.split("[,/]+", given.rstrip(",/"))
    if not isinstance(parts, Iterable) or isinstance(parts, bytes | Set | Mapping):
        raise UsageError(f"-ts/--tensor-split takes numbers, not {given!r}.", _SHARE_HINT)
    try:
        found = tuple(map(_share, parts))
    except TypeError:
        # An array without dimensions says that it can be iterated over.
        raise UsageError(f"-ts/--tensor-split takes numbers, not {given!r}.", _SHARE_HINT) from None
    if len(found) > MAX_SHARES:
        raise UsageError(
            f"-ts/--tensor-split takes at most {MAX_SHARES} numbers, not {len(found)}.", _SHARE_HINT
        )
    return found


def _share(given: object) -> float:
    number = -1.0
    if isinstance(given, str):
        number = float(given) if _SHARE.fullmatch(given) else number
    elif _is_real(given):
        # Out of what a float can be, as 10**400 and a signalling NaN are.
        with suppress(OverflowError, ValueError):
            number = float(given)
    low, high = _SHARE_RANGE
    if number == 0 or low <= number <= high:
        return abs(number)
    raise UsageError(f"-ts/--tensor-split takes numbers of 0 or more, not {given!r}.", _SHARE_HINT)


def _is_real(given: object) -> TypeGuard[Real]:
    """Whether something is a real number, also one of NumPy's or a Decimal, which is no `Real`."""
    if isinstance(given, bool) or not isinstance(given, Number):
        return False
    return isinstance(given, Real) or not isinstance(given, Complex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Settings of one llama-server, defaulted to what it would do itself.

    Attributes:
        n_ctx: total context, as `-c` [tokens]; 0 = the model's training context.
        n_parallel: slots, as `-np`; None = llama-server's default (4, unified cache).
        kv_unified: one cache for all slots, as `-kvu`; None = only without `n_parallel`.
        cache_type_k: type of the key cache, as `-ctk`.
        cache_type_v: type of the value cache, as `-ctv`.
        flash_attn: "auto", "on" or "off", as `-fa`.
        n_batch: logical batch, as `-b` [tokens].
        n_ubatch: physical batch, as `-ub` [tokens].
        n_gpu_layers: blocks on the GPU plus one for the output, as `-ngl`; -1 = all.
        n_cpu_moe: first blocks whose experts stay in host memory, as `-ncmoe`.
        override_tensor: where tensors go whose name a pattern finds, as `-ot`: entries
            `PATTERN=CPU` or `PATTERN=CUDA0`, the first that matches counts, before `-ncmoe`.
        no_kv_offload: keep the cache in host memory, as `-nkvo`.
        split_mode: "layer" or "none", as `-sm`.
        tensor_split: share of the layers per GPU, as `-ts`: numbers, or text such as "3,1"; none,
            or zeros alone = by free memory, which equal GPUs have the same of.
        n_outputs: rows of logits per batch: None = as llama-server reserves,
            0 = as many as the batch (llama-fit-params, llama-bench).
        embeddings: serve embeddings, as `--embedding`.
        swa_full: full-size cache for sliding-window blocks, as `--swa-full`.
        load_mode: how weights are read, as `-lm`.
        mmproj: multimodal projector to load with it: path or reference.
        draft_model: draft model for speculation: path or reference.
        lora: adapters: paths or references.
        spec_type: how tokens are drafted, as `--spec-type`: "none", "draft-simple" with a draft
            model, "draft-mtp" with the model's own nextn/MTP blocks or those of a draft model.
        spec_draft_n_max: tokens drafted at a time, as `--spec-draft-n-max`.
        spec_draft_type_k: type of the key cache that drafts are made with, as `-ctkd`.
        spec_draft_type_v: type of the value cache that drafts are made with, as `-ctvd`.

    Raises:
        UsageError: a value that llama-server would not take.
    """

    n_ctx: int = 0
    n_parallel: int | None = None
    kv_unified: bool | None = None
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attn: str = "auto"
    n_batch: int = 2048
    n_ubatch: int = 512
    n_gpu_layers: int = -1
    n_cpu_moe: int = 0
    override_tensor: tuple[str, ...] = ()
    no_kv_offload: bool = False
    split_mode: str = "layer"
    tensor_split: tuple[float, ...] = ()
    n_outputs: int | None = None
    embeddings: bool = False
    swa_full: bool = False
    load_mode: str = "auto"
    mmproj: str | None = None
    draft_model: str | None = None
    lora: tuple[str, ...] = ()
    spec_type: str = NO_DRAFT
    spec_draft_n_max: int = DRAFT_N_MAX
    spec_draft_type_k: str = "f16"
    spec_draft_type_v: str = "f16"

    def __post_init__(self) -> None:
        if self.lora != ():
            given: object = self.lora or ()
            many = (given,) if isinstance(given, str | PathLike) else tuple(self.lora or ())
            object.__setattr__(self, "lora", tuple(map(_reference, many)))
        if self.override_tensor != ():
            object.__setattr__(self, "override_tensor", tuple(_overrides(self.override_tensor)))
        # An array of NumPy's is neither equal nor unequal to a tuple.
        split: object = self.tensor_split
        if not isinstance(split, tuple) or split:
            shares = () if split is None else _shares(split)
            object.__setattr__(self, "tensor_split", shares)
        if self.mmproj is not None:
            object.__setattr__(self, "mmproj", _reference(self.mmproj))
        if self.draft_model is not None:
            object.__setattr__(self, "draft_model", _reference(self.draft_model))
        self._check_flag("kv_unified", self.kv_unified is None or self.kv_unified)
        self._check_flag("embeddings", self.embeddings)
        self._check_flag("swa_full", self.swa_full)
        self._check_flag("no_kv_offload", self.no_kv_offload)
        self._check_choice("flash attention", self.flash_attn, _FLASH_ATTN)
        self._check_choice("split mode", self.split_mode, _SPLIT_MODES)
        self._check_choice("load mode", self.load_mode, _LOAD_MODES)
        for option, value in (
            ("-ctk", self.cache_type_k),
            ("-ctv", self.cache_type_v),
        ):
            self._check_choice(f"cache type ({option})", value, CACHE_TYPES)
        drafts = (self.spec_type, self.spec_draft_n_max, self.spec_draft_type_k)
        is_plain = (*drafts, self.spec_draft_type_v) == _NO_SPECULATION
        if not is_plain or type(self.spec_draft_n_max) is not int:
            self._check_drafting()
        self._check_range("-c/--ctx-size", self.n_ctx, 0, 1 << 31)
        self._check_range("-b/--batch-size", self.n_batch, 1, 1 << 24)
        self._check_range("-ub/--ubatch-size", self.n_ubatch, 1, 1 << 20)
        self._check_range("-ngl/--n-gpu-layers", self.n_gpu_layers, -1, 1 << 20)
        self._check_range("-ncmoe/--n-cpu-moe", self.n_cpu_moe, 0, 1 << 20)
        if self.n_parallel is not None:
            self._check_range("-np/--parallel", self.n_parallel, 1, MAX_SEQUENCES)
        if self.n_outputs is not None:
            self._check_range("n_outputs", self.n_outputs, 0, 1 << 24)

    def _check_drafting(self) -> None:
        if self.spec_type not in SPEC_TYPES:
            raise UsageError(
                f"--spec-type {self.spec_type} cannot be planned.",
                hint=f"Use one of {', '.join(SPEC_TYPES)}.",
            )
        self._check_range("--spec-draft-n-max", self.spec_draft_n_max, 0, MAX_DRAFTED)
        for option, value in (
            ("-ctkd", self.spec_draft_type_k),
            ("-ctvd", self.spec_draft_type_v),
        ):
            self._check_choice(f"cache type ({option})", value, CACHE_TYPES)

    @staticmethod
    def _check_flag(name: str, value: object) -> None:
        if value is not True and value is not False:
            raise UsageError(f"{name} must be True or False, not {value!r}.")

    @staticmethod
    def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
        if value not in choices:
            raise UsageError(
                f"{value!r} is no {what} of llama-server.", hint=f"Use {', '.join(choices)}."
            )

    @staticmethod
    def _check_range(option: str, value: int, low: int, high: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"{option} must be between {low} and {high}, not {value!r}.")

    @property
    def n_seq_max(self) -> int:
        """Slots that run at once."""
        return DEFAULT_N_PARALLEL if self.n_parallel is None else self.n_parallel

    @property
    def is_unified(self) -> bool:
        """Whether all slots share one cache."""
        return self.n_parallel is None if self.kv_unified is None else self.kv_unified

    @property
    def drafting(self) -> str:
        """How tokens are drafted: a draft model of which nothing is said drafts simply.

        llama-server itself loads such a model and does not use it.
        """
        return DRAFT_SIMPLE if self.spec_type == NO_DRAFT and self.draft_model else self.spec_type

    @property
    def drafts_with_mtp(self) -> bool:
        """Whether nextn/MTP blocks draft."""
        return self.spec_type == DRAFT_MTP

    @property
    def overrides_tensors(self) -> bool:
        """Whether weights of blocks go elsewhere than their block."""
        return bool(self.n_cpu_moe or self.override_tensor)

    @property
    def leaves_on_host(self) -> bool:
        """Whether a part of what a GPU could hold is kept in host memory."""
        return self.n_gpu_layers >= 0 or self.overrides_tensors or self.no_kv_offload

    @property
    def least_gpus(self) -> int:
        """GPUs that there must be for the overrides to name no other."""
        buffers = (entry.rpartition("=")[2] for entry in self.override_tensor)
        return 1 + max((int(name[4:]) for name in buffers if name != "CPU"), default=-1)

    @property
    def n_shares(self) -> int:
        """GPUs up to the last one that `-ts` gives something; 0 where it does not count."""
        if self.split_mode == "none":
            return 0
        return max((i for i, share in enumerate(self.tensor_split, 1) if share), default=0)

    @property
    def tensor_split_text(self) -> str:
        """The values of `-ts` as llama-server takes them."""
        return ",".join(repr(share).removesuffix(".0") for share in self.tensor_split)

    def shares(self, n_gpus: int) -> tuple[float, ...]:
        """Share of the layers that `-ts` gives each of so many GPUs.

        Values beyond the GPUs are not read, GPUs beyond the values get nothing. Empty where
        llama.cpp divides by itself: where nothing is left to divide by, or to divide among.

        Source: llama.cpp common/arg.cpp, src/llama-model.cpp `load_tensors`.
        """
        found = (*self.tensor_split, *(0.0,) * n_gpus)[:n_gpus]
        return found if n_gpus > 1 and any(found) else ()

    @property
    def has_quantized_v(self) -> bool:
        """Whether the value cache needs flash attention."""
        return TYPES[self.cache_type_v].is_quantized

    def with_(self, **changes: object) -> Runtime:
        """Return a copy with some settings changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # checked by __post_init__
