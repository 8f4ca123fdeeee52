"""Grok: soft-capped attention, which rules out flash attention, and geglu experts.

Source: llama.cpp src/models/grok.cpp, src/llama-context.cpp `llama_init_from_model`
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

EMBEDDING_SCALE = 78.38367176906169


def _hparams(hp: HParams) -> None:
    hp.embedding_scale = hp.number("embedding_scale", EMBEDDING_SCALE)
    hp.forbids_flash_attn = True


@architecture("grok", hparams=_hparams)
def build_grok(b: Builder) -> None:
    """Build the grok graph."""
    pos = b.inp_pos()

    def attention(x: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(x, il)
        return b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, soft_caps=1)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        out = b.moe(cur, il, "gelu", norm_w=True, gate_up=None, scales=False)
        if b.has("ffn_up", il):
            out = ops.scale(ops.add(b.ffn(cur, il, "gelu", scales=False), out))
        own = b.has("layer_output_norm", il)
        return b.norm(out, "layer_output_norm" if own else "post_ffw_norm", il)

    x = build_trunk(
        b,
        attention,
        feed_forward,
        after_attention=lambda cur, il: b.norm(cur, "attn_output_norm", il),
    )
    logits = ops.scale(b.head(x))
    if b.hp.number("final_logit_softcapping", 0.0):
        logits = ops.scale(ops.unary(ops.scale(logits), "tanh"))
    b.finish(logits)
