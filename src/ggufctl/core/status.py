"""How a deployment is doing now: what was seen at one look, what two looks say, what is scraped.

Figures that nobody could be asked for are None, never zero.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ggufctl.core.escape import escape

__all__ = [
    "HOST",
    "Counters",
    "Health",
    "LogCount",
    "MemoryUse",
    "ProcessUse",
    "Rates",
    "ServerStatus",
    "Slot",
    "parse_metrics",
    "parse_slots",
    "prometheus_text",
    "with_rates",
]

HOST = "host"
"""Name of the host among places of memory."""

MAX_SLOTS = 4096
"""No server has more; a longer list is not looked at."""

MAX_LINE = 300
"""Characters kept of the engine's own words about an error."""


class Health(StrEnum):
    """What a server says of itself."""

    OK = "ok"
    LOADING = "loading"
    NO_ANSWER = "no answer"
    NOT_ASKED = "not asked"
    """Asking would have started, and paid for, a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Memory in one place: a GPU, the host, or a container."""

    where: str
    """`CUDA0` …, or `host`."""
    description: str = ""
    planned_bytes: int | None = None
    used_bytes: int | None = None
    """By this deployment."""
    busy_bytes: int | None = None
    """By everybody."""
    total_bytes: int | None = None
    utilization_percent: int | None = None
    """Of its time that a GPU was computing."""

    @property
    def seen_bytes(self) -> int | None:
        """What the deployment uses, or where nobody tells them apart, what everybody does."""
        return self.busy_bytes if self.used_bytes is None else self.used_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """One process, or one container."""

    role: str
    """`supervisor`, `engine` or `container`."""
    id: str
    is_alive: bool
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    """Of one core, since the look before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot of an engine."""

    id: int
    is_busy: bool
    n_ctx: int
    n_used: int = 0
    """Tokens of its context that are filled."""
    n_prompt: int = 0
    """Of the prompt being read, those done."""
    n_decoded: int = 0
    """Of the answer being written, those done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What an engine counts, from its start on."""

    prompt_tokens: int = 0
    predicted_tokens: int = 0
    prompt_tokens_per_second: float = 0.0
    """Average of the requests so far."""
    predicted_tokens_per_second: float = 0.0
    n_processing: int = 0
    n_deferred: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Tokens per second."""

    prompt_tokens_per_second: float
    predicted_tokens_per_second: float
    window_seconds: float = 0.0
    """Between the two looks they come from; 0 = averages of the requests so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One deployment at one look."""

    name: str
    where: str
    """`local` or `modal`."""
    status: str
    """As in `ps`."""
    health: Health
    at: str
    """When it was looked at; RFC 3339."""
    at_seconds: float
    """The same, on a clock that only two looks can be compared on."""
    model: str = ""
    engine: str = ""
    build: str = ""
    url: str = ""
    started_at: str = ""
    uptime_seconds: float | None = None
    processes: tuple[ProcessUse, ...] = ()
    memory: tuple[MemoryUse, ...] = ()
    n_slots: int | None = None
    n_ctx: int | None = None
    """Of all slots together.  [tokens]"""
    slots: tuple[Slot, ...] = ()
    counters: Counters | None = None
    rates: Rates | None = None
    n_requests: int | None = None
    """Answered since the start."""
    n_errors: int | None = None
    last_error: str = ""
    usd_per_hour: float = 0.0
    """Of what runs now."""
    usd_so_far: float | None = None
    problems: tuple[str, ...] = ()
    """What is wrong, or could not be seen, in sentences."""

    @property
    def is_broken(self) -> bool:
        """Whether it should be there and is not: failed, lost, or up without an answer."""
        if self.status == "running" and self.health is Health.NO_ANSWER:
            return True
        return self.status in ("failed", "lost")

    @property
    def n_busy(self) -> int | None:
        """Slots that are answering."""
        if self.slots:
            return sum(slot.is_busy for slot in self.slots)
        return None if self.counters is None else self.counters.n_processing

    @property
    def n_queued(self) -> int | None:
        """Requests that wait for a slot."""
        return None if self.counters is None else self.counters.n_deferred

    @property
    def n_ctx_used(self) -> int | None:
        """Tokens of the context that are filled."""
        return sum(slot.n_used for slot in self.slots) if self.slots else None

    @property
    def n_containers(self) -> int:
        """Containers, or engines, that run."""
        return sum(process.is_alive and process.role != "supervisor" for process in self.processes)


_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^}]*\})? +(\S+)")


def parse_metrics(text: str) -> Counters | None:
    """The counters in what `/metrics` of llama-server says; None when they are not there.

    Source: llama.cpp tools/server/server-context.cpp (pin in core/_pins.py).
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        if (sample := _SAMPLE.match(line)) and sample[1].startswith("llamacpp:"):
            try:
                value = float(sample[2])
            except ValueError:
                continue
            if math.isfinite(value) and value >= 0:
                found[sample[1].removeprefix("llamacpp:")] = value
    if "prompt_tokens_total" not in found or "tokens_predicted_total" not in found:
        return None
    return Counters(
        prompt_tokens=int(found["prompt_tokens_total"]),
        predicted_tokens=int(found["tokens_predicted_total"]),
        prompt_tokens_per_second=_average(found, "prompt_tokens_total", "prompt_seconds_total"),
        predicted_tokens_per_second=_average(
            found, "tokens_predicted_total", "tokens_predicted_seconds_total"
        ),
        n_processing=int(found.get("requests_processing", 0)),
        n_deferred=int(found.get("requests_deferred", 0)),
    )


