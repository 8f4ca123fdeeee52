"""A model's hyper-parameters, as llama.cpp derives them from a header.

Source: llama.cpp src/llama-model.cpp `llama_model_base::load_hparams`,
src/llama-hparams.h and .cpp (pin in core/_pins.py). What an architecture adds of its
own (`load_arch_hparams`) is in its file under core/graphs/.
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.header import Header, SkippedArray, TensorInfo
from ggufctl.errors import InvalidGguf

__all__ = ["HParams", "Memory"]

MAX_LAYERS = 512
"""LLAMA_MAX_LAYERS."""

MAX_EXPERTS = 1024
"""LLAMA_MAX_EXPERTS."""

POOLING_MEAN, POOLING_RANK = 1, 4
"""Values of `pooling_type` (LLAMA_POOLING_TYPE_*)."""

_MAX_VALUE = 1 << 40


class Memory:
    """Kinds of memory a context can have (`llama_model::create_memory`)."""

    NONE = "none"
    KV = "kv"
    ISWA = "iswa"
    RECURRENT = "recurrent"
    HYBRID = "hybrid"
    HYBRID_ISWA = "hybrid-iswa"


class HParams:
    """Hyper-parameters of one model. Built once, then read only.

    Attributes carry llama.cpp's names; `_arr` lists have one entry per block, nextn
    blocks included.

    Raises:
        InvalidGguf: a value is missing, of the wrong type, or absurd.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.tensors: dict[str, TensorInfo] = header.tensors
        arch = header.metadata.get("general.architecture")
        if not isinstance(arch, str):
            raise InvalidGguf("The header names no architecture (general.architecture).")
        self.arch = arch
        self.n_ctx_train = self.integer("context_length", 0)
        self.n_embd = self.integer("embedding_length", 0)
        self.n_embd_out = self.integer("embedding_length_out", 0) or self.n_embd
        self.n_layer_all = self.integer("block_count", 0)
        if not 0 < self.n_layer_all <= MAX_LAYERS:
            raise InvalidGguf(
                f"The header says {self.n_layer_all} blocks; llama.cpp reads 1 to {MAX_LAYERS}."
            )
        self.n_layer_nextn = self.integer("nextn_predict_layers", 0)
        if self.n_layer_nextn > self.n_layer_all:
            raise InvalidGguf("The header has more nextn blocks than blocks.")
        self.causal_attn = bool(self.key("attention.causal", True))
        self.pooling_type = self.integer("pooling_type", 0, low=-1)
        self.n_expert = self.integer("expert_count", 0)
        if self.n_expert > MAX_EXPERTS:
            raise InvalidGguf(f"The header says {self.n_expert} experts; llama.cpp reads 1024.")
        self.n_expert_used_arr = self.per_layer("expert_used_count", 0)
        if max(self.n_expert_used_arr) > max(self.n_expert, 1):
            raise InvalidGguf("The header uses more experts per token than the model has.")
        self.n_expert_groups = self.integer("expert_group_count", 0)
        self.n_group_used = self.integer("expert_group_used_count", 0)
        self.n_ff_arr = self.per_layer("feed_forward_length", 0)
        self.n_ff_exp = self.integer_or_first("expert_feed_forward_length", 0)
        self.n_head_arr = self.per_layer("attention.head_count", 0)
        self.n_head_kv_arr = self.per_layer("attention.head_count_kv", None) or list(
            self.n_head_arr
        )
        self._load_head_sizes()
        self.rope_sections = self._rope_sections()
        self.n_swa = 0
        self.has_swa = False
        """Whether the model has a sliding-window type at all (swa_type is not NONE)."""
        self.is_swa_arr = [False] * self.n_layer_all
        self.is_recr_arr = [False] * self.n_layer_all
        self.n_layer_kv_from_start = -1
        self.kv_reuse: Callable[[int], int] | None = None
        """Layer whose cache a layer without one of its own reads (gemma3n, gemma4)."""
        self.attn_layers: list[int] | None = None
        """Layers with a KV cache, where the kind of memory does not say it."""
        self.recr_layers: list[int] | None = None
        """Layers with a recurrent state, where the kind of memory does not say it."""
        self.memory = Memory.KV
        self.loads_output_first = False
        """Whether a tied output matrix is loaded before the embeddings: never shared then."""
        self.rope_layers: list[int] | None = None
        """Layers that rope factors are loaded for, if not all."""
        self.n_deepstack_layers = 0
        self.n_embd_inp_impl = 0
        self.is_mrope = False
        """Whether positions have four components per token (rope_type MROPE, IMROPE)."""
        self.use_alibi = False
        self.attn_soft_cap = False
        self.forbids_flash_attn = False
        """Whether llama.cpp forces flash attention off (grok)."""
        self.block_marks: list[object] = [None] * self.n_layer_all
        """What a builder decides by a block's number and no tensor shows, per block."""
        self.embedding_scale = float(self.number("embedding_scale", 0.0))
        self.clamp_kqv = 0.0
        self.is_mla = False
        """Whether the cache holds latent K only (n_embd_head_k_mla is set)."""
        self.wkv_head_size = 0
        self.token_shift_count = 2
        self.n_shortconv_l_cache = 0
        self.n_embd_head_kda = 0
        self.n_embd_head_la = 0
        self.ssm_d_conv = self.integer("ssm.conv_kernel", 0)
        self.ssm_d_inner = self.integer("ssm.inner_size", 0)
        self.ssm_d_state = self.integer("ssm.state_size", 0)
        self.ssm_dt_rank = self.integer("ssm.time_step_rank", 0)
        self.ssm_n_group = self.integer("ssm.group_count", 0)
        self.swiglu_clamp_exp: list[float] = [0.0] * self.n_layer_all
        self.swiglu_clamp_shexp: list[float] = [0.0] * self.n_layer_all

    # Reading the header.

    def key(self, name: str, default: object = None) -> object:
        """Value of `<arch>.<name>`, or `default`."""
        return self.header.metadata.get(f"{self.arch}.{name}", default)

    def number(self, name: str, default: float) -> float:
        """Number under `<arch>.<name>`, finite."""
        value = self.key(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidGguf(f"The header's {self.arch}.{name} is not a number.")
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidGguf(f"The header's {self.arch}.{name} is not finite.")
        return value

    def integer(self, name: str, default: int, *, low: int = 0) -> int:
        """Integer under `<arch>.<name>`, bounded."""
        value = self.key(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidGguf(f"The header's {self.arch}.{name} is not an integer.")
        if not low <= value < _MAX_VALUE:
            raise InvalidGguf(f"The header's {self.arch}.{name} is {value}, which is absurd.")
        return value

    def integer_or_first(self, name: str, default: int) -> int:
        """Integer, or the first positive one of an array, under `<arch>.<name>`."""
        value = self.key(name, default)
        if isinstance(value, tuple):
            return next((v for v in value if isinstance(v, int) and v > 0), default)
        return self.integer(name, default)

    def per_layer(self, name: str, default: int | None) -> list[int]:
        """One integer per block from a scalar or an array; empty without key and default."""
        value = self.key(name, default)
        if value is None:
            return []
        if isinstance(value, tuple):
            values = list(value)
            if len(values) < self.n_layer_all:
                raise InvalidGguf(
                    f"The header's {self.arch}.{name} has {len(values)} entries for "
                    f"{self.n_layer_all} blocks."
                )
            if any(not isinstance(v, int) or not 0 <= v < _MAX_VALUE for v in values):
                raise InvalidGguf(f"The header's {self.arch}.{name} holds an absurd entry.")
            return [int(v) for v in values[: self.n_layer_all]]
        if isinstance(value, SkippedArray):
            raise InvalidGguf(f"The header's {self.arch}.{name} is too long an array.")
        return [self.integer(name, default or 0)] * self.n_layer_all

    def flags(self, name: str) -> list[bool] | None:
        """One flag per block from an array of booleans or integers, or None without one."""
        value = self.key(name)
        if not isinstance(value, tuple):
            return None
        flags = [bool(v) for v in value]
        return (flags + [False] * self.n_layer_all)[: self.n_layer_all]

    def _load_head_sizes(self) -> None:
        n_head = self.n_head_arr[0]
        size = self.n_embd // n_head if n_head else 0
        k = self.integer("attention.key_length", size)
        v = self.integer("attention.value_length", size)
        rot = self.integer("rope.dimension_count", k)
        if not n_head:
            k = v = rot = 0
        self.n_embd_head_k_full, self.n_embd_head_v_full, self.n_rot_full = k, v, rot
        self.n_embd_head_k_swa = self.integer("attention.key_length_swa", k)
        self.n_embd_head_v_swa = self.integer("attention.value_length_swa", v)
        self.n_rot_swa = self.integer("rope.dimension_count_swa", rot)

    def _rope_sections(self) -> tuple[int, ...]:
        value = self.key("rope.dimension_sections")
        if not isinstance(value, tuple):
            return ()
        return tuple(v if isinstance(v, int) else 0 for v in value)

    # What llama_hparams computes.

    @property
    def n_layer(self) -> int:
        """Blocks of the trunk, without nextn/MTP blocks."""
        return self.n_layer_all - self.n_layer_nextn

    @property
    def embeds_by_output(self) -> bool:
        """Whether a second copy of the output matrix is the missing embedding.

        Source: llama.cpp src/models/codeshell.cpp `load_arch_tensors`.
        """
        return self.arch == "codeshell" and "token_embd.weight" not in self.tensors

    @property
    def n_vocab(self) -> int:
        """Rows of the output matrix."""
        name = "output.weight" if self.embeds_by_output else "token_embd.weight"
        embd = self.tensors.get(name)
        if embd is not None and len(embd.shape) > 1:
            return embd.shape[1]
        return self.integer("vocab_size", 0)

    @property
    def n_embd_inp(self) -> int:
        """Width of an input embedding row, deepstack included."""
        return self.n_embd_inp_impl or self.n_embd * (1 + self.n_deepstack_layers)

    @property
    def n_expert_used(self) -> int:
        """Experts used per token in the first block."""
        return self.n_expert_used_arr[0]

    @property
    def uses_mrope(self) -> bool:
        """Whether rope sections are set (use_mrope)."""
        s = self.rope_sections
        return len(s) > 1 and s[0] > 0 and s[1] > 0

    @property
    def pools_by_mean(self) -> bool:
        """Whether embeddings are averaged over a sequence (pooling types MEAN, RANK)."""
        kind: object = self.pooling_type
        if kind == POOLING_RANK:
            default = POOLING_MEAN if self.arch == "modern-bert" else None
            kind = self.key("classifier.pooling_type", default)
        return kind == POOLING_MEAN

    def is_swa(self, il: int) -> bool:
        """Whether a block attends a sliding window."""
        return self.is_swa_arr[il]

    def is_recr(self, il: int) -> bool:
        """Whether a block is recurrent."""
        return self.is_recr_arr[il]

    def n_head(self, il: int = 0) -> int:
        """Query heads."""
        return self.n_head_arr[il]

    def n_head_kv(self, il: int = 0) -> int:
        """Key/value heads."""
        return self.n_head_kv_arr[il]

    def n_ff(self, il: int = 0) -> int:
        """Feed-forward width."""
        return self.n_ff_arr[il]

    def n_embd_head_k(self, il: int = 0) -> int:
        """Width of a key head."""
        return self.n_embd_head_k_swa if self.is_swa_arr[il] else self.n_embd_head_k_full

    def n_embd_head_v(self, il: int = 0) -> int:
        """Width of a value head."""
        return self.n_embd_head_v_swa if self.is_swa_arr[il] else self.n_embd_head_v_full

    def n_rot(self, il: int = 0) -> int:
        """Rotated dimensions."""
        return self.n_rot_swa if self.is_swa_arr[il] else self.n_rot_full

    def n_embd_k_gqa(self, il: int = 0) -> int:
        """Width of a block's cached key row."""
        return self.n_embd_head_k(il) * self.n_head_kv_arr[il]

    def n_embd_v_gqa(self, il: int = 0) -> int:
        """Width of a block's cached value row."""
        return self.n_embd_head_v(il) * self.n_head_kv_arr[il]

    def n_embd_v_gqa_max(self) -> int:
        """Widest cached value row, nextn blocks included."""
        return max(self.n_embd_v_gqa(il) for il in range(self.n_layer_all))

    def has_kv(self, il: int) -> bool:
        """Whether a block owns a KV cache rather than reading an earlier one."""
        return self.n_layer_kv_from_start < 0 or il < self.n_layer_kv_from_start

    @property
    def n_embd_r(self) -> int:
        """Elements of one sequence's convolution (or token-shift) state."""
        if self.wkv_head_size:
            return self.token_shift_count * self.n_embd
        if self.n_shortconv_l_cache:
            return self.n_embd * (self.n_shortconv_l_cache - 1)
        d_conv = self.ssm_d_conv
        if self.n_embd_head_kda:
            return 3 * (d_conv - 1 if d_conv else 3) * self.n_head() * self.n_embd_head_kda
        width = self.ssm_d_inner + 2 * self.ssm_n_group * self.ssm_d_state
        return (d_conv - 1 if d_conv else 0) * width

    @property
    def n_embd_s(self) -> int:
        """Elements of one sequence's recurrent state."""
        if self.wkv_head_size:
            return self.n_embd * self.wkv_head_size
        if self.n_embd_head_kda:
            return self.n_embd_head_kda**2 * self.n_head()
        if self.n_embd_head_la:
            return self.n_embd_head_la**2 * self.n_head()
        return self.ssm_d_state * self.ssm_d_inner

    # What architectures set.

    def set_swa(self, n_swa: int, period: int, *, dense_first: bool = False) -> None:
        """Give the model a sliding window of `n_swa` tokens on a periodic pattern.

        `attention.sliding_window_pattern` in the header wins, whether it holds one flag
        per block or a period.

        Args:
            n_swa: window [tokens].
            period: every period-th block is dense; 0 = all blocks slide, 1 = none does.
            dense_first: whether a period starts with its dense block.

        Source: src/llama-model.cpp `load_swa_pattern`.
        """
        self.n_swa = n_swa
        self.has_swa = True
        explicit = self.flags("attention.sliding_window_pattern")
        if explicit is None:
            period = self.integer("attention.sliding_window_pattern", period)
            explicit = self._pattern(period, dense_first=dense_first)
        self.is_swa_arr = explicit

    def set_recr(self, period: int, *, dense_first: bool = False) -> None:
        """Make all but every period-th block recurrent (`set_recr_pattern`)."""
        self.is_recr_arr = self._pattern(period, dense_first=dense_first)

    def _pattern(self, period: int, *, dense_first: bool) -> list[bool]:
        def marked(il: int) -> bool:
            if il >= self.n_layer:
                return False
            if period == 0:
                return True
            return il % period != 0 if dense_first else il % period < period - 1

        return [marked(il) for il in range(self.n_layer_all)]
