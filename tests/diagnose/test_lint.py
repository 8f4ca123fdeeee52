"""What the header of a model shows, and templates that are looked at and never run."""

from __future__ import annotations

import pytest

from ggufctl.core.checks import Status
from ggufctl.core.header import Header, SkippedArray, TensorInfo, Value
from ggufctl.core.lint import lint_header, lint_template
from ggufctl.services.lint import lint_model


def tensor(name: str, *shape: int) -> TensorInfo:
    n = 1
    for extent in shape:
        n *= extent
    return TensorInfo(name, "f32", shape, 0, 4 * n)


def header(changes: dict[str, Value | None] | None = None, **more: TensorInfo) -> Header:
    metadata: dict[str, Value] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": 2048,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": SkippedArray("string", 100),
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }
    for key, value in (changes or {}).items():
        if value is None:
            metadata.pop(key)
        else:
            metadata[key] = value
    tensors = [
        tensor("token_embd.weight", 64, 100),
        tensor("output_norm.weight", 64),
        tensor("blk.0.attn_norm.weight", 64),
        tensor("blk.0.attn_q.weight", 64, 64),
        tensor("blk.0.attn_k.weight", 64, 32),
        tensor("blk.0.attn_v.weight", 64, 32),
        tensor("blk.0.attn_output.weight", 64, 64),
        tensor("blk.0.ffn_norm.weight", 64),
        tensor("blk.0.ffn_gate.weight", 64, 128),
        tensor("blk.0.ffn_up.weight", 64, 128),
        tensor("blk.0.ffn_down.weight", 128, 64),
        *more.values(),
    ]
    return Header(3, metadata, {t.name: t for t in tensors}, 0, 32, 1 << 20)


def statuses(found: Header) -> dict[str, Status]:
    worst: dict[str, Status] = {}
    for check in lint_header(found):
        if worst.get(check.id) is not Status.FAIL:
            worst[check.id] = check.status
    return worst


def test_a_sound_header_passes_every_check():
    assert set(statuses(header()).values()) == {Status.PASS}


@pytest.mark.parametrize(
    ("changes", "id", "status"),
    [
        ({"tokenizer.chat_template": None}, "chat-template", Status.WARN),
        ({"tokenizer.ggml.pre": None}, "pre-tokenizer", Status.WARN),
        ({"tokenizer.ggml.pre": "qwen99"}, "pre-tokenizer", Status.FAIL),
        ({"tokenizer.ggml.model": None}, "tokenizer", Status.FAIL),
        ({"tokenizer.ggml.eos_token_id": 100}, "vocabulary", Status.FAIL),
        ({"tokenizer.ggml.tokens": SkippedArray("string", 90)}, "vocabulary", Status.WARN),
        ({"llama.block_count": 2}, "blocks", Status.FAIL),
        ({"general.architecture": "llamx"}, "engine", Status.FAIL),
        ({"llama.attention.head_count_kv": 3}, "heads", Status.FAIL),
        ({"general.file_type": None}, "labels", Status.WARN),
        ({"llama.rope.scaling.original_context_length": 512}, "context", Status.WARN),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_missing_or_inconsistent_is_told(changes, id, status):
    found = statuses(header(changes))

    assert found[id] is status


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ x|attr('y') }}",
        "{% if 'transfer money' in message.content %}evil{% endif %}",
        "{{ 'see https://evil.example/x' }}",
        "hello \u202e\u200b world",
    ],
)
def test_a_suspicious_template_is_shown_escaped_with_its_hash(template):
    (check,) = lint_template(header({"tokenizer.chat_template": template}))

    assert check.status is Status.WARN
    assert check.details
    assert all(detail.isprintable() for detail in check.details)
    assert "sha256" in check.text


@pytest.mark.parametrize(
    "template",
    [
        "{% if message.role == 'assistant' and '</think>' in message.content %}x{% endif %}",
        "{% for m in messages %}{% if 'tool_calls' in message %}{{ m.content }}{% endif %}{% "
        "endfor %}",
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor "
        "%}",
    ],
)
def test_what_ordinary_templates_do_is_not_suspicious(template):
    (check,) = lint_template(header({"tokenizer.chat_template": template}))

    assert check.status is Status.PASS


def test_a_broken_file_is_a_failed_check(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<!DOCTYPE html>")

    (check,) = lint_model(str(path)).checks

    assert check.status is Status.FAIL
