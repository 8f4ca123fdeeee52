"""What a line may matter for, by the words that stand in it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ggufctl.core.diagnosis.noise import is_noise
from ggufctl.core.diagnosis.outcomes import is_no_failure, may_be_outcome
from ggufctl.core.logfacts import is_fact, is_last_fact

__all__ = [
    "ANSWERED",
    "FILTER_OPENERS",
    "FILTER_TEXTS",
    "FILTER_WORDS",
    "HEADING",
    "HEADINGS_OF_TALK",
    "LOADED",
    "LOADING",
    "REACHED",
    "REPROCESSING",
    "RETRYING",
    "SPOKEN",
    "TALKING",
    "WITHOUT_TENSOR_API",
    "Traits",
    "is_access",
]

LOADING = (
    "load_model: loading model",
    "llama_model_loader: loaded meta data",
    "load_tensors: loading model tensors",
)
LOADED = (
    "llama_server: model loaded",
    "main: model loaded",
    "init: model loaded",
    "load_model: initializing",
    "init: initializing slots",
    "initializing slots, n_slots",
    "all slots are idle",
    "starting the main loop",
    "llama runner started in",
    "uvicorn running on",
    "load text model ok: true",
    "please connect to custom endpoint",
    "model loaded successfully",
    "[wmain] model loaded",
    "tokens per second",
    " t/s, tg_",
    "llama_perf_context_print: ",
    "llama_print_timings: ",
)
FILTER_WORDS = frozenset(
    (
        "loading loaded initializing idle starting runner uvicorn custom perf timings "
        "clip pipeline working "
        "vram ok "
        "adapter lora projected shared "
        "cmake handshake downloaded download awaiting choices registered connected writing "
        "send done "
        "sigint sigterm handling keyboardinterrupt shutting interrupt "
        "commands generate generation forcing problem resume tensor "
        "error err fatal critical severe e"
    ).split()
)
"""Runs of letters of which every line of the tables here has one."""

FILTER_TEXTS = frozenset(
    {'", line ', "], type =", "server: llama.cpp", "/releases/download/", "## "}
)
"""The same where words would say too little."""

FILTER_OPENERS = frozenset({"cmake error at", '", line '})
"""What begins something that the next lines end."""

TALKING = (
    "available commands:",
    "generate: n_ctx",
    "== running in interactive mode",
    ">>> send a message",
    "...done thinking.",
)
"""That what follows is said by a user and a model."""
HEADING = "## "
HEADINGS_OF_TALK = frozenset({"## prompt", "## system", "## response"})
"""What the command llm writes above what was said."""
ANSWERED = "[ prompt: "
"""That a model has answered, and may be asked again."""
SPOKEN = (
    ANSWERED,
    "common_perf_print: ",
    "llama_perf_context_print: ",
    "llama_print_timings: ",
)
"""That a model has said what it had to say."""

RETRYING = "retrying without pipeline parallelism"
REPROCESSING = "forcing full prompt re-processing"
WITHOUT_TENSOR_API = "the tensor api is not supported in this environment - disabling"
REACHED = (
    "✓ downloaded",
    "download complete",
    "warning: problem",
    "trying to resume download",
    ' "http/1.1 200 ok"',
    "awaiting response... 200",
    '{"status":"ok"}',
    "registered tunnel connection",
    "writing manifest",
    "connected to redis",
    "connected to amqp",
    "connected to postgres",
    "connected to mongo",
    '"choices":[{',
    "< http/1.1 200",
    "< http/2 200",
)
"""That somebody was reached after all, or that curl begins anew."""

_WORDS_OF_CONTEXT = (
    "allocat",
    "clip",
    "pipeline",
    "working set",
    "projected to use",
    "ctx_other",
    "load_shared_library",
    "lora-to-gguf",
    "general.type",
    "loaded meta data",
    "amd radeon",
    "gfx",
    '", line ',
    "], type =",
    "oomkilled",
    "cmake error",
    "cmake warning",
    "cmake deprecation warning",
    "handshake operation timed out",
    "exception occurred during processing",
    "server: llama.cpp",
    "/releases/download/",
)
"""Lines with any of these are always read."""
_STOPS = re.compile(
    r"^\^C|\bSIG(?:INT|TERM)\b|\bKeyboardInterrupt\b|^Shutting down(?: gracefully)?\W*$|"
    r"\bHandling signal: (?:term|int|quit)|\b[Rr]eceived (?:an? )?(?:interrupt|keyboard)|"
    r"\b[Gg]ot signal: (?:interrupt|terminated)"
)
"""That a program is told to end."""
_METHOD = re.compile(r"\b(?:get|post|head|put|delete|options|patch) ")
_ACCESS = re.compile(
    r"\b(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH) \S+(?: \"?HTTP/\d| .{0,40}\b[1-5]\d\d$)"
)
"""Lines of who asked for what: the server's own lines say why it was refused."""
_FAILED = re.compile(
    r"HTTP Request: POST \S+ \W{0,3}HTTP/[\d.]+ (?:400|422|500)\b|"
    r"\bPOST \S+ .{0,60}\b(?:405|41[35]|501)\b|\bOPTIONS \S+ .{0,60}\b(?:40[0345]|501)\b|"
    r"\bPOST \S*/(?:chat/completions|completions?|embeddings?|responses|messages|rerank) \S+ 404$"
)
"""What a client says that a server failed at, and what a status says on its own."""
_PLACES = (
    ("windows", re.compile(r"\b[A-Z]:\\(?:Users|Windows|Program)")),
    (
        "macos",
        re.compile(r"(?:^|[\s'\"(=:])/(?:Users|opt/homebrew|Applications)/|AppleClang|\bdarwin\b"),
    ),
    (
        "amd",
        re.compile(
            r"found \d+ ROCm devices|Device \d+: AMD|library=rocm|ROCm error|amd_linux\.go|"
            r"\bamdgpu|\bhipMem\w+|\bgfx\d{3,4}\b|\brocm|Radeon"
        ),
    ),
    ("adreno", re.compile(r"Adreno \(TM\)|QUALCOMM")),
    ("jetson", re.compile(r"tegra|\b[Jj]etson|JetPack|L4T_VERSION|name=\"?(?:Orin|Xavier)")),
    ("wsl", re.compile(r"/usr/lib/wsl|microsoft-standard|\bWSL2?\b")),
    ("kubernetes", re.compile(r"\bkubelet\b|\bkubectl\b|FailedCreatePodSandBox|\[pod/")),
    ("podman", re.compile(r"\bpodman\b|\bcrun\b")),
    ("colab", re.compile(r"/content/|google\.colab|\bColab\b")),
    ("conda", re.compile(r"/(?:ana|mini|mamba|micromamba|miniforge)\w*3?/|/envs/\w")),
    (
        "pip build",
        re.compile(
            r"build_wheel\b|Getting requirements to build|build backend returned|Failed to build `|"
            r"egg_info did not run|metadata-generation-failed|--no-build-isolation"
        ),
    ),
    ("modal", re.compile(r"modal\.exception|/pkg/modal|Runner failed|^Building image im-")),
    ("own plan", re.compile(r"used or idle: this machine \(CPU\)")),
    ("blank variable", re.compile(r"variable is not set\. Defaulting to a blank string")),
    ("snap", re.compile(r"(?:^|[\s'\"=:])/(?:var/)?snap/")),
    (
        "ollama",
        re.compile(
            r"level=\w+ .{0,200}source=\S+\.go|registry\.ollama\.ai|\bollama (?:serve|run|version)|"
            r"OLLAMA_\w+|llama runner|[\"']ollama[\"']"
        ),
    ),
    ("vllm", re.compile(r"\bvllm[/\\.]|\bEngineCore|\bvLLM\b|\[core\.py:\d")),
    ("lm studio", re.compile(r"\bLM ?Studio\b|\[LMSInternal\]|\.lmstudio(?![\\/]models)|🥲")),
    ("koboldcpp", re.compile(r"\bkoboldcpp|\bKoboldCpp|gpttype_|Load Text Model")),
    ("text to speech", re.compile(r"\bTTS\.CPP\b|\bKokoro\b|\bTTS (?:Memory|Model)\b|OuteTTS")),
    (
        "text generation web ui",
        re.compile(r"\bText [Gg]eneration [Ww]eb ?UI\b|text-generation-webui|llama\.cpp weights"),
    ),
    # Not as its package is called: rows about Python itself look for that.
    ("llama_cpp", re.compile(r"llama_cpp[\\/]|\bllama_cpp\.|llama-cpp-python")),
)
"""Where a program runs, and how a log tells it."""


