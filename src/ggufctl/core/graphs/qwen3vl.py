"""Qwen3 with vision (dense and experts) and Qwen3 TTS: deepstack, multi-dimensional rope.

Source: llama.cpp src/models/qwen3vl.cpp, qwen3vlmoe.cpp, qwen3tts.cpp (pin in
core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import Block, QkNorm, build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.is_mrope = True
    hp.n_deepstack_layers = hp.integer("n_deepstack_layers", 0)
    hp.block_marks = [il <= hp.n_deepstack_layers for il in range(hp.n_layer_all)]


@architecture("qwen3vl", "qwen3tts", hparams=_hparams)
def build_qwen3vl(b: Builder) -> None:
    """Build the qwen3vl graph; a smaller output vocabulary is padded (qwen3tts)."""
    logits = _trunk(b, lambda cur, il: b.ffn(cur, il, scales=False))
    missing = b.need("token_embd").ne[1] - b.output_weight().ne[1]
    if missing > 0:
        cell = ops.scale(ops.view(b.need("output_norm"), (1,)))
        logits = ops.concat(ops.repeat(cell, missing, logits.ne[1], 1, 1), logits)
    b.finish(logits)


@architecture("qwen3vlmoe", hparams=_hparams)
def build_qwen3vlmoe(b: Builder) -> None:
    """Build the qwen3vlmoe graph."""
    b.finish(_trunk(b, lambda cur, il: b.moe(cur, il, norm_w=True, gate_up=None, scales=False)))


def _trunk(b: Builder, feed_forward: Block) -> Tensor:
    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE)
    embd = b.inp_embd()
    x = build_trunk(
        b, attention, feed_forward, x=embd, after_block=lambda cur, il: _deepstack(b, cur, il)
    )
    return b.head(x)


def _deepstack(b: Builder, cur: Tensor, il: int) -> Tensor:
    """Add what the vision encoder has for this block."""
    hp, rows = b.hp, b.inp_embd_rows
    if il >= hp.n_deepstack_layers or rows is None:
        return cur
    offset = (il + 1) * hp.n_embd * 4
    return ops.add(cur, ops.view(rows, (hp.n_embd, b.n_tokens), (rows.nb[1],), offset))
