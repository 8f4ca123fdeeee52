"""From lines of a log to the causes they show, the root first.

Every line is matched against the table of signatures while it is read; what was seen is kept as a
few counters and samples, so that a log may be of any length. A line is a cause only as long as
nothing later shows that it was survived.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from ggufctl.core.escape import redact
from ggufctl.core.logfacts import FACT_WORDS, FILTER_TEXTS, FILTER_WORDS, FactReader, LogFacts
from ggufctl.core.logtext import Filter, LogLine, LogReader, shape_of
from ggufctl.core.shortage import Shortage, explain_shortage
from ggufctl.core.signatures import (
    SIGNATURES,
    Phase,
    Severity,
    Signature,
    SignatureIndex,
    Tier,
    signature_index,
)
from ggufctl.core.signatures.families import (
    QUOTING,
    family_of,
    is_told_as_error,
    path_in,
    speaker_of,
)

__all__ = [
    "Diagnoser",
    "Diagnosis",
    "Evidence",
    "LogReport",
    "diagnose_chunks",
    "diagnose_lines",
    "log_filter",
]

MAX_EVIDENCE = 4
"""Lines that are kept of one cause."""

MAX_TEXT = 400
"""Characters that are kept of one line."""

MAX_STREAMS = 256
"""Containers and units that are told apart in one log."""

MAX_SHAPES = 4096
"""Kinds of lines that are remembered."""

_NEAR = 40
"""Lines within which an allocation that failed belongs to what is said next."""

_CONFIDENCE = {
    Tier.ROOT: 0.95,
    Tier.REQUEST: 0.9,
    Tier.SYMPTOM: 0.6,
    Tier.KIND: 0.5,
    Tier.GENERIC: 0.3,
    Tier.QUOTED: 0.2,
}
_QUOTED_CONFIDENCE = 0.4
"""Of a sentence that was told as an error, and whose words are all that is known."""

_BEGIN_LOADING = (
    "load_model: loading model",
    "llama_model_loader: loaded meta data",
    "load_tensors: loading model tensors",
)
_LOADED = (
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
_FILTER_WORDS = frozenset(
    (
        "loading loaded initializing idle starting runner uvicorn custom perf timings "
        "clip pipeline working "
        "vram ok "
        "adapter lora projected shared "
        "error err fatal critical severe e"
    ).split()
)
"""Runs of letters of which every line of the tables here has one."""

_ALLOCATION = re.compile(
    r"allocating (?P<mib>[\d.]+) MiB on device (?P<number>\d+)|"
    r"failed to allocate (?P<device>[A-Za-z_]+\d*(?:_\w+)?) buffer of size (?P<bytes>\d+)|"
    r"failed to allocate buffer of size (?P<host>\d+)|"
    r"attempted to allocate +(?P<mb>[\d.]+) MB"
)
_ABSORBS = {
    "hub-gated": {"download-denied", "hub-token"},
    "hub-rate-limit": {"download-denied", "image-not-found"},
    "projector-as-model": {"unknown-architecture"},
    "projector-mismatch": {"projector-failed"},
    "projector-unknown": {"projector-failed"},
    "oom-mmproj": {"projector-failed"},
    "oom-draft": {"draft-failed"},
    "oom-scheduler-copies": {"oom-compute"},
    "docker-no-gpu-runtime": {"backend-missing", "command-not-found", "shared-library-missing"},
    "driver-too-old": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "cache-not-writable": {"file-permission", "read-only-folder"},
    "disk-full": {"download-incomplete", "file-truncated", "read-error", "xet-failed"},
    "quantized-v-needs-fa": {"argument-value"},
    "address-not-here": {"port-taken"},
    "port-privileged": {"port-taken"},
    "no-tls": {"network-broken", "hub-not-found"},
    "phi3-quantized-kv": {"failed-check"},
    "context-exceeded": {"decode-failed"},
    "batch-invalid": {"decode-failed"},
    "not-executable": {"command-not-found", "docker-error"},
    "context-shift-quantized": {"failed-check"},
    "quant-type-unknown": {"header-truncated"},
    "shard-missing": {"file-missing"},
    "lora-failed": {"file-missing"},
    "projector-failed": {"failed-check", "file-missing", "key-missing", "unknown-architecture"},
    "draft-failed": {"file-missing", "key-missing", "unknown-architecture"},
    "header-invalid": {"header-truncated"},
    "gguf-version-new": {"header-truncated"},
    "engine-built-without-gpu": {"gpu-not-found"},
    "oom-metal": {"metal-failed", "failed-check"},
    "oom-sycl": {"intel-driver-abort"},
    "oom-host-weights": {"oom-host"},
    "oom-killed": {"ollama-load-timeout", "start-timeout"},
    "package-shadowed": {"binding-library-missing", "module-missing", "shared-library-missing"},
    "adapter-as-model": {"key-missing", "tensor-missing"},
    "draft-as-model": {"draft-failed"},
    "image-entrypoint": {"modal-runner-failed"},
    "glibc-too-old": {"backend-missing", "binding-library-missing", "shared-library-missing"},
    "driver-mismatch": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "logits-nan": {"failed-check"},
    "rpc-failed": {"failed-check"},
    "start-timeout": {"modal-runner-failed"},
    "read-error": {"header-truncated"},
    "model-load-failed": {"python-exception"},
    "image-not-found": {"download-denied", "hub-not-found"},
    "hub-not-found": {"download-denied", "download-incomplete", "file-missing"},
    "gpu-not-schedulable": {"not-schedulable"},
    "model-parts-mismatch": {"download-incomplete", "tensor-shape"},
    "ollama-server-not-started": {"ollama-load-timeout", "start-timeout"},
    "lmstudio-engine": {"app-runtime-crashed", "backend-missing", "shared-library-missing"},
    "mlx-missing": {"exit-code", "model-load-failed", "shared-library-missing"},
    "llamafile-loader": {"shared-library-missing", "wrong-platform"},
    "shared-library-missing": {"command-not-found"},
    "webui-engine-unreachable": {"connection-refused", "hub-server-error"},
    "metal-failed": {"backend-missing"},
    "vulkan-error": {"cxx-exception"},
    "proxy-failed": {
        "command-not-found",
        "dns-failed",
        "download-denied",
        "hub-not-found",
        "module-missing",
        "network-broken",
        "xet-failed",
    },
    "build-dependency-missing": {"command-not-found", "compile-error", "cuda-link"},
    "body-too-large": {"context-exceeded", "request-invalid"},
    "build-context": {"endpoint-unknown", "file-missing", "hub-not-found"},
    "build-out-of-memory": {"oom-host", "compile-error", "cuda-link", "oom-killed", "segfault"},
    "cgroup-limits": {"command-not-found"},
    "clock-wrong": {"certificate"},
    "cloud-credentials": {"download-denied", "hub-token"},
    "compiler-missing": {"build-option-renamed", "command-not-found", "cuda-compiler-missing"},
    "compose-invalid": {"config-file-invalid"},
    "cuda-compiler-missing": {"build-option-renamed"},
    "device-missing": {"command-not-found"},
    "docker-permission": {"service-not-running"},
    "download-locked": {"threads-limit"},
    "driver-not-loaded": {"cuda-init-failed", "file-missing", "gpu-not-found", "package-conflict"},
    "driver-unsigned": {"cuda-init-failed", "driver-not-loaded", "gpu-not-found"},
    "entrypoint-line-ends": {"command-not-found", "file-missing"},
    "env-file-missing": {"command-not-found", "file-missing", "unit-invalid"},
    "gpu-arch-unsupported": {"backend-missing", "file-missing"},
    "gpu-index": {"argument-value", "docker-no-gpu-runtime"},
    "gpu-no-capacity": {"gpu-allocation-failed", "request-failed"},
    "hub-disabled": {"download-denied", "hub-not-found"},
    "hub-token": {"download-denied"},
    "library-mixed": {
        "backend-missing",
        "glibc-too-old",
        "module-missing",
        "shared-library-missing",
    },
    "listens-elsewhere": {"connection-refused"},
    "macos-quarantine": {"shared-library-missing"},
    "macos-too-old": {"shared-library-missing"},
    "manifest-refused": {"config-file-invalid"},
    "modal-startup-timeout": {"listens-elsewhere"},
    "model-not-served": {"hub-not-found"},
    "mount-failed": {"argument-value", "file-is-folder"},
    "mps-failed": {"cuda-init-failed"},
    "no-file-locks": {"threads-limit"},
    "path-too-long": {"file-missing"},
    "run-as-root": {"secret-missing"},
    "secret-missing": {"mount-failed"},
    "service-sandbox": {"command-not-found", "not-executable", "user-or-folder-missing"},
    "shared-memory": {"disk-full"},
    "unit-invalid": {"command-not-found", "file-missing", "service-not-running"},
    "upstream-refused": {"network-broken"},
    "upstream-timeout": {"network-broken", "upstream-refused"},
    "vulkan-no-device": {"shared-library-missing"},
    "xet-failed": {"download-denied", "read-error"},
    "compiler-version": {"cuda-compiler-missing"},
    "gpu-permission": {
        "cuda-init-failed",
        "file-permission",
        "gpu-not-found",
        "vulkan-no-device",
    },
    "inotify-limit": {"disk-full", "files-limit"},
    "docker-credentials": {"command-not-found", "image-not-found"},
    "docker-storage": {"file-is-folder", "read-error"},
    "certificate": {"file-missing", "package-not-found"},
    "dns-failed": {"package-not-found"},
    "gpu-ecc": {"illegal-memory-access"},
    "gpu-fault": {"illegal-memory-access"},
    "gpu-fell-off": {"cuda-init-failed", "gpu-not-found", "illegal-memory-access"},
    "gpu-gsp": {"gpu-not-found", "illegal-memory-access"},
    "gpu-nvlink": {"illegal-memory-access", "peer-access"},
    "network-broken": {"build-step-failed", "docker-error", "image-pull", "package-not-found"},
    "port-reserved": {"port-privileged", "port-taken"},
    "helm-failed": {"config-file-invalid", "template-invalid"},
    "probe-path": {"probe-failed"},
    "image-no-command": {"command-not-found", "docker-error", "modal-runner-failed"},
    "gpu-runtime-mode": {"docker-no-gpu-runtime"},
    "cuda-library-missing": {"cuda-compiler-missing", "wheel-build-failed"},
    "cuda-needs-msvc": {
        "compiler-missing",
        "compiler-version",
        "cuda-compiler-missing",
        "wheel-build-failed",
    },
    "engine-link": {"compile-error", "cuda-link"},
    "submodules-missing": {"build-context", "compile-error"},
    "binding-library-missing": {
        "backend-missing",
        "file-missing",
        "module-missing",
        "shared-library-missing",
    },
    "binding-mismatch": {
        "backend-missing",
        "binding-library-missing",
        "library-mixed",
        "module-missing",
        "shared-library-missing",
    },
    "wrong-platform": {"backend-missing", "binding-library-missing", "shared-library-missing"},
    "proxy-for-localhost": {"hub-server-error", "upstream-refused", "upstream-timeout"},
    "client-provider": {"key-wrong", "request-invalid"},
    "folder-denied": {"cache-not-writable", "permission-denied"},
    "read-only-folder": {"docker-error", "not-executable", "permission-denied"},
    "chat-format-unknown": {"argument-value"},
    "key-empty": {"connection-refused", "hub-token", "network-broken"},
    "modal-image-build": {"build-step-failed", "modal-runner-failed"},
    "podman-session": {"docker-error", "permission-denied"},
    "runtime-kernel": {"docker-error", "not-supported"},
    "wsl-no-gpu": {"docker-no-gpu-runtime", "driver-mismatch", "gpu-not-found"},
    "driver-in-image": {"docker-no-gpu-runtime"},
    "volume-elsewhere": {"mount-failed", "not-schedulable"},
    "post-start-hook": {"docker-error"},
    "compose-too-old": {"argument-value", "compose-invalid", "config-file-invalid"},
    "client-timeout": {"network-broken"},
    "release-not-found": {"hub-not-found"},
}
"""Cause → what it shows itself as well, which is then no cause of its own."""

_KINDS = {
    "out-of-memory": frozenset({"gpu-allocation-failed", "build-out-of-memory"}),
    "permission-denied": frozenset(
        {
            "cache-not-writable",
            "docker-error",
            "download-denied",
            "file-permission",
            "gpu-permission",
            "hub-gated",
            "image-not-found",
            "not-executable",
            "port-privileged",
            "port-taken",
            "read-error",
            "service-not-running",
        }
    ),
    "file-not-gguf": frozenset(
        {
            "big-endian",
            "file-empty",
            "file-is-html",
            "file-is-lfs-pointer",
            "file-is-old-ggml",
            "gguf-v1",
            "gguf-version-new",
        }
    ),
    "vulkan-error": frozenset({"oom-vulkan", "vulkan-device-lost", "vulkan-no-device"}),
    "cuda-error": frozenset({"gpu-hang", "gpu-permission"}),
}
"""Cause of which only the kind is known → what tells the same more closely."""

_SURVIVABLE = frozenset(
    {
        "cuda-init-failed",
        "engine-built-without-gpu",
        "gpu-not-found",
        "gpu-permission",
        "package-conflict",
    }
)
"""Roots that an engine lives with, so that another one beside them is the reason."""

_STILL_DUE_TO_GPU = ("oom-", "start-timeout", "ollama-load-timeout")
"""Causes that may follow from a GPU that is not used."""

_ANY_PROGRAM = frozenset({"cxx-exception", "python-exception", "request-failed", "told-by-itself"})
"""Rows that quote whatever a program says."""

_NO_LIBRARY = frozenset({"binding-library-missing", "shared-library-missing"})
"""That a binding does not find the engine."""

_CRASHES = frozenset({"segfault"})
"""That a process crashed, and nothing of why."""

_BUILDS = frozenset({"build-step-failed", "compile-error", "wheel-build-failed"})
"""That something could not be built."""

_ENDS = frozenset(
    {
        "aborted",
        "crash-loop",
        "exit-code",
        "failed-check",
        "illegal-instruction",
        "oom-killed",
        "ollama-runner-died",
        "segfault",
    }
)
"""That a process ended."""

_NEEDED_MEMORY = frozenset(
    {"oom-weights", "oom-kv", "oom-compute", "oom-mmproj", "oom-draft", "oom-scheduler-copies"}
)

_BY_CONTEXT = ("oom-", "metal-", "gpu-allocation", "projector-", "draft-", "out-of-memory")
"""Causes that lines before a line decide upon."""

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
)
"""Lines with any of these are always read."""

_LAST_COUNTS = ("tokens per second", " t/s", "n_ctx_slot")
_ALL_COUNT = (
    "buffer size",
    "loaded meta data",
    "general.name",
    "print_info",
    "llm_load_print_meta",
    "layers to gpu",
    "compute capability",
    " mib free",
    "n_slots",
    "n_seq_max",
    "n_ubatch",
    "build",
    "version",
    "type_k",
    "flash",
    "cells,",
    "model weights",
    "kv cache",
    "compute graph",
    "total vram",
)
"""Facts of which the last is known by lines of one shape, and those that add up."""

_STATUS = re.compile(r"(?<![3-5\d])\d+|\d{4,}|\b[3-5]\d?\b")
"""Numbers that are no status of HTTP."""

_METHOD = re.compile(r"\b(?:get|post|head|put|delete|options|patch) ")
_RETRYING = "retrying without pipeline parallelism"

_PROJECTED = re.compile(r"projected to use (\d+) MiB .{0,40}vs\. (\d+) MiB")
_EXPORTED = re.compile(r"lora-to-gguf:.* exported to (\S+)")
_LOADED_FROM = re.compile(r"loaded meta data with .* from (?P<path>.+?) \(version ")
_ADAPTER_PATH = re.compile(r"(?:lora|adapter)[^/\\]*$", re.IGNORECASE)
_CHECKOUT = re.compile(r"llama[-_]cpp[-_]python[\w.+-]*[\\/]llama_cpp[\\/]\w+\.py\"")
"""A module of a binding that lies in its source folder."""

_NO_ROCM = re.compile(
    r"gfx(?:103[1-6]|101\d|90c|80\d|1103)\b|"
    r"\bDevice \d+: AMD Radeon (?:\(TM\) )?(?:RX )?(?:Vega\b|6[4-7]\d0|5[3-9]\d0|[5-9]80M)"
)
"""GPUs that ROCm's libraries have no code for, as its device lines name them."""

