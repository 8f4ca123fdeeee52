"""Holds the ladder against brute force, on random plans that do not fit.

    python -m tests.ladder [PLANS] [SEED]

For every kind of change brute force tries every GPU and number of it that is allowed. A change
that it finds and the ladder does not offer is missed; one that the ladder offers on a dearer
GPU, or with a shorter context, fewer layers or more experts on the host than need be, is worse.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ggufctl.catalog import load_catalogue
from ggufctl.core.compat import check_settings
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.ladder import (
    LEAST_CONTEXT,
    SMALLER_UBATCHES,
    QuantSize,
    Step,
    StepKind,
    ladder,
)
from ggufctl.core.memory import ModelShape
from ggufctl.core.planner import Allowed, Constraints, GpuPlan, Planner, Scale, choose
from ggufctl.core.runtime import Runtime
from ggufctl.errors import RefusedSettings
from tests.truth.recorded import headers

STEP = 256
"""Contexts are multiples of this.  [tokens]"""


class Case(NamedTuple):
    """A plan that does not fit."""

    name: str
    planner: Planner
    runtime: Runtime
    constraints: Constraints
    rows: tuple[GpuPlan, ...]
    quants: tuple[QuantSize, ...]
    size_bytes: int

    @property
    def text(self) -> str:
        """The plan in a line."""
        changed = {
            name: getattr(self.runtime, name)
            for name in Runtime.__dataclass_fields__
            if getattr(self.runtime, name) != getattr(Runtime(), name)
        }
        return f"{self.name} {changed} {self.constraints.gpus or 'any GPU'}"


class Best(NamedTuple):
    """What brute force found: a figure to be compared, the smaller the better, and a price."""

    figure: float
    usd_per_hour: float


def random_case(rng: random.Random) -> Case | None:
    """A random plan, or None when it fits or is refused."""
    names = [name for name in headers() if not name.startswith(("tiny-", "mid-"))]
    name = rng.choice(names)
    header = headers()[name]
    planner = Planner(ModelShape(header), load_catalogue())
    cache = rng.choice(("f16", "f16", "bf16", "q8_0"))
    runtime = Runtime(
        n_ctx=rng.choice((4096, 8192, 32768, 131072)),
        n_parallel=rng.choice((None, None, 1, 4)),
        cache_type_k=cache,
        cache_type_v=cache,
        n_ubatch=rng.choice((512, 512, 2048)),
        n_gpu_layers=rng.choice((-1, -1, -1, 20)),
    )
    gpus = [gpu.name for gpu in planner.catalogue if gpu.cuda_bytes]
    wanted = rng.sample(gpus[:6], rng.choice((1, 1, 2)))
    counts = [rng.choice(("", "", ":1", ":2", ":4")) for _ in wanted]
    constraints = Constraints(gpus=tuple(map("".join, zip(wanted, counts, strict=True))))
    try:
        check_settings(planner.shape, runtime)
    except RefusedSettings:
        return None
    rows = planner.rows(runtime, Allowed.by(constraints, planner.catalogue))
    if choose(rows) is not None:
        return None
    size = header.file_size
    shares = sorted((rng.uniform(0.3, 0.97) for _ in range(4)), reverse=True)
    quants = tuple(QuantSize(f"S{i}", int(size * share)) for i, share in enumerate(shares))
    return Case(name, planner, runtime, constraints, rows, quants, size)


def _rows(case: Case, runtime: Runtime, scale: Scale | None = None) -> Iterator[GpuPlan]:
    allowed = Allowed.by(case.constraints, case.planner.catalogue)
    for gpu in case.planner.catalogue:
        for count in allowed.counts_of(gpu):
            row = case.planner.row(gpu, count, runtime, scale=scale, with_max_n_ctx=False)
            if row.fits:
                yield row


def _cheapest(case: Case, runtime: Runtime, scale: Scale | None = None) -> float | None:
    try:
        check_settings(case.planner.shape, runtime)
    except RefusedSettings:
        return None
    rows = list(_rows(case, runtime, scale))
    one = [row for row in rows if row.count == 1]
    return min((row.usd_per_hour for row in one or rows), default=None)


def _largest(
    low: int, high: int, usd: Callable[[int], float | None], first: int | None = None
) -> tuple[int, float] | None:
    """The largest number for which something fits, taking it that less needs less."""
    found = usd(low if first is None else first)
    if found is None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        price = usd(middle)
        if price is None:
            high = middle
        else:
            low, found = middle, price
    return low, found


def _context(case: Case) -> Best | None:
    streams = 1 if case.runtime.is_unified else case.runtime.n_seq_max
    step = STEP * streams
    least = -(-LEAST_CONTEXT // step)

    def usd(n: int) -> float | None:
        return _cheapest(case, case.runtime.with_(n_ctx=n * step))

    found = _largest(least, case.runtime.n_ctx // step, usd)
    return found and Best(-found[0] * step, found[1])


def _cache_type(case: Case) -> Best | None:
    types = (case.runtime.cache_type_k, case.runtime.cache_type_v)
    if any(TYPES[t].is_quantized for t in types):
        return None
    changed = case.runtime.with_(cache_type_k="q8_0", cache_type_v="q8_0")
    found = _cheapest(case, changed)
    return None if found is None else Best(0, found)


def _slots(case: Case) -> Best | None:
    if case.runtime.n_seq_max == 1:
        return None
    found = _cheapest(case, case.runtime.with_(n_parallel=1))
    return None if found is None else Best(0, found)


def _ubatch(case: Case) -> Best | None:
    for n in SMALLER_UBATCHES:
        if n < case.runtime.n_ubatch:
            found = _cheapest(case, case.runtime.with_(n_ubatch=n))
            if found is not None:
                return Best(-n, found)
    return None


def _pipeline(case: Case) -> Best | None:
    runtime = case.runtime
    if runtime.leaves_on_host:
        return None
    found = _cheapest(case, runtime.with_(override_tensor=("^$=CPU",)))
    return None if found is None else Best(0, found)


def _cpu_moe(case: Case) -> Best | None:
    hp = case.planner.shape.hp
    if hp.n_expert < 2:
        return None
    # With all of them there the host may be too small, so that only fewer do.
    for n in range(hp.n_layer, 0, -1):
        if _cheapest(case, case.runtime.with_(n_cpu_moe=n)) is not None:
            return Best(0, 0)
    return None


def _gpu_layers(case: Case) -> Best | None:
    n_layer = case.planner.shape.hp.n_layer_all
    asked = n_layer + 1 if case.runtime.n_gpu_layers < 0 else case.runtime.n_gpu_layers

    def usd(n: int) -> float | None:
        return _cheapest(case, case.runtime.with_(n_gpu_layers=n))

    found = _largest(1, asked, usd)
    return found and Best(-found[0], 0)


def _quant(case: Case) -> Best | None:
    for i, quant in enumerate(case.quants):
        found = _cheapest(case, case.runtime, Scale(quant.size_bytes, case.size_bytes))
        if found is not None:
            return Best(i, found)
    return None


BRUTE: dict[str, Callable[[Case], Best | None]] = {
    "context": _context,
    "cache_type": _cache_type,
    "slots": _slots,
    "ubatch": _ubatch,
    "pipeline": _pipeline,
    "n_cpu_moe": _cpu_moe,
    "gpu_layers": _gpu_layers,
    "quant": _quant,
}


def offered(case: Case, step: Step) -> Best:
    """What the ladder offers, in the terms of brute force."""
    figure = {
        "context": lambda: -int(step.changes[1]),
        "ubatch": lambda: -int(step.changes[1]),
        "gpu_layers": lambda: -int(step.changes[1]),
        "quant": lambda: [quant.quant for quant in case.quants].index(str(step.quant)),
    }.get(step.kind.value, lambda: 0)()
    price = 0.0 if step.kind.value in ("n_cpu_moe", "gpu_layers") else step.usd_per_hour
    return Best(figure, price)


def main(n: int, seed: int) -> int:
    """Try n plans; 1 when something was missed."""
    rng = random.Random(seed)
    possible: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    worse: Counter[str] = Counter()
    done, spent = 0, 0.0
    plans_missing = 0
    while done < n:
        case = random_case(rng)
        if case is None:
            continue
        done += 1
        allowed = Allowed.by(case.constraints, case.planner.catalogue)
        everything = Allowed.by(Constraints(), case.planner.catalogue)
        started = time.process_time()
        steps = ladder(
            case.planner,
            case.runtime,
            allowed,
            everything,
            case.quants,
            case.size_bytes,
        )
        spent += time.process_time() - started
        by_kind = {step.kind.value: step for step in steps}
        before = missed.total()
        for kind, brute in BRUTE.items():
            if kind == "gpu_layers" and "n_cpu_moe" in by_kind:
                continue  # Not offered where experts alone do.
            best = brute(case)
            if best is None:
                if kind in by_kind:
                    print(f"brute force has no {kind}: {case.text}: {by_kind[kind].text}")
                continue
            possible[kind] += 1
            if kind not in by_kind:
                missed[kind] += 1
                print(f"missed {kind} {best}: {case.text}")
            elif (ours := offered(case, by_kind[kind])) > best:
                worse[kind] += 1
                print(f"worse {kind} {ours} {best}: {case.text}")
        plans_missing += missed.total() > before
    for kind in BRUTE:
        print(
            f"{kind:12s} {possible[kind]:5d} possible, {missed[kind]} missed, {worse[kind]} worse"
        )
    kinds = {kind.value for kind in StepKind} - BRUTE.keys()
    print(
        f"{done} plans that do not fit: {possible.total()} changes possible, {missed.total()} "
        f"missed in {plans_missing} plans, {worse.total()} worse; {1000 * spent / done:.0f} ms of "
        f"CPU per ladder (not compared: {', '.join(sorted(kinds))})"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    raise SystemExit(main(*(arguments + [200, 1][len(arguments) :])))
