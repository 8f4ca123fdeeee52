"""HRM-Text: a low and a high stack of blocks, run in cycles over the same tokens.

Source: llama.cpp src/models/hrm-text.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.errors import InvalidGguf


def _cycles(hp: HParams) -> tuple[int, int, int]:
    """Blocks per stack, high cycles, low cycles per high one."""
    names = ("layers_per_stack", "h_cycles", "l_cycles")
    per_stack, high, low = (hp.integer(f"hrm.{name}", 0) for name in names)
    return per_stack, high, low


def _hparams(hp: HParams) -> None:
    per_stack, high, low = _cycles(hp)
    if hp.n_layer == 0 or hp.n_layer != per_stack * high * (low + 1) or not low:
        raise InvalidGguf(
            f"The header says {hp.n_layer} blocks, but its cycles make "
            f"{per_stack * high * (low + 1)}."
        )
    # Cache slots have blocks of their own only in the first cycle.
    hp.block_marks = list(range(hp.n_layer_all))


@architecture("hrm_text", hparams=_hparams)
def build_hrm_text(b: Builder) -> None:
    """Build the hrm_text graph: every pass has its own cache, passes share weights."""
    per_stack, n_high, n_low = _cycles(b.hp)
    high = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    low = b.need("hrm.z_l_init", None, "")
    for cycle in range(n_high):
        first = cycle * (n_low + 1) * per_stack
        for i in range(n_low):
            low = _stack(b, ops.add(high, low), pos, first + i * per_stack, 0)
        high = _stack(b, ops.add(high, low), pos, first + n_low * per_stack, per_stack)
    b.embd = ops.get_rows(high, out_ids)
    b.finish(b.mm_output(b.embd))


def _stack(b: Builder, x: Tensor, pos: Tensor, first_slot: int, first_block: int) -> Tensor:
    """One pass through a stack's blocks, whose norms have no weights."""
    hp = b.hp
    for i in range(_cycles(hp)[0]):
        slot, block = first_slot + i, first_block + i
        cur = b.norm(x)
        gate = b.mm("attn_gate", cur, block, scale=False)
        q, k, v = _query_key_value(b, cur, slot, block)
        cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, slot, wo=None)
        cur = ops.mul(cur, ops.unary(gate, "sigmoid"))
        # Passes share weights, and each has a scale of its own.
        cur = b.mm("attn_output", cur, block, scale_il=slot)
        x = ops.add(cur, x)
        x = ops.add(b.ffn(b.norm(x), block, scales=False), x)
    return b.norm(x)


def _query_key_value(b: Builder, x: Tensor, slot: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
    if b.has("attn_qkv", block):
        return b.qkv(x, block)
    hp, u = b.hp, b.n_tokens
    size, heads, heads_kv = hp.n_embd_head_k(block), hp.n_head(block), hp.n_head_kv(block)
    q, k, v = (
        b.add_bias(b.mm(name, x, block, scale_il=slot), name, block)
        for name in ("attn_q", "attn_k", "attn_v")
    )
    k, v = ops.reshape(k, size, heads_kv, u), ops.reshape(v, size, heads_kv, u)
    return ops.reshape(q, size, heads, u), k, v