_PLACES = (
    ("windows", re.compile(r"\b[A-Z]:\\(?:Users|Windows|Program)")),
    ("amd", re.compile(r"found \d+ ROCm devices|Device \d+: AMD|library=rocm|ROCm error")),
)
"""Where a program runs, and how a log tells it."""

_KILLED_BY_KERNEL = re.compile(r"oom|out of memory|signal: killed|Killed ", re.IGNORECASE)
_CAUSE = re.compile(r"\W{0,4}caused by:|.{0,4}\[cause\]:", re.IGNORECASE)
_GOES_ON = re.compile(
    r"fall(?:s|ing|en)?[- ]?back|\bfallback|\bignor|\bskipp|\bretry|\bdefaulting|\busing default|"
    r"\bdisabl(?:ed|ing)\b|will be (?:used|reduced|degraded|disabled)|\bwarning\b|\bwarn\b|"
    r"not (?:fatal|an error)|\binstead\b|level=(?:debug|trace)|^\W{0,3}(?:debug|trace)\b",
    re.IGNORECASE,
)
"""That a program goes on after what it could not do."""
_WHOLE = re.compile(r"(?P<why>.{8,})")
_ACCESS = re.compile(
    r"\b(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH) \S+(?: \"?HTTP/\d| .{0,40}\b[1-5]\d\d$)"
)
"""Lines of who asked for what: the server's own lines say why it was refused."""
_PLACE = re.compile(r"(?: of)?[:,]? ?\(?\0+(?: (?:tokens|MiB|s)\b)?(?: against \0+)?\)?")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line that shows a cause."""

    line: int
    text: str
    """Without prefixes, safe to print, secrets left out."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause."""

    id: str
    severity: Severity
    cause: str
    fix: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    confidence: float
    """From 0 to 1."""
    n_lines: int = 1
    """How many lines show it; `evidence` holds the first of them."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """Everything a log shows."""

    diagnoses: tuple[Diagnosis, ...]
    """What went wrong, the root first."""
    remarks: tuple[Diagnosis, ...]
    """What was survived or is worth knowing."""
    facts: LogFacts
    n_lines: int
    is_up: bool
    """Whether the model was loaded and served."""


class _Clearness(IntEnum):
    """How clearly a line says that something went wrong."""

    NONE = 0
    HINT = 1
    """It does not, but an engine that ended then says nothing else."""
    FAILURE = 2
    """Something could not be done."""
    ERROR = 3
    """It is called an error."""
    CAUSE = 4
    """It is called the cause of one."""


def _clearness(line: LogLine, is_hint: bool) -> _Clearness:
    if _CAUSE.match(line.text):
        return _Clearness.CAUSE
    if line.is_error or is_told_as_error(line.text):
        return _Clearness.ERROR
    return _Clearness.HINT if is_hint else _Clearness.FAILURE


@dataclass(slots=True)
class _Hit:
    signature: Signature
    stream: str
    first_line: int
    evidence: list[Evidence] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    count: int = 0
    is_survived: bool = False
    is_dropped: bool = False
    """Whether its stream has forgotten it."""
    shortage: Shortage | None = None
    clearness: _Clearness = _Clearness.NONE
    """How clearly the line that it quotes says that this is what went wrong."""
    is_warning: bool = True
    """Whether its program calls it no more than a warning, wherever it says so."""
    is_late: bool = False
    """Whether the engine was up by then, so that it matters only if that ended."""

    def quote(self, line: LogLine, why: str, *, is_hint: bool) -> None:
        """Take the words of a line, if it tells them more clearly than the one before."""
        clearness = _clearness(line, is_hint)
        if not why and clearness is not _Clearness.CAUSE:
            return
        is_last = clearness in (_Clearness.CAUSE, _Clearness.HINT)
        if clearness > self.clearness or (clearness is self.clearness and is_last):
            self.clearness = clearness
            self.first_line = line.number
            self.values["why"] = why.strip()[:200].rstrip(" .,:;!")
            self.values["path"] = self.values.get("path") or path_in(why)
            self.values["program"] = speaker_of(line.text)
            self.evidence.sort(key=lambda evidence: evidence.line != line.number)

    def add(self, line: LogLine, match: re.Match[str]) -> None:
        self.count += 1
        self.is_warning &= line.is_error is False
        if len(self.evidence) < MAX_EVIDENCE and all(e.line != line.number for e in self.evidence):
            self.evidence.append(Evidence(line.number, redact(line.text[:MAX_TEXT])))
            for key, value in match.groupdict().items():
                if value and not self.values.get(key):
                    self.values[key] = value.strip()[:200]


@dataclass(slots=True)
class _Stream:
    """What is remembered of one container, unit or process."""

    is_up: bool = False
    shortage: Shortage | None = None
    shortage_line: int = -_NEAR
    clip_line: int = -_NEAR
    is_pipelined: bool = False
    panic_line: int = -_NEAR
    projection: tuple[str, str] = ("", "")
    """What --fit expects to need, and what is free.  [MiB]"""
    adapter: str = ""
    """The LoRA adapter that was written last."""
    is_adapter: bool = False
    """Whether the file that is being loaded is one."""
    draft_line: int = -_NEAR
    """That a context was asked for a draft on its own."""
    checkout_line: int = -_NEAR
    """That a module of the binding's source folder runs."""
    no_rocm_line: int = -_NEAR
    """That a GPU was found for which ROCm has no code."""
    is_over_working_set: bool = False
    """Whether Metal was asked for more than it lends."""
    hits: dict[str, _Hit] = field(default_factory=dict)


