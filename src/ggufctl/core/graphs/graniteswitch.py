"""Granite with built-in adapters, of which every token picks one.

Source: llama.cpp src/models/granite-switch.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.prenorm import longrope_factors
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    """Append the block without weights whose cache remembers the adapters picked."""
    hp.n_layer_all = hp.n_layer + 1
    hp.n_layer_nextn = 1
    for values, last in (
        (hp.n_head_arr, 1),
        (hp.n_head_kv_arr, 1),
        (hp.n_ff_arr, 0),
        (hp.n_expert_used_arr, 0),
    ):
        values[hp.n_layer :] = [last]
    for flags in (hp.is_swa_arr, hp.is_recr_arr):
        flags[hp.n_layer :] = [False]
    for limits in (hp.swiglu_clamp_exp, hp.swiglu_clamp_shexp):
        limits[hp.n_layer :] = [0.0]
    hp.block_marks[hp.n_layer :] = [None]
    hp.attn_layers = list(range(hp.n_layer_all))


@architecture("graniteswitch", hparams=_hparams)
def build_graniteswitch(b: Builder) -> None:
    """Build the graniteswitch graph."""
    hp, u = b.hp, b.n_tokens
    has_rope = bool(hp.key("rope.scaling.finetuned", True))
    is_scaled = bool(hp.number("residual_scale", 0.0))
    x = ops.get_rows(b.need("token_embd"), b.input("i32", u, name="sub_tokens"))
    if hp.embedding_scale:
        x = ops.scale(x)
    pos = b.inp_pos()
    ids = _pick_adapters(b)
    out_ids = b.inp_out_ids()

    def scaled(t: Tensor) -> Tensor:
        return ops.scale(t) if is_scaled else t

    for il in b.layers:
        cur = _attention(b, b.norm(x, "attn_norm", il), pos if has_rope else None, ids, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
            ids = ops.get_rows(ops.reshape(ids, 1, ids.ne[0]), out_ids)
            ids = ops.reshape(ids, b.n_outputs)
        x = ops.add(scaled(cur), x)
        x = ops.add(scaled(_feed_forward(b, b.norm(x, "ffn_norm", il), ids, il)), x)
    b.finish(ops.scale(b.head(x)))


def _pick_adapters(b: Builder) -> Tensor:
    """Number of each token's adapter, attended from the last token that names one."""
    hp, u = b.hp, b.n_tokens
    size = hp.n_embd_head_v_full
    q, k, v = (
        ops.pad(ops.reshape(b.input("f32", u, name=f"router_{name}"), 1, 1, u), size - 1)
        for name in ("q", "ksig", "vval")
    )
    cur = b.attn(q, k, v, hp.n_layer, wo=None)
    cur = ops.cont(ops.view(cur, (1, u), (cur.nb[1],)))
    cur = ops.clamp(ops.reshape(cur, u))
    return ops.cast(ops.unary(cur, "round"), "i32")


def _delta(b: Builder, name: str, x: Tensor, ids: Tensor, il: int) -> Tensor:
    """What the picked adapters add to a projection."""
    n = x.ne[1]
    ids = ops.reshape(ids, 1, n)
    cur = ops.reshape(x, x.ne[0], 1, n)
    cur = ops.mul_mat_id(b.need(name, il, "lora_a"), cur, ids)
    cur = ops.mul_mat_id(b.need(name, il, "lora_b"), cur, ids)
    return ops.reshape(cur, cur.ne[0], n)


def _project(b: Builder, name: str, x: Tensor, ids: Tensor, il: int) -> Tensor:
    return ops.add(ops.mul_mat(b.need(name, il), x), _delta(b, name, x, ids, il))


def _attention(b: Builder, x: Tensor, pos: Tensor | None, ids: Tensor, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    size, heads, heads_kv = hp.n_embd_head_v_full, hp.n_head(il), hp.n_head_kv(il)
    qkv = ops.mul_mat(b.need("attn_qkv", il), x)
    starts = (0, size * heads, size * (heads + heads_kv))
    parts = []
    for name, n, start in zip("qkv", (heads, heads_kv, heads_kv), starts, strict=True):
        part = ops.cont(ops.view(qkv, (size * n, u), (qkv.nb[1],), start * F32))
        part = ops.add(part, _delta(b, f"attn_{name}", x, ids, il))
        parts.append(ops.reshape(part, size, n, u))
    q, k, v = parts
    if pos is not None:
        factors = longrope_factors(b, il)
        q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
    return _project(b, "attn_output", b.attn(q, k, v, il, wo=None), ids, il)


def _feed_forward(b: Builder, x: Tensor, ids: Tensor, il: int) -> Tensor:
    gate = _project(b, "ffn_gate", x, ids, il)
    up = _project(b, "ffn_up", x, ids, il)
    return _project(b, "ffn_down", ops.mul(ops.unary(gate, "silu"), up), ids, il)
