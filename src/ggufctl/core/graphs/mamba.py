"""Mamba and Mamba-2.

Source: llama.cpp src/models/mamba.cpp, mamba2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import mamba, mamba2
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _mamba_hparams(hp: HParams) -> None:
    hp.memory = Memory.RECURRENT
    hp.ssm_n_group = 0


def _mamba2_hparams(hp: HParams) -> None:
    hp.memory = Memory.RECURRENT


@architecture("mamba", hparams=_mamba_hparams)
def build_mamba(b: Builder) -> None:
    """Build the mamba graph."""
    _build(b, mamba)


@architecture("mamba2", hparams=_mamba2_hparams)
def build_mamba2(b: Builder) -> None:
    """Build the mamba2 graph."""
    _build(b, mamba2)


def _build(b: Builder, block: Callable[[Builder, Tensor, RecurrentInput, int], Tensor]) -> None:
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = block(b, b.norm(x, "attn_norm", il), recurrent, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = ops.add(cur, x)
    b.finish(b.head(x))
