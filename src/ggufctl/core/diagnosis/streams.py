"""What is remembered of the lines of one container or process, and what it makes of the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ggufctl.core.diagnosis.findings import Hit
from ggufctl.core.logtext import LogLine
from ggufctl.core.shortage import Shortage

__all__ = ["MAX_STREAMS", "Stream", "closer_id"]

MAX_STREAMS = 256
"""Containers and units that are told apart in one log."""

_LONG = 40
"""Lines within which an allocation that failed belongs to what is said next."""

_SHORT = 10
_NEXT = 4
_MIDDLE = 20

_ALLOCATION = re.compile(
    r"allocating (?P<mib>[\d.]+) MiB on device (?P<number>\d+)|"
    r"failed to allocate (?P<device>[A-Za-z_]+\d*(?:_\w+)?) buffer of size (?P<bytes>\d+)|"
    r"failed to allocate buffer of size (?P<host>\d+)|"
    r"attempted to allocate +(?P<mb>[\d.]+) MB"
)
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


_FRAME = re.compile(r'File "[^"]+", line \d+')
"""Where a Python traceback names a file; below it stands a line of that file."""
_NO_SOURCE = re.compile(r'File "|(?:\[[^\]]*\] *)?[A-Za-z_][\w.]*(?::(?:\s|$)|$)')
"""What may stand below it as well: the next file, or the exception."""
_SAYS = re.compile(r"^(?:raise|print)\b|['\"][^'\"]*\s[^'\"]*['\"]")
"""A statement that has words for a message, which it may never have said."""
_LEFT = re.compile(r"(?:ConnectionReset|BrokenPipe|ConnectionAborted)Error: ")
_EXCERPT = re.compile(rb" {0,8}\d{1,6} \| ")
"""What compilers write before the lines of source that they quote."""
_MEMORY = re.compile(
    r"OOM(?!Killed\W{1,12}(?:false|no\b)|_?Score|_?Kill_?Disable)|out of memory|"
    r"memory (?:limit|quota|pressure)|exceeded",
    re.IGNORECASE,
)
_NO_OOM = re.compile(r"OOMKilled\W{1,12}(?P<value>false|no\b|true|yes\b)", re.IGNORECASE)
"""What container runtimes say of how a process ended."""
_CMAKE_WARNS = re.compile(r"CMake (?:Deprecation )?Warning\b", re.IGNORECASE)
_CMAKE_STOPS = re.compile(r"CMake Error (?:at .{1,400}|\(dev\))[^:]*:$")
"""What CMake writes above the reason why it stops."""
_NO_REASON = re.compile(r"-- |CMake |Call Stack|\S+:\d+ \(")
"""What may stand below instead of a reason, or after it."""
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)+[A-Z]\w*: .{4,}")
"""What Python writes below the frames of a traceback."""
_ASKED = re.compile(rb"(?:\x1b\[[\d;]*m)*>{1,3} ")
"""What an engine's own chat writes before what a user types."""
_BROKEN = re.compile(
    r"^(?:ggml|llama|common|main|srv|slot|parse: error|(?:CUDA|ROCm|Metal|SYCL) error|"
    r"(?:\w+ )?[Ee]rror: |panic: |terminate called|libc\+\+abi|"
    r"\S{0,80}(?:ggml|llama)\S{0,80}:\d+:)|GGML_ASSERT|"
    r"\b(?:Killed|Aborted|Abort trap: \d+|Segmentation fault(?:: \d+)?|Bus error)"
    r"(?: \(core dumped\))?(?: +\S{0,80}llama.{0,200})?$"
)
"""What ends a talk, of an engine and of the shell that it ran in."""
_CONVERTER = re.compile(
    r"\bconvert[-_](?:hf|lora|llama)\w*[-_\w]*gguf\S*\.py\W|llama\.cpp[^\"]*\bconvert\.py\W|"
    r"[/\\]conversion[/\\]\w+\.py\W|gguf[/\\](?:vocab|gguf_\w+|lazy|quants|metadata)\.py\W"
)
"""The files of the converter to GGUF."""
_MISMATCH = re.compile(
    r"NameError: |UnboundLocalError: |AttributeError: (?!'(?:NoneType|dict|str|list|tuple|int|"
    r"float|bytes)')|ImportError: cannot import name|TypeError: .{1,80}(?:unexpected keyword|"
    r"positional argument)"
)
"""What Python says of code that was written for another version of what it calls."""


