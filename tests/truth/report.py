"""Prints how right the estimates are, per architecture and as a whole.

    python -m tests.truth.report [every]

One line per architecture: runs in which every buffer on every device and on the host is
right to the byte, and the worst error of a device's total where one is not.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict

from tests.truth.compare import device_errors, differences, estimated
from tests.truth.recorded import runs, shape


def main(every: int) -> None:
    """Compare every n-th recorded run."""
    exact: dict[str, list[bool]] = defaultdict(list)
    errors: list[float] = []
    worst: dict[str, float] = defaultdict(float)
    started = time.process_time()
    for run in runs(every):
        estimate = estimated(run)
        arch = shape(run.model).hp.arch
        exact[arch].append(not list(differences(run, estimate)))
        for error in device_errors(run, estimate):
            errors.append(abs(error))
            worst[arch] = max(worst[arch], abs(error))
    spent = time.process_time() - started
    for arch, hits in sorted(exact.items()):
        off = "" if all(hits) else f"   worst device total {100 * worst[arch]:.3f} %"
        print(f"{arch:20s} {sum(hits):5d} of {len(hits):5d} exact{off}")
    n = sum(map(len, exact.values()))
    hits_all = sum(map(sum, exact.values()))
    errors.sort()
    print(
        f"{hits_all} of {n} runs exact on every device and the host "
        f"({100 * hits_all / n:.2f} %), {len(exact)} architectures"
    )
    print(
        f"error of a device's total: median {100 * statistics.median(errors):.4f} %, "
        f"worst {100 * errors[-1]:.4f} %; {1000 * spent / n:.1f} ms of CPU per run"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
