"""How often the root comes first, over logs that were collected before the table was looked at.

The lines are what programs printed in public reports (addresses beside them), names and paths
taken out, and some excerpts that broke off completed in the program's own wording; the cause was
written down before `diagnose` was run. Group `a` was then used to mend
the table, `b` was kept aside meanwhile, `c` and `d` were collected after it had been mended.
Three later batches were each split at random: `e`, `g` and `i` were mended from, `f`, `h` and `j`
kept aside. `k` are healthy ones collected with the last. Three causes were added to what is right
where the table later told the same more closely (a proxy, a backend that ended, Ollama's magic).
A further batch was collected without a look at the table, and judged more strictly: a cause
counts where its fix would have helped as well. Split at random, `l` was mended from and `m` kept
aside; `n` are its healthy ones. `o` (with healthy ones of its own) was first run after `l` had
been mended. `p` (engines and wrappers) and `q` (what is around them) came last and were mended
from. `r` is the newest: 50 that nobody who wrote the table had seen, 37 of them named at first
sight, 28 also with fixes that would have helped; it was mended from afterwards. A right name with a
fix that would not have helped is a wrong first run; names that the table got later are among what
is right. Three of `r` are told as a remark with its fix, and count as wrong: the engine lives on.
`u` is of what is around the engines (containers, clusters, clients, builds, platforms), collected
in lots, each first run before anything was mended from it; its first run is as strict as `r`'s.
`t` is of the engines and their wrappers, in ten lots, as strict and each first run before it was
mended from: of the first 36, seen before any mending, 30 were named and 21 had the right fix; of
the other 168, 133 and 119. Two are healthy.
`s` is a first exam: 80 failures and 12 healthy logs that somebody chose who had not seen the table,
first run on it as it was before `t` and `u`: 67 named, 57 also with fixes that would have helped;
once it had been mended from `t` and `u` alone, 68 and 61 (eight of the reports are in those as
well). It was mended from last.
`v` is of the engines again, from reports that are in none of the others, in six lots, each first
run before it was mended from and as strict (names were counted apart): 20 of 27 named and 13 with
fixes that would have helped in the first, 13 and 11 of 15, 10 and 8 of 15, 11 and 9 of 15, 12 and
7 of 12, 1 and 1 of 1; together 67 and 49 of 85. Beside it every sentence with which llama.cpp
b11434 ends or complains was read as a log of one line.
`w` is a second exam: 60 failures and 12 healthy logs that somebody chose who had not seen the
table, first run on it as it was before `v` and `x`: 46 named, 37 also with fixes that would have
helped; once it had been mended from `v` and `x` alone, 47 and 38. The healthy ones were right both
times. It was mended from last.
`x` is again of what is around the engines (Ollama, Modal, containers, clusters, the Hub, builds,
clients), from reports that are in none of the others, in thirteen lots, each first run before it
was mended from and as strict (names were counted apart): 13 of 17 named and 8 with fixes that would
have helped in the first, then 9 and 2 of 17, 4 and 3 of 8, 11 and 7 of 19, 9 and 7 of 12, 15 and 7
of 23, 10 and 4 of 17, 10 and 3 of 18, 15 and 7 of 17, 6 and 4 of 10, 8 and 5 of 13, 10 and 6 of 10,
8 and 7 of 11; together 128 and 70 of 192. Beside it the fatal sentences of Ollama, Modal's client,
huggingface_hub and the container toolkit were read as logs of one line.
`y` is a third exam: 84 failures and 15 healthy logs as public reports give them, chosen by somebody
who had not seen the table: the first hits of some 230 plain queries that do not name a cause
(program, form of log, platform), each log as it is posted, without reports that are in the other
groups, which leaves out the most frequent ones. First run on the table as it was after all
of those: 54 named, 56 with a fix that would have helped, 50 both, which is what counts here as in
`w`; ten were told something wrong with much confidence, and no healthy one was blamed. It was
mended from last. Two of them end before the line that says why (y-cv04, y-cv09).
`z` is a fourth exam: 220 failures and 17 healthy runs that were made with real programs
(llama-server and its tools of b11434, older builds, llama-cpp-python, xllamacpp, the hf command,
pip, CMake, modal, curl and clients in Python) by somebody who had not seen the table, who knew the
root because it was made, and wrote it and its fix down before. A third wear the clothes of
collectors (journal, Kubernetes, Docker, JSON, other containers in between), which cost nothing.
First run on the table as it was before `y`: 178 of 220 named, 178
with a fix that would have helped, 170 both; 16 of 17 healthy right. It was mended from last, beside
`y`. Four are told as a remark with its fix, as the server lives on, and count as wrong; long logs
are cut to their head, the lines around the root, and their end.
`zq` is a fifth exam, made by somebody else again, as `z` was: 203 failures in the proportion in
which users meet them, and 15 healthy runs. First run on the table as it was after `y` and `z` were
mended: 183 of 203 named, 175 with a helpful fix, 173 both; 14 of 15 healthy right. It was mended
from last. One is told as a remark with its fix, and counts as wrong (zq-mem-mlock).
`za`, `zb` and `zc` are the sixth to eighth exam, each made and sealed by somebody who had not seen
the table, run on one state of it and judged before anything was mended from them: `za` of serving
(170 failures, 30 healthy, real programs; 159 named, 150 with a helpful fix, 28 healthy right), `zb`
of what is around it (169 and 16, real programs; 156, 142, 15), `zc` of public reports in the
proportion in which they are written (74 and 15; 70, 66, 14). Together 385 of 413 are named, 371
without those that are only quoted, 361 as strictly as their judges could read it. Of logs that were
named right the expected cause is the one that was judged right, of those mended later the one that
is told since. Public reports of `zc` may have been read by those who mended meanwhile. `first_run`
is that of a name with a helpful fix. Ten logs longer than 30,000 characters are left out of the
file, and za-z12 is in it as a failure: a GPU was asked for, and none is used.
`zd` and `ze` are the ninth and tenth exam, of healthy logs above all, made and sealed in the same
way, four parts each (public reports and real programs, engines and what is around them). `zd`: 183
of 194 healthy logs right, 47 of 52 failures named; the table was mended from it; then `ze`: 195 of
204, and 39 of 43. The table as it was before `zh` had blamed 39 of the 398. `zh` are those of 657
healthy logs, collected and run before both, in which something was blamed at first (122, some
twenty of them arguable).
`zf`, `zg`, `zi` and `zj` are four more such exams, of 663 healthy logs and 97 failures together,
each run before anything was mended from it and the next one after: 207 of 214 healthy logs right
and 33 of 35 failures named, then 153 of 161 and 24 of 26, 170 of 177 and 17 of 24, 108 of 111 and
12 of 12. The table as it was before `zf` blamed 41 of the 663. About half of what was still blamed
is talk. Words such as TODO or XXXX in the lines are the programs' own, or those of who published
them. Of all from `zd` on only logs that have up to 8,000 characters are in the file.

    python -m tests.diagnose.blind           # the figures
    python -m tests.diagnose.blind --missed  # and what is still told wrongly
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggufctl.core.diagnosis import LogReport, diagnose_chunks

CASES = Path(__file__).with_name("blind.jsonl")


@dataclass(frozen=True)
class Case:
    """One log of a public report.

    Attributes:
        expected: ids that are right as the first cause; none for a log with nothing wrong.
        source: address of the report, or of groups `z`, `zq`, `za` and `zb` what was called.
        first_run: whether the table was right before anything was mended.
        kept_aside: whether it was right once it had been mended from the other group alone; None
            for cases that were not kept aside.
    """

    name: str
    group: str
    expected: tuple[str, ...]
    source: str
    lines: tuple[str, ...]
    first_run: bool
    kept_aside: bool | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong in it."""
        return not self.expected


