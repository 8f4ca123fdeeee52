"""DeepSeek-V3.2: latent attention over the tokens that a lightning indexer picks.

Source: llama.cpp src/models/deepseek32.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    trunk = list(range(hp.n_layer))
    return sparse.dsa_layout(hp, ctx, trunk, trunk)


def draft_deepseek32(b: Builder) -> None:
    """Build the graph of the nextn block."""
    sparse.draft_latent(b, gating=sparse.expert_gating(b.hp))


@architecture(
    "deepseek32",
    hparams=sparse.set_latent,
    layout=_layout,
    loads=sparse.loads_trunk,
    draft=draft_deepseek32,
)
def build_deepseek32(b: Builder) -> None:
    """Build the deepseek32 graph: every block has an indexer."""
    build_dsa(b, [True] * b.hp.n_layer, gating=sparse.expert_gating(b.hp))


def build_dsa(b: Builder, has_indexer: list[bool], *, gating: str) -> None:
    """Build a trunk of latent attention over indexed tokens (also glm-dsa).

    Args:
        b: builder.
        has_indexer: for each block, whether it picks tokens itself or takes the pick of
            an earlier one.
        gating: how router logits become probabilities.
    """
    hp = b.hp
    size = sparse.positive(hp, "attention.key_length_mla")
    rank = sparse.positive(hp, "attention.kv_lora_rank")
    x = b.inp_embd()
    pos = b.inp_pos()
    indexer = sparse.indexer_input(b)
    out_ids = b.inp_out_ids()
    top_k: Tensor | None = None
    for il in b.layers:
        residual = x
        cur = b.norm(x, "attn_norm", il)
        qr = b.norm(ops.mul_mat(b.need("attn_q_a", il), cur), "attn_q_a_norm", il)
        if has_indexer[il] or top_k is None:
            top_k = sparse.lightning_indexer(b, cur, qr, pos, indexer, il)
        latent = sparse.latent_block(b, cur, qr, pos, il, n_head=hp.n_head(), size=size, rank=rank)
        cur = sparse.attn_top_k(b, latent, top_k, il, v_mla=b.need("attn_v_b", il))
        if b.is_last(il) and not b.hands_over:
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        x = ops.add(sparse.feed_forward(b, cur, il, gating=gating), ffn_inp)
    x = b.norm(x, "output_norm")
    b.embd = mtp.keep_wanted(b, x) if b.hands_over else x
    b.finish(ops.mul_mat(b.output_weight(), b.embd))
