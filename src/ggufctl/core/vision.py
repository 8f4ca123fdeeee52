"""Graphs of projectors: what encoding one image, or half a minute of sound, takes.

llama-server reserves a projector's graph when it starts, for a picture of a size that
depends on the projector's type (its warm-up); larger pictures make the buffer grow.

Source: llama.cpp tools/mtmd/clip.cpp `clip_graph::build_vit`, `clip_model_loader` and
tools/mtmd/models/*.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.ggml import cuda, ops
from ggufctl.core.ggml.alloc import Recorder
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.scheduler import Scheduler
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.header import Header
from ggufctl.errors import InvalidGguf, UnsupportedModel

__all__ = ["EncoderBuffers", "encoder_buffers", "modalities"]

AUDIO_FRAMES = 3000
"""Frames of the warm-up sound, thirty seconds (warmup_audio_size)."""

MAX_SIDE = 8192
"""Largest picture side a projector may declare."""

MAX_BLOCKS = 512

_SIDE_TOKENS = {
    "qwen2vl_merger": 46,
    "qwen2.5vl_merger": 46,
    "qwen3vl_merger": 46,
    "ling3vl": 46,
    "glm4v": 46,
    "glm5v": 46,
    "dots_ocr": 46,
    "dots3note_v": 46,
    "mimovl": 46,
    "exaone4_5": 46,
    "hunyuanvl": 32,
    "muse-glimmer": 32,
    "paddleocr": 28,
    "pixtral": 16,
    "lightonocr": 16,
    "kimivl": 16,
    "gemma4v": 16,
    "gemma4uv": 16,
    "deepseek4v": 16,
    "phi4": 16,
    "minimax_m3": 16,
    "youtuvl": 16,
    "lfm2": 16,
    "kimik25": 64,
}
"""Tokens along each side of the warm-up picture; other types take their own image size.

Source: clip.cpp `clip_model_loader::load_hparams`.
"""

_MERGE_DEFAULT = {
    "gemma3": 4,
    "gemma4v": 3,
    "gemma4uv": 3,
    "minicpmv4_6": 4,
    "step3vl": 4,
    "qwen2vl_merger": 2,
    "qwen2.5vl_merger": 2,
    "qwen3vl_merger": 2,
    "ling3vl": 2,
    "glm4v": 2,
    "glm5v": 2,
    "mimovl": 2,
    "exaone4_5": 2,
    "hunyuanvl": 2,
    "paddleocr": 2,
    "minimax_m3": 2,
    "muse-glimmer": 2,
    "youtuvl": 2,
}
"""Patches merged along each side where the file does not say."""

_GLU_OF = {
    "silu": "swiglu",
    "gelu": "geglu",
    "gelu_erf": "geglu_erf",
    "gelu_quick": "geglu_quick",
}

_SWAPS_FFN = frozenset(
    (
        "mlp",
        "mlp_norm",
        "ldp",
        "ldpv2",
        "qwen2vl_merger",
        "qwen2.5vl_merger",
        "exaone4_5",
        "adapter",
        "gemma3",
        "idefics3",
        "resampler",
        "minicpmv4_6",
    )
)
"""Types of which old files hold the feed-forward matrices under each other's name."""


_KNOWN_TYPES = """
mlp ldp ldpv2 resampler adapter qwen2vl_merger qwen2.5vl_merger qwen3vl_merger
ling3vl step3vl gemma3 gemma3nv gemma3na gemma4v gemma4a gemma4uv gemma4ua phi4
idefics3 pixtral ultravox internvl llama4 qwen2a qwen3a glma qwen2.5o voxtral
meralion musicflamingo lfm2 kimivl paddleocr lightonocr cogvlm janus_pro dots_ocr
dots3note_v dots3note_a deepseekocr deepseekocr2 deepseek4v lfm2a glm4v glm5v
youtuvl yasa2 kimik25 nemotron_v2_vl exaone4_5 hunyuanvl minicpmv4_6 granite_speech
mimovl minimax_m3 granite4_vision mimo_audio parakeet qwen3tts_spkenc qwen3tts_gen
pockettts_spkenc pockettts_gen muse-glimmer
"""

_TAKES_BATCHES = frozenset(("gemma4v", "internvl", "deepseekocr", "deepseekocr2"))
"""Types that encode several pictures or tiles at once (support_batch)."""

_WARMS_UP_LARGEST = frozenset(("lfm2", "kimik25"))
"""Types of variable picture size that warm up with the largest."""

_NO_TRANSFORMER = frozenset(("deepseekocr", "deepseekocr2", "gemma3nv", "yasa2"))
"""Types that a transformer's graph says nothing about: convolutions, or two encoders."""


@dataclass(frozen=True, slots=True)
class EncoderBuffers:
    """Compute buffers of one encoder.  [bytes]

    Attributes:
        gpu: on the first GPU, 0 without one.
        host: in host memory.
        is_exact: whether the graph is the projector's own, not a stand-in.
        grows: whether some input needs larger buffers than the warm-up's.
    """

    gpu: int
    host: int
    is_exact: bool
    grows: bool


def modalities(header: Header) -> tuple[str, ...]:
    """Encoders of a projector that are loaded: "vision", "audio", or both.

    Source: clip.cpp `clip_init`.
    """
    metadata = header.metadata
    found = [m for m in ("vision", "audio") if metadata.get(f"clip.has_{m}_encoder") is True]
    # Of Gemma 3n llama.cpp uses the pictures only.
    if found == ["vision", "audio"] and _projector_type(header, "vision") == "gemma3nv":
        return ("vision",)
    return tuple(found)


