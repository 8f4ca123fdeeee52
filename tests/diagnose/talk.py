"""How often talk about errors is taken for one, in logs of programs that print what is said.

The 85 questions of talk.jsonl are of the kind that provokes it, nearly all about errors; the
answers are those of SmolLM2-135M-Instruct (Q4_1, temperature 0.8, up to 110 tokens). Each is
printed as scripts do, in ten ways, and read as a log of few lines and of more.

    python -m tests.diagnose.talk           # the figures
    python -m tests.diagnose.talk --blamed  # and what is taken for a failure
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from ggufctl.core.diagnosis import Diagnosis, LogReport, diagnose_chunks

TALK = Path(__file__).with_name("talk.jsonl")

FORMS: dict[str, Callable[[str, str], str]] = {
    "letters": lambda q, a: f"Q: {q}\nA: {a}",
    "chat": lambda q, a: f"user: {q}\nassistant: {a}",
    "columns": lambda q, a: ">>> " + q + "\n" + "\n".join(map(_in_columns, a.split("\n"))),
    "logging": lambda q, a: (
        f"2025-03-01 12:00:01,123 - INFO - asked: {q}\n2025-03-01 12:00:03,123 - INFO - answer: {a}"
    ),
    "table": lambda q, a: f"{q};{a!r};12.3",
    "JSON": lambda q, a: json.dumps({"question": q, "answer": a, "ms": 120}),
    "dictionary": lambda q, a: str({"question": q, "answer": a}),
    "retrieval": lambda q, a: f"  chunk 3: {a[:80]!r}\nQuery: {q}\nResponse: {a[:200]}",
    "bot": lambda q, a: f"bot message from ana: !ask {q}\nreplying to ana: {a[:120]}...",
    "fields": lambda q, a: f'prompt="{q}" tokens=12\n{a[:60]}',
}
"""How a question and its answer are printed."""
BEFORE = ("$ python ask.py\n", "".join(f"step {n} of 9\n" for n in range(1, 10)))


def _in_columns(line: str) -> str:
    return "\n".join(textwrap.wrap(line, 100))


def logs() -> Iterator[tuple[str, str]]:
    """Forms and logs."""
    rows = [json.loads(line) for line in TALK.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        for name, form in FORMS.items():
            for before in BEFORE:
                yield name, f"{before}{form(row['q'], row['a'])}\ndone in 3.2 s\n"


def blamed(log: str) -> tuple[Diagnosis, ...]:
    """What is taken for a failure."""
    *_, report = diagnose_chunks([log.encode()])
    assert isinstance(report, LogReport)
    return report.diagnoses


def main(show: bool) -> None:
    """Print how many logs of each form are blamed."""
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for form, log in logs():
        counts[form] += 1
        for found in blamed(log)[:1]:
            wrong[form] += 1
            if show:
                print(f"{form}\t{found.id}\t{found.evidence[0].text}")
    print("form\tlogs\tblamed")
    for form in FORMS:
        print(f"{form}\t{counts[form]}\t{wrong[form]}")
    print(f"all\t{counts.total()}\t{wrong.total()}")


if __name__ == "__main__":
    main("--blamed" in sys.argv[1:])
