"""What a benchmark asks and what its answers amount to: prompts, percentiles, comparison. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ggufctl.errors import UsageError

__all__ = [
    "Budget",
    "Change",
    "LevelResult",
    "Sample",
    "Settings",
    "Spread",
    "compare",
    "levels",
    "percentile",
    "prompt_text",
    "summarise",
]

PERCENTILES = (50, 90, 99)

_WORDS = (
    "able back ball bank base bear beat bird blue boat body bone book born boss both "
    "call calm camp card care case cash cast cell city club coal coat code cold come "
    "cook cool copy cost crew dark data date dawn days dead deal dear deep desk dish "
    "door down draw drop dust duty each earn east easy edge else even face fact fair "
    "fall farm fast fear feed feel feet file fill film find fine fire firm fish flat "
    "flow food foot form free fuel full fund game gate gear gift girl give glad goal "
    "gold good gray grow hair half hall hand hang hard have head hear heat help here "
    "hill hold hole home hope hour huge idea inch iron item join jump just keep kind"
).split()
"""Common words, most of them one token to most tokenisers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked; two runs with the same settings ask the same.

    Attributes:
        seed: of the prompts and of the sampling.
        n_prompt: length of each prompt.  [tokens]
        n_predict: length of each answer.  [tokens]
        concurrency: streams at once, level by level.
        max_requests: in all, the warm-up included.
        max_seconds: in all, after the server is there.
        max_usd: in all, the idle time that follows included; None = not limited.
    """

    seed: int = 1
    n_prompt: int = 256
    n_predict: int = 64
    concurrency: tuple[int, ...] = ()
    max_requests: int = 200
    max_seconds: float = 300.0
    max_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One request that was made.  [seconds since it was sent]"""

    first_token_seconds: float = 0.0
    seconds: float = 0.0
    n_prompt: int = 0
    n_cached: int = 0
    """Tokens of the prompt that the server had kept; should be 0."""
    n_tokens: int = 0
    prompt_tokens_per_second: float = 0.0
    """As the server says; else of all the time to the first token."""
    tokens_per_second: float = 0.0
    """As the server says; else from the first token to the last."""
    error: str = ""
    was_cut: bool = False
    """Ended by a limit of the benchmark's, so that it counts for nothing."""

    @property
    def is_ok(self) -> bool:
        """Whether it counts."""
        return not (self.error or self.was_cut)


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a quantity."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class LevelResult:
    """What a number of streams at once came to."""

    n_streams: int
    n_ok: int
    n_errors: int
    seconds: float
    """From the first request to the last answer."""
    first_token: Spread | None
    """[s]"""
    latency: Spread | None
    """Whole answers.  [s]"""
    prompt_tokens_per_second: float
    """Median of the requests."""
    tokens_per_second: float
    """Of one stream: median of the requests."""
    total_tokens_per_second: float
    """Generated tokens of all streams by the time they took together."""
    total_prompt_tokens_per_second: float
    """Prompt tokens of all streams by the time they took together."""
    n_prompt: int
    """Median length of the prompts as the server counts.  [tokens]"""
    n_tokens: int
    """Median length of the answers.  [tokens]"""
    n_cached: int
    """Most tokens of a prompt that were not read anew."""
    errors: tuple[tuple[str, int], ...]
    """What went wrong and how often."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of them lie, between two of them in proportion.

    Raises: ValueError without values.
    Source: the definition that numpy and `statistics.quantiles(method="inclusive")` share.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Sequence[float]) -> Spread | None:
    """The percentiles of `values`; None without any."""
    if not values:
        return None
    return Spread(*(percentile(values, percent) for percent in PERCENTILES))


def levels(n_slots: int) -> tuple[int, ...]:
    """1, 2, 4 … up to the number of slots, which is always the last."""
    n_slots = max(1, n_slots)
    found = [1]
    while found[-1] * 2 < n_slots:
        found.append(found[-1] * 2)
    return tuple(found) if n_slots == 1 else (*found, n_slots)


def requests_of(n_streams: int) -> int:
    """How many requests a level is given: each stream asks twice, and no level less than four."""
    return max(4, 2 * n_streams)


def prompt_text(seed: int, index: int, n_words: int) -> str:
    """The words of one prompt: the same for the same numbers, and no two begin alike.

    A server that keeps the prompts it has read finds nothing of one in another.
    """
    generator = random.Random(f"{seed}/{index}")
    words = [_WORDS[int(generator.random() * len(_WORDS))] for _ in range(max(1, n_words))]
    return " ".join([f"{seed}-{index}", *words])


def summarise(n_streams: int, samples: Sequence[Sample], seconds: float) -> LevelResult:
    """What the samples of one level amount to.

    Args:
        n_streams: at once.
        samples: of all requests.
        seconds: from the first request to the last answer.
    """
    good = [sample for sample in samples if sample.is_ok]
    failed = Counter(sample.error for sample in samples if sample.error)
    per_second = 1 / seconds if seconds > 0 else 0.0
    return LevelResult(
        n_streams=n_streams,
        n_ok=len(good),
        n_errors=sum(failed.values()),
        seconds=seconds,
        first_token=spread([s.first_token_seconds for s in good]),
        latency=spread([s.seconds for s in good]),
        prompt_tokens_per_second=_median([s.prompt_tokens_per_second for s in good]),
        tokens_per_second=_median([s.tokens_per_second for s in good]),
        total_tokens_per_second=sum(s.n_tokens for s in samples) * per_second,
        total_prompt_tokens_per_second=sum(s.n_prompt for s in good) * per_second,
        n_prompt=round(_median([s.n_prompt for s in good])),
        n_tokens=round(_median([s.n_tokens for s in good])),
        n_cached=max((s.n_cached for s in good), default=0),
        errors=tuple(failed.most_common()),
    )


def _median(values: Sequence[float]) -> float:
    return percentile(values, 50) if values else 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a benchmark may cost.

    Attributes:
        usd_per_hour: while its containers run.
        idle_usd: for the time they stay after the last request.
        start_seconds: what a cold start is expected to take; 0 when it is warm.
        max_usd: limit; None = none.
    """

    usd_per_hour: float = 0.0
    idle_usd: float = 0.0
    start_seconds: float = 0.0
    max_usd: float | None = None

    LEAST_SECONDS = 10.0

    @property
    def least_usd(self) -> float:
        """What it costs at the very least: the start, a few requests and the idle time."""
        seconds = self.start_seconds + self.LEAST_SECONDS
        return self.usd_per_hour * seconds / 3600 + self.idle_usd

    def spent_usd(self, seconds: float) -> float:
        """What it has cost after so long, with the idle time that must follow."""
        return self.usd_per_hour * seconds / 3600 + self.idle_usd

    @property
    def seconds(self) -> float:
        """How long it may go on; infinite without a limit or a price."""
        if self.max_usd is None or self.usd_per_hour <= 0:
            return math.inf
        return max(0.0, (self.max_usd - self.idle_usd) * 3600 / self.usd_per_hour)


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two runs."""

    n_streams: int
    metric: str
    before: float
    after: float
    higher_is_better: bool

    @property
    def ratio(self) -> float:
        """After by before."""
        return self.after / self.before if self.before else math.nan

    @property
    def is_better(self) -> bool:
        """Whether the later run is the better one here."""
        return (self.after > self.before) == self.higher_is_better and self.after != self.before


_METRICS = (
    ("prompt_tokens_per_second", True),
    ("tokens_per_second", True),
    ("total_tokens_per_second", True),
    ("first_token_p50_seconds", False),
    ("first_token_p99_seconds", False),
    ("latency_p50_seconds", False),
    ("latency_p99_seconds", False),
    ("n_errors", False),
)
_SAME = ("model", "engine_build", "seed", "n_prompt", "n_predict", "prompts")


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Changes from one report to another, level by level, and what makes them incomparable.

    Args:
        before: as `ggufctl bench --json` printed it.
        after: of this run.

    Raises: UsageError when `before` is no such report.
    """
    try:
        if _major(before) != _major(after):
            raise UsageError("The report to compare with is of another version of ggufctl's.")
        old = {int(row["n_streams"]): row for row in before["levels"]}
        differing = tuple(
            f"{key}: {_value(before, key)} before, {_value(after, key)} now"
            for key in _SAME
            if _value(before, key) != _value(after, key)
        )
        changes = tuple(
            Change(row["n_streams"], metric, float(was), float(now), better)
            for row in after["levels"]
            if row["n_streams"] in old
            for metric, better in _METRICS
            if (was := old[row["n_streams"]][metric]) is not None
            and (now := row[metric]) is not None
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError("The file to compare with is no report of ggufctl bench --json.") from None
    return changes, differing


def _major(report: Mapping[str, Any]) -> str:
    return str(report["schema_version"]).partition(".")[0]


def _value(report: Mapping[str, Any], key: str) -> object:
    return report["settings"][key] if key in report["settings"] else report.get(key)
