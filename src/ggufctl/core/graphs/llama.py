"""Llama and the plain dense transformers: llama, qwen2, qwen3, llama-embed.

Source: llama.cpp src/models/llama.cpp, llama-embed.cpp, qwen2.cpp, qwen3.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import longrope_factors
from ggufctl.core.graphs.registry import architecture


@architecture("llama")
def build_llama(b: Builder) -> None:
    """Build the llama graph: dense or mixture of experts, llama3 rope factors."""
    _build(b, uses_rope_factors=True)


@architecture("llama-embed")
def build_llama_embed(b: Builder) -> None:
    """Build the llama-embed graph: llama's without logits, its cache allocated yet unused."""
    _build(b, uses_rope_factors=True, embeds=True)


@architecture("qwen2")
def build_qwen2(b: Builder) -> None:
    """Build the qwen2 graph."""
    _build(b)


@architecture("qwen3")
def build_qwen3(b: Builder) -> None:
    """Build the qwen3 graph: queries and keys are normed per head."""
    _build(b, norms_qk=True)


def _build(
    b: Builder,
    *,
    uses_rope_factors: bool = False,
    norms_qk: bool = False,
    embeds: bool = False,
) -> None:
    hp = b.hp
    x = b.inp_embd()
    pos = b.inp_pos()
    mask = b.mask_no_cache() if embeds else None
    out_ids = b.inp_out_ids()
    for il in b.layers:
        residual = x
        cur = b.norm(x, "attn_norm", il)
        q, k, v = b.qkv(cur, il)
        factors = longrope_factors(b, il) if uses_rope_factors else None
        if norms_qk:
            q = b.norm(q, "attn_q_norm", il)
        q = ops.rope(q, pos, factors)
        if norms_qk:
            k = b.norm(k, "attn_k_norm", il)
        k = ops.rope(k, pos, factors)
        cur = b.attn(q, k, v, il) if mask is None else b.attn_no_cache(q, k, v, mask, il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        if b.has("ffn_gate_inp", il):
            scale = hp.number("expert_weights_scale", 0.0)
            cur = b.moe(cur, il, norm_w=True, w_scale=scale)
        else:
            cur = b.ffn(cur, il, bias=True)
        x = ops.add(cur, ffn_inp)
    if embeds:
        b.embd = b.expand(b.norm(x, "output_norm"))
    else:
        b.finish(b.head(x))
