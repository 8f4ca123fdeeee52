"""Kinds of failure in any program's words, for lines that no closer cause knows."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Signature, Tier, Variant

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        "out-of-memory",
        (
            r"\bout of memory\b",
            r"\bout[-_ ]of[-_ ]memory\b",
            r"(?:failed|unable|could not|couldn't|cannot|can't) (?:to )?(?:re)?allocate\b(?! "
            r"(?:an? )?(?:free |tcp )?(?:port|address|p?ty|id)\b)",
            r"(?:allocation|alloc) (?:of .{0,60})?(?:failed|failure)",
            r"(?<!\d )(?:not enough|insufficient) (?:\w+ )?memory",
            r"(?:requires?|needs?) (?:at least )?(?P<need>[\d.]+ ?[GM]i?B).{0,60}(?:only|"
            r"available|have|free)",
            r"(?:exceeds?|larger than|more than) (?:the )?(?:available|free|total) (?:\w+ )?memory",
            r"(?<!this may be due to )resource limitations",
            r"0xc0000017",
            r"3221225495",
            r"(?:not|n't) have (?:enough|sufficient) (?:\w+ ){0,2}memory",
            r"memory layout cannot be allocated",
            r"requires .{1,40} but only .{1,40} (?:is|are) available",
        ),
        "Memory ran out; which, the log does not say.",
        (
            "Use a smaller quant, a shorter context (-c), or fewer layers on the GPU (-ngl).",
            "Look at free memory of GPU (nvidia-smi) and host while it loads.",
        ),
        "error: out of memory",
        tier=Tier.SYMPTOM,
    ),
    Signature(
        "permission-denied",
        (
            r"attempt to write a readonly database",
            r"Interactive authentication required",
            r"permission denied\b",
            r"\bEACCES\b",
            r"\bEPERM\b",
            r"(?<!ptrace: )operation not permitted",
            r"access (?:is |was )?denied",
            r"\[Errno (?:1|13)\]",
            r"WinError 5\b",
            r"os error (?:1|13)\)",
            r"0xc0000022",
            r"3221225506",
            r"-1073741790",
            r"权限不够",
            r"拒绝访问",
            r"Keine Berechtigung",
            r"Zugriff verweigert",
            r"Permission non accordée",
            r"Accès refusé",
            r"Permiso denegado",
            r"Acceso denegado",
            r"тказано в доступе",
            r"許可がありません",
        ),
        "The program may not use a file, device or socket that it needs.",
        (
            "Look whose it is (ls -l) and as whom the program runs; give that user the right, or "
            "run the container with --user.",
            "With SELinux, mount volumes with :z.",
        ),
        "cp: cannot open '/models/m.bin' for reading: Permission denied",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        variants=(
            Variant(
                r"Interactive authentication",
                (
                    "Use sudo systemctl ..., or systemctl --user for a service of your own "
                    "(loginctl enable-linger USER).",
                ),
                "Services of the system are for root.",
            ),
            Variant(
                r"WinError 5|os error 5\)|0xc0000022|3221225506|[A-Z]:\\",
                (
                    "Close what holds the file (the server, Python, a sync client), take it out "
                    "of a protected folder (Program Files), and let the virus scanner pass it; "
                    "as a last resort start as administrator.",
                ),
            ),
            Variant(
                r"(?:Exception calling|fork/exec|Start-Process|CreateProcess|setup).{0,200}Access "
                r"is "
                r"denied",
                (
                    "Let the virus scanner pass the program (Windows Security > Protection "
                    "history), and Smart App Control; then install it again from its own page.",
                    "End what still runs of the old version (tray icon, ollama.exe), and install "
                    "as a user who may write there.",
                ),
                "Windows does not let the program be started or replaced.",
            ),
            Variant(
                r"_cache\b|\.cache\b|huggingface|HF_HOME",
                (
                    "Name a folder that this user may write to: HF_HOME=/tmp/hf (on a Space /data "
                    "with persistent storage, else /tmp), XDG_CACHE_HOME and the program's own "
                    "cache_dir likewise; in a Dockerfile chown the folder to the user that runs.",
                    "If root made it before: sudo chown -R USER ~/.cache/huggingface.",
                ),
                "The program may not write to its cache or working folder.",
            ),
            Variant(
                r"/mnt/|:z|SELinux|containers?/|volume",
                (
                    "Containers with SELinux (Fedora, RHEL): mount with :z (-v "
                    "/models:/models:z). Rootless podman: --userns=keep-id, so that your user "
                    "owns the mount.",
                ),
            ),
            Variant(
                r"/usr/(?:local/)?(?:lib|bin|share)|/opt/|site-packages|dist-packages",
                (
                    "It belongs to root: install into a virtual environment or below your home "
                    "(--prefix, --user), or use sudo for this one step.",
                ),
            ),
        ),
    ),
    Signature(
        "gpu-permission",
        (
            r"/dev/(?:kfd|dri\S*|nvidia\S*).{0,60}(?:permission denied|not permitted|EACCES)",
            r"(?:unable|failed|cannot|could not) (?:to )?open /dev/(?:kfd|dri|nvidia)\S*",
            r"(?:user|account) .{0,40}not (?:in|a member of) (?:the )?(?:render|video)",
            r"kfd.{0,60}permission",
            r"NVML: Insufficient Permissions",
            r"not (?:a )?member of \"?(?:render|video)",
            r"Opening /dev/(?:dri|kfd)\S* failed: Permission",
            r"/dev/(?:nvidia|kfd|dri)\S*.{0,40}(?:operation not permitted|permission denied)",
            r"permission problems block access",
            r"nvml error: insufficient permissions",
            r"NvRmMemInit\w* failed with Permission denied",
        ),
        "The engine may not use the GPU's device files.",
        (
            "Add its user to the groups video and render, and pass --device /dev/kfd --device "
            "/dev/dri with --group-add video --group-add render; a rootless container (podman, "
            "toolbox) keeps its user's groups only with --group-add keep-groups.",
        ),
        "Unable to open /dev/kfd read-write: Permission denied",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"NvRmMem",
                (
                    "Add the service's user to the groups video and render (sudo usermod -aG "
                    "video,render ollama), and start the service anew.",
                    "Containers on a Jetson need --runtime nvidia, and an image for its JetPack.",
                ),
                "The program's user may not use the Jetson's GPU (/dev/nvmap).",
            ),
            Variant(
                r"NVML: Insufficient Permissions|insufficient permissions|blocked by the operating",
                (
                    "Rootless podman with SELinux: --security-opt=label=disable (or sudo "
                    "setsebool -P container_use_devices on), with --device nvidia.com/gpu=all.",
                    "The files /dev/nvidia* must be open to the container's user: --group-add "
                    "keep-groups, and no-cgroups = true for rootless docker.",
                ),
                "The container's user or its SELinux label may not use NVIDIA's devices.",
            ),
        ),
    ),
    Signature(
        "no-gpu-used",
        (
            r"no (?!connection )(?:\w+ ){0,2}(?:GPUs?|devices?|adapters?|accelerators?) (?:was |"
            r"were |is |are |"
            r"has been )?(?:found|detected|available|discovered)(?! for buffer type)",
            r"(?:CUDA|ROCm|GPU) is not available",
            r"(?:could not|cannot|unable to|failed to) (?:find|detect|discover) (?:any |a |an |"
            r"the )?(?:\w+ )?GPU",
            r"failure during GPU discovery.{0,400}runner crashed",
        ),
        "The engine found no GPU.",
        (
            "Give the container the GPU (docker run --gpus all), and check nvidia-smi in it.",
            "Use an image or wheel that is built for the GPU: on a Jetson the one for its JetPack "
            "with docker run --runtime nvidia, on AMD the one for ROCm, or Vulkan where ROCm does "
            "not know the GPU (OLLAMA_VULKAN=1).",
        ),
        "no compatible GPU detected",
        tier=Tier.SYMPTOM,
        phase=Phase.START,
    ),
    Signature(
        "gpu-hang",
        (
            r"HW Exception by GPU",
            r"GPU hang\b",
            r"amdgpu.{0,60}ring \S+ timeout",
            r"(?:amdgpu|i915|xe|nouveau)\b.{0,80}GPU reset",
            r"nvlddmkm",
            r"GPU (?:is )?(?:not responding|stopped responding)",
            r"display driver .{0,60}stopped responding",
            r"HSA_STATUS_ERROR_EXCEPTION",
            r"NVRM: Xid .{0,40}: (?:8|46),",
            r"amdgpu_job_timedout",
            r"ring \w\S* timeout, (?:signaled|but soft)",
            r"(?:MES|SMU|PSP)\b.{0,60}(?:failed to respond|not responding|hang)",
            r"GPU recovery (?:failed|disabled)",
            r"Memory critical error by agent",
            r"\b(?:xe|i915|amdgpu)\b.{0,60}(?:Timedout job|job timed ?out)",
            r"Trying to push to a killed entity",
            r"amdgpu: .{0,80}queue evicted",
        ),
        "The GPU stopped answering and was reset.",
        (
            "Update driver and firmware; try a lower -ub and -fa off, and look for overheating.",
            "On ROCm, HSA_OVERRIDE_GFX_VERSION must name an architecture like the GPU's own.",
            "If it came with a new kernel or version of the engine, go back to the one before, or "
            "take the Vulkan build; the GPU mostly needs a reboot first.",
        ),
        "HW Exception by GPU node-1 (Agent handle: 0x55d) reason :GPU Hang",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "vulkan-error",
        (
            r"vk::\w+.{0,80}(?:error|failed)",
            r"ggml_vulkan: .{0,80}(?:error|failed|exception)",
            r"VK_ERROR_\w+",
            r"vkCreate\w+ failed",
        ),
        "The Vulkan driver failed.",
        (
            "Update the driver; try GGML_VK_DISABLE_COOPMAT=1, then GGML_VK_DISABLE_F16=1, or "
            "another backend.",
            "Keep it to the real GPU: --device Vulkan0 or GGML_VK_VISIBLE_DEVICES=0, as software "
            "and Direct3D12 (Dozen, llvmpipe) drivers count as devices too.",
        ),
        "terminate called after throwing an instance of 'vk::UnknownError'\n"
        "  what():  vk::Device::createComputePipeline: ErrorUnknown",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        variants=(
            Variant(
                r"createComputePipeline|Adreno|Mali|createShaderModule",
                (
                    "The driver cannot compile one of the engine's shaders: update it, or choose "
                    "another device (--device, GGML_VK_VISIBLE_DEVICES=0) than Dozen, llvmpipe or "
                    "an integrated one.",
                    "Try GGML_VK_DISABLE_COOPMAT=1, GGML_VK_DISABLE_F16=1 and "
                    "GGML_VK_DISABLE_INTEGER_DOT_PRODUCT=1.",
                    "Phones: the OpenCL build on Adreno, else the CPU (-ngl 0).",
                ),
                "The Vulkan driver cannot compile a shader of the engine.",
            ),
        ),
    ),
    Signature(
        "proxy-failed",
        (
            r"requested URL returned error: 407",
            r"complete SOCKS[45]\w? connection",
            r"(?:httpx|httpcore|exceptions)\.ProxyError\b",
            r"Cannot connect to proxy",
            r"Tunnel connection failed",
            r"proxyconnect tcp",
            r"Proxy Authentication Required",
            r"407 Proxy",
            r"CONNECT tunnel failed",
            r"Could not resolve proxy",
            r"Unknown scheme for proxy",
            r"Missing dependencies for SOCKS support",
            r"Using SOCKS proxy, but",
            r"Unable to connect to proxy",
            r"proxy (?:authentication|authorization) (?:required|failed)",
            r"Proxy CONNECT aborted",
            r"407\b.{0,40}[Pp]roxy",
            r"ERR_PROXY_CONNECTION_FAILED",
            r"failed to connect to proxy",
            r"ollama\._types\.ResponseError: +\(status code: 50[234]\)",
        ),
        "The proxy between here and the server refuses or is not there.",
        (
            "Correct HTTPS_PROXY and its password, or add the server to NO_PROXY (localhost and "
            "127.0.0.1 always).",
        ),
        "OSError('Tunnel connection failed: 403 Forbidden')",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
        variants=(
            Variant(
                r"Using SOCKS proxy, but|dependencies for SOCKS|Unknown scheme for "
                r"proxy\D{1,40}socks",
                (
                    "If no proxy is meant to be used: unset ALL_PROXY all_proxy (and HTTPS_PROXY, "
                    "if it begins with socks), or set NO_PROXY=localhost,127.0.0.1 for a server "
                    "of your own.",
                    "Otherwise install what speaks SOCKS in this environment: pip install "
                    "'httpx[socks]' (socksio), pip install 'requests[socks]' (PySocks); or name "
                    "the proxy's http port instead.",
                ),
                "The environment names a SOCKS proxy (ALL_PROXY), and the program lacks the "
                "package that speaks with one.",
            ),
        ),
    ),
    Signature(
        "request-invalid",
        (
            r"invalid_request_error",
            r"json\.exception\.\w+",
            r"parse error at line \d+, column \d+",
            r"'?(?P<what>messages|prompt|input|content)'? (?:is required|must be|elements must be)",
            r"message\W{1,6}['\"\\]{1,3}(?P<what>\w+)['\"\\]{1,3} (?:or \W{1,3}\w+\W{1,3} )?(?:is "
            r"required|must be provided)",
            r"Failed to parse (?:tools|request|JSON)",
            r"(?:Unsupported|Missing|Invalid) (?:content part|tool|message|param|role)\b.{0,20}:",
            r"Expected '(?P<what>\w+)' to be",
            r"must contain '(?P<what>content|messages|role)'",
            r"invalid (?:request|JSON|character '.' looking)",
            r"\[Server Error\] .{0,80}(?P<what>is not iterable|is not a function|Cannot read "
            r"propert\w+)",
            r"(?P<what>messages|tools|input|stop) is not (?:iterable|an array|a list)",
            r"cannot unmarshal \w+ into",
            r"received message larger than max",
            r"(?:request|entity|payload|body|message) (?:entity |body )?(?:is )?(?:too large|"
            r"exceeds)",
            r"413 .{0,40}too large",
            r"UnprocessableEntityError",
            r"(?:validation|request|call|completions?|chat|embeddings?|invocation|generation) "
            r"failed with (?:status|HTTP)\W{0,3}(?:code )?4(?:00|22)\b",
            r"'loc': \('body'",
            r"Client error '4(?:00|22) ",
            r"Error code: 422",
            r"422 Unprocessable",
            r"Upstream HTTP error .{0,40}: 4(?:00|22)\b",
            r"\{\"error\": ?\{\"message\": ?\"'(?P<what>\w+)'\"",
        ),
        "A request was malformed, or asks for what this server does not take.",
        (
            "Compare the request with the API of exactly this server; look at its first field.",
            "Where only the status is told, send the same with curl -i: the body of the answer "
            "names the reason (a prompt longer than the context, tools or pictures that the model "
            "or server was not started for, a field that it does not know).",
        ),
        'srv    operator(): got exception: {"error":{"code":400,"message":"Missing content part '
        'type: x","type":"invalid_request"}}',
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"\w['\"\\]{1,3} (?:or \W{1,3}\w+\W{1,3} )?(?:is required|must be provided)",
                (
                    "Send the body to the endpoint that it is made for, or the other way round: "
                    "/v1/chat/completions wants messages, /v1/completions and /completion a "
                    "prompt, /v1/embeddings input, /v1/rerank query and documents, /infill "
                    "input_prefix and input_suffix, /v1/responses input.",
                    "Check that the client sends the body at all, as JSON with Content-Type: "
                    "application/json.",
                ),
                "The body of a request lacks a field that this endpoint needs: {what}.",
            ),
            Variant(
                r"'loc'|\"loc\"|Input should be|field required|valid (?:integer|string|list|dict)",
                (
                    "What loc names is missing, null or of another type: leave such fields out of "
                    "the request in place of sending null (max_tokens, stop, tools), or update "
                    "the client.",
                ),
                "A field of the request is missing or of a type that the server does not take.",
            ),
            Variant(
                r"is not (?:iterable|an array|a list|a function)|Cannot read propert",
                (
                    'Send "messages" as a list of objects with role and content '
                    '([{"role": "user", "content": "..."}]), not as one object, and "stop" and '
                    '"tools" as lists too.',
                    "Print the body that the client really sends: frameworks nest it once too "
                    "often.",
                ),
                "A field of the request is of another type than the server takes, mostly messages "
                "that are no list.",
            ),
            Variant(
                r"Unsupported param: (?:tools|tool_choice)|tools param requires --jinja",
                ("Start llama-server with --jinja, and update it: older builds take no tools.",),
                "This server takes no tools: it is old, or was started without --jinja.",
            ),
            Variant(
                r"Failed to parse tools|tools? = \[",
                (
                    "A tool has a field that is null or of another type: give each a name, a "
                    "description (a string, not null) and a JSON schema as parameters, in the "
                    "client or its MCP server.",
                    "Leave tools out one after another to see which it is.",
                ),
                "A tool in the request is not described as the server expects.",
            ),
            Variant(
                r"type_error\.316|invalid UTF-8",
                (
                    "Send the body as UTF-8 (json= instead of data= in Python; chcp 65001 and "
                    "--data-binary @body.json for curl on Windows).",
                    "If the model's answer is what breaks, use a newer build of the engine.",
                ),
                "A request or answer holds bytes that are not UTF-8.",
            ),
            Variant(
                r"parse_error|parse error at line|Failed to parse (?:JSON|request)|invalid "
                r"(?:JSON|character)",
                (
                    "The body is not JSON: send Content-Type: application/json, double quotes, no "
                    "comma after the last field, and check with jq.",
                    "curl on Windows takes no single quotes: write the body into a file and use "
                    "-d @body.json.",
                ),
                "The body of a request is empty or not JSON.",
            ),
        ),
    ),
    Signature(
        "image-unreadable",
        (
            r"Failed to load image or audio",
            r"failed to (?:decode|load|read|process|download) (?:the )?(?:image|audio|video)\b"
            r"(?! tar| model)",
            r"(?:could not|cannot|unable to) (?:decode|identify|load|read|download) (?:the "
            r")?(?:image|audio)(?! model)",
            r"stbi_load",
            r"mtmd_helper_bitmap_init\w*: failed",
            r"Failed to create bitmap",
            r"invalid image (?:data|input|format|url)",
            r"illegal base64 data",
            r"must be a base64[- ]encoded image",
            r"Invalid (?:uri-encoded )?base64",
            r"cannot encode image",
            r"failed processing images",
            r"Error processing the given image",
            r"Number of media markers \(\d+\) does not match",
            r"Invalid image number id",
            r"ffprobe failed",
            r"failed to (?:launch|start) (?P<program>ff\w+)",
            r"number of bitmaps \(\d+\) does not match number of markers",
            r"no image tokens produced",
        ),
        "A picture or sound of a request cannot be read.",
        ("Send PNG, JPEG, WAV or MP3, whole and in base64; WebP and HEIC are not read.",),
        "mtmd_helper_bitmap_init_from_buf: failed to decode image bytes",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"\bff(?:mpeg|probe)\b",
                ("Install ffmpeg, so that ffmpeg and ffprobe are in the PATH of the server.",),
                "A video of a request cannot be read, because ffmpeg is not there.",
            ),
            Variant(
                r"markers",
                (
                    "Send as many pictures as the prompt has markers (<__media__>); over "
                    "/v1/chat/completions the server sets them itself.",
                    "A marker in the text of the history counts as well: leave it out.",
                ),
                "The number of pictures is not that of their markers in the prompt.",
            ),
        ),
    ),
    Signature(
        "state-not-restored",
        (
            r"(?:failed to|error) (?:restor|load|sav|read)\w* (?:the )?(?:session|slot|sequence|"
            r"prompt[- ]cache|kv|state)\b",
            r"unknown \(magic, version\) for (?:session|sequence)",
            r"did not read all of the session",
            r"token count in (?:session|sequence) (?:state )?file exceed",
            r"Failed to (?:copy|set) llama state data",
            r"wrong (?:sequence )?state magic",
            r"mismatched (?:key|value|layer|GQA|ple|[rs]) (?:type|row|count|element|embedding)",
            r"Unable to restore slot",
            r"error (?:loading|saving) (?:sequence state|session) file: failed to open "
            r"(?P<path>.+?)(?:: (?P<why>[A-Z][\w ]+))?$",
            r": memory buffer mismatch",
            r"(?:duplicate|wrong) tail for seq_id",
            r"mirrored slot layout",
            r"checkpoint size mismatch",
            r"unknown \(magic, version\) for (?:checkpoint|token)",
            r"state size in session file is too big",
            r"(?:state|restore) position mismatch",
            r"incompatible (?:V|s|key|value) (?:transposition|rotation)",
            r"state (?:version|magic|metadata|mode|flags|layer count|layer id) mismatch",
            r"K-cache (?:state |layer )(?:version|count|id|row count)\b.{0,20} (?:mismatch|"
            r"exceeds)",
        ),
        "A saved state does not belong to this model, build or settings.",
        ("Delete the saved file, and let it be made anew by this build.",),
        "llama_state_seq_load_file: unknown (magic, version) for sequence state file: 67677371, 1",
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"error saving (?:sequence state|session) file: failed to open",
                (
                    "Make the folder of --slot-save-path, and let the user that runs the server "
                    "write to it; in a container mount it.",
                ),
                "The state cannot be saved there: {path}.",
            ),
            Variant(
                r"error loading (?:sequence state|session) file: failed to open .{0,300}"
                r"(?:No such file|not found|cannot find)",
                (
                    "Save the slot first (POST /slots/0?action=save with this filename), and use "
                    "the same name: files are looked for in the folder of --slot-save-path, which "
                    "must outlive the container (a volume).",
                    "ls of that folder shows what is there; without a saved state leave the "
                    "restore out, and the prompt is read anew.",
                ),
                "There is no saved state under this name: {path}.",
            ),
            Variant(
                r"error loading (?:sequence state|session) file: failed to open",
                (
                    "Look with ls -l as the user that runs the server: whether the file is there, "
                    "and may be read; it is looked for in the folder of --slot-save-path.",
                ),
                "The saved state cannot be opened: {path}.",
            ),
        ),
    ),
    Signature(
        "still-loading",
        (
            r"message[\"\\]+: ?[\"\\]+Loading model",
            r"503 .{0,40}Loading model",
            r"model is (?:still )?(?:being )?load(?:ing|ed)\b.{0,40}(?:wait|try again|retry)",
        ),
        "A client asked before the model was loaded.",
        ("Wait until /health answers 200.",),
        '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}',
        tier=Tier.GENERIC,
        phase=Phase.START,
    ),
    Signature(
        "conversion-unsupported",
        (
            r"hf-to-gguf: ?Model (?P<name>\S+) is not supported",
            r"Model (?P<name>[A-Z]\w*(?:For[A-Z]\w+|Model|Transformer|LMHead)) is not supported",
            r"Can(?: ?not|'t) map tensor '?(?P<name>[^\s']+)",
            r"BPE pre-tokenizer was not recognized",
            # A sentence of convert_hf_to_gguf.py, which raises it for what it does not know.
            r"NotImplementedError: Architecture (?P<name>\S+)",
            r"(?:Could not|cannot) guess (?:vocab|model)",
            r"File not found: \S*tokenizer\.model",
            r"could not parse ModelProto",
            r"unknown tensor name",
            r"(?:GGUF|gguf) (?:conversion|export) failed",
            r"this quantization requires an im(?:atrix|portance)",
            r"requantizing from type (?P<name>\S+) is disabled",
            r"llama_model_quantize: failed to quantize: (?P<name>(?!.{0,60}(?:bad.alloc|imatrix|"
            r"iostream|No such file|is not within|this quantization requires|requantizing|Missing "
            r"imp)).+)",
            r"failed to guess '?n_ctx\b",
            r"Missing importance matrix",
            r"missing quantization weights",
            r"result will be garbage, so bailing out",
            r"unsupported quantization type (?P<name>\S+) - supported types are",
            r"Error: llama_model_quantize: \d",
            r"quantization is only supported for",
        ),
        "The model cannot be converted or quantised like this: {name}.",
        (
            "Use the newest convert_hf_to_gguf.py, or a GGUF that others made.",
            "Very small quants need --imatrix; start from BF16 or F16, not from another quant.",
            "Ollama itself quantises few models and types only (q4_K_S, q4_K_M, q8_0): make the "
            "file with llama-quantize, and name it after FROM.",
        ),
        "ERROR:hf-to-gguf:Model FooForCausalLM is not supported",
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"requantizing from type",
                (
                    "Start from the F16 or BF16 GGUF of the model (convert_hf_to_gguf.py "
                    "--outtype bf16, or the publisher's file), or take the ready quant.",
                    "--allow-requantize does it all the same, and loses quality each time.",
                ),
                "The source is quantised already ({name}), and quantising it again is off.",
            ),
            Variant(
                r"requires an im(?:atrix|portance)|Missing importance matrix|will be garbage|"
                r"missing quantization weights",
                (
                    "Make one first: llama-imatrix -m MODEL-F16.gguf -f calibration.txt -o "
                    "imatrix.gguf (or take the publisher's), then llama-quantize --imatrix "
                    "imatrix.gguf IN OUT TYPE.",
                    "Or take a type that needs none: Q2_K, Q3_K_M, IQ4_XS and larger.",
                ),
                "So small a quant needs an importance matrix, and none was given.",
            ),
            Variant(
                r"\.(?:qweight|qzeros|g_idx|scales|absmax|quant_map|quant_state|weight_scale\w*|"
                r"weight_packed)\b|bitsandbytes|\bGPTQ\b|\bAWQ\b|bnb",
                (
                    "Convert the original weights (BF16 or F16): these are quantised already "
                    "(GPTQ, AWQ, bitsandbytes, FP8), which the converter does not take.",
                    "A finetune made in 4 bit is merged in 16 bit first (merge_and_unload on the "
                    "base model that was loaded without quantisation).",
                ),
                "The weights are quantised already, in a format that cannot be converted: {name}.",
            ),
            Variant(
                r"lora_[AB]|base_layer|modules_to_save",
                (
                    "Merge the adapter into its base model first (merge_and_unload), or convert it "
                    "alone with convert_lora_to_gguf.py --base FOLDER and load it with --lora.",
                ),
                "The folder holds an adapter, or weights with one that is not merged: {name}.",
            ),
            Variant(
                r"vision|visual|mm_projector|vpm\b|audio_tower|image_|language_model",
                (
                    "Use the newest convert_hf_to_gguf.py: the text of a multimodal model is "
                    "converted without, its projector with --mmproj, into two files.",
                    "If it was saved by a trainer, its names may have changed: compare them with "
                    "the original repository, and save it anew with its own class.",
                ),
            ),
            Variant(
                r"Model \w+ is not supported",
                (
                    'Look at "architectures" in config.json: it must be spelt as in the original '
                    "(LlamaForCausalLM, not LLaMAForCausalLM); a name of one's own becomes that of "
                    "the model it was made from, if the layers are the same.",
                    "If the model is newer than the script, use the newest convert_hf_to_gguf.py; "
                    "if that does not list it (--print-supported-models), llama.cpp cannot run it "
                    "yet.",
                    "Or use a GGUF that others made.",
                ),
                "The converter does not know this architecture: {name}.",
            ),
            Variant(
                r"Can ?not map tensor|Cannot map tensor",
                (
                    "Use the newest convert_hf_to_gguf.py, or a GGUF that others made.",
                    "Names without their beginning (model.) come from saving a part of the model: "
                    "save it with its CausalLM class, so that they are as in the original.",
                    "Convert original weights: quantised (GPTQ, AWQ, 4 bit) and adapters (LoRA) "
                    "are not taken.",
                ),
            ),
        ),
    ),
    Signature(
        "converter-mismatch",
        (
            r"AttributeError: (?P<why>'(?:GGUFWriter|TensorNameMap|SpecialVocab|GGUFReader)' "
            r"object has no attribute .+)",
        ),
        "The conversion script and the packages that it calls are of different ages: {why}.",
        (
            "Use the newest convert_hf_to_gguf.py with the gguf package of the same checkout: git "
            "pull, then pip install -U -r requirements.txt (pip install ./gguf-py), in a fresh "
            "virtual environment; pip uninstall gguf takes an older copy out of the way.",
            "If the newest script itself fails so (a name that it never defines), take the commit "
            "before, or upstream llama.cpp's script in place of a fork's.",
        ),
        "AttributeError: 'GGUFWriter' object has no attribute 'add_vocab_size'",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "tokenizers-outdated",
        (
            r"data did not match any variant of untagged enum",
            r"Tokenizer class (?P<what>\w+) does not exist or is not currently imported",
            r"expected value at line 1 column 1.{0,40}tokenizer",
            r"unknown variant `\w+`, expected one of .{0,300}(?:BPE|WordPiece|Unigram|Sequence)",
            r"model type `(?P<what>[\w-]+)` but Transformers does not recognize",
        ),
        "The installed transformers or tokenizers is too old for this model's tokenizer or "
        "config: {what}.",
        (
            "pip install -U transformers tokenizers, in the environment that runs the program "
            "(for llama.cpp's converter after its requirements.txt, which pins older ones).",
            "If it stays so, compare the sha256 of tokenizer.json and config.json with the "
            "repository's: a damaged or saved-anew file reads the same way.",
        ),
        "Exception: data did not match any variant of untagged enum ModelWrapper at line 757479 "
        "column 3",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "adapter-full-tensors",
        (
            r"Unexpected name '(?P<name>[^']+)': Not a lora_A or lora_B tensor",
            r"Embeddings is present in the adapter",
        ),
        "The adapter holds whole tensors beside its LoRA pairs (lm_head, embeddings or "
        "modules_to_save), which a GGUF adapter cannot carry: {name}.",
        (
            "Merge the adapter into its base model (merge_and_unload, with the tokenizer that was "
            "trained), and convert the merged model with convert_hf_to_gguf.py.",
            "Or train it without: no modules_to_save, no added tokens, save_embedding_layers=False "
            "when it is saved.",
        ),
        "ERROR:lora-to-gguf:Unexpected name 'base_model.model.lm_head.weight': Not a lora_A or "
        "lora_B tensor",
        phase=Phase.BUILD,
    ),
    Signature(
        "conversion-failed",
        (
            r"File \W{1,3}[^\"]*\bconvert[-_](?:hf|lora|llama)\w*[-_\w]*gguf\S*\.py\W{1,3}, line "
            r"\d+, in",
            r"File \W{1,3}[^\"]*llama\.cpp[^\"]*\bconvert\.py\W{1,3}, line \d+, in",
            r"File \W{1,3}[^\"]*(?:[/\\]conversion[/\\]\w+|gguf[/\\](?:vocab|gguf_\w+|lazy|quants|"
            r"metadata))\.py\W{1,3}, line \d+, in",
            r"Error converting to (?:fp16|f16|bf16|gguf)\b: (?P<why>.+)",
        ),
        "The converter to GGUF stopped: {why}. The model or its folder lacks what it looks for, "
        "or script and packages are of different ages.",
        (
            "Use the newest convert_hf_to_gguf.py with its own requirements (pip install -r "
            "requirements.txt, and the gguf-py beside it).",
            "Download the whole repository again (config.json, tokenizer files, all shards); the "
            "last line of the traceback names what is missing.",
            "Convert the original weights in 16 bit, not quantised ones or an adapter; or use a "
            "GGUF that others made.",
        ),
        'Traceback (most recent call last):\n  File "/src/llama.cpp/convert_hf_to_gguf.py", line '
        "2443, in <module>\n    main()\nKeyError: 'model_max_length'",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.BUILD,
    ),
    Signature(
        "build-dependency-missing",
        (
            r"cannot find -l(?P<name>(?!cu(?!rl)|nv|nccl|llama|ggml|binding|mtmd)\w+)",
            r"LNK1(?:104|181): cannot open (?:input )?file '(?P<name>(?!cu(?!rl)|nv|llama|"
            r"ggml|python)[\w.-]+\.lib)'",
            r"Unable to find (?P<name>libclang)",
            r"'(?P<name>[^']{1,200})', needed by .{1,200} missing and no known rule",
            r"(?P<name>libclang)\S*.{0,60}(?:not found|could not be found|is required)",
            r"(?<!-- )Could NOT find (?P<name>CURL|Vulkan|OpenCL|BLAS|MKL|IntelSYCL|"
            r"OpenSSL|LAPACK|"
            r"Python3?|ROCM|Protobuf|gRPC)\b",
            r"configuration file provided by \"(?P<name>(?!(?:hip|hipblas|rocblas|"
            r"rocwmma)\b)\w+)\"",
            r"By not providing \"Find(?P<name>(?!(?:hip|hipblas|rocblas)\.)\w+)\.cmake\"",
            r"Package '(?P<name>[\w.-]+)', required by",
            r"fatal error: '?(?P<name>(?:vulkan|curl|cuda|CL|sycl|openssl|"
            r"Python)\S*\.h)",
            r"Vulkan_GLSLC_EXECUTABLE",
            r"(?P<name>glslc|spirv\S*|libcurl|pkg-config)['\"]?:? .{0,20}not found",
            r"Could not find a package configuration file provided by \"?(?P<name>(?!(?:hip|"
            r"hipblas|rocblas|rocwmma)\b)\w+)",
            r"fatal error: '?(?P<name>(?:nccl|cudnn|cublas\w*|spirv|level_zero|mkl\w*|oneapi|"
            r"numa|ffi|zlib|ssl|boost|nlohmann|glslang)\S*\.h\w*)",
            r"(?P<name>cooperative_matrix|GL_\w+_cooperative_matrix\w*|"
            r"GL_EXT_\w+)\b.{0,60}not supported",
            r"No package '(?P<name>[^']+)' found",
            r"(?P<name>lib\w+-dev|\w+-devel) (?:is )?(?:not installed|required|missing)",
            r"(?P<name>vulkan-shaders-gen|glslc|spirv-\w+): (?:command )?not found",
            r"C\+\+ compiler lacks (?P<name>SYCL) support",
            r"CMake Error.{0,40}: (?P<name>BLAS|OpenMP) not found",
            r"(?P<name>BLAS) not found, please refer to",
            r"(?P<name>MUSA) Toolkit not found",
            r"Can't find (?P<name>CANN)_INSTALL_DIR",
        ),
        "The build lacks {name}.",
        (
            "Install its development package (libcurl4-openssl-dev, libvulkan-dev glslc, rocm-dev; "
            "libclang-dev for Rust, with LIBCLANG_PATH where it is not found).",
        ),
        "CMake Error at common/CMakeLists.txt:90 (message):\n  Could NOT find CURL.  Hint: to "
        "disable this feature, set -DLLAMA_CURL=OFF",
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"[Vv]ulkan|glslc|spirv|SPIRV|cooperative_matrix",
                (
                    "Install libvulkan-dev, glslc and spirv-headers (Fedora vulkan-loader-devel "
                    "vulkan-headers glslc spirv-headers-devel, Arch vulkan-headers shaderc "
                    "spirv-headers, macOS brew install vulkan-loader vulkan-headers shaderc "
                    "molten-vk), or LunarG's Vulkan SDK, on Windows with VULKAN_SDK set.",
                    "Shaders that are not supported want a newer glslc: the distribution's may "
                    "be too old.",
                ),
            ),
            Variant(
                r"\bCURL\b|curl",
                (
                    "Install libcurl4-openssl-dev (Fedora libcurl-devel, macOS has it), or build "
                    "without: -DLLAMA_CURL=OFF; newer llama.cpp needs no curl.",
                ),
            ),
            Variant(
                r"OpenSSL|openssl|\bssl\b",
                (
                    "Install libssl-dev (Fedora openssl-devel, macOS brew install openssl with "
                    "OPENSSL_ROOT_DIR=$(brew --prefix openssl)).",
                ),
            ),
            Variant(
                r"libclang",
                (
                    "Install libclang-dev (clang-devel; on Windows LLVM), and set LIBCLANG_PATH "
                    "to the folder that holds libclang.",
                ),
            ),
            Variant(
                r"Python\.h|Python3?\b",
                ("Install python3-dev (python3-devel) of exactly this Python.",),
            ),
            Variant(
                r"SYCL|oneAPI|MKL|level_zero|icpx",
                (
                    "Install the oneAPI Base Toolkit, source /opt/intel/oneapi/setvars.sh "
                    "(Windows: its command prompt), and build with -DCMAKE_C_COMPILER=icx "
                    "-DCMAKE_CXX_COMPILER=icpx.",
                ),
            ),
            Variant(
                r"BLAS",
                (
                    "Install libopenblas-dev (openblas-devel) and build with -DGGML_BLAS=ON "
                    "-DGGML_BLAS_VENDOR=OpenBLAS; pkg-config must find it.",
                ),
            ),
            Variant(
                r"OpenMP",
                (
                    "Install libomp-dev (macOS brew install libomp), or build with "
                    "-DGGML_OPENMP=OFF.",
                ),
            ),
        ),
    ),
    Signature(
        "compile-error",
        (
            r"\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm)[:(]\d+[:,)]\S* ?(?:fatal )?error[: ]",
            r"error: (?:use of undeclared|no member named|no matching function|unknown type name|"
            r"expected ['`;])",
            r"error C\d{4}:",
            r"has no member named",
            r"was not declared in this scope",
            r"Error compiling objects for extension",
            r"error: command '\S*(?:nvcc|g\+\+|gcc|clang|cc|cl\.exe|hipcc)\S*' failed",
            r"ptxas (?:fatal|error|\S+, line \d+; (?:error|fatal))",
            r"nvlink (?:error|fatal) +:",
        ),
        "The compiler refuses the source.",
        (
            "Use a released tag, delete the build folder, and check the versions of compiler and "
            "CUDA or ROCm.",
        ),
        "/src/ggml-cuda.cu:12:10: error: no member named 'x' in 'y'",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"C2589|illegal token on right side of|std::(?:min|max)\b.{0,80}macro|macro ['\"`]?"
                r"(?:min|max)\b",
                (
                    "Build with -DNOMINMAX (set CL=/DNOMINMAX before the build, or -DCMAKE_CXX_"
                    'FLAGS="/DNOMINMAX /EHsc"; in a source of your own #define NOMINMAX before '
                    "windows.h).",
                    "Or use the compiler that the project builds with (KoboldCpp: w64devkit), a "
                    "newer tag, or its prebuilt program.",
                ),
                "windows.h makes min and max macros of their own, which break std::min and "
                "std::max in the source.",
            ),
            Variant(
                r"compiling objects for extension|torch/include|error: command '",
                (
                    "Take the prebuilt wheel of its GitHub releases that names your torch, CUDA "
                    "and Python (flash_attn-...+cu12torch2.8cxx11abiTRUE-cp312-...whl), or leave "
                    "the package out (attn_implementation='sdpa', VLLM_ATTENTION_BACKEND).",
                    "To build it: torch first, then ninja, packaging and wheel, nvcc of torch's "
                    "own CUDA with a gcc that it takes, MAX_JOBS=4, and pip install "
                    "--no-build-isolation.",
                ),
                "A package's own C++ or CUDA code could not be compiled.",
            ),
        ),
    ),
    Signature(
        "package-lock",
        (
            r"Could not open lock file /var/lib",
            r"Could not get lock /var/lib",
            r"E: Unable to fetch some archives",
            r"Hash Sum mismatch",
            r"Unable to acquire the dpkg",
            r"dpkg was interrupted",
            r"signatures (?:couldn't|could not|cannot) be verified",
            r"E: The repository .*does not have a Release file",
            r"NO_PUBKEY",
            r"repository .*is not signed",
            r"unmet dependencies",
            r"held broken packages",
            r"dpkg: error processing",
            r"Conflicting values set for option Signed-By",
            r"Sub-process /usr/bin/dpkg returned an error",
        ),
        "The system's package manager could not install.",
        (
            "Run apt-get update, wait for other installations, and use the distribution's own CUDA "
            "repository for exactly this release.",
        ),
        "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?",
        Basis.REPORTED,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"are you root|13: Permission denied",
                ("It is for root: sudo apt-get ...; in a Dockerfile USER root before it.",),
                "The system's packages may be installed by root only.",
            ),
            Variant(
                r"NO_PUBKEY|not signed|Signed-By|Release file|signatures (?:couldn't|could not|"
                r"cannot)",
                (
                    "Install the repository's key anew: for CUDA the newest cuda-keyring (dpkg -i "
                    "cuda-keyring_1.1-1_all.deb), for the container toolkit its gpgkey into "
                    "/usr/share/keyrings and signed-by= in the list.",
                    "Remove double entries of it below /etc/apt/sources.list.d, and take the one "
                    "for exactly this release; then apt-get update.",
                ),
                "apt does not trust a repository, or knows it twice.",
            ),
            Variant(
                r"unmet dependencies|held broken|dpkg",
                (
                    "sudo dpkg --configure -a && sudo apt-get --fix-broken install; apt-mark "
                    "showhold names what is held back.",
                    "NVIDIA: do not mix drivers of the distribution, of NVIDIA's repository and "
                    "of a .run file: apt-get purge 'nvidia-*' 'libnvidia-*', then install one; a "
                    "dkms package needs linux-headers-$(uname -r).",
                ),
                "Packages of the system contradict one another, or one was left half installed.",
            ),
            Variant(
                r"Could not get lock|Unable to acquire",
                ("Another apt or unattended-upgrades runs: wait for it, then try again.",),
            ),
        ),
    ),
    Signature(
        "version-mismatch",
        (r"Error: (?P<why>the ollama server must be updated to .+)",),
        "Programs that work together are of different versions: {why}.",
        (
            "Update the one that is named, then start it anew: a server or app that still runs is "
            "the old one.",
            "Two installations beside each other (a package and an app, or one in a container) are "
            "two versions: NAME --version and which -a NAME show which one is called.",
        ),
        "Error: the ollama server must be updated to use `ollama create` with this client",
        phase=Phase.ALWAYS,
    ),
    Signature(
        "name-taken",
        (
            r"FileExistsError: \[Errno 17\] File exists: '(?P<name>[^']+)'",
            r"container name \"(?P<name>[^\"]+)\" is already in use",
            r"(?:container|volume|network|pod|app)\b.{0,60}already exists",
        ),
        "There is already something of this name: {name}.",
        ("Remove it (docker rm -f NAME for a container) or choose another name.",),
        'docker: Error response from daemon: Conflict. The container name "/llama" is already in '
        "use by container 5f1.",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"FileExistsError",
                (
                    "Remove or rename what is there, or give the program another name or "
                    "folder; in the program's own code os.makedirs(..., exist_ok=True).",
                ),
                "There is already a file or folder of this name: {name}.",
            ),
        ),
    ),
    Signature(
        "docker-error",
        (
            r"Error response from daemon: (?P<why>.+)",
            r"failed to create (?:shim )?task: (?P<why>.+)",
            r"OCI runtime (?:create|exec) failed: (?P<why>.+)",
            r"RunContainerError",
            r"ContainerCannotRun",
            r"failed to create containerd task: (?P<why>.+)",
            r"Error: (?:crun|runc): (?P<why>.+)",
            r"CreateContainerError",
            r"(?:PostStart|PreStart)HookError",
            r"KillContainerError",
            r"ConfigPodSandboxError",
        ),
        "The container runtime refuses: {why}.",
        ("Correct what it names in the command or the manifest.",),
        "docker: Error response from daemon: invalid CapAdd: unknown capability",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.START,
    ),
    Signature(
        "user-or-folder-missing",
        (
            r"status=217/USER",
            r"status=200/CHDIR",
            r"Failed at step (?:CHDIR|USER|GROUP|NAMESPACE)",
            r"unable to find user \S+: no matching entries",
            r"Changing to the requested working directory failed",
            r"status=(?:216/GROUP|200/CHDIR)",
            r"Failed to determine (?:user|group) credentials",
            r"[Uu]nable to find (?:group|user) (?P<name>\S+?): no matching entries",
        ),
        "The service names a user, group or folder that does not exist.",
        ("Correct User=, WorkingDirectory= or --user.",),
        "llama.service: Main process exited, code=exited, status=217/USER",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"find group|matching entries in group",
                (
                    "Give the group's number of the host, for the name is not in the image: "
                    '--group-add $(getent group render | cut -d: -f3) (group_add: ["992"] in '
                    "Compose), and the same for video.",
                    "Rootless podman: --group-add keep-groups.",
                ),
                "The image knows no group of that name; the host's group has a number.",
            ),
            Variant(
                r"find user|217/USER",
                (
                    "Create it (sudo useradd -r -s /bin/false -m NAME), or name one that exists; "
                    "--user takes numbers as well.",
                ),
                "There is no such user here.",
            ),
            Variant(
                r"200/CHDIR|working directory",
                ("Create the folder (mkdir -p, chown), or correct WorkingDirectory= or -w.",),
                "The working directory does not exist, or its user may not enter it.",
            ),
        ),
    ),
    Signature(
        "request-failed",
        (
            r"got exception: .{0,60}\bmessage\W{1,8}(?P<why>[^\"\\]{4,})",
            r"got exception: (?P<why>[^{].{3,})",
            r"send_error: (?:task id = \d+, )?error: (?P<why>.{4,})",
            r"\{\"error\": ?\{.{0,60}\"message\": ?\"(?P<why>[^\"\\]{4,})",
            r"(?P<why>HTTP Request: POST \S+ \W{0,3}HTTP/[\d.]+ 4(?:00|22)\b.{0,40})",
            r"^\{\"error\": ?\"(?P<why>[^\"]{4,})\"\}$",
        ),
        "A request failed: {why}.",
        ("The server lives on: compare the request with the API of exactly this server.",),
        'srv    operator(): got exception: {"error":{"code":500,"message":"the moon is full",'
        '"type":"server_error"}}',
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "not-supported",
        (
            # What Python programs print for what they do not do, with the reason behind it.
            r"NotImplementedError: (?P<why>.{4,})",
            r"\bENOTSUPP?\b",
            r"\bEOPNOTSUPP\b",
            r"Operation not supported",
        ),
        "What was asked for is not supported by this build, device or model: {why}.",
        (
            "Use a newer build, or leave out what it names.",
            "Check that the build, the device and the model go together.",
        ),
        "NotImplementedError: beams are not supported",
        tier=Tier.GENERIC,
        phase=Phase.LOAD,
        variants=(
            Variant(
                r"converting from safetensors|ForC(?:ausalLM|onditionalGeneration)",
                (
                    "Convert it with llama.cpp's convert_hf_to_gguf.py, which knows more models, "
                    "and give that file: FROM ./model.gguf; or take a GGUF that others made.",
                    "A newer Ollama may import it: update it, then create the model again.",
                ),
                "Ollama's own import does not know this kind of model: {why}.",
            ),
            Variant(
                r"(?:^|\n)(?:[\w.]+\.)?(?!NotImpl)[A-Z]\w*(?:Error|Exception): ",
                (
                    "The last lines of the traceback show who says so: leave out what it "
                    "names, or upgrade that library.",
                    "Libraries of different ages do not know each other's options: pin the "
                    "versions that the program's page names.",
                ),
                "A library does not support what a program asks of it: {why}.",
            ),
        ),
    ),
    Signature(
        "exit-code",
        (
            r"exit(?:ed)?(?:[ _-]?with)?(?:[ _-]?(?:status|code)){1,2}[\"']?[\s:=(\"']{1,12}"
            r"(?P<code>-?[1-9]\d*)",
            r"returned non-zero exit status (?P<code>[1-9]\d*)",
            r"returned a non-zero code: (?P<code>[1-9]\d*)",
            r"code=exited,? status=(?P<code>[1-9]\d*)",
        ),
        "A program ended with exit code {code}, which alone does not say why.",
        (
            "Look at what it wrote before; start it by hand to see everything (llama-server "
            "without --log-disable, with -lv 4).",
        ),
        "job finished, exit status 3",
        Basis.REPORTED,
        tier=Tier.QUOTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"(?:status|code)\W{1,12}143\b",
                (
                    "Look for who ended it: docker stop, a new deployment or fewer replicas, a "
                    "liveness probe, a spot machine that was taken back (kubectl describe pod, "
                    "docker events).",
                    "If nobody did, give it longer to start: weights that are still being "
                    "downloaded or loaded are what probes give up on.",
                ),
                "The program was asked to end from outside (SIGTERM, exit code 143).",
            ),
        ),
    ),
    Signature(
        "told-by-itself",
        (
            r"^(?:[\w./-]{1,40}: )?(?:fatal )?error: (?P<why>(?!error: ).{4,})",
            r"^panic: (?P<why>.{4,})",
            r"^curl: (?:\(\d+\) )?(?P<why>(?!try ).{8,})",
            r"^fatal error: (?P<why>.{4,})",
            r"level=(?:error|fatal)\b.{0,200}?\b(?:msg|err|error)=(?P<why>.{4,})",
            r"\bcaused by: (?P<why>.{4,})",
            r"\[cause\]: (?P<why>.{4,})",
            r"panicked at (?P<why>(?!\S+:\d+:\d+:$).+)",
            r"panicked at \S+:\d+:\d+:$",
            r"(?:uncaught|unhandled) (?:exception|error|rejection):? (?P<why>.{4,})",
            r"^\w[\w-]*: (?:error|fatal): (?P<why>(?!error:).{4,})",
            r"(?<!ACPI )\b(?:ERR|ERROR|FATAL|CRITICAL|SEVERE)\b[\]:|]{1,2} *(?P<why>(?! "
            r"*error:)(?! *This usually means).{8,})",
            r"\b(?P<why>[A-Z]\w*(?:Error|Exception): .{4,})",
            r"(?<!-- )(?<!\(bug\): )(?P<why>(?:failed to|unable to|could not|couldn't) (?!mlock|"
            r"fit|determine)\w+ .{4,})",
            # A function of the engine that complains, which counts if the engine then ends.
            r"^\w{3,60}(?: +\w{1,40})?: {1,3}(?P<hint>.{0,160}\b(?:invalid|unsupported|unknown|"
            r"missing|mismatch\w*|out of range|exceeds?|incompatible|corrupt\w*|wrong|overflow|"
            r"cannot|must be|too (?:many|large|small|big)|does not match|aborting|not (?:found|"
            r"supported|implemented|compatible|valid))\b.{0,200})",
            r"^(?P<why>Error (?!OP )(?:\w+ing|while|when|during)\b.{4,})",
        ),
        "The program ended with an error of its own: {why}.",
        (
            "No closer cause is known: look at the lines around it, and for this sentence among "
            "the issues of {program}.",
        ),
        "error: the flux is not aligned",
        tier=Tier.QUOTED,
        phase=Phase.START,
    ),
)
