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
    steps = reductions(shape, runtime, FailureKind.OOM_HOST, on_gpu=False)

    assert [step.runtime.n_ctx for step in steps] == [expected]
