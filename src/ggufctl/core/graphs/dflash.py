"""DFlash drafts: a block of tokens proposed at once, attending to the target's states.

Variants add a chain of token-to-token biases (DSpark), convolutions and a lattice of
candidates (DFlash2), or DeepSeek-V4 blocks.

Source: llama.cpp src/models/dflash.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import draft, hyper, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.deepseek4 import (
    feed_forward,
    set_clamps,
    window_attention,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _is_deepseek4(hp: HParams) -> bool:
    return hp.integer("hyper_connection.count", 0) > 0


def _hparams(hp: HParams) -> None:
    hp.is_mrope = any(hp.rope_sections[:4])
    hp.n_swa = hp.integer("attention.sliding_window", 0)
    hp.has_swa = hp.n_swa > 0
    if not hp.has_swa:
        return
    hp.memory = Memory.ISWA
    if _is_deepseek4(hp):
        hp.is_swa_arr = [True] * hp.n_layer_all
        set_clamps(hp)
    else:
        hp.is_swa_arr = hp.flags("attention.sliding_window_pattern") or hp.is_swa_arr


@architecture(
    "dflash",
    hparams=_hparams,
    mixed_batch=False,
    has_encoder=True,
    fused_ops=hyper.FUSED_OPS,
)
def build_dflash(b: Builder) -> None:
    """Build the decoder of the dflash graph; every token has its logits."""
    pos = b.inp_pos()
    tokens = b.input("i32", b.n_tokens, name="inp_tokens")
    x = ops.get_rows(draft.token_table(b), tokens)
    if _is_deepseek4(b.hp):
        _deepseek4_trunk(b, x, pos)
    else:
        _trunk(b, x, pos)
    assert b.logits is not None
    b.expand(b.logits)
    if b.has("markov_w1"):
        _bias_chain(b, tokens)
    if b.has("selector_hidden"):
        _lattice(b, tokens)


def _logits(b: Builder, x: Tensor) -> Tensor:
    cur = b.mm(draft.output_weight(b), x)
    factor = b.w("output", None, "scale")
    return cur if factor is None else ops.mul(cur, factor)


def _trunk(b: Builder, x: Tensor, pos: Tensor) -> None:
    hp = b.hp
    act = "gelu" if str(hp.key("hidden_activation", "silu")).startswith("gelu") else "silu"
    if hp.number("embedding_scale", 0.0):
        x = ops.scale(x)
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        mix = _mixing(b, cur, "attn_conv", il)
        cur = _attention(b, _convolve(b, cur, mix, "attn_conv", 0, il), pos, il)
        cur = _convolve(b, cur, mix, "attn_conv", 1, il)
        if b.has("post_attention_norm", il):
            cur = b.norm(cur, "post_attention_norm", il)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        mix = _mixing(b, cur, "ffn_conv", il)
        cur = b.ffn(_convolve(b, cur, mix, "ffn_conv", 0, il), il, act)
        cur = _convolve(b, cur, mix, "ffn_conv", 1, il)
        if b.has("post_ffw_norm", il):
            cur = b.norm(cur, "post_ffw_norm", il)
        x = ops.add(cur, ffn_inp)
        factor = b.w("layer_output_scale", il)
        if factor is not None:
            x = ops.mul(x, factor)
    b.embd = b.norm(x, "output_norm")
    cur = _logits(b, b.embd)
    if b.has("selector_hidden"):
        if hp.number("logit_scale", 0.0):
            cur = ops.scale(cur)
        if hp.number("final_logit_softcapping", 0.0) > 0:
            cur = ops.scale(ops.unary(ops.scale(cur), "tanh"))
    b.logits = draft.widen(b, cur, b.w("d2t", None, ""))


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    head, n_head, n_kv_head = hp.n_embd_head_v(), hp.n_head(), hp.n_head_kv()
    q, k = b.mm("attn_q", x, il), b.mm("attn_k", x, il)
    shares_kv = not b.has("attn_v", il)
    v = k if shares_kv else b.mm("attn_v", x, il)
    q = ops.reshape(q, head, n_head, u)
    k, v = ops.reshape(k, head, n_kv_head, u), ops.reshape(v, head, n_kv_head, u)
    q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
    if shares_kv:
        v = ops.rms_norm(v)
    factors = None if hp.is_mrope else b.rope_factors(0)
    q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
    cur = b.attn(q, k, v, il, wo_bias=False, sinks=b.w("attn_sinks", il))
    return ops.scale(cur) if hp.number("attention.value_scale", 0.0) else cur


# DFlash2: convolutions along a block, and a lattice of candidates.


def _mixing(b: Builder, x: Tensor, name: str, il: int) -> Tensor | None:
    return b.mm(f"{name}_proj", x, il) if b.has(f"{name}_proj", il) else None


def _convolve(
    b: Builder, x: Tensor, mixing: Tensor | None, name: str, side: int, il: int
) -> Tensor:
    """Convolve along each block with weights that depend on the token."""
    if mixing is None:
        return x
    hp, u, n_block = b.hp, b.n_tokens, b.n_seqs
    n_embd, size = x.ne[0], u // n_block
    taps = hp.integer("conv_kernel_size", 1)
    group = hp.integer("conv_group_size", 1, low=1)
    n_group = n_embd // group
    blocks = ops.reshape(x, n_embd, size, n_block)
    coeffs = ops.reshape(mixing, n_group, taps, 2, u)
    one_side = ops.view(
        coeffs, (n_group, taps, u), (coeffs.nb[1], coeffs.nb[3]), side * coeffs.nb[2]
    )
    coeffs = ops.reshape(ops.cont(one_side), 1, n_group, taps, u)
    coeffs = ops.repeat(coeffs, group, n_group, taps, u)
    base = b.need(f"{name}_base", il, "")
    base = ops.view(base, (n_embd * taps,), (), side * base.nb[2])
    weights = ops.add(coeffs, ops.reshape(base, group, n_group, taps, 1))
    total: Tensor | None = None
    for tap in range(min(taps, size)):
        values = blocks
        if tap:
            before = ops.view(blocks, (n_embd, size - tap, n_block), blocks.nb[1:3])
            values = ops.pad(before, 0, tap)
        values = ops.reshape(values, n_embd, u)
        weight = ops.view(weights, (group, n_group, 1, u), weights.nb[1:], tap * weights.nb[2])
        term = ops.mul(ops.reshape(ops.cont(weight), n_embd, u), values)
        total = term if total is None else ops.add(total, term)
    assert total is not None
    return total


def _lattice(b: Builder, tokens: Tensor) -> None:
    """Candidates of every position and the scores of their transitions."""
    hp, u, n_block = b.hp, b.n_tokens, b.n_seqs
    assert b.logits is not None and b.embd is not None
    top_k, rank = hp.integer("selector_top_k", 1), hp.integer("selector_rank", 1)
    per_block = u // n_block
    size = min(per_block, hp.integer("block_size", 1))
    best = ops.top_k(b.logits, top_k)
    rows = ops.reshape(b.logits, 1, b.logits.ne[0], u)
    own = ops.reshape(ops.get_rows(rows, best), top_k, u)
    gate = b.mm("selector_hidden", b.embd)
    best = ops.reshape(best, top_k, per_block, n_block)
    own = ops.reshape(own, top_k, per_block, n_block)
    gate = ops.reshape(gate, rank, per_block, n_block)

    def score(first: int, n: int, before: Tensor) -> Tensor:
        def run(t: Tensor) -> Tensor:
            ne = (t.ne[0], n, n_block)
            return ops.cont(ops.view(t, ne, t.nb[1:3], first * t.nb[1]))

        candidates, unary, gates = run(best), run(own), run(gate)
        n_before = before.ne[0] // (n * n_block)
        ids = ops.reshape(candidates, top_k * n * n_block)
        after = ops.get_rows(b.need("selector_successor"), ids)
        after = ops.reshape(after, rank, top_k, n, n_block)
        prior = ops.get_rows(b.need("selector_predecessor"), before)
        prior = ops.reshape(prior, rank, n_before, n, n_block)
        gates = ops.repeat(ops.reshape(gates, rank, 1, n, n_block), *prior.ne)
        cur = ops.mul_mat(after, ops.mul(prior, gates))
        if n_before == 1:
            cur = ops.repeat(cur, top_k, top_k, n, n_block)
        unary = ops.repeat(ops.reshape(unary, top_k, 1, n, n_block), *cur.ne)
        cur = ops.reshape(ops.add(cur, unary), top_k * top_k, n, n_block)
        row = ops.concat(ops.cast(candidates, "f32"), cur)
        return ops.pad(row, hp.n_embd - row.ne[0])

    packed = ops.fill(ops.new_tensor("f32", hp.n_embd, 1, n_block))
    if size > 1:
        anchors = ops.view(tokens, (1, n_block), (per_block * tokens.nb[0],))
        packed = ops.concat(packed, score(1, 1, ops.cont(anchors, n_block)), 1)
    if size > 2:
        n = top_k * (size - 2) * n_block
        ids = ops.view(best, (top_k, size - 2, n_block), best.nb[1:3], best.nb[1])
        ids = ops.reshape(ops.cont(ids), n)
        packed = ops.concat(packed, score(2, size - 2, ids), 1)
    b.expand(ops.reshape(packed, hp.n_embd, size * n_block)).as_output()


# DSpark: a chain of token-to-token biases.


def _bias_chain(b: Builder, tokens: Tensor) -> None:
    """Bias each position's logits by the token before, chosen greedily."""
    hp, n_block = b.hp, b.n_seqs
    base, embd = b.logits, b.embd
    assert base is not None and embd is not None
    n_vocab, u = base.ne[:2]
    per_block = u // n_block
    if per_block > hp.integer("block_size", 0):
        return
    has_confidence = b.has("conf_proj")
    first = 0 if hp.key("sample_from_anchor", True) else 1
    row = per_block * base.nb[1]
    before = ops.view(tokens, (1, n_block), (per_block * tokens.nb[0],))
    before = ops.cont(before, n_block)
    logits: list[Tensor] = []
    confidence: list[Tensor] = []
    if first:
        logits.append(ops.cont(ops.view(base, (n_vocab, n_block), (row,))))
        if has_confidence:
            unread = ops.cont(ops.view(base, (1, n_block), (row,)))
            confidence.append(ops.unary(unread, "sigmoid"))
    mapping = b.w("d2t", None, "")
    for i in range(first, per_block):
        state = ops.get_rows(b.need("markov_w1"), before)
        bias = draft.widen(b, b.mm("markov_w2", state), mapping)
        column = ops.add(ops.view(base, (n_vocab, n_block), (row,), i * base.nb[1]), bias)
        _append(logits, column)
        if has_confidence:
            hidden = ops.view(
                embd, (embd.ne[0], n_block), (per_block * embd.nb[1],), i * embd.nb[1]
            )
            cur = ops.concat(ops.cont(hidden), state)
            cur = b.add_bias(ops.mul_mat(b.need("conf_proj"), cur), "conf_proj")
            _append(confidence, ops.unary(cur, "sigmoid"))
        if i + 1 < per_block:
            before = ops.argmax(column)
    result = _block_major(logits[0], n_block, per_block)
    if has_confidence:
        wide = ops.repeat(_block_major(confidence[0], n_block, per_block), *embd.ne)
        b.expand(wide).as_output()
    b.logits = b.expand(result)


def _append(joined: list[Tensor], column: Tensor) -> None:
    joined[:] = [ops.concat(joined[0], column, 1) if joined else column]


def _block_major(x: Tensor, n_block: int, per_block: int) -> Tensor:
    width = x.ne[0]
    cur = ops.cont(ops.permute(ops.reshape(x, width, n_block, per_block), 0, 2, 1, 3))
    return ops.reshape(cur, width, n_block * per_block)


# DeepSeek-V4 blocks.


def _deepseek4_trunk(b: Builder, x: Tensor, pos: Tensor) -> None:
    x = hyper.spread(b, x, sparse.positive(b.hp, "hyper_connection.count", sparse.MAX_STREAMS))
    for il in b.layers:
        cur, mix = hyper.mix_in(b, x, "hc_attn", il)
        cur = window_attention(b, b.norm(cur, "attn_norm", il), pos, il)
        x = hyper.mix_out(b, cur, mix, il)
        cur, mix = hyper.mix_in(b, x, "hc_ffn", il)
        cur = feed_forward(b, b.norm(cur, "ffn_norm", il), il)
        x = hyper.mix_out(b, cur, mix, il)
    b.embd = hyper.mix_head(b, x)
    b.logits = _logits(b, b.norm(b.embd, "output_norm"))
