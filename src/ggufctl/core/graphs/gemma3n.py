"""Gemma 3n: alternating updates (altup), low-rank residuals (laurel), inputs per layer.

Source: llama.cpp src/models/gemma3n.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

__all__ = ["project_per_layer", "slice_2d"]

N_ALTUP = 4
"""Parallel hidden states (altup_num_inputs); the first one is active."""
N_EMBD_ALTUP = 256
N_LAYER_KV = 20
"""Blocks with a cache of their own; later ones read the last of their kind."""
N_LAYER_SPARSITY = 10
"""First blocks, whose gate keeps only outstanding activations."""


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.loads_output_first = True
    hp.set_swa(hp.integer("attention.sliding_window", 0), 5)
    hp.n_layer_kv_from_start = N_LAYER_KV
    hp.block_marks = [il < N_LAYER_SPARSITY for il in range(hp.n_layer_all)]
    hp.kv_reuse = lambda il: N_LAYER_KV - (2 if hp.is_swa(il) else 1)


@architecture("gemma3n", hparams=_hparams)
def build_gemma3n(b: Builder) -> None:
    """Build the gemma3n graph."""
    x = b.inp_embd(token_scale=True)
    pos = b.inp_pos()
    per_layer = project_per_layer(b, x, N_EMBD_ALTUP)
    x = _stack(b, x)
    for il in b.layers:
        x = _block(b, x, pos, per_layer, il)
    x = ops.get_rows(_merge(b, x), b.inp_out_ids())
    logits = ops.scale(b.head(x))
    b.finish(ops.scale(ops.unary(logits, "tanh")))


def project_per_layer(b: Builder, x: Tensor, width: int) -> Tensor:
    """Inputs of all blocks (width × n_tokens × n_layer), from tokens and embeddings.

    Args:
        b: builder.
        x: input embeddings.
        width: elements per block.
    """
    n_layer, u = b.hp.n_layer, b.n_tokens
    tokens = b.input("i32", u, name="inp_per_layer_tokens")
    rows = ops.get_rows(b.need("per_layer_token_embd"), tokens)
    selected = b.expand(ops.scale(ops.reshape(rows, width, n_layer, u)))
    projected = ops.scale(ops.mul_mat(b.need("per_layer_model_proj"), x))
    projected = b.norm(ops.reshape(projected, width, n_layer, u), "per_layer_proj_norm")
    total = ops.scale(ops.add(projected, selected))
    return ops.cont(ops.permute(total, 0, 2, 1, 3))


def slice_2d(x: Tensor, i: int) -> Tensor:
    """View the i-th matrix of a three-dimensional tensor."""
    return ops.view(x, x.ne[:2], (x.row_bytes,), i * x.row_bytes * x.ne[1])


def _rest(x: Tensor) -> Tensor:
    """View all matrices but the first."""
    plane = x.row_bytes * x.ne[1]
    return ops.view(x, (x.ne[0], x.ne[1], x.ne[2] - 1), (x.row_bytes, plane), plane)


def _magnitude(x: Tensor) -> Tensor:
    return ops.sqrt(ops.sum_rows(ops.sqr(x)))


def _rescale(x: Tensor, target: Tensor) -> Tensor:
    """Give the rows of `x` the magnitudes `target`."""
    own = _magnitude(x)
    return ops.div(ops.mul(x, target), own)


def _stack(b: Builder, x: Tensor) -> Tensor:
    """Project the embedding to the other hidden states and stack them all."""
    target = _magnitude(x)
    repeated = ops.repeat(x, x.ne[0], x.ne[1], N_ALTUP - 1, 1)
    added = ops.mul_mat(b.need("altup_proj"), repeated)
    return ops.concat(x, _rescale(added, target), 2)


def _merge(b: Builder, x: Tensor) -> Tensor:
    """Average the hidden states into one."""
    target = _magnitude(slice_2d(x, 0))
    others = ops.mul_mat(b.need("altup_unembd_proj"), _rest(x))
    others = _rescale(others, target)
    total = slice_2d(x, 0)
    for i in range(N_ALTUP - 1):
        total = ops.add(total, slice_2d(others, i))
    return ops.scale(total)


def _modalities(b: Builder, x: Tensor, il: int) -> Tensor:
    """Mix of the hidden states that a block's router chooses."""
    cur = ops.scale(b.norm(x, "altup_router_norm", il))
    return ops.unary(ops.mul_mat(b.need("altup_router", il), cur), "tanh")