@dataclass(slots=True)
class Stream:
    """What is remembered of one container, unit or process."""

    is_up: bool = False
    shortage: Shortage | None = None
    shortage_line: int = -_LONG
    clip_line: int = -_LONG
    is_pipelined: bool = False
    panic_line: int = -_LONG
    projection: tuple[str, str] = ("", "")
    """What --fit expects to need, and what is free.  [MiB]"""
    adapter: str = ""
    """The LoRA adapter that was written last."""
    is_adapter: bool = False
    """Whether the file that is being loaded is one."""
    draft_line: int = -_LONG
    """That a context was asked for a draft on its own."""
    checkout_line: int = -_LONG
    """That a module of the binding's source folder runs."""
    no_rocm_line: int = -_LONG
    """That a GPU was found for which ROCm has no code."""
    has_tensors: bool = False
    """Whether tensors of a file have been written."""
    frame_line: int = -_LONG
    """That a Python traceback names a file."""
    exception_line: int = -_LONG
    """The last line of a Python traceback's frames."""
    build_line: int = -_LONG
    """That CMake stops, for a reason that the next lines give."""
    build_reason: str = ""
    """That reason, as far as it is read."""
    warned_line: int = -_LONG
    """That CMake warns, of what the next lines say."""
    handshake_line: int = -_LONG
    """That nothing answered a client's TLS handshake."""
    answer_line: int = -_LONG
    """That an answer is llama-server's, by its headers."""
    converter_line: int = -_LONG
    """That it names one of the converter to GGUF."""
    left_line: int = -_LONG
    """That a server of Python's could not end an answer."""
    talk_line: int = -1
    """Since when a user and a model talk, or their last answer; negative where they do not."""
    is_speaking: bool = False
    """Whether all that is written is talk, until the engine says how long it took."""
    release_line: int = -_LONG
    """That a file of a release on GitHub is asked for."""
    stop_line: int = -_LONG
    """That its program was told to end."""
    is_under_heading: bool = False
    """Whether headings say what was said by a user or a model."""
    is_not_oom: bool = False
    """Whether a status says that the process was not killed for want of memory."""
    is_over_working_set: bool = False
    """Whether Metal was asked for more than it lends."""
    free_bytes: int = 0
    """Of all devices together, before the model was loaded; 0 where nothing says it."""
    hits: dict[str, Hit] = field(default_factory=dict)

    def read(self, line: LogLine) -> None:
        """Take note of what bears upon the lines that follow."""
        low = line.text.lower()
        if "allocat" in low and (found := _ALLOCATION.search(line.text)):
            self.shortage = _shortage(found)
            self.shortage_line = line.number
        if "clip" in low:
            self.clip_line = line.number
        if "pipeline parallelism enabled" in low:
            self.is_pipelined = True
        if "greater than the recommended max working set" in low:
            self.is_over_working_set = True
        if "projected to use" in low and (found := _PROJECTED.search(line.text)):
            self.projection = found[1], found[2]
        if "ctx_other" in low:
            self.draft_line = line.number
        if "load_shared_library" in low and _CHECKOUT.search(line.text):
            self.checkout_line = line.number
        if ("amd radeon" in low or "gfx" in low) and _NO_ROCM.search(line.text):
            self.no_rocm_line = line.number
        if '", line ' in low and _FRAME.match(line.text):
            self.frame_line = self.exception_line = line.number
            if _CONVERTER.search(line.text):
                self.converter_line = line.number
        if "cmake" in low and _CMAKE_WARNS.match(line.text):
            self.warned_line = line.number
        if "cmake error" in low and _CMAKE_STOPS.search(line.text):
            self.build_line, self.build_reason = line.number, ""
        if "exception occurred during processing of request from" in low:
            self.left_line = line.number
        if "handshake operation timed out" in low:
            self.handshake_line = line.number
        if "/releases/download/" in low:
            self.release_line = line.number
        if "server: llama.cpp" in low:
            self.answer_line = line.number
        if "], type =" in low:
            self.has_tensors = True
        if "oomkilled" in low and (found := _NO_OOM.search(line.text)):
            self.is_not_oom = found["value"].lower() in ("false", "no")
        self._read_adapter(line.text)

    def is_source(self, line: LogLine) -> bool:
        """Whether a line is of a program's source, in a traceback or below a compiler's warning.

        To be asked of every line once, before it is read.
        """
        if _EXCERPT.match(line.raw):
            return True
        if self.frame_line < 0:
            return False
        is_next = line.number - self.frame_line <= 1
        self.frame_line = -_LONG
        is_other = not is_next or _NO_SOURCE.match(line.text) is not None
        return not is_other and _SAYS.search(line.text) is not None

    @property
    def is_talk(self) -> bool:
        """Whether a user and a model talk in it."""
        return self.talk_line >= 0

    def is_asked(self, line: LogLine) -> bool:
        """Whether a line is what a user types."""
        return self.is_talk and _ASKED.match(line.raw) is not None

    def is_stopping(self, line: LogLine) -> bool:
        """Whether a program was told to end shortly before; a later one may be another."""
        return line.number - self.stop_line < _LONG

    def end_stop(self) -> None:
        """Take note that a program begins anew."""
        self.stop_line = -_LONG

    def is_said(self, line: LogLine) -> bool:
        """Whether a line is part of a talk: all but what an engine writes that breaks down."""
        return self.is_speaking and _BROKEN.search(line.text) is None

    def is_left(self, line: LogLine) -> bool:
        """Whether a line tells of a client that left a server of Python's."""
        return line.number - self.left_line < _LONG and _LEFT.match(line.text) is not None

    def is_exception(self, line: LogLine) -> bool:
        """Whether a line ends a Python traceback, whatever its exception is called."""
        return line.number - self.exception_line < _NEXT and bool(_EXCEPTION.match(line.text))

    def take_reason(self, line: LogLine) -> bool:
        """Take a line of what CMake stops for; False where it is none, or the sentence is over."""
        n_taken = len(self.build_reason.splitlines())
        if line.number - self.build_line != n_taken + 1 or n_taken == _NEXT - 1:
            return False
        if not line.text or _NO_REASON.match(line.text):
            self.build_line = -_LONG
            return False
        self.build_reason = f"{self.build_reason}\n{line.text}".strip()
        return True

    @property
    def is_only_killed(self) -> bool:
        """Whether what was taken for a lack of memory is a signal, by the status beside it."""
        hit = self.hits.get("oom-killed")
        return (
            self.is_not_oom
            and hit is not None
            and not any(_MEMORY.search(evidence.text) for evidence in hit.evidence)
        )

    def _read_adapter(self, text: str) -> None:
        """Take note of whether the file that is being loaded is a LoRA adapter."""
        if found := _EXPORTED.search(text):
            self.adapter = found[1]
        elif found := _LOADED_FROM.search(text):
            path = found["path"]
            self.is_adapter = path == self.adapter or bool(_ADAPTER_PATH.search(path))
        elif "general.type" in text and text.rstrip().endswith("= adapter"):
            self.is_adapter = True

    def is_answered(self, hit: Hit) -> bool:
        """Whether a status that stands alone is of an answer of one's own server."""
        return 0 < self.answer_line - hit.first_line < _SHORT and hit.is_bare_status

    def shortage_before(self, line: LogLine) -> Shortage | None:
        """The allocation that failed just before a line; None if none did."""
        return self.shortage if line.number - self.shortage_line < _LONG else None

    def begin_loading(self) -> None:
        """Forget what failed while another model was loaded."""
        self.shortage_line = -_LONG
        self.talk_line = -1
        self.is_speaking = False

    @property
    def is_of_copies(self) -> bool:
        """Whether a buffer is far larger than all GPUs together, with pipeline parallelism."""
        if self.shortage is None or not self.is_pipelined:
            return False
        return self.shortage.n_bytes > (10 * self.free_bytes or _HUGE_BYTES)


