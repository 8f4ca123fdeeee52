"""Nemotron-H: every block is Mamba-2, attention or feed-forward, dense or experts.

Source: llama.cpp src/models/nemotron-h.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import mamba2
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.HYBRID
    blocks = range(hp.n_layer_all)
    hp.is_recr_arr = [
        il < hp.n_layer and hp.n_head_kv(il) == 0 and hp.n_ff(il) == 0 for il in blocks
    ]
    # The block of the draft head gets a cache in the main context too.
    hp.attn_layers = [il for il in blocks if not hp.is_recr(il) and hp.n_ff(il) == 0]


def draft_nemotron_h(b: Builder) -> None:
    """Build the graph of the nextn block: attention, and experts for the wanted rows."""
    il = b.layers[0]
    x = mtp.fused_input(b)
    q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
    residual = ops.get_rows(ops.add(b.attn(q, k, v, il), x), b.inp_out_ids())
    cur = _feed_forward(b, b.norm(residual, "post_attention_norm", il), il)
    x = b.norm(ops.add(cur, residual), b.need("nextn.shared_head_norm", il), kind="layer")
    b.finish(mtp.head_logits(b, x.as_output()))


@architecture("nemotron_h", hparams=_hparams, rolls_back=True)
@architecture("nemotron_h_moe", hparams=_hparams, draft=draft_nemotron_h, rolls_back=True)
def build_nemotron_h(b: Builder) -> None:
    """Build the nemotron_h graph."""
    hp = b.hp
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if hp.is_recr(il):
            cur = mamba2(b, cur, recurrent, il)
        elif hp.n_ff(il) == 0:
            q, k, v = b.qkv(cur, il)
            cur = b.attn(q, k, v, il)
        else:
            cur = _feed_forward(b, cur, il)
        x = ops.add(cur, x)
    # The draft head reads the normed rows of all tokens.
    x = b.norm(x, "output_norm").as_output()
    b.embd = ops.get_rows(x, out_ids)
    b.finish(b.mm_output(b.embd))


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    hp = b.hp
    if not b.has("ffn_gate_inp", il):
        return b.ffn(x, il, "relu_sqr", gate=None, bias=True)
    latent = x
    if b.has("ffn_latent_down", il):
        latent = ops.mul_mat(b.need("ffn_latent_down", il), x)
    logits = b.mm("ffn_gate_inp", x, il, scale=False)
    cur = b.moe(
        latent,
        il,
        "relu_sqr",
        gating="sigmoid",
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        gate=None,
        gate_up=None,
        probs_b=b.bias("exp_probs_b", il),
        probs_in=logits,
    )
    if b.has("ffn_latent_up", il):
        cur = ops.mul_mat(b.need("ffn_latent_up", il), cur)
    shared = b.ffn(x, il, "relu_sqr", up="ffn_up_shexp", gate=None, down="ffn_down_shexp")
    return ops.add(cur, shared)
