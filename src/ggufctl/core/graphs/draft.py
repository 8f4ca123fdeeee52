"""What draft models share: weights they borrow from their target, and small vocabularies.

Source: llama.cpp src/models/eagle3.cpp and dflash.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.header import SkippedArray

__all__ = ["output_weight", "target_vocabulary", "token_table", "widen"]


def target_vocabulary(b: Builder) -> int:
    """Tokens of the vocabulary, which is the target's."""
    tokens = b.hp.header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, SkippedArray):
        return tokens.length
    if isinstance(tokens, tuple):
        return len(tokens)
    return b.hp.integer("vocab_size", 0) or b.hp.n_vocab


def token_table(b: Builder) -> Tensor:
    """Token embeddings, its own or, on the host, the target's."""
    own = b.w("token_embd")
    if own is not None:
        return own
    return _borrowed(b, "token_embd.weight", b.placement.host)


def output_weight(b: Builder) -> Tensor:
    """Output matrix: its own, its token embeddings, or the target's."""
    if b.has("output") or b.has("token_embd"):
        return b.output_weight()
    return _borrowed(b, "output.weight", b.placement.output_backend)


def _borrowed(b: Builder, name: str, backend: int) -> Tensor:
    # The target's type is unknown here; no buffer of the draft depends on it.
    t = Tensor("f16", (b.hp.n_embd, target_vocabulary(b)), name=name)
    t.buffer, t.is_weight = backend, True
    return t


def widen(b: Builder, x: Tensor, mapping: Tensor | None) -> Tensor:
    """Spread rows over the draft's vocabulary to the target's (d2t)."""
    if mapping is None:
        return x
    n_vocab, (n_draft, n) = target_vocabulary(b), x.ne[:2]
    blank = ops.fill(ops.new_tensor("f32", 1, n_vocab, n))
    rows = ops.reshape(x, 1, n_draft, n)
    wide = ops.set_rows(blank, rows, ops.reshape(mapping, n_draft, 1, 1))
    return ops.reshape(wide, n_vocab, n)
