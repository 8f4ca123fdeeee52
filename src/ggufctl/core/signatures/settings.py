"""Options the engine refuses, and requests it cannot serve with the settings it has."""

from __future__ import annotations

from ggufctl.core.signatures import programs
from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier, Variant

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        "argument-unknown",
        (
            r"curl: option (?P<argument>--?[\w-]+): is (?:unknown|ambiguous)",
            r"error: invalid argument: (?P<argument>\S+)",
            r"invalid argument: (?P<argument>--?[a-z][\w-]*)",
            r"error: unknown argument: (?P<argument>\S+)",
            r": (?P<argument>--?[A-Za-z][\w-]*) unknown argument\b",
            r"unrecognized arguments: (?P<argument>.+)",
            r"error while handling (?:argument|environment variable) \"(?P<argument>[^\"]+)\": the "
            r"argument has been removed\W*(?P<instead>.*)",
            r"unknown flag: (?P<argument>\S+)",
            r"unknown (?:shorthand )?flag:? (?P<argument>.+)",
            r"(?<!ignoring )(?:unknown|unrecogni[sz]ed|invalid|unexpected) (?:command[- ]?line )?"
            r"(?:option|argument|flag|parameter)s?:? ['\"`]?(?P<argument>--?[a-zA-Z][\w-]*)",
            r"unrecogni[sz]ed (?:option|argument|parameter)",
            r"no such option:? ['\"`]?(?P<argument>-{0,2}\w[\w-]*)",
            r"(?<!ignoring )unknown option:? (?P<argument>\S*)",
            r"flag provided but not defined: (?P<argument>\S+)",
            r"(?:got an )?unexpected argument '(?P<argument>[^']+)' found",
            r"arguments are not used by",
            r"option '(?P<argument>[^']+)' not recognized in preset",
            r"arguments? (?:was|were) not expected: (?P<argument>.+)",
            r"Got unexpected extra arguments? \((?P<argument>[^)]+)\)",
            r"\bNo such command '(?P<argument>[^']+)'",
            r"invalid option -- '?(?P<argument>\w)",
            r"^Error: unknown parameter '(?P<argument>[^']+)'",
        ),
        "This build of the engine has no option {argument}.",
        (
            "Check the spelling with --help of exactly this build: options were renamed and "
            "removed.",
            "-fa needs a value (on, off, auto); --draft* became --spec-draft-*; --no-mmap became "
            "--load-mode none, --mlock --load-mode mlock. Long options have two dashes.",
            "If the option is newer than the program: update it, and see with which -a (where on "
            "Windows) and --version whether an older copy comes first in PATH.",
        ),
        "error: invalid argument: --flash-attention",
        variants=(
            Variant(
                r"the argument has been removed\W+\w",
                (
                    "Correct the command, the preset or the environment (LLAMA_ARG_...): "
                    "{instead}.",
                    "--help of exactly this build lists what it takes; or stay with the build that "
                    "the command was written for.",
                ),
                "This build of the engine no longer has the option {argument}: {instead}.",
            ),
            Variant(
                r"the argument has been removed",
                (
                    "Leave it out of the command, the preset and the environment "
                    "(LLAMA_ARG_...); --help of exactly this build lists what it takes.",
                ),
                "This build of the engine no longer has the option {argument}.",
            ),
            Variant(
                r"\bNo such option:? \W",
                (
                    "Correct its spelling: --help of exactly this command lists its options, and "
                    "the lines below may name the one that was meant.",
                    "Options come with newer versions: update the program (pip install -U NAME in "
                    "the environment that runs it), if what you follow names this one.",
                ),
                "The program has no option {argument}.",
            ),
            Variant(
                r"(?s)(?:invalid|unknown|unexpected|unrecognized) argument.*"
                r"\nblank variable(?:\n|$)",
                (
                    "Set the variable that Compose warns of, in .env beside the compose file or in "
                    "the shell that runs it (docker compose config shows what comes of it): "
                    "${NAME:?} in the file refuses to start without it.",
                ),
                "A variable of the compose file is not set, so that an option lost its value and "
                "took the next word for it: {argument}.",
            ),
            Variant(
                r"(?:invalid|unknown) argument: (?!-)|unrecognized arguments: (?!-)|unexpected "
                r"argument '(?!-)[^']+' found",
                (
                    "If it is the rest of a path or a prompt with a space in it, put the whole in "
                    'quotes (-m "C:\\My Models\\x.gguf"; in scripts, batch files and Compose once '
                    "more), or move the file to a path without spaces.",
                    "If it is a value, its option takes none in this build (--help of exactly this "
                    "build tells); if it is the model, it wants -m before it; a dash that a web "
                    "page made long (–) is none.",
                ),
                "A word stands alone on the command line, and belongs to no option: {argument}. "
                "Mostly it is the rest of a path that was cut at a space.",
            ),
            Variant(
                r"(?:no such|unknown|unrecognized|invalid) (?:sub)?command\b",
                (
                    "--help of exactly this program lists its commands: newer versions have more, "
                    "and some are renamed (huggingface-cli became hf), so update it.",
                    "which -a NAME (where on Windows) shows an older copy that comes first in "
                    "PATH.",
                ),
                "This version of the program has no such command.",
            ),
            Variant(
                r"(?:^|\n)(?!error|invalid)[\w.-]+: error: unrecognized arguments",
                (
                    "Compare it with --help of exactly this program: options come with newer "
                    "versions and go with others, so update it (pip install -U NAME in the "
                    "environment that runs it), or leave the option out.",
                    "which -a NAME (where on Windows) shows an older copy that comes first in "
                    "PATH.",
                ),
                "This version of the program has no option {argument}.",
            ),
            Variant(
                r"unknown shorthand flag: '[fdp]' in -|unknown flag: --(?:env-file|profile|build|"
                r"detach|project)",
                (
                    "Install the plugin (docker-compose-plugin; on a Mac docker-compose of "
                    "Homebrew, linked into ~/.docker/cli-plugins): docker compose version must "
                    "answer.",
                    "Or write docker-compose, where the old program is there.",
                ),
                "This docker has no compose, and takes compose's options for its own.",
            ),
            Variant(
                r"^(?:basename|cat|cp|cut|date|df|du|find|grep|head|ln|ls|mkdir|mktemp|mv|readlink|"
                r"realpath|rm|sed|sort|stat|tail|tar|xargs): ",
                (
                    "Leave the option out, or put it where it belongs: a script passed it on to a "
                    "program that it is not meant for.",
                    "In Alpine (BusyBox) and macOS these programs know less than GNU's: install "
                    "coreutils, sed or findutils.",
                ),
                "A small program that a script calls has no option {argument}.",
            ),
            Variant(
                r"unknown parameter '",
                (
                    "Correct the line PARAMETER in the Modelfile: Ollama knows num_ctx, num_gpu, "
                    "num_batch, temperature, stop and some more, and not the options of "
                    "llama-server.",
                ),
                "Ollama has no parameter {argument}.",
            ),
        ),
    ),
    Signature(
        "argument-value",
        (
            r"error while handling argument \"(?P<argument>[^\"]+)\": (?!the argument has been "
            r"removed)(?P<why>.+)",
            r"Unsupported cache type: (?P<why>.+)",
            r"expected value for argument",
            r"error while handling environment variable \"(?P<argument>[^\"]+)\": (?!the argument "
            r"has been removed)(?P<why>.+)",
            r"invalid device: (?P<why>.+)",
            r"invalid value for main_gpu: (?P<why>(?!.{0,30}available devices: 0).+)",
            r"unknown buffer type",
            r"n_batch and n_ubatch cannot both be zero",
            r"(?P<argument>n_seq_max) (?P<why>must be <= \d+)",
            r"failed to initialize the context: (?P<argument>n_\w+) (?P<why>must be .+)",
            r"^(?:\S+: )?(?P<why>(?:invalid (?:ftype|ggml_type|nthread|quantization type|layer "
            r"id)|malformed tensor type) '[^']+')",
            r"unknown value for (?P<argument>--\S+): (?P<why>.+)",
            r"error: invalid (?:value|repeat|dry|choice)(?!\. Repo).{0,80}",
            r"^(?P<name>[\w.-]+): error: argument (?P<argument>\S+): invalid choice: (?P<why>.+)",
            r"invalid choice: (?P<why>.+)",
            r"argument (?P<argument>-\S+): (?P<why>(?:invalid|expected|not allowed).+)",
            r"requires an argument",
            r"invalid value (?:['\"`]\S+ )?for (?P<argument>(?!main_gpu)\S+)",
            r"missing (?:required )?(?:argument|value)s?\b",
            r"the following arguments are required: (?P<argument>.+)",
            r"invalid HF repo format",
            r"no devices specified",
            r"not a directory: (?P<why>.+)",
            r"n_ctx_seq == 0",
            r"n_gpu_layers .{0,40}(?:invalid|must be)",
            r"malformed KV override",
            r"for KV override '(?P<why>[^']+)'",
            r"Format of CPU range is invalid",
            r"unknown value for (?P<argument>GGML_\w+): (?P<why>.+)",
            r"(?:cuda|hip|sycl|vk|vulkan|metal|opencl|cann|"
            r"rpc)\w*: (?:error: )?invalid device (?:number )?(?P<why>\d+)",
            r"n_ctx and model->hparams\.n_ctx_train cannot both be zero",
            r"max_model_len .{0,120}greater than the derived",
            r"must be divisible by tensor parallel size",
            r"attention heads .{0,60}divisible",
        ),
        "The engine refuses the value of an option: {argument}: {why}.",
        ("Correct the value; --help lists what this build takes.",),
        'error while handling argument "--cache-type-k": Unsupported cache type: q3_0',
        variants=(
            Variant(
                r"invalid device: ",
                (
                    "--list-devices of exactly this build shows the names that it has; take one "
                    "of them, or leave --device out.",
                    "If the GPU is not among them: use a build with its backend "
                    "(-DGGML_CUDA=ON, Vulkan, ROCm; the image's -cuda tag), install its driver "
                    "(nvidia-smi must answer), and start containers with --gpus all.",
                ),
                "There is no such device in this build or machine: {why}.",
            ),
            Variant(
                r"not supported in this build|(?:built|compiled) without|not (?:built|compiled) "
                r"with",
                (
                    "Use a build with it: cmake -B build -DGGML_RPC=ON for --rpc, "
                    "-DLLAMA_CURL=ON or LLAMA_OPENSSL=ON for downloads, -DGGML_CUDA=ON and the "
                    "like for GPUs; or leave the option out.",
                    "--list-devices shows which backends this one has.",
                ),
                "This build was made without what an option needs: {argument} {why}.",
            ),
            Variant(
                r"n_seq_max must be",
                (
                    "Lower --parallel (-np, LLAMA_ARG_N_PARALLEL; n_parallel): each slot is one "
                    "sequence. More requests at a time wait in the queue by themselves; for more "
                    "of them run several servers behind one balancer.",
                ),
                "The engine takes no more parallel sequences: n_seq_max {why}.",
            ),
            Variant(
                r"invalid (?:ftype|ggml_type|quantization type)",
                (
                    "Take one of the types that llama-quantize lists without arguments, such as "
                    "Q4_K_M, Q5_K_M, Q8_0 or IQ4_XS.",
                    "Names like UD-Q4_K_XL or Q4_K_L are recipes of single publishers: the types "
                    "of some tensors are set with --tensor-type, --token-embedding-type and "
                    "--output-tensor-type.",
                ),
                "llama-quantize knows no such type: {why}.",
            ),
            Variant(
                r"convert[-_]\w*gguf\S*: error|--outtype",
                (
                    "The converter writes f32, f16, bf16, q8_0 and the ternary types only: take "
                    "one of them (--outtype bf16), then llama-quantize IN.gguf OUT.gguf Q4_K_M.",
                ),
                "The converter does not take this value: {argument} {why}.",
            ),
            Variant(
                r"(?:^|\n)(?!error)[\w.-]+: error: ",
                (
                    "Take one of the values that it lists; --help of exactly this program says "
                    "what it knows.",
                    "If what you follow was written for another version, install that one: newest "
                    "with pip install -U NAME, in the environment that runs it (which -a NAME "
                    "shows an older copy that comes first).",
                ),
                "The program refuses an argument of its command line: {argument} {why}.",
            ),
            Variant(
                r"(?:^|\n)(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception): ",
                (
                    "The last lines of the traceback show the call: correct the value there, "
                    "or in the configuration or environment variable that it comes from.",
                    "Where it stands in a library and not in your own code, two packages "
                    "differ in age: upgrade both, or pin what the library's page names.",
                ),
                "A program refuses a value that it is given: {why}.",
            ),
        ),
    ),
    Signature(
        "quantized-v-needs-fa",
        (
            r"quantized V cache requires flash_attn",
            r"quantized V cache was requested, but this requires Flash Attention",
            r"V cache quantization requires flash_attn",
            r"flash_attn requires n_embd_head_k == n_embd_head_v",
            r"(?:K|V) cache quantization requires flash",
            r"(?:quantized|quantised) (?:V|KV|V-|KV-) ?cache.{0,60}(?:flash|requires)",
            r"cache.{0,30}quanti[sz]\w+.{0,60}(?:requires?|needs?|without) .{0,20}flash",
            r"--quantkv requires --flashattention",
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
            r"Unsupported KV type combination",
            r"K cache (?P<type>\S+) coupled with V cache \S+ is not",
            r"(?:fattn|indexer): unsupported [KV]-type",
            r"Unsupported [KV] type for flash",
            r"Not match KV type in vec",
        ),
        "This model or device does not take these types of cache.",
        (
            "Use the same -ctk and -ctv (q8_0 or q4_0), or leave both out, which is f16.",
            "Embedding and reranking models have no cache to quantise: leave both out, and -fa "
            "off.",
            "More pairs work with a build that has -DGGML_CUDA_FA_ALL_QUANTS=ON.",
        ),
        "llama_init_from_model: model does not support different K (q8_0) and V (f16) cache types",
    ),
    Signature(
        "split-mode-row",
        (
            r"does not support split buffers",
            r"GGML_ASSERT\(split_state",
            r"GGML_ASSERT\(!\(split && ",
            r"LLAMA_SPLIT_MODE_TENSOR not implemented for architecture",
            r"SPLIT_MODE_TENSOR (?:requires|needs)",
            r"use of (?:LLAMA_)?SPLIT_MODE_\w+ and .{1,80}not (?:implemented|supported)",
            r"(?:tensor_axis_0|GGML_BACKEND_SPLIT_AXIS_\w+)\b.{0,40}\) failed",
            r"ggml-backend-meta\.cpp:\d+: ",
            r"unsupported mul_mat split states",
            r"not implemented for SPLIT_MODE_\w+(?!, abort)",
            r"LLAMA_SPLIT_MODE_TENSOR needs >= 1 devices",
            r"Split mode '\w+' is not supported",
        ),
        "This split mode does not work on these GPUs or for this model.",
        (
            "Use -sm layer.",
            "-sm tensor wants -fa on, caches of f16, a newer build, and two or four like GPUs; it "
            "does not take every architecture or draft.",
        ),
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
            r"does not support (?:K-shift|context[- ]shift)",
            r"(?:K-shift|context[- ]shift) (?:is )?not supported",
            r"(?:kv-cache\S*|rope\S*|context)\.\w+:\d+: GGML_ASSERT\((?:hparams|n_embd_head).*\) "
            r"failed",
        ),
        "The context was full, and it cannot be shifted with this model or cache.",
        (
            "Give it a larger context (-c; num_ctx or OLLAMA_CONTEXT_LENGTH in Ollama), or shorter "
            "prompts and answers (-n, num_predict).",
            "Drop --context-shift (older builds: --no-context-shift), use an f16 K cache, and a "
            "newer build, which answers with an error and lives on.",
        ),
        "llama-context.cpp:812: The current KV cache / model configuration does not support "
        "K-shift",
        phase=Phase.SERVE,
    ),
    Signature(
        "port-taken",
        (
            r"Cannot find empty port in range: (?P<port>[\d-]+)",
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
            r"Errno (?:48|98)\]",
            r"os error (?:48|98|10048)\)",
            r"WSAEADDRINUSE",
            r"Port (?P<port>\d+) of \S+ is taken",
            r"\bport \d+ is (?:in use|taken|not available|unavailable|occupied)\b",
            r"port .{0,40}(?:is )?already (?:in use|allocated|taken|being used|bound)",
            r"(?:failed|unable|could not|cannot) (?:to )?bind\b(?!\. IPv6)",
            r"bind\S* failed",
            r"error binding to",
            r"ports are not available",
            r"another (?:instance|process|program) .{0,60}(?:running|using|port)",
            r"no available port could be detected",
            r"Failed to create server socket",
            r"bind\(\) to \S+ failed",
            r"地址已在使用",
            r"通常每个套接字地址",
            r"Adresse déjà utilisée",
            r"Adresse wird bereits verwendet",
            r"La dirección ya se está usando",
        ),
        "The port is taken by another program, or may not be used: {port}.",
        ("Choose another with --port, or stop the other program (ss -ltnp shows it).",),
        "srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 44267",
        Basis.REAL,
        variants=(
            Variant(
                r"\b11434\b|OLLAMA_HOST",
                (
                    "Ollama runs already, as a service or app: use that one, or end it (systemctl "
                    "stop ollama, on Windows and macOS Quit in its menu).",
                    "Otherwise give this one another address: OLLAMA_HOST=127.0.0.1:11435.",
                ),
            ),
            Variant(
                r"port is already allocated|ports are not available|programming external",
                (
                    "Publish another port (-p 8081:8080), or stop the container that has it "
                    "(docker ps) or the program on the host (ss -ltnp, on Windows netstat -ano).",
                ),
            ),
            Variant(
                r"WinError 10048|Only one usage|os error 10048|\bwindows\b",
                (
                    "Choose another with --port, or end the program that has it: netstat -ano "
                    "shows its number, taskkill /PID ends it.",
                ),
            ),
        ),
    ),
    Signature(
        "address-not-here",
        (
            r"\[Errno 97\] Address family not supported",
            r"Address family not supported by protocol",
            r"^(?!.{0,300}connect).{0,300}Cannot assign requested address",
            r"couldn't bind .*hostname: (?!127\.(?!0\.0\.0,)|0\.0\.0\.0|localhost|::1?,|"
            r"\[?::1?\]?,)"
            r"(?P<host>[^\s,]+), port: (?P<port>\d+)",
            r"listen tcp: lookup .{0,80}(?:unknown port|no such host)",
            r"listen tcp: address .{0,80}(?:too many colons|missing port|invalid port)",
        ),
        "The address to listen on is none, or does not belong to this machine.",
        (
            "Use --host 127.0.0.1, or 0.0.0.0 inside a container behind a proxy.",
            "OLLAMA_HOST is an address and a number, as 127.0.0.1:11434; look for a wrong one "
            "among the system's variables.",
        ),
        "listen tcp 10.1.2.3:11434: bind: Cannot assign requested address",
        Basis.REPORTED,
        variants=(
            Variant(
                r"hostname: (?:/|\.{1,2}/|[^\s,]+\.sock\b)",
                (
                    "Make its folder first, for the user that runs the server (mkdir -p, chown), "
                    "or name one that this user may write to; systemd does so with "
                    "RuntimeDirectory=.",
                    "Remove a socket that an earlier run left behind, if nothing listens on it; a "
                    "path has at most 107 characters.",
                ),
                "The server cannot make the unix socket that --host names: {host}.",
            ),
            Variant(
                r"hostname: [\d.:\[\]a-f]+, port: [1-9]",
                (
                    "Use --host 0.0.0.0 for all addresses of this machine, or 127.0.0.1 for this "
                    "machine alone; ip addr shows which it has (a cloud's public address mostly "
                    "is none of them, nor is the host's within a container).",
                    "If the address is among them, port {port} is taken there: ss -ltnp shows by "
                    "whom; choose another with --port.",
                ),
                "The server cannot listen on {host}: the address does not belong to this machine, "
                "or port {port} is taken there.",
            ),
            Variant(
                r"hostname: \S+, port: [1-9]",
                (
                    "--host is the address to listen on, not the server's name for others: use "
                    "--host 0.0.0.0, or 127.0.0.1 for this machine alone.",
                    "If the name is meant to be this machine: getent hosts NAME must show one of "
                    "its own addresses; if it does, port {port} is taken (ss -ltnp).",
                ),
                "The server cannot listen on {host}: the name does not resolve to an address of "
                "this machine, or port {port} is taken there.",
            ),
        ),
    ),
    Signature(
        "port-privileged",
        (
            r"bind: permission denied",
            r"\[Errno 13\] .*attempting to bind",
            r"(?:binding|bind|listen)\b.{0,60}(?:EACCES|permission denied|not permitted)",
        ),
        "Ports below 1024 are for root only.",
        ("Choose a port above 1024.",),
        "listen tcp 0.0.0.0:80: bind: permission denied",
        Basis.REPORTED,
    ),
    Signature(
        "port-reserved",
        (
            r"forbidden by its access permissions",
            r"WinError 10013",
            r"os error 10013",
            r"WSAEACCES",
        ),
        "Windows keeps the port for itself (Hyper-V and WSL reserve ranges), or a firewall does.",
        (
            "Choose another port, outside of what netsh interface ipv4 show "
            "excludedportrange protocol=tcp lists.",
            "Or free the ranges: net stop winnat, start the server, net start winnat.",
        ),
        "listen tcp 127.0.0.1:11434: bind: An attempt was made to access a socket in a "
        "way forbidden by its access permissions.",
        Basis.REPORTED,
    ),
    Signature(
        "no-tls",
        (
            r"HTTPS is not supported\. Please rebuild with",
            r"HTTPS requested but CPPHTTPLIB_OPENSSL_SUPPORT is not defined",
            r"the server is built without SSL support",
            r"built without (?:CURL|SSL|TLS)",
            r"built without libcurl",
        ),
        "The engine was built without TLS, so it can neither download nor serve over https.",
        (
            "Use an official image or release, or build with -DLLAMA_OPENSSL=ON.",
            "Otherwise download the file first and pass -m, and serve TLS by a proxy.",
        ),
        "get_repo_commit: error: HTTPS is not supported. Please rebuild with one of: "
        "-DLLAMA_OPENSSL=ON",
    ),
    Signature(
        "context-exceeded",
        (
            r"could not find a KV slot for the batch",
            r"request \((?P<tokens>\d+) tokens\) exceeds the available context size "
            r"\((?P<n_ctx>\d+) tokens\)",
            r"exceed_context_size_error",
            r"Context size has been exceeded",
            r"^context size exceeded",
            r"failed to decode the batch.*ret = 1\b",
            r"the request exceeds the available context size",
            r"Requested tokens \((?P<tokens>\d+)\) exceed context window of (?P<n_ctx>\d+)",
            r"model is loaded with context length of only (?P<n_ctx>\d+) tokens",
            r"keep the first (?P<tokens>\d+) tokens when .{0,120}length of only "
            r"(?P<n_ctx>\d+) tokens",
            r"prompt is too long; (?P<tokens>\d+) tokens",
            r"exceeds? (?:the )?maximum context length",
            r"failed to find (?:free space|a slot|available cells) .*(?:KV|kv) cache",
            r"(?:exceeds?|exceeded|exceeding|larger than|longer than|greater than|over) (?:the "
            r")?(?:model's |available |maximum |max |configured |total )?(?:context|ctx)"
            r"(?: ?(?:size|window|length|limit))?",
            r"(?:prompt|input|request|message|conversation|history)\b.{0,60}(?:too long|too large|"
            r"too many tokens)(?! to process)",
            r"n_ctx .{0,40}(?:exceeded|too small|is not enough)",
            r"context (?:window|size|length|limit) (?:is )?(?:exceeded|too small|overflow|full|"
            r"reached)",
            r"context (?:is )?(?:full|overflow)(?! policy)",
            r"Cannot truncate prompt",
            r"trying to keep the first \d+ tokens when context .*overflow",
            r"the number of tokens to keep from the initial prompt is greater than the context "
            r"length",
            r"not enough cells in kv cache",
            r"(?:prompt|input|request|message|conversation|history)\b.{0,60}too big",
            r"failed to find \d+ available cells in kv cache",
            r"failed to find a slot for \d+ tokens",
            r"context is exhausted, release the slot",
            r"(?:error|send_error)\b.{0,40}context shift (?:is disabled|cannot be used)",
            r"Prompt exceeds n_ctx: (?P<tokens>\d+) > (?P<n_ctx>\d+)",
            r"Check your context buffer sizes",
            r"Restored prompt does not fit in the slot context",
            r"maximum context length is (?P<n_ctx>\d+) tokens",
            r"ContextWindowExceededError",
            r"context_length_exceeded",
            r"Failed to free up space for new tokens",
            r"Cannot truncate context",
            r"input length exceeds (?:the )?(?:maximum )?context",
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
        variants=(
            Variant(
                r"Try to load the model with a larger context|Cannot truncate prompt|\bLM ?Studio",
                (
                    "Load the model with a longer context (the gear beside it, or lms load "
                    "--context-length).",
                    "Shorten the prompt or the history; agents send some 10000 tokens at once.",
                ),
                "A request was longer than the context that the model is loaded with: {tokens} "
                "tokens against {n_ctx}.",
            ),
            *programs.CONTEXT,
            Variant(
                r"This model's maximum context length|\bmax_model_len\b|\bvllm\b",
                (
                    "Lower max_tokens or shorten the prompt: both together must fit.",
                    "vLLM's --max-model-len sets the length, up to that of the model.",
                ),
                "A request asked for more tokens, those of the answer among them, than the server "
                "keeps: {n_ctx}.",
            ),
            Variant(
                r"exceed context window of",
                (
                    "Pass a larger n_ctx to Llama or LlamaCpp (512 by default; 0 takes what the "
                    "model was trained with), or --n_ctx to its server.",
                    "Shorten the prompt, or lower max_tokens.",
                ),
            ),
        ),
    ),
    Signature(
        "batch-too-small",
        (
            r"input (?:\((?P<tokens>\d+) tokens\) )?is too large to process[.,;] (?:please "
            r")?increase the physical batch",
            r"question and its options \(\d+ tokens\) are too large",
            r"n_ubatch >= n_tokens",
            r"non-causal attention requires n_ubatch",
            r"larger than (?:the )?(?:physical )?batch size",
            r"exceed(?:s)? (?:the )?(?:physical )?batch size",
            r"increase the (?:physical )?batch size",
            r"maximum allowed batch size",
            r"self\.batch\.seq_id\[j\]\[0\] = seq_id",
        ),
        "An input for an embedding or reranking is longer than the physical batch.",
        ("Raise -ub (and -b) to the longest input.",),
        "slot update_slots: input (1200 tokens) is too large to process. increase the physical "
        "batch "
        "size (current batch size: 512)",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            *programs.by_program(
                ollama=(
                    "Raise num_batch (options of the request or Modelfile) to the longest input, "
                    "or split the input.",
                ),
                lm_studio=(
                    "Raise Evaluation Batch Size when the model is loaded, or split the input.",
                ),
                koboldcpp=("Raise --blasbatchsize, or split the input.",),
                python=("Pass a larger n_ubatch and n_batch.",),
            ),
            Variant(
                r"causal_attn",
                (
                    "Raise -ub and -b to the tokens of the largest picture or input (-ub 2048 -b "
                    "2048), or limit pictures with --image-max-tokens.",
                ),
                "A picture or an input for an embedding is longer than the physical batch, which "
                "the model needs whole.",
            ),
        ),
    ),
    Signature(
        "template-refuses",
        (
            r"Jinja Exception: (?P<why>.+)",
            r"(?<!raise_)(?:exception|error|message)\b\W.{0,60}conversation roles must alternate",
            r"Unable to generate parser for this template(?!.{0,200}(?:schema|grammar))",
            r"While executing \w+ at line \d+, column \d+",
            r"Failed to parse messages: (?P<why>.+)",
            r"(?:applying|rendering|apply|render) the (?:jinja )?chat template: (?P<why>.+)",
            r"TemplateError",
            r"^(?!.{0,300}(?:callable|subscript|Unknown |Undefined |Unexpected token|Expected "
            r"(?:block|closing|\w+ token))).{0,300}at row \d+, column \d+",
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
            r"chat template parsing error: (?P<why>(?!Unable to generate parser).+)",
            r"chat template parsing error: Unable to generate parser",
            r"failed to parse chat template(?: \(defaulting to chatml\))?: (?P<why>.+)",
            r"supplied chat template is not supported: (?P<why>.+)",
            r"supplied chat template is not supported",
            r"common_chat_templates_init: error: (?P<why>.+)",
            r"Error rendering prompt with jinja template: (?P<why>.+)",
            r"this custom template is not supported",
            r"failed to apply chat template",
            r"Model does not have chat template",
            r"jinja2\.exceptions\.\w+: (?P<why>.+)",
            r"(?P<why>(?:Value|Object) is not callable|Cannot subscript \w+|Undefined \w+|Unknown "
            r"(?:method|argument|filter|test|statement)|Unexpected token|Expected (?:block|closing|"
            r"\w+ token)).{0,90} at row \d+, column \d+",
            r"(?P<why>Callee is not a function: got \w+)",
            r"(?:failed|unable|could not|error) (?:to )?(?:parse|parsing|load|loading|initialize|"
            r"render) (?:the )?(?:chat |jinja |custom )?template",
            r"TemplateSyntaxError",
            r"error (?:rendering|parsing|in) (?:the )?(?:prompt |chat |jinja )?template",
            r"(?:chat )?template .{0,60}(?:is not supported|not supported|is invalid|syntax error|"
            r"failed to)",
            r"(?P<why>Unknown (?:\w+ )?\(?(?:statement|filter|test|operator|built-in|method)\b"
            r".{0,80})",
            r"Jinja template failed",
            r"Expected \w+ (?:token|identifier)",
            r"please consider disabling jinja",
            r"^Error: template error",
            r"template: :?\S*\d+: .{0,120}(?:undefined|not defined|unexpected|executing|bad)",
        ),
        "The model's chat template cannot be used: {why}.",
        (
            "Use --chat-template chatml, --chat-template-file, or a newer conversion of the model.",
            "In LM Studio take the model of lmstudio-community, or correct it under My Models > "
            "Prompt Template.",
        ),
        "srv    load_model: chat template parsing error: Unexpected end of input",
        variants=(
            Variant(
                r"supplied chat template is not supported: \W{0,2}[\w.-]+\W{0,2}(?:\n|$)",
                (
                    "Take one of the names that --help lists after --chat-template (chatml, "
                    "llama3, gemma ...), or leave the option out: the model's own template is "
                    "used then.",
                    "A template of your own goes with --chat-template-file FILE, and --jinja.",
                ),
                "The engine has no chat template of the name that --chat-template gives: {why}.",
            ),
            Variant(
                r"supplied chat template is not supported",
                (
                    "Correct the template: every for and if in it needs its end (endfor, endif), "
                    "every opening brace its closing one; the line with Parser Error names the "
                    "place. Quote it in the shell, or give it as a file (--chat-template-file).",
                    "Or leave the option out, so that the model's own template is used; without "
                    "--jinja only built-in names are taken.",
                ),
                "The chat template that the command line gives (--chat-template, "
                "--chat-template-file) cannot be used: {why}.",
            ),
            Variant(
                r"for type \w+|not callable|not a function|Cannot subscript|Unknown \(?(?:filter|"
                r"built-in|method|test|statement)",
                (
                    "Use a newer build of the engine: what its templates can do grows with every "
                    "month.",
                    "Otherwise give it a corrected template with --chat-template-file (in LM "
                    "Studio under My Models > Prompt Template), or a newer conversion.",
                    "If it is about the arguments of a tool call, the client has to send them as "
                    "the API wants them, and the history may hold a damaged one.",
                ),
                "The model's chat template uses what this build's renderer does not know, or a "
                "field that the request lacks: {why}.",
            ),
        ),
    ),
    Signature(
        "jinja-needed",
        (
            r"tool choice requires --enable-auto-tool-choice",
            r"(?:tools|tool_choice) param requires --jinja",
        ),
        "The server was started without what tools need.",
        (
            "Start llama-server with --jinja, vLLM with --enable-auto-tool-choice and "
            "--tool-call-parser.",
        ),
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
            r"JSON schema error at (?P<why>[^\"\\]+)",
            r"(?P<why>Unresolved \$ref [^\"\\]+)",
            r"unsupported grammar, left recursion",
            r"(?<!what\(\): )(?<!what\(\):  )(?<!what\(\):)Unexpected empty grammar stack",
            r"what\(\): +expecting .{1,60} at ",
            r"Grammar trigger word should be",
            r"no triggers set for lazy grammar",
            r"number of (?:rules|repetitions) .*exceeds sane defaults",
            r"(?:failed|unable|error) (?:to )?(?:parse|parsing|compile|compiling|load|convert|"
            r"initialize) (?:the )?(?:json )?(?:grammar|schema)",
            r"invalid grammar",
            r"grammar does not contain",
            r"Undefined rule",
            r"Cannot use both json_schema and grammar",
            r"(?:json )?schema .{0,60}(?:not supported|unsupported|invalid)",
            r"llg (?:tokenizer )?error: (?P<why>.+)",
        ),
        "The grammar or JSON schema of a request cannot be used.",
        (
            "Simplify the schema of the request, or of its tools: no large maxLength or maxItems, "
            "no pattern, format or $ref to elsewhere, plain names; the server itself is well.",
            "Leave tools out one after another to see which it is; the line with parse: before it "
            "names the place. Newer builds take more.",
        ),
        "failed to parse grammar",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"empty grammar stack after accepting piece:? ?\W{0,3}(?:[{\[]|\\?\"[\w{])",
                (
                    "End the messages of such requests with the user's: a last message of the "
                    "assistant (prefill) goes through the grammar as well, and its beginning is "
                    "not what the schema allows there.",
                    "Otherwise leave the schema (response_format, json_schema, tools) out of "
                    "requests with a prefilled answer, and check the JSON yourself.",
                    "Use a newer engine, or the version before if it came with an update: when "
                    "the grammar begins was changed more than once. In a program of your own do "
                    "not accept a token twice: llama_sampler_sample has done so.",
                ),
                "The answer's given beginning (a prefilled message of the assistant) is not what "
                "the request's grammar or schema allows.",
            ),
            Variant(
                r"empty grammar stack after accepting piece:? ?\W{0,3}(?:think|channel|reason|"
                r"thought|seed:|analysis|start|\|)",
                (
                    'Turn thinking off for such requests ("chat_template_kwargs": '
                    '{"enable_thinking": false}, or --reasoning-budget 0).',
                    "Use a newer engine: newer ones let the grammar begin after the thought.",
                ),
                "The model wrote what the request's grammar does not allow, as the beginning of "
                "a thought that the template adds.",
            ),
            Variant(
                r"empty grammar stack",
                (
                    "Use a newer engine, or the version before if it came with an update: when the "
                    "grammar begins was changed more than once.",
                    'Turn thinking off for such requests ("chat_template_kwargs": '
                    '{"enable_thinking": false}, or --reasoning-budget 0), and end their '
                    "messages with the user's, not with one that the assistant is to continue.",
                    "Take a conversion of the model with its own chat template; then leave tools "
                    "or the schema out to see which it is.",
                ),
                "What the template or the model wrote is not what the request's grammar allows.",
            ),
            Variant(
                r"JSON schema error at|JSON schema conversion failed|cannot resolve \$ref|"
                r"Unresolved \$ref",
                (
                    "Correct the schema that the request sends (response_format, json_schema, "
                    "parameters of a tool) at that place: a $ref must lead to something under "
                    "$defs or definitions of the same schema; write it out there in its place.",
                    "Leave out what grammars cannot express: patterns that are not anchored with "
                    "^ and $, format, lookahead.",
                ),
                "The JSON schema of a request has a mistake: {why}.",
            ),
            Variant(
                r"error parsing grammar(?: file)?: (?!number of (?:rules|repetitions))"
                r"(?!.{0,60} at \s*[{\[])",
                (
                    "If the request (grammar) or --grammar-file gives the grammar: correct it. A "
                    "rule root, every rule that is used defined, names of letters, digits and - "
                    "only, one rule a line or in brackets, no left recursion.",
                    "If the server made it from a schema (response_format, tools): plain names "
                    "for fields, nothing unusual in it (pattern, format, $ref), and a newer "
                    "build, or the version before if it came with an update.",
                ),
                "The grammar (GBNF) of a request cannot be read: {why}.",
            ),
            Variant(
                r"error initializing grammar sampler|(?:fail\w*|error) (?:to )?initializ\w+ "
                r"(?:the )?(?:grammar|samplers)",
                (
                    "Update the server (or go back to the version before, if it came with an "
                    "update): the grammar is its own, made from the schema of response_format or "
                    "of the tools.",
                    "Until then send a grammar (GBNF) of your own, or none and the wish for JSON "
                    "in the prompt; turn thinking off for such requests "
                    '("chat_template_kwargs": {"enable_thinking": false}).',
                    "Simplify the schema: no large maxLength, minItems or maxItems, no pattern, "
                    "format or $ref to elsewhere, plain names; leave tools out one after another "
                    "to see which it is.",
                ),
                "The server cannot use the grammar that it made from the request's schema or "
                "tools.",
            ),
            Variant(
                r"expecting .{1,40} at \s*[{\[]",
                (
                    "This is JSON, not GBNF: give a schema as json_schema, response_format, or "
                    "--json-schema (-j), or turn it into a grammar with "
                    "examples/json_schema_to_grammar.py.",
                ),
                "A JSON schema was given where a grammar (GBNF) is expected.",
            ),
            Variant(
                r"Undefined rule|rules is empty|does not contain|expecting |left recursion",
                (
                    "Correct the grammar (GBNF): a rule root, every rule defined, names of "
                    "letters, digits and - only, one rule a line or in brackets, no left "
                    "recursion.",
                    "If it was made from a schema, use plain names for its fields (letters, "
                    "digits), and a newer build.",
                ),
                "The grammar (GBNF) of a request has a mistake.",
            ),
        ),
    ),
    Signature(
        "tool-call-unparsed",
        (
            r"Failed to parse input at pos \d+",
            r"Failed to parse tool call arguments",
            r"Failed to parse arguments: \[json\.exception",
            r"error parsing tool call",
            r"what\(\): +\[json\.exception\.parse_error",
            r"unparsed peg-\w+ output",
            r"Invalid diff: .*(?:finding less tool calls|not found at start)",
            r"(?:failed|unable|error) (?:to )?(?:parse|parsing) (?:the )?tool[ _-]?call",
            r"tool call .{0,40}(?:mismatch|invalid|parse error|could not be parsed)",
            r"output that does not match the expected",
            r"invalid tool call arguments",
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
            r"llama_token_data_array\*\): Assertion .{0,3}(?:found|iter|sum)",
            r"GGML_ASSERT\(iter != probs\.end\(\)\)",
            r"=+ Failed to sample token",
            r"probability tensor contains either",
            r"NaN detected in",
            r"contains NaNs?\b",
            r"\bnan\b.{0,40}(?:detected|logits|found|output|embedding)",
            r"inf or nan",
            r"contains nan",
            r"unsupported value: NaN",
            r"^(?:> )?GGGGGGGGGGGGGGGGGGGGGGGG+$",
            r"\"content\": ?\"(?:G{16,}|@{16,}|!{16,}|\?{16,})",
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
        variants=programs.NO_FLASH,
    ),
    Signature(
        "rpc-failed",
        (
            r"Remote RPC server crashed or returned malformed response",
            r"RPC server version mismatch: (?P<why>.+)",
            r"^Failed to connect to (?P<why>[\w.:\[\]-]+:\d+)\.?$",
            r"failed to find RPC (?:backend|devices)",
            r"ggml-rpc\.cpp:\d+: ",
            r"RPC (?:server|handshake|transport|backend|endpoint).{0,80}(?:fail\w*|crashed|"
            r"mismatch|error|not found|refused)",
            r"Failed to parse endpoint",
            r"not supported in this build.{0,20}RPC",
            r"RPC server (?!for GPU).{0,80}(?:not running|has exited|died|is down)",
            r"Expected HELLO command, update client",
            r"^(?:send|recv) failed \(bytes_(?:sent|recv)=",
            r"RDMA\S* .{0,60}(?:failed|error)",
            r"^\[(?:set|get|init|copy|alloc|free|graph|buffer|deserialize|memset|create)_?\w*\] "
            r".{0,60}(?:buffer not found|out of (?:buffer|tensor) bounds|error deserializing|"
            r"invalid tensor type|out-of-bounds)",
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
            r"(?:image|audio|video|vision|multimodal|multi-modal)s? (?:input |inputs |requests? |"
            r"content )?(?:is |are )?not (?:supported|enabled|available)\b(?! by the backend)",
            r"(?:does not|doesn't|cannot|not) (?:support|process|accept) (?:images?|vision|"
            r"multimodal|audio)\b(?![-=(])",
            r"missing data required for image input",
            r"mmproj (?:is |file )?(?:required|not provided|not loaded|missing)",
            r"no (?:mmproj|vision projector|multimodal projector)",
            r"not configured with an? (?:mmproj|vision|multimodal)",
            r"requires a loaded (?:mtmd|clip|mmproj)",
        ),
        "A request holds an image or sound, but the server was started without a projector.",
        ("Start it with --mmproj and the mmproj file of the model's repository.",),
        "srv    operator(): got exception: image input is not supported - hint: if this is "
        "unexpected, "
        "you may need to provide the mmproj",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            *programs.by_program(
                ollama=(
                    "Use a model whose ollama show lists vision.",
                    "For a GGUF of one's own name the projector as well in the Modelfile: a second "
                    "FROM with the mmproj file.",
                ),
                lm_studio=(
                    "Put the mmproj file into the folder of the model and load it anew, or take a "
                    "model that is marked with the eye.",
                ),
                koboldcpp=("Start it with --mmproj and the model's mmproj file.",),
                python=(
                    "Pass chat_handler with the handler of this kind of model (clip_model_path= "
                    "its mmproj file), or --clip_model_path and --chat_format to the server.",
                ),
            ),
        ),
    ),
    Signature(
        "endpoint-off",
        (
            r"This server does not support (?P<what>embeddings|reranking|metrics endpoint|slots "
            r"endpoint|slots action|changing global properties)(?:\W{1,3}Start it with \W{0,2}"
            r"(?P<option>--\w[\w-]+))?",
            r"Pooling type 'none' is not OAI compatible",
            r"Infill is not supported by this model",
            r"does not support (?P<what>embeddings?|reranking|completions?|infill)\b",
            r"must be created with embedding=True",
            r"context does not support logits computation",
            r"logprobs is not supported for models created with logits_all=False",
            r"(?:start|run) (?:it|the server) with [`'\"](?P<option>--\w[\w-]+)",
            r"embedding(?:s)? (?:is|are) not (?:supported|enabled)",
            # Asked for by somebody; what monitors poll (/metrics, /slots) is none's failure.
            r"POST \S{0,60}/(?P<what>embeddings?|rerank|reranking|infill)\b\S* .{0,60}\b501\b",
        ),
        "A request needs an endpoint that was not switched on: {what}.",
        (
            "Start the server with --embeddings, --reranking, --metrics or --slots as needed: for "
            "embeddings and reranking a server of its own with a model made for it, as a chat "
            "model's embeddings are of little use.",
        ),
        "srv    send_error: This server does not support embeddings. Start it with `--embeddings`",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"Pooling type 'none' is not OAI compatible",
                (
                    "Start the server with --pooling mean (cls or last, as the model's card says), "
                    "or leave --pooling out, so that the model's own is used.",
                    "With --pooling none every token has a vector of its own: ask /embeddings for "
                    "them, not /v1/embeddings.",
                ),
                "The server pools nothing (--pooling none), and /v1/embeddings answers with one "
                "vector for each text.",
            ),
            Variant(
                r"Infill is not supported|does not support infill",
                (
                    "Use a model that was trained to fill in the middle, in a GGUF that names its "
                    "FIM tokens: Qwen2.5-Coder, Qwen3-Coder, StarCoder2, CodeGemma, Codestral "
                    "(llama-server --fim-qwen-7b-default).",
                    "With another model complete from the left: /v1/completions.",
                ),
                "The model has no tokens to fill in the middle (FIM), which /infill needs.",
            ),
            Variant(
                r"created with embedding=True",
                (
                    "Make the object with Llama(model_path, embedding=True), and one of its own "
                    "for chat; the binding's server takes --embedding true.",
                ),
                "The Llama object was made without embedding=True, which embeddings need.",
            ),
            Variant(
                r"logits_all=False|does not support logits computation",
                (
                    "Make the object with Llama(model_path, logits_all=True), which takes more "
                    "memory; or ask without logprobs.",
                ),
                "The context was made without the logits of all tokens (logits_all=True), which "
                "logprobs need.",
            ),
            Variant(
                r"support slots action|slot-save-path",
                (
                    "Start the server with --slot-save-path FOLDER, where slots are saved and "
                    "restored from; the folder must be there.",
                ),
                "Slots can be saved, restored and erased only where the server has a folder for "
                "them.",
            ),
            Variant(
                r"changing global properties",
                ("Start the server with --props to change its properties by POST /props.",),
            ),
            Variant(
                r"does not support reranking|--rerank",
                (
                    "Start the server with --reranking and a reranker's GGUF (bge-reranker, "
                    "Qwen3-Reranker); a chat model cannot do it.",
                ),
            ),
            Variant(
                r"(?:start|run) (?:it|the server) with [`'\"]--",
                (
                    "Start the server with the option that it names: {option}.",
                    "For embeddings and reranking start one of its own with a model made for it: a "
                    "chat model's embeddings are of little use.",
                ),
            ),
        ),
    ),
    Signature(
        "ollama-cloud",
        (
            r"reached your (?:\w+ ){0,2}usage limit.{0,80}ollama\.com",
            r"ollama\.com/(?:upgrade|connect|signin)",
            r"this model requires a subscription",
            r"(?:run|use) [`'\"]?ollama signin",
            r"You need to be signed in to Ollama",
        ),
        "The model runs in Ollama's cloud, which wants an account or has a limit that is reached.",
        (
            "Sign in (ollama signin), or set the key of ollama.com/settings/keys in the client.",
            "Wait until the limit is renewed, or run a model without -cloud in its name, which "
            "stays on this machine.",
        ),
        "you (user) have reached your session usage limit, upgrade for higher limits: "
        "https://ollama.com/upgrade",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "ollama-model-name",
        (
            r"(?<!\w)invalid model name(?! passed)",
            r"invalid model reference: ?(?P<name>.*)",
            r"pull model manifest: 400\W*$",
        ),
        "Ollama takes for the name of a model what cannot be one: in ollama create mostly a file "
        "after FROM that is not there.",
        (
            "Correct the path after FROM: it counts from the folder of the Modelfile, and begins "
            "with ./ or / (FROM ./model.gguf; on Windows in quotes). What is no file there is "
            "taken for a name, and pulled.",
            "A name has letters, digits, dots, - and _, and one colon before its tag.",
        ),
        "gathering model components\nError: invalid model name",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "model-lacks-capability",
        (
            r"registry\.ollama\.ai\S+ does not support (?P<what>\w+)",
            r"(?P<what>Vision) add-on is not loaded",
            r"this model does not support (?P<what>embeddings|insert|generate|chat)\b",
            r"does not support (?P<what>generate|chat|tools|thinking|insert|vision)\b",
        ),
        "The model cannot do what a request asks of it: {what}.",
        (
            "Use a model whose page lists it (ollama show NAME prints its capabilities), or leave "
            "it out of the request.",
            "A model for embeddings cannot chat, and most chat models give no embeddings.",
            "For a GGUF of one's own it follows from TEMPLATE in the Modelfile: tools need "
            ".Tools in it.",
        ),
        '{"error":"registry.ollama.ai/library/gemma3:1b does not support tools"}',
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "model-not-served",
        (
            r"model name=(?P<name>\S+) is not found",
            r"model \\?[\"'](?P<name>[^\"'\\]+)\\?[\"'] not found, try pulling it first",
            r"model limit reached, try again later",
            r"\| +404 \|.{0,80}POST +\"/(?:api/(?:chat|generate|embed\w*)|v1/(?:chat/)?"
            r"(?:completions|embeddings))\"",
            r"no model found with name \\?[\"'](?P<name>[^\"'\\]+)",
            # Not the Hub's client, nor a file.
            r"(?!(?-i:Model '[^'/]+/[^']+' not found\.$))model (?!path\b|file\b|folder\b|"
            r"director)['\"`]?(?P<name>[\w./:@-]+)['\"`]? (?:not found|does not exist|is not found|"
            r"not loaded|is not available|could not be found)",
            r"no (?:such )?models? (?:named|(?:is |are )?loaded|with (?:id|name))",
            r"model_not_found",
            r"unknown model: ['\"]?(?P<name>\S+)",
            r"is not a (?:known|recogni[sz]ed|valid) model\b(?! identifier)",
            r"Invalid model name passed",
        ),
        "A request names a model that the server does not have.",
        (
            "Pull it first (ollama pull NAME; in a container docker exec -it ollama ollama pull "
            "NAME), or use a name that /v1/models or ollama list shows, tag included.",
        ),
        'Error: model "llama9" not found, try pulling it first',
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"lms load|developer page",
                (
                    "Load one (lms load NAME, or on the developer page), or switch Just-in-Time "
                    "model loading on; lms ps shows what is loaded.",
                ),
                "LM Studio has no model loaded, and loads none when asked.",
            ),
            Variant(
                r"in the Model tab",
                (
                    "Load one in the Model tab (its message there says why not, if it fails), or "
                    "start with --model NAME; files belong into user_data/models (models before "
                    "3.0).",
                ),
                "No model is loaded.",
            ),
        ),
    ),
    Signature(
        "key-wrong",
        (
            r"\w*Exception - unauthori[sz]ed",
            r"\bAuthorization header (?:is )?(?:missing|required)",
            r"unauthorized: Invalid API Key",
            r"\"?Invalid API Key\"?",
            r"incorrect api key provided",
            r"invalid[_ ]api[_ ]key",
            r"(?:incorrect|wrong|missing) api key",
            r"API key (?:is )?(?:invalid|missing|required|not valid)",
            r"Invalid proxy server token",
            r"AuthenticationError: (?:Error code: )?401",
            r"^\W{0,3}unauthori[sz]ed\W{0,3}$",
            r"Authentication Error, Invalid",
            r"Error code: 401",
            r"Invalid authentication credentials",
            r"Error code: 403\b",
            r"(?:missing|invalid|no) bearer token",
            r"(?:validation|request|call|completions?|chat|embeddings?|invocation|generation) "
            r"failed with (?:status|HTTP)\W{0,3}(?:code )?40[13]\b",
        ),
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
            r"llama_(?:decode|encode)\S*:? .{0,40}(?:failed|returned|error)",
            r"failed to (?:decode|encode|eval|process|evaluate) (?:the )?(?:batch|prompt|tokens|"
            r"ubatch|chunk|text)",
            r"graph_compute\w*: (?!CUDA graph update).{0,30}(?:failed|error)\b(?! with status)",
            r"(?:decode|decoding|prompt processing|inference) (?:failed|error)",
            r"failed to (?:encode|decode), ret = (?P<code>-1)\b",
            r"compute failed while preparing batch",
            r"graph_compute\w* failed with (?:error|status) (?P<code>-?\d+)",
            r": ?failed to eval\b",
            r"failed to (?:prepare|initialize|apply|update) (?:the )?(?:memory|batch|recurrent|"
            r"attention)\b",
            r"could not (?:initialize batch|reserve space for batch)",
            r"sampling failed, releasing slot",
            r"(?:unexpected error|unknown exception) in llama server",
            r"mtmd_helper_eval\w* failed",
            r"clip_\w*encode\w* failed",
        ),
        "The engine failed while computing a request.",
        (
            "Leave the device more memory (a lower -ub and -c), and try -fa off and a newer build; "
            "a code of 1 means that the cache was full.",
            "The lines before it say in which part; -lv 4 shows more.",
        ),
        "RuntimeError: llama_decode returned -3",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"attention ubatches|free space in the kv cache|NoKvSlot|increase KV|"
                r"returned 1\b|ret = 1\b|res = 1\b",
                (
                    "Raise -c, or lower -np: the requests of all slots share a unified cache "
                    "(--no-kv-unified gives each slot its part).",
                    "Keep prompts and max_tokens of requests at once within the context.",
                ),
                "The cache is full: there is no room for the batches of the requests at once.",
            ),
            Variant(
                r"mtmd|image|clip_|media|audio|\bchunk",
                (
                    "Send a smaller picture (--image-max-tokens), and give it room: a larger -c, "
                    "-b and -ub.",
                    "Try --no-mmproj-offload, the mmproj of the model's own repository, and a "
                    "newer build.",
                ),
                "The engine failed while computing a picture or sound.",
            ),
            Variant(
                r"specul|draft|ctx_dft|\bMTP\b",
                (
                    "Leave speculation out (--spec-type, -md), then use a newer build and a draft "
                    "made for exactly this model.",
                ),
                "The engine failed while computing with the draft.",
            ),
            Variant(
                r"(?:ret|res|status|returned|code)\W{1,3}-3\b|compute status: -?\d|with (?:error|"
                r"status) -1\b",
                (
                    "The device gave up while computing: leave it more memory (a lower -ub and "
                    "-c, fewer layers), and try -fa off.",
                    "The lines of its backend (CUDA, Vulkan, Metal) just before say more; start "
                    "with -ngl 0 to see whether it is the GPU.",
                ),
            ),
            Variant(
                r"(?:ret|res|status|returned|code)\W{1,3}-2\b|could not reserve|with (?:error|"
                r"status) -2\b",
                (
                    "Memory ran short while computing: use a lower -ub and -c, a cache of q8_0 "
                    "(-fa on), or leave more of the model in host memory.",
                ),
            ),
            Variant(
                r"(?:ret|res|returned|code)\W{1,3}-1\b|initialize batch",
                (
                    "The batch does not go with the context: no slot for its sequence, a position "
                    "that is taken, or a token of another vocabulary. Use a newer build, no "
                    "context shift or --cache-reuse, and -np 1.",
                    "In a program of one's own clear the cache between texts, and keep n_batch no "
                    "lower than the prompt.",
                ),
            ),
        ),
    ),
    Signature(
        "batch-invalid",
        (
            r"\binit: (?P<why>invalid token ?\[\d+\] = -?\d+)",
            r"(?P<why>invalid token ?\[\d+\] ?= ?-?\d+)",
            r"(?P<why>invalid seq_id ?\[\d+\].+)",
            r"(?P<why>invalid seq_id \(?-?\d+\)? - larger than n_seq_max.*)",
            r"inconsistent sequence positions",
            r"(?P<why>sequence \d+ positions are (?:not continuous|decreasing))",
            r"(?P<why>sequence \d+ is coupled to \d+ in the input batch.*)",
            r"(?P<why>sequence \d+ belongs to incompatible sequence sets)",
            r"(?P<why>pooled embedding requires that all tokens are output)",
            r"has neither a token id nor an embedding",
            r"(?P<why>invalid (?:logits|embeddings) id -?\d+, reason: .+)",
            r"(?:llama_\w*|decode|encode)\w*: n_tokens == 0",
            r"(?:decode|encode)\w*: embd row width \d+ does not match",
            r"(?P<why>invalid token id: .+)",
            r"(?P<why>Prompt contains invalid tokens)",
            r"(?P<why>Invalid input batch)",
        ),
        "The engine was handed tokens or positions that it cannot take: {why}.",
        (
            "This is a fault of the program that calls the engine: update it, and do not reuse a "
            "context or a saved prompt of another model.",
        ),
        "init: invalid token[0] = 151936\ndecode: failed to initialize batch\n"
        "llama_decode: failed to decode, ret = -1",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
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
            r"TOMLDecodeError: ",
            r"configparser\.\w+Error: ",
            r"failed to (?:parse|open) server (?:config|preset) file: (?P<path>\S+)",
            r"preset file does not exist: (?P<path>\S+)",
            r"failed to initialize router models",
            r"model (?:name )?'[^']+' (?:appears multiple times|conflicts with alias)",
            r"alias '[^']+' for model '[^']+' conflicts with",
            r"failed to load models on startup",
            r"is not allowed in remote presets",
            r"'(?P<path>[^']+)' does not exist or is not a directory",
            r"(?:failed|unable|error|could not|cannot) (?:to )?(?:parse|parsing|read|reading|load|"
            r"loading|decode|unmarshal\w*) (?:the )?(?:\w+ )?config",
            r"yaml: (?:line|unmarshal|did not|found|control)",
            r"(?:invalid|malformed|unexpected) (?:yaml|toml|ini|config\w*)\b",
            r"^(?!.{0,300}\b(?:request|body|payload|response|answer|reply|output|chunk|stream|"
            r"arguments?|tool|message|schema|client|received|model)\b).{0,300}(?:invalid|"
            r"malformed|unexpected) json\b",
            r"additional propert(?:y|ies) .{0,60}not allowed",
            r"toml.{0,20}(?:decode|parse) ?error",
            r"Error in (?:the )?config",
            r"Invalid config",
            r"config file invalid or not found",
            r"nginx: \[emerg\] (?!bind|host not found)",
            r"unknown directive \"",
            r"Caddyfile:\d+",
            r"yaml\.(?:scanner|parser|composer|constructor)\.\w+Error",
            r"tomllib\.TOMLDecodeError",
            r"error while parsing configuration",
            r"command must be one of \"from\"",
        ),
        "The configuration of the server cannot be read: {path}.",
        ("Check the path and the syntax of the preset or models folder.",),
        "failed to parse server config file: /etc/llama.ini",
        variants=(
            Variant(
                r"context was not found|specified context",
                (
                    "kubectl config get-contexts lists them: name one, or set KUBECONFIG to its "
                    "file.",
                ),
                "The kubeconfig has no context of that name.",
            ),
            Variant(
                r"for runtime (?:docker|containerd|crio)|daemon\.json",
                (
                    "Correct the JSON of /etc/docker/daemon.json, which must have no comma after "
                    "the last field (jq . /etc/docker/daemon.json names the place), and try again.",
                ),
                "The configuration of the container runtime is not valid.",
            ),
            Variant(
                r"command must be one of",
                (
                    "Correct the line that it names: each begins with FROM, PARAMETER, TEMPLATE, "
                    "SYSTEM, ADAPTER, LICENSE or MESSAGE; texts of several lines stand between "
                    'three double quotes (""").',
                    "The file must be plain text in UTF-8: not the .gguf itself after -f, and not "
                    "saved as .rtf or .docx.",
                ),
                "The Modelfile has a line that begins with no instruction.",
            ),
        ),
    ),
    Signature(
        "text-too-short",
        (
            r"you need at least \d+ tokens (?:for a context|to evaluate)",
            r"data file you provided tokenizes to only (?P<tokens>\d+) tokens",
            r"there (?:are only \d+|will be not enough) tokens.{0,60}(?:not enough|after removing)",
        ),
        "The text for this measurement is shorter than one context needs: {tokens} tokens.",
        (
            "Use a longer text (such as wiki.test.raw of wikitext-2, or a calibration file of some "
            "100 KB), or a smaller -c.",
            "Check that the path after -f is the text itself.",
        ),
        "decode: you need at least 1024 tokens for a context of 512 tokens\n"
        "decode: the data file you provided tokenizes to only 210 tokens",
    ),
    Signature(
        "context-beyond-training",
        (
            r"n_ctx_(?:seq|per_seq|pre_seq) \((?P<n_ctx>\d+)\) > n_ctx_train "
            r"\((?P<train>[1-9]\d*)\)",
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
        (
            r"truncating input prompt",
            r"truncating input prompt.{0,20} limit=(?P<n_ctx>\d+) prompt=(?P<tokens>\d+)",
            r"input truncated",
        ),
        "Prompts are longer than the context and are cut: {tokens} tokens against {n_ctx}.",
        ("Raise the context: num_ctx or OLLAMA_CONTEXT_LENGTH.",),
        'time=2025-01-01T00:00:00Z level=WARN source=runner.go:129 msg="truncating input prompt" '
        "limit=2048 prompt=6001",
        Basis.REPORTED,
        severity=Severity.REMARK,
    ),
    Signature(
        "template-replaced",
        (r"chat template (?:that )?comes with this model is not yet supported, falling back",),
        "The engine does not know the model's chat template and takes another, so answers may be "
        "odd or never end.",
        (
            "Pass --jinja, which uses the model's own template, or a newer build; --chat-template "
            "names one of those that are built in.",
        ),
        "The chat template that comes with this model is not yet supported, falling back to "
        "chatml. This may cause the model to output suboptimal responses",
        severity=Severity.REMARK,
    ),
    Signature(
        "context-filled",
        (r"n_\w{1,8} = (?P<tokens>\d+), truncated = 1\b",),
        "A request reached the end of its slot's context ({tokens} tokens): its answer was cut "
        "there, or its beginning left out.",
        (
            "Give each slot more: a larger -c, or fewer slots (-np), as -c is divided among them "
            'unless --kv-unified is on; "length" as finish_reason tells the client.',
            "Or ask for less: a shorter prompt or history, a smaller max_tokens.",
        ),
        "slot      release: id  0 | task 0 | stop processing: n_tokens = 255, truncated = 1",
        severity=Severity.REMARK,
    ),
    Signature(
        "master-key",
        (
            r"UnsafeMasterKeyError: (?P<why>.+)",
            r"LiteLLM proxy refused to start: (?P<why>.+)",
        ),
        "LiteLLM's proxy starts only with a master key of its own: {why}.",
        (
            'Generate one, keep it in LITELLM_MASTER_KEY (echo "sk-$(openssl rand -hex 32)"), and '
            "write master_key: os.environ/LITELLM_MASTER_KEY under general_settings.",
            "On a machine that nobody else reaches "
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true starts without.",
        ),
        "LiteLLM proxy refused to start: the master key is a publicly known default.",
        Basis.REPORTED,
        phase=Phase.START,
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
