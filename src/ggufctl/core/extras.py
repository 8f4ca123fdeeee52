"""What comes with a model at run time: LoRA adapters, a draft model, a projector."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ggufctl.core.estimate import Basis, Term
from ggufctl.core.ggml.alloc import HOST_ALIGNMENT
from ggufctl.core.ggml.cuda import ALIGNMENT, ROW_PADDING
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.header import Header, TensorInfo
from ggufctl.core.hparams import HParams
from ggufctl.core.placement import Placement
from ggufctl.core.vision import EncoderBuffers, encoder_buffers, modalities
from ggufctl.errors import InvalidGguf

__all__ = ["Adapter", "lora_terms", "mmproj_terms", "read_adapter"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: tensors (a, b) by the name of the weight they adapt."""

    pairs: dict[str, tuple[TensorInfo, TensorInfo]] = field(default_factory=dict)


def read_adapter(header: Header, hp: HParams) -> Adapter:
    """Read a LoRA adapter and check that it belongs to a model.

    Norms (`*_norm.weight`) are passed over, as llama.cpp does. Adapters with a calling
    sequence (aLoRA) take the same memory.

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
        if not _fits(base, weight.shape, a.shape, b.shape):
            raise InvalidGguf(f"The LoRA adapter has another shape than the model at {base!r:.80}.")
        pairs[base] = (a, b)
    return Adapter(pairs)


def _fits(base: str, weight: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether a pair has the shape of the weight it adapts."""
    if min(len(weight), len(a), len(b)) < 2:
        return False
    if base == "token_embd.weight":  # Rows of a are looked up, and b is not transposed.
        return weight[:2] == (b[1], a[1]) and a[0] == b[0]
    return weight[:2] == (a[0], b[1]) and a[1] == b[0]


def lora_terms(adapters: Sequence[Adapter], placement: Placement) -> list[Term]:
    """Adapter tensors per backend: each lies with the weight it adapts.  [bytes]

    Raises:
        InvalidGguf: llama.cpp cannot load or run the adapter on this model.

    Source: llama.cpp src/llama-adapter.cpp, src/llama-graph.cpp `build_lora_mm`.
    """
    totals = [0] * (placement.n_gpus + 1)
    for adapter in adapters:
        for base, pair in adapter.pairs.items():
            if not placement.is_loaded(base):
                raise InvalidGguf(f"The LoRA adapter does not match the model at {base!r:.80}.")
            if base == "token_embd.weight" and placement.is_tied:
                raise InvalidGguf(
                    "The LoRA adapter changes token_embd, which is this model's output matrix as "
                    "well: llama.cpp aborts on that."
                )
            where = placement.backend(base)
            totals[where] += sum(placement.tensor_bytes(info, where) for info in pair)
    return [Term("LoRA", n) for n in totals]