class _Reading(NamedTuple):
    """What a line showed, and the circumstances in which another would show the same."""

    stream: _Stream
    is_up: bool
    hits: tuple[_Hit, ...]
    epoch: int | None
    """None for a line that marks no new phase."""

    def holds(self, epoch: int) -> bool:
        """Whether they are still the same."""
        return self.stream.is_up == self.is_up and (
            self.epoch == epoch
            if self.epoch is not None
            else not any(hit.is_dropped for hit in self.hits)
        )


class _Traits(NamedTuple):
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
    is_access: bool
    """Whether it may say who asked for what."""
    places: tuple[str, ...] = ()
    """Where the program runs, as far as it says."""

    @property
    def is_read_always(self) -> bool:
        """Whether each such line says something new."""
        return (self.is_fact and not self.is_speed) or self.is_context

    @classmethod
    def of(cls, text: str) -> _Traits:
        """Those of a line."""
        low = text.lower()
        is_fact = any(word in low for word in FACT_WORDS)
        return cls(
            is_timing="tokens per second" in low and "eval time" in low,
            is_fact=is_fact,
            is_speed=is_fact
            and any(word in low for word in _LAST_COUNTS)
            and not any(word in low for word in _ALL_COUNT),
            is_metadata=" - kv " in low,
            is_context=any(word in low for word in _WORDS_OF_CONTEXT),
            is_mark=any(word in low for word in (*_LOADED, *_BEGIN_LOADING, _RETRYING)),
            is_access="/" in low and ", client: " not in low and _METHOD.search(low) is not None,
            places=tuple(name for name, pattern in _PLACES if pattern.search(text)),
        )


