"""T5: the decoder with cross attention (t5), and the encoder (t5encoder).

A context of an encoder-decoder model is reserved for its decoder.

Source: llama.cpp src/models/t5.cpp, t5encoder.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("t5", has_encoder=True)
def build_t5(b: Builder) -> None:
    """Build the graph of t5's decoder."""
    hp, u, n_enc = b.hp, b.n_tokens, b.hp.n_ctx_train
    n_decoder = hp.integer("decoder_block_count", hp.n_layer)
    last = min(n_decoder, hp.n_layer) - 1
    x = b.inp_embd()
    encoded = b.input("f32", hp.n_embd_inp, n_enc, name="cross_embd")
    buckets = b.input("i32", b.layout.caches["base"].n_cells, u, name="pos_bucket_dec")
    mask = b.input("f16" if b.flash_attn else "f32", n_enc, u, 1, 1, name="cross_kq_mask")
    out_ids = b.inp_out_ids()
    for il in b.layers:
        if il > last:
            break
        part = f"dec.blk.{il}"
        cur = b.norm(x, f"{part}.attn_norm", pin_il=il)
        q, k, v = (_project(b, f"{part}.attn_{n}", cur, n, il) for n in "qkv")
        bias = _position_bias(b, "dec", buckets, il)
        cur = b.attn(
            _heads(b, q, il), _heads_kv(b, k, il), _heads_kv(b, v, il), il, wo=None, kq_b=bias
        )
        x = ops.add(_project(b, f"{part}.attn_o", cur, "output", il), x)
        cur = b.norm(x, f"{part}.cross_attn_norm", pin_il=il)
        q = b.mm(f"{part}.cross_attn_q", cur)
        k, v = (b.mm(f"{part}.cross_attn_{n}", encoded) for n in "kv")
        cur = b.attn_no_cache(
            _heads(b, q, il), _heads_kv(b, k, il), _heads_kv(b, v, il), mask, il, wo=None
        )
        cur = b.mm(f"{part}.cross_attn_o", cur)
        if il == last:
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = _feed_forward(b, part, ops.add(cur, x), il)
    b.finish(b.head(x, norm="dec.output_norm"))


@architecture("t5encoder", has_encoder=True)
def build_t5encoder(b: Builder) -> None:
    """Build the graph of t5's encoder."""
    x = b.inp_embd()
    buckets = b.input("i32", b.n_tokens, b.n_tokens, name="pos_bucket_enc")
    mask = b.mask_no_cache()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        part = f"enc.blk.{il}"
        cur = b.norm(x, f"{part}.attn_norm", pin_il=il)
        q, k, v = (b.mm(f"{part}.attn_{n}", cur) for n in "qkv")
        q, k, v = _heads(b, q, il), _heads_kv(b, k, il), _heads_kv(b, v, il)
        bias = _position_bias(b, "enc", buckets, il)
        cur = b.attn_no_cache(q, k, v, mask, il, wo=None, kq_b=bias)
        cur = b.mm(f"{part}.attn_o", cur)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = _feed_forward(b, part, ops.add(cur, x), il)
    b.embd = b.expand(b.norm(x, "enc.output_norm"))


def _project(b: Builder, name: str, x: Tensor, scaled: str, il: int) -> Tensor:
    """Multiply by a weight of the decoder, whose scale bears the usual name."""
    cur = b.mm(name, x)
    factor = b.w(f"attn_{scaled}", il, "scale")
    return cur if factor is None else ops.mul(cur, factor)


def _heads(b: Builder, x: Tensor, il: int) -> Tensor:
    return ops.reshape(x, b.hp.n_embd_head_k(il), b.hp.n_head(il), x.ne[1])


def _heads_kv(b: Builder, x: Tensor, il: int) -> Tensor:
    return ops.reshape(x, b.hp.n_embd_head_k(il), b.hp.n_head_kv(il), x.ne[1])


def _position_bias(b: Builder, part: str, buckets: Tensor, il: int) -> Tensor:
    """Bias of the scores by relative position (build_pos_bias); block 0 may lend its own."""
    own = b.w(f"{part}.blk.{il}.attn_rel_b")
    table = own if own is not None else b.need(f"{part}.blk.0.attn_rel_b")
    rows = ops.get_rows(table, ops.reshape(buckets, buckets.n_elements))
    rows = ops.reshape(rows, rows.ne[0], buckets.ne[0], buckets.ne[1])
    return ops.cont(ops.permute(rows, 2, 0, 1, 3))


def _feed_forward(b: Builder, part: str, x: Tensor, il: int) -> Tensor:
    """Add the feed-forward network: gated GELU, or ReLU where there is no gate."""
    cur = b.norm(x, f"{part}.ffn_norm", pin_il=il)
    up = b.mm(f"{part}.ffn_up", cur)
    if b.has(f"{part}.ffn_gate"):
        hidden = ops.glu_split(b.mm(f"{part}.ffn_gate", cur), up, "geglu")
    else:
        hidden = ops.unary(up, "relu")
    return ops.add(b.mm(f"{part}.ffn_down", hidden), x)
