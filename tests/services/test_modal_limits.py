"""What serving on Modal rents: within its containers' memory and within the budget."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.ggufs import header, llama, write

from ggufctl.core.engine_log import Failure, FailureKind
from ggufctl.core.money import MAX_CONTAINER_MIB
from ggufctl.core.runtime import Runtime
from ggufctl.errors import DoesNotFit
from ggufctl.services.modal.fallback import next_step
from ggufctl.services.modal.plan import ModalPlan, ModalRequest, plan_modal

HOST = Failure(FailureKind.OOM_HOST, "The host's memory ran out.")


@pytest.fixture
def experts(tmp_path: Path) -> Path:
    """A mixture of 64 experts, some 140 GiB, most of it experts."""
    metadata, tensors = llama(n_layer=32, n_embd=4096, n_vocab=32000, n_merges=10, type_="q4_K")
    metadata |= {
        "llama.expert_count": 64,
        "llama.expert_used_count": 2,
        "llama.context_length": 8192,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 16,
    }
    found = []
    for tensor in tensors:
        if ".ffn_" in tensor.name and "norm" not in tensor.name:
            name = tensor.name.replace(".weight", "_exps.weight")
            found.append(tensor._replace(name=name, shape=(*tensor.shape, 64)))
            if ".ffn_up." in tensor.name:
                gate = tensor.name.replace("ffn_up", "ffn_gate_inp")
                found.append(tensor._replace(name=gate, type="f32", shape=(4096, 64)))
        else:
            found.append(tensor)
    return write(tmp_path / "moe-Q4_K_M.gguf", *header(metadata, found))


def planned(path: Path, budget: float | None = None) -> ModalPlan:
    runtime = Runtime(n_cpu_moe=32)
    return plan_modal(
        ModalRequest(
            model=str(path), runtime=runtime, n_ctx=4096, gpus=("L4:1",), max_usd_per_hour=budget
        )
    )


def test_the_budget_of_a_launch_counts_the_memory_that_it_will_ask_for(experts):
    free = planned(experts)

    assert free.spec.memory_mib <= MAX_CONTAINER_MIB
    assert free.usd_per_hour > 1.5
    with pytest.raises(DoesNotFit, match="for host memory"):
        planned(experts, budget=1.0)


def test_more_host_memory_is_tried_within_the_budget_and_within_what_there_is(experts):
    free = planned(experts)
    doubled = next_step(free, HOST, 1)
    counted = free.row.counted_usd_per_hour

    assert doubled is not None
    assert doubled.plan.spec.memory_mib == 2 * free.spec.memory_mib <= MAX_CONTAINER_MIB
    assert next_step(doubled.plan, HOST, 2) is None
    assert next_step(planned(experts, budget=counted), HOST, 1) is None


@pytest.mark.parametrize("kind", [FailureKind.OOM_WEIGHTS, FailureKind.OOM_KV])
def test_shares_are_given_up_before_a_larger_gpu_is_rented(tmp_path, kind):
    metadata, tensors = llama(n_layer=32, n_embd=4096, n_vocab=32000, n_merges=10, type_="q4_K")
    path = write(tmp_path / "m-Q4_K_M.gguf", *header(metadata, tensors))
    request = ModalRequest(
        model=str(path), runtime=Runtime(tensor_split="3,1"), n_ctx=4096, gpus=("L4:2",)
    )
    now = plan_modal(request)
    step = next_step(now, Failure(kind, "A GPU ran out of memory."), 1)

    assert step is not None
    assert step.text == "layers divided by what GPUs have free (-ts 0)"
    assert step.plan.runtime.tensor_split == ()
    assert step.plan.row.label == now.row.label == "2×L4"
    assert step.plan.row.used_bytes < now.row.used_bytes
