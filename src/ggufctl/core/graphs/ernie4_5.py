"""Ernie 4.5 (dense and experts) and PaddleOCR's language model.

Source: llama.cpp src/models/ernie4-5.cpp, ernie4-5-moe.cpp, paddleocr.cpp (pin in
core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, has_lead, self_attention, shared_expert
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _paddleocr_hparams(hp: HParams) -> None:
    hp.is_mrope = True


@architecture("ernie4_5")
def build_ernie4_5(b: Builder) -> None:
    """Build the ernie4_5 graph, which never adds the output projection's bias."""
    _build_dense(b, wo_bias=False)


@architecture("paddleocr", hparams=_paddleocr_hparams)
def build_paddleocr(b: Builder) -> None:
    """Build the paddleocr graph."""
    _build_dense(b, wo_bias=True)


@architecture("ernie4_5-moe")
def build_ernie4_5_moe(b: Builder) -> None:
    """Build the ernie4_5-moe graph."""
    hp = b.hp
    step = hp.integer("interleave_moe_layer_step", 1, low=1)
    has_shared = hp.integer("expert_shared_feed_forward_length", 0) > 0

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(hp, il) or (il + 1) % step:
            if b.has("ffn_up", il):
                return b.ffn(cur, il, scales=False)
            # Behind the dense lead only experts are loaded: where the interleave skips them,
            # llama.cpp is left with the activation alone.
            return b.ffn(cur, il, up=None, gate=None, down=None, scales=False)
        probs_b = b.bias("exp_probs_b", il)
        routed = b.moe(cur, il, norm_w=True, gate_up=None, probs_b=probs_b, scales=False)
        return ops.add(routed, shared_expert(b, cur, il)) if has_shared else routed

    attention = self_attention(b, b.inp_pos(), wo_bias=False)
    b.finish(b.head(build_trunk(b, attention, feed_forward)))


def _build_dense(b: Builder, *, wo_bias: bool) -> None:
    attention = self_attention(b, b.inp_pos(), wo_bias=wo_bias)
    x = build_trunk(b, attention, lambda cur, il: b.ffn(cur, il, scales=False))
    b.finish(b.head(x))
