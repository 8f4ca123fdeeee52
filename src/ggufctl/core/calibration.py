"""What a user's own runs say about estimates: ranges around what was really seen.

A run counts for the GPU it was on and the build it ran. Speeds are compared with what was
predicted without any calibration, so that figures never feed on themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from statistics import median

from ggufctl.core.gpus import (
    POOL_BYTES,
    POOL_COMPUTE_SHARE,
    CudaOverhead,
    Gpu,
    GpuCatalogue,
    is_called,
)
from ggufctl.core.ranges import Range

__all__ = [
    "MAX_LINE_BYTES",
    "Run",
    "Summary",
    "calibrated",
    "calibrated_names",
    "gpu_name",
    "is_same_build",
    "parse_run",
    "summarize",
]

MAX_LINE_BYTES = 4096
"""A longer line is none of ours."""

SLACK_OF_ONE, SLACK_OF_SEVERAL = 0.15, 0.10
"""How far beyond what was seen a speed may be: of runs of one model, and of several."""

START_SLACK = 0.3
"""How far beyond what was seen a start may be: a Volume is not equally fast every day."""

OVERHEAD_SLACK = 32 << 20
"""How far from what was seen CUDA's own memory may be.  [bytes]"""

PLAUSIBLE_RATIO = 10.0
"""A speed so many times, or such a part of, the one predicted says nothing of the GPU."""

MOST_OVERHEAD_BYTES = 4 << 30
"""More than this is another program's memory.  [bytes]"""

_LONGEST_TEXT = 300
_LARGEST = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One start of a server, as planned and as it was. What was not seen is None."""

    at: str
    """RFC 3339."""
    where: str
    """`local` or `modal`."""
    gpu: str
    """The catalogue's name, else what the engine calls it; `CPU` without one."""
    count: int
    build: str
    engine: str
    model: str
    """Reference or name of the file; never where it lies on a disk."""
    quant: str = ""
    n_ctx: int = 0
    planned_bytes: int | None = None
    """Of every buffer that the engine's log names."""
    actual_bytes: int | None = None
    overhead_bytes: int | None = None
    """Used on the first GPU beside those buffers."""
    compute_bytes: int = 0
    """Compute buffer of that GPU, which the pools of the overhead go by."""
    planned_load_seconds: float | None = None
    load_seconds: float | None = None
    planned_tokens_per_s: float | None = None
    """Of one stream, without calibration."""
    tokens_per_s: float | None = None

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @property
    def speed_ratio(self) -> float | None:
        """Tokens/s as they were over what was predicted."""
        if not self.tokens_per_s or not self.planned_tokens_per_s:
            return None
        return self.tokens_per_s / self.planned_tokens_per_s

    @property
    def counted_ratio(self) -> float | None:
        """The same where ranges may go by it: a GPU that others use as well is no measure."""
        ratio = self.speed_ratio
        if ratio is None or not 1 / PLAUSIBLE_RATIO <= ratio <= PLAUSIBLE_RATIO:
            return None
        return ratio

    @property
    def start_ratio(self) -> float | None:
        """Time from reading weights to an answer over what was predicted, on Modal."""
        if self.where != "modal" or not self.load_seconds or not self.planned_load_seconds:
            return None
        ratio = self.load_seconds / self.planned_load_seconds
        return ratio if 1 / PLAUSIBLE_RATIO <= ratio <= PLAUSIBLE_RATIO else None


_KINDS = {field.name: str(field.type) for field in fields(Run)}
_NEEDED = ("at", "where", "gpu", "count", "build", "engine", "model")


