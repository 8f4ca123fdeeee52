"""CPU time and memory of reading a long log: python -m tests.diagnose.speed [MB].

Three logs: a server at work, one whose every line shows a cause, and one with one error between
the lines of the first. Each is made while it is read.
"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Iterator

from ggufctl.core.diagnosis import LogReport, diagnose_chunks
from ggufctl.core.signatures import SIGNATURES, Severity

CHUNK_BYTES = 1 << 20
WORK = (
    "slot launch_slot_: id  {0} | task {1} | processing task, is_child = 0",
    "slot update_slots: id  {0} | task {1} | new prompt, n_ctx_slot = 8192, n_keep = 0, "
    "task.n_tokens = {1}",
    "slot update_slots: id  {0} | task {1} | prompt processing progress, n_tokens = {1}, "
    "progress = 0.75",
    "slot print_timing: id  {0} | task {1} | prompt eval time =     512.10 ms /   {1} tokens (    "
    "0.51 ms per token,  1953.10 tokens per second)",
    "slot      release: id  {0} | task {1} | stop processing: n_tokens = {1}, truncated = 0",
    "srv  log_server_r: done request: POST /v1/chat/completions 10.0.0.{0} 200",
    "srv  update_slots: all slots are idle",
)
FAILURES = tuple(
    line
    for signature in SIGNATURES
    if signature.severity is Severity.FATAL
    for line in signature.sample.splitlines()
)


def lines(kind: str) -> Iterator[str]:
    """Lines of one of the three logs, without end."""
    for n in itertools.count():
        moment = f"2026-01-02T03:{n // 60 % 60:02}:{n % 60:02}.{n % 1000:03}Z"
        if kind == "dense" or (kind == "mixed" and n % 1000 == 0):
            text = FAILURES[(n // (1 if kind == "dense" else 1000)) % len(FAILURES)]
            yield f"{moment} {text} #{n}"
        else:
            yield f"{moment} " + WORK[n % len(WORK)].format(n % 8, n)


def chunks(kind: str, n_bytes: int) -> Iterator[bytes]:
    """The log, in pieces of about 1 MiB."""
    some: list[str] = []
    size = 0
    for line in lines(kind):
        some.append(line)
        size += len(line) + 1
        if size >= CHUNK_BYTES:
            yield ("\n".join(some) + "\n").encode()
            n_bytes -= size
            some, size = [], 0
        if n_bytes <= 0:
            return


def main() -> None:
    """Print the table."""
    n_bytes = int(sys.argv[1] if len(sys.argv) > 1 else 50) * 1_000_000
    print("log\tMB\tCPU s\tpeak memory MB\tcauses")
    for kind in ("work", "mixed", "dense"):
        made = list(chunks(kind, n_bytes))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        *_, report = diagnose_chunks(made)
        spent = time.process_time() - begin
        assert isinstance(report, LogReport)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            kind,
            sum(map(len, made)) // 1_000_000,
            f"{spent:.1f}",
            f"+{grown / 1024:.0f}",
            len(report.diagnoses),
            sep="\t",
        )


if __name__ == "__main__":
    main()
