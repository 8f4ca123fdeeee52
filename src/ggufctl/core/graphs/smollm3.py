"""SmolLM3: every fourth block goes without rotary positions.

Source: llama.cpp src/models/smollm3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture

NO_ROPE_STEP = 4
"""Every block whose number counts up to a multiple of this goes without rope."""


@architecture("smollm3", period=NO_ROPE_STEP)
def build_smollm3(b: Builder) -> None:
    """Build the smollm3 graph."""
    attend = self_attention(b, b.inp_pos(), rope=lambda il: (il + 1) % NO_ROPE_STEP != 0)
    feed_forward = partial(b.ffn, bias=True, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward)))