@dataclass(slots=True)
class _Shape:
    """Lines that differ in their digits only, and what they show."""

    stream_at: tuple[int, int]
    """Where the name of the stream stands in each.  [bytes]"""
    is_one: bool
    """Whether the digits make no difference."""
    is_empty: bool = False
    """Whether they show nothing, whatever was before."""
    is_speed: bool = False
    """Whether the last of them is to be read for its facts."""
    last: dict[bytes, _Reading] = field(default_factory=dict)
    """Stream → what one of them showed when it was read last."""


class Diagnoser:
    """Reads a log and says what is wrong, while it is read and at its end.

    Args:
        index: the signatures to look for.
    """

    def __init__(self, index: SignatureIndex | None = None) -> None:
        self._index = index or signature_index()
        self._by_id = {signature.id: signature for signature in SIGNATURES}
        self._streams: dict[str, _Stream] = {}
        self._facts = FactReader()
        self._places: set[str] = set()
        self._survived: dict[str, _Hit] = {}
        self._undelivered: dict[str, _Hit] = {}
        self._epoch = 0
        self._shapes: dict[bytes, _Shape] = {}
        self._seen: set[bytes] = set()
        self._traits: dict[bytes, _Traits] = {}
        self._families: dict[tuple[str, str, bool], str | None] = {}
        self._unread: dict[bytes, bytes] = {}
        self.n_lines = 0

    def is_known(self, raw: bytes, shape: bytes) -> bool:
        """Whether a line only repeats what many lines said before, numbers aside; it is counted.

        Args:
            raw: the line as it was read.
            shape: the same with every digit as 0.
        """
        known = self._shapes.get(shape)
        if known is None:
            return False
        if known.is_empty:
            return True
        begin, end = known.stream_at
        reading = known.last.get(raw[begin:end])
        if reading is None or not reading.holds(self._epoch):
            return False
        for hit in reading.hits:
            hit.count += 1
        if known.is_speed:
            self._unread.pop(shape, None)
            self._unread[shape] = raw
        return True

    def note_empty(self, shape: bytes) -> None:
        """Take note of a line without anything to look for, by its shape."""
        if shape not in self._seen:
            if len(self._seen) >= MAX_SHAPES:
                self._seen.clear()
            self._seen.add(shape)
        elif shape not in self._shapes and len(shape) <= MAX_TEXT:
            known = self._new_shape(shape, b"", shape)
            known.is_empty = known.is_one

    def feed(self, line: LogLine) -> tuple[Diagnosis, ...]:
        """Take one line.

        Returns: causes that it shows for the first time, as far as can be said by now.
        """
        epoch = self._epoch
        hits: list[_Hit] = []
        new = self._feed(line, hits)
        if line.raw and epoch == self._epoch:
            self._remember(line, hits)
        return new

    def _remember(self, line: LogLine, hits: list[_Hit]) -> None:
        """Note a line that says nothing new, so that others like it need not be read."""
        if any(
            len(hit.evidence) < MAX_EVIDENCE or hit.signature.id.startswith(_BY_CONTEXT)
            for hit in hits
        ):
            return
        traits = self._traits_of(line)
        if traits.is_read_always:
            return
        shape = shape_of(line.raw)
        known = self._shapes.get(shape)
        if known is None:
            known = self._new_shape(line.raw, line.stream.encode(), shape)
            known.is_speed = traits.is_speed
        if known.is_one:
            begin, end = known.stream_at
            if len(known.last) >= MAX_STREAMS:
                known.last.clear()
            stream = self._stream(line.stream)
            is_mark = traits.is_mark
            known.last[line.raw[begin:end]] = _Reading(
                stream, stream.is_up, tuple(hits), self._epoch if is_mark else None
            )

    def _new_shape(self, raw: bytes, stream: bytes, shape: bytes) -> _Shape:
        """Remember what lines like one have in common."""
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        begin = raw.find(stream)
        text = shape.decode("utf-8", "replace").lower()
        is_one = begin >= 0 and not self._index.heeds_digits(text)
        known = self._shapes[shape] = _Shape((begin, begin + len(stream)), is_one)
        return known

    def _feed(self, line: LogLine, hits: list[_Hit]) -> tuple[Diagnosis, ...]:
        self.n_lines = line.number
        traits = self._traits_of(line)
        stream = self._stream(line.stream)
        self._places.update(traits.places)
        if traits.is_timing:
            self._read_facts(line.text)
            if not stream.is_up:
                self._read_marks(stream, line.text.lower())
            return ()
        if traits.is_context:
            self._read_context(stream, line, line.text.lower())
        if traits.is_fact:
            self._read_facts(line.text)
        new: list[Diagnosis] = []
        if traits.is_metadata:
            return ()
        if traits.is_access and _ACCESS.search(line.text):
            if traits.is_mark:
                self._read_marks(stream, line.text.lower())
            return ()
        found = self._index.search(line.text, self._shape(line))
        if any(signature.severity is Severity.REMARK for signature, _ in found):
            # The engine says on this line that it goes on.
            found = [row for row in found if row[0].severity is Severity.REMARK]
        if line.is_error is False:
            found = [row for row in found if row[0].id != "told-by-itself"]
        elif not found and line.is_error and (match := _WHOLE.fullmatch(line.text)):
            found = [(self._by_id["told-by-itself"], match)]
        elif not found and stream.panic_line == line.number - 1:
            # Rust says where it panicked, and why on the next line.
            match = _WHOLE.fullmatch(line.text)
            found = [(self._by_id["told-by-itself"], match)] if match else []
        if "panicked at" in line.text:
            stream.panic_line = line.number
        for signature, match in self._by_kind(found, line, stream):
            hit, is_new = self._record(stream, line, signature, match)
            if hit is not None:
                hits.append(hit)
            if hit is not None and is_new:
                new.append(self._diagnosis(hit))
        if traits.is_mark:
            self._read_marks(stream, line.text.lower())
        return tuple(new)

    @staticmethod
    def _shape(line: LogLine) -> bytes | None:
        """What all lines have that differ in their digits only; None if their bytes do not say."""
        return shape_of(line.raw) if line.raw and b"\\u" not in line.raw else None

    def _traits_of(self, line: LogLine) -> _Traits:
        shape = self._shape(line)
        if shape is None:
            return _Traits.of(line.text)
        traits = self._traits.get(shape)
        if traits is None:
            if len(self._traits) >= MAX_SHAPES:
                self._traits.clear()
            traits = self._traits[shape] = _Traits.of(line.text)
        return traits

    def _read_facts(self, text: str) -> None:
        """Take the facts of a line, those of lines that were only counted before it."""
        if self._unread:
            unread, self._unread = self._unread, {}
            for raw in unread.values():
                self._facts.feed(raw.decode("utf-8", "replace"))
        if text:
            self._facts.feed(text)

    def _by_kind(
        self, found: list[tuple[Signature, re.Match[str]]], line: LogLine, stream: _Stream
    ) -> list[tuple[Signature, re.Match[str]]]:
        """What a line shows, its own words taken for a cause where no row is closer."""
        if len(found) > 1:
            closer = [row for row in found if row[0].id not in _ANY_PROGRAM]
            quoted = [row for row in found if row[0].id in _ANY_PROGRAM]
            if {signature.id for signature, _ in closer} == {"aborted"}:
                closer += [row for row in quoted if row[0].id == "cxx-exception"]
            found = closer or quoted[:1]
        if not line.is_error and any(row[0].id == "told-by-itself" for row in found):
            found = [] if _GOES_ON.search(line.text) else found
        if any(signature.id not in QUOTING for signature, _ in found):
            return found
        return [(self._kind(signature, match, stream), match) for signature, match in found]

    def _kind(self, signature: Signature, match: re.Match[str], stream: _Stream) -> Signature:
        """The row that says what to do about a quoted sentence, or the one that quotes it."""
        why = _quoted(match)[:MAX_TEXT]
        is_request = signature.id == "request-failed" or stream.is_up
        key = signature.id, _STATUS.sub("0", why), is_request
        if key not in self._families:
            if len(self._families) >= MAX_SHAPES:
                self._families.clear()
            self._families[key] = family_of(
                why, is_loading="loading model" in match[0].lower(), is_request=is_request
            )
        id = self._families[key]
        if id is None:
            return signature
        tier = max(Tier.KIND, signature.tier)
        return replace(self._by_id[id], tier=tier, phase=signature.phase)

    def report(self) -> LogReport:
        """What the log shows, read so far."""
        self._read_facts("")
        hits = [hit for stream in self._streams.values() for hit in stream.hits.values()]
        fatal = _without_late([h for h in hits if h.signature.severity is Severity.FATAL])
        with_allocations = _with_allocations(self._with_builds(fatal))
        fatal = _ranked(_merged(_without_consequences(with_allocations)))
        is_up = any(stream.is_up for stream in self._streams.values())
        if fatal and fatal[0].signature.tier <= Tier.KIND and not is_up:
            # What could not be downloaded could not be loaded.
            fatal = [*self._undelivered.values(), *fatal]
        shown = {hit.signature.id for hit in fatal}
        if shown and not any(id.startswith("oom-") for id in shown):
            # Its dry run met the same fault.
            hits = [hit for hit in hits if hit.signature.id != "fit-failed"]
        remarks = _merged([h for h in hits if h.signature.severity is Severity.REMARK])
        remarks += [hit for id, hit in self._survived.items() if id not in shown]
        facts = self._facts.facts()
        return LogReport(
            tuple(self._diagnosis(hit, facts) for hit in fatal),
            tuple(
                replace(self._diagnosis(hit, facts), severity=Severity.REMARK)
                for hit in sorted(remarks, key=lambda hit: hit.first_line)
            ),
            facts,
            self.n_lines,
            is_up,
        )

    def _with_builds(self, hits: list[_Hit]) -> list[_Hit]:
        """With what was killed while something was built as a matter of that build."""
        built = {hit.stream for hit in hits if hit.signature.id in _BUILDS}
        return [
            replace(hit, signature=self._by_id["build-out-of-memory"])
            if hit.signature.id == "oom-killed" and hit.stream in built
            else hit
            for hit in hits
        ]

    def _stream(self, name: str) -> _Stream:
        if name not in self._streams and len(self._streams) >= MAX_STREAMS:
            name = ""
        return self._streams.setdefault(name, _Stream())

    def _read_context(self, stream: _Stream, line: LogLine, low: str) -> None:
        if "allocat" in low and (found := _ALLOCATION.search(line.text)):
            stream.shortage = _shortage(found)
            stream.shortage_line = line.number
        if "clip" in low:
            stream.clip_line = line.number
        if "pipeline parallelism enabled" in low:
            stream.is_pipelined = True
        if "greater than the recommended max working set" in low:
            stream.is_over_working_set = True
        if "projected to use" in low and (found := _PROJECTED.search(line.text)):
            stream.projection = found[1], found[2]
        if "ctx_other" in low:
            stream.draft_line = line.number
        if "load_shared_library" in low and _CHECKOUT.search(line.text):
            stream.checkout_line = line.number
        if ("amd radeon" in low or "gfx" in low) and _NO_ROCM.search(line.text):
            stream.no_rocm_line = line.number
        self._read_adapter(stream, line.text)

    @staticmethod
    def _read_adapter(stream: _Stream, text: str) -> None:
        """Take note of whether the file that is being loaded is a LoRA adapter."""
        if found := _EXPORTED.search(text):
            stream.adapter = found[1]
        elif found := _LOADED_FROM.search(text):
            path = found["path"]
            stream.is_adapter = path == stream.adapter or bool(_ADAPTER_PATH.search(path))
        elif "general.type" in text and text.rstrip().endswith("= adapter"):
            stream.is_adapter = True

    def _record(
        self, stream: _Stream, line: LogLine, signature: Signature, match: re.Match[str]
    ) -> tuple[_Hit | None, bool]:
        """Keep a hit, and say whether it is a cause that was not known."""
        signature = self._refined(signature, stream, line)
        is_late = (
            stream.is_up
            and signature.phase < Phase.LOAD
            and signature.tier <= Tier.SYMPTOM
            and signature.severity is Severity.FATAL
        )
        if is_late and (
            signature.tier > Tier.KIND
            or not _quoted(match)
            or not (line.is_error or is_told_as_error(line.text))
        ):
            return None, False
        hit = stream.hits.get(signature.id)
        if hit is not None and hit.signature.tier < signature.tier:
            # Told more closely than by its words.
            self._drop(stream, hit)
            hit = None
        is_new = hit is None
        if hit is None:
            self._epoch += 1
            hit = _Hit(signature, line.stream, line.number, is_late=is_late)
            stream.hits[signature.id] = hit
        hit.add(line, match)
        if signature.id == "fit-failed" and stream.projection[0]:
            needed, free = stream.projection
            hit.values["fit"] = f"{needed} MiB needed, {free} MiB free"
        if hit.signature.tier <= Tier.KIND:
            hit.quote(line, _quoted(match), is_hint="hint" in match.groupdict())
        if hit.shortage is None and line.number - stream.shortage_line < _NEAR:
            hit.shortage = stream.shortage
        is_told = signature.severity is Severity.FATAL and signature.tier >= Tier.REQUEST
        return hit, is_new and is_told

    def _refined(self, signature: Signature, stream: _Stream, line: LogLine) -> Signature:
        """The signature that the context of a line makes of it."""
        near = line.number - stream.shortage_line < _NEAR
        if signature.id == "projector-failed" and near:
            self._forget(stream, "oom-weights", "oom-compute")
            return self._by_id["oom-mmproj"]
        if signature.id == "draft-failed" and near and "failed to load draft" in line.text:
            self._forget(stream, "oom-weights")
            return self._by_id["oom-draft"]
        if signature.id == "key-missing" and stream.is_adapter and not stream.is_up:
            return self._by_id["adapter-as-model"]
        if (
            "failed to create context with model" in line.text
            and line.number - stream.draft_line < _NEAR // 4
        ):
            return self._by_id["draft-as-model"]
        if signature.id in _NO_LIBRARY and line.number - stream.checkout_line < _NEAR // 4:
            return self._by_id["package-shadowed"]
        if (
            signature.id == "segfault"
            and not stream.is_up
            and line.number - stream.no_rocm_line < _NEAR // 2
        ):
            return self._by_id["gpu-arch-unsupported"]
        if signature.id == "metal-failed" and stream.is_over_working_set:
            return self._by_id["oom-metal"]
        if signature.id == "oom-compute":
            if line.number - stream.clip_line < _NEAR // 4:
                return self._by_id["oom-mmproj"]
            if "oom-scheduler-copies" in stream.hits or self._is_copies(stream):
                return self._by_id["oom-scheduler-copies"]
        if signature.id == "oom-weights" and line.number - stream.clip_line < _NEAR // 4:
            return self._by_id["oom-mmproj"]
        if signature.id == "oom-compute" and "CPU" in line.text and not near:
            return self._by_id["oom-host"]
        return signature

    def _forget(self, stream: _Stream, *ids: str) -> None:
        for id in ids:
            if id in stream.hits:
                self._drop(stream, stream.hits[id])

    def _drop(self, stream: _Stream, hit: _Hit) -> None:
        self._epoch += 1
        hit.is_dropped = True
        del stream.hits[hit.signature.id]

    def _is_copies(self, stream: _Stream) -> bool:
        """Whether a buffer is far larger than all GPUs together, with pipeline parallelism."""
        if stream.shortage is None or not stream.is_pipelined:
            return False
        total = sum(self._facts.facts().free_bytes.values())
        return stream.shortage.n_bytes > (10 * total if total else 1 << 40 >> 1)

    def _read_marks(self, stream: _Stream, low: str) -> None:
        if any(word in low for word in _LOADED):
            self._survive(stream, Phase.SERVE)
            self._epoch += not stream.is_up
            stream.is_up = True
            for other in self._streams.values():
                self._settle(other)
        elif any(word in low for word in _BEGIN_LOADING):
            self._survive(stream, Phase.LOAD)
            self._epoch += stream.is_up
            stream.is_up = False
            stream.shortage_line = -_NEAR
        elif _RETRYING in low:
            self._forget(stream, "oom-compute", "gpu-allocation-failed", "oom-scheduler-copies")

    def _settle(self, stream: _Stream) -> None:
        """Forget that others waited for what is there now."""
        for hit in list(stream.hits.values()):
            is_wait = hit.signature.tier <= Tier.SYMPTOM and hit.signature.phase < Phase.LOAD
            is_probe = hit.signature.id == "probe-failed" and not any(
                "restarted" in evidence.text for evidence in hit.evidence
            )
            if is_wait or is_probe:
                self._drop(stream, hit)

    def _survive(self, stream: _Stream, phase: Phase) -> None:
        """Everything before a phase that has been reached was no reason to fail."""
        for hit in list(stream.hits.values()):
            signature = hit.signature
            if signature.severity is Severity.REMARK or signature.phase >= phase:
                continue
            self._drop(stream, hit)
            if signature.tier >= Tier.REQUEST:
                hit.is_survived = True
                self._survived.setdefault(signature.id, hit)
                if phase is Phase.LOAD and signature.phase is Phase.DOWNLOAD:
                    self._undelivered.setdefault(signature.id, replace(hit, is_survived=False))

    def _told(self, hit: _Hit) -> tuple[str, tuple[str, ...]]:
        """The cause and the fixes that go with what the log says beside them."""
        signature = hit.signature
        if signature.variants:
            shown = [evidence.text for evidence in hit.evidence]
            words = "\n".join((*shown, *sorted(self._places)))
            for variant in signature.variants:
                if re.search(variant.pattern, words, re.IGNORECASE):
                    return variant.cause or signature.cause, variant.fix
        return signature.cause, signature.fix

    def _diagnosis(self, hit: _Hit, facts: LogFacts | None = None) -> Diagnosis:
        signature = hit.signature
        about, advice = self._told(hit)
        cause = _filled(about, hit.values)
        fix = tuple(_filled(text, hit.values) for text in advice)
        if facts is not None and hit.shortage is not None and signature.id.startswith("oom-"):
            cause, fix = explain_shortage(signature.id, hit.shortage, facts, cause, fix)
        why = hit.values.get("why", "")
        confidence = _CONFIDENCE[signature.tier]
        if signature.tier < Tier.KIND and hit.clearness >= _Clearness.ERROR:
            confidence = _QUOTED_CONFIDENCE
        if why and why not in cause and signature is not self._by_id[signature.id]:
            cause = f"{cause} It says: {redact(why)}."
        if hit.is_survived:
            cause = f"Survived: {cause}"
        return Diagnosis(
            signature.id,
            signature.severity,
            cause,
            fix,
            tuple(hit.evidence),
            confidence,
            hit.count,
        )


