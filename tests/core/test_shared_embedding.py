"""CodeShell files that hold one matrix for both ends: llama.cpp loads it twice."""

from __future__ import annotations

from tests.ggufs import Tensor, header

from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime

N_EMBD, N_VOCAB, N_LAYER = 512, 512, 2


def shape(*, has_embedding: bool) -> ModelShape:
    metadata = {
        "general.architecture": "codeshell",
        "codeshell.block_count": N_LAYER,
        "codeshell.context_length": 4096,
        "codeshell.embedding_length": N_EMBD,
        "codeshell.feed_forward_length": 2 * N_EMBD,
        "codeshell.attention.head_count": 4,
        "codeshell.attention.head_count_kv": 2,
        "codeshell.attention.layer_norm_epsilon": 1e-5,
    }
    tensors = [Tensor("token_embd.weight", "q8_0", (N_EMBD, N_VOCAB))] * has_embedding
    for i in range(N_LAYER):
        for name, size in (
            ("attn_norm", (N_EMBD,)),
            ("attn_q", (N_EMBD, N_EMBD)),
            ("attn_k", (N_EMBD, N_EMBD // 2)),
            ("attn_v", (N_EMBD, N_EMBD // 2)),
            ("attn_output", (N_EMBD, N_EMBD)),
            ("ffn_norm", (N_EMBD,)),
            ("ffn_up", (N_EMBD, 2 * N_EMBD)),
            ("ffn_down", (2 * N_EMBD, N_EMBD)),
        ):
            type_ = "f32" if len(size) == 1 else "q8_0"
            tensors.append(Tensor(f"blk.{i}.{name}.weight", type_, size))
            tensors.append(Tensor(f"blk.{i}.{name}.bias", "f32", (size[-1],)))
    tensors += [
        Tensor("output_norm.weight", "f32", (N_EMBD,)),
        Tensor("output_norm.bias", "f32", (N_EMBD,)),
        Tensor("output.weight", "q8_0", (N_EMBD, N_VOCAB)),
    ]
    return ModelShape(parse_header(*header(metadata, tensors)))


def test_the_output_matrix_is_loaded_a_second_time_beside_itself():
    matrix_bytes = N_VOCAB * N_EMBD // 32 * 34

    own = estimate_memory(shape(has_embedding=True), Runtime(), ("H100",))
    shared = estimate_memory(shape(has_embedding=False), Runtime(), ("H100",))

    assert own.host.weights_bytes == matrix_bytes
    assert shared.host.weights_bytes == 0
    assert shared.devices[0].weights_bytes == own.devices[0].weights_bytes + matrix_bytes
    assert shared.has_graph
