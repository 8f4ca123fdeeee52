"""What an engine's own log says: memory per buffer, phases, devices, and why it failed.

Only the text of a line is looked at, never its time or level, so that llama-server, its server
inside other packages and llama-cpp-python are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ggufctl.core.drafting import GROWS_LATER
from ggufctl.core.estimate import Estimate, Term

__all__ = [
    "HOST",
    "Buffer",
    "Comparison",
    "EngineLog",
    "Failure",
    "FailureKind",
    "Phase",
    "compare",
    "exit_failure",
    "hide_keys",
]

HOST = "host"
"""Name of the host among devices."""

PROJECTOR, DRAFT, DRAFT_CONTEXT = "projector", "draft model", "draft context"
"""Terms of what is loaded beside a model, as estimates name them."""

_MIB = 1 << 20

ROUNDING_BYTES = _MIB // 200 + 1
"""A buffer is printed in hundredths of a MiB, to the nearest.  [bytes]"""

TOLERANCE = 100
"""A hundredth of a planned figure may be off before the plan is called wrong."""

_PREFIX = re.compile(r"^\d+\.\d{2}\.\d{3}\.\d{3} [A-Z] ")
_KEYS = re.compile(r"(api_keys?: ).*", re.IGNORECASE)
_BUFFER = re.compile(
    # Anchored to the word's beginning: a line of one long word must not be tried at each letter.
    r"(?<!\S)(?P<device>\S+) +(?P<kind>model|KV|RS|output|compute|LoRA) buffer size = +"
    r"(?P<mib>[\d.]+) MiB"
)
_LOADED = "llama_model_loader: loaded meta data"
_DRAFTS_ITSELF = "creating MTP draft context against"
RESERVATIONS = 2
"""A draft's graph is reserved at the start and when drafts begin; what follows is not its own."""
_ENCODER = re.compile(r"clip_ctx: CLIP using (\S+) backend")
_ENCODER_WEIGHTS = re.compile(r"load_hparams: model size: +([\d.]+) MiB")
_ENCODER_GRAPH = "reserve_compute_meta: "
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUILD = re.compile(r"build_info: (\S+)|build:? (\d+) \((\w+)\) with")
_DEVICE = re.compile(r"  - (\S+) *: (.+) \((\d+) MiB, (\d+) MiB free\)")
_CUDA_DEVICE = re.compile(r"Device (\d+): (.+), compute capability ([\d.]+)")
_CONTEXT = re.compile(r"llama_context: (n_ctx|n_ctx_seq|n_seq_max|n_ubatch) += (\d+)")
_FLASH = re.compile(r"(?:Flash Attention (?:was auto, set to )?|flash_attn +[=:] )(\w+abled)")
_WARNING = re.compile(r"^\d+\.\d{2}\.\d{3}\.\d{3} W (.*)")

_KINDS = {
    "model": "weights",
    "KV": "KV cache",
    "RS": "recurrent state",
    "output": "outputs",
    "compute": "compute",
    "LoRA": "LoRA",
}
"""llama.cpp's word → the term's name in an estimate."""


class Phase(StrEnum):
    """What an engine is doing, in order, by the name of what is being waited for."""

    PROCESS = "process"
    WEIGHTS = "weights"
    CACHE = "cache"
    GRAPH = "graph"
    WARM_UP = "warm-up"
    HEALTH = "health"
    FIRST_TOKEN = "first token"
    SERVING = "serving"


_PHASES = (
    (Phase.WEIGHTS, ("load_model: loading model", "llama_model_loader: loaded meta data")),
    (Phase.CACHE, ("llama_context: constructing",)),
    (Phase.GRAPH, ("sched_reserve: reserving",)),
    (Phase.WARM_UP, ("warming up the model",)),
    (
        Phase.HEALTH,
        (
            "main: model loaded",
            "init: model loaded",
            "llama_server: model loaded",
            "Uvicorn running",
        ),
    ),
)
_ORDER = tuple(Phase)


