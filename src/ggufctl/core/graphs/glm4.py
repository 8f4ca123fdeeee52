"""GLM 4: norms around attention and feed-forward, optionally multi-dimensional rope.

Source: llama.cpp src/models/glm4.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.is_mrope = hp.uses_mrope


@architecture("glm4", hparams=_hparams)
def build_glm4(b: Builder) -> None:
    """Build the glm4 graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        cur = b.ffn(cur, il, "swiglu", gate=None, parallel=False, scales=False)
        return b.norm(cur, "post_ffw_norm", il)

    x = build_trunk(
        b,
        self_attention(b, b.inp_pos(), wo_bias=False),
        feed_forward,
        after_attention=lambda cur, il: b.norm(cur, "post_attention_norm", il),
    )
    b.finish(b.head(x))
