"""dots3note: latent attention, indexed in some blocks and sliding in the others.

Source: llama.cpp src/models/dots3note.cpp, src/llama-kv-cache-dsa-iswa.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs import sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout, make_cache, swa_cells


def _hparams(hp: HParams) -> None:
    sparse.set_latent(hp)
    hp.n_swa = hp.integer("attention.sliding_window", 0)
    hp.has_swa = True
    hp.is_swa_arr = hp.flags("attention.sliding_window_pattern") or hp.is_swa_arr


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    trunk = range(hp.n_layer)
    flags = hp.flags("attention.indexer.types") or []
    own = [il for il, flag in zip(trunk, flags, strict=False) if flag]
    layout = sparse.dsa_layout(hp, ctx, [il for il in trunk if not hp.is_swa(il)], own)
    sliding = [il for il in trunk if hp.is_swa(il)]
    layout.caches["swa"] = make_cache(hp, ctx, sliding, swa_cells(hp, ctx))
    return layout


@architecture("dots3note", hparams=_hparams, layout=_layout)
def build_dots3note(b: Builder) -> None:
    """Build the dots3note graph: attention is gated per head before its output matrix."""
    hp, u = b.hp, b.n_tokens
    gating = sparse.expert_gating(hp)
    x = b.inp_embd()
    pos = b.inp_pos()
    indexer = sparse.indexer_input(b)
    out_ids = b.inp_out_ids()
    for il in b.layers:
        suffix = "_swa" if hp.is_swa(il) else ""
        size_k = hp.integer(f"attention.key_length_mla{suffix}", 0)
        size_v = hp.integer(f"attention.value_length_mla{suffix}", 0)
        rank = hp.integer(f"attention.kv_lora_rank{suffix}", 0)
        n_head = hp.n_head(il)
        residual = x
        attn_inp = cur = b.norm(x, "attn_norm", il)
        qr = b.norm(ops.mul_mat(b.need("attn_q_a", il), cur), "attn_q_a_norm", il)
        top_k = None
        if not hp.is_swa(il):
            top_k = sparse.lightning_indexer(b, cur, qr, pos, indexer, il)
        latent = sparse.latent_block(
            b, cur, qr, pos, il, n_head=n_head, size=size_k, rank=rank, norms_k=True
        )
        v_b = b.need("attn_v_b", il)
        if top_k is None:
            q, k, v = latent.q, latent.k, latent.v
            cur = b.attn_k(q, k, v, il, v_mla=v_b, wo=None, cache="swa")
        else:
            cur = sparse.attn_top_k(b, latent, top_k, il, v_mla=v_b, wo=None)
        gate = ops.unary(b.mm("attn_gate", attn_inp, il), "sigmoid")
        gated = ops.mul(ops.reshape(cur, size_v, n_head, u), ops.reshape(gate, 1, n_head, u))
        cur = b.mm("attn_output", ops.reshape(gated, size_v * n_head, u), il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        x = ops.add(sparse.feed_forward(b, cur, il, gating=gating), ffn_inp)
    sparse.finish(b, x)
