"""From lines of a log to the causes they show, the root first.

Every line is matched against the table of signatures while it is read; what was seen is kept as a
few counters and samples, so that a log may be of any length. A line is a cause only as long as
nothing later shows that it was survived.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
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
    Tier.GENERIC: 0.3,
    Tier.QUOTED: 0.2,
}

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
        "clip pipeline "
        "vram ok "
        "error err fatal critical severe"
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
    "docker-no-gpu-runtime": {"shared-library-missing", "command-not-found"},
    "driver-too-old": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "cache-not-writable": {"file-permission"},
    "disk-full": {"download-incomplete", "file-truncated"},
    "quantized-v-needs-fa": {"argument-value"},
    "address-not-here": {"port-taken"},
    "port-privileged": {"port-taken"},
    "no-tls": {"network-broken", "hub-not-found"},
    "phi3-quantized-kv": {"failed-check"},
    "context-exceeded": {"decode-failed"},
    "quant-type-unknown": {"header-truncated"},
    "shard-missing": {"file-missing"},
    "lora-failed": {"file-missing"},
    "projector-failed": {"file-missing", "key-missing", "unknown-architecture"},
    "draft-failed": {"file-missing", "key-missing", "unknown-architecture"},
    "header-invalid": {"header-truncated"},
    "gguf-version-new": {"header-truncated"},
    "engine-built-without-gpu": {"gpu-not-found"},
    "oom-metal": {"metal-failed"},
    "oom-sycl": {"intel-driver-abort"},
    "oom-host-weights": {"oom-host"},
    "glibc-too-old": {"shared-library-missing"},
    "driver-mismatch": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "logits-nan": {"failed-check"},
    "rpc-failed": {"failed-check"},
    "start-timeout": {"modal-runner-failed"},
    "read-error": {"header-truncated"},
    "model-load-failed": {"python-exception"},
    "image-not-found": {"download-denied", "hub-not-found"},
    "hub-not-found": {"download-denied", "file-missing"},
    "gpu-not-schedulable": {"not-schedulable"},
    "lmstudio-engine": {"shared-library-missing"},
    "metal-failed": {"backend-missing"},
    "vulkan-error": {"cxx-exception"},
    "proxy-failed": {"download-denied", "hub-not-found", "network-broken"},
    "build-dependency-missing": {"compile-error", "cuda-link"},
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

_NEEDED_MEMORY = frozenset(
    {"oom-weights", "oom-kv", "oom-compute", "oom-mmproj", "oom-draft", "oom-scheduler-copies"}
)

_BY_CONTEXT = ("oom-", "gpu-allocation", "projector-", "draft-", "out-of-memory")
"""Causes that lines before a line decide upon."""

_WORDS_OF_CONTEXT = (*FACT_WORDS, "allocat", "clip", "pipeline")
"""Lines with any of these are always read."""

_KILLED_BY_KERNEL = re.compile(r"oom|out of memory|signal: killed|Killed ", re.IGNORECASE)
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

    def add(self, line: LogLine, match: re.Match[str]) -> None:
        self.count += 1
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


@dataclass(slots=True)
class _Shape:
    """Lines that differ in their digits only, and what they show."""

    stream_at: tuple[int, int]
    """Where the name of the stream stands in each.  [bytes]"""
    is_one: bool
    """Whether the digits make no difference."""
    is_empty: bool = False
    """Whether they show nothing, whatever was before."""
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
        self._survived: dict[str, _Hit] = {}
        self._epoch = 0
        self._shapes: dict[bytes, _Shape] = {}
        self._seen: set[bytes] = set()
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
        low = line.text.lower()
        if any(word in low for word in _WORDS_OF_CONTEXT):
            return
        shape = shape_of(line.raw)
        known = self._shapes.get(shape)
        if known is None:
            known = self._new_shape(line.raw, line.stream.encode(), shape)
        if known.is_one:
            begin, end = known.stream_at
            if len(known.last) >= MAX_STREAMS:
                known.last.clear()
            stream = self._stream(line.stream)
            is_mark = any(word in low for word in (*_LOADED, *_BEGIN_LOADING))
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
        low = line.text.lower()
        stream = self._stream(line.stream)
        if "tokens per second" in low and "eval time" in low:
            # Most of what a busy server writes.
            self._facts.feed(line.text)
            if not stream.is_up:
                self._read_marks(stream, low)
            return ()
        self._read_context(stream, line, low)
        if any(word in low for word in FACT_WORDS):
            self._facts.feed(line.text)
        new: list[Diagnosis] = []
        if " - kv " in low:
            # Metadata of the model, chat templates among them: anything may stand there.
            return ()
        if "/" in low and _ACCESS.search(line.text):
            self._read_marks(stream, low)
            return ()
        found = self._index.search(line.text)
        if any(signature.severity is Severity.REMARK for signature, _ in found):
            # The engine says on this line that it goes on.
            found = [row for row in found if row[0].severity is Severity.REMARK]
        if line.is_error is False:
            found = [row for row in found if row[0].id != "told-by-itself"]
        elif not found and line.is_error and (match := _WHOLE.fullmatch(line.text)):
            found = [(self._by_id["told-by-itself"], match)]
        for signature, match in found:
            hit, is_new = self._record(stream, line, signature, match)
            if hit is not None:
                hits.append(hit)
            if hit is not None and is_new:
                new.append(self._diagnosis(hit))
        self._read_marks(stream, low)
        return tuple(new)

    def report(self) -> LogReport:
        """What the log shows, read so far."""
        hits = [hit for stream in self._streams.values() for hit in stream.hits.values()]
        fatal = [h for h in hits if h.signature.severity is Severity.FATAL]
        with_allocations = _with_allocations(fatal)
        fatal = _ranked(_merged(_without_consequences(with_allocations)))
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
            any(stream.is_up for stream in self._streams.values()),
        )

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

    def _record(
        self, stream: _Stream, line: LogLine, signature: Signature, match: re.Match[str]
    ) -> tuple[_Hit | None, bool]:
        """Keep a hit, and say whether it is a cause that was not known."""
        signature = self._refined(signature, stream, line)
        if (
            stream.is_up
            and signature.phase < Phase.LOAD
            and signature.tier <= Tier.SYMPTOM
            and signature.severity is Severity.FATAL
        ):
            return None, False
        hit = stream.hits.get(signature.id)
        is_new = hit is None
        if hit is None:
            self._epoch += 1
            hit = stream.hits[signature.id] = _Hit(signature, line.stream, line.number)
        hit.add(line, match)
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
        elif "retrying without pipeline parallelism" in low:
            self._forget(stream, "oom-compute", "gpu-allocation-failed", "oom-scheduler-copies")

    def _settle(self, stream: _Stream) -> None:
        """Forget that others waited for what is there now."""
        for hit in list(stream.hits.values()):
            if hit.signature.tier <= Tier.SYMPTOM and hit.signature.phase < Phase.LOAD:
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

    def _diagnosis(self, hit: _Hit, facts: LogFacts | None = None) -> Diagnosis:
        signature = hit.signature
        cause = _filled(signature.cause, hit.values)
        fix = tuple(_filled(text, hit.values) for text in signature.fix)
        if facts is not None and hit.shortage is not None and signature.id.startswith("oom-"):
            cause, fix = explain_shortage(signature.id, hit.shortage, facts, cause, fix)
        confidence = _CONFIDENCE[signature.tier]
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
    absorbed = {id for key in ids for id in _ABSORBS.get(key, ())}
    absorbed |= {id for id, closer in _KINDS.items() if ids & closer}
    if any(id.startswith("oom-") for id in ids):
        absorbed.add("out-of-memory")
    hits = [hit for hit in hits if hit.signature.id not in absorbed]
    best = max((hit.signature.tier for hit in hits), default=Tier.GENERIC)
    if best is Tier.REQUEST and any(hit.signature.tier is Tier.SYMPTOM for hit in hits):
        return [hit for hit in hits if hit.signature.tier >= Tier.SYMPTOM]
    if best is Tier.ROOT:
        return [hit for hit in hits if hit.signature.tier >= Tier.REQUEST]
    return [hit for hit in hits if hit.signature.tier is best]


def _ranked(hits: list[_Hit]) -> list[_Hit]:
    """Roots first; of equals, what says most, then what was seen first."""
    reasons = [hit for hit in hits if hit.signature.id not in _SURVIVABLE]
    follows = all(hit.signature.id.startswith(_STILL_DUE_TO_GPU) for hit in reasons)

    def order(hit: _Hit) -> tuple[int, bool, int, int]:
        is_beside = hit.signature.id in _SURVIVABLE and not follows
        return (-hit.signature.tier, is_beside, _emptiness(hit), hit.first_line)

    return sorted(hits, key=order)


_EMPTY = {
    id: emptiness
    for emptiness, ids in enumerate(
        (
            "network-broken out-of-memory permission-denied image-pull compile-error vulkan-error",
            "cuda-error failed-check docker-error wheel-build-failed start-timeout",
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
