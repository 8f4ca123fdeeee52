"""Clef: Qwen3.5 without a memory, whose head scores the options of questions.

Source: llama.cpp src/models/clef.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import delta_net
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.kda import run_delta_rule
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

N_QUESTIONS = N_OPTIONS = 1
"""What a graph is reserved for: a batch without an order of decisions."""

DECISION = "decision."


def _hparams(hp: HParams) -> None:
    delta_net.set_delta_net(hp)
    hp.memory = Memory.NONE
    hp.is_mrope = True
    hp.n_embd_out = 1


@dataclass(frozen=True, slots=True)
class _Spans:
    """Inputs of the head: where questions and options are in the batch."""

    tokens: Tensor
    pool_q: Tensor
    pool_o: Tensor
    question_type: Tensor
    option_question: Tensor
    option_mask: Tensor
    status: Tensor


def _spans(b: Builder) -> _Spans:
    u = b.n_tokens
    return _Spans(
        tokens=b.input("i32", u, name="tokens"),
        pool_q=b.input("f32", u, N_QUESTIONS, name="pool_q"),
        pool_o=b.input("f32", u, N_OPTIONS, name="pool_o"),
        question_type=b.input("i32", N_QUESTIONS, name="question_type"),
        option_question=b.input("i32", N_OPTIONS, name="option_question"),
        option_mask=b.input("f32", N_OPTIONS, N_QUESTIONS, name="option_mask"),
        status=b.input("f32", 1, name="status"),
    )


@architecture("clef", hparams=_hparams)
def build_clef(b: Builder) -> None:
    """Build the clef graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    mask = b.mask_no_cache()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if b.hp.is_recr(il):
            cur = _linear_attention(b, cur, il)
        else:
            cur = _attention(b, cur, pos, mask, il)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "post_attention_norm", il)
        x = ops.add(b.ffn(cur, il), residual)
    spans = _spans(b)
    scores = _head(b, b.norm(x, "output_norm"), spans)
    b.embd = b.expand(ops.add(ops.pad(scores, 0, b.n_tokens - scores.ne[1]), spans.status))


def _attention(b: Builder, x: Tensor, pos: Tensor, mask: Tensor, il: int) -> Tensor:
    q, k, v, gate = delta_net.gated_query_key_value(b, x, il)
    cur = b.attn_no_cache(ops.rope(q, pos), ops.rope(k, pos), v, mask, il, wo=None)
    return b.wo(ops.mul(cur, ops.unary(gate, "sigmoid")), il, bias=False)


def _linear_attention(b: Builder, x: Tensor, il: int) -> Tensor:
    """Delta rule over the whole batch, from an empty state that is not kept."""
    hp, u = b.hp, b.n_tokens
    size = hp.ssm_d_inner // hp.ssm_dt_rank
    kernel = b.need("ssm_conv1d", il)
    channels = hp.ssm_d_inner + 2 * hp.ssm_n_group * hp.ssm_d_state
    mixed = b.mm("attn_qkv", x, il)
    mixed = ops.reshape(mixed, mixed.ne[0], u, 1)
    z = b.mm("attn_gate", x, il)
    gate, beta = delta_net.alpha_beta(b, x, il, u, 1)
    before = ops.fill(ops.new_tensor("f32", kernel.ne[0] - 1, channels, 1))
    cur = ops.ssm_conv(ops.concat(before, ops.transpose(mixed)), kernel)
    q, k, v = delta_net.split_heads(hp, ops.unary(cur, "silu"))
    state = ops.fill(ops.new_tensor("f32", size, size, hp.ssm_dt_rank, 1))
    cur, _ = run_delta_rule(q, k, v, gate, beta, state)
    return delta_net.gated_output(b, cur, z, il)


# The head. Its tensors go by their full names, none of them takes an adapter.


def _decision(b: Builder, name: str, x: Tensor) -> Tensor:
    return ops.mul_mat(b.need(DECISION + name), x)


def _decision_norm(b: Builder, name: str, x: Tensor) -> Tensor:
    return b.norm(x, name, kind="layer", bias=True)


def _dense(b: Builder, name: str, x: Tensor) -> Tensor:
    return ops.add(ops.mul_mat(b.need(name), x), b.need(name, None, "bias"))


def _head_attention(b: Builder, prefix: str, q: Tensor, kv: Tensor) -> Tensor:
    """Attention of `q` over `kv`, all of it visible."""
    n_head = b.hp.integer("decision.head_count", 1)
    width, n_q, n_kv = q.ne[0], q.ne[1], kv.ne[1]
    size = width // n_head
    q, k, v = (_dense(b, f"{prefix}_{part}", x) for part, x in (("q", q), ("k", kv), ("v", kv)))
    q = ops.permute(ops.reshape(q, size, n_head, n_q), 0, 2, 1, 3)
    k = ops.permute(ops.reshape(k, size, n_head, n_kv), 0, 2, 1, 3)
    v = ops.cont(ops.permute(ops.reshape(v, size, n_head, n_kv), 1, 2, 0, 3))
    scores = ops.soft_max(ops.mul_mat(k, q))
    scores.param = True
    cur = ops.permute(ops.mul_mat(v, scores), 0, 2, 1, 3)
    return _dense(b, f"{prefix}_o", ops.cont(cur, width, n_q))