class FailureKind(StrEnum):
    """Why an attempt ended."""

    OOM_WEIGHTS = "out of memory: weights"
    OOM_KV = "out of memory: KV cache"
    OOM_COMPUTE = "out of memory: compute buffer"
    OOM_RUNTIME = "out of memory: while running"
    OOM_HOST = "out of memory: host"
    BAD_FILE = "bad file"
    UNKNOWN_MODEL = "unknown model"
    SETTINGS = "settings"
    PORT = "port taken"
    DEVICE = "device"
    CPU_FALLBACK = "CPU fallback"
    TIMEOUT = "too slow"
    CRASH = "crash"
    OTHER = "other"

    @property
    def is_out_of_memory(self) -> bool:
        """Whether asking for less memory may help."""
        return self.name.startswith("OOM_")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended, in one sentence, with the engine's own words."""

    kind: FailureKind
    text: str
    hint: str = ""
    line: str = ""
    """The line of the log that says so; empty where only an exit code does."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Signature:
    pattern: re.Pattern[str]
    kind: FailureKind
    text: str
    hint: str = ""
    is_weak: bool = False
    """Whether a later line may say it better."""

    def match(self, line: str) -> Failure | None:
        found = self.pattern.search(line)
        if found is None:
            return None
        values = [group or "" for group in found.groups()]
        return Failure(self.kind, self.text.format(*values), self.hint, line.strip())


def _signature(
    pattern: str, kind: FailureKind, text: str, hint: str = "", *, is_weak: bool = False
) -> _Signature:
    return _Signature(re.compile(pattern), kind, text, hint, is_weak)


_K = FailureKind
_LESS_KV = "Use a smaller -c, fewer slots (-np) or -ctk q8_0 -ctv q8_0."
_LESS_WEIGHTS = "Use a smaller quant, or keep layers or experts in host memory (-ngl, -ncmoe)."
_AGAIN = "Compare its size and sha256 with the source and fetch it again."
_NEWER = "The model needs a newer llama.cpp, or this file is not the model itself."

_CAUSES = (
    _signature(
        r"invalid magic characters: '(<!DO|<htm|<HTM)",
        _K.BAD_FILE,
        "The file is a web page, not a GGUF.",
        "Fetch it from the repository's resolve URL, with a token if the model is gated.",
    ),
    _signature(
        r"invalid magic characters: 'vers'",
        _K.BAD_FILE,
        "The file is a git-lfs pointer, not the model.",
        "Fetch the file itself.",
    ),
    _signature(r"invalid magic characters: '(.{0,8})'", _K.BAD_FILE, "The file is not a GGUF."),
    _signature(r"failed to read magic", _K.BAD_FILE, "The file is empty or too short.", _AGAIN),
    _signature(
        r"tensor '([^']+)' data is not within the file bounds",
        _K.BAD_FILE,
        "The file is truncated: {0} lies beyond its end.",
        _AGAIN,
    ),
    _signature(
        r"failed to read key-value pairs|failed to read tensor info|exceeds remaining file size",
        _K.BAD_FILE,
        "The file is truncated inside its header.",
        _AGAIN,
    ),
    _signature(
        r"this GGUF file is version (\d+)",
        _K.BAD_FILE,
        "The file is GGUF version {0}, which this engine cannot read.",
        "Use a newer engine.",
    ),
    _signature(
        r"failed to load GGUF split from (.+)",
        _K.BAD_FILE,
        "A shard is missing: {0}.",
        "Put all shards beside the first.",
    ),
    _signature(
        r"illegal split file idx: (\d+)",
        _K.BAD_FILE,
        "The file is not the first shard.",
        "Name the -00001-of- file.",
    ),
    _signature(
        r"invalid split count, given: (\d+) splits, but expected (\d+)|corrupted model: (\d+)",
        _K.BAD_FILE,
        "The shards do not belong together.",
        "Fetch one consistent set.",
    ),
    _signature(
        r"failed to open GGUF file '([^']+)' \(([^)]+)\)",
        _K.BAD_FILE,
        "The file cannot be opened: {1}.",
        is_weak=True,
    ),
    _signature(
        r"unknown model architecture: '([^']*)'",
        _K.UNKNOWN_MODEL,
        "The engine does not know the architecture {0}.",
        _NEWER,
    ),
    _signature(
        r"unknown (?:pre-)?tokenizer(?: type)?: '([^']*)'",
        _K.UNKNOWN_MODEL,
        "The engine does not know the tokenizer {0}.",
        _NEWER,
    ),
    _signature(
        r"key not found in model: (\S+)|check_tensor_dims: tensor '([^']+)' not found",
        _K.UNKNOWN_MODEL,
        "The file lacks what the engine needs: {0}{1}.",
        "Use another conversion of the model, or a newer engine.",
    ),
    _signature(
        r"tensor '([^']+)' has wrong shape|tensor '([^']+)' has invalid ggml type",
        _K.UNKNOWN_MODEL,
        "The tensor {0}{1} is not what the engine expects.",
        "Use another conversion of the model, or a newer engine.",
    ),
    _signature(
        r"couldn't bind HTTP server socket, hostname: (\S+), port: (\d+)",
        _K.PORT,
        "Port {1} of {0} is taken or may not be used.",
        "Choose another with --port.",
    ),
    _signature(
        r"[Aa]ddress already in use", _K.PORT, "The port is taken.", "Choose another with --port."
    ),
    _signature(
        r"error: invalid argument: (\S+)",
        _K.SETTINGS,
        "This build of the engine does not know {0}.",
        "Use a newer engine, or leave the argument out.",
    ),
    _signature(
        r'error while handling argument "([^"]+)": (.+)',
        _K.SETTINGS,
        "The engine refuses the value of {0}: {1}.",
    ),
    _signature(
        r"quantized V cache (?:requires flash_attn|was requested)",
        _K.SETTINGS,
        "A quantised V cache needs flash attention.",
        "Use -fa on.",
    ),
    _signature(
        r"unable to allocate (\S+) buffer",
        _K.OOM_WEIGHTS,
        "Not enough memory for the weights on {0}.",
        _LESS_WEIGHTS,
    ),
    _signature(
        r"failed to allocate buffer for (kv|rs) cache",
        _K.OOM_KV,
        "Not enough memory for the cache.",
        _LESS_KV,
    ),
    _signature(
        r"failed to allocate compute (pp|tg) buffers",
        _K.OOM_COMPUTE,
        "Not enough memory for the compute buffer.",
        "Use -fa on, a smaller -ub or a smaller -c.",
    ),
    _signature(
        r"CUDA error: out of memory",
        _K.OOM_RUNTIME,
        "A GPU ran out of memory while working.",
        "Use a smaller -ub or -c, to leave it more room.",
    ),
    _signature(
        r"CUDA error: (.+)", _K.DEVICE, "The GPU failed: {0}.", "Look at the lines before it."
    ),
    _signature(
        r"failed to initialize CUDA: (.+)",
        _K.DEVICE,
        "CUDA cannot be used: {0}.",
        "Update the driver, or use an engine built for it.",
    ),
    _signature(
        r"has no device code compatible|no kernel image is available",
        _K.DEVICE,
        "The engine has no code for this GPU.",
        "Use a build for its compute capability.",
    ),
    _signature(
        r"failed to load lora adapter '([^']+)'", _K.BAD_FILE, "The adapter {0} cannot be loaded."
    ),
    _signature(
        r"Failed to load CLIP model from (\S+)|failed to load multimodal model",
        _K.BAD_FILE,
        "The projector cannot be loaded.",
    ),
    _signature(r"failed to load draft model", _K.BAD_FILE, "The draft model cannot be loaded."),
    _signature(
        r"GGML_ASSERT\((.+)\)",
        _K.CRASH,
        "The engine gave up on a check of its own: {0}.",
        "This is a fault of that build with these settings: try others, or another build.",
    ),
    _signature(
        r"graph_reserve: failed to allocate|gallocr_\w+: failed to allocate",
        _K.OOM_COMPUTE,
        "Not enough memory for the compute buffer.",
        "Use -fa on, a smaller -ub or a smaller -c.",
        is_weak=True,
    ),
    _signature(
        r"signal: killed|oom-kill|killed by the OOM killer",
        _K.OOM_HOST,
        "The engine was killed: the host ran out of memory.",
        "Use a smaller -c or quant, or more host memory.",
    ),
    _signature(
        r"insufficient memory \(attempted to allocate",
        _K.OOM_HOST,
        "Not enough host memory.",
        _LESS_KV,
        is_weak=True,
    ),
)
"""What each line means; the first match is kept, unless it is a weak one."""

_TERMINAL = re.compile(
    r"exiting due to |failed to load model, '|failed to create_context|CUDA error: |"
    r"GGML_ASSERT\(|error: invalid argument: |error while handling argument |"
    r"Failed to load model from file|Failed to create llama_context|"
    r"\[Errno \d+\] error while attempting to bind|couldn't bind HTTP server socket"
)
"""After these the engine does not come up, whether or not its process still lives."""

_OOM_IN = {
    Phase.PROCESS: FailureKind.OOM_WEIGHTS,
    Phase.WEIGHTS: FailureKind.OOM_WEIGHTS,
    Phase.CACHE: FailureKind.OOM_KV,
    Phase.GRAPH: FailureKind.OOM_COMPUTE,
}
"""What memory is asked for in each phase."""

_RECOVERED = re.compile(r"retrying without pipeline parallelism|init: model loaded")

_EXIT_CODES = {
    132: Failure(
        FailureKind.CRASH,
        "The engine needs an instruction that this CPU does not have.",
        "Use a build for this CPU.",
    ),
    134: Failure(FailureKind.CRASH, "The engine aborted."),
    135: Failure(FailureKind.BAD_FILE, "The engine read beyond the end of a mapped file.", _AGAIN),
    137: Failure(
        FailureKind.OOM_HOST,
        "The engine was killed (signal 9), mostly because the host ran out of memory.",
        "Use a smaller -c or quant, or more host memory.",
    ),
    139: Failure(FailureKind.CRASH, "The engine crashed with a segmentation fault."),
}


def exit_failure(code: int) -> Failure:
    """What an exit code alone says; a negative one is the signal that ended the process."""
    code = 128 - code if code < 0 else code
    return _EXIT_CODES.get(
        code, Failure(FailureKind.OTHER, f"The engine ended with exit code {code}.")
    )


def hide_keys(line: str, keys: Iterable[str] = ()) -> str:
    """A line of the log without any key, or the last characters of one that llama.cpp shows."""
    line = _KEYS.sub(r"\1(hidden)", line)
    for key in keys:
        if key:
            line = line.replace(key, "(hidden)")
    return line


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer as the engine printed it."""

    device: str
    """llama.cpp's name for where it lies: `CUDA0`, `CPU_Mapped` …"""
    term: str
    n_bytes: int
    """Rounded by the engine to hundredths of a MiB.  [bytes]"""

    @property
    def where(self) -> str:
        """The device as estimates name it: `CUDA0` …, or the host."""
        if self.device.startswith("CPU") or self.device.endswith(("_Host", "_REPACK")):
            return HOST
        return self.device.removesuffix("_Mapped")


