"""WavTokenizer decoder: convolutions, one attention, ConvNeXt blocks; no cache, no heads.

Source: llama.cpp src/models/wavtokenizer-dec.cpp, ggml/src/ggml.c `ggml_conv_1d`,
`ggml_conv_1d_dw` (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

RESIDUAL_BLOCKS, ATTENTION_BLOCK = (0, 1, 3, 4), 2
"""What the position net's blocks are by their number; the last, 5, only norms."""


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE


@architecture("wavtokenizer-dec", hparams=_hparams, ties_output=False)
def build_wavtokenizer_dec(b: Builder) -> None:
    """Build the wavtokenizer-dec graph."""
    x = _flip(b.inp_embd())
    x = _conv(b, x, "conv1d")
    for i in range(b.hp.integer("posnet.block_count", 0)):
        x = _position_block(b, x, i)
    x = _flip(b.norm(_flip(x), "token_embd_norm", kind="layer", bias=True, pin_il=0))
    for i in range(b.hp.integer("convnext.block_count", 0)):
        x = _convnext_block(b, x, f"convnext.{i}")
    x = b.norm(_flip(x), "output_norm", kind="layer", bias=True)
    b.embd = b.expand(b.add_bias(b.mm_output(x), "output"))


def _flip(x: Tensor) -> Tensor:
    return ops.cont(ops.transpose(x))


def _conv(b: Builder, x: Tensor, name: str) -> Tensor:
    """Convolve along time with half a kernel of padding, and add the bias."""
    kernel = b.need(name)
    columns = _unfold(kernel, x)
    result = ops.mul_mat(
        ops.reshape(columns, columns.ne[0], columns.ne[1] * columns.ne[2]),
        ops.reshape(kernel, kernel.ne[0] * kernel.ne[1], kernel.ne[2]),
    )
    return b.add_bias(ops.reshape(result, columns.ne[1], kernel.ne[2], columns.ne[2]), name)


def _conv_depthwise(b: Builder, x: Tensor, name: str) -> Tensor:
    """Convolve each channel by itself, and add the bias."""
    kernel = b.need(name)
    columns = _unfold(kernel, ops.reshape(x, x.ne[0], 1, x.ne[1], x.ne[2]))
    result = ops.mul_mat(columns, kernel)
    return b.add_bias(ops.reshape(result, result.ne[0], result.ne[2], 1), name)


def _unfold(kernel: Tensor, x: Tensor) -> Tensor:
    type_ = "f32" if kernel.type == "bf16" else "f16"
    return ops.im2col(kernel, x, 1, kernel.ne[0] // 2, 1, type_=type_)


def _position_block(b: Builder, x: Tensor, i: int) -> Tensor:
    part = f"posnet.{i}"
    if i in RESIDUAL_BLOCKS:
        cur = x
        for n in (1, 2):
            cur = b.norm(cur, f"{part}.norm{n}", kind="group", bias=True, pin_il=0)
            cur = ops.mul(ops.unary(cur, "sigmoid"), cur)
            cur = _conv(b, cur, f"{part}.conv{n}")
        return ops.add(cur, x)
    if i != ATTENTION_BLOCK:
        return b.norm(x, f"{part}.attn_norm", kind="group", bias=True, pin_il=0)
    cur = b.norm(x, f"{part}.attn_norm", kind="group", bias=True, pin_il=0)
    q, k, v = (_conv(b, cur, f"{part}.attn_{n}") for n in "qkv")
    q, k = _flip(q), _flip(k)
    kq = ops.soft_max(ops.mul_mat(k, q))
    return ops.add(_conv(b, ops.mul_mat(kq, v), f"{part}.attn_output"), x)


def _convnext_block(b: Builder, x: Tensor, part: str) -> Tensor:
    cur = _flip(_conv_depthwise(b, x, f"{part}.dw"))
    cur = b.norm(cur, f"{part}.norm", kind="layer", bias=True)
    cur = ops.unary(b.mm_bias(f"{part}.pw1", cur), "gelu")
    cur = b.mm_bias(f"{part}.pw2", cur)
    cur = ops.mul(cur, b.need(f"{part}.gamma"))
    return ops.add(_flip(cur), x)
