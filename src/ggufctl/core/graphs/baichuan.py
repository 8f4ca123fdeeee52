"""Baichuan: the 7B rotates, the 13B biases attention by distance (ALiBi).

Source: llama.cpp src/models/baichuan.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

N_LAYER_7B = 32
N_LAYER_13B = 40


def _hparams(hp: HParams) -> None:
    # The header does not tell the two kinds apart; llama.cpp goes by the block count too.
    hp.use_alibi = hp.n_layer == N_LAYER_13B


@architecture("baichuan", hparams=_hparams)
def build_baichuan(b: Builder) -> None:
    """Build the baichuan graph."""
    rotates = b.hp.n_layer == N_LAYER_7B
    attend = self_attention(b, b.inp_pos(), rope=lambda _il: rotates, wo_bias=False)
    b.finish(b.head(build_trunk(b, attend, partial(b.ffn, scales=False))))
