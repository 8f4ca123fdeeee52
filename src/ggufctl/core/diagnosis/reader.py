"""Takes a log line by line, and says what is wrong while it is read and at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from ggufctl.core.diagnosis.complaints import FILTER_WORDS as COMPLAINT_WORDS
from ggufctl.core.diagnosis.complaints import MOST_LINES, complaint_in, goes_well
from ggufctl.core.diagnosis.findings import MAX_TEXT, Diagnosis, Hit, LogReport, quoted_in, row_of
from ggufctl.core.diagnosis.ledger import Ledger
from ggufctl.core.diagnosis.levels import is_detail, is_listed
from ggufctl.core.diagnosis.lines import FILTER_OPENERS, Traits, is_access
from ggufctl.core.diagnosis.lines import FILTER_TEXTS as MARK_TEXTS
from ggufctl.core.diagnosis.lines import FILTER_WORDS as MARK_WORDS
from ggufctl.core.diagnosis.meaning import Rows, closest, meant
from ggufctl.core.diagnosis.outcomes import FILTER_WORDS as DONE_WORDS
from ggufctl.core.diagnosis.ranking import merged, ranked
from ggufctl.core.diagnosis.repeats import MAX_SHAPES, Repeats
from ggufctl.core.diagnosis.speech import without_speech
from ggufctl.core.diagnosis.streams import MAX_STREAMS, Stream
from ggufctl.core.diagnosis.telling import told
from ggufctl.core.diagnosis.upstream import WORKS_ON_CPU
from ggufctl.core.logfacts import FILTER_TEXTS, FILTER_WORDS, FactReader
from ggufctl.core.logtext import Filter, LogLine, LogReader, shape_of
from ggufctl.core.signatures import (
    Severity,
    Signature,
    SignatureIndex,
    Tier,
    signature_index,
)
from ggufctl.core.signatures.families import QUOTING, family_of

__all__ = ["Diagnoser", "diagnose_chunks", "diagnose_lines", "log_filter"]

_STATUS = re.compile(r"(?<![3-5\d])\d+|\d{4,}|\b[3-5]\d?\b")
"""Numbers that are no status of HTTP."""

_GOES_ON = re.compile(
    r"fall(?:s|ing|en)?[- ]?back|\bfallback|\bignor|\bskipp|\bretry|\bdefaulting|\busing default|"
    r"\bdisabl(?:ed|ing)\b|will be (?:used|reduced|degraded|disabled)|"
    r"\b[a-z]{0,30}warning\b|\bwarn\b|\btaint(?:s|ing) kernel|"
    r"not (?:fatal|an error)|\binstead\b|level=(?:debug|trace)|^\W{0,3}(?:debug|trace)\b",
    re.IGNORECASE,
)
"""That a program goes on after what it could not do."""
_WHOLE = re.compile(r"(?P<why>.{8,})")
_EXCEPTION = re.compile(r"(?P<name>[\w.]+): (?P<why>.+)")
_REFUSED = re.compile(r"operator\(\): unauthorized: ")
"""llama-server, of who asks without its key."""
_ASKED = (b"/chat/completions", b"/api/chat", b"/api/generate", b"/v1/completions")
"""Where models are asked."""
_CITED = re.compile(rb"`[^`]{1,400}`")
_NO_FILE = "exactly one out metadata, path_model"
"""llama.cpp, of a model without a path."""
_STREAMS = ("ollama", "koboldcpp", "modal")
"""Programs that a container or unit is named after."""


class Diagnoser:
    """Reads a log and says what is wrong, while it is read and at its end.

    Args:
        index: the signatures to look for.
    """

    def __init__(self, index: SignatureIndex | None = None) -> None:
        self._index = index or signature_index()
        self.repeats = Repeats(self._index)
        """Which lines need not be fed: they are counted there."""
        self._facts = FactReader()
        self._ledger = Ledger(self.repeats, self._facts)
        self._places: set[str] = set()
        self._streams: set[str] = {""}
        self._traits: dict[bytes, Traits] = {}
        self._families: dict[tuple[str, str, bool], str | None] = {}
        self._complaints: list[Hit] = []
        """Of a log of a few lines, what may be wrong if nothing else is found."""
        self.is_talk = False
        """Whether models were asked, by an API of OpenAI's or Ollama's form."""
        self._may_cite = False
        """Whether some lines are in no backticks, so that those that are may be cited in it."""
        self.n_lines = 0

    def feed(self, line: LogLine) -> tuple[Diagnosis, ...]:
        """Take one line.

        Returns: causes that it shows for the first time, as far as can be said by now.
        """
        self.n_lines = line.number
        epoch = self.repeats.epoch
        traits = self._traits_of(line)
        stream = self._ledger.stream(line.stream)
        hits: list[Hit] = []
        new = self._feed(line, traits, stream, hits)
        if line.raw and epoch == self.repeats.epoch:
            self.repeats.note(line, traits, stream, hits)
        return new

    def _feed(
        self, line: LogLine, traits: Traits, stream: Stream, hits: list[Hit]
    ) -> tuple[Diagnosis, ...]:
        self._places.update(traits.places)
        if line.stream not in self._streams:
            if len(self._streams) >= MAX_STREAMS:
                self._streams.clear()
            self._streams.add(line.stream)
            self._places.update(name for name in _STREAMS if name in line.stream.lower())
        if traits.is_timing:
            self._read_facts(line.text)
            if not stream.is_up:
                self._ledger.read_marks(stream, line)
            return ()
        is_source = stream.is_source(line)
        if traits.is_context:
            stream.read(line)
            self._ledger.read_status(stream)
        if traits.is_fact:
            self._read_facts(line.text)
            # The engine goes on.
            self._complaints.clear()
        if traits.is_metadata or traits.is_noise or is_source:
            return ()
        if stream.is_asked(line) or stream.is_left(line):
            return ()
        new: tuple[Diagnosis, ...] = ()
        if not (traits.is_access and is_access(line.text)):
            is_no_failure = (
                stream.is_said(line)
                or self._is_cited(line)
                or (not line.is_error and (traits.is_no_failure or is_detail(line)))
            )
            new = self._search(line, stream, hits, is_no_failure)
            if not (hits or is_no_failure) and line.number <= MOST_LINES:
                self._note_complaint(line, stream)
            self._ledger.advise(stream, line)
            if stream.take_reason(line):
                self._ledger.explain(stream)
        if traits.is_mark:
            self._ledger.read_marks(stream, line)
        if traits.is_stop:
            self.repeats.epoch += not stream.is_stopping(line)
            stream.stop_line = line.number
        if traits.is_outcome:
            self._ledger.read_outcome(stream, line)
        return new

    def _search(
        self, line: LogLine, stream: Stream, hits: list[Hit], is_no_failure: bool
    ) -> tuple[Diagnosis, ...]:
        """Keep what a line shows, no more than remarks if it tells no failure; what was new."""
        new: list[Diagnosis] = []
        for signature, match in self._by_kind(self._shown(line, stream), line, stream):
            if is_no_failure and signature.severity is Severity.FATAL:
                continue
            hit, is_new = self._ledger.record(stream, line, signature, match)
            if hit is not None:
                hits.append(hit)
                if is_new:
                    new.append(told(hit, self._places))
        return tuple(new)

    def _is_cited(self, line: LogLine) -> bool:
        """Whether a line is a citation within a longer log, as models mark what they explain."""
        if _CITED.fullmatch(line.raw.strip()) is None:
            self._may_cite = True
            return False
        return self._may_cite and line.number > MOST_LINES

    def _note_complaint(self, line: LogLine, stream: Stream) -> None:
        """Remember a line that no row knows, and that may say what is wrong."""
        if goes_well(line.text):
            self._complaints.clear()
        match = complaint_in(line)
        if (
            match is None
            or _GOES_ON.search(line.text)
            or is_listed(line)
            or without_speech(line.text) != line.text
        ):
            return
        signature = self._kind(row_of("told-by-itself"), match, stream)
        hit = Hit(signature, line.stream, line.number)
        hit.add(line, match)
        hit.quote(line, quoted_in(match), is_hint=False)
        self._complaints.append(hit)

    def _shown(self, line: LogLine, stream: Stream) -> Rows:
        """The signatures of a line, or that of an error in its own words."""
        found = self._index.search(line.text, _shape(line))
        found = meant(found, line.text)
        if any(signature.severity is Severity.REMARK for signature, _ in found):
            # The engine says on this line that it goes on.
            found = [row for row in found if row[0].severity is Severity.REMARK]
        if line.is_error is False or (found and is_listed(line)):
            found = [row for row in found if row[0].id != "told-by-itself"]
        elif not found and (line.is_error or stream.panic_line == line.number - 1):
            # Rust says where it panicked, and why on the next line.
            match = _WHOLE.fullmatch(line.text)
            found = [(row_of("told-by-itself"), match)] if match else []
        elif not found and stream.is_exception(line):
            match = _EXCEPTION.fullmatch(line.text)
            found = [(row_of("python-exception"), match)] if match else []
        if "panicked at" in line.text:
            stream.panic_line = line.number
        return found

    def _by_kind(self, found: Rows, line: LogLine, stream: Stream) -> Rows:
        """What a line shows, its own words taken for a cause where no row is closer."""
        if len(found) > 1:
            found = closest(found)
        if not line.is_error and any(row[0].id == "told-by-itself" for row in found):
            found = [] if _GOES_ON.search(line.text) else found
        if any(signature.id not in QUOTING for signature, _ in found):
            return found
        return [(self._kind(signature, match, stream), match) for signature, match in found]

    def _kind(self, signature: Signature, match: re.Match[str], stream: Stream) -> Signature:
        """The row that says what to do about a quoted sentence, or the one that quotes it."""
        why = (match[0] if signature.id == "python-exception" else quoted_in(match))[:MAX_TEXT]
        is_request = signature.id == "request-failed" or stream.is_up
        key = signature.id, _STATUS.sub("0", why), is_request
        if key not in self._families:
            if len(self._families) >= MAX_SHAPES:
                self._families.clear()
            self._families[key] = family_of(
                why, is_loading="loading model" in match[0].lower(), is_request=is_request
            )
        id = self._families[key]
        if id is None:
            return signature
        tier = max(Tier.KIND, signature.tier)
        return replace(row_of(id), tier=tier, phase=signature.phase)

    def report(self) -> LogReport:
        """What the log shows, read so far."""
        self._read_facts("")
        ledger = self._ledger
        fatal = ranked(
            (hit for hit in self._with_downloads() if hit.signature.severity is Severity.FATAL),
            self.n_lines,
        )
        if fatal and fatal[0].signature.tier <= Tier.KIND and not ledger.is_up:
            # What could not be downloaded could not be loaded.
            fatal = [*ledger.undelivered.values(), *fatal]
        remarks = self._remarks({hit.id for hit in fatal})
        if ledger.is_up and "own plan" in self._places:
            # It serves as it was planned to.
            remarks += [hit for hit in fatal if hit.id in WORKS_ON_CPU]
            fatal = [hit for hit in fatal if hit.id not in WORKS_ON_CPU]
        facts = self._facts.facts()
        if self.is_talk or facts.tokens_per_second:
            fatal = [hit for hit in fatal if not hit.is_sentence]
        if facts.tokens_per_second:
            # Others ask as well as those it is for.
            remarks += [hit for hit in fatal if _is_stranger(hit)]
            fatal = [hit for hit in fatal if not _is_stranger(hit)]
        if not (fatal or remarks or ledger.is_up) and self.n_lines <= MOST_LINES:
            fatal = self._complaints[-1:]
        return LogReport(
            tuple(told(hit, self._places, facts) for hit in fatal),
            tuple(
                replace(told(hit, self._places, facts), severity=Severity.REMARK) for hit in remarks
            ),
            facts,
            self.n_lines,
            ledger.is_up,
        )

    def _with_downloads(self) -> list[Hit]:
        """What holds by now; why there was no file in place of that there was none."""
        hits = self._ledger.hits
        failed = self._ledger.undelivered or self._ledger.undelivered_signs
        if not failed or not any(map(_is_without_file, hits)):
            return hits
        return [*failed.values(), *(hit for hit in hits if not _is_without_file(hit))]

    def _remarks(self, shown: set[str]) -> list[Hit]:
        """What was survived or is worth knowing, beside the causes that are shown."""
        remarks = [hit for hit in self._ledger.hits if hit.signature.severity is Severity.REMARK]
        if shown and not any(id.startswith("oom-") for id in shown):
            # Its dry run met the same fault.
            remarks = [hit for hit in remarks if hit.id != "fit-failed"]
        survived = [hit for id, hit in self._ledger.survived.items() if id not in shown]
        return sorted([*merged(remarks), *survived], key=lambda hit: hit.first_line)

    def _traits_of(self, line: LogLine) -> Traits:
        shape = _shape(line)
        if shape is None:
            return Traits.of(line.text)
        traits = self._traits.get(shape)
        if traits is None:
            if len(self._traits) >= MAX_SHAPES:
                self._traits.clear()
            traits = self._traits[shape] = Traits.of(line.text)
        return traits

    def _read_facts(self, text: str) -> None:
        """Take the facts of a line, those of lines that were only counted before it."""
        for raw in self.repeats.take_unread():
            self._facts.feed(raw.decode("utf-8", "replace"))
        if text:
            self._facts.feed(text)


@cache
def log_filter() -> Filter:
    """Selects the lines of a log that a `Diagnoser` could learn something from."""
    words, texts = signature_index().filter_words
    words = words | MARK_WORDS | FILTER_WORDS | COMPLAINT_WORDS | DONE_WORDS
    return Filter(words, texts | MARK_TEXTS | FILTER_TEXTS, FILTER_OPENERS)


def diagnose_chunks(chunks: Iterable[bytes]) -> Iterator[Diagnosis | LogReport]:
    """Causes as soon as they are read, and the report of the whole log last.

    Args:
        chunks: the log, in pieces of any size.
    """
    diagnoser = Diagnoser()
    reader = LogReader(log_filter(), diagnoser.repeats)
    for line in reader.read(_noting_talk(chunks, diagnoser)):
        yield from diagnoser.feed(line)
    diagnoser.n_lines = reader.n_lines
    yield diagnoser.report()


def _noting_talk(chunks: Iterable[bytes], diagnoser: Diagnoser) -> Iterator[bytes]:
    """The same chunks; that models were asked is seen in them, as such lines are not fed."""
    for chunk in chunks:
        diagnoser.is_talk = diagnoser.is_talk or any(path in chunk for path in _ASKED)
        yield chunk


def diagnose_lines(lines: Iterable[LogLine]) -> Iterator[Diagnosis | LogReport]:
    """Causes as soon as they are read, and the report of the whole log last."""
    diagnoser = Diagnoser()
    for line in lines:
        yield from diagnoser.feed(line)
    yield diagnoser.report()


def _is_without_file(hit: Hit) -> bool:
    """Whether an engine only says that it was given no file to load."""
    return hit.id == "hub-not-found" and all(_NO_FILE in e.text for e in hit.evidence)


def _is_stranger(hit: Hit) -> bool:
    """Whether a server only says that it refused somebody without its key."""
    return hit.id == "key-wrong" and all(_REFUSED.search(e.text) for e in hit.evidence)


def _shape(line: LogLine) -> bytes | None:
    """What all lines have that differ in their digits only; None if their bytes do not say."""
    return shape_of(line.raw) if line.raw and b"\\u" not in line.raw else None
