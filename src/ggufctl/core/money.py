"""What a deployment costs: per hour, per start, per idle window, per token, per month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, exp
from typing import Any

from ggufctl.core.cold_start import ColdStart
from ggufctl.core.ranges import Range
from ggufctl.core.speed import Speed
from ggufctl.errors import UsageError

__all__ = [
    "MAX_CONTAINER_MIB",
    "USUAL_CONTAINER_MIB",
    "WORKSPACE_PRICES",
    "Cost",
    "Load",
    "MonthBill",
    "Prices",
    "cost_of",
    "cpu_and_memory",
    "month_bill",
    "most_host_bytes",
]

WORKSPACE_PRICES = "your workspace"
"""Source of prices that Modal told of a workspace itself."""

MAX_CONTAINER_MIB = 344_064
"""Most host memory of a container.  [MiB]

Source: Modal's limits, modal.com/docs/guide/resources.
"""

USUAL_CONTAINER_MIB = 16 * 1024
"""Host memory that no budget counts: what a container has whose weights are all on GPUs.  [MiB]"""

DAYS_PER_MONTH = 365.25 / 12
HOURS_PER_MONTH = 24 * DAYS_PER_MONTH
SECONDS_PER_DAY = 86400.0
MOST_REQUESTS = 1_000_000_000
MOST_TOKENS = 100_000_000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Prices:
    """Dated prices of what is rented beside GPUs."""

    usd_per_core_hour: float
    usd_per_gib_hour: float
    host_billed: Range
    """What is billed of cores and memory over what was asked for."""
    region_factor: Range
    """On everything, when a region is pinned."""
    usd_per_gib_month: float
    """Of a Volume."""
    free_storage_bytes: int
    as_of: str
    source: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Prices:
        """Prices out of `data/prices.json`."""
        billed, region = document["host_billed"], document["region_factor"]
        return cls(
            usd_per_core_hour=document["usd_per_core_hour"],
            usd_per_gib_hour=document["usd_per_gib_hour"],
            host_billed=Range(billed["low"], billed["best"], billed["high"]),
            region_factor=Range(region["low"], region["best"], region["high"]),
            usd_per_gib_month=document["usd_per_gib_month"],
            free_storage_bytes=document["free_storage_bytes"],
            as_of=document["as_of"],
            source=document["source"],
        )

    def host_usd_per_hour(self, cores: float, memory_mib: int) -> Range:
        """Price of a container's cores and memory.  [US dollars per hour]"""
        asked = cores * self.usd_per_core_hour + memory_mib / 1024 * self.usd_per_gib_hour
        return self.host_billed.scale(asked)

    def beyond_usd_per_hour(self, memory_mib: int) -> float:
        """Price of the host memory that only weights left there need.  [US dollars per hour]"""
        return max(0, memory_mib - USUAL_CONTAINER_MIB) / 1024 * self.usd_per_gib_hour

    def storage_usd_per_month(self, n_bytes: int) -> Range:
        """Price of files on a Volume: nothing while all files of the workspace together are
        within what is free, the full price at the most.  [US dollars per month]
        """
        beyond = max(0, n_bytes - self.free_storage_bytes)
        per_byte = self.usd_per_gib_month / _GIB
        return Range(beyond * per_byte, beyond * per_byte, n_bytes * per_byte)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a deployment.

    Attributes:
        requests_per_day: over all clients.
        prompt_tokens: of one request.
        output_tokens: of one answer.
    """

    requests_per_day: float
    prompt_tokens: int = 1000
    output_tokens: int = 300

    def __post_init__(self) -> None:
        rate: object = self.requests_per_day
        is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if not (is_number and 0 <= self.requests_per_day <= MOST_REQUESTS):
            raise UsageError(f"Requests per day must be a number from 0 to {MOST_REQUESTS:,}.")
        for what, n in (("prompt", self.prompt_tokens), ("answer", self.output_tokens)):
            given: object = n
            is_count = isinstance(given, int) and not isinstance(given, bool)
            if not (is_count and 0 <= n <= MOST_TOKENS):
                raise UsageError(f"Tokens of one {what} must be from 0 to {MOST_TOKENS:,}.")

    @property
    def depth_tokens(self) -> int:
        """Context in use while an answer is half written.  [tokens]"""
        return self.prompt_tokens + self.output_tokens // 2


@dataclass(frozen=True, slots=True)
class MonthBill:
    """A month's estimated bill for a load.

    Attributes:
        usd: everything together.  [US dollars per month]
        up_hours: containers are up, all of them together.  [hours per month]
        cold_starts: requests that find nothing running.  [per month]
        storage_usd: part of `usd` for the files.  [US dollars per month]
        usd_per_million_tokens: the bill over all answers' tokens; of a model that embeds, over
            all tokens it reads.
        containers: that the load keeps busy at once, on average.
    """

    load: Load
    usd: Range
    up_hours: Range
    cold_starts: Range
    storage_usd: Range
    usd_per_million_tokens: Range
    containers: Range


@dataclass(frozen=True, slots=True)
class Cost:
    """What running costs.  [US dollars]"""

    usd_per_hour: Range
    """In use: GPUs, cores and memory."""
    gpu_usd_per_hour: float
    idle_window_usd: Range
    """From the last request to the end of the container."""
    cold_start_usd: Range
    usd_per_million_tokens: Range
    """Of output, one stream, always busy."""
    usd_per_million_tokens_all_slots: Range
    storage_usd_per_month: Range
    month: MonthBill | None
    prices_as_of: str
    prices_source: str


def cpu_and_memory(size_bytes: int, host_bytes: int, n_gpus: int) -> tuple[float, int]:
    """Physical cores, and host memory for what is staged while loading.  [cores, MiB]"""
    needed = host_bytes + _beside_bytes(size_bytes, n_gpus)
    return (4.0 if n_gpus else 8.0), ceil(needed / _GIB) * 1024


def most_host_bytes(size_bytes: int, n_gpus: int) -> int:
    """Host memory that may be planned where a container is as large as they come.  [bytes]"""
    return (MAX_CONTAINER_MIB << 20) - _beside_bytes(size_bytes, n_gpus)


def _beside_bytes(size_bytes: int, n_gpus: int) -> int:
    """Of a container's memory, what loading and the system take.  [bytes]"""
    return min(size_bytes // max(1, n_gpus), 8 * _GIB) // 4 + 4 * _GIB


def cost_of(
    gpu_usd_per_hour: float,
    speed: Speed,
    cold_start: ColdStart,
    prices: Prices,
    *,
    cores: float,
    memory_mib: int,
    stored_bytes: int,
    scaledown_seconds: float,
    load: Load | None = None,
    region: bool = False,
    prices_as_of: str = "",
    prices_source: str = "",
) -> Cost:
    """Everything that can be said about money.

    Args:
        gpu_usd_per_hour: of all GPUs of a container together.
        speed: as predicted, for the load's context where there is a load.
        cold_start: as predicted.
        prices: of the rest.
        cores: physical cores asked for.
        memory_mib: host memory asked for.
        stored_bytes: files on the Volume.
        scaledown_seconds: a container stays this long without requests.
        load: for the month's bill.
        region: whether one is pinned.
        prices_as_of: date of the GPU's price; by default that of the others.
        prices_source: where the GPU's price comes from.
    """
    hourly = Range.exactly(gpu_usd_per_hour) + prices.host_usd_per_hour(cores, memory_mib)
    if region:
        hourly = hourly * prices.region_factor
    per_second = hourly.scale(1 / 3600)
    storage = prices.storage_usd_per_month(stored_bytes)
    return Cost(
        usd_per_hour=hourly,
        gpu_usd_per_hour=gpu_usd_per_hour,
        idle_window_usd=per_second.scale(scaledown_seconds),
        cold_start_usd=per_second * cold_start.billed_seconds,
        usd_per_million_tokens=per_token(hourly, speed.decode_tokens_per_s),
        usd_per_million_tokens_all_slots=per_token(hourly, speed.aggregate_tokens_per_s),
        storage_usd_per_month=storage,
        month=None
        if load is None
        else month_bill(load, speed, hourly, cold_start, scaledown_seconds, storage),
        prices_as_of=prices_as_of or prices.as_of,
        prices_source=prices_source or prices.source,
    )


def per_token(usd_per_hour: Range, tokens_per_s: Range) -> Range:
    """Price of a million tokens of output from a machine that is never idle.  [US dollars]"""
    return usd_per_hour * tokens_per_s.invert(1e6 / 3600)


def month_bill(
    load: Load,
    speed: Speed,
    usd_per_hour: Range,
    cold_start: ColdStart,
    scaledown_seconds: float,
    storage_usd: Range,
) -> MonthBill:
    """Estimate the bill of a month.

    Requests that come independently of each other at a steady rate keep a container up for a
    share 1 - exp(-rate x (service + window)) of the time, since it stays up as long as the last
    gap between requests was shorter than that; a request finds nothing running with the
    probability that is left. The least is paid when each day's requests come one after another,
    the most when each keeps a container up alone.

    Source: the busy period of the M/G/infinity queue.
    """
    if speed.embeds:
        # What embeds writes nothing.
        load = replace(load, output_tokens=0)
    rate = load.requests_per_day / SECONDS_PER_DAY
    service = speed.request_seconds(load.prompt_tokens, load.output_tokens)
    work = _work_seconds(load, speed)
    starts = cold_start.billed_seconds
    daily: list[tuple[float, float]] = []
    one_go = 1.0 if load.requests_per_day >= 1 else load.requests_per_day
    daily.append(_day(load, work.low, one_go, scaledown_seconds, starts.low))
    stays = service.best + scaledown_seconds
    cold = load.requests_per_day * exp(-rate * stays)
    up = SECONDS_PER_DAY * (1.0 - exp(-rate * stays))
    busy = load.requests_per_day * work.best
    together = max(SECONDS_PER_DAY, busy)
    daily.append((min(together, max(up, busy) + cold * starts.best), cold))
    alone = service.high + scaledown_seconds + starts.high
    most = min(load.requests_per_day, SECONDS_PER_DAY / alone)
    busy = load.requests_per_day * work.high
    longest = min(SECONDS_PER_DAY, load.requests_per_day * alone)
    daily.append((max(longest, busy), most))
    seconds = _ordered(*(up for up, _ in daily))
    hours = seconds.scale(DAYS_PER_MONTH / 3600)
    usd = hours * usd_per_hour + storage_usd
    counted = load.prompt_tokens if speed.embeds else load.output_tokens
    tokens = load.requests_per_day * counted * DAYS_PER_MONTH
    return MonthBill(
        load=load,
        usd=usd,
        up_hours=hours,
        cold_starts=_ordered(*(cold for _, cold in daily)).scale(DAYS_PER_MONTH),
        storage_usd=storage_usd,
        usd_per_million_tokens=usd.scale(1e6 / tokens) if tokens else Range.exactly(0.0),
        containers=work.scale(rate),
    )


def _work_seconds(load: Load, speed: Speed) -> Range:
    """Of a container's time that one request takes when all slots are busy.  [s]"""
    prompt = speed.ttft_seconds(load.prompt_tokens)
    return prompt + speed.aggregate_tokens_per_s.invert(float(load.output_tokens))


def _day(
    load: Load, work: float, cold: float, scaledown_seconds: float, start: float
) -> tuple[float, float]:
    """Seconds that containers are up, and starts, when a day's requests come in one go."""
    return load.requests_per_day * work + cold * (scaledown_seconds + start), cold


def _ordered(low: float, best: float, high: float) -> Range:
    return Range(min(low, best), best, max(best, high))
