"""Gemma 4: wide dense heads, shared caches, inputs per layer, dense and expert networks.

Source: llama.cpp src/models/gemma4.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gemma3 import soft_cap
from ggufctl.core.graphs.gemma3n import project_per_layer, slice_2d
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.loads_output_first = True
    hp.set_swa(hp.integer("attention.sliding_window", 0), 1)
    n_kv = hp.n_layer_all - hp.integer("attention.shared_kv_layers", 0)
    hp.n_layer_kv_from_start = n_kv
    hp.kv_reuse = lambda il: n_kv - (2 if hp.is_swa(il) else 1)
    hp.rope_layers = [il for il in range(hp.n_layer_all) if not hp.is_swa(il)]


@architecture("gemma4", hparams=_hparams)
def build_gemma4(b: Builder) -> None:
    """Build the gemma4 graph."""
    x = b.inp_embd(token_scale=True)
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    per_layer = None
    if b.has("per_layer_token_embd"):
        per_layer = project_per_layer(b, x, b.hp.integer("embedding_length_per_layer_input", 0))
    for il in b.layers:
        cur = _attention(b, b.norm(x, "attn_norm", il), pos, il)
        cur = b.norm(cur, "post_attention_norm", il)
        attn_out = ops.add(cur, x)
        cur = _feed_forward(b, attn_out, il)
        x = ops.add(b.norm(cur, "post_ffw_norm", il, pin_il=-1), attn_out)
        if per_layer is not None:
            x = _add_layer_input(b, x, per_layer, il)
        factor = b.w("layer_output_scale", il)
        if factor is not None:
            x = ops.mul(x, factor)
    # All rows are kept to here: a drafter reads the normed state of every token.
    x = b.norm(x, "output_norm").as_output()
    x = ops.get_rows(x, out_ids)
    b.embd = x
    b.finish(soft_cap(b, b.mm_output(x)))


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    size, heads, heads_kv = hp.n_embd_head_k(il), hp.n_head(il), hp.n_head_kv(il)
    factors = None if hp.is_swa(il) else b.rope_factors(il)
    fused = b.mm("attn_qkv", x, il) if b.has("attn_qkv", il) else None
    q = b.mm("attn_q", x, il) if fused is None else _columns(fused, 0, size * heads)
    q = b.norm(ops.reshape(q, size, heads, u), "attn_q_norm", il)
    q = ops.rope(q, pos, factors)
    if not hp.has_kv(il):
        assert hp.kv_reuse is not None
        return b.attn_reuse(q, il, hp.kv_reuse(il), wo_bias=False)
    if fused is not None:
        k = _columns(fused, size * heads, size * heads_kv)
        v = _columns(fused, size * (heads + heads_kv), size * heads_kv)
    else:
        k = b.mm("attn_k", x, il)
        v = b.mm("attn_v", x, il) if b.has("attn_v", il) else k
    k, v = ops.reshape(k, size, heads_kv, u), ops.reshape(v, size, heads_kv, u)
    k = b.norm(k, "attn_k_norm", il)
    v = ops.rms_norm(v)
    return b.attn(q, ops.rope(k, pos, factors), v, il, wo_bias=False)


def _columns(x: Tensor, start: int, n: int) -> Tensor:
    return ops.cont(ops.view(x, (n, x.ne[1]), (x.nb[1],), start * x.nb[0]))


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    cur = b.ffn(b.norm(x, "ffn_norm", il), il, "gelu")
    if not b.has("ffn_gate_inp", il):
        return cur
    cur = b.norm(cur, "post_ffw_norm_1", il)
    moe = b.norm(x, "pre_ffw_norm_2", il)
    # The router reads the state before the norm.
    routed = ops.scale(ops.rms_norm(x))
    scale = b.need("ffn_gate_inp", il, "scale")
    logits = b.mm("ffn_gate_inp", ops.mul(routed, scale), il, scale=False)
    moe = b.moe(moe, il, "gelu", norm_w=True, w_scale=1.0, probs_in=logits)
    return ops.add(cur, b.norm(moe, "post_ffw_norm_2", il))


def _add_layer_input(b: Builder, x: Tensor, per_layer: Tensor, il: int) -> Tensor:
    cur = ops.unary(b.mm("inp_gate", x, il), "gelu")
    cur = b.mm("proj", ops.mul(cur, slice_2d(per_layer, il)), il)
    return ops.add(x, b.norm(cur, "post_norm", il))