class Traits(NamedTuple):
    """What a line may matter for; the same for all lines that differ in their digits only."""

    is_timing: bool
    """Of a request, which most lines of a busy server are."""
    is_fact: bool
    is_speed: bool
    """A fact of which only the last counts."""
    is_metadata: bool
    """Of the model, chat templates among it: anything may stand there."""
    is_context: bool
    """Whether it bears upon lines that follow."""
    is_mark: bool
    """Whether it may begin a phase."""
    is_outcome: bool
    """Whether it may say what has been done."""
    is_stop: bool
    """Whether it says that its program was told to end."""
    is_access: bool
    """Whether it may say who asked for what."""
    is_noise: bool
    """Whether it only comes with another that says what failed."""
    is_no_failure: bool
    """Whether it says that its program goes on, unless its level says that it is an error."""
    places: tuple[str, ...] = ()
    """Where the program runs, as far as it says."""

    @property
    def is_read_always(self) -> bool:
        """Whether each such line says something new."""
        return (self.is_fact and not self.is_speed) or self.is_context

    @classmethod
    def of(cls, text: str) -> Traits:
        """Those of a line."""
        low = text.lower()
        return cls(
            is_timing="tokens per second" in low and "eval time" in low,
            is_fact=is_fact(low),
            is_speed=is_last_fact(low),
            is_metadata=" - kv " in low,
            is_context=any(word in low for word in _WORDS_OF_CONTEXT),
            is_mark=low.startswith(HEADING)
            or any(
                word in low
                for word in (
                    *LOADED,
                    *LOADING,
                    *REACHED,
                    *TALKING,
                    *SPOKEN,
                    RETRYING,
                    REPROCESSING,
                    WITHOUT_TENSOR_API,
                )
            ),
            is_outcome=may_be_outcome(low),
            is_stop=_STOPS.search(text) is not None,
            is_access="/" in low and ", client: " not in low and _METHOD.search(low) is not None,
            is_noise=is_noise(text),
            is_no_failure=is_no_failure(text),
            places=tuple(name for name, pattern in _PLACES if pattern.search(text)),
        )


def is_access(text: str) -> bool:
    """Whether a line whose traits allow it says who asked for what."""
    return _ACCESS.search(text) is not None and _FAILED.search(text) is None
