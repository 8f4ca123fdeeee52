"""Weights and caches that are put elsewhere than their blocks, as `-ot` and `-nkvo` do."""

from __future__ import annotations

import pytest
from tests.ggufs import header, llama

from ggufctl.catalog import load_catalogue
from ggufctl.core.compat import check_gpus
from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.plan import engine_args
from ggufctl.core.planner import Planner
from ggufctl.core.runtime import Runtime
from ggufctl.errors import RefusedSettings, UsageError

SETTINGS = {"n_ctx": 4096, "n_parallel": 1, "load_mode": "none"}


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return ModelShape(parse_header(*header(*llama(n_layer=8, n_embd=512, type_="q8_0"))))


def estimate(shape: ModelShape, n_gpus: int = 1, **settings: object):
    return estimate_memory(shape, Runtime(**SETTINGS, **settings), ("H100",) * n_gpus)


def test_an_override_moves_the_weights_it_names_and_no_others(shape):
    plain, moved = estimate(shape), estimate(shape, override_tensor=r"blk\.[0-3]\.ffn_down=CPU")
    size = sum(
        info.n_bytes for name, info in shape.hp.tensors.items() if "ffn_down" in name
    )  # of 8 blocks

    assert plain.devices[0].weights_bytes - moved.devices[0].weights_bytes == size // 2
    assert moved.host.weights_bytes - plain.host.weights_bytes == size // 2


def test_the_first_override_that_matches_counts(shape):
    overrides = ("blk.0.ffn_down=CUDA0", "ffn_down=CPU")
    one, none = estimate(shape, override_tensor=overrides), estimate(shape)
    size = shape.hp.tensors["blk.0.ffn_down.weight"].n_bytes

    assert none.devices[0].weights_bytes - one.devices[0].weights_bytes == 7 * size


def test_any_override_ends_pipelining_over_several_gpus(shape):
    assert estimate(shape, 2).n_copies > 1
    assert estimate(shape, 2, override_tensor="no such tensor=CPU").n_copies == 1
    assert estimate(shape, 2, no_kv_offload=True).n_copies == 1


def test_a_cache_that_is_not_offloaded_lies_on_the_host(shape):
    plain, moved = estimate(shape), estimate(shape, no_kv_offload=True)

    assert moved.devices[0].kv_cache_bytes == 0
    assert moved.host.kv_cache_bytes == plain.devices[0].kv_cache_bytes
    assert moved.devices[0].weights_bytes == plain.devices[0].weights_bytes


def test_one_text_holds_several_overrides_as_llama_server_reads_them():
    runtime = Runtime(n_ctx=512, override_tensor="ffn=CPU,attn=CUDA1", no_kv_offload=True)

    assert runtime.override_tensor == ("ffn=CPU", "attn=CUDA1")
    assert runtime.least_gpus == 2
    assert engine_args(runtime)[4:] == ("-ot", "ffn=CPU,attn=CUDA1", "-nkvo", "-fit", "off")


@pytest.mark.parametrize(
    "given",
    ["ffn", "ffn=", "ffn=GPU0", "ffn=CUDA", "(=CPU", "(?i)ffn=CPU", "(?<=a)b=CPU", "a*+=CPU", 5],
)
def test_what_llama_cpp_would_not_take_as_an_override_is_a_usage_error(given):
    with pytest.raises(UsageError, match=r"override of a tensor|regular expression"):
        Runtime(override_tensor=given)


@pytest.mark.parametrize(("n_gpus", "words"), [(0, "no GPU"), (1, "1 GPU"), (2, "CUDA0 to CUDA1")])
def test_an_override_to_a_gpu_that_is_not_there_is_refused(n_gpus, words):
    runtime = Runtime(override_tensor="ffn=CUDA2")

    with pytest.raises(RefusedSettings, match=words):
        check_gpus(runtime, n_gpus)
    check_gpus(runtime, 3)


def test_a_planner_has_no_row_for_fewer_gpus_than_an_override_names(shape):
    catalogue = load_catalogue()
    planner = Planner(shape, catalogue)
    runtime = Runtime(**SETTINGS, override_tensor="ffn=CUDA1")

    assert not planner.row(catalogue.find("L4"), 1, runtime).fits
    assert planner.row(catalogue.find("L4"), 2, runtime).fits
