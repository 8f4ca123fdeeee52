"""Quants of one model share their graphs, and need what they would need alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.truth.recorded import headers

from ggufctl.core.compat import settled
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.header import Header, TensorInfo
from ggufctl.core.memory import Graphs, ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime
from ggufctl.core.shapes import graphs_key

PARTS = 8

SETTINGS = (
    (Runtime(n_ctx=8192), 1),
    (Runtime(n_ctx=4096, n_parallel=4, cache_type_k="q8_0", cache_type_v="q8_0"), 2),
    (Runtime(n_ctx=16384, n_parallel=2, n_ubatch=128, flash_attn="off"), 3),
    (Runtime(n_ctx=8192, n_cpu_moe=2), 1),
    (Runtime(n_ctx=8192, n_gpu_layers=3), 1),
)


def requantised(header: Header, seed: int) -> Header:
    """The same model with other quantised types, as another quant of it has."""
    choice = random.Random(seed)
    tensors = {}
    for name, info in header.tensors.items():
        type_ = info.type
        if TYPES[type_].is_quantized:
            wide = ("q2_K", "q4_K", "q6_K", "q8_0", "iq4_xs", "iq2_xxs")
            type_ = choice.choice(wide if info.shape[0] % 256 == 0 else ("q8_0", "q4_0", "iq4_nl"))
        n_rows = info.n_bytes // row_bytes(info.type, info.shape[0])
        size = n_rows * row_bytes(type_, info.shape[0])
        tensors[name] = TensorInfo(name, type_, info.shape, info.offset, size)
    return replace(header, tensors=tensors)


@pytest.mark.parametrize("part", range(PARTS))
def test_another_quant_of_every_model_needs_with_its_graphs_what_it_needs_alone(part: int) -> None:
    n_shared = 0
    for i, name in enumerate(list(headers())[part::PARTS]):
        header, other = headers()[name], requantised(headers()[name], part)
        graphs = Graphs()
        first, alone = ModelShape(header, graphs), ModelShape(other)
        is_alike = graphs_key(header) == graphs_key(other)
        second = ModelShape(other, graphs if is_alike else None)
        n_shared += is_alike
        for wanted, n_gpus in (SETTINGS[i % 3], SETTINGS[3 + i % 2])[: 1 + (i % 3 == 0)]:
            runtime, gpus = settled(first, wanted), ("",) * n_gpus
            estimate_memory(first, runtime, gpus)
            found = estimate_memory(second, runtime, gpus)
            assert found == estimate_memory(alone, runtime, gpus), (name, runtime)
    assert n_shared > len(headers()) / PARTS / 2


def test_other_numbers_have_graphs_of_their_own() -> None:
    header = headers()["Llama-3.1-8B-Q4_K_M"]
    other = replace(header, metadata={**header.metadata, "llama.attention.head_count_kv": 4})
    assert graphs_key(header) == graphs_key(requantised(header, 1))
    assert graphs_key(header) != graphs_key(other)


def test_weights_in_floating_point_have_graphs_of_their_own() -> None:
    header = headers()["Llama-3.1-8B-Q4_K_M"]
    tensors = dict(header.tensors)
    tensors["output.weight"] = tensors["output.weight"]._replace(type="f16")
    assert graphs_key(header) != graphs_key(replace(header, tensors=tensors))


def test_weights_that_are_copied_to_the_host_have_graphs_of_their_own() -> None:
    header = headers()["Mistral-Small-4-Q4_K_M"]
    for part, is_alike in (("ffn_down_exps", False), ("ffn_gate_up_exps", True)):
        name = f"blk.3.{part}.weight"
        tensors = {**header.tensors, name: header.tensors[name]._replace(type="q8_0")}
        other = replace(header, tensors=tensors)
        assert (graphs_key(header) == graphs_key(other)) is is_alike
