"""BERT and relatives: bert, nomic-bert, nomic-bert-moe, jina-bert-v2, jina-bert-v3.

Encoders without a cache: norms follow attention and feed-forward instead of leading them.

Source: llama.cpp src/models/bert.cpp, nomic-bert.cpp, nomic-bert-moe.cpp,
jina-bert-v2.cpp, jina-bert-v3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

ROPED = ("nomic-bert", "nomic-bert-moe", "jina-bert-v3")


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE


def _hparams_alibi(hp: HParams) -> None:
    hp.memory = Memory.NONE
    hp.use_alibi = True


def _build(b: Builder) -> None:
    pos = b.inp_pos()
    x = _embeddings(b, pos)
    mask = b.mask_no_cache()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(x, il)
        q, k = _norm_rows(b, q, "attn_q_norm", il), _norm_rows(b, k, "attn_k_norm", il)
        if b.arch in ROPED:
            q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn_no_cache(q, k, v, mask, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        cur = b.norm(ops.add(cur, x), "attn_output_norm", il, kind="layer", bias=True)
        if b.has("attn_norm_2", il):
            cur = b.norm(ops.add(cur, x), "attn_norm_2", il, kind="layer", bias=True)
        cur = ops.add(_feed_forward(b, cur, il), cur)
        x = b.norm(cur, "layer_output_norm", il, kind="layer", bias=True)
    b.embd = b.expand(x)


build_bert = architecture(
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v3", hparams=_hparams, ties_output=False
)(_build)
build_jina_bert_v2 = architecture("jina-bert-v2", hparams=_hparams_alibi, ties_output=False)(_build)


def _embeddings(b: Builder, pos: Tensor) -> Tensor:
    """Token embeddings with those of type and position, normed."""
    x = b.inp_embd()
    types = b.w("token_types")
    if types is not None:
        x = ops.add(x, ops.view(types, (b.hp.n_embd,)))
    if b.arch == "bert":
        x = ops.add(ops.get_rows(b.need("position_embd"), pos), x)
    return b.norm(x, "token_embd_norm", kind="layer", bias=True, pin_il=0)


def _norm_rows(b: Builder, x: Tensor, name: str, il: int) -> Tensor:
    """Norm over all heads at once, where the file has such a norm."""
    if not b.has(name, il):
        return x
    flat = ops.reshape(x, x.ne[0] * x.ne[1], x.ne[2])
    return ops.reshape(b.norm(flat, name, il, kind="layer", bias=True), *x.ne[:3])


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    every = b.hp.integer("moe_every_n_layers", 0)
    if every and il % every == 1:
        scale = b.hp.number("expert_weights_scale", 0.0)
        return b.moe(x, il, "gelu", gate=None, gate_up=None, w_scale=scale, scales=False)
    if b.arch == "jina-bert-v2":
        up = b.need("ffn_up", il)
        holds_gate = not b.has("ffn_gate", il) and up.ne[1] != b.hp.n_ff(il)
        return b.ffn(x, il, "geglu" if holds_gate else "gelu", bias=True, scales=False)
    if b.arch == "nomic-bert":
        return b.ffn(x, il, scales=False)
    return b.ffn(x, il, "gelu", gate=None, bias=True, scales=False)
