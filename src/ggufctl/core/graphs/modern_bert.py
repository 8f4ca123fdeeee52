"""ModernBERT: dense attention every third block, and its decision models.

Source: llama.cpp src/models/modern-bert.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory
from ggufctl.errors import InvalidGguf

N_DECISION_TYPES = 3

ACTIVATIONS = {
    "gelu": "geglu",
    "geglu": "geglu",
    "silu": "swiglu",
    "swish": "swiglu",
    "swiglu": "swiglu",
    "relu": "relu",
    "reglu": "reglu",
}
"""Values of `hidden_activation`; GEGLU for any other."""


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        hp.set_swa(n_swa, 3, dense_first=True)
    decision = hp.integer("decision.block_count", 0)
    if decision:
        if decision >= hp.n_layer:
            raise InvalidGguf("The header has more decision blocks than blocks.")
        for il in range(hp.n_layer - decision, hp.n_layer):
            hp.is_swa_arr[il] = False
        hp.n_embd_out = N_DECISION_TYPES


@architecture("modern-bert", hparams=_hparams, ties_output=False)
def build_modern_bert(b: Builder) -> None:
    """Build the modern-bert graph."""
    hp = b.hp
    n_encoder = hp.n_layer - hp.integer("decision.block_count", 0)
    activation = ACTIVATIONS.get(str(hp.key("hidden_activation")), "geglu")
    pos = b.inp_pos()
    x = b.norm(b.inp_embd(), "token_embd_norm", kind="layer", pin_il=0)
    out_ids = b.inp_out_ids()
    masks = (b.mask_no_cache(), b.mask_no_cache())
    for il in b.layers:
        if il >= n_encoder:
            break
        cur = b.norm(x, "attn_norm", il, kind="layer") if b.has("attn_norm", il) else x
        q, k, v = b.qkv(cur, il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn_no_cache(q, k, v, masks[hp.is_swa(il)], il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "ffn_norm", il, kind="layer")
        cur = b.ffn(cur, il, activation, gate=None, parallel=False, scales=False)
        x = ops.add(cur, ffn_inp)
    x = b.norm(x, "output_norm", kind="layer")
    if n_encoder < hp.n_layer:
        x = _decide(b, x, masks[False], out_ids, n_encoder)
    b.embd = b.expand(x)


def _decide(b: Builder, x: Tensor, mask: Tensor, out_ids: Tensor, first: int) -> Tensor:
    """Scores of each type of decision, from blocks of their own."""
    scores: list[Tensor] = []
    types = b.need("token_types")
    for kind in range(N_DECISION_TYPES):
        row = ops.view(types, (b.hp.n_embd,), (), kind * types.nb[1])
        cur = ops.add(x, row)
        for il in range(first, b.hp.n_layer):
            cur = _decision_block(b, cur, mask, out_ids, il)
        cur = b.norm(cur, "cls.norm", kind="layer", bias=True)
        cur = ops.unary(b.mm_bias("cls", cur), "gelu_erf")
        cur = b.mm_bias("cls.output", cur)
        scores = [ops.concat(scores[0], cur, 0)] if scores else [cur]
    return scores[0]


def _decision_block(b: Builder, x: Tensor, mask: Tensor, out_ids: Tensor, il: int) -> Tensor:
    q, k, v = b.qkv(b.norm(x, "attn_norm", il, kind="layer", bias=True), il)
    cur = b.attn_no_cache(q, k, v, mask, il)
    if b.is_last(il):
        cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
    ffn_inp = ops.add(cur, x)
    cur = b.norm(ffn_inp, "ffn_norm", il, kind="layer", bias=True)
    cur = b.ffn(cur, il, "relu", gate=None, parallel=False, bias=True, scales=False)
    return ops.add(cur, ffn_inp)
