"""What helps at a failed check or an exception depends on what failed, and in which part."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import Diagnosis, LogReport, diagnose_chunks
from ggufctl.core.signatures.checks import BY_CONDITION, BY_PLACE, EXCEPTIONS

PLACES = (
    ("mtmd/clip.cpp:3531: GGML_ASSERT(n_pos == 2) failed", "--no-mmproj-offload"),
    ("common/speculative.cpp:1378: GGML_ASSERT(ctx_dft) failed", "Leave speculation out"),
    ("src/llama-sampler.cpp:29: GGML_ASSERT(k > 0) failed", "samplers back to their defaults"),
    ("src/llama-kv-cache.cpp:507: GGML_ASSERT(is_full) failed", "--cache-ram 0"),
    ("ggml-vulkan/ggml-vulkan.cpp:6078: GGML_ASSERT(d_D) failed", "GGML_VK_DISABLE_FUSION=1"),
    ("ggml-sycl/dmmv.cpp:448: GGML_ASSERT(ncols) failed", "Vulkan build"),
    ("ggml-metal/ggml-metal-ops.cpp:2657: GGML_ASSERT(ne11) failed", "GGML_METAL_FUSION_DISABLE"),
    ("ggml-opencl/ggml-opencl.cpp:9443: GGML_ASSERT(ne10 == 1) failed", "Adreno"),
    ("ggml-webgpu/ggml-webgpu.cpp:136: parameter arena exhausted", "young"),
    ("ggml-cuda/fattn.cu:579: fatal error", "GGML_CUDA_DISABLE_GRAPHS=1"),
    ("ggml-cpu/ops.cpp:4569: fatal error", "--no-repack"),
    ("src/models/qwen35.cpp:467: GGML_ASSERT(n_embd > 0) failed", "newer conversion"),
    ("ggml-backend.cpp:1188: GGML_ASSERT(n_copies) failed", "one device alone"),
)
CONDITIONS = (
    ("ggml.c:341: GGML_ASSERT(mem_buffer != NULL) failed", "paging"),
    ("src/llama-mmap.cpp:648: GGML_ASSERT(addr) failed", "--mlock"),
    ("ggml-cpu.c:8471: GGML_ASSERT(i01 >= 0 && i01 < ne01) failed", "longer than the model"),
    ("ggml.c:22112: GGML_ASSERT(info->ne[i] > 0) failed", "sha256"),
    ("ggml.c:1568: GGML_ASSERT(type >= 0 && type < GGML_TYPE_COUNT) failed", "newer build"),
    ("ggml-backend.cpp:1456: GGML_ASSERT(n_inputs < GGML_SCHED_MAX_SPLIT_INPUTS)", "devices"),
    ("ggml-backend.cpp:2081: GGML_ASSERT(tensor->data != NULL) failed", "lower -c and -ub"),
    ("ggml-cpu/unary-ops.cpp:150: unsupported types: dst: f16, src0: q4_0", "compute elsewhere"),
)
ENDS = (
    ("Unexpected empty grammar stack after accepting piece: x", "thinking off"),
    ("filesystem error: status: Value too large for defined data type [/m]", "LLAMA_CACHE"),
    ("Resource temporarily unavailable", "ulimit -u"),
    ("regex_error(error_stack): too much memory", "ulimit -s"),
    ("map::at:  key not found", "newer build"),
)


def first_of(log: str) -> Diagnosis:
    *_, report = diagnose_chunks([log.encode()])
    assert isinstance(report, LogReport)
    return report.diagnoses[0]


@pytest.mark.parametrize(("check", "advice"), (*PLACES, *CONDITIONS), ids=lambda v: v[:40])
def test_advice_suits_the_part_that_checked_and_what_it_checked(check, advice):
    found = first_of(f"/src/{check}\n")

    assert found.id == "failed-check"
    assert advice in " ".join(found.fix)


@pytest.mark.parametrize(("what", "advice"), ENDS, ids=lambda v: v[:40])
def test_advice_suits_the_kind_of_exception(what, advice):
    head = "terminate called after throwing an instance of 'std::runtime_error'\n"

    assert advice in " ".join(first_of(f"{head}  what():  {what}\n").fix)


def test_every_part_has_advice_of_its_own():
    advice = [variant.fix for variant in (*BY_CONDITION, *BY_PLACE, *EXCEPTIONS)]

    assert len(set(advice)) == len(advice)


@pytest.mark.parametrize(
    "line",
    [
        "ggml_opencl: selected platform: 'QUALCOMM Snapdragon(TM)'",
        "set_sampler: backend sampling not supported with SPLIT_MODE_TENSOR; using CPU",
    ],
)
def test_what_an_engine_tells_on_its_way_is_not_blamed(line):
    *_, report = diagnose_chunks([f"{line}\n".encode()])

    assert isinstance(report, LogReport)
    assert report.diagnoses == ()
