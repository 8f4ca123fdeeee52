"""What graphs share: between contexts, between numbers of GPUs, and with a probe of their own."""

from __future__ import annotations

import random

import pytest
from tests.truth.recorded import headers

from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime

PARTS = 4

CONTEXTS = (256, 512, 768, 2048, 4096, 8192, 40960, 131072)


def part_of(part: int, every: int) -> list[str]:
    """Every n-th recorded model, cut into parts for workers to share."""
    return sorted(headers())[::every][part::PARTS]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_graph_made_for_one_context_serves_others_as_their_own_would(part):
    choose = random.Random(part)
    for name in part_of(part, 14):
        shared = ModelShape(headers()[name])
        n_gpus = choose.choice((0, 1, 1, 2, 3))
        settings = {
            "n_parallel": choose.choice((1, 3)),
            "kv_unified": choose.choice((None, False)),
            "cache_type_k": choose.choice(("f16", "q8_0")),
            "flash_attn": choose.choice(("auto", "auto", "off")),
        }
        for n_ctx in choose.sample(CONTEXTS, 4):
            runtime = Runtime(n_ctx=n_ctx, **settings)
            own = ModelShape(headers()[name])

            assert estimate_memory(shared, runtime, ("",) * n_gpus) == estimate_memory(
                own, runtime, ("",) * n_gpus
            ), f"{name} {runtime} on {n_gpus}"


@pytest.mark.parametrize(
    "name",
    [
        "Llama-3.1-405B-Q4_K_M",
        "DeepSeek-V3-R1-Q4_K_M",
        "Qwen3-235B-IQ4_XS",
        "Gemma-3-27B-Q4_K_M",
        "Qwen3-VL-235B-Q4_K_M",
        "Kimi-K2-Q4_K_M",
    ],
)
def test_many_gpus_have_the_buffers_of_few_where_their_blocks_are_alike(name):
    shape = ModelShape(headers()[name])
    runtime = Runtime(n_ctx=8192)
    for n_gpus in (4, 5, 8, 7):
        found = estimate_memory(shape, runtime, ("",) * n_gpus)

        assert found == estimate_memory(shape, runtime, ("",) * n_gpus, fold=False)


def test_numbers_of_gpus_share_their_graphs():
    shape = ModelShape(headers()["Llama-3.1-405B-Q4_K_M"])
    runtime = Runtime(n_ctx=8192)
    estimate_memory(shape, runtime, ("",) * 4)
    known = len(shape.graphs.programs)

    estimate_memory(shape, runtime, ("",) * 8)
    estimate_memory(shape, runtime.with_(n_ctx=65536), ("",) * 6)

    assert len(shape.graphs.programs) == known


@pytest.mark.parametrize("part", range(PARTS))
def test_a_prompt_tells_what_a_probe_of_few_tokens_finds_out(part):
    for name in part_of(part, 6):
        shape = ModelShape(headers()[name])
        for n_gpus in (1, 2):
            runtime = Runtime(n_ctx=4096, n_parallel=1)
            # What llama.cpp's own dry run does is always probed.
            probed = estimate_memory(shape, runtime, ("",) * n_gpus, dry_run=True)

            assert estimate_memory(shape, runtime, ("",) * n_gpus).flash_attn == probed.flash_attn


def test_what_is_explained_is_what_is_planned():
    shape = ModelShape(headers()["Llama-3.1-8B-Q4_K_M"])
    runtime = Runtime(n_ctx=8192)
    plain = estimate_memory(shape, runtime, ("", ""))
    explained = estimate_memory(shape, runtime, ("", ""), explain=True)

    for ours, other in zip(plain.devices, explained.devices, strict=True):
        assert ours.compute_bytes == other.compute_bytes
        assert other.peak[0].n_bytes >= other.peak[-1].n_bytes > 0
        assert sum(live.n_bytes for live in other.peak) <= other.compute_bytes
