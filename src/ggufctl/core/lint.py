"""What the header of a model shows to be missing, inconsistent or suspicious.

A chat template is a program that the model's author wrote and the server runs. It is read here as
text: never rendered, its excerpts escaped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.checks import Check, Status
from ggufctl.core.compat import check_settings
from ggufctl.core.escape import escape, is_unsafe, quoted
from ggufctl.core.header import MAX_LAYERS, Header, SkippedArray
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import Runtime
from ggufctl.core.units import format_gib
from ggufctl.errors import GgufctlError, RefusedSettings

__all__ = ["PRE_TOKENIZERS", "lint_header", "lint_template"]

_PRE_TOKENIZERS = """
a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r
dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4
f2llmv2 falcon falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish
granite-docling granite-embed-multi-311m granite-embed-multi-97m grok-2 hunyuan hunyuan-dense
hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano
joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-bpe llama-v3 llama3 llama4 megrez
mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 mmbert modern-bert mpt olmo phi-2 pixtral
poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe seed-coder smaug-bpe smollm solar-open
spark2_5 stablelm2 starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking whitespace
youtu
"""
PRE_TOKENIZERS = frozenset(_PRE_TOKENIZERS.split())
"""Values of `tokenizer.ggml.pre` that the pinned build knows.

Source: llama.cpp src/llama-vocab.cpp `llama_vocab::impl::load`.
"""

_SUSPICIOUS = (
    ("reaches into Python's internals", re.compile(r"__\w+__|\|\s*attr\s*\(|\bmro\b")),
    (
        "names what runs programs or reads files",
        re.compile(r"\b(?:popen|subprocess|os\.system|eval|exec|import|globals|builtins)\s*[(.]"),
    ),
    ("uses objects of the template engine", re.compile(r"\b(?:lipsum|cycler|joiner|self\._)\b")),
    ("holds an address", re.compile(r"https?://[^\s'\"]+")),
    (
        "acts on what a message says",
        re.compile(
            r"['\"](?P<text>[^'\"<>\[\]{}|\\]*[A-Za-z]{3}[^'\"<>\[\]{}|\\]*)['\"]\s+in\s+"
            r"\w*(?:message|content)\w*(?:\[|\.|\b)"
        ),
    ),
)
_ROLE_WORDS = frozenset({"role", "content", "tool_calls", "type", "name", "text", "image", "video"})
_BLOCK = re.compile(r"^blk\.(\d+)\.")
_EXCERPT = 80


def lint_header(header: Header) -> tuple[Check, ...]:
    """Every check of a model's header, in the order in which they are told."""
    return tuple(_checks(header))


def _checks(header: Header) -> Iterator[Check]:
    yield Check(
        "header",
        Status.PASS,
        f"GGUF version {header.version}, {len(header.metadata)} keys, {len(header.tensors)} "
        f"tensors, {format_gib(header.file_size)} GiB; every tensor lies within the file.",
    )
    yield _shards(header)
    yield from _compatibility(header)
    yield from _keys(header)
    yield from _blocks(header)
    yield from _tokenizer(header)
    yield from _context(header)
    yield from lint_template(header)


def _shards(header: Header) -> Check:
    n_read = max(len(header.shards), 1)
    if header.n_shards > n_read:
        return Check(
            "shards",
            Status.FAIL,
            f"Only {n_read} of {header.n_shards} shards were found.",
            "Put all shards beside the first.",
        )
    text = f"All {n_read} shards are there." if n_read > 1 else "The model is one file."
    return Check("shards", Status.PASS, text)


def _compatibility(header: Header) -> Iterator[Check]:
    """What plan and serve check as well, for llama-server's own defaults."""
    try:
        shape = ModelShape(header)
        check_settings(shape, Runtime(n_ctx=4096))
    except RefusedSettings as error:
        # It runs, though not with the defaults.
        yield Check("engine", Status.WARN, escape(error.message), escape(error.hint))
        return
    except GgufctlError as error:
        yield Check("engine", Status.FAIL, escape(error.message), escape(error.hint))
        return
    if shape.arch is None:
        yield Check(
            "engine",
            Status.WARN,
            f"The architecture {quoted(header.architecture)} is not known in detail: memory is "
            "estimated by a closed form.",
            "Compare the first start with the plan.",
        )
        return
    yield Check(
        "engine", Status.PASS, f"llama.cpp {LLAMA_CPP_BUILD} runs {quoted(header.architecture)}."
    )


def _keys(header: Header) -> Iterator[Check]:
    arch = header.architecture
    needed = ("block_count", "context_length", "embedding_length")
    missing = [f"{arch}.{key}" for key in needed if f"{arch}.{key}" not in header.metadata]
    if missing:
        yield Check(
            "keys",
            Status.FAIL,
            f"The header lacks {escape(', '.join(missing))}.",
            "Use another conversion of the model.",
        )
    wanted = ("general.name", "general.file_type")
    absent = [key for key in wanted if key not in header.metadata]
    if absent:
        yield Check("labels", Status.WARN, f"The header does not say {', '.join(absent)}.")
    if not missing and not absent:
        yield Check("keys", Status.PASS, "The keys that describe the model are there.")
    yield from _heads(header)


