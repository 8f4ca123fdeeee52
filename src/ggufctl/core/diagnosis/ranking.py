"""Which of the causes that a log shows is the root, and which only follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from math import inf

from ggufctl.core.diagnosis.findings import MAX_EVIDENCE, Clearness, Evidence, Hit, row_of
from ggufctl.core.diagnosis.upstream import (
    BUILDS,
    COMES_OF,
    CRASHES,
    DRIVER_ENDS,
    EMPTINESS,
    ENDS,
    ENGINE_FAILED,
    FOLLOWS_FROM_GPU,
    FROM_OWN_SERVER,
    KILLERS,
    LOADED_BESIDE,
    NEEDED_MEMORY,
    SHOWS_AS,
    SURVIVABLE,
    TELLS_KIND,
    WAITS_FOR_SERVER,
    WITHOUT_GPU,
)
from ggufctl.core.signatures import Tier

__all__ = ["merged", "ranked"]

_OWN_CHECK = re.compile(
    r"(?:GGML_ASSERT|Assertion [`'])(?!.{0,300}(?:CUDA|ROCm|HIP|SYCL) error)", re.IGNORECASE
)
"""A check of the engine that is not over what a GPU's driver answered."""
_AT_ITS_END = re.compile(
    r"by agent node|HSA_STATUS_ERROR|Abort was called|HW Exception by GPU", re.IGNORECASE
)
"""What the parts of a driver that run within a process print when it aborts."""
_AT_THE_END = 2
"""Lines that may follow the last words of a client, such as its exit code."""
_GOES_ON_FOR = {Tier.QUOTED: 40, Tier.GENERIC: 60, Tier.KIND: 100, Tier.SYMPTOM: 200}
_GOES_ON_FOR_UNCALLED = {Tier.QUOTED: 4, Tier.GENERIC: 20, Tier.KIND: 20, Tier.SYMPTOM: 100}
_GOES_ON_FOR_PASSING = 20
_GOES_ON_FOR_WARNED = 100
"""Lines after which a program has gone on, of what it calls an error and what it does not.

In 2,583 logs whose root is named by such a line, excerpts among them, at most 0, 18, 60 and 66
follow the last that is called one, and 0, 5, 3 and 34 the last that is not; of lines that are
written as a matter of course, of words alone, or say that it is tried again, it is 10,
and of warnings 5; those of a GPU that is not used hold as long as the program runs.
"""
_OF_GPU = ("gpu-", "no-gpu", "driver-", "cuda-", "vulkan-", "engine-built-without")
_ANSWERED_WITHIN = 25
"""Lines in which an answer comes to its body."""
_STATUS_ROWS = frozenset({*FROM_OWN_SERVER, "command-not-found"})
"""Causes that such a status alone is taken for."""
_NOT_THERE = re.compile(r"No such file or directory|\(errno 2\)", re.IGNORECASE)
_NO_GPU = "no usable GPU found"
_GUESS = "one possible reason is"
_KILLED_BY_KERNEL = re.compile(r"oom|out of memory|signal: killed|Killed ", re.IGNORECASE)


def ranked(hits: Iterable[Hit], n_lines: int) -> list[Hit]:
    """The causes among what all streams showed, the root first, without what follows from it.

    Args:
        hits: of fatal causes.
        n_lines: of the log; a client's last words stand at its end.
    """
    counted = _with_allocations(
        _with_builds(_without_old(_without_late(list(hits), n_lines), n_lines))
    )
    return _in_order(merged(_without_consequences(counted)))


def merged(hits: Iterable[Hit]) -> list[Hit]:
    """One hit for each cause, whatever streams it is seen in."""
    found: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: hit.first_line):
        known = found.get(hit.id)
        found[hit.id] = hit if known is None else _both(known, hit)
    return list(found.values())


def _both(first: Hit, second: Hit) -> Hit:
    evidence = [*first.evidence, *second.evidence][:MAX_EVIDENCE]
    return replace(first, count=first.count + second.count, evidence=evidence)


def _without_late(hits: list[Hit], n_lines: int) -> list[Hit]:
    """Without what an engine that was up said of itself, unless it ended.

    A client that reached nobody as the log ended counts.
    """
    ended = {hit.stream for hit in hits if hit.id in ENDS}
    return [
        hit
        for hit in hits
        if not hit.is_late
        or (
            n_lines - hit.first_line <= _AT_THE_END
            if hit.id == "connection-refused"
            else hit.stream in ended
        )
    ]


def _without_old(hits: list[Hit], n_lines: int) -> list[Hit]:
    """Without what only went wrong somehow, where the log goes on long after it."""
    return [
        hit
        for hit in hits
        if hit.id in ENDS or hit.is_recurring or n_lines - hit.last_line <= _goes_on_for(hit)
    ]


