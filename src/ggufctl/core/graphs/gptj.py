"""GPT-J: a name that llama.cpp knows and a model that it cannot load.

Source: llama.cpp src/llama-model.cpp `llama_model_create`, which has no such model
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.errors import UnsupportedModel


def _refuse(hp: HParams) -> None:
    raise UnsupportedModel(
        f"llama.cpp {LLAMA_CPP_BUILD} knows the name {hp.arch!r} but cannot load such models."
    )


@architecture("gptj", hparams=_refuse)
def build_gptj(b: Builder) -> None:
    """Refuse.

    Raises:
        UnsupportedModel: always.
    """
    _refuse(b.hp)
