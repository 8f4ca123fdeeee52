"""What helps where the engine stopped at a check of its own, by what it checked and where.

An assertion names a condition and a file; the file says which part of the engine it belongs to,
and so what can be left out or done elsewhere until a newer build has it right.
"""

from __future__ import annotations

from ggufctl.core.signatures.table import Variant

__all__ = ["BY_CONDITION", "BY_PLACE", "EXCEPTIONS"]

_NEWER = "Use a newer build (or the one before, if it came with an update)."

BY_CONDITION = (
    Variant(
        r"mem_buffer != ?NULL|\.cpp:\d+: data$|GGML_ASSERT\((?:buf(?:fer)?|data|ptr|base)(?: != "
        r"(?:NULL|nullptr|0))?\)",
        (
            "Free memory or enlarge the swap (paging) file: it wanted a buffer and got none.",
            "Use a smaller model or context, and a newer build, which says so.",
        ),
        "The engine stopped because memory could not be had: {check}.",
    ),
    Variant(
        r"i01 >= 0 && i01 < ne01",
        (
            "The text is longer than the model can take (embedding models: often 512 tokens): cut "
            "it into shorter pieces, or set the context no higher than the model's own (num_ctx, "
            "-c, -ub).",
            "Otherwise a token is not in the model's vocabulary: use a newer build, and a draft or "
            "adapter of the same family.",
        ),
        "A token or position lies outside the model's table.",
    ),
    Variant(
        r"stacks\.empty|llama-grammar",
        (
            "In a program of your own: llama_sampler_sample accepts the token that it chose, so do "
            "not accept it a second time, and reset the sampler for each answer.",
            "In the server: thinking off and no prefilled answer for requests with a grammar, "
            "schema or tools, and a newer build.",
        ),
        "The grammar of a request had no way left to go on: {check}.",
    ),
    Variant(
        r"LLAMA_ASSERT",
        (
            "This build is of 2023: install a newer one (pip install -U llama-cpp-python), and "
            "take a GGUF of the model instead of its .bin file.",
        ),
    ),
    Variant(
        r"GGML_ASSERT\(addr\)|llama-mmap\.cpp",
        (
            "Leave out --mlock, or let weights be mapped: without --no-mmap (newer builds: one of "
            "-lm mmap, mlock or none, not several).",
            _NEWER,
        ),
        "Weights were to be locked in memory that is not there: --mlock does not go with how they "
        "are loaded ({check}).",
    ),
    Variant(
        r"info->(?!(?:t\.)?type)|gguf_\w+\(|ctx->kv|n_dims\b.{0,20}GGML_MAX_DIMS",
        (
            "Compare the file's sha256 with the source, and convert it again with the newest "
            "script: its header holds what no tensor can be.",
            "Models for pictures and videos want the program's own tools (ComfyUI-GGUF's patch of "
            "llama-quantize), or a GGUF that others made.",
        ),
        "The header of the file holds a value that cannot be: {check}.",
    ),
    Variant(
        r"GGML_TYPE_COUNT|ggml_type_\w+\(|blck_size",
        (
            "Use a newer build: the file has tensors of a type that this one does not know.",
            "Otherwise take the model in a common type (F16, Q8_0, Q4_K_M; for pictures F16 "
            "instead of FP8).",
        ),
        "The file has a type of tensor that this build does not know: {check}.",
    ),
    Variant(
        r"SCHED_MAX_SPLIT|n_backends|hash_set|hash_size|context's memory pool|cgraph->size|n_nodes "
        r"[<>]|graph_size|n_leafs|MAX_NODES",
        (
            "Use a newer build, which allows larger graphs.",
            "Until then fewer parts: fewer devices (--device), tensor overrides (-ot, -ncmoe) or "
            "adapters, a lower -np, and no -sm tensor.",
        ),
        "The graph of this model has more parts than the build allows with these devices and "
        "settings: {check}.",
    ),
    Variant(
        r"not enough space in the buffer|out of (?:free blocks|allocated_tensors)|insufficient "
        r"work|graph reallocation|tensor (?:data|buffer|write|read)|tensor not allocated|"
        r"->data (?:!=|==)|\bdata != (?:NULL|nullptr)|buffer not set|buffer_id|->buffer\b",
        (
            "Use a lower -c and -ub (or a cache of f16): a graph that was measured too small or "
            "not placed comes with sizes that few use.",
            "Leave out what changes the graph: speculation, -ot, several devices, --mmproj; then "
            "-fa off.",
            _NEWER,
        ),
        "A tensor of the graph was given no place in memory, or too little: {check}.",
    ),
    Variant(
        r"(?:op|type|mode|unary|function|layout|memory|order|format)\S* (?:is |are )?not "
        r"(?:yet )?(?:implemented|supported)|unsupported|not (?:implemented|supported)|cannot run "
        r"the operation|unknown (?:op|type|quant)|invalid (?:op|dim|type)|doesn't support|Only "
        r"support|op_supports|supports_op|no kernel implementation",
        (
            "Use a newer build: what a backend lacks comes with later ones.",
            "Until then compute elsewhere: another backend (a CUDA or Vulkan build), --device "
            "none, or for a picture --no-mmproj-offload.",
            "Leave -ctk and -ctv out, try -fa off, and take a common quant (Q4_K_M, Q8_0).",
        ),
        "This backend has no code for a step of the model with these types: {check}.",
    ),
)
"""By what was checked."""