def _goes_on_for(hit: Hit) -> float:
    """Lines after which a program has gone on in spite of it."""
    if hit.is_passing:
        return _GOES_ON_FOR_PASSING
    if hit.is_warning and hit.signature.tier > Tier.REQUEST and not hit.id.startswith(_OF_GPU):
        return _GOES_ON_FOR_WARNED
    limits = _GOES_ON_FOR if hit.is_called_error else _GOES_ON_FOR_UNCALLED
    return limits.get(hit.signature.tier, inf)


def _with_builds(hits: list[Hit]) -> list[Hit]:
    """With what was killed while something was built as a matter of that build."""
    built = {hit.stream for hit in hits if hit.id in BUILDS}
    return [
        replace(hit, signature=row_of("build-out-of-memory"))
        if hit.id == "oom-killed" and hit.stream in built
        else hit
        for hit in hits
    ]


def _with_allocations(hits: list[Hit]) -> list[Hit]:
    """What ran out of memory, with the line that says how much it wanted."""
    first = {
        hit.stream: hit.evidence[0]
        for hit in hits
        if hit.id == "gpu-allocation-failed" and hit.evidence
    }
    return [
        replace(hit, evidence=sorted({first[hit.stream], *hit.evidence}, key=_line_of))
        if hit.id in NEEDED_MEMORY and hit.stream in first
        else hit
        for hit in hits
    ]


def _line_of(evidence: Evidence) -> int:
    return evidence.line


def _without_consequences(hits: list[Hit]) -> list[Hit]:
    """Without what only follows from a better known cause."""
    hits = _without_driver_ends(_without_statuses(_without_guess(hits)))
    hits = _without_parts(_without_kills(hits))
    absorbed = _absorbed_by({hit.id for hit in hits})
    hits = [hit for hit in hits if hit.id not in absorbed]
    if reasons := _reasons_of_waiting(hits):
        waiting = [hit for hit in _closest(hits) if hit.id in WAITS_FOR_SERVER]
        return [*_closest(reasons), *waiting]
    return _closest(hits)


def _reasons_of_waiting(hits: list[Hit]) -> list[Hit]:
    """What is said beside others' waiting for a server; empty where that is all that is known."""
    waiting = {e.line for hit in hits if hit.id in WAITS_FOR_SERVER for e in hit.evidence}
    reasons = [hit for hit in hits if hit.id not in WAITS_FOR_SERVER]

    def is_known(hit: Hit) -> bool:
        if hit.signature.tier >= Tier.REQUEST:
            return True
        is_apart = any(e.line not in waiting for e in hit.evidence)
        return is_apart and (hit.signature.tier >= Tier.KIND or hit.id in ENGINE_FAILED)

    return reasons if waiting and any(map(is_known, reasons)) else []


def _closest(hits: list[Hit]) -> list[Hit]:
    """Those that say most clearly what is the root, by how close to it each can be."""
    best = max((hit.signature.tier for hit in hits), default=Tier.GENERIC)
    if hits and best <= Tier.KIND:
        return _of_words(hits)
    if best is Tier.SYMPTOM and (told := _before_crash(hits)):
        return told
    if best is Tier.REQUEST and any(hit.signature.tier is Tier.SYMPTOM for hit in hits):
        return [hit for hit in hits if hit.signature.tier >= Tier.SYMPTOM]
    if best is Tier.ROOT:
        return [hit for hit in hits if hit.signature.tier >= Tier.REQUEST]
    return [hit for hit in hits if hit.signature.tier is best]


def _without_statuses(hits: list[Hit]) -> list[Hit]:
    """Without statuses that stand alone, where words beside them say what they are about."""
    bare = [hit for hit in hits if hit.id in _STATUS_ROWS and hit.is_bare_status]
    telling = [hit for hit in hits if hit.signature.tier >= Tier.REQUEST and hit not in bare]
    return [hit for hit in hits if hit not in bare or not _is_explained(hit, telling)]


def _without_guess(hits: list[Hit]) -> list[Hit]:
    """Without the engine's guess at its build, where it said before why it has no GPU."""
    is_known = any(
        hit.id in WITHOUT_GPU and any(_NO_GPU not in e.text for e in hit.evidence) for hit in hits
    )
    return [
        hit
        for hit in hits
        if not is_known
        or hit.id != "engine-built-without-gpu"
        or any(_GUESS not in e.text for e in hit.evidence)
    ]


def _is_explained(status: Hit, telling: list[Hit]) -> bool:
    """Whether the words for a status stand where its program puts them."""
    lines = [evidence.line for hit in telling for evidence in hit.evidence]
    if status.id == "command-not-found":
        return any(0 < status.first_line - line <= _ANSWERED_WITHIN for line in lines)
    return any(0 < line - status.first_line <= _ANSWERED_WITHIN for line in lines)


