"""Builds of llama.cpp beside the pinned one."""

from __future__ import annotations

import pytest
from tests.ggufs import header, llama
from tests.serving import model_path
from tests.truth import recorded

from ggufctl.core.builds import PINNED, as_built_by, build_of, with_bindings, with_range
from ggufctl.core.estimate import Basis
from ggufctl.core.header import parse_header
from ggufctl.core.launch import engine_runtime
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime
from ggufctl.errors import UnsupportedModel

MIB = 1 << 20
MEASURED = build_of("llama-cpp-python", "0.3.36")


@pytest.fixture(scope="module")
def smollm2() -> ModelShape:
    return ModelShape(parse_header(*_start(model_path())))


def _start(path):
    raw = path.read_bytes()
    return raw, len(raw)


def tiny(**extra) -> ModelShape:
    raw, size = header(*llama(**extra))
    return ModelShape(parse_header(raw, size))


# What llama-cpp-python 0.3.36 printed when it ended, of its compute buffer on a CPU.  [MiB]
@pytest.mark.parametrize(
    ("settings", "mib"),
    [
        ({"n_ctx": 8192}, 98.2520),
        ({"n_ctx": 32768}, 98.2520),
        ({"n_ctx": 2048}, 102.5137),
        ({"n_ctx": 512, "n_ubatch": 256}, 49.1260),
        ({"n_ctx": 8192, "flash_attn": "off"}, 166.3848),
    ],
)
def test_a_build_without_mixed_batches_needs_what_it_printed(smollm2, settings, mib):
    runtime = engine_runtime("llama-cpp-python", Runtime(**settings))

    found = estimate_memory(as_built_by(MEASURED, smollm2), runtime, ())

    assert found.host.compute_bytes / MIB == pytest.approx(mib, abs=0.0001)
    assert found.host.compute_bytes < estimate_memory(smollm2, runtime, ()).host.compute_bytes


def test_the_pinned_build_and_those_after_it_are_planned_as_they_are(smollm2):
    assert build_of("llama-server", "b11434") is build_of("xllamacpp", "b11549") is PINNED
    assert as_built_by(PINNED, smollm2) is smollm2


def test_a_build_that_was_compared_has_no_range_on_a_cpu_and_another_one_has():
    shape = tiny()
    estimate = estimate_memory(shape, Runtime(n_ctx=512), ())
    other = with_range(build_of("llama-cpp-python", "0.9.9"), shape, estimate).host.compute

    assert with_range(MEASURED, shape, estimate) == estimate
    assert other.low_bytes < other.n_bytes < other.high_bytes
    assert other.basis is Basis.DERIVED
    assert "llama-cpp-python 0.9.9" in other.note


def test_shared_experts_have_a_range_on_gpus_alone():
    metadata, tensors = llama()
    tensors += [t._replace(name="blk.0.ffn_up_shexp.weight") for t in tensors[-1:]]
    shape = ModelShape(parse_header(*header(metadata, tensors)))
    estimate = estimate_memory(tiny(), Runtime(n_ctx=512), ("L4",))
    found = with_range(MEASURED, shape, estimate)

    assert found.host == estimate.host
    assert found.devices[0].compute.low_bytes < found.devices[0].compute.n_bytes
    assert with_range(MEASURED, tiny(), estimate) == estimate


def test_an_architecture_that_a_build_has_otherwise_is_refused_with_an_engine_that_has_it():
    shape = tiny()
    shape.hp.arch = "qwen4exp"
    with pytest.raises(UnsupportedModel) as error:
        as_built_by(MEASURED, shape)

    assert "llama-cpp-python 0.3.36" in error.value.message
    assert "--engine llama-server" in error.value.hint


def test_embeddings_are_one_sequence_per_token_of_a_batch():
    found = engine_runtime("llama-cpp-python", Runtime(n_ctx=512, n_batch=128, embeddings=True))

    assert (found.n_seq_max, found.is_unified) == (128, True)
    assert engine_runtime("xllamacpp", Runtime(n_parallel=3)) == Runtime(n_parallel=3)


def test_a_sliding_window_is_cached_in_full_and_flash_attention_is_decided():
    found = engine_runtime("llama-cpp-python", Runtime(n_ctx=512))

    assert found.swa_full
    assert found.flash_attn == "on"
    assert (found.n_seq_max, found.n_outputs) == (1, 0)


def test_t5_hands_its_encoders_result_over_beside_the_logits():
    shape = recorded.shape("Flan-T5-base-F16")
    found = estimate_memory(shape, Runtime(n_ctx=512, n_parallel=1), ()).host

    assert found.output_bytes == 4 * (32128 + 768)


def test_python_takes_host_memory_of_its_own_with_a_range():
    shape, runtime = tiny(), Runtime(n_ctx=4096, n_batch=512)
    estimate = estimate_memory(shape, runtime, ())
    found = with_bindings(estimate, shape, runtime).host
    (term,) = found.extras

    assert term.low_bytes < term.n_bytes < term.high_bytes
    arrays = 512 * 4096 + 4 * 4096 + 12 * shape.hp.n_vocab
    assert term.n_bytes == 80 * MIB + arrays
    assert found.total_bytes == estimate.host.total_bytes + term.n_bytes