@cache
def log_filter() -> Filter:
    """Selects the lines of a log that a `Diagnoser` could learn something from."""
    words, texts = signature_index().filter_words
    return Filter(words | _FILTER_WORDS | FILTER_WORDS, texts | FILTER_TEXTS)


def diagnose_chunks(chunks: Iterable[bytes]) -> Iterator[Diagnosis | LogReport]:
    """Causes as soon as they are read, and the report of the whole log last.

    Args:
        chunks: the log, in pieces of any size.
    """
    diagnoser = Diagnoser()
    reader = LogReader(log_filter(), diagnoser)
    for line in reader.read(chunks):
        yield from diagnoser.feed(line)
    diagnoser.n_lines = reader.n_lines
    yield diagnoser.report()


def diagnose_lines(lines: Iterable[LogLine]) -> Iterator[Diagnosis | LogReport]:
    """Causes as soon as they are read, and the report of the whole log last."""
    diagnoser = Diagnoser()
    for line in lines:
        yield from diagnoser.feed(line)
    yield diagnoser.report()


def _quoted(match: re.Match[str]) -> str:
    """What a line says in its own words; empty where a pattern takes none."""
    groups = match.groupdict()
    return groups.get("why") or groups.get("hint") or ""


def _shortage(found: re.Match[str]) -> Shortage:
    """The allocation that failed."""
    if found["mib"]:
        return Shortage(f"CUDA{found['number']}", _mib(found["mib"]))
    if found["bytes"]:
        device = "host" if found["device"].startswith("CPU") else found["device"]
        return Shortage(device, int(found["bytes"][:20]))
    if found["host"]:
        return Shortage("host", int(found["host"][:20]))
    return Shortage("host", _mib(found["mb"]))