def _projector_type(header: Header, modality: str) -> str:
    both = header.metadata.get("clip.projector_type")
    own = header.metadata.get(f"clip.{modality}.projector_type")
    kind = both or own
    if kind == "qwen2.5o":
        return "qwen2.5vl_merger" if modality == "vision" else "qwen2a"
    return kind if isinstance(kind, str) else ""


def encoder_buffers(header: Header, modality: str, *, on_gpu: bool) -> EncoderBuffers | None:
    """Reserve the warm-up graph of one encoder, or None where its shapes make no graph.

    Args:
        header: the projector.
        modality: "vision" or "audio".
        on_gpu: whether a GPU takes part; the host is used otherwise.

    Raises:
        InvalidGguf: the header lacks what its type of projector needs.
        UnsupportedModel: the pinned llama.cpp does not know the type.

    Source: clip.cpp `clip_model_loader::warmup`.
    """
    kind = _projector_type(header, modality)
    if kind not in _KNOWN_TYPES.split():
        raise UnsupportedModel(
            f"llama.cpp {LLAMA_CPP_BUILD} does not know the projector type {kind!r:.40}: "
            "it needs a newer llama.cpp."
        )
    grows = kind in _TAKES_BATCHES or (kind in _SIDE_TOKENS and kind not in _WARMS_UP_LARGEST)
    build, is_exact = _BUILDERS.get(kind), True
    if build is None:
        if modality == "audio" or kind in _NO_TRANSFORMER:
            return None
        build, is_exact = _plain, False
    # Attention is fused first; where no kernel fits, a second graph without it follows
    # and each buffer keeps its larger size.
    fused, all_supported = _reserve(header, modality, kind, build, on_gpu, True)
    if all_supported:
        return EncoderBuffers(*fused, is_exact, grows)
    plain, _ = _reserve(header, modality, kind, build, on_gpu, False)
    gpu, host = (max(a, b) for a, b in zip(fused, plain, strict=True))
    return EncoderBuffers(gpu, host, is_exact, grows)


def _reserve(
    header: Header,
    modality: str,
    kind: str,
    build: Callable[[_Encoder], Tensor],
    on_gpu: bool,
    flash: bool,
) -> tuple[tuple[int, int], bool]:
    n_gpus = 1 if on_gpu else 0
    encoder = _Encoder(header, modality, kind, flash)
    encoder.graph.expand(build(encoder))
    supported = not on_gpu or all(
        cuda.supports(t) for t in encoder.graph.nodes if t.op == "FLASH_ATTN_EXT"
    )
    recorder = Recorder(n_gpus)
    recorder.record(Scheduler(n_gpus).schedule(encoder.graph))
    sizes = [tape.play().size for tape in recorder.tapes]
    return (sizes[0] if on_gpu else 0, sizes[n_gpus]), supported


