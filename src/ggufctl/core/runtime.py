"""How a model is to be run: llama-server's own options under their own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike, fspath

from ggufctl.core.ggml.types import TYPES
from ggufctl.errors import UsageError

__all__ = ["CACHE_TYPES", "DEFAULT_N_PARALLEL", "Runtime"]

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""Types that `-ctk` and `-ctv` accept."""

DEFAULT_N_PARALLEL = 4
"""Slots of llama-server without `-np`; the cache is unified then.

Source: llama.cpp tools/server/server.cpp.
"""

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
    if not isinstance(parts, Iterable) or isinstance(parts, bytes):
        raise UsageError(f"-ts/--tensor-split takes numbers, not {given!r}.", _SHARE_HINT)
    found = tuple(map(_share, parts))
    if len(found) > MAX_SHARES:
        raise UsageError(
            f"-ts/--tensor-split takes at most {MAX_SHARES} numbers, not {len(found)}.", _SHARE_HINT
        )
    return found


def _share(given: object) -> float:
    number: object = given
    if isinstance(given, str) and _SHARE.fullmatch(given):
        number = float(given)
    if isinstance(number, int | float) and not isinstance(number, bool):
        low, high = _SHARE_RANGE
        if number == 0 or low <= number <= high:
            return abs(float(number))
    raise UsageError(f"-ts/--tensor-split takes numbers of 0 or more, not {given!r}.", _SHARE_HINT)


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

    def __post_init__(self) -> None:
        if self.lora != ():
            given: object = self.lora or ()
            many = (given,) if isinstance(given, str | PathLike) else tuple(self.lora or ())
            object.__setattr__(self, "lora", tuple(map(_reference, many)))
        if self.override_tensor != ():
            object.__setattr__(self, "override_tensor", tuple(_overrides(self.override_tensor)))
        if self.tensor_split != ():
            shares = () if self.tensor_split is None else _shares(self.tensor_split)
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
        for option, value in (("-ctk", self.cache_type_k), ("-ctv", self.cache_type_v)):
            self._check_choice(f"cache type ({option})", value, CACHE_TYPES)
        self._check_range("-c/--ctx-size", self.n_ctx, 0, 1 << 31)
        self._check_range("-b/--batch-size", self.n_batch, 1, 1 << 24)
        self._check_range("-ub/--ubatch-size", self.n_ubatch, 1, 1 << 20)
        self._check_range("-ngl/--n-gpu-layers", self.n_gpu_layers, -1, 1 << 20)
        self._check_range("-ncmoe/--n-cpu-moe", self.n_cpu_moe, 0, 1 << 20)
        if self.n_parallel is not None:
            self._check_range("-np/--parallel", self.n_parallel, 1, MAX_SEQUENCES)
        if self.n_outputs is not None:
            self._check_range("n_outputs", self.n_outputs, 0, 1 << 24)

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
