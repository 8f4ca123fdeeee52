"""Holds plans of many contexts against plans of their own, over real models at random.

    python -m tests.sweep [SEED [SECONDS]]

Prints how many estimates were taken from a line, and how many of those were not exact.
"""

from __future__ import annotations

import random
import sys
import time

from ggufctl.catalog import load_catalogue
from ggufctl.core.memory import ModelShape
from ggufctl.core.planner import Cards, Planner
from ggufctl.core.runtime import Runtime
from ggufctl.core.sweep import SweepPlanner
from tests.truth.recorded import headers


def check(name: str, rng: random.Random, n_contexts: int = 16) -> tuple[int, int]:
    """(estimates taken from a line, those of them that are not exact) of one model."""
    shape = ModelShape(headers()[name])
    plain, sweep = (kind(shape, load_catalogue()) for kind in (Planner, SweepPlanner))
    kv = rng.choice(("f16", "f16", "q8_0", "q4_0"))
    runtime = Runtime(
        n_parallel=rng.choice((None, None, 1, 2, 4)),
        cache_type_k=kv,
        cache_type_v=kv if rng.random() < 0.8 else "f16",
        n_ubatch=rng.choice((512, 512, 128, 2048)),
    )
    cards = Cards(rng.choice((1, 1, 2, 4)))
    step = 256 * (1 if runtime.is_unified else runtime.n_seq_max)
    last = max(shape.hp.n_ctx_train // step, 16)
    n_taken = n_wrong = 0
    for n in rng.sample(range(1, last + 1), min(n_contexts, last)):
        asked = runtime.with_(n_ctx=n * step)
        is_taken = sweep._sweep(asked, cards).between(asked.n_ctx) is not None
        found = sweep.estimate(asked, cards)
        if is_taken:
            n_taken += 1
            n_wrong += found != plain.estimate(asked, cards)
    return n_taken, n_wrong


def main(seed: int, seconds: float) -> int:
    """Check models until the time is up."""
    rng, started = random.Random(seed), time.monotonic()
    n_taken = n_wrong = n_models = 0
    while time.monotonic() - started < seconds:
        name = rng.choice(sorted(headers()))
        taken, wrong = check(name, rng)
        n_models, n_taken, n_wrong = n_models + 1, n_taken + taken, n_wrong + wrong
        if wrong:
            print(f"{name}: {wrong} of {taken} are not exact")
    print(f"{n_models} settings, {n_taken} estimates taken from a line, {n_wrong} not exact")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in (*sys.argv[1:], 1, 60)[:2])))