def _head_ffn(b: Builder, prefix: str, x: Tensor) -> Tensor:
    x = _dense(b, f"{prefix}.ffn_up", _decision_norm(b, f"{prefix}.ffn_norm", x))
    return _dense(b, f"{prefix}.ffn_down", ops.unary(x, "gelu_erf"))


def _head(b: Builder, hidden: Tensor, spans: _Spans) -> Tensor:
    """Score of each option (1 × options)."""
    hidden = _decision_norm(b, "decision.hidden_norm", hidden)
    memory = _decision(b, "proj_memory", hidden)
    u = b.n_tokens
    last = ops.view(hidden, (b.hp.n_embd, 1), (hidden.nb[1],), (u - 1) * hidden.nb[1])
    pooled = ops.cont(ops.transpose(hidden))
    question, context = ops.mul_mat(pooled, spans.pool_q), ops.mul_mat(pooled, spans.pool_o)
    lexical = ops.get_rows(b.output_weight(), spans.tokens)
    lexical = ops.mul_mat(ops.cont(ops.transpose(lexical)), spans.pool_o)
    options = _route(b, context, lexical, question, memory, spans)
    fields = _join(b, options, question, last, memory, spans)

    anchor = ops.l2_norm(ops.add(question, last))
    anchor = ops.get_rows(anchor, spans.option_question)
    prior = ops.sum_rows(ops.mul(ops.l2_norm(lexical), anchor))
    options = _decision_norm(b, "decision.option_norm", options)
    field = ops.get_rows(fields, spans.option_question)
    cosine = ops.sum_rows(ops.mul(ops.l2_norm(field), ops.l2_norm(options)))
    features = ops.concat(field, options)
    features = ops.concat(features, ops.mul(field, options))
    features = ops.concat(features, ops.unary(ops.sub(field, options), "abs"))
    rest = ops.unary(_dense(b, "decision.scorer", features), "gelu_erf")
    rest = _dense(b, "decision.scorer_out", rest)
    scales = b.need("decision.scales", None, "")
    first, second, third = (ops.view(scales, (1,), (), i * F32) for i in range(3))
    joint = ops.add(ops.mul(cosine, second), rest)
    return ops.add(ops.mul(prior, first), ops.mul(joint, third))


def _route(
    b: Builder,
    context: Tensor,
    lexical: Tensor,
    question: Tensor,
    memory: Tensor,
    spans: _Spans,
) -> Tensor:
    """Let the options read the prompt."""
    options = _decision(b, "proj_option_context", context)
    options = ops.add(options, _decision(b, "proj_option_lexical", lexical))
    owner = _decision(b, "proj_option_question", question)
    options = ops.add(options, ops.get_rows(owner, spans.option_question))
    for i in range(b.hp.integer("decision.routing_block_count", 0)):
        block = f"dec.blk.{i}"
        q = _decision_norm(b, f"{block}.cross_attn_norm", options)
        kv = _decision_norm(b, f"{block}.cross_attn_norm_kv", memory)
        options = ops.add(options, _head_attention(b, f"{block}.cross_attn", q, kv))
        options = ops.add(options, _head_ffn(b, block, options))
    return options


def _join(
    b: Builder, options: Tensor, question: Tensor, last: Tensor, memory: Tensor, spans: _Spans
) -> Tensor:
    """Let the questions read their options, each other and the prompt."""
    hp = b.hp
    fields = _decision(b, "proj_question", question)
    weights = ops.scale(ops.mul_mat(options, fields))
    weights = ops.soft_max(ops.add(weights, spans.option_mask))
    summary = ops.mul_mat(ops.cont(ops.transpose(options)), weights)
    fields = ops.add(fields, _decision_norm(b, "decision.option_summary_norm", summary))
    fields = ops.add(fields, _decision(b, "proj_global", last))
    fields = ops.add(fields, ops.get_rows(b.need("token_types"), spans.question_type))
    first = hp.integer("decision.routing_block_count", 0)
    for i in range(first, first + hp.integer("decision.block_count", 0)):
        block = f"dec.blk.{i}"
        cur = _decision_norm(b, f"{block}.attn_norm", fields)
        fields = ops.add(fields, _head_attention(b, f"{block}.attn", cur, cur))
        cur = _decision_norm(b, f"{block}.cross_attn_norm", fields)
        fields = ops.add(fields, _head_attention(b, f"{block}.cross_attn", cur, memory))
        fields = ops.add(fields, _head_ffn(b, block, fields))
    return _decision_norm(b, "decision.field_norm", fields)