class _Encoder:
    """Builds the graph of one encoder for its warm-up input."""

    def __init__(self, header: Header, modality: str, kind: str, flash: bool) -> None:
        self.header = header
        self.modality = modality
        self.kind = kind
        self.flash = flash
        self.graph = Graph()
        self.prefix = "a" if modality == "audio" else "v"
        self._weights: dict[str, Tensor | None] = {}
        self.n_embd = self.number("embedding_length")
        self.n_head = max(1, self.number("attention.head_count", 0))
        self.n_head_kv = self.number("attention.head_count_kv", self.n_head)
        self.n_layer = min(self.number("block_count", 0), MAX_BLOCKS)
        self.d_head = self.number("attention.head_dim", self.n_embd // self.n_head)
        self.image_size = self.number("image_size", 0)
        self.patch = self.number("patch_size", 1)
        self.n_merge = self.number(
            "spatial_merge_size",
            self.number("projector.scale_factor", _MERGE_DEFAULT.get(kind, 1)),
        )
        self.picture_side = self._warmup_side()
        self.side = self.picture_side // self.patch
        """Patches along each side of the picture."""
        self.n_patches = self.side * self.side
        metadata = header.metadata
        if metadata.get("clip.use_gelu") is True:
            self.act = "gelu"
        else:
            self.act = "silu" if metadata.get("clip.use_silu") is True else "gelu_quick"

    def number(self, key: str, default: int | None = None) -> int:
        """Hyper-parameter of the encoder; without a default it must be there."""
        value = self.header.metadata.get(f"clip.{self.modality}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 24:
            raise InvalidGguf(f"The projector has no usable clip.{self.modality}.{key}.")
        if value == 0 and default is None:
            raise InvalidGguf(f"The projector's clip.{self.modality}.{key} is 0.")
        return value

    def _warmup_side(self) -> int:
        kind = self.kind
        if kind == "gemma4uv":
            self.patch, self.n_merge = self.patch * self.n_merge, 1
        pixels = self.number("image_max_pixels", 0) if kind == "kimik25" else 0
        if pixels:
            return isqrt(pixels)
        if kind.startswith("deepseekocr"):
            return 1024
        tokens = _SIDE_TOKENS.get(kind)
        side = tokens * self.patch * self.n_merge if tokens else self.image_size
        if not self.patch or side > MAX_SIDE:
            raise InvalidGguf(f"The projector's pictures would be {side} pixels wide.")
        return side

    # Weights and inputs.

    def w(self, name: str) -> Tensor | None:
        """Weight by its name in the file, or None."""
        if name not in self._weights:
            info = self.header.tensors.get(name)
            t = None
            if info is not None:
                t = Tensor(info.type, info.shape, name=name)
                t.buffer = 0
                t.is_weight = True
            self._weights[name] = t
        return self._weights[name]

    def need(self, name: str) -> Tensor:
        """Weight that the projector cannot do without."""
        t = self.w(name)
        if t is None:
            raise InvalidGguf(f"The projector has no tensor {name:.80}.")
        return t

    def layer(self, il: int, name: str) -> Tensor | None:
        """Weight of a block, or None."""
        return self.w(f"{self.prefix}.blk.{il}.{name}")

    def input(self, type_: str, *ne: int, name: str) -> Tensor:
        """Input of the graph."""
        return Tensor(type_, ne, name=name).as_input()

    # Blocks.

    def mm(self, w: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply by a weight and add a bias."""
        # Gemma 4 clamps around every weight, to the largest number where none is given.
        clamps = self.kind == "gemma4v"
        x = ops.mul_mat(w, ops.clamp(x) if clamps else x)
        x = ops.clamp(x) if clamps else x
        return x if bias is None else ops.add(x, bias)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """Multiply by `name`.weight and add `name`.bias if the file has one."""
        return self.mm(self.need(f"{name}.weight"), x, self.w(f"{name}.bias"))

    def norm(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None = None, *, rms: bool = False
    ) -> Tensor:
        """Layer or RMS norm with weight and bias (build_norm)."""
        x = ops.rms_norm(x) if rms else ops.norm(x)
        x = x if weight is None else ops.mul(x, weight)
        return x if bias is None else ops.add(x, bias)

    def named_norm(self, name: str, x: Tensor, *, rms: bool = False) -> Tensor:
        """Norm by name, with the bias if the file has one."""
        return self.norm(x, self.need(f"{name}.weight"), self.w(f"{name}.bias"), rms=rms)

    def mlp(self, x: Tensor, up: str, down: str, act: str = "gelu") -> Tensor:
        """Two matrices with an activation between (build_ffn without gate)."""
        return self.linear(down, ops.unary(self.linear(up, x), act))

    def ffn(self, il: int, x: Tensor, act: str) -> Tensor:
        """Feed-forward part of a block (build_ffn)."""
        names = ["ffn_up", "ffn_down"]
        down = self.layer(il, "ffn_down.weight")
        if self.kind in _SWAPS_FFN and down is not None and down.ne[0] == self.n_embd:
            names.reverse()
        up_name, down_name = (f"{self.prefix}.blk.{il}.{name}" for name in names)
        up = self.linear(up_name, x)
        gate = self.layer(il, "ffn_gate.weight")
        if gate is None:
            x = ops.unary(up, act)
        else:
            x = self.mm(gate, x, self.layer(il, "ffn_gate.bias"))
            x = ops.glu_split(x, up, _GLU_OF[act])
        return self.linear(down_name, x)

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor | None,
        out_bias: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attention of all patches to all patches (build_attn)."""
        for t in (q, k, v):
            self.graph.expand(t, compute=False)
        q = ops.permute(q, 0, 2, 1, 3)
        k = ops.permute(k, 0, 2, 1, 3)
        if self.flash:
            k = ops.cast(k, "f16")
            v = ops.cast(ops.permute(v, 0, 2, 1, 3), "f16")
            mask = None if mask is None else ops.cast(mask, "f16")
            x = ops.flash_attn_ext(q, k, v, mask)
            x = ops.reshape(x, x.ne[0] * x.ne[1], x.ne[2] * x.ne[3])
        else:
            v = ops.cont(ops.permute(v, 1, 2, 0, 3))
            x = ops.mul_mat(v, ops.soft_max(ops.mul_mat(k, q), mask))
            x = ops.permute(x, 0, 2, 1, 3)
            x = ops.cont(x, x.ne[0] * x.ne[1], x.ne[2] * x.ne[3])
        if out is not None:
            x = self.mm(out, x)
        return x if out_bias is None else ops.add(x, out_bias)

    def qkv(self, il: int, x: Tensor, n_pos: int, *, rms: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a block, normed where the file has norms."""
        d, heads = self.d_head, self.n_head
        q_norm = self.layer(il, "attn_q_norm.weight")
        k_norm = self.layer(il, "attn_k_norm.weight")
        fused = self.layer(il, "attn_qkv.weight")
        if fused is not None:
            x = self.mm(fused, x, self.layer(il, "attn_qkv.bias"))
            nb = (4 * d, x.nb[1], x.nb[1] * n_pos)
            q, k, v = (ops.view(x, (d, heads, n_pos, 1), nb, i * 4 * heads * d) for i in range(3))
            q = q if q_norm is None else self.norm(q, q_norm, rms=rms)
            k = k if k_norm is None else self.norm(k, k_norm, rms=rms)
            return q, k, v
        base = f"{self.prefix}.blk.{il}.attn_"
        q, k, v = (self.linear(f"{base}{part}", x) for part in "qkv")
        per_head = q_norm is not None and q_norm.ne[0] == d
        if not per_head:
            q = q if q_norm is None else self.norm(q, q_norm, rms=rms)
            k = k if k_norm is None else self.norm(k, k_norm, rms=rms)
        q = ops.reshape(q, d, heads, n_pos, 1)
        k = ops.reshape(k, d, self.n_head_kv, n_pos, 1)
        v = ops.reshape(v, d, self.n_head_kv, n_pos, 1)
        if per_head:
            q = self.norm(q, q_norm, rms=rms)
            k = k if k_norm is None else self.norm(k, k_norm, rms=rms)
        return q, k, v

    def block(
        self,
        il: int,
        x: Tensor,
        n_pos: int,
        *,
        rms: bool,
        act: str,
        add_pos: Callable[[Tensor], Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """One transformer block."""
        residual = x
        x = self.norm(x, self.layer(il, "ln1.weight"), self.layer(il, "ln1.bias"), rms=rms)
        q, k, v = self.qkv(il, x, n_pos, rms=rms)
        if add_pos is not None:
            q, k = add_pos(q), add_pos(k)
        if self.kind == "gemma4v":
            v = ops.rms_norm(v)
        out, out_bias = self.layer(il, "attn_out.weight"), self.layer(il, "attn_out.bias")
        x = self.attention(q, k, v, out, out_bias, mask)
        x = self._after(il, x, "ls1.weight", "attn_post_norm.weight", rms, norm_first=False)
        residual = x = ops.add(x, residual)
        x = self.norm(x, self.layer(il, "ln2.weight"), self.layer(il, "ln2.bias"), rms=rms)
        x = self.ffn(il, x, act)
        x = self._after(il, x, "ls2.weight", "ffn_post_norm.weight", rms, norm_first=True)
        x = ops.add(residual, x)
        scale = self.layer(il, "out_scale.weight")
        return x if scale is None else ops.mul(x, scale)

    def _after(
        self, il: int, x: Tensor, scale: str, norm: str, rms: bool, *, norm_first: bool
    ) -> Tensor:
        factor, weight = self.layer(il, scale), self.layer(il, norm)
        if norm_first and weight is not None:
            x = self.norm(x, weight, rms=rms)
        x = x if factor is None else ops.mul(x, factor)
        if not norm_first and weight is not None:
            x = self.norm(x, weight, rms=rms)
        return x

    def pre_norm(self, x: Tensor, *, rms: bool = False) -> Tensor:
        """Norm before the first block, where the file has one."""
        w = self.w(f"{self.prefix}.pre_ln.weight")
        return x if w is None else self.norm(x, w, self.w(f"{self.prefix}.pre_ln.bias"), rms=rms)

    def post_norm(self, x: Tensor, *, rms: bool = False) -> Tensor:
        """Norm after the last block, where the file has one."""
        name = "mm.post_norm" if self.kind == "dots_ocr" else f"{self.prefix}.post_ln"
        w = self.w(f"{name}.weight")
        return x if w is None else self.norm(x, w, self.w(f"{name}.bias"), rms=rms)

    def vit(
        self,
        x: Tensor,
        n_pos: int,
        *,
        rms: bool = False,
        act: str | None = None,
        positions: Tensor | None = None,
        add_pos: Callable[[Tensor], Tensor] | None = None,
        pool: bool = False,
    ) -> Tensor:
        """Vision transformer (build_vit)."""
        if positions is not None:
            x = ops.add(x, positions)
        x = self.pre_norm(ops.reshape(x, self.n_embd, n_pos), rms=rms)
        for il in range(self.n_layer):
            x = self.block(il, x, n_pos, rms=rms, act=act or self.act, add_pos=add_pos)
        if pool:
            x = ops.cont(ops.transpose(x))
            x = Tensor("f32", ((x.ne[0] - 2) // 2 + 1, *x.ne[1:]), "POOL_1D", (x,))
            x = ops.cont(ops.transpose(x))
        x = self.post_norm(x, rms=rms)
        return ops.reshape(x, self.n_embd, x.ne[1], 1)

    # Pictures.

    def picture(self, channels: int = 3) -> Tensor:
        """Warm-up picture (build_inp_raw)."""
        width = self.picture_side
        return self.input("f32", width, width, channels, 1, name="inp_raw")

    def conv(self, kernel: Tensor, x: Tensor, stride: int) -> Tensor:
        """Convolve without padding (ggml_conv_2d)."""
        type_ = "f32" if kernel.type == "bf16" else "f16"
        cols = ops.im2col(kernel, x, stride, 0, 1, two_dimensional=True, type_=type_)
        flat = ops.reshape(cols, cols.ne[0], cols.ne[1] * cols.ne[2] * cols.ne[3])
        rows = ops.reshape(kernel, kernel.ne[0] * kernel.ne[1] * kernel.ne[2], kernel.ne[3])
        x = ops.reshape(ops.mul_mat(flat, rows), cols.ne[1], cols.ne[2], cols.ne[3], kernel.ne[3])
        return ops.cont(ops.permute(x, 0, 1, 3, 2))

    def patches(self, picture: Tensor | None = None) -> Tensor:
        """Embedded patches (build_inp)."""
        x = self.conv(self.need("v.patch_embd.weight"), picture or self.picture(), self.patch)
        x = ops.reshape(x, self.n_patches, self.n_embd, 1)
        x = ops.cont(ops.transpose(x))
        bias = self.w("v.patch_embd.bias")
        return x if bias is None or self.kind == "gemma4v" else ops.add(x, bias)

    def merge(self, x: Tensor) -> Tensor:
        """Patches merged n × n, padded where the side is odd (build_patch_merge_permute)."""
        n, width = self.n_merge, self.side
        n_embd = x.ne[0]
        x = ops.reshape(x, n_embd, width, width)
        rest = -width % n
        if rest:
            x = ops.pad(x, 0, rest, rest)
            width += rest
        x = ops.permute(ops.reshape(x, n_embd * n, width // n, width), 0, 2, 1, 3)
        x = ops.cont(x, n_embd * n * n, width // n, width // n)
        x = ops.permute(x, 0, 2, 1, 3)
        return ops.cont(x, x.ne[0], x.ne[1] * x.ne[2])

    def frames_by_pairs(self) -> Tensor:
        """Patches of a still picture taken as two frames, in 2 × 2 order (qwen2vl)."""
        raw = self.picture()
        first, second = (
            self.conv(self.need(f"v.patch_embd.weight{i}"), raw, self.patch) for i in ("", ".1")
        )
        x = ops.add(first, second)
        return self.by_windows(ops.permute(x, 1, 2, 0, 3))

    def by_windows(self, x: Tensor) -> Tensor:
        """Reorder patches so that each 2 × 2 window is contiguous."""
        n, side = self.n_embd, self.side
        x = ops.cont(x, 2 * n, side // 2, side, 1)
        x = ops.permute(ops.reshape(x, 2 * n, side // 2, 2, side // 2), 0, 2, 1, 3)
        return ops.cont(x, n, side * side, 1)

    def add_table(self, x: Tensor, ids: list[Tensor]) -> Tensor:
        """Add learned positions of columns and rows, two tables in one tensor (Gemma 4)."""
        table = self.need("v.position_embd.weight")
        rows, row = table.ne[1], table.row_bytes
        for i, positions in enumerate(ids):
            half = ops.view(table, (self.n_embd, rows), (row,), i * rows * row)
            x = ops.add(x, ops.get_rows(half, positions))
        return x

    def resized_positions(self) -> Tensor:
        """Learned positions, interpolated where the picture has another size."""
        table = self.need("v.position_embd.weight")
        own = isqrt(table.ne[1])
        if own == self.side:
            return table
        x = ops.permute(ops.reshape(table, self.n_embd, own, own), 2, 0, 1, 3)
        x = Tensor(x.type, (self.side, self.side, self.n_embd, 1), "UPSCALE", (x,))
        return ops.cont(ops.permute(x, 1, 2, 0, 3), self.n_embd, self.n_patches)


# One function per type of projector; each returns the last node.


def _siglip(e: _Encoder) -> Tensor:
    if e.kind in ("lfm2", "phi4"):
        inp = e.patches()
        positions = e.resized_positions()
    else:
        inp, positions = e.patches(), e.need("v.position_embd.weight")
    x = e.vit(inp, e.n_patches, positions=positions)
    if e.kind == "gemma3":
        x = ops.cont(ops.transpose(x), e.side, e.side, e.n_embd, 1)
        k = e.n_merge
        x = ops.pool_2d(x, k, k, k, k)
        x = ops.cont(ops.transpose(ops.reshape(x, x.ne[0] * x.ne[0], e.n_embd, 1)))
        x = ops.mul(ops.rms_norm(x), e.need("mm.soft_emb_norm.weight"))
        return ops.mul_mat(ops.cont(ops.transpose(e.need("mm.input_projection.weight"))), x)
    if e.kind == "idefics3":
        return e.mm(e.need("mm.model.fc.weight"), e.merge(x))
    if e.kind == "lfm2":
        x = e.merge(x)
        norm, bias = e.w("mm.input_norm.weight"), e.w("mm.input_norm.bias")
        if norm is not None:
            x = ops.mul(ops.norm(x), norm)
        if bias is not None:
            x = ops.add(x, bias)
        return e.mlp(x, "mm.1", "mm.2")
    if e.kind == "janus_pro":
        return e.mlp(x, "mm.0", "mm.1", e.act)
    return e.mlp(x, "mm.0", "mm.2")


def _rope_2d(a: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: ops.rope(ops.rope(x, a), b)


def _pixtral(e: _Encoder) -> Tensor:
    pos_h = e.input("i32", e.n_patches, name="pos_h")
    pos_w = e.input("i32", e.n_patches, name="pos_w")
    x = e.vit(e.patches(), e.n_patches, rms=True, add_pos=_rope_2d(pos_h, pos_w))
    n = e.n_merge
    merger = e.w("mm.patch_merger.weight")
    if merger is not None:
        x = ops.mul(ops.rms_norm(x), e.need("mm.input_norm.weight"))
        x = ops.reshape(x, e.n_embd, e.side, e.side)
        x = ops.cont(ops.permute(x, 2, 0, 1, 3))
        kernel = ops.view(x, (n, n, x.ne[2]), (0, 0))
        x = ops.im2col(kernel, x, n, 0, 1, two_dimensional=True, type_="f32")
        x = e.mm(merger, ops.reshape(x, x.ne[0], x.ne[1] * x.ne[2]))
    x = e.mlp(x, "mm.1", "mm.2")
    line_break = e.w("v.token_embd.img_break")
    if line_break is None:
        return x
    side, width = e.side // n, x.ne[0]
    token = Tensor("f32", (width, 1, side))
    token = ops.add(ops.scale(token), line_break)
    x = ops.concat(ops.reshape(x, width, side, side), token, 1)
    return ops.view(x, (width, side * side + side - 1), (4 * width,))


def _qwen2vl(e: _Encoder) -> Tensor:
    inp = e.frames_by_pairs()
    n_pos = e.n_patches
    windows = e.number("n_wa_pattern", 0)
    rms = e.kind != "qwen2vl_merger"
    positions = e.input("i32", 4 * n_pos, name="positions")
    x = e.pre_norm(inp, rms=rms)
    mask = None
    if windows:
        order = e.input("i32", n_pos // 4, name="inv_window_idx")
        mask = e.input("f32", n_pos, n_pos, name="window_mask")
        if e.flash:
            mask = ops.cast(mask, "f16")
        x = ops.get_rows(ops.reshape(x, 4 * e.n_embd, n_pos // 4), order)
        x = ops.reshape(x, e.n_embd, n_pos, 1)
    for il in range(e.n_layer):
        is_full = not windows or (il + 1) % windows == 0
        x = e.block(
            il,
            x,
            n_pos,
            rms=rms,
            act=e.act,
            add_pos=lambda t: ops.rope(t, positions),
            mask=None if is_full else mask,
        )
    x = ops.reshape(e.post_norm(x, rms=rms), 4 * e.n_embd, n_pos // 4, 1)
    x = e.mlp(x, "mm.0", "mm.2")
    if windows:
        order = e.input("i32", n_pos // 4, name="window_idx")
        width = x.ne[0]
        x = ops.get_rows(ops.reshape(x, width, n_pos // 4), order)
        x = ops.reshape(x, width, n_pos // 4, 1)
    return x


def _qwen3vl(e: _Encoder) -> Tensor:
    x = ops.add(e.frames_by_pairs(), e.need("v.patch_embd.bias"))
    n_pos = e.n_patches
    x = ops.add(x, e.by_windows(e.resized_positions()))
    positions = e.input("i32", 4 * n_pos, name="positions")
    x = e.pre_norm(x)
    merge = e.n_merge * e.n_merge
    deep: Tensor | None = None
    for il in range(e.n_layer):
        add_pos = lambda t: ops.rope(t, positions)  # noqa: E731
        x = e.block(il, x, n_pos, rms=False, act=e.act, add_pos=add_pos)
        base = f"v.deepstack.{il}"
        if e.w(f"{base}.fc1.weight") is not None:
            feat = ops.reshape(x, e.n_embd * merge, n_pos // merge, 1)
            feat = e.named_norm(f"{base}.norm", feat)
            feat = e.mlp(feat, f"{base}.fc1", f"{base}.fc2")
            deep = feat if deep is None else ops.concat(deep, feat, 0)
    x = ops.reshape(e.post_norm(x), 4 * e.n_embd, n_pos // 4, 1)
    x = e.mlp(x, "mm.0", "mm.2")
    return x if deep is None else ops.concat(x, deep, 0)


def _with_class_token(e: _Encoder, x: Tensor) -> Tensor:
    token = e.w("v.class_embd")
    return x if token is None else ops.concat(x, token, 1)


def _llava(e: _Encoder) -> Tensor:
    n_pos = e.n_patches + (e.w("v.class_embd") is not None)
    inp = _with_class_token(e, e.patches())
    positions = e.input("i32", n_pos, name="positions")
    inp = ops.add(inp, ops.get_rows(e.need("v.position_embd.weight"), positions))
    x = e.pre_norm(inp)
    listed = e.header.metadata.get("clip.vision.feature_layer")
    wanted = [v for v in listed if isinstance(v, int)] if isinstance(listed, tuple | list) else []
    last = max(wanted) if wanted else e.n_layer - 1
    kept = []
    for il in range(last):
        if il in wanted:
            kept.append(x)
        x = e.block(il, x, n_pos, rms=False, act=e.act)
    x = e.post_norm(x)
    if last in wanted:
        kept.append(x)
    if kept:
        x = kept[0]
        for feature in kept[1:]:
            x = ops.concat(x, feature, 0)
    x = ops.reshape(x, x.ne[0], x.ne[1])
    x = ops.get_rows(x, e.input("i32", e.n_patches, name="patches"))
    if e.w("mm.3.weight") is not None:  # Yi
        x = ops.unary(e.named_norm("mm.1", e.linear("mm.0", x)), "gelu")
        return e.named_norm("mm.4", e.linear("mm.3", x))
    x = ops.unary(e.linear("mm.0", x), "gelu")
    return x if e.w("mm.2.weight") is None else e.linear("mm.2", x)


def _internvl(e: _Encoder) -> Tensor:
    n, side = e.n_merge, e.side
    token = e.need("v.class_embd")
    x = e.patches()
    x = ops.concat(x, ops.repeat(token, token.ne[0], 1, 1, 1), 1)
    rms = e.n_embd == 3200 and e.n_layer == 45
    x = e.vit(x, e.n_patches + 1, rms=rms, positions=e.need("v.position_embd.weight"))
    x = ops.cont(ops.view(x, (e.n_embd, e.n_patches, 1), (x.nb[1], x.nb[2])))
    x = ops.permute(ops.reshape(x, e.n_embd * n, side // n, side, 1), 0, 2, 1, 3)
    x = ops.cont(x, e.n_embd * n * n, side // n, side // n, 1)
    x = ops.permute(x, 0, 2, 1, 3)
    x = ops.cont(x, e.n_embd * n * n, x.ne[1] * x.ne[2], x.ne[3])
    x = e.named_norm("mm.model.mlp.0", x)
    return e.mlp(x, "mm.model.mlp.1", "mm.model.mlp.3")


def _gemma4uv(e: _Encoder) -> Tensor:
    kernel = Tensor("f32", (e.patch, e.patch, 3))
    x = ops.im2col(kernel, e.picture(), e.patch, 0, 1, two_dimensional=True, type_="f32")
    x = ops.reshape(x, x.ne[0], x.ne[1] * x.ne[2] * x.ne[3])
    x = e.named_norm("v.patch_norm.1", x)
    x = ops.mul_mat(e.need("v.patch_embd.weight"), x)
    x = e.named_norm("v.patch_norm.2", ops.add(x, e.need("v.patch_embd.bias")))
    ids = [e.input("i32", e.n_patches, name=name) for name in ("pos_x", "pos_y")]
    x = e.named_norm("v.patch_norm.3", e.add_table(x, ids))
    return e.mm(e.need("mm.input_projection.weight"), ops.rms_norm(x))


def _kimivl(e: _Encoder) -> Tensor:
    n = e.n_merge
    pos_h = e.input("i32", e.n_patches, name="pos_h")
    pos_w = e.input("i32", e.n_patches, name="pos_w")
    positions = e.resized_positions()
    x = e.vit(e.patches(), e.n_patches, positions=positions, add_pos=_rope_2d(pos_w, pos_h))
    x = e.merge(x)
    width = x.ne[0]
    x = ops.view(x, (e.n_embd, x.ne[1] * n * n), (4 * e.n_embd,))
    x = e.named_norm("mm.input_norm", x)
    x = ops.view(x, (width, x.ne[1] // n // n), (4 * width,))
    return e.mlp(x, "mm.1", "mm.2")


def _paddleocr(e: _Encoder) -> Tensor:
    ids = e.input("i32", 4 * e.n_patches, name="positions")
    learned = e.resized_positions()
    x = e.vit(e.patches(), e.n_patches, positions=learned, add_pos=lambda t: ops.rope(t, ids))
    return e.mlp(e.merge(e.named_norm("mm.input_norm", x)), "mm.1", "mm.2", e.act)


def _dots_ocr(e: _Encoder) -> Tensor:
    ids = e.input("i32", 4 * e.n_patches, name="positions")
    add_pos = lambda t: ops.rope(t, ids)  # noqa: E731
    x = e.vit(e.patches(), e.n_patches, rms=True, add_pos=add_pos)
    x = e.merge(e.named_norm("mm.input_norm", x))
    return e.mlp(x, "mm.0", "mm.2", "gelu_erf")


def _glm4v(e: _Encoder) -> Tensor:
    n, n_pos = e.n_merge, e.n_patches
    ids = e.input("i32", 4 * n_pos, name="positions")
    x = ops.add(e.frames_by_pairs(), e.need("v.patch_embd.bias"))
    if e.w("v.norm_embd.weight") is not None:
        x = e.named_norm("v.norm_embd", x, rms=True)
    learned = None
    if e.w("v.position_embd.weight") is not None:
        learned = e.by_windows(e.resized_positions())
    x = e.vit(x, n_pos, rms=True, positions=learned, add_pos=lambda t: ops.rope(t, ids))
    n_out = n_pos // n // n
    x = ops.cont(ops.permute(ops.reshape(x, e.n_embd, n, n, n_out), 2, 0, 1, 3))
    x = e.conv(e.need("mm.patch_merger.weight"), x, n)
    x = ops.add(ops.reshape(x, x.ne[2], n_out), e.need("mm.patch_merger.bias"))
    x = e.mm(e.need("mm.model.fc.weight"), x)
    x = ops.unary(e.named_norm("mm.post_norm", x), "gelu_erf")
    up = e.linear("mm.up", x)
    x = ops.glu_split(e.linear("mm.gate", x), up, _GLU_OF[e.act])
    return e.linear("mm.down", x)


def _nemotron(e: _Encoder) -> Tensor:
    registers = e.need("v.class_embd")
    n = registers.ne[1]
    x = ops.add(e.patches(), e.need("v.position_embd.weight"))
    x = e.vit(ops.concat(registers, x, 1), e.n_patches + n)
    x = ops.view(x, (e.n_embd, e.n_patches), (4 * e.n_embd,), n * 4 * e.n_embd)
    x = e.norm(e.merge(x), e.need("mm.model.mlp.0.weight"), rms=True)
    x = ops.sqr(ops.unary(e.mm(e.need("mm.model.mlp.1.weight"), x), "relu"))
    return e.mm(e.need("mm.model.mlp.3.weight"), x)


def _llama4(e: _Encoder) -> Tensor:
    n_pos, n, side = e.n_patches + 1, e.n_merge, e.side
    pos_h = e.input("i32", n_pos, name="pos_h")
    pos_w = e.input("i32", n_pos, name="pos_w")
    embedder = e.need("v.patch_embd.weight")
    kernel = ops.reshape(embedder, e.patch, e.patch, 3, e.n_embd)
    x = ops.im2col(kernel, e.picture(), e.patch, 0, 1, two_dimensional=True, type_="f32")
    x = ops.reshape(e.mm(embedder, x), e.n_embd, e.n_patches)
    x = ops.concat(x, e.need("v.class_embd"), 1)
    positions = e.need("v.position_embd.weight")
    x = e.vit(x, n_pos, positions=positions, add_pos=_rope_2d(pos_w, pos_h))
    x = ops.view(x, (e.n_embd, e.n_patches), (4 * e.n_embd,))
    x = ops.permute(ops.reshape(x, e.n_embd * n, side // n, side, 1), 0, 2, 1, 3)
    x = ops.cont(x, e.n_embd * n * n, side // n, side // n, 1)
    x = ops.cont(x, e.n_embd * n * n, e.n_patches // n // n)
    for i in (1, 2):
        x = ops.unary(e.mm(e.need(f"mm.model.mlp.{i}.weight"), x), "gelu")
    return e.mm(e.need("mm.model.fc.weight"), x)


def _minicpmv(e: _Encoder) -> Tensor:
    n_pos = e.n_patches
    q = e.need("resampler.query")
    width = e.need("resampler.proj.weight").ne[0]
    omega = e.input("f32", width // 4, name="omega")
    pos_h = e.input("f32", 1, n_pos, name="pos_h")
    pos_w = e.input("f32", 1, n_pos, name="pos_w")
    positions = e.input("i32", n_pos, name="positions")
    learned = ops.get_rows(e.need("v.position_embd.weight"), positions)
    x = e.vit(e.patches(), n_pos, positions=learned)
    v = e.mm(e.need("resampler.kv.weight"), x)
    q = e.named_norm("resampler.ln_q", q)
    v = e.named_norm("resampler.ln_kv", v)
    spread = ops.repeat(omega, omega.ne[0], n_pos, 1, 1)
    theta_x, theta_y = ops.mul(spread, pos_w), ops.mul(spread, pos_h)
    waves = [ops.concat(ops.sin(t), ops.cos(t), 0) for t in (theta_x, theta_y)]
    k = ops.add(v, ops.concat(waves[0], waves[1], 0))
    d = 128
    parts = [e.linear(f"resampler.attn.{p}", t) for p, t in (("q", q), ("k", k), ("v", v))]
    q, k, v = (ops.reshape(t, d, width // d, t.ne[1]) for t in parts)
    out, bias = e.need("resampler.attn.out.weight"), e.w("resampler.attn.out.bias")
    x = e.named_norm("resampler.ln_post", e.attention(q, k, v, out, bias))
    return e.mm(e.need("resampler.proj.weight"), x)


def _gemma4v(e: _Encoder) -> Tensor:
    n, side = e.n_merge, e.side
    inp = e.patches(ops.scale(e.picture()))
    pos_x = e.input("i32", e.n_patches, name="pos_x")
    pos_y = e.input("i32", e.n_patches, name="pos_y")
    inp = e.add_table(inp, [pos_x, pos_y])
    x = e.vit(inp, e.n_patches, rms=True, add_pos=_rope_2d(pos_x, pos_y))
    x = ops.cont(ops.transpose(x), side, side, e.n_embd, 1)
    x = ops.pool_2d(x, n, n, n, n)
    x = ops.cont(ops.transpose(ops.reshape(x, (side // n) ** 2, e.n_embd, 1)))
    x = ops.scale(x)
    bias, factor = e.w("v.std_bias"), e.w("v.std_scale")
    if bias is not None and factor is not None:
        x = ops.mul(ops.sub(x, bias), factor)
    return e.mm(e.need("mm.input_projection.weight"), ops.rms_norm(x))


def _conv_1d(kernel: Tensor, x: Tensor, stride: int) -> Tensor:
    type_ = "f32" if kernel.type == "bf16" else "f16"
    cols = ops.im2col(kernel, x, stride, kernel.ne[0] // 2, 1, type_=type_)
    flat = ops.reshape(cols, cols.ne[0], cols.ne[2] * cols.ne[1])
    rows = ops.reshape(kernel, kernel.ne[0] * kernel.ne[1], kernel.ne[2])
    return ops.reshape(ops.mul_mat(flat, rows), cols.ne[1], kernel.ne[2], cols.ne[2])


def _stack(e: _Encoder, x: Tensor) -> Tensor:
    factor = e.number("projector.stack_factor", 1)
    if factor <= 1:
        return x
    stride, total = e.n_embd * factor, x.n_elements
    rest = -total % stride
    if rest:
        x = ops.pad(ops.view(x, (total,)), rest)
    return ops.view(x, (stride, (total + rest) // stride), (4 * stride,))


def _whisper(e: _Encoder) -> Tensor:
    n_pos = AUDIO_FRAMES // 2
    x = e.input("f32", AUDIO_FRAMES, e.number("num_mel_bins"), 1, 1, name="inp_raw")
    for i in (1, 2):
        x = _conv_1d(e.need(f"a.conv1d.{i}.weight"), x, i)
        x = ops.unary(ops.add(x, e.need(f"a.conv1d.{i}.bias")), "gelu_erf")
    x = ops.cont(ops.transpose(x))
    table = e.need("a.position_embd.weight")
    positions = ops.view(table, (table.ne[0], n_pos), (table.nb[1],))
    pool = e.kind in ("qwen2a", "voxtral", "musicflamingo")
    x = e.vit(x, n_pos, act="gelu_erf", positions=positions, pool=pool)
    if e.kind in ("ultravox", "voxtral"):
        x = _stack(e, x)
    if e.kind == "ultravox":
        x = ops.mul(ops.rms_norm(x), e.need("mm.a.norm_pre.weight"))
        x = ops.glu(e.mm(e.need("mm.a.mlp.1.weight"), x), "swiglu")
        x = ops.mul(ops.rms_norm(x), e.need("mm.a.norm_mid.weight"))
        return e.mm(e.need("mm.a.mlp.2.weight"), x)
    if e.kind in ("voxtral", "musicflamingo"):
        return e.mlp(x, "mm.a.mlp.1", "mm.a.mlp.2", "gelu_erf")
    return e.linear("mm.a.fc", x)


_WINDOW_KEYS = ("n_wa_pattern", "wa_layer_indexes", "wa_pattern_mode", "window_size")
"""Keys of encoders whose blocks see windows of the picture, through a mask."""


def _plain(e: _Encoder) -> Tensor:
    """Stand-in for projectors without a graph here: a transformer without its head."""
    x = ops.cont(ops.view(e.picture(), (e.patch * e.patch * 3, e.n_patches)))
    x = Tensor("f32", (e.n_embd, e.n_patches), "MUL_MAT", (x, x))
    mask = None
    if any(f"clip.vision.{key}" in e.header.metadata for key in _WINDOW_KEYS):
        mask = e.input("f32", e.n_patches, e.n_patches, name="window_mask")
    for il in range(e.n_layer):
        x = e.block(il, x, e.n_patches, rms=False, act=e.act, mask=mask)
    return x


_BUILDERS: Mapping[str, Callable[[_Encoder], Tensor]] = {
    "gemma3": _siglip,
    "idefics3": _siglip,
    "lfm2": _siglip,
    "phi4": _siglip,
    "janus_pro": _siglip,
    "pixtral": _pixtral,
    "lightonocr": _pixtral,
    "qwen2vl_merger": _qwen2vl,
    "qwen2.5vl_merger": _qwen2vl,
    "qwen3vl_merger": _qwen3vl,
    "mlp": _llava,
    "internvl": _internvl,
    "llama4": _llama4,
    "resampler": _minicpmv,
    "gemma4v": _gemma4v,
    "gemma4uv": _gemma4uv,
    "kimivl": _kimivl,
    "paddleocr": _paddleocr,
    "dots_ocr": _dots_ocr,
    "glm4v": _glm4v,
    "nemotron_v2_vl": _nemotron,
    "ultravox": _whisper,
    "voxtral": _whisper,
    "qwen2a": _whisper,
    "musicflamingo": _whisper,
}