_HUGE_BYTES = 1 << 38
"""More than any GPU has."""


class _Closer(NamedTuple):
    """What a cause is where a stream was told something before."""

    ids: frozenset[str]
    """The cause by its line alone; empty for any."""
    closer: str
    is_so: Callable[[Stream, LogLine], bool]
    takes_back: tuple[str, ...] = ()
    """What was then said before for the same reason."""


_CLOSER = (
    _Closer(
        frozenset({"projector-failed"}),
        "oom-mmproj",
        lambda stream, line: stream.shortage_before(line) is not None,
        ("oom-weights", "oom-compute"),
    ),
    _Closer(
        frozenset({"draft-failed"}),
        "oom-draft",
        lambda stream, line: (
            stream.shortage_before(line) is not None and "failed to load draft" in line.text
        ),
        ("oom-weights",),
    ),
    _Closer(
        frozenset({"key-missing"}),
        "adapter-as-model",
        lambda stream, line: stream.is_adapter and not stream.is_up,
    ),
    _Closer(
        frozenset(),
        "draft-as-model",
        lambda stream, line: (
            line.number - stream.draft_line < _SHORT
            and "failed to create context with model" in line.text
        ),
    ),
    _Closer(
        frozenset({"binding-library-missing", "shared-library-missing"}),
        "package-shadowed",
        lambda stream, line: line.number - stream.checkout_line < _SHORT,
    ),
    _Closer(
        frozenset({"build-option-renamed"}),
        "build-option-warned",
        lambda stream, line: line.number - stream.warned_line < _NEXT,
    ),
    _Closer(
        frozenset({"client-timeout"}),
        "tls-plain-http",
        lambda stream, line: (
            "APITimeoutError" in line.text and line.number - stream.handshake_line < _LONG
        ),
        ("network-broken",),
    ),
    _Closer(
        frozenset({"hub-not-found"}),
        "release-not-found",
        lambda stream, line: "404" in line.text and line.number - stream.release_line < _SHORT,
    ),
    _Closer(
        # What could be begun and not be ended.
        frozenset({"output-not-written"}),
        "disk-full",
        lambda stream, line: "iostream error" in line.text and stream.has_tensors,
    ),
    _Closer(
        frozenset({"oom-killed"}),
        "killed",
        lambda stream, line: stream.is_not_oom and _MEMORY.search(line.text) is None,
    ),
    _Closer(
        frozenset({"python-exception", "module-missing", "told-by-itself"}),
        "converter-mismatch",
        lambda stream, line: (
            line.number - stream.converter_line < _SHORT and _MISMATCH.match(line.text) is not None
        ),
    ),
    _Closer(
        frozenset({"python-exception"}),
        "conversion-failed",
        lambda stream, line: line.number - stream.converter_line < _SHORT,
    ),
    _Closer(
        frozenset({"segfault"}),
        "gpu-arch-unsupported",
        lambda stream, line: not stream.is_up and line.number - stream.no_rocm_line < _MIDDLE,
    ),
    _Closer(
        frozenset({"metal-failed"}), "oom-metal", lambda stream, line: stream.is_over_working_set
    ),
    _Closer(
        frozenset({"oom-compute", "oom-weights"}),
        "oom-mmproj",
        lambda stream, line: line.number - stream.clip_line < _SHORT,
    ),
    _Closer(
        frozenset({"oom-compute"}),
        "oom-scheduler-copies",
        lambda stream, line: "oom-scheduler-copies" in stream.hits or stream.is_of_copies,
    ),
    _Closer(
        frozenset({"oom-compute"}),
        "oom-host",
        lambda stream, line: "CPU" in line.text and stream.shortage_before(line) is None,
    ),
)
"""The first of these that is so is what a line means."""


def closer_id(id: str, stream: Stream, line: LogLine) -> tuple[str, tuple[str, ...]]:
    """What a line shows, by what its stream said before.

    Args:
        id: the cause, by the line alone.
        stream: to which it belongs.
        line: it.

    Returns: the cause, and those that were told before it for the same reason.
    """
    for row in _CLOSER:
        if (not row.ids or id in row.ids) and row.is_so(stream, line):
            return row.closer, row.takes_back
    return id, ()


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
