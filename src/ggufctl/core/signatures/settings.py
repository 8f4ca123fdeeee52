"""Options the engine refuses, and requests it cannot serve with the settings it has."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        "argument-unknown",
        (
            r"error: invalid argument: (?P<argument>\S+)",
            r"invalid argument: (?P<argument>--?[a-z][\w-]*)",
            r"error: unknown argument: (?P<argument>\S+)",
            r"unrecognized arguments: (?P<argument>.+)",
            r"the argument has been removed\. (?P<argument>.*)",
            r"unknown flag: (?P<argument>\S+)",
        ),
        "This build of the engine has no option {argument}.",
        (
            "Check the spelling with --help of exactly this build: options were renamed and "
            "removed.",
            "-fa needs a value (on, off, auto); --draft* became --spec-draft-*; --no-mmap became "
            "--load-mode none.",
        ),
        "error: invalid argument: --flash-attention",
    ),
    Signature(
        "argument-value",
        (
            r"error while handling argument \"(?P<argument>[^\"]+)\": (?P<why>.+)",
            r"Unsupported cache type: (?P<why>.+)",
            r"expected value for argument",
            r"error while handling environment variable \"(?P<argument>[^\"]+)\": (?P<why>.+)",
            r"invalid device: (?P<why>.+)",
            r"invalid value for main_gpu: (?P<why>.+)",
            r"unknown buffer type",
            r"n_batch and n_ubatch cannot both be zero",
            r"n_seq_max must be <= \d+",
        ),
        "The engine refuses the value of an option: {argument} {why}.",
        ("Correct the value; --help lists what this build takes.",),
        'error while handling argument "--cache-type-k": Unsupported cache type: q3_0',
    ),
    Signature(
        "quantized-v-needs-fa",
        (
            r"quantized V cache requires flash_attn",
            r"quantized V cache was requested, but this requires Flash Attention",
            r"V cache quantization requires flash_attn",
            r"flash_attn requires n_embd_head_k == n_embd_head_v",
            r"(?:K|V) cache quantization requires flash",
        ),
        "A quantised V cache needs flash attention, which is off or impossible for this model.",
        ("Use -fa on, or keep the V cache at f16 (-ctv f16).",),
        "llama_init_from_model: quantized V cache requires flash_attn to be enabled",
        Basis.REAL,
    ),
    Signature(
        "cache-types-differ",
        (
            r"model does not support different K \(\S+\) and V \(\S+\) cache types",
            r"(?:K|V) cache type (?P<type>\S+) with block size \d+ does not divide "
            r"n_embd_head_[kv]",
        ),
        "This model does not take these types of cache.",
        ("Use the same -ctk and -ctv, or f16.",),
        "llama_init_from_model: model does not support different K (q8_0) and V (f16) cache types",
    ),
    Signature(
        "split-mode-row",
        (
            r"device (?P<device>\S+) does not support split buffers",
            r"GGML_ASSERT\(split_state",
            r"GGML_ASSERT\(!\(split && ",
            r"LLAMA_SPLIT_MODE_TENSOR not implemented for architecture",
            r"SPLIT_MODE_TENSOR requires flash_attn",
            r"LLAMA_SPLIT_MODE_TENSOR needs >= 1 devices",
        ),
        "This split mode does not work on these GPUs or for this model.",
        ("Use -sm layer.",),
        "llama_model_load: error loading model: device CUDA0 does not support split buffers",
    ),
    Signature(
        "phi3-quantized-kv",
        (r"GGML_ASSERT\(ggml_can_mul_mat\(a, b\)\)",),
        "A known fault of b11434: some models (phi3) with a quantised cache and several slots "
        "abort.",
        ("Add -kvu, or use an f16 cache.",),
        "/app/ggml/src/ggml.c:3295: GGML_ASSERT(ggml_can_mul_mat(a, b)) failed",
    ),
    Signature(
        "context-shift-quantized",
        (
            r"The current KV cache / model configuration does not support K-shift",
            r"GGML_ASSERT\((?:hparams|n_embd_head).*\) failed",
        ),
        "Shifting the context does not work with this cache or model.",
        ("Drop --context-shift, or use an f16 K cache.",),
        "llama-context.cpp:812: The current KV cache / model configuration does not support "
        "K-shift",
        phase=Phase.SERVE,
    ),
    Signature(
        "port-taken",
        (
            r"couldn't bind HTTP server socket, hostname: (?P<host>\S+), port: (?P<port>\d+)",
            r"couldn't start HTTP listener",
            r"couldn't bind to (?:server|HTTP) socket",
            r"[Aa]ddress already in use",
            r"Only one usage of each socket address",
            r"port is already allocated",
            r"WinError 10048",
            r"listen tcp \S+: bind: (?!permission denied|cannot assign)",
            r"EADDRINUSE",
            r"exiting due to HTTP server error",
        ),
        "The port is taken by another program, or may not be used: {port}.",
        ("Choose another with --port, or stop the other program (ss -ltnp shows it).",),
        "srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 44267",
        Basis.REAL,
    ),
    Signature(
        "address-not-here",
        (
            r"Cannot assign requested address",
            r"couldn't bind .*hostname: (?!127\.0\.0\.1|0\.0\.0\.0|localhost)(?P<host>\d\S+), "
            r"port: 0",
        ),
        "The address to listen on does not belong to this machine.",
        ("Use --host 127.0.0.1, or 0.0.0.0 inside a container behind a proxy.",),
        "listen tcp 10.1.2.3:11434: bind: Cannot assign requested address",
        Basis.REPORTED,
    ),
    Signature(
        "port-privileged",
        (r"bind: permission denied", r"\[Errno 13\] .*attempting to bind"),
        "Ports below 1024 are for root only.",
        ("Choose a port above 1024.",),
        "listen tcp 0.0.0.0:80: bind: permission denied",
        Basis.REPORTED,
    ),
    Signature(
        "no-tls",
        (
            r"HTTPS is not supported\. Please rebuild with",
            r"HTTPS requested but CPPHTTPLIB_OPENSSL_SUPPORT is not defined",
            r"the server is built without SSL support",
            r"built without (?:CURL|SSL|TLS)",
        ),
        "The engine was built without TLS, so it can neither download nor serve over https.",
        ("Use an official image, or download the file first and pass -m.",),
        "get_repo_commit: error: HTTPS is not supported. Please rebuild with one of: "
        "-DLLAMA_OPENSSL=ON",
    ),
    Signature(
        "context-exceeded",
        (
            r"request \((?P<tokens>\d+) tokens\) exceeds the available context size "
            r"\((?P<n_ctx>\d+) tokens\)",
            r"exceed_context_size_error",
            r"Context size has been exceeded",
            r"^context size exceeded",
            r"failed to decode the batch.*ret = 1\b",
            r"the request exceeds the available context size",
            r"Requested tokens \((?P<tokens>\d+)\) exceed context window of (?P<n_ctx>\d+)",
            r"model is loaded with context length of only (?P<n_ctx>\d+) tokens",
            r"prompt is too long; (?P<tokens>\d+) tokens",
            r"exceeds? (?:the )?maximum context length",
            r"failed to find (?:free space|a slot|available cells) .*(?:KV|kv) cache",
        ),
        "A request was longer than the context of its slot: {tokens} tokens against {n_ctx}.",
        (
            "Raise -c, or lower -np: each slot has -c / -np tokens unless the cache is unified "
            "(-kvu).",
            "Shorten the prompt or the history.",
        ),
        "srv    send_error: task id = 7, error: request (40960 tokens) exceeds the available "
        "context "
        "size (8192 tokens), try increasing it",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "batch-too-small",
        (
            r"input (?:\((?P<tokens>\d+) tokens\) )?is too large to process[.,;] (?:please )?"
            r"increase the physical batch",
            r"question and its options \(\d+ tokens\) are too large",
        ),
        "An input for an embedding or reranking is longer than the physical batch.",
        ("Raise -ub (and -b) to the longest input.",),
        "slot update_slots: input (1200 tokens) is too large to process. increase the physical "
        "batch "
        "size (current batch size: 512)",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "template-refuses",
        (
            r"Jinja Exception: (?P<why>.+)",
            r"(?<!raise_)(?:exception|error|message)\b\W.{0,60}conversation roles must alternate",
            r"Unable to generate parser for this template",
            r"While executing \w+ at line \d+, column \d+",
            r"Failed to parse messages: (?P<why>.+)",
            r"(?:applying|rendering|apply|render) the (?:jinja )?chat template: (?P<why>.+)",
        ),
        "The model's chat template refuses the messages of a request: {why}.",
        ("Merge messages of the same role, or use another --chat-template.",),
        "got exception: Jinja Exception: After the optional system message, conversation roles "
        "must "
        "alternate user/assistant/user/assistant/...",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "template-invalid",
        (
            r"chat template parsing error: (?P<why>.+)",
            r"failed to parse chat template(?: \(defaulting to chatml\))?: (?P<why>.+)",
            r"supplied chat template is not supported",
            r"this custom template is not supported",
            r"failed to apply chat template",
            r"Model does not have chat template",
            r"jinja2\.exceptions\.\w+: (?P<why>.+)",
            r"(?P<why>Value is not callable|Cannot subscript \w+|Undefined \w+|Unknown (?:method|"
            r"filter|test|statement)|Unexpected token).{0,90} at row \d+, column \d+",
        ),
        "The model's chat template cannot be used: {why}.",
        ("Use --chat-template chatml, --chat-template-file, or a newer conversion of the model.",),
        "srv    load_model: chat template parsing error: Unexpected end of input",
    ),
    Signature(
        "jinja-needed",
        (r"(?:tools|tool_choice) param requires --jinja",),
        "Tools need the template engine, which is off.",
        ("Start the server with --jinja.",),
        "srv  log_server_r: error: tools param requires --jinja flag",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "grammar-invalid",
        (
            r"failed to parse grammar(?!: llguidance)",
            r"error parsing grammar(?: file)?: (?P<why>.+)",
            r"error initializing grammar sampler",
            r"failed to initialize (?:the )?grammar",
            r"Failed to initialize samplers: (?P<why>.+)",
            r"JSON schema conversion failed",
            r"JSON schema error at (?P<why>.+)",
            r"unsupported grammar, left recursion",
            r"Unexpected empty grammar stack",
            r"number of (?:rules|repetitions) .*exceeds sane defaults",
        ),
        "The grammar or JSON schema of a request cannot be used.",
        ("Simplify the schema of the request; the server itself is well.",),
        "failed to parse grammar",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "tool-call-unparsed",
        (
            r"Failed to parse input at pos \d+",
            r"Failed to parse tool call arguments",
            r"Failed to parse arguments: \[json\.exception",
            r"error parsing tool call",
            r"unparsed peg-\w+ output",
            r"Invalid diff: .*(?:finding less tool calls|not found at start)",
        ),
        "The model wrote a tool call that the engine cannot read back.",
        (
            "Use a newer build and a current conversion: its chat template decides how calls are "
            "read.",
            "Drop the damaged call from the history, or the same error comes with every retry.",
        ),
        'srv    operator(): got exception: {"error":{"code":500,"message":"Failed to parse input '
        'at pos 12: </tool_call>","type":"server_error"}}',
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "logits-nan",
        (
            r"max = nan\b",
            r"logits (?:are|contain|is) (?:NaN|inf)",
            r"llama_token_data_array\*\): Assertion",
            r"GGML_ASSERT\(iter != probs\.end\(\)\)",
            r"=+ Failed to sample token",
            r"probability tensor contains either",
            r"NaN detected in",
            r"contains NaNs?\b",
        ),
        "The model computed no usable numbers (NaN), so no token can be chosen.",
        (
            "Try -fa off and f16 caches, then a newer build or other quant: one operation "
            "overflows on this backend.",
            "Check the file's sha256: damaged weights do the same.",
        ),
        "llama-server: llama-sampler.cpp:1094: void llama_sampler_dist_apply(llama_sampler*, "
        "llama_token_data_array*): Assertion `found' failed.",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "rpc-failed",
        (
            r"Remote RPC server crashed or returned malformed response",
            r"RPC server version mismatch: (?P<why>.+)",
            r"^Failed to connect to (?P<why>[\w.:\[\]-]+:\d+)\.?$",
            r"failed to find RPC (?:backend|devices)",
            r"ggml-rpc\.cpp:\d+: ",
        ),
        "Another machine that was to compute layers (--rpc) does not answer: {why}.",
        (
            "Start rpc-server of exactly the same build there, listening on an address that this "
            "machine reaches.",
            "If it ended while loading, read its log: it ran out of memory.",
        ),
        "/app/ggml/src/ggml-rpc/ggml-rpc.cpp:615: Remote RPC server crashed or returned malformed "
        "response",
        Basis.REPORTED,
    ),
    Signature(
        "llguidance-missing",
        (r"llguidance (?:\(cmake -DLLAMA_LLGUIDANCE=ON\) )?is not enabled",),
        "The schema needs llguidance, which this build lacks.",
        ("Use a build with -DLLAMA_LLGUIDANCE=ON, or a plain grammar.",),
        "llguidance (cmake -DLLAMA_LLGUIDANCE=ON) is not enabled",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "projector-not-given",
        (
            r"(?P<what>image|audio|video) input is not supported\b(?! by the backend)",
            r"was not compiled for multimodal or the model projector can't be loaded",
            r"model does not support multimodal requests",
            r"The current model does not support audio input",
            r"This model does not support (?:image|audio) input",
        ),
        "A request holds an image or sound, but the server was started without a projector.",
        ("Start it with --mmproj and the mmproj file of the model's repository.",),
        "srv    operator(): got exception: image input is not supported - hint: if this is "
        "unexpected, "
        "you may need to provide the mmproj",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "endpoint-off",
        (
            r"This server does not support (?P<what>embeddings|reranking|metrics endpoint|slots "
            r"endpoint|slots action|changing global properties)",
            r"Pooling type 'none' is not OAI compatible",
            r"Infill is not supported by this model",
            r"registry\.ollama\.ai\S+ does not support (?P<what>\w+)",
            r"this model does not support (?P<what>embeddings|insert|generate|chat)\b",
        ),
        "A request needs an endpoint that was not switched on: {what}.",
        ("Start the server with --embeddings, --reranking, --metrics or --slots as needed.",),
        "srv    send_error: This server does not support embeddings. Start it with `--embeddings`",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "model-not-served",
        (
            r"model name=(?P<name>\S+) is not found",
            r"model \\?[\"'](?P<name>[^\"'\\]+)\\?[\"'] not found, try pulling it first",
            r"model limit reached, try again later",
            r"invalid model name",
        ),
        "A request names a model that the server does not have.",
        ("Use a name that /v1/models lists, or pull the model first.",),
        'Error: model "llama9" not found, try pulling it first',
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "key-wrong",
        (r"unauthorized: Invalid API Key", r"\"?Invalid API Key\"?", r"incorrect api key provided"),
        "A client sent no key, or a wrong one.",
        ("Send Authorization: Bearer KEY with the key that the server was started with.",),
        "srv  middleware: unauthorized: Invalid API Key",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "decode-failed",
        (
            r"llama_decode returned (?P<code>-?\d+)",
            r"failed to decode the batch",
            r"decode\(\) failed: (?P<why>.+)",
            r"failed to decode, ret = (?P<code>-?[23])",
            r"failed to compute graph, compute status: (?P<code>-?\d+)",
            r"failed to process (?:image|mtmd chunk|speculative batch)",
            r"server error: failed to decode",
            r"free space in the kv cache, retrying .*n_batch = 1\b",
        ),
        "The engine failed while computing a request.",
        ("Look at the lines before it; a code of 1 means the cache was full.",),
        "RuntimeError: llama_decode returned -3",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
    ),
    Signature(
        "slots-need-kvu",
        (
            r"coupled sequences in the input batch \(you may need to use the -kvu flag\)",
            r"Try using a bigger --parallel value",
        ),
        "Requests with several answers need a unified cache or more slots.",
        ("Add -kvu, or raise -np.",),
        "split_equal: sequential split is not supported when there are coupled sequences in the "
        "input "
        "batch (you may need to use the -kvu flag)",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "config-file-invalid",
        (
            r"failed to (?:parse|open) server (?:config|preset) file: (?P<path>\S+)",
            r"preset file does not exist: (?P<path>\S+)",
            r"failed to initialize router models",
            r"'(?P<path>[^']+)' does not exist or is not a directory",
        ),
        "The configuration of the server cannot be read: {path}.",
        ("Check the path and the syntax of the preset or models folder.",),
        "failed to parse server config file: /etc/llama.ini",
    ),
    Signature(
        "context-beyond-training",
        (
            r"n_ctx_(?:seq|per_seq|pre_seq) \((?P<n_ctx>\d+)\) > n_ctx_train \((?P<train>\d+)\)",
            r"the slot context \((?P<n_ctx>\d+)\) exceeds the training context of the model "
            r"\((?P<train>\d+)\)",
            r"requested context size too large for model",
        ),
        "The context is longer than the model was trained for ({n_ctx} against {train}).",
        ("Lower -c, or use RoPE scaling.",),
        "llama_context: n_ctx_seq (400128) > n_ctx_train (8192) -- possible training "
        "context overflow",
        Basis.REAL,
        severity=Severity.REMARK,
    ),
    Signature(
        "context-rounded",
        (r"n_ctx is not divisible by n_seq_max - rounding down to (?P<n_ctx>\d+)",),
        "-c was rounded down so that all slots are equal.",
        ("Choose a multiple of 256 times the number of slots.",),
        "llama_context: n_ctx is not divisible by n_seq_max - rounding down to 8192",
        severity=Severity.REMARK,
    ),
    Signature(
        "prompt-truncated",
        (r"truncating input prompt", r"input truncated"),
        "Prompts are longer than the context and are cut.",
        ("Raise the context: num_ctx or OLLAMA_CONTEXT_LENGTH.",),
        'time=2025-01-01T00:00:00Z level=WARN source=runner.go:129 msg="truncating input prompt" '
        "limit=2048 prompt=6001",
        Basis.REPORTED,
        severity=Severity.REMARK,
    ),
    Signature(
        "no-key-set",
        (r"security: no API key is set",),
        "The server takes requests from anyone: no key is set.",
        ("Set LLAMA_API_KEY or --api-key-file.",),
        "srv          init: security: no API key is set and CORS allows all origins "
        "(see https://github.com/ggml-org/llama.cpp/pull/25655)",
        Basis.REAL,
        severity=Severity.REMARK,
    ),
    Signature(
        "cache-space",
        (
            r"failed to find free space in the KV cache, retrying with smaller batch",
            r"failed to find a memory slot for batch of size",
        ),
        "Several requests together fill the cache; the engine retries in smaller steps.",
        ("Raise -c, or lower -np.",),
        "srv  update_slots: failed to find a memory slot for batch of size 512",
        severity=Severity.REMARK,
        phase=Phase.SERVE,
    ),
    Signature(
        "option-ignored",
        (
            r"(?P<what>ctx_shift|cache_reuse|swa_full) is not supported by .*it will be disabled",
            r"--cache-idle-slots requires --cache-ram, disabling",
        ),
        "An option has no effect with this model.",
        (),
        "srv    load_model: cache_reuse is not supported by this context, it will be disabled",
        severity=Severity.REMARK,
    ),
)
