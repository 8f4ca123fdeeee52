"""GPT-NeoX: rotary positions, feed-forward in parallel with attention or after it.

Source: llama.cpp src/models/gptneox.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gpt2 import build_blocks
from ggufctl.core.graphs.registry import architecture


@architecture("gptneox", ties_output=False)
def build_gptneox(b: Builder) -> None:
    """Build the gptneox graph."""
    if not b.hp.key("use_parallel_residual", True):
        x = b.inp_embd()
        build_blocks(b, x, pos=b.inp_pos())
        return
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il, kind="layer", bias=True), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        attn = b.attn(q, k, v, il)
        if b.is_last(il):
            attn, x = ops.get_rows(attn, out_ids), ops.get_rows(x, out_ids)
        cur = b.norm(x, "ffn_norm", il, kind="layer", bias=True)
        cur = b.ffn(cur, il, "gelu", gate=None, bias=True, scales=False)
        x = ops.add(ops.add(cur, x), attn)
    b.finish(b.head(x, kind="layer", bias=True))
