"""Nanbeige: the blocks are run several times over, each pass with a cache of its own.

Source: llama.cpp src/models/nanbeige.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import MAX_LAYERS, HParams
from ggufctl.errors import InvalidGguf


def _n_loops(hp: HParams) -> int:
    return hp.integer("num_loops", 1, low=1)


def _hparams(hp: HParams) -> None:
    n_loops, n_blocks = _n_loops(hp), hp.n_layer_all
    if n_loops * n_blocks > MAX_LAYERS:
        raise InvalidGguf(
            f"The header runs {n_blocks} blocks {n_loops} times; llama.cpp has {MAX_LAYERS}."
        )
    hp.rope_layers = list(range(n_blocks))
    hp.n_layer_all = n_blocks * n_loops
    for name in (
        "n_head_arr",
        "n_head_kv_arr",
        "n_ff_arr",
        "n_expert_used_arr",
        "is_swa_arr",
        "is_recr_arr",
        "swiglu_clamp_exp",
        "swiglu_clamp_shexp",
    ):
        setattr(hp, name, getattr(hp, name) * n_loops)
    # Later passes have no tensors of their own that would tell their blocks apart.
    hp.block_marks = list(range(hp.n_layer_all)) if n_loops > 1 else [None] * n_blocks


@architecture("nanbeige", hparams=_hparams)
def build_nanbeige(b: Builder) -> None:
    """Build the nanbeige graph."""
    n_blocks = b.hp.n_layer_all // _n_loops(b.hp)
    norms_passes = not b.hp.key("skip_loop_final_norm", False)
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        block = il % n_blocks
        if il and block == 0 and norms_passes:
            x = b.norm(x, b.need("output_norm"), il - 1)
        residual = x
        cur = b.norm(x, b.need("attn_norm", block), il)
        factors = b.rope_factors(block)
        scales = il < n_blocks  # llama.cpp loads them after it copied the blocks
        q, k, v = b.qkv(cur, block, scale=scales)
        q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
        cur = b.mm("attn_output", b.attn(q, k, v, il, wo=None), block, scale=scales)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.norm(ffn_inp, b.need("ffn_norm", block), il)
        x = ops.add(b.ffn(cur, block, bias=True, scales=scales), ffn_inp)
    b.finish(b.head(x))