def mmproj_terms(header: Header, n_gpus: int) -> list[Term]:
    """Projector per backend: weights and graph on the first GPU, or on the host.

    The graph is that of the picture (or sound) llama-server warms up with, which is what
    its own accounting takes; projectors of variable picture size take more for larger
    ones. Types without a graph here get an estimate with a range.

    Raises:
        InvalidGguf: not a projector, or one that lacks what its type needs.
        UnsupportedModel: a projector the pinned llama.cpp does not know.

    Source: llama.cpp tools/mtmd/clip.cpp `clip_init`, `clip_model_loader`.
    """
    if header.metadata.get("general.architecture") != "clip":
        raise InvalidGguf("The file given as projector is not an mmproj (architecture clip).")
    found = modalities(header)
    has_speech = header.metadata.get("clip.has_gen_audio_encoder") is True
    if not found and not has_speech:
        raise InvalidGguf("The projector says of no encoder that it has it (clip.has_*_encoder).")
    on_gpu = n_gpus > 0
    speech = ("speech",) if has_speech else ()
    parts = [_encoder(header, m, len(found) > 1 or has_speech, on_gpu) for m in (*found, *speech)]
    terms = [Term("projector", 0)] * (n_gpus + 1)
    for i in (0, n_gpus) if on_gpu else (0,):
        is_host = i == n_gpus
        terms[i] = _sum([p.host if is_host else p.gpu for p in parts])
    return terms


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one encoder takes on the first GPU and on the host."""

    gpu: Term
    host: Term


def _encoder(header: Header, modality: str, is_mixed: bool, on_gpu: bool) -> _Parts:
    weights = _encoder_weights(header, modality, is_mixed, on_gpu)
    buffers = None if modality == "speech" else _buffers(header, modality, on_gpu)
    if buffers is None:
        graph, high = weights // 2, 4 * weights
        guess = Term(
            "projector", weights + graph, Basis.ESTIMATED, weights, weights + high, _NO_OWN_GRAPH
        )
        return _Parts(guess, Term("projector", 0)) if on_gpu else _Parts(guess, guess)
    own = weights if on_gpu else 0
    return _Parts(
        _with_graph(own, buffers.gpu, buffers),
        _with_graph(weights - own, buffers.host, buffers),
    )


def _with_graph(weights: int, graph: int, buffers: EncoderBuffers) -> Term:
    if buffers.is_exact:
        note = _AT_WARMUP if buffers.grows and graph else ""
        return Term("projector", weights + graph, note=note)
    best, low, high = (weights + graph * percent // 100 for percent in STAND_IN_PERCENTS)
    return Term("projector", best, Basis.ESTIMATED, low, high, _NO_OWN_GRAPH)


def _sum(terms: Sequence[Term]) -> Term:
    """Add up several encoders' terms."""
    total = sum(t.n_bytes for t in terms)
    if all(t.basis is Basis.EXACT for t in terms):
        return Term("projector", total, note=terms[0].note)
    low, high = sum(t.low_bytes for t in terms), sum(t.high_bytes for t in terms)
    return Term("projector", total, Basis.ESTIMATED, low, high, _NO_OWN_GRAPH)


STAND_IN_PERCENTS = (120, 70, 250)
"""Best guess, least and most of a graph, in percent of its stand-in's.

Had the projectors with a graph of their own been guessed by the stand-in, the truth would
have been 82 to 201 percent of it on the GPU, and half of them within 10 percent.
"""

_AT_WARMUP = "graph of the warm-up picture; larger pictures or several at once take more"
_NO_OWN_GRAPH = "weights exact, graph estimated"


def _buffers(header: Header, modality: str, on_gpu: bool) -> EncoderBuffers | None:
    """Reserve an encoder's graph, or None where the header's shapes do not make one."""
    try:
        return encoder_buffers(header, modality, on_gpu=on_gpu)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        return None


_SHARED = ("v.class_embd", "v.patch_embd.", "v.norm_embd.", "v.deepstack.")
"""Tensors that an audio encoder loads as well: the loader's names have no prefix there."""

_LIMITS = (".input_max", ".input_min", ".output_max", ".output_min")
"""Scalars that are read into the graph's parameters."""

_BLOCK_NUMBER = re.compile(r"[av]\.(?:blk|deepstack)\.(\d+)\.")


def _encoder_weights(header: Header, modality: str, is_mixed: bool, on_gpu: bool) -> int:
    """Weights that one encoder loads, padded.  [bytes]"""
    n_layer = header.metadata.get(f"clip.{modality}.block_count")

    def loads(name: str) -> bool:
        if name.endswith(_LIMITS) or name.startswith("model."):
            return False
        block = _BLOCK_NUMBER.match(name)
        if block and isinstance(n_layer, int) and int(block[1]) >= n_layer:
            return False
        is_speech = name.startswith("a.gen.")
        if modality == "speech" or is_speech:
            return modality == "speech" and is_speech
        is_audio = name.startswith(("a.", "mm.a."))
        if modality == "audio":
            return is_audio or not is_mixed or name.startswith(_SHARED)
        return not is_audio

    return sum(_padded(info, on_gpu) for name, info in header.tensors.items() if loads(name))


def _padded(info: TensorInfo, on_gpu: bool) -> int:
    align = ALIGNMENT if on_gpu else HOST_ALIGNMENT
    n = info.n_bytes
    rest = info.shape[0] % ROW_PADDING
    if on_gpu and rest and TYPES[info.type].is_quantized:
        n += row_bytes(info.type, ROW_PADDING - rest)
    return -(-n // align) * align