def _without_parts(hits: list[Hit]) -> list[Hit]:
    """Without what an engine says of an adapter, draft or projector whose file is not there."""
    missing = {
        (hit.stream, hit.values.get("path"))
        for hit in hits
        if hit.id == "file-missing" and any(_NOT_THERE.search(e.text) for e in hit.evidence)
    }
    return [
        hit
        for hit in hits
        if hit.id not in LOADED_BESIDE
        or not any(
            path and stream == hit.stream and any(path in e.text for e in hit.evidence)
            for stream, path in missing
        )
    ]


def _without_kills(hits: list[Hit]) -> list[Hit]:
    """Without a signal that a cause sends itself, and which then is no lack of memory."""
    if not any(hit.id in KILLERS for hit in hits):
        return hits
    return [
        hit
        for hit in hits
        if hit.id not in ("killed", "oom-killed")
        or any(_KILLED_BY_KERNEL.search(e.text) for e in hit.evidence)
    ]


def _without_driver_ends(hits: list[Hit]) -> list[Hit]:
    """Without what a driver says of a process that had stopped at a check of its own before."""
    stopped = {
        hit.stream: hit.first_line
        for hit in hits
        if hit.id == "failed-check" and any(_OWN_CHECK.search(e.text) for e in hit.evidence)
    }
    return [
        hit
        for hit in hits
        if not (
            hit.id in DRIVER_ENDS
            and stopped.get(hit.stream, hit.first_line) < hit.first_line
            and all(_AT_ITS_END.search(e.text) for e in hit.evidence)
        )
    ]


def _absorbed_by(ids: set[str]) -> set[str]:
    """Causes that are none of their own beside these."""
    absorbed = {id for key in ids for id in SHOWS_AS.get(key, ())}
    absorbed |= {id for id, closer in TELLS_KIND.items() if ids & closer}
    if any(id.startswith("oom-") for id in ids):
        absorbed.add("out-of-memory")
    return absorbed


def _of_words(hits: list[Hit]) -> list[Hit]:
    """What may be told where sentences are all that is known.

    That something failed says less than why; a sentence that does not call itself an error
    counts only if it was written before the end.
    """
    if any(hit.id not in ENDS and hit.clearness is not Clearness.ANNOUNCED for hit in hits):
        hits = [hit for hit in hits if hit.clearness is not Clearness.ANNOUNCED]
    causes = [hit for hit in hits if hit.clearness is Clearness.CAUSE]
    if causes:
        # The last of a chain is the first that happened.
        last = max(hit.first_line for hit in causes)
        return [hit for hit in causes if hit.first_line == last]
    ends = [hit.first_line for hit in hits if not hit.values.get("why")]
    told = [hit for hit in hits if hit.values.get("why")]
    clear = [hit for hit in told if hit.clearness >= Clearness.ERROR]
    if not clear:
        least = Clearness.HINT if ends else Clearness.FAILURE
        last = min(ends, default=max(hit.first_line for hit in hits))
        told = [hit for hit in told if hit.clearness >= least and hit.first_line <= last]
        hits = [hit for hit in hits if hit.clearness is not Clearness.HINT]
    if not (clear or told or hits):
        return []
    best = max(hit.signature.tier for hit in hits)
    return clear or told or [hit for hit in hits if hit.signature.tier is best]


def _before_crash(hits: list[Hit]) -> list[Hit]:
    """What a program called an error before it crashed, if nothing else is known."""
    symptoms = [hit for hit in hits if hit.signature.tier is Tier.SYMPTOM]
    if any(hit.id not in CRASHES for hit in symptoms):
        return []
    first = {hit.stream: hit.first_line for hit in reversed(symptoms)}
    return [
        hit
        for hit in hits
        if hit.signature.tier < Tier.SYMPTOM
        and hit.values.get("why")
        and hit.clearness >= Clearness.ERROR
        and hit.first_line < first.get(hit.stream, 0)
    ]


def _in_order(hits: list[Hit]) -> list[Hit]:
    """Roots first; of equals, what says most, then what was seen first."""
    reasons = [hit for hit in hits if hit.id not in SURVIVABLE]
    follows = all(hit.id.startswith(FOLLOWS_FROM_GPU) for hit in reasons)

    may_wait = bool(_reasons_of_waiting(hits))

    ids = {hit.id for hit in hits}

    def order(hit: Hit) -> tuple[bool, int, bool, int, int]:
        is_waiting = may_wait and hit.id in WAITS_FOR_SERVER
        is_effect = not ids.isdisjoint(COMES_OF.get(hit.id, ()))
        is_beside = hit.is_warning or (hit.id in SURVIVABLE and not follows)
        tier = Tier.KIND if hit.signature.tier < Tier.KIND else hit.signature.tier
        return (is_waiting or is_effect, -tier, is_beside, _emptiness(hit), hit.first_line)

    return sorted(hits, key=order)


def _emptiness(hit: Hit) -> int:
    return 0 if hit.values.get("why") else EMPTINESS.get(hit.id, 0)
