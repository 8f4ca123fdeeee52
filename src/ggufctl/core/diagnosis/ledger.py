"""What each container or process of a log has shown, and what it went on after."""

from __future__ import annotations

import re
from dataclasses import replace

from ggufctl.core.diagnosis.findings import Hit, quoted_in, row_of
from ggufctl.core.diagnosis.lines import (
    ANSWERED,
    HEADING,
    HEADINGS_OF_TALK,
    LOADED,
    LOADING,
    REACHED,
    REPROCESSING,
    RETRYING,
    SPOKEN,
    TALKING,
    WITHOUT_TENSOR_API,
)
from ggufctl.core.diagnosis.outcomes import Outcome, is_done_with, outcome_of
from ggufctl.core.diagnosis.repeats import Repeats
from ggufctl.core.diagnosis.streams import MAX_STREAMS, Stream, closer_id
from ggufctl.core.diagnosis.upstream import FROM_OWN_SERVER
from ggufctl.core.logfacts import FactReader
from ggufctl.core.logtext import LogLine
from ggufctl.core.signatures import Phase, Severity, Signature, Tier
from ggufctl.core.signatures.families import is_told_as_error

__all__ = ["Ledger"]


_CLIENT = re.compile(r"curl: \(7\) ")
"""What a client says that found nobody at its address, other than an engine that is up."""


_ADVICE = re.compile(r"(?:hint|help): (.{8,300})")
_NEAR = 3
"""Lines below an error in which its program may say what to do."""