BY_PLACE = (
    Variant(
        r"mtmd|clip\.cpp|clip-|\bclip_|mmproj",
        (
            "Use a newer build, and the mmproj file of the model's own repository.",
            "Until then --no-mmproj-offload, a smaller picture (--image-max-tokens), one picture "
            "for each request, and a larger -ub and -b.",
        ),
        "The engine stopped at a check of its own in the encoder of pictures and sound: {check}.",
    ),
    Variant(
        r"specul|draft|\bMTP\b|EAGLE|DFlash|DSpark|nextn|n_rs\b|ngram",
        (
            "Leave speculation out (--spec-type, -md): everything works without it, more slowly.",
            "Use a newer build, and a draft made for exactly this model.",
        ),
        "The engine stopped at a check of its own in speculative decoding: {check}.",
    ),
    Variant(
        r"sampling\.cpp|llama-sampl|\bgsmpl\b|cur_p\b|logit_bias|samplers?\b",
        (
            "Take the samplers back to their defaults in the request (temperature above 0, no "
            "odd top_k, top_p, mirostat or logit_bias), and leave --backend-sampling out.",
            "If it stays so, the model computes no usable numbers: -fa off, f16 caches, another "
            "quant, a newer build.",
        ),
        "The engine stopped while choosing a token: {check}.",
    ),
    Variant(
        r"kv-cache|kv_cache|llama-memory|llama-batch|llama-context|server-|server\.cpp|seq_|"
        r"pos_m(?:in|ax)|n_past|n_outputs|ubatch|\bslot\b|prompt|common_batch|\btokens\.|n_tokens|"
        r"n_pos\b|failed to (?:remove "
        r"sequence|add (?:token|seq|embedding))",
        (
            "Start it with --cache-ram 0 --ctx-checkpoints 0 and without --cache-reuse, context "
            "shift or speculation; then with -np 1. In requests leave cache_prompt at true.",
            "For embeddings and reranking set -ub and -b equal, no lower than the longest text.",
            _NEWER,
        ),
        "The engine stopped at a check of its own over what is in its cache and batches: {check}.",
    ),
    Variant(
        r"vulkan|\bvk_|ggml_vk|\bvk::|d_D",
        (
            "Use a newer build and driver; then try GGML_VK_DISABLE_FUSION=1, "
            "GGML_VK_DISABLE_COOPMAT=1 and -fa off.",
            "Until then the build for CUDA or ROCm, fewer layers (-ngl), or --device none.",
        ),
        "The engine stopped at a check of its own in its Vulkan backend: {check}.",
    ),
    Variant(
        r"sycl|oneapi|dpct",
        (
            "Use a newer build and compute runtime; then try -fa off, GGML_SYCL_ENABLE_OPT=0 and "
            "one GPU (ONEAPI_DEVICE_SELECTOR=level_zero:0).",
            "Until then the Vulkan build.",
        ),
        "The engine stopped at a check of its own in its SYCL backend: {check}.",
    ),
    Variant(
        r"metal",
        (
            "Use a newer build and macOS; then try GGML_METAL_FUSION_DISABLE=1 and -fa off.",
            "Until then fewer layers on the GPU (-ngl), or -ngl 0.",
        ),
        "The engine stopped at a check of its own in its Metal backend: {check}.",
    ),
    Variant(
        r"opencl|\bcl_",
        (
            "Use a newer build and GPU driver; -fa off, and a Q4_0 or Q8_0 quant, which Adreno "
            "takes best.",
            "Until then --device none, or the Vulkan build.",
        ),
        "The engine stopped at a check of its own in its OpenCL backend: {check}.",
    ),
    Variant(
        r"webgpu|ggml-cann|\bcann\b|hexagon|openvino|zdnn|zendnn",
        (
            "Use a newer build: this backend is young, and changes with every one.",
            "Until then the build for Vulkan or CUDA, or --device none.",
        ),
    ),
    Variant(
        r"ggml-cuda|\.cuh?\b|hip\b",
        (
            "Use a newer build; then try -fa off with f16 caches, GGML_CUDA_DISABLE_FUSION=1 and "
            "GGML_CUDA_DISABLE_GRAPHS=1.",
            "With several GPUs try one alone (--device CUDA0) or -sm layer; another quant takes "
            "another path as well.",
        ),
        "The engine stopped at a check of its own in its CUDA (ROCm) backend: {check}.",
    ),
    Variant(
        r"ggml-cpu|ops\.cpp|llamafile|repack|vec\.cpp|sgemm|ggml-quants",
        (
            "Use a newer build; then try --no-repack, -fa off and f16 caches.",
            "Compare the file's sha256: a damaged file ends at such checks as well. Another quant "
            "takes another path.",
        ),
        "The engine stopped at a check of its own while computing on the CPU: {check}.",
    ),
    Variant(
        r"llama-model|src/models|llama-graph|llama-hparams|llama-arch|llama-adapter|llama-impl|"
        r"hparams\.|gguf",
        (
            "Use a newer build of the engine, and a newer conversion of the model: the two do not "
            "go together.",
            "Leave -fa, -sm, -ot, adapters and --override-kv at their defaults.",
            "Compare the file's sha256 with the source.",
        ),
        "The engine stopped at a check of its own over the model's own numbers: {check}.",
    ),
    Variant(
        r"ggml-backend|ggml-alloc|ggml\.c\b",
        (
            "Use a newer build; then one device alone (--device), without -ot, and -fa off.",
            "Start it with -ngl 0 to see whether the GPU's backend is at fault.",
        ),
        "The engine stopped at a check of its own while it shared the work out: {check}.",
    ),
)
"""By the part of the engine that checked."""

