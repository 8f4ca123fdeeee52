"""What kind of failure a sentence is about that stands in no row of the table.

A program's own sentence is quoted; its words decide which row of the table says what to do. Only
sentences that are told as errors come here, so words may be taken for what they mean in one.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = ["QUOTING", "family_of", "is_told_as_error", "path_in", "speaker_of"]

QUOTING = frozenset(
    {
        "build-step-failed",
        "cxx-exception",
        "docker-error",
        "modal-runner-failed",
        "model-load-failed",
        "ollama-runner-died",
        "python-exception",
        "request-failed",
        "told-by-itself",
    }
)
"""Causes that are told in the words of the log."""

_LOADING = (
    (
        "key-missing",
        r"must (?:be|have|not|divide|match|define)|cannot have|can't have|requires?\b|needs? to "
        r"define|expects?\b|expected .{1,80}(?:got|found)|invalid (?:n_|number|value|gguf type|"
        r"array|size|width|split)|missing|not set|wrong (?:array|type|number|value)|array length|"
        r"mismatch|out of (?:range|bounds)|exceeds?\b|too (?:few|many|large|small)|zero experts|"
        r"not (?:divisible|a multiple)|> N_MAX|unsupported (?:value|attempt|size)|inconsistent|"
        r"doesn't match|does not match",
    ),
)
"""In what an engine says of a model that it loads."""

_ASKING = (
    (
        "request-invalid",
        r"must (?:be|have|not|contain|match)|invalid\b|required|missing|expected\b|unknown|"
        r"unsupported|not (?:supported|allowed|valid)|cannot (?:be|specify|use)|malformed|too "
        r"(?:many|large|long)|exceeds|empty|parse|unexpected",
    ),
)
"""In what a server says of a request."""

_STATUS = (
    r"\b(?:HTTP|status|code|error|failed|hugging ?face)(?:\W{1,4}(?:with|code|status|HTTP)){0,3}"
    r"\W{0,12}"
)
"""What stands before the status of an answer."""
_PROGRAM = (
    (
        "ollama-runner-died",
        r"(?:llama-server|runner|model runner|mlx runner) (?:process )?(?:no longer running|"
        r"error\b|crashed|"
        r"exited)|see the ollama server logs|unknown error was encountered while running the model",
    ),
    (
        "context-exceeded",
        r"(?:exceeds?|longer than|larger than|beyond) .{0,60}\b(?:context|maximum (?:\w+ )?"
        r"length)\b|prompt is too long|find a kv cache slot|\bmaximum context length\b",
    ),
    (
        "grammar-invalid",
        r"or a valid JSON Schema|\bexpecting (?:name\b|'?::=|'?\)|newline or end\b|"
        r"preceding item\b|\S* ?hex chars)|(?:unknown escape|unexpected end of input) at\b|"
        r"malformed rule, does not end|undefined rule identifier",
    ),
    (
        "key-wrong",
        r"\b(?:missing|invalid|wrong|incorrect|no) API[ _-]?key\b|\bAPI[ _-]?key (?:is )?"
        r"(?:missing|invalid|wrong|incorrect|required|not set)|authorization header (?:is )?"
        r"(?:missing|required)|(?:missing|no|invalid) authorization header|authenticate with the"
        r" (?:model )?"
        r"server",
    ),
    (
        "ollama-cloud",
        r":(?:\d+b-)?cloud\b.{0,40}(?:sign[ -]?in|not signed)|requires? sign(?:ing)?[ "
        r"-]?in\b",
    ),
    (
        "docker-no-gpu-runtime",
        r"\bCDI (?:configuration|spec\w*|device)\b|nvidia-container-toolkit "
        r".{0,40}(?:not|missing)",
    ),
    ("file-is-old-ggml", r"\b(?:outdated|obsolete) (?:GGUF|GGML)\b"),
    (
        "port-taken",
        r"\bno (?:available|free) ports?\b|\bfree port\b|\bports? .{0,40}(?:exhausted|"
        r"occupied|(?:already )?in use)",
    ),
    (
        "illegal-instruction",
        r"\b(?:CPU|processor)\b.{0,80}(?:not|n't) (?:meet|support|have)\b.{0,80}\b(?:minim\w+|"
        r"AVX\w*|SSE\w*)|\bnot support (?:AVX|FMA|F16C)",
    ),
    (
        "conversion-unsupported",
        r"Quant method is not yet supported|"
        r"(?:quanti[sz]e|convert)\w* (?:the )?model.{0,20}(?:architecture )?may not be supported",
    ),
    (
        "server-busy",
        r"no available (?:cache )?slots?\b|find an available sequence|\b(?:request )?queue is full|"
        r"too many (?:concurrent|pending|queued) requests",
    ),
    (
        "version-mismatch",
        r"\b(?:must be|needs? to be|should be) (?:updated|upgraded)\b|\bis too old\b|\boutdated "
        r"version\b|\bminimum (?:required )?version\b|\bminimum required is\b|\brequires? (?:a "
        r"newer|at least)? ?version\b|\brequires? \S{1,40} (?:version )?v?\d[\w.]* or (?:newer|"
        r"later|higher|above)|version mismatch|(?:newer|older) version of \S+ (?:is )?(?:required|"
        r"needed)|please (?:update|upgrade) (?:to|your)\b",
    ),
    ("endpoint-unknown", r"\b(?:openai|litellm)\.\S*NotFoundError\b"),
    ("cuda-init-failed", r"cuda driver library (?:failed|init)"),
    (
        "library-mixed",
        r"compiled (?:with|for|against) (?:a )?different|different CUDA (?:major|version)|"
        r"binary incompatib",
    ),
    (
        "request-invalid",
        r"\b(?:BadRequestError|UnprocessableEntityError)\b|^Error code: 4(?:00|22)\b|Unknown "
        r"parameter: |\b4(?:00|22) (?:status code|Client Error|Bad Request|Unprocessable)|"
        r"(?:HTTP Error|returned(?: an?)?(?: HTTP)?(?: error| status)?(?: code)?):? 4(?:00|22)\b|"
        r"HTTP/[\d.]+ "
        r"4(?:00|22)\b",
    ),
    ("key-wrong", r"open_webui\.\S+.{0,20}\b401\b|/v1/\S*.{0,40}\b401\b|\b401\b.{0,80}/v1/"),
    ("upstream-timeout", r"(?:error|status|code|HTTP)\w*\W{0,6}52[24]\b"),
    (
        "argument-unknown",
        r"(?:unrecognized|unknown|invalid|no such) (?:sub)?(?:command|option|flag)\b|option \S+ is "
        r"(?:unknown|ambiguous)|unexpected "
        r"(?:extra )?(?:argument|option)s?\b",
    ),
    ("compiler-missing", r"linker `?\w+`? not found|use Visual Studio to build|no C\+* compiler"),
    (
        "name-taken",
        r"\balready (?:exists|in use|registered|defined|taken)\b",
    ),
    (
        "draft-failed",
        r"\bspeculat\w+.{0,80}\bdraft\b|\bdraft model\b.{0,80}(?:match|compatib|requires?|fail)",
    ),
    ("gpu-permission", r"(?:/dev/(?:kfd|dri|nvidia)|render group)\b"),
    (
        "certificate",
        r"\bcertificate\b|\b(?:TLS|SSL)\b.{0,60}(?:verif\w+|trust\w*|handshake|error|fail\w*)",
    ),
    (
        "dns-failed",
        r"(?:resolve|lookup|find) .{0,40}\b(?:host|hostname|address|domain)\b|unknown host|no "
        r"such host|host not found",
    ),
    ("hub-rate-limit", _STATUS + r"429\b|rate.?limit"),
    (
        "download-denied",
        _STATUS + r"40[13]\b|\bunauthori[sz]ed\b|\bforbidden\b|"
        r"\b(?:not|are) authori[sz]ed to (?:pull|download|access|read|push)\b",
    ),
    (
        "hub-not-found",
        _STATUS + r"404\b|\bnot found (?:in|on) (?:the )?(?:\S+ )?"
        r"(?:registry|hub|gallery|repository|Hugging ?Face|ModelScope)\b",
    ),
    (
        "server-error",
        r"\b(?:ollama|chat|completions?|embeddings?|inference|LLM|openai|litellm|runner|llama)\b"
        r".{0,80}\b(?:HTTP|status|code|error|failed)\W{0,12}(?:code )?50[0-9]\b|"
        r"\b(?:upstream|backend)\b.{0,40}\b50[0-9]\b",
    ),
    ("hub-server-error", _STATUS + r"5(?:0[0-9]|2[0-9])\b"),
    (
        "connection-refused",
        r"\b(?:connect\w*|dial|request|port|server|host|socket|target|upstream|peer)\b.{0,80}"
        r"\brefused\b(?! (?:our|the|your|a|to)\b)|\brefused\b.{0,40}\b(?:connect\w*|port|host)\b|"
        r"(?:not|un)\s?reachable|(?:could not|couldn't|cannot|can't|unable to|fail\w* to) connect "
        r"to\b(?!.{0,80}time[d -]*out)",
    ),
    (
        "start-timeout",
        r"(?:\bstart|\bload|launch|ready|respond|health|warm|\bboot)\w*\b.{0,80}(?:time[d -]*out|"
        r"in time)|time[d -]*out.{0,80}(?:\bstart|\bload|launch|ready|respond|health|warm)",
    ),
    (
        "network-broken",
        r"\b(?:connect\w*|socket|stream|request|download\w*|https?|network|proxy|fetch\w*|server|"
        r"response|pull\w*|upload\w*)\b.{0,80}(?:time[d -]*out|closed|reset|lost|broken|abort\w*|"
        r"\bEOF\b|interrupt\w*|hang up|disconnect\w*|unexpectedly)|deadline exceeded|broken pipe|"
        r"\bEPIPE\b|time[d -]*out\b",
    ),
    (
        "module-missing",
        r"(?<!'NoneType' object )has no attribute|unexpected keyword|cannot import|required "
        r"positional argument|is not a function|no module|\bpip3? install\b|\b(?:package|library) "
        r"is (?:required|not installed)|must install the \S+ package",
    ),
    (
        "command-not-found",
        r"\b(?:binary|executable|command|program) .{0,60}not found\b|\bis not installed\b|"
        r"not appear to be installed|not found (?:in|on) (?:your |the )?\$?PATH\b",
    ),
    (
        "backend-missing",
        r"\b(?:backend|runtime|librar(?:y|ies)|engine|symbol)s?\b.{0,60}(?:not "
        r"(?:found|available|installed)|missing|could not be loaded|undefined|fail\w* to "
        r"load)|(?:fail\w* to|could not|cannot|unable to|error) load\w* .{0,40}(?:backend|runtime|"
        r"librar|plugin|extension|symbol|\.so\b|\.dll\b|\.dylib\b)",
    ),
    (
        "file-truncated",
        r"\b(?:file|gguf|model|tensors?|weights?|blob|archive|data)\b.{0,80}(?:\bcorrupt\w*|"
        r"\bdamaged|\btruncated|\bincomplete)|(?:\bcorrupt\w*|\bdamaged|\btruncated|\bincomplete)\b"
        r".{0,60}\b(?:file|gguf|model|tensors?|weights?|blob)",
    ),
    (
        "config-file-invalid",
        r"^(?!.{0,300}\b(?:requests?|body|payload|responses?|answer|reply|output|chunk|stream|tool|"
        r"arguments?|schema|client|received|position)\b)(?:.{0,300}"
        r"\b(?:json|ya?ml|toml|config\w*|ini|settings)\b.{0,60}(?:pars\w+|syntax|invalid|"
        r"unexpected|malformed|decod\w+)|.{0,300}(?:pars\w+|decod\w+|unmarshal\w*|syntax).{0,60}"
        r"\b(?:json|ya?ml|toml|config\w*|settings)\b)",
    ),
    (
        "file-missing",
        r"no such file|\bENOENT\b|cannot find the (?:file|path)|\[Errno 2\]|os error [23]\)|"
        r"\b(?:file|folder|directory|path|blob|snapshot|model)\b.{0,100}(?:not found|not exist|"
        r"doesn't exist|\bmissing)|(?:not found|missing|not exist|cannot find|could not find|"
        r"couldn't find|unable to (?:find|locate|open)|fail\w* to (?:find|locate|open)|cannot open|"
        r"could not open|can't open|couldn't open|\bno)\b.{0,60}(?:\bfiles?\b|folder|directory|"
        r"\bpath\b|\s['\"]?(?:/|[A-Z]:\\|~/|\./)\S)",
    ),
    (
        "not-supported",
        r"(?:not|n't)(?: yet| currently| been)? (?:supported|implemented)|unsupported(?! operand)|"
        r"(?:not|n't) support|NotImplemented|not compatible|incompatible|not available (?:on|for|"
        r"in|with)|\bonly (?:supports?|works|available)|\bonly \w+(?: \w+){0,4} supported\b",
    ),
    (
        "argument-value",
        r"invalid (?:\w+ )?(?:value|argument|parameter|option|setting|number|type|combination|"
        r"size|device|mode)|\bmust (?:be|have|not|specify)\b|(?<!index )\bout of range\b|"
        r"mutually exclusive|"
        r"cannot be (?:used|combined|both|zero|negative|empty|less|greater|larger|run with)|"
        r"\bEINVAL\b|\bhas to be (?:an?|strictly|one|set|between|in|at|less|greater|positive)\b|"
        r"\bconflict(?:s|ing)? (?:with|between|argument|option|flag)|options? conflict|"
        r"\bcan only be used (?:with|when|if)\b|please enable the \S+ option|"
        r"cannot (?:use|specify|combine|set|mix|pass|filter|be mixed)\b.{0,120}\b(?:with|and|both|"
        r"together|same time|when|without)\b|arguments? (?:were|was) not provided|only one of\b|"
        r"\bnot both\b|(?:requires?|expects?) a value|must provide|please (?:specify|provide|set|"
        r"pass)"
        r"\b|invalid (?:\S+ ){1,4}['\"`]|"
        r"wrong (?:type|value)|expected (?!all tensors).{1,60} (?:got|but|found)|is required|"
        r"unknown (?:\w+ )?"
        r"(?:value|type|option|mode|argument|format)",
    ),
    (
        "cuda-error",
        r"\b(?:GPU|CUDA|cuBLAS|ROCm|HIP|MUSA|SYCL|OpenCL|Vulkan|Metal|NPU|CANN|kernel launch|"
        r"hexagon|adreno|webgpu)\b.{0,80}(?:error|fail\w*|lost|hang|reset|unavailable|abort\w*)|"
        r"(?:error|fail\w*|unable|could not|cannot)\b.{0,60}\b(?:GPU|CUDA|cuBLAS|ROCm|HIP|MUSA|"
        r"SYCL|OpenCL|Vulkan|Metal|NPU|CANN|hexagon|webgpu|command queue|command buffer)\b",
    ),
    (
        "decode-failed",
        r"(?!.{0,200}\b(?:codec|unicode|utf-?8|base64|json|yaml|image|audio|video|png|jpe?g|url|"
        r"jwt|protobuf|(?:tmp|temp\w*|sub)?dir\w*|folder|keys?|config\w*|parser|gallery)\b)"
        r"(?!.{0,40}UnicodeDecodeError)"
        r"(?:fail\w*|error|unable|could not|cannot)\b.{0,40}\b(?:decod\w+|encod\w+|eval\w*|"
        r"comput\w+|batch(?! job)|ubatch|graph|infer\w*|sampl\w+|generat\w+|predict\w*|tokeni[sz"
        r"]\w+|"
        r"k-shift|logits|embeddings?)\b|\b(?:decod\w+|encod\w+|eval\w*|comput\w+|batch|ubatch|"
        r"graph|infer\w*|sampl\w+|generat\w+|predict\w*|tokeni[sz]\w+)\b.{0,30}(?:fail\w*|error)",
    ),
)
"""In what any program says, the closer ones first."""

_AS_ERROR = re.compile(
    r"\b(?:fatal|panic(?:ked)?|critical|severe|abort(?:ed|ing)?|traceback|caused by|cause\])|"
    r"(?:\b|[a-z])(?:error|exception)\b|\berr[\]:= ]",
    re.IGNORECASE,
)
_HEAD = 200
"""Characters in which a line says that it is an error."""

_ACCESS = re.compile(r" (?:ip|latency|method|status|url)=\S*")
"""What a server notes of the request to which it answered an error: no part of the error."""

_PATH = re.compile(
    r"['\"`](?P<quoted>[^'\"`\s][^'\"`]*[/\\.][^'\"`]*)['\"`]|"
    r"(?P<bare>(?:(?<![\w:/])/|[A-Z]:\\|~/|\./)[^\s:'\"`,;)]{2,})"
)
_SPEAKERS = (
    (r"level=\w+ .{0,200}source=|\bollama\b|registry\.ollama\.ai", "Ollama"),
    (r"\blocal-?ai\b|\[llama-cpp(?:-\w+)?\]|grpc (?:process|service)", "LocalAI"),
    (r"\bLM ?Studio\b|\[LMSInternal\]|\bLMS\b|🥲", "LM Studio"),
    (r"\bkobold|gpttype_|Load Text Model", "KoboldCpp"),
    (r"\[?CORTEX\]?|\bcortex\.|\bjan\b", "Jan"),
    (r"\bllama[-_]swap\b", "llama-swap"),
    (r"\bramalama\b", "RamaLama"),
    (r"\bgpustack\b", "GPUStack"),
    (r"\bLLama\.(?:Native|Exceptions)|LLamaSharp", "LLamaSharp"),
    (r"node-llama-cpp", "node-llama-cpp"),
    (r"\bhuggingface_hub\b|\bHfHub", "the Hub's client"),
    (r"\bllama_cpp\b|llama-cpp-python", "llama-cpp-python"),
    (r"\bmodal\.|^Runner ", "Modal"),
    (r"\bkubelet\b|\bpod/|kube", "Kubernetes"),
    (r"\bdocker\b|\bdaemon\b|\bOCI\b|containerd|\bpodman\b|\brunc\b", "the container runtime"),
    (r"\bsystemd\b|\.service\b", "systemd"),
    (r"\bCMake\b|\bninja\b|\bmake\b|\bnvcc\b|\bg?cc\b|\bld\b", "the build"),
    (r"\bpip\b|\bwheel\b", "pip"),
    (r"\bCUDA\b|\bcu[A-Z]\w+\(|\bNVRM\b|nvidia", "CUDA"),
    (
        r"\bggml_\w+|\bggml-|\bGGML_|\bllama_\w+|^(?:srv|slot|main|common|clip|mtmd)\w*\b",
        "llama.cpp",
    ),
    (r"\b[A-Z]\w*(?:Error|Exception)\b|Traceback", "a Python program"),
)


def family_of(why: str, *, is_loading: bool = False, is_request: bool = False) -> str | None:
    """The cause that says what to do about a sentence; None where its words do not say.

    Args:
        why: a sentence that is told as an error.
        is_loading: whether an engine says it of a model file.
        is_request: whether a server says it of a request.
    """
    why = _ACCESS.sub("", why)
    special: tuple[tuple[str, str], ...] = ()
    if is_loading or is_request:
        special = _LOADING if is_loading else _ASKING
    for id, pattern in (*special, *_PROGRAM):
        if _compiled(pattern).search(why):
            return id
    return None


def is_told_as_error(text: str) -> bool:
    """Whether a line calls what it says an error, and not only a thing that failed."""
    return _AS_ERROR.search(text[:_HEAD]) is not None


def path_in(why: str) -> str:
    """The first path that a sentence names, without quotes; empty if it names none."""
    found = _PATH.search(why)
    return (found["quoted"] or found["bare"] or "") if found else ""


def speaker_of(text: str) -> str:
    """The program that writes such lines; empty where that cannot be told."""
    return next((name for pattern, name in _SPEAKERS if _compiled(pattern).search(text)), "")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
