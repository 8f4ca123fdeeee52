"""Gemma 3: five sliding blocks to a dense one, normed queries and keys.

Source: llama.cpp src/models/gemma3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

__all__ = ["build_trunk", "soft_cap"]

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        hp.memory = Memory.ISWA
        hp.set_swa(n_swa, 6)


@architecture("gemma3", hparams=_hparams)
def build_gemma3(b: Builder) -> None:
    """Build the gemma3 graph."""
    x = build_trunk(b, lambda q, k, v, il: b.attn(q, k, v, il, wo_bias=False))
    b.finish(soft_cap(b, b.head(x)))


def build_trunk(b: Builder, attend: Attend) -> Tensor:
    """Build the blocks of gemma3 and gemma-embedding; returns the last hidden state.

    Args:
        b: builder.
        attend: attention with its output projection, given (q, k, v, il).
    """
    x = b.inp_embd(token_scale=True)
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        q = ops.rope(b.norm(q, "attn_q_norm", il), pos)
        k = ops.rope(b.norm(k, "attn_k_norm", il), pos)
        cur = attend(ops.scale(q), k, v, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        cur = b.norm(cur, "post_attention_norm", il)
        sa_out = ops.add(cur, x)
        cur = b.norm(sa_out, "ffn_norm", il)
        cur = b.ffn(cur, il, "gelu", scales=False)
        cur = b.norm(cur, "post_ffw_norm", il, pin_il=-1)
        x = ops.add(cur, sa_out)
    return x


def soft_cap(b: Builder, logits: Tensor, *, default: float = 0.0) -> Tensor:
    """Soft-cap the logits if the header says so."""
    if not b.hp.number("final_logit_softcapping", default):
        return logits
    return ops.scale(ops.unary(ops.scale(logits), "tanh"))
