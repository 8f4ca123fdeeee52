"""What a log shows of the engine when nothing is wrong: model, devices, memory, speed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ggufctl.core.engine_log import EngineLog

__all__ = [
    "FACT_WORDS",
    "FILTER_TEXTS",
    "FILTER_WORDS",
    "FactReader",
    "LogFacts",
    "MemoryFact",
    "is_fact",
    "is_last_fact",
]

_MIB = 1 << 20
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": _MIB, "GiB": 1 << 30, "TiB": 1 << 40}
_MOST_DEVICES = 64
_MOST_BUFFERS = 4096

FACT_WORDS = (
    "buffer size",
    "loaded meta data",
    "general.name",
    "print_info",
    "llm_load_print_meta",
    "layers to gpu",
    "compute capability",
    " mib free",
    "n_ctx",
    "n_slots",
    "n_seq_max",
    "n_ubatch",
    "tokens per second",
    " t/s",
    "build",
    "version",
    "type_k",
    "flash_attn",
    "flash attention",
    "cells,",
    "model weights",
    "kv cache",
    "compute graph",
    "total vram",
)
"""A line without any of these, in lower case, holds no fact."""

_LAST_WORDS = ("tokens per second", " t/s", "n_ctx_slot")
"""Facts of which the last is known by lines of one shape; the others add up."""

_OTHER_WORDS = tuple(word for word in FACT_WORDS if not any(word in last for last in _LAST_WORDS))

FILTER_WORDS = frozenset(
    (
        "buffer meta general capability free ctx ubatch seq second build version flash "
        "cells weights"
        " kv graph vram"
    ).split()
)
FILTER_TEXTS = frozenset(
    {"print_info", "llm_load_print_meta", "layers to gpu", "n_slots", "type_k", " t/s"}
)
"""The same for a filter: runs of letters, and what is no such run."""

_MODEL = re.compile(r"loaded meta data with .* from (?P<path>.+?) \(version ")
_NAME = re.compile(r"general\.name(?: +str)? += +(?P<name>.+)")
_ARCH = re.compile(r"(?:print_info|llm_load_print_meta): arch +=? *(?P<arch>[\w.-]+)")
_QUANT = re.compile(r"(?:file type|model ftype) += +(?P<quant>.+)")
_FREE = re.compile(
    r"using device (?P<device>\S+) \((?P<name>.+?)\)(?: \([^)]*\))? - (?P<mib>\d+) MiB free"
)
_LISTED = re.compile(
    r"  - (?P<device>[A-Za-z]+\d*) +: (?P<name>.+) \((?P<total>\d+) MiB, (?P<mib>\d+) MiB free\)"
)
_DEVICE = re.compile(
    r"Device (?P<number>\d+): (?P<name>.+?), compute capability (?P<cc>[\d.]+)"
    r"(?:, VMM: \w+)?(?:, VRAM: (?P<mib>\d+) MiB)?"
)
_SLOT = re.compile(r"n_ctx_slot = (\d+)")
_SLOTS = re.compile(r"n_slots = (\d+)")
_SPEED = re.compile(r"(?P<prompt>prompt )?eval time =.*?(?P<speed>[\d.]+) tokens per second")
_RUNNING_SPEED = re.compile(r"\btg = +(?P<speed>[\d.]+) t/s")
_TYPES = re.compile(r"type_k = '(\w+)', type_v = '(\w+)'")
_KV_SIZE = re.compile(
    r"(?:size|self size) += +(?P<mib>[\d.]+) MiB(?: \( *(?P<cells>\d+) cells, +(?P<layers>\d+) "
    r"layers)?.*K \((?P<k>\w+)\):.*V \((?P<v>\w+)\):"
)
_SLOG_MEMORY = re.compile(
    r"(?P<term>model weights|kv cache|compute graph)\"? (?:device|buffer)=(?P<device>\S+) "
    r"size=\"?(?P<size>[\d.]+) (?P<unit>\w+)"
)
_VERSION = re.compile(r"\bversion: (?:\S+ \(build )?(\d{3,6})(?: \(|, commit )")
_KOBOLD = re.compile(r"Welcome to KoboldCpp - Version ([\d.]+)")
_OLLAMA = re.compile(r"Listening on \S+ \(version ([\w.-]+)\)")
_OLD_CONTEXT = re.compile(
    r"(?:llama_new_context_with_model|llama_init_from_model): (n_ctx|n_seq_max|n_ubatch) +="
)
_OLD_WEIGHTS = re.compile(r"llm_load_tensors: +(\S+) buffer size =")
_SLOG_TERMS = {"model weights": "weights", "kv cache": "KV cache", "compute graph": "compute"}


@dataclass(frozen=True, slots=True)
class MemoryFact:
    """One term of memory on one device, as the engine printed it."""

    device: str
    term: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What a log shows; empty or 0 where it does not."""

    engine: str = ""
    build: str = ""
    model: str = ""
    path: str = ""
    architecture: str = ""
    quant: str = ""
    devices: tuple[str, ...] = ()
    memory: tuple[MemoryFact, ...] = ()
    offloaded: int = 0
    n_layers: int = 0
    n_ctx: int = 0
    n_ctx_slot: int = 0
    n_slots: int = 0
    cache_type_k: str = ""
    cache_type_v: str = ""
    n_ubatch: int = 0
    flash_attn: bool | None = None
    prompt_tokens_per_second: float = 0.0
    tokens_per_second: float = 0.0
    free_bytes: dict[str, int] = field(default_factory=dict)
    """Of each device before the model was loaded.  [bytes]"""
    capabilities: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Compute capability of each device that the log says it of."""

    def weights_on(self, device: str) -> int:
        """Bytes of weights on a device.  [bytes]"""
        return self.on(device, "weights")

    def on(self, device: str, *terms: str) -> int:
        """Bytes of some terms on a device.  [bytes]"""
        return sum(m.n_bytes for m in self.memory if m.device == device and m.term in terms)


def is_fact(low: str) -> bool:
    """Whether a line, in lower case, may hold a fact."""
    return any(word in low for word in FACT_WORDS)


def is_last_fact(low: str) -> bool:
    """Whether a line, in lower case, holds nothing but a fact of which only the last counts."""
    return any(word in low for word in _LAST_WORDS) and not any(
        word in low for word in _OTHER_WORDS
    )


class FactReader:
    """Collects facts line by line; the last model that was loaded is the one that counts."""

    def __init__(self) -> None:
        self._log = EngineLog()
        self._known: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._devices: dict[str, str] = {}
        self._capabilities: dict[str, tuple[int, int]] = {}
        self._free: dict[str, int] = {}
        self._vram: dict[str, int] = {}
        self._speeds: dict[str, float] = {}
        self._slog: dict[tuple[str, str], int] = {}

    def feed(self, text: str) -> None:
        """Take one line that holds one of `FACT_WORDS`."""
        if " t/s" in text and (found := _RUNNING_SPEED.search(text)):
            self._speeds["generation"] = _number(found["speed"])
            return
        if "tokens per second" in text and (found := _SPEED.search(text)):
            self._speeds["prompt" if found["prompt"] else "generation"] = _number(found["speed"])
            return
        if found := _MODEL.search(text):
            self._begin(found["path"])
        if found := _FREE.search(text) or _LISTED.search(text):
            if len(self._devices) < _MOST_DEVICES:
                is_host = found["device"] in ("CPU", "BLAS")
                device = "host" if is_host else found["device"]
                self._devices[device] = found["name"]
                self._free[device] = _whole(found["mib"]) * _MIB
        elif found := _DEVICE.search(text):
            self._read_device(found)
        elif (found := _SLOG_MEMORY.search(text)) and len(self._slog) < _MOST_DEVICES * 4:
            n_bytes = int(_number(found["size"]) * _UNITS.get(found["unit"], 0))
            self._slog[found["device"], _SLOG_TERMS[found["term"]]] = n_bytes
        self._read_words(text)
        self._feed_engine(_modern(text))

    def _feed_engine(self, text: str) -> None:
        if len(self._log.buffers) + len(self._log.devices) > _MOST_BUFFERS:
            return
        try:
            self._log.read_facts(text[:1000])
        except ValueError:
            # What looks like a number there is none: `1.2.3 MiB`.
            return

    def _begin(self, path: str) -> None:
        build = self._log.build
        self._log = EngineLog()
        self._log.build = build
        for key in ("name", "arch", "quant", "type_k", "type_v"):
            self._known.pop(key, None)
        self._numbers.clear()
        self._slog.clear()
        self._known["path"] = path

    def _read_device(self, found: re.Match[str]) -> None:
        name = f"CUDA{found['number']}"
        if len(self._devices) >= _MOST_DEVICES:
            return
        self._devices.setdefault(name, f"{found['name']}, compute capability {found['cc']}")
        if version := re.match(r"(\d{1,3})\.(\d{1,3})", found["cc"]):
            self._capabilities[name] = int(version[1]), int(version[2])
        if found["mib"]:
            self._vram[name] = _whole(found["mib"]) * _MIB

    def _read_words(self, text: str) -> None:
        known = self._known
        for key, pattern, group in (
            ("name", _NAME, "name"),
            ("arch", _ARCH, "arch"),
            ("quant", _QUANT, "quant"),
        ):
            if found := pattern.search(text):
                known.setdefault(key, found[group].strip()[:200])
        if found := _SLOT.search(text):
            self._numbers["n_ctx_slot"] = _whole(found[1])
        if found := _SLOTS.search(text):
            self._numbers["n_slots"] = _whole(found[1])
        if found := _TYPES.search(text):
            known["type_k"], known["type_v"] = found[1], found[2]
        if found := _KV_SIZE.search(text):
            known["type_k"], known["type_v"] = found["k"], found["v"]
        if found := _VERSION.search(text):
            known.setdefault("build", f"b{found[1]}")
        if found := _KOBOLD.search(text):
            known["engine"] = f"koboldcpp {found[1]}"
        elif found := _OLLAMA.search(text):
            known["engine"] = f"Ollama {found[1]}"

    @property
    def free_bytes(self) -> int:
        """Of all devices together, before the model was loaded; 0 where no line says it."""
        return sum({**self._vram, **self._free}.values())

    def facts(self) -> LogFacts:
        """What is known by now."""
        log, known, numbers = self._log, self._known, self._numbers
        totals: dict[tuple[str, str], int] = {}
        for buffer in log.buffers:
            key = (buffer.where, buffer.term)
            totals[key] = totals.get(key, 0) + buffer.n_bytes
        for key, n_bytes in self._slog.items():
            totals.setdefault(key, n_bytes)
        settings = log.settings
        offloaded, n_layers = log.offloaded or (0, 0)
        n_slots = numbers.get("n_slots", settings.get("n_seq_max", 0))
        slot = numbers.get("n_ctx_slot", settings.get("n_ctx_seq", 0))
        path = known.get("path", "")
        return LogFacts(
            engine=known.get("engine", ""),
            build=log.build or known.get("build", ""),
            model=known.get("name", "") or path.replace("\\", "/").rpartition("/")[2],
            path=path,
            architecture=known.get("arch", ""),
            quant=known.get("quant", ""),
            devices=tuple(f"{key}: {name}" for key, name in self._devices.items()),
            memory=tuple(
                MemoryFact(device, term, n_bytes) for (device, term), n_bytes in totals.items()
            ),
            offloaded=offloaded,
            n_layers=n_layers,
            n_ctx=settings.get("n_ctx", 0),
            n_ctx_slot=slot,
            n_slots=n_slots,
            cache_type_k=known.get("type_k", ""),
            cache_type_v=known.get("type_v", ""),
            n_ubatch=settings.get("n_ubatch", 0),
            flash_attn=log.flash_attn,
            prompt_tokens_per_second=self._speeds.get("prompt", 0.0),
            tokens_per_second=self._speeds.get("generation", 0.0),
            free_bytes={**self._vram, **self._free},
            capabilities=dict(self._capabilities),
        )


def _modern(text: str) -> str:
    """A line of an older build in the words of today's."""
    text = _OLD_CONTEXT.sub(r"llama_context: \1 =", text)
    return _OLD_WEIGHTS.sub(r"load_tensors: \1 model buffer size =", text)


def _number(text: str) -> float:
    try:
        return float(text[:20])
    except ValueError:
        return 0.0


def _whole(text: str) -> int:
    return int(text[:15])