EXCEPTIONS = (
    Variant(
        r"empty grammar stack|grammar_accept",
        (
            "Use a newer build, which answers such a request with an error and lives on.",
            "Until then turn thinking off for requests with a grammar, schema or tools "
            '("chat_template_kwargs": {"enable_thinking": false}, or --reasoning-budget 0), and '
            "use a conversion of the model with its own chat template.",
            "End the messages of such requests with the user's: a last message of the assistant "
            "(prefill) must itself be what the grammar allows.",
        ),
        "The model wrote what the request's grammar does not allow, and the engine ended over it: "
        "{why}.",
    ),
    Variant(
        r"filesystem[_ ]error|basic_filebuf|ifstream|fstream",
        (
            "Check that the path it names exists, is written with plain letters, and may be read "
            "and written by this user (the cache folder: LLAMA_CACHE, HF_HOME).",
        ),
    ),
    Variant(
        r"system_error|Resource temporarily unavailable|thread constructor",
        (
            "Let the process start more threads: ulimit -u, pids_limit or --pids-limit of the "
            "container, TasksMax= of the service; lower -t and --threads-http.",
        ),
    ),
    Variant(
        r"regex",
        (
            "Use a newer build, whose tokenizer works without the system's regular expressions.",
            "Until then shorter texts, and a larger stack: ulimit -s unlimited.",
        ),
    ),
    Variant(
        r"bad_function_call|out_of_range|length_error|logic_error|bad_optional|bad_variant|map::at|"
        r"vector::|basic_string|\bsto[id]\b|_M_range_check|invalid_argument|key not found",
        (
            "Use a newer build (or the one before, if it came with an update): it is a fault of "
            "this one.",
            "Until then leave out what it was busy with: the newest options, context shift, "
            "speculation, the GPU's backend (-ngl 0), or the request that came last.",
        ),
        "The engine ended with an exception that it does not expect, a fault of this build: {why}.",
    ),
)
"""What helps where the engine ended with an exception, by its kind."""