def parse_run(line: str | bytes) -> Run | None:
    """The run of a line, or None where the line is not whole, not ours, or absurd."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not all(name in document for name in _NEEDED):
        return None
    values = {name: value for name, value in document.items() if name in _KINDS}
    if not all(_is_valid(_KINDS[name], value) for name, value in values.items()):
        return None
    return Run(**values)


def _is_valid(kind: str, value: object) -> bool:
    if value is None:
        return kind.endswith("None")
    if kind == "str":
        return isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind.startswith("int") and not isinstance(value, int):
        return False
    return 0 <= value <= _LARGEST and isfinite(value)


def is_same_build(build: str, other: str) -> bool:
    """Whether two names mean one build: `b11434` and `b11434-0a1b2c3` do."""
    return build.partition("-")[0] == other.partition("-")[0] != ""


def calibrated(catalogue: GpuCatalogue, runs: Sequence[Run], build: str) -> GpuCatalogue:
    """The catalogue with ranges tightened around runs of the same GPU and build.

    Args:
        catalogue: without any calibration.
        runs: all there are.
        build: that plans are made for.
    """
    # A card may have become known, or been given a name, after its first runs.
    names = {name: gpu_name(catalogue, name) for name in {run.gpu for run in runs}}
    by_gpu: dict[str, list[Run]] = {}
    for run in runs:
        if is_same_build(run.build, build):
            by_gpu.setdefault(names[run.gpu], []).append(run)
    if not any(gpu.name in by_gpu for gpu in catalogue):
        return catalogue
    gpus = tuple(_calibrated(gpu, by_gpu.get(gpu.name, ())) for gpu in catalogue)
    return replace(catalogue, gpus=gpus)


def _note(n: int) -> str:
    return f"calibrated by {n} of your own runs"


def _calibrated(gpu: Gpu, runs: Sequence[Run]) -> Gpu:
    spread = _speed_range(runs)
    if spread is not None and gpu.speed is not None:
        n = sum(run.counted_ratio is not None for run in runs)
        basis = f"{_note(n)}; {gpu.speed.basis}"
        gpu = replace(gpu, speed=replace(gpu.speed, spread=spread, basis=basis))
    starts = [run.start_ratio for run in runs if run.start_ratio is not None]
    if starts and gpu.speed is not None:
        seen = Range(
            min(starts) * (1 - START_SLACK), median(starts), max(starts) * (1 + START_SLACK)
        )
        own = replace(gpu.speed, start_spread=seen, start_basis=_note(len(starts)))
        gpu = replace(gpu, speed=own)
    overhead = _overhead(gpu.overhead, runs)
    return gpu if overhead is None else replace(gpu, overhead=overhead)


def _speed_range(runs: Sequence[Run]) -> Range | None:
    """Measured over predicted speed; None where nothing was measured."""
    seen = [(run.counted_ratio, run.model) for run in runs if run.counted_ratio is not None]
    if not seen:
        return None
    ratios = [ratio for ratio, _ in seen]
    slack = SLACK_OF_SEVERAL if len({model for _, model in seen}) > 1 else SLACK_OF_ONE
    return Range(min(ratios) * (1 - slack), median(ratios), max(ratios) * (1 + slack))


def _overhead(own: CudaOverhead, runs: Sequence[Run]) -> CudaOverhead | None:
    """CUDA's own memory as it was seen; None where it was not."""
    seen = [
        max(
            0,
            run.overhead_bytes
            - own.cublas_workspace_bytes
            - POOL_BYTES
            - run.compute_bytes // POOL_COMPUTE_SHARE,
        )
        for run in runs
        if run.overhead_bytes is not None and run.overhead_bytes <= MOST_OVERHEAD_BYTES
    ]
    if not seen:
        return None
    return replace(
        own,
        context_low_bytes=max(0, min(seen) - OVERHEAD_SLACK),
        context_best_bytes=round(median(seen)),
        context_high_bytes=max(seen) + OVERHEAD_SLACK,
        source=_note(len(seen)),
        is_calibrated=True,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Runs of one GPU, build and model together."""

    gpu: str
    build: str
    model: str
    n_runs: int
    last_at: str
    memory_ratio: float | None
    """Actual over planned buffers, the median."""
    load_seconds: float | None
    """The median."""
    tokens_per_s: float | None
    """The median."""
    speed_ratio: float | None
    """Measured over predicted tokens/s, the median."""


def summarize(runs: Sequence[Run]) -> tuple[Summary, ...]:
    """Runs by GPU, build and model."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.gpu, run.build, run.model), []).append(run)
    return tuple(_summary(key, group) for key, group in sorted(groups.items()))


def _summary(key: tuple[str, str, str], runs: Sequence[Run]) -> Summary:
    memory = [
        run.actual_bytes / run.planned_bytes
        for run in runs
        if run.actual_bytes is not None and run.planned_bytes
    ]
    return Summary(
        *key,
        n_runs=len(runs),
        last_at=max(run.at for run in runs),
        memory_ratio=_median(memory),
        load_seconds=_median([run.load_seconds for run in runs]),
        tokens_per_s=_median([run.tokens_per_s for run in runs]),
        speed_ratio=_median([run.speed_ratio for run in runs]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def gpu_name(catalogue: GpuCatalogue, description: str) -> str:
    """The catalogue's name of a GPU as its driver calls it, else that."""
    wanted = description.strip().casefold().removeprefix("nvidia ")
    for gpu in catalogue:
        names = (gpu.name, *gpu.device_name.split(" / "))
        if wanted in {name.casefold().removeprefix("nvidia ") for name in names}:
            return gpu.name
        if gpu.is_own and is_called(gpu, description):
            return gpu.name
    return description.strip()[:80]


def calibrated_names(gpus: Iterable[Gpu]) -> Mapping[str, str]:
    """Names of GPUs that own runs have tightened, and what is said of each."""
    found = {}
    for gpu in gpus:
        notes = []
        if gpu.speed is not None and gpu.speed.basis.startswith("calibrated by "):
            notes.append(f"speed {gpu.speed.basis.partition(';')[0]}")
        if gpu.speed is not None and gpu.speed.start_basis:
            notes.append(f"start {gpu.speed.start_basis}")
        if gpu.overhead.is_calibrated and gpu.overhead.source.startswith("calibrated by "):
            notes.append(f"CUDA overhead {gpu.overhead.source}")
        if notes:
            found[gpu.name] = "; ".join(notes)
    return found