class Ledger:
    """Keeps what a log shows; a phase that is reached takes back what was survived.

    Args:
        repeats: hears when what lines showed no longer holds.
        facts: what is known of the devices.
    """

    def __init__(self, repeats: Repeats, facts: FactReader) -> None:
        self._repeats = repeats
        self._facts = facts
        self._streams: dict[str, Stream] = {}
        self.survived: dict[str, Hit] = {}
        """Cause → what was gone on after."""
        self.undelivered: dict[str, Hit] = {}
        """The same of downloads, which may be why a file then cannot be loaded."""
        self.undelivered_signs: dict[str, Hit] = {}
        """The same of what only shows that something was wrong with a download."""

    def stream(self, name: str) -> Stream:
        """What is remembered of a container, unit or process."""
        if name not in self._streams and len(self._streams) >= MAX_STREAMS:
            name = ""
        return self._streams.setdefault(name, Stream())

    @property
    def hits(self) -> list[Hit]:
        """What holds by now, of all streams."""
        return [hit for stream in self._streams.values() for hit in stream.hits.values()]

    @property
    def is_up(self) -> bool:
        """Whether a model is loaded and served."""
        return any(stream.is_up for stream in self._streams.values())

    def record(
        self, stream: Stream, line: LogLine, signature: Signature, match: re.Match[str]
    ) -> tuple[Hit | None, bool]:
        """Keep what a line shows, and say whether it is a cause that was not known."""
        signature = self._closer(signature, stream, line)
        if stream.is_stopping(line) and signature.tier <= Tier.KIND:
            # What it cannot do any more is not why.
            return None, False
        is_late = _is_late(stream, signature)
        is_client = is_late and _CLIENT.match(line.text) is not None
        if is_late and not is_client and not _may_be_late(signature, line, match):
            return None, False
        hit = stream.hits.get(signature.id)
        if is_client and hit is not None:
            # Only that of the log's end may count.
            self._drop(stream, hit)
            hit = None
        if hit is not None and hit.signature.tier < signature.tier:
            # Told more closely than by its words.
            self._drop(stream, hit)
            hit = None
        is_new = hit is None
        if hit is None:
            self._repeats.epoch += 1
            hit = Hit(signature, line.stream, line.number, is_late=is_late)
            stream.hits[signature.id] = hit
        _take(hit, stream, line, match)
        is_told = signature.severity is Severity.FATAL and signature.tier >= Tier.REQUEST
        return hit, is_new and is_told

    def explain(self, stream: Stream) -> None:
        """Keep the reason why a build stopped, the first that was given."""
        hit = stream.hits.get("wheel-build-failed")
        reason = " ".join(stream.build_reason.split())
        if hit is not None and reason.startswith(hit.values.get("why", "")):
            hit.values["why"] = reason

    def advise(self, stream: Stream, line: LogLine) -> None:
        """Keep what a program itself advises, below its error."""
        found = _ADVICE.match(line.text)
        for hit in stream.hits.values() if found else ():
            if hit.signature.tier <= Tier.KIND and 0 < line.number - hit.first_line <= _NEAR:
                hit.values.setdefault("advice", found[1].strip() if found else "")

    def _closer(self, signature: Signature, stream: Stream, line: LogLine) -> Signature:
        """The row that the lines before a line make of it."""
        if signature.id == "oom-compute":
            stream.free_bytes = self._facts.free_bytes
        id, takes_back = closer_id(signature.id, stream, line)
        if id == signature.id:
            return signature
        self._forget(stream, *takes_back)
        return row_of(id)

    def read_status(self, stream: Stream) -> None:
        """Take what a status or header says of the lines before it.

        A signal is told from a lack of memory, and an answer of one's own server from the Hub's.
        """
        hit: Hit | None
        if stream.is_only_killed:
            hit = stream.hits["oom-killed"]
            self._drop(stream, hit)
            stream.hits["killed"] = replace(hit, signature=row_of("killed"), is_dropped=False)
        for id, own in FROM_OWN_SERVER.items():
            hit = stream.hits.get(id)
            if hit is not None and stream.is_answered(hit):
                self._drop(stream, hit)
                stream.hits.setdefault(own, replace(hit, signature=row_of(own), is_dropped=False))

    def read_marks(self, stream: Stream, line: LogLine) -> None:
        """Take what a line says of how far its program got."""
        low = line.text.lower()
        if any(word in low for word in (*LOADING, *LOADED)):
            stream.end_stop()
        if low in HEADINGS_OF_TALK:
            stream.is_speaking = stream.is_under_heading = True
        elif low.startswith(HEADING) and stream.is_under_heading:
            stream.is_speaking = False
        if any(word in low for word in TALKING):
            stream.talk_line = line.number
            stream.is_speaking = True
        elif stream.is_talk and any(word in low for word in SPOKEN):
            self._forget(stream, *_said_since(stream, stream.talk_line))
            stream.talk_line = line.number
            stream.is_speaking &= ANSWERED in low
        if any(word in low for word in LOADED):
            self._survive(stream, Phase.SERVE)
            self._repeats.epoch += not stream.is_up
            stream.is_up = True
            for other in self._streams.values():
                self._settle(other)
        elif any(word in low for word in LOADING):
            self._survive(stream, Phase.LOAD)
            self._repeats.epoch += stream.is_up
            stream.is_up = False
            stream.begin_loading()
        elif RETRYING in low:
            self._forget(stream, "oom-compute", "gpu-allocation-failed", "oom-scheduler-copies")
        elif WITHOUT_TENSOR_API in low:
            # A kernel that only showed whether there is one.
            self._forget(stream, "metal-failed")
        elif REPROCESSING in low:
            # What it kept of a conversation is read anew.
            self._forget(stream, "state-not-restored")
        elif any(word in low for word in REACHED):
            # One of its tries went well.
            self._forget(
                stream,
                "network-broken",
                "connection-refused",
                "hub-rate-limit",
                "hub-server-error",
                "upstream-refused",
            )

    def read_outcome(self, stream: Stream, line: LogLine) -> None:
        """Take back what was gone on after, as a line tells what has been done."""
        outcome = outcome_of(line.text)
        if outcome is None:
            return
        is_of_all = outcome is Outcome.RUN and not line.stream
        for one in list(self._streams.values()) if is_of_all else [stream]:
            for hit in list(one.hits.values()):
                if hit.signature.severity is Severity.FATAL and is_done_with(
                    outcome, hit.signature, is_called_error=hit.is_called_error
                ):
                    self._drop(one, hit)
                    self._note_survived(hit)

    def _note_survived(self, hit: Hit) -> None:
        """Keep a cause as a remark."""
        if hit.signature.tier >= Tier.REQUEST:
            hit.is_survived = True
            self.survived.setdefault(hit.id, hit)

    def _forget(self, stream: Stream, *ids: str) -> None:
        for id in ids:
            if id in stream.hits:
                self._drop(stream, stream.hits[id])

    def _drop(self, stream: Stream, hit: Hit) -> None:
        self._repeats.epoch += 1
        hit.is_dropped = True
        del stream.hits[hit.id]

    def _settle(self, stream: Stream) -> None:
        """Forget that others waited for what is there now."""
        for hit in list(stream.hits.values()):
            is_wait = hit.signature.tier <= Tier.SYMPTOM and hit.signature.phase < Phase.LOAD
            is_probe = hit.id == "probe-failed" and not any(
                "restarted" in evidence.text for evidence in hit.evidence
            )
            if is_wait or is_probe:
                self._drop(stream, hit)

    def _survive(self, stream: Stream, phase: Phase) -> None:
        """Everything before a phase that has been reached was no reason to fail.

        Unless a process ended after it: then another one was started that got further.
        """
        last_end = max(
            (hit.first_line for hit in stream.hits.values() if _ends(hit, phase)), default=0
        )
        for hit in list(stream.hits.values()):
            signature = hit.signature
            if signature.severity is Severity.REMARK or signature.phase >= phase:
                continue
            if signature.tier >= Tier.REQUEST and hit.first_line <= last_end:
                continue
            self._drop(stream, hit)
            if phase is Phase.LOAD and signature.phase is Phase.DOWNLOAD:
                self.undelivered_signs.setdefault(signature.id, replace(hit))
            if signature.tier >= Tier.REQUEST:
                hit.is_survived = True
                self.survived.setdefault(signature.id, hit)
                if phase is Phase.LOAD and signature.phase is Phase.DOWNLOAD:
                    self.undelivered.setdefault(signature.id, replace(hit, is_survived=False))


