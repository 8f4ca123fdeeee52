"""Buffers out of stamps are those of the whole graph."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.truth.recorded import headers

from ggufctl.core.compat import settled
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime
from ggufctl.core.stamping import shortened

SETTINGS = (
    Runtime(n_ctx=8192),
    Runtime(n_ctx=3000, n_parallel=4, cache_type_k="q8_0", cache_type_v="q8_0"),
    Runtime(n_ctx=16384, n_parallel=2, kv_unified=False, n_ubatch=128),
    Runtime(n_ctx=2048, n_parallel=16, n_ubatch=64, flash_attn="off"),
)

STAMPED = (
    "Llama-3.1-70B-Q4_K_M",
    "Qwen3-30B-A3B-Q4_K_M",
    "Qwen3-Next-80B-Q4_K_M",
    "GLM-4.5-UD",
    "Llama-4-Scout-Q4_K_M",
    "gpt-oss-120b-F16",
    "Command-A-111B-Q4_K_M",
    "DeepSeek-V3-R1-Q4_K_M",
    # A block begins before the former one is done.
    "Mamba-130M-F16",
    "Codestral-Mamba-7B-Q4_K_M",
    "RWKV6-7B-Q4_K_M",
    "LFM2-1.2B-Q8_0",
    "LFM2-8B-A1B-F16",
    "Granite-4-H-1B-Q4_K_M",
    "Granite-4-H-Small-UD",
    "Jamba-Reasoning-3B-Q4_K_M",
    "Nemotron-3-Nano-30B-Q4_K_M",
    # That end has a part that is moved to where the block's is.
    "Ling-3-x-Q4_K_M",
    # Blocks fill tensors that nothing computes, and take over the place of an input.
    "GLM-5-Q4_K_M",
    "DeepSeek-V3.2-Q4_K_M",
    # Each block has an input of its own.
    "Flan-T5-base-Q8_0",
    "T5-XXL-encoder-Q8_0",
    "Qwen3-VL-8B-Q4_K_M",
    # The host computes an operation of each block.
    "Mistral-Small-4-Q4_K_M",
)
"""Models whose every estimate on GPUs is made of stamps."""

OVERLAPPING = (
    "Mamba-130M-F16",
    "RWKV6-7B-Q4_K_M",
    "LFM2-1.2B-Q8_0",
    "Granite-4-H-1B-Q4_K_M",
    "Jamba-Reasoning-3B-Q4_K_M",
    "Nemotron-3-Nano-30B-Q4_K_M",
    "Ling-3-x-Q4_K_M",
    "Mistral-Small-4-Q4_K_M",
)
"""Models of which the next GPU begins before the former one is done."""

ON_ONE_GPU = (
    "Gemma-4-E2B-Q4_K_M",
    "Gemma-3n-E2B-Q4_K_M",
    "RWKV7-G1-0.1B-F16",
    "DeciLM-49B-Q4_K_M",
)
"""Models whose blocks read what others than the one before computed: stamped for one GPU."""

REFUSED = (
    "Nemotron-Nano-9B-v2-Q4_K_M",
    "Llama-3-8B-TQ-TQ1_0",
)
"""Models whose blocks do more than follow each other, or compute on the host."""


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60))
def test_a_shortened_model_has_the_pairs_of_the_whole_one_and_no_others(kinds: list[str]) -> None:
    chosen = shortened(kinds)
    assert chosen[0] == 0
    assert chosen[-1] == len(kinds) - 1
    assert chosen == sorted(set(chosen))
    assert set(pairwise(kinds[il] for il in chosen)) == set(pairwise(kinds))


def test_a_model_of_equal_blocks_is_shortened_to_three() -> None:
    assert shortened("x" * 80) == [0, 1, 79]


def _stamps_of(shape: ModelShape) -> list[bool]:
    return [each.stamped is not None for known in shape.graphs.stamps.values() for each in known]


@pytest.mark.parametrize("name", STAMPED)
def test_common_models_are_made_of_stamps_on_any_number_of_gpus(name: str) -> None:
    shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
    for runtime in SETTINGS[:2]:
        for n in (1, 2, 7):
            stamped = estimate_memory(shape, runtime, ("",) * n)
            assert stamped == estimate_memory(whole, runtime, ("",) * n, fold=False)
    assert _stamps_of(shape)
    assert all(_stamps_of(shape))
    assert not shape.graphs.programs


@pytest.mark.parametrize("name", ON_ONE_GPU)
def test_what_is_read_from_afar_is_stamped_for_one_gpu_and_built_for_several(name: str) -> None:
    shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
    for runtime in SETTINGS[:2]:
        for n in (1, 2, 5):
            found = estimate_memory(shape, runtime, ("",) * n)
            assert found == estimate_memory(whole, runtime, ("",) * n, fold=False)
            assert bool(shape.graphs.programs) is (n > 1)
        shape.graphs.programs.clear()
    assert all(_stamps_of(shape))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_stamped_is_built_for_its_gpus(name: str) -> None:
    shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
    for n in (1, 3):
        found = estimate_memory(shape, SETTINGS[0], ("",) * n)
        assert found == estimate_memory(whole, SETTINGS[0], ("",) * n, fold=False)
    assert not any(_stamps_of(shape))
    assert shape.graphs.programs


@pytest.mark.parametrize("place", range(8))
def test_stamps_of_every_architecture_add_up_to_its_whole_graph(place: int) -> None:
    small = sorted(name for name in headers() if name.startswith(("tiny-", "mid-")))
    for i, name in enumerate(small[place::8]):
        shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
        runtime = settled(shape, SETTINGS[i % len(SETTINGS)])
        for n in (1, 2 + i % 3):
            stamped = estimate_memory(shape, runtime, ("",) * n)
            assert stamped == estimate_memory(whole, runtime, ("",) * n, fold=False), name


def test_stamps_hold_for_uneven_shares_and_gpus_without_a_block() -> None:
    header = headers()["Qwen3-30B-A3B-Q4_K_M"]
    for shares in ((1.0, 3.0), (5.0, 1.0, 0.01, 5.0)):
        gpus = ("",) * len(shares)
        stamped, whole = (
            estimate_memory(
                ModelShape(header), SETTINGS[0], gpus, proportions=shares, fold=is_folded
            )
            for is_folded in (True, False)
        )
        assert stamped == whole


@pytest.mark.parametrize("name", OVERLAPPING)
def test_stamps_hold_for_gpus_with_one_block_or_two_that_end_late(name: str) -> None:
    shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
    n_alone = set()
    choose = random.Random(name)
    for i, n in enumerate((2, 3, 5, 6, 8, 8)):
        shares = [choose.choice((0.02, 0.05, 0.1, 0.5, 1.0)) for _ in range(n)]
        gpus, runtime = ("",) * n, SETTINGS[i % len(SETTINGS)]
        stamped = estimate_memory(shape, runtime, gpus, proportions=shares)
        assert stamped == estimate_memory(whole, runtime, gpus, proportions=shares, fold=False)
        where = shape.placed(n, runtime, shape.context_params(runtime), shares).placement
        n_alone |= set(Counter(where.layer_backends).values())
    assert n_alone >= {1, 2}
    assert all(_stamps_of(shape))


@pytest.mark.parametrize("place", range(8))
def test_stamps_of_every_kind_of_real_model_add_up_to_its_whole_graph(place: int) -> None:
    real = {
        header.architecture: name
        for name, header in headers().items()
        if not name.startswith(("tiny-", "mid-"))
    }
    for i, name in enumerate(sorted(real.values())[place::8]):
        shape, whole = ModelShape(headers()[name]), ModelShape(headers()[name])
        runtime = settled(shape, SETTINGS[(i + place) % len(SETTINGS)])
        for n in (1, 2 + i % 7):
            stamped = estimate_memory(shape, runtime, ("",) * n)
            assert stamped == estimate_memory(whole, runtime, ("",) * n, fold=False), name


def test_one_graph_serves_all_contexts_and_numbers_of_gpus() -> None:
    shape = ModelShape(headers()["Llama-3.1-70B-Q4_K_M"])
    for n_ctx in (4096, 8192, 131072):
        for n in (1, 2, 4, 8):
            estimate_memory(shape, Runtime(n_ctx=n_ctx), ("",) * n)
    assert _stamps_of(shape) == [True]
