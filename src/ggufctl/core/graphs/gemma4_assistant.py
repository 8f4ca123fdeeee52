"""Gemma 4 assistant: drafts for a gemma4 model, whose embeddings and caches it reads.

All its blocks are nextn blocks, and it has no cache of its own. What its header does not
say is taken to be as usual: the target is offloaded as the drafter is, its last two
blocks on the last device.

Source: llama.cpp src/models/gemma4-assistant.cpp, src/llama-model.cpp `create_memory`
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.layout import ContextParams, Layout, build_layout


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.n_embd_inp_impl = hp.n_embd_out
    hp.set_swa(hp.integer("attention.sliding_window", 0), 1)
    hp.rope_layers = [il for il in range(hp.n_layer_all) if not hp.is_swa(il)]


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    layout = build_layout(hp, ctx)
    for cache in layout.caches.values():
        cache.is_shared = True
    return layout


def _loads(hp: HParams, name: str) -> bool:
    return not name.startswith("masked_embd_")


def draft_gemma4_assistant(b: Builder) -> None:
    """Build the graph, which is the same in a context of nextn blocks."""
    build_gemma4_assistant(b)


@architecture(
    "gemma4-assistant",
    hparams=_hparams,
    layout=_layout,
    loads=_loads,
    mixed_batch=False,
    draft=draft_gemma4_assistant,
    draft_layout=_layout,
)
def build_gemma4_assistant(b: Builder) -> None:
    """Build the gemma4-assistant graph."""
    hp = b.hp
    x = b.mm(b.need("nextn.pre_projection"), _input(b))
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    last = hp.n_layer_all - 1
    for il in range(hp.n_layer_all):
        cur = _attention(b, b.norm(x, "attn_norm", il), pos, il)
        if il == last:
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        attn_out = ops.add(b.norm(cur, "post_attention_norm", il), x)
        cur = b.norm(attn_out, "ffn_norm", il)
        cur = b.ffn(cur, il, "gelu", scales=False)
        cur = ops.add(b.norm(cur, "post_ffw_norm", il, pin_il=-1), attn_out)
        x = ops.mul(cur, b.need("layer_output_scale", il))
    x = b.norm(x, "output_norm")
    b.finish(b.mm(b.output_weight(), x))
    h_next = ops.mul_mat(b.need("nextn.post_projection"), x)
    b.expand(h_next.as_output())


def _input(b: Builder) -> Tensor:
    """The target's embedding of each token beside the target's hidden state."""
    width, u = b.hp.n_embd_inp, b.n_tokens
    tokens = b.input("i32", u, name="inp_tokens")
    hidden = b.input("f32", width, u, name="inp_h")
    table = Tensor("f16", (width, b.hp.n_vocab), name="target token_embd")
    table.buffer = b.placement.host
    table.is_weight = True
    rows = ops.scale(ops.get_rows(table, tokens))
    return ops.concat(rows, hidden, 0)


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp = b.hp
    q = b.mm("attn_q", x, il, scale=False)
    q = ops.reshape(q, hp.n_embd_head_k(il), hp.n_head(il), b.n_tokens)
    q = b.norm(q, "attn_q_norm", il)
    q = ops.rope(q, pos, None if hp.is_swa(il) else b.rope_factors(il))
    cur = b.attn_reuse(q, il, il, wo=None)
    return b.mm("attn_output", cur, il, scale=False)