class EngineLog:
    """Reads a log line by line and remembers what matters."""

    def __init__(self) -> None:
        self.phase = Phase.PROCESS
        self.build = ""
        self.devices: list[str] = []
        self.buffers: list[Buffer] = []
        self.offloaded: tuple[int, int] | None = None
        self.settings: dict[str, int] = {}
        self.flash_attn: bool | None = None
        self.warnings: list[str] = []
        self.cause: Failure | None = None
        """The first line that says why the engine will fail, if it does."""
        self._oom_line = ""
        self.is_fatal = False
        """Whether a line said that the engine does not come up."""
        self._fatal_line = ""
        self._is_weak = False
        self._n_loaded = 0
        self._encoder = ""
        self._encoder_graphs: dict[str, int] = {}
        self._has_draft_context = False
        self._draft_graphs: dict[str, tuple[int, int]] = {}

    def feed(self, line: str) -> Phase | None:
        """Take one line; the phase it begins, or None."""
        warning = _WARNING.match(line)
        if warning and len(self.warnings) < 50:
            self.warnings.append(warning[1].strip())
        text = _PREFIX.sub("", line)
        self.read_facts(text)
        self._read_failure(text)
        for phase, marks in _PHASES:
            if _ORDER.index(phase) > _ORDER.index(self.phase) and any(m in text for m in marks):
                self.phase = phase
                return phase
        return None

    @property
    def failure(self) -> Failure | None:
        """Why the engine does not come up, once a line said that it does not."""
        if not self.is_fatal:
            return None
        if self.cause is not None:
            return self.cause
        return Failure(FailureKind.OTHER, "The engine gave up.", "", self._fatal_line)

    @property
    def is_explained(self) -> bool:
        """Whether a line said for certain why the engine will not come up."""
        return self.cause is not None and not self._is_weak

    def failed(self, exit_code: int) -> Failure:
        """Why the engine ended, from its log first and its exit code second."""
        return self.reason or exit_failure(exit_code)

    @property
    def reason(self) -> Failure | None:
        """Why the engine will end, if it does; None when no line said anything of it."""
        found = self.failure or self.cause
        if found is None or found.kind is FailureKind.OTHER:
            return self._out_of_memory() or found
        return found

    def _out_of_memory(self) -> Failure | None:
        """What the GPU's own refusal says, where no line after it said what it was for."""
        if not self._oom_line:
            return None
        kind = _OOM_IN.get(self.phase, FailureKind.OOM_RUNTIME)
        return Failure(kind, f"A GPU ran out of memory ({kind.value[15:]}).", "", self._oom_line)

    def read_facts(self, text: str) -> None:
        """Take what a line without prefix says of memory, devices and settings."""
        if found := _BUFFER.search(text):
            n_bytes = round(float(found["mib"]) * _MIB)
            if _ENCODER_GRAPH in text:
                self._read_encoder_graph(found["device"], n_bytes)
                return
            self._read_buffer(found["device"], found["kind"], n_bytes)
        elif _LOADED in text:
            # What is loaded after the model itself is its draft.
            self._n_loaded += 1
        elif _DRAFTS_ITSELF in text:
            self._has_draft_context = True
        elif found := _ENCODER.search(text):
            self._encoder, self._encoder_graphs = found[1], {}
        elif self._encoder and (found := _ENCODER_WEIGHTS.search(text)):
            # Each encoder of a file prints the size of the whole file.
            if not any(buffer.term == PROJECTOR for buffer in self.buffers):
                n_bytes = round(float(found[1]) * _MIB)
                self.buffers.append(Buffer(self._encoder, PROJECTOR, n_bytes))
        elif found := _OFFLOADED.search(text):
            self.offloaded = (int(found[1]), int(found[2]))
        elif found := _BUILD.search(text):
            build = found[1] or f"b{found[2]}-{found[3]}"
            self.build = self.build or build
        elif found := _DEVICE.search(text) or _CUDA_DEVICE.search(text):
            self.devices.append(found[0].strip().removeprefix("- "))
        elif found := _CONTEXT.search(text):
            self.settings.setdefault(found[1], int(found[2]))
        elif found := _FLASH.search(text):
            self.flash_attn = found[1].casefold() == "enabled"

    def _read_buffer(self, device: str, kind: str, n_bytes: int) -> None:
        """A buffer, of the model or of what drafts for it."""
        is_draft = self._has_draft_context or self._n_loaded > 1
        if not is_draft:
            self.buffers.append(Buffer(device, _KINDS[kind], n_bytes))
            return
        found = Buffer(device, DRAFT_CONTEXT if self._has_draft_context else DRAFT, n_bytes)
        if kind != "compute":
            self.buffers.append(found)
            return
        at, n_reserved = self._draft_graphs.get(device, (len(self.buffers), 0))
        self._draft_graphs[device] = at, n_reserved + 1
        if n_reserved < RESERVATIONS:
            self.buffers[at : at + 1] = [found]

    def _read_encoder_graph(self, device: str, n_bytes: int) -> None:
        """A reservation of an encoder's graph, which takes the place of its former one."""
        at = self._encoder_graphs.setdefault(device, len(self.buffers))
        self.buffers[at : at + 1] = [Buffer(device, PROJECTOR, n_bytes)]

    def _read_failure(self, text: str) -> None:
        if _RECOVERED.search(text):
            self.cause, self.is_fatal, self._oom_line = None, False, ""
            return
        if self.cause is None or self._is_weak:
            for signature in _CAUSES:
                if found := signature.match(text):
                    self.cause, self._is_weak = found, signature.is_weak
                    break
        if "cudaMalloc failed: out of memory" in text:
            self._oom_line = text.strip()
        if not self.is_fatal and _TERMINAL.search(text):
            self.is_fatal, self._fatal_line = True, text.strip()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One term as planned and as the engine says it allocated it."""

    device: str
    term: str
    planned_bytes: int
    actual_bytes: int
    low_bytes: int
    high_bytes: int
    note: str = ""

    @property
    def difference_bytes(self) -> int:
        """Actual less planned.  [bytes]"""
        return self.actual_bytes - self.planned_bytes

    @property
    def is_as_planned(self) -> bool:
        """Whether it is in the plan's range, widened by a hundredth and the log's rounding."""
        slack = ROUNDING_BYTES + self.planned_bytes // TOLERANCE
        return self.low_bytes - slack <= self.actual_bytes <= self.high_bytes + slack


def compare(estimate: Estimate, buffers: Sequence[Buffer]) -> tuple[Comparison, ...]:
    """Planned and actual memory, device by device; terms the log never mentions are left out."""
    planned: list[tuple[str, Term]] = []
    for device in estimate.devices:
        # What CUDA itself takes is in no line of the log.
        planned += [(device.name, term) for term in device.terms[:-1]]
    planned += [(HOST, term) for term in estimate.host.terms]
    actual: dict[tuple[str, str], int] = {}
    for buffer in buffers:
        place = (buffer.where, buffer.term)
        actual[place] = actual.get(place, 0) + buffer.n_bytes
    is_repacked = any(buffer.device.endswith("_REPACK") for buffer in buffers)
    is_range = bool(estimate.devices) and any(b.device == "CPU_Mapped" for b in buffers)
    whole = sum(term.high_bytes for _, term in planned if term.name == "weights")
    drafts = any(term.name in (DRAFT, DRAFT_CONTEXT) for _, term in planned)
    found = []
    for where, term in planned:
        n_bytes = actual.pop((where, term.name), None)
        if n_bytes is None and not term.n_bytes:
            continue
        if n_bytes is None and term.name not in _KINDS.values():
            continue
        high, note = term.high_bytes, ""
        if is_range and where == HOST and term.name == "weights":
            # Printed from the first to the last tensor on the host, whatever lies between them.
            high, note = whole, "a range of the file"
        if is_repacked and where == HOST and term.name == "weights":
            high, note = 2 * term.high_bytes, "repacked for this CPU"
        low = term.low_bytes
        if drafts and term.name == "outputs":
            low, note = 0, "grows when the first draft is checked"
        if term.note == GROWS_LATER:
            low, note = 0, term.note
        found.append(Comparison(where, term.name, term.n_bytes, n_bytes or 0, low, high, note))
    found += [
        Comparison(where, name, 0, n_bytes, 0, 0, "not in the plan")
        for (where, name), n_bytes in actual.items()
        if n_bytes
    ]
    return tuple(found)
