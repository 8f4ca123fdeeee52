"""DeepSeek V2 and V3, its OCR model and Mistral 4: latent attention, shared experts.

Source: llama.cpp src/models/deepseek2.cpp, deepseek2ocr.cpp, mistral4.cpp (pin in
core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import row_bytes
from ggufctl.core.graphs import mtp, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    Block,
    build_trunk,
    expert_gating,
    has_lead,
    header_experts,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

N_VOCAB_GLM47_LITE = 154880
"""Vocabulary of GLM 4.7 Lite, whose older files do not name the gating function."""


def _hparams(hp: HParams) -> None:
    k, v = (hp.integer(f"attention.{part}_length_mla", 0) for part in ("key", "value"))
    hp.is_mla = bool(k and v)


def draft_deepseek2(b: Builder) -> None:
    """Build the graph of the nextn block: absorbed latent attention and experts."""
    sparse.draft_latent(b, gating=_gating(b.hp), scales=False)


@architecture("mistral4", hparams=_hparams)
@architecture("deepseek2", hparams=_hparams, draft=draft_deepseek2)
def build_deepseek2(b: Builder) -> None:
    """Build the deepseek2 graph: latent attention, absorbed where the file splits it."""
    _build(b, _latent_attention(b))


@architecture("deepseek2-ocr")
def build_deepseek2_ocr(b: Builder) -> None:
    """Build the deepseek2-ocr graph: ordinary attention, as many key as query heads."""
    pos = b.inp_pos()
    hp = b.hp
    size = hp.n_embd // hp.n_head() if hp.n_head() else 0

    def attention(cur: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(cur, il, n_embd_head=size, n_head_kv=hp.n_head())
        return b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)

    _build(b, attention)


def _build(b: Builder, attention: Block) -> None:
    hp = b.hp
    gating = _gating(hp)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(hp, il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il, gating=gating), shared_expert(b, cur, il))

    x = build_trunk(b, attention, feed_forward, crops=not b.hands_over)
    b.finish(mtp.trunk_head(b, x))


def _gating(hp: HParams) -> str:
    is_glm = hp.n_layer in (47, 48) and hp.n_vocab == N_VOCAB_GLM47_LITE
    return expert_gating(hp, "sigmoid" if is_glm else "softmax")


def _latent_attention(b: Builder) -> Block:
    hp, u = b.hp, b.n_tokens
    temperature = b.inp_attn_scale() if hp.number("attention.temperature_scale", 0.0) else None
    pos = b.inp_pos()
    rank = hp.integer("attention.kv_lora_rank", 0)
    n_rope = hp.n_rot()
    head_k = hp.integer("attention.key_length_mla", 0) if hp.is_mla else hp.n_embd_head_k()
    head_v = hp.integer("attention.value_length_mla", 0) if hp.is_mla else hp.n_embd_head_v()
    n_nope = head_k - n_rope

    def times(name: str, x: Tensor, il: int) -> Tensor:
        return ops.mul_mat(b.need(name, il), x)

    def queries(cur: Tensor, il: int) -> Tensor:
        if b.has("attn_q", il):
            q = times("attn_q", cur, il)
        else:
            q = b.norm(times("attn_q_a", cur, il), "attn_q_a_norm", il)
            q = times("attn_q_b", q, il)
        return ops.reshape(q, head_k, hp.n_head(), u)

    def absorbed(q: Tensor, latent: Tensor, k_rope: Tensor, il: int) -> Tensor:
        q_nope = ops.view(q, (n_nope, hp.n_head(), u), (q.nb[1], q.nb[2]))
        q_rope = ops.view(
            q, (n_rope, hp.n_head(), u), (q.nb[1], q.nb[2]), row_bytes(q.type, n_nope)
        )
        q_rope = ops.rope(q_rope, pos)
        q_nope = times("attn_k_b", ops.permute(q_nope, 0, 2, 1, 3), il)
        q = ops.concat(ops.permute(q_nope, 0, 2, 1, 3), q_rope)
        latent = ops.reshape(latent, rank, 1, u)
        k = ops.concat(latent, k_rope)
        if temperature is not None:
            q = ops.mul(q, temperature)
        return b.attn_k(q, k, latent, il, v_mla=b.need("attn_v_b", il))

    def expanded(q: Tensor, latent: Tensor, k_rope: Tensor, il: int) -> Tensor:
        n_head = hp.n_head()
        kv = times("attn_kv_b", latent, il)
        row = row_bytes(kv.type, n_nope + head_v)
        k_nope = ops.view(kv, (n_nope, n_head, u), (row, row * n_head))
        v = ops.view(kv, (head_v, n_head, u), (row, row * n_head), row_bytes(kv.type, n_nope))
        v = ops.cont(v)
        q = ops.rope(q, pos)
        k = ops.concat(k_nope, ops.repeat(k_rope, n_rope, n_head, u, 1))
        if temperature is not None:
            q = ops.mul(q, temperature)
        return b.attn(q, k, v, il, wo_bias=False)

    def attention(cur: Tensor, il: int) -> Tensor:
        q = queries(cur, il)
        kv = times("attn_kv_a_mqa", cur, il)
        row = row_bytes(kv.type, rank + n_rope)
        latent = ops.view(kv, (rank, u), (row,))
        k_rope = ops.view(kv, (n_rope, 1, u), (row, row), row_bytes(kv.type, rank))
        k_rope = ops.rope(k_rope, pos)
        latent = b.norm(latent, "attn_kv_a_norm", il)
        return (absorbed if hp.is_mla else expanded)(q, latent, k_rope, il)

    return attention