def _mib(text: str) -> int:
    try:
        return int(float(text[:20]) * (1 << 20))
    except ValueError:
        return 0


def _filled(template: str, values: dict[str, str]) -> str:
    """A sentence with what the log says in it, and without the places it leaves empty."""
    if "{" not in template:
        return template
    text = re.sub(r"\{(\w+)\}", lambda m: redact(values.get(m[1], "")) or "\0", template)
    return _PLACE.sub("", text).replace(" .", ".") if "\0" in text else text


def _merged(hits: Iterable[_Hit]) -> list[_Hit]:
    """One hit for each cause, whatever streams it is seen in."""
    found: dict[str, _Hit] = {}
    for hit in sorted(hits, key=lambda hit: hit.first_line):
        known = found.setdefault(hit.signature.id, hit)
        if known is not hit:
            known.count += hit.count
            room = MAX_EVIDENCE - len(known.evidence)
            known.evidence += hit.evidence[:room]
    return list(found.values())


def _without_late(hits: list[_Hit]) -> list[_Hit]:
    """Without what an engine that was up said of itself, unless it ended."""
    ended = {hit.stream for hit in hits if hit.signature.id in _ENDS}
    return [hit for hit in hits if not hit.is_late or hit.stream in ended]


def _with_allocations(hits: list[_Hit]) -> list[_Hit]:
    """What ran out of memory, with the line that says how much it wanted."""
    first = {
        hit.stream: hit.evidence[0]
        for hit in hits
        if hit.signature.id == "gpu-allocation-failed" and hit.evidence
    }
    return [
        replace(hit, evidence=sorted({first[hit.stream], *hit.evidence}, key=_line_of))
        if hit.signature.id in _NEEDED_MEMORY and hit.stream in first
        else hit
        for hit in hits
    ]


