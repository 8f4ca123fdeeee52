"""ChatGLM and GLM-4 9B: gate and up projection in one matrix.

Source: llama.cpp src/models/chatglm.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("chatglm")
def build_chatglm(b: Builder) -> None:
    """Build the chatglm graph."""
    attend = self_attention(b, b.inp_pos(), wo_bias=False)
    feed_forward = partial(b.ffn, act="swiglu", gate=None, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward)))
