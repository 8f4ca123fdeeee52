"""gpt-oss: attention sinks, every other block slides, biased experts.

Source: llama.cpp src/models/openai-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0), 2)


@architecture("gpt-oss", hparams=_hparams, ties_output=False)
def build_gpt_oss(b: Builder) -> None:
    """Build the gpt-oss graph; all rows pass the last block, for the nextn output."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        return b.moe(
            cur, il, "swiglu_oai", gating="softmax_weight", bias=True, gate_up=None, scales=False
        )

    attention = self_attention(b, b.inp_pos(), n_embd_head=b.hp.n_rot(), sinks=True)
    x = build_trunk(b, attention, feed_forward, ffn_norm="post_attention_norm", crops=False)
    x = ops.get_rows(x.as_output(), b.inp_out_ids())
    b.finish(b.head(x))