def _line_of(evidence: Evidence) -> int:
    return evidence.line


def _without_consequences(hits: list[_Hit]) -> list[_Hit]:
    """Without what only follows from a better known cause."""
    ids = {hit.signature.id for hit in hits}
    if ids & {"probe-failed", "modal-startup-timeout", "modal-function-timeout", "preempted"}:
        # They end a process with signal 9 themselves.
        hits = [
            hit
            for hit in hits
            if hit.signature.id != "oom-killed"
            or any(_KILLED_BY_KERNEL.search(e.text) for e in hit.evidence)
        ]
        ids = {hit.signature.id for hit in hits}
    absorbed = {id for key in ids for id in _ABSORBS.get(key, ())}
    absorbed |= {id for id, closer in _KINDS.items() if ids & closer}
    if any(id.startswith("oom-") for id in ids):
        absorbed.add("out-of-memory")
    hits = [hit for hit in hits if hit.signature.id not in absorbed]
    best = max((hit.signature.tier for hit in hits), default=Tier.GENERIC)
    if hits and best <= Tier.KIND:
        return _of_words(hits)
    if best is Tier.SYMPTOM and (told := _before_crash(hits)):
        return told
    if best is Tier.REQUEST and any(hit.signature.tier is Tier.SYMPTOM for hit in hits):
        return [hit for hit in hits if hit.signature.tier >= Tier.SYMPTOM]
    if best is Tier.ROOT:
        return [hit for hit in hits if hit.signature.tier >= Tier.REQUEST]
    return [hit for hit in hits if hit.signature.tier is best]


