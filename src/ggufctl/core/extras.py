"""What comes with a model at run time: LoRA adapters, a draft model, a projector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt

from ggufctl.core.estimate import Basis, Term
from ggufctl.core.ggml.cuda import ALIGNMENT
from ggufctl.core.header import Header, TensorInfo
from ggufctl.core.hparams import HParams
from ggufctl.core.placement import Placement
from ggufctl.errors import InvalidGguf

__all__ = ["DRAFT_N_MAX", "Adapter", "lora_terms", "mmproj_terms", "read_adapter"]

DRAFT_N_MAX = 3
"""Tokens drafted at a time without `--spec-draft-n-max`.

Source: llama.cpp common/common.h `common_params_speculative_draft`.
"""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: tensors (a, b) by the name of the weight they adapt."""

    pairs: dict[str, tuple[TensorInfo, TensorInfo]] = field(default_factory=dict)


def read_adapter(header: Header, hp: HParams) -> Adapter:
    """Read a LoRA adapter and check that it belongs to a model.

    Raises:
        InvalidGguf: not a LoRA adapter, or one of another model.

    Source: llama.cpp src/llama-adapter.cpp `llama_adapter_lora_init_impl`.
    """
    metadata = header.metadata
    if metadata.get("general.type") != "adapter" or metadata.get("adapter.type") != "lora":
        raise InvalidGguf("The file given as LoRA adapter is not one (general.type, adapter.type).")
    arch = metadata.get("general.architecture")
    if arch != hp.arch:
        raise InvalidGguf(f"The LoRA adapter is for {arch!s:.64}, the model is {hp.arch}.")
    halves: dict[str, dict[str, TensorInfo]] = {}
    for name, info in header.tensors.items():
        base, _, half = name.rpartition(".lora_")
        if half in ("a", "b"):
            halves.setdefault(base, {})[half] = info
        elif not name.endswith("_norm.weight"):
            raise InvalidGguf(f"The LoRA adapter holds an unexpected tensor, {name!r:.80}.")
    pairs = {}
    for base, found in halves.items():
        weight = hp.tensors.get(base)
        if len(found) != 2 or weight is None:
            raise InvalidGguf(f"The LoRA adapter does not match the model at {base!r:.80}.")
        a, b = found["a"], found["b"]
        if base == "token_embd.weight":
            fits = weight.shape[0] == b.shape[1] and weight.shape[1] == a.shape[1]
        else:
            fits = weight.shape[0] == a.shape[0] and weight.shape[1] == b.shape[1]
        if not fits:
            raise InvalidGguf(f"The LoRA adapter has another shape than the model at {base!r:.80}.")
        pairs[base] = (a, b)
    return Adapter(pairs)


def lora_terms(adapters: Sequence[Adapter], placement: Placement) -> list[Term]:
    """Adapter tensors per backend: each lies with the weight it adapts.  [bytes]"""
    totals = [0] * (placement.n_gpus + 1)
    for adapter in adapters:
        for base, pair in adapter.pairs.items():
            where = placement.backend(base)
            totals[where] += sum(placement.tensor_bytes(info, where) for info in pair)
    return [Term("LoRA", n) for n in totals]


def mmproj_terms(header: Header, n_gpus: int) -> list[Term]:
    """Projector per backend: weights and graph on the first GPU, or on the host.

    Weights are exact. The graph encodes one image of the projector's own size; its
    estimate is a vision transformer's feed-forward or attention peak.

    Raises:
        InvalidGguf: not a projector.

    Source: llama.cpp tools/mtmd/clip.cpp `clip_model_loader`.
    """
    if header.metadata.get("general.architecture") != "clip":
        raise InvalidGguf("The file given as projector is not an mmproj (architecture clip).")
    align = ALIGNMENT if n_gpus else 32
    weights = sum(-(-t.n_bytes // align) * align for t in header.tensors.values())
    graph = _vision_graph_bytes(header)
    where = 0 if n_gpus else n_gpus
    terms = [Term("projector", 0)] * (n_gpus + 1)
    terms[where] = Term(
        "projector",
        weights + graph,
        Basis.ESTIMATED,
        low=weights + graph // 3,
        high=weights + graph * 3,
        note="weights exact, graph of one image estimated",
    )
    return terms


def _vision_graph_bytes(header: Header) -> int:
    def number(key: str, default: int) -> int:
        value = header.metadata.get(f"clip.vision.{key}", default)
        return value if isinstance(value, int) and 0 < value < 1 << 24 else default

    image, patch = number("image_size", 448), number("patch_size", 14)
    width, ff = number("embedding_length", 1152), number("feed_forward_length", 4304)
    heads = number("attention.head_count", 16)
    side = max(1, image // patch)
    n_patches = min(side * side, 1 << 16)
    ffn = n_patches * (2 * ff + 4 * width)
    fused_heads = width // heads if heads else 0
    # Head sizes without a flash-attention kernel keep all scores.
    scores = 0 if fused_heads in (64, 72, 80, 96, 112, 128) else heads * n_patches * n_patches
    picture = 3 * isqrt(image * image) ** 2
    return 4 * (max(ffn, scores + 4 * n_patches * width) + picture)