def _predict(b: Builder, x: Tensor, il: int) -> Tensor:
    coefs = b.mm("altup_predict_coef", _modalities(b, slice_2d(x, 0), il), il)
    coefs = ops.reshape(coefs, N_ALTUP, N_ALTUP, b.n_tokens)
    predictions = ops.mul_mat(ops.cont(ops.permute(x, 1, 2, 0, 3)), coefs)
    return ops.add(ops.cont(ops.permute(predictions, 0, 2, 1, 3)), x)


def _correct(b: Builder, predictions: Tensor, activated: Tensor, il: int) -> Tensor:
    modalities = _modalities(b, activated, il)
    innovation = ops.sub(activated, slice_2d(predictions, 0))
    coefs = ops.scale(b.mm("altup_correct_coef", modalities, il))
    coefs = ops.cont(ops.transpose(coefs), 1, b.n_tokens, N_ALTUP)
    innovation = ops.repeat(innovation, b.hp.n_embd, b.n_tokens, N_ALTUP, 1)
    return ops.add(ops.mul(innovation, coefs), predictions)


def _laurel(b: Builder, x: Tensor, il: int) -> Tensor:
    cur = b.mm("laurel_r", b.mm("laurel_l", x, il), il)
    return ops.add(b.norm(cur, "laurel_post_norm", il), x)


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp = b.hp
    if hp.has_kv(il):
        q, k, v = b.qkv(x, il)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        v = ops.rms_norm(v)
        return b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
    size, heads, u = hp.n_embd_head_k(il), hp.n_head(il), b.n_tokens
    fused = b.w("attn_qkv", il)
    if fused is not None:
        qkv = b.mm("attn_qkv", x, il, scale=False)
        q = ops.cont(ops.view(qkv, (size * heads, u), (qkv.nb[1],)))
    else:
        q = b.mm("attn_q", x, il, scale=False)
    q = ops.rope(b.norm(ops.reshape(q, size, heads, u), "attn_q_norm", il), pos)
    assert hp.kv_reuse is not None
    return b.attn_reuse(q, il, hp.kv_reuse(il), wo_bias=False)


def _outstanding(x: Tensor) -> Tensor:
    """Keep activations well above their row's mean (gaussian_topk)."""
    mean = ops.mean(x)
    variance = ops.scale(ops.sum_rows(ops.sqr(ops.sub(x, mean))))
    cutoff = ops.add(mean, ops.scale(ops.sqrt(variance)))
    return ops.unary(ops.sub(x, cutoff), "relu")


def _block(b: Builder, x: Tensor, pos: Tensor, per_layer: Tensor, il: int) -> Tensor:
    predictions = _predict(b, x, il)
    active = slice_2d(predictions, 0)
    cur = b.norm(active, "attn_norm", il)
    laurel = _laurel(b, cur, il)
    cur = b.norm(_attention(b, cur, pos, il), "post_attention_norm", il)
    cur = ops.add(cur, active)
    attn_laurel = ops.scale(ops.add(cur, laurel))
    cur = b.norm(attn_laurel, "ffn_norm", il)
    up = b.mm("ffn_up", cur, il, scale=False)
    gate = b.mm("ffn_gate", cur, il, scale=False)
    if il < N_LAYER_SPARSITY:
        gate = _outstanding(gate)
    cur = ops.mul(up, ops.unary(gate, "gelu"))
    cur = b.mm("ffn_down", cur, il, scale=False)
    cur = ops.add(b.norm(cur, "post_ffw_norm", il, pin_il=-1), attn_laurel)
    corrected = _correct(b, predictions, cur, il)
    first = ops.mul(slice_2d(corrected, 0), b.need("altup_correct_scale", il))
    first = ops.unary(b.mm("inp_gate", first, il), "gelu")
    first = b.mm("proj", ops.mul(first, slice_2d(per_layer, il)), il)
    first = b.norm(first, "post_norm", il)
    start = slice_2d(corrected, 0)
    return ops.concat(start, ops.add(_rest(corrected), first), 2)
