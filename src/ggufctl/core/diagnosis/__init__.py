"""From lines of a log to the causes they show, the root first.

Every line is matched against the table of signatures while it is read; what was seen is kept as a
few counters and samples, so that a log may be of any length. A line is a cause only as long as
nothing later shows that it was survived.

    reader     takes the lines, one by one
    lines      what a line may matter for, by its words
    repeats    lines that say nothing new, which need not be read again
    streams    what lines before a line make of it
    meaning    what rows mean on a line, by who answers and what is only advice
    ledger     what each stream showed, and what it survived
    upstream   which cause is behind which: data
    ranking    the root first, without what follows from it
    telling    sentences, with the numbers of the log in them
"""

from ggufctl.core.diagnosis.findings import Diagnosis, Evidence, LogReport
from ggufctl.core.diagnosis.reader import (
    Diagnoser,
    diagnose_chunks,
    diagnose_lines,
    log_filter,
)

__all__ = [
    "Diagnoser",
    "Diagnosis",
    "Evidence",
    "LogReport",
    "diagnose_chunks",
    "diagnose_lines",
    "log_filter",
]