def _of_words(hits: list[_Hit]) -> list[_Hit]:
    """What may be told where sentences are all that is known.

    That something failed says less than why; a sentence that does not call itself an error
    counts only if it was written before the end.
    """
    causes = [hit for hit in hits if hit.clearness is _Clearness.CAUSE]
    if causes:
        # The last of a chain is the first that happened.
        last = max(hit.first_line for hit in causes)
        return [hit for hit in causes if hit.first_line == last]
    ends = [hit.first_line for hit in hits if not hit.values.get("why")]
    told = [hit for hit in hits if hit.values.get("why")]
    clear = [hit for hit in told if hit.clearness >= _Clearness.ERROR]
    if not clear:
        least = _Clearness.HINT if ends else _Clearness.FAILURE
        last = min(ends, default=max(hit.first_line for hit in hits))
        told = [hit for hit in told if hit.clearness >= least and hit.first_line <= last]
        hits = [hit for hit in hits if hit.clearness is not _Clearness.HINT]
    if not (clear or told or hits):
        return []
    best = max(hit.signature.tier for hit in hits)
    return clear or told or [hit for hit in hits if hit.signature.tier is best]


def _before_crash(hits: list[_Hit]) -> list[_Hit]:
    """What a program called an error before it crashed, if nothing else is known."""
    symptoms = [hit for hit in hits if hit.signature.tier is Tier.SYMPTOM]
    if any(hit.signature.id not in _CRASHES for hit in symptoms):
        return []
    first = {hit.stream: hit.first_line for hit in reversed(symptoms)}
    return [
        hit
        for hit in hits
        if hit.signature.tier < Tier.SYMPTOM
        and hit.values.get("why")
        and hit.clearness >= _Clearness.ERROR
        and hit.first_line < first.get(hit.stream, 0)
    ]


def _ranked(hits: list[_Hit]) -> list[_Hit]:
    """Roots first; of equals, what says most, then what was seen first."""
    reasons = [hit for hit in hits if hit.signature.id not in _SURVIVABLE]
    follows = all(hit.signature.id.startswith(_STILL_DUE_TO_GPU) for hit in reasons)

    def order(hit: _Hit) -> tuple[int, bool, int, int]:
        is_beside = hit.is_warning or (hit.signature.id in _SURVIVABLE and not follows)
        tier = Tier.KIND if hit.signature.tier < Tier.KIND else hit.signature.tier
        return (-tier, is_beside, _emptiness(hit), hit.first_line)

    return sorted(hits, key=order)


_EMPTY = {
    id: emptiness
    for emptiness, ids in enumerate(
        (
            "network-broken out-of-memory permission-denied image-pull compile-error vulkan-error",
            "cuda-error failed-check docker-error wheel-build-failed start-timeout",
            "app-runtime-crashed",
            "decode-failed build-step-failed segfault cxx-exception modal-runner-failed",
            "aborted",
            "ollama-runner-died",
            "model-load-failed",
            "crash-loop",
            "python-exception",
            "connection-refused",
            "still-loading",
            "exit-code",
        ),
        start=1,
    )
    for id in ids.split()
}
"""Of causes that say little more than that it failed, how little they say."""


def _emptiness(hit: _Hit) -> int:
    return 0 if hit.values.get("why") else _EMPTY.get(hit.signature.id, 0)
