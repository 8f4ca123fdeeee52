"""What is tried where memory ran out."""

from __future__ import annotations

import pytest
from tests.ggufs import header, llama

from ggufctl.core.engine_log import FailureKind
from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape
from ggufctl.core.reduce import reductions
from ggufctl.core.runtime import Runtime


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        (Runtime(n_ctx=10_000_000, cache_type_k="q8_0"), 4096),
        (Runtime(n_ctx=10_000_000, n_parallel=4, kv_unified=False, cache_type_k="q8_0"), 16384),
        (Runtime(n_ctx=4096, cache_type_k="q8_0"), 2048),
    ],
)
def test_a_shorter_context_is_never_longer_than_the_models_own(runtime, expected):
    shape = ModelShape(parse_header(*header(*llama(llama__context_length=4096))))
    steps = reductions(shape, runtime, FailureKind.OOM_HOST, n_gpus=0)

    assert [step.runtime.n_ctx for step in steps] == [expected]


@pytest.mark.parametrize(
    "kind",
    [
        *(FailureKind.OOM_WEIGHTS, FailureKind.OOM_KV),
        *(FailureKind.OOM_COMPUTE, FailureKind.OOM_RUNTIME),
    ],
)
def test_shares_that_somebody_wrote_go_before_anything_that_is_missed(kind):
    shape = ModelShape(parse_header(*header(*llama())))
    runtime = Runtime(n_ctx=4096, tensor_split="1,0")

    def flags(runtime: Runtime, n_gpus: int) -> list[str]:
        return [step.flags[0] for step in reductions(shape, runtime, kind, n_gpus=n_gpus)]

    first, *others = flags(runtime, 2)

    assert first == "-ts"
    assert others == flags(runtime.with_(tensor_split=()), 2) == flags(runtime, 1)
    assert "-ts" not in flags(runtime.with_(split_mode="none"), 2)
    assert "-ts" not in flags(runtime.with_(tensor_split="0"), 2)


def test_host_memory_is_not_helped_by_dividing_layers_among_gpus():
    shape = ModelShape(parse_header(*header(*llama())))
    runtime = Runtime(n_ctx=4096, tensor_split="1,0")
    steps = reductions(shape, runtime, FailureKind.OOM_HOST, n_gpus=2)

    assert "-ts" not in [step.flags[0] for step in steps]


def test_experts_go_to_the_host_only_where_the_engine_can_put_them_there():
    metadata, tensors = llama(llama__expert_count=8, llama__expert_used_count=2)
    shape = ModelShape(parse_header(*header(metadata, tensors)))
    kind, runtime = FailureKind.OOM_WEIGHTS, Runtime(n_ctx=4096)
    able, unable = (
        [step.flags[0] for step in reductions(shape, runtime, kind, n_gpus=1, engine=engine)]
        for engine in ("llama-server", "llama-cpp-python")
    )

    assert able[0] == "-ncmoe"
    assert unable == able[1:]
    assert "-ngl" in unable
