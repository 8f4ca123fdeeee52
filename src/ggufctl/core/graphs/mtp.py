"""What graphs of nextn/MTP blocks share: how they begin, how they end, and sampling of drafts.

Such a graph is one block over a token's embedding and the target's hidden state of the token
before, with a head that is its own or the model's.

Source: llama.cpp src/models/*.cpp `graph_mtp`, src/llama-graph.cpp `build_sampling`,
common/speculative.cpp `common_speculative_impl_draft_mtp` (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder

__all__ = [
    "fused_input",
    "head_logits",
    "head_norm",
    "keep_wanted",
    "sample",
    "token_rows",
    "trunk_head",
]

N_CANDIDATES = 10
"""Tokens that the sampler of drafts leaves of a vocabulary."""


def token_rows(b: Builder) -> Tensor:
    """Embeddings of the batch's tokens, by the block's own table or the model's."""
    il = b.layers[0]
    table = b.w("nextn.embed_tokens", il) or b.need("token_embd")
    return ops.get_rows(table, b.input("i32", b.n_tokens, name="inp_tokens"))


def fused_input(b: Builder, *, kind: str = "rms", scale: bool = True) -> Tensor:
    """Input of the block: embedding and hidden state, normed, side by side, projected.

    Args:
        b: the graph's builder.
        kind: kind of the norms, see `Builder.norm`.
        scale: whether the projection's scale is applied.
    """
    il, hidden = b.layers[0], b.input("f32", b.hp.n_embd, b.n_tokens, name="mtp_h_input")
    h = b.norm(hidden, "nextn.hnorm", il, kind=kind)
    e = b.norm(token_rows(b), "nextn.enorm", il, kind=kind)
    return b.mm("nextn.eh_proj", ops.concat(e, h), il, scale=scale)


def head_norm(
    b: Builder, x: Tensor, *, kind: str = "rms", otherwise: tuple[str, ...] = ()
) -> Tensor:
    """Norm before the head: the block's own, or the model's.

    Args:
        b: the graph's builder.
        x: result of the block.
        kind: kind of the norm, see `Builder.norm`.
        otherwise: what else of the block stands in for its own norm.
    """
    il = b.layers[0]
    own = (b.w(name, il) for name in ("nextn.shared_head_norm", *otherwise))
    weight = next((w for w in own if w is not None), None)
    return b.norm(x, b.need("output_norm") if weight is None else weight, kind=kind)


def keep_wanted(b: Builder, x: Tensor) -> Tensor:
    """Hand over the hidden state of every token, and go on with the rows that are wanted."""
    return ops.get_rows(x.as_output(), b.inp_out_ids())


def head_logits(b: Builder, x: Tensor) -> Tensor:
    """Logits by the block's own head, or the model's."""
    if b.has("nextn.shared_head_head", b.layers[0]):
        return b.mm("nextn.shared_head_head", x, b.layers[0])
    return b.mm_output(x)


def trunk_head(b: Builder, x: Tensor) -> Tensor:
    """Final norm and output matrix of a model that may have to hand over what is normed."""
    x = b.norm(x, "output_norm")
    b.embd = keep_wanted(b, x) if b.hands_over else x
    return b.mm_output(b.embd)


def sample(b: Builder) -> None:
    """Append the samplers of drafts, one per sequence, which leave the likeliest tokens."""
    logits = b.logits
    assert logits is not None
    n_vocab = logits.ne[0]
    padded = ops.pad(logits, 0, 1)
    for i in range(b.n_seqs):
        # A sequence without a row in the batch works on the first one, and is not computed.
        is_active = i < b.n_outputs
        row = ops.view(padded, (n_vocab,), (), i * padded.nb[1] if is_active else 0)
        row = ops.reshape(row, n_vocab)
        best = ops.top_k(row, N_CANDIDATES)
        chosen = ops.get_rows(ops.reshape(row, 1, n_vocab), best)
        for result in (chosen, best):
            b.graph.expand(result, compute=is_active)
            if is_active:
                result.as_output()