def _heads(header: Header) -> Iterator[Check]:
    arch = header.architecture
    heads = header.metadata.get(f"{arch}.attention.head_count")
    kv = header.metadata.get(f"{arch}.attention.head_count_kv")
    embd = header.metadata.get(f"{arch}.embedding_length")
    if not isinstance(heads, int) or heads <= 0:
        return
    if isinstance(kv, int) and kv > 0 and heads % kv:
        yield Check(
            "heads",
            Status.FAIL,
            f"{kv} key/value heads do not divide {heads} heads.",
            "Use another conversion of the model.",
        )
    has_length = f"{arch}.attention.key_length" in header.metadata
    if isinstance(embd, int) and embd % heads and not has_length:
        yield Check(
            "heads",
            Status.WARN,
            f"{heads} heads do not divide an embedding of {embd}, and no key_length says more.",
        )


def _blocks(header: Header) -> Iterator[Check]:
    found = {int(m[1]) for name in header.tensors if (m := _BLOCK.match(name))}
    count = header.metadata.get(f"{header.architecture}.block_count")
    if not isinstance(count, int) or not found:
        return
    n_nextn = header.metadata.get(f"{header.architecture}.nextn_predict_layers", 0)
    needed = count - (n_nextn if isinstance(n_nextn, int) else 0)
    gaps = sorted(set(range(max(needed, 0))) - found) if needed <= MAX_LAYERS else [len(found)]
    if gaps or max(found) >= count:
        what = f"block {gaps[0]} has no tensors" if gaps else f"tensors reach block {max(found)}"
        yield Check(
            "blocks",
            Status.FAIL,
            f"The header names {count} blocks, but {what}.",
            "Use another conversion of the model.",
        )
        return
    yield Check("blocks", Status.PASS, f"All {max(found) + 1} blocks have their tensors.")


def _tokenizer(header: Header) -> Iterator[Check]:
    kind = header.metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str):
        yield Check(
            "tokenizer",
            Status.FAIL,
            "The file has no tokenizer.",
            "Use another conversion of the model.",
        )
        return
    n_vocab = header.n_vocab
    pre = header.metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2" and pre is None:
        yield Check(
            "pre-tokenizer",
            Status.WARN,
            "The file does not name its pre-tokenizer, so text may be split wrongly.",
            "Use a newer conversion of the model.",
        )
    elif kind == "gpt2" and pre not in PRE_TOKENIZERS:
        yield Check(
            "pre-tokenizer",
            Status.FAIL,
            f"llama.cpp {LLAMA_CPP_BUILD} does not know the pre-tokenizer {quoted(str(pre))}.",
            "Use a newer build of the engine.",
        )
    rows = header.tensors.get("token_embd.weight")
    if rows is not None and n_vocab and len(rows.shape) > 1 and rows.shape[1] != n_vocab:
        yield Check(
            "vocabulary",
            Status.WARN,
            f"The vocabulary has {n_vocab} tokens and the embedding {rows.shape[1]} rows.",
        )
    for name in ("bos", "eos"):
        token = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(token, int) and n_vocab and not 0 <= token < n_vocab:
            yield Check(
                "vocabulary",
                Status.FAIL,
                f"The {name.upper()} token {token} is not in the vocabulary of {n_vocab}.",
                "Use another conversion of the model.",
            )
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    n_tokens = tokens.length if isinstance(tokens, SkippedArray) else 0
    label = f", pre-tokenizer {quoted(pre)}" if isinstance(pre, str) else ""
    size = f" with {n_tokens} tokens" if n_tokens else ""
    yield Check("tokenizer", Status.PASS, f"Tokenizer {quoted(kind)}{label}{size}.")


def _context(header: Header) -> Iterator[Check]:
    arch = header.architecture
    length = header.metadata.get(f"{arch}.context_length")
    original = header.metadata.get(f"{arch}.rope.scaling.original_context_length")
    if not isinstance(length, int):
        return
    if isinstance(original, int) and 0 < original < length:
        yield Check(
            "context",
            Status.WARN,
            f"The context of {length} tokens is stretched from {original} by RoPE scaling.",
            f"Expect less quality beyond -c {original}.",
        )
        return
    yield Check("context", Status.PASS, f"Trained for a context of {length} tokens.")


def lint_template(header: Header) -> Iterator[Check]:
    """What a model's chat template holds; it is never rendered."""
    templates = {
        key: value
        for key, value in header.metadata.items()
        if key.startswith("tokenizer.chat_template") and isinstance(value, str)
    }
    if not templates:
        yield Check(
            "chat-template",
            Status.WARN,
            "The file has no chat template, so a server falls back to a generic one.",
            "Name one with --chat-template, unless the model is not for chats.",
        )
    for key, text in templates.items():
        yield _template_check(key, text)


def _template_check(key: str, text: str) -> Check:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    name = key.removeprefix("tokenizer.")
    about = f"{escape(name)}: {len(text)} characters, sha256 {digest}"
    details = [f"{what}: {excerpt}" for what, excerpt in _suspicions(text)]
    if details:
        return Check(
            "chat-template",
            Status.WARN,
            f"{about}: it holds what a template rarely needs.",
            "Read it before you serve it, or use one of your own with --chat-template-file.",
            tuple(details),
        )
    return Check("chat-template", Status.PASS, f"{about}.")


def _suspicions(text: str) -> Iterator[tuple[str, str]]:
    for what, pattern in _SUSPICIOUS:
        for found in pattern.finditer(text):
            if found.groupdict().get("text", "") in _ROLE_WORDS:
                continue
            start = max(0, found.start() - _EXCERPT // 4)
            yield what, escape(text[start : start + _EXCERPT])
            break
    visible = text.replace("\n", "").replace("\t", "").replace("\r", "")
    if is_unsafe(visible):
        at = next(i for i, char in enumerate(visible) if is_unsafe(char))
        start = max(0, at - _EXCERPT // 4)
        yield "holds characters that are not shown", escape(visible[start : start + _EXCERPT])