LEAST_SECONDS = 1e-3
"""Of work that says how fast an engine is."""


def _average(found: Mapping[str, float], tokens: str, seconds: str) -> float:
    """Tokens per second since the start.

    The engine's own gauges of speed begin anew each time that somebody reads them.
    """
    took = found.get(seconds, 0.0)
    # One token counts as made in no time.
    return found[tokens] / took if took >= LEAST_SECONDS else 0.0


def parse_slots(text: str) -> tuple[Slot, ...]:
    """The slots in what `/slots` of llama-server says; empty when it is something else."""
    try:
        rows = json.loads(text)
    except ValueError:
        return ()
    if not isinstance(rows, list) or len(rows) > MAX_SLOTS:
        return ()
    return tuple(_slot(row, index) for index, row in enumerate(rows) if isinstance(row, dict))


def _slot(row: Mapping[str, object], index: int) -> Slot:
    following = row.get("next_token")
    if isinstance(following, list):
        following = following[0] if following else {}
    decoded = _count(following.get("n_decoded")) if isinstance(following, dict) else 0
    return Slot(
        id=_count(row.get("id", index)),
        is_busy=row.get("is_processing") is True,
        n_ctx=_count(row.get("n_ctx")),
        n_used=_count(row.get("n_prompt_tokens")),
        n_prompt=_count(row.get("n_prompt_tokens_processed")),
        n_decoded=decoded,
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return max(0, value)


def with_rates(now: ServerStatus, before: ServerStatus | None) -> ServerStatus:
    """The status with its speed between two looks; of one look alone, with the engine's averages.

    An engine counts the tokens of an answer when it is finished; those of answers being written
    are with the slots.
    """
    counters = now.counters
    if counters is None:
        return now
    seconds = now.at_seconds - before.at_seconds if before is not None else 0.0
    if before is None or before.counters is None or seconds <= 0:
        return replace(
            now,
            rates=Rates(
                prompt_tokens_per_second=counters.prompt_tokens_per_second,
                predicted_tokens_per_second=counters.predicted_tokens_per_second,
            ),
        )
    prompt, predicted = (
        max(0, new - old) for new, old in zip(_so_far(now), _so_far(before), strict=True)
    )
    rates = Rates(
        prompt_tokens_per_second=prompt / seconds,
        predicted_tokens_per_second=predicted / seconds,
        window_seconds=seconds,
    )
    return replace(now, rates=rates)


def _so_far(status: ServerStatus) -> tuple[int, int]:
    """Tokens read and written, those of answers being written included."""
    assert status.counters is not None
    busy = [slot for slot in status.slots if slot.is_busy]
    return (
        # A prompt is counted when it has been read, which the first token shows.
        status.counters.prompt_tokens + sum(s.n_prompt for s in busy if not s.n_decoded),
        status.counters.predicted_tokens + sum(s.n_decoded for s in busy),
    )


_ANSWERED = re.compile(r"slot +release: id +\d+ \| task \d+ \| stop processing")
_HTTP = re.compile(r'"POST /\S* HTTP/[\d.]+" (\d{3})')
_FAILED = re.compile(r"send_error: task id = \d+, error: (.*)")


@dataclass(slots=True)
class LogCount:
    """Requests answered and failed, counted in an engine's log line by line."""

    n_requests: int = 0
    n_errors: int = 0
    last_error: str = ""

    def feed(self, line: str) -> None:
        """Take the next line."""
        if found := _FAILED.search(line):
            self.n_errors += 1
            self.last_error = found[1][:MAX_LINE]
        elif _ANSWERED.search(line):
            self.n_requests += 1
        elif found := _HTTP.search(line):
            if int(found[1]) < 400:
                self.n_requests += 1
            else:
                self.n_errors += 1
                self.last_error = f"HTTP status {found[1]}"


_LABEL_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def prometheus_text(found: Sequence[ServerStatus]) -> str:
    """The statuses in Prometheus' text format, for its textfile collector.

    Source: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
    """
    lines: list[str] = []
    for name, kind, help_text, samples in _families(found):
        rows = [f"ggufctl_{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
        if rows:
            lines += [f"# HELP ggufctl_{name} {help_text}", f"# TYPE ggufctl_{name} {kind}", *rows]
    return "".join(f"{line}\n" for line in lines)


_Sample = tuple[Mapping[str, str], float]
_SIMPLE = (
    ("uptime_seconds", "gauge", "Since the deployment was started.", "uptime_seconds"),
    ("containers", "gauge", "Engines or containers that run.", "n_containers"),
    ("slots", "gauge", "Requests that can be answered at once.", "n_slots"),
    ("slots_busy", "gauge", "Requests being answered.", "n_busy"),
    ("requests_queued", "gauge", "Requests that wait for a slot.", "n_queued"),
    ("context_tokens", "gauge", "Context of all slots together.", "n_ctx"),
    ("context_used_tokens", "gauge", "Of the context, what is filled.", "n_ctx_used"),
    ("requests_total", "counter", "Requests that the engine has finished.", "n_requests"),
    ("request_errors_total", "counter", "Requests that failed.", "n_errors"),
    ("usd_per_hour", "gauge", "Price of what runs now, in US dollars.", "usd_per_hour"),
    ("cost_usd_total", "counter", "Cost since the start, in US dollars.", "usd_so_far"),
)
"""Name, type, help and the attribute of a status."""


def _families(
    found: Sequence[ServerStatus],
) -> Iterable[tuple[str, str, str, list[_Sample]]]:
    def samples(values: Iterable[tuple[Mapping[str, str], float | None]]) -> list[_Sample]:
        return [(labels, float(value)) for labels, value in values if value is not None]

    who = [({"name": s.name, "where": s.where}, s) for s in found]
    about = [
        ({**labels, "model": s.model, "engine": s.engine, "build": s.build}, 1.0)
        for labels, s in who
    ]
    yield "info", "gauge", "What is deployed.", samples(about)
    up = [(labels, float(s.health is Health.OK)) for labels, s in who]
    yield "up", "gauge", "Whether it answers.", samples(up)
    for name, kind, help_text, attribute in _SIMPLE:
        values = [(labels, getattr(s, attribute)) for labels, s in who]
        yield name, kind, help_text, samples(values)
    counted = [(labels, s.counters) for labels, s in who if s.counters is not None]
    for name, attribute, help_text in (
        ("prompt_tokens_total", "prompt_tokens", "Tokens of prompts read."),
        ("predicted_tokens_total", "predicted_tokens", "Tokens of answers written."),
    ):
        yield name, "counter", help_text, samples((la, getattr(c, attribute)) for la, c in counted)
    rated = [(labels, s.rates) for labels, s in who if s.rates is not None]
    for name, help_text in (
        ("prompt_tokens_per_second", "Speed of reading prompts."),
        ("predicted_tokens_per_second", "Speed of writing answers."),
    ):
        yield name, "gauge", help_text, samples((la, getattr(r, name)) for la, r in rated)
    places = [({**labels, "device": m.where}, m) for labels, s in who for m in s.memory]
    for name, attribute, help_text in (
        ("memory_planned_bytes", "planned_bytes", "Memory as planned."),
        ("memory_used_bytes", "used_bytes", "Memory that the deployment uses."),
        ("memory_busy_bytes", "busy_bytes", "Memory that everybody uses."),
        ("memory_total_bytes", "total_bytes", "Memory that there is."),
        ("gpu_utilization_percent", "utilization_percent", "Time that the GPU was computing."),
    ):
        yield name, "gauge", help_text, samples((la, getattr(m, attribute)) for la, m in places)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = (f'{key}="{escape(value).translate(_LABEL_ESCAPES)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"