def cases() -> tuple[Case, ...]:
    """All of them, in the order of the file."""
    rows = (json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines())
    return tuple(
        Case(**{**row, "expected": tuple(row["expected"]), "lines": tuple(row["lines"])})
        for row in rows
    )


def causes(case: Case) -> tuple[str, ...]:
    """What `diagnose` blames, the root first."""
    *_, report = diagnose_chunks([("\n".join(case.lines) + "\n").encode()])
    assert isinstance(report, LogReport)
    return tuple(found.id for found in report.diagnoses)


def is_right(case: Case) -> bool:
    """Whether the root is named first, or nothing where nothing is wrong."""
    found = causes(case)
    return not found if case.is_healthy else found[:1] != () and found[0] in case.expected


def share(results: Iterable[bool | None]) -> str:
    """Such as '97 of 130 (75 %)'; cases without a result do not count."""
    known = [result for result in results if result is not None]
    return f"{sum(known)} of {len(known)} ({sum(known) / len(known):.0%})" if known else "-"


def main() -> None:
    """Print the figures."""
    everything = cases()
    print("group\tlogs\tfirst run\tkept aside\tnow")
    for group in (*sorted({case.group for case in everything}), "all"):
        for kind in ("failing", "healthy"):
            some = [
                case
                for case in everything
                if group in (case.group, "all") and case.is_healthy == (kind == "healthy")
            ]
            if some:
                print(
                    f"{group}\t{kind}",
                    share(case.first_run for case in some),
                    share(case.kept_aside for case in some),
                    share(map(is_right, some)),
                    sep="\t",
                )
    if "--missed" in sys.argv:
        for case in everything:
            if not is_right(case):
                print(f"{case.name}\t{', '.join(causes(case)) or '-'}\t{case.source}")


if __name__ == "__main__":
    main()