def _said_since(stream: Stream, line: int) -> list[str]:
    """What only a user and a model spoke of."""
    return [
        id
        for id, hit in stream.hits.items()
        if hit.first_line > line and hit.signature.severity is Severity.FATAL
    ]


def _ends(hit: Hit, phase: Phase) -> bool:
    """Whether something broke that reaching a phase does not take back, for a reason of before."""
    signature = hit.signature
    return (
        signature.severity is Severity.FATAL
        and signature.tier <= Tier.SYMPTOM
        and signature.phase >= phase
    )


def _is_late(stream: Stream, signature: Signature) -> bool:
    """Whether an engine that is up says what would have kept it from starting."""
    return (
        stream.is_up
        and signature.phase < Phase.LOAD
        and signature.tier <= Tier.SYMPTOM
        and signature.severity is Severity.FATAL
    )


def _may_be_late(signature: Signature, line: LogLine, match: re.Match[str]) -> bool:
    """Whether such a line is told as an error in its own words."""
    return (
        signature.tier <= Tier.KIND
        and quoted_in(match) != ""
        and (bool(line.is_error) or is_told_as_error(line.text))
    )


def _take(hit: Hit, stream: Stream, line: LogLine, match: re.Match[str]) -> None:
    """Keep what a line says of a cause."""
    hit.add(line, match)
    if hit.id == "fit-failed" and stream.projection[0]:
        needed, free = stream.projection
        hit.values["fit"] = f"{needed} MiB needed, {free} MiB free"
    if hit.signature.tier <= Tier.KIND:
        hit.quote(line, quoted_in(match), is_hint="hint" in match.groupdict())
    if hit.shortage is None:
        hit.shortage = stream.shortage_before(line)
