"""Puts a cause into sentences, with the numbers of the log in them."""

from __future__ import annotations

import re
from difflib import get_close_matches

from ggufctl.core.diagnosis.findings import Clearness, Diagnosis, Hit, row_of
from ggufctl.core.diagnosis.upstream import BUILDS, WIDE
from ggufctl.core.escape import redact
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.shortage import explain_shortage
from ggufctl.core.signatures import Tier
from ggufctl.core.signatures.programs import KNOWN_PROGRAMS

__all__ = ["told"]

_CONFIDENCE = {
    Tier.ROOT: 0.95,
    Tier.REQUEST: 0.9,
    Tier.SYMPTOM: 0.6,
    Tier.KIND: 0.5,
    Tier.GENERIC: 0.3,
    Tier.QUOTED: 0.2,
}
_QUOTED_CONFIDENCE = 0.4
"""Of a sentence that was told as an error, and whose words are all that is known."""

_ALMOST = 0.8
"""How alike names are of which one may be a slip of the other, from 0 to 1."""
_LEAST_WORDS = 8
_MOST_WORDS = 240
"""Characters of a line that are told in the sentence itself."""
_ENDS = " .,:;!"
_MESSAGE = re.compile(
    r"[\"']message\\?[\"']: ?(?:\\?\"(?P<double>[^\"\\{}]{8,})|"
    r"'(?P<single>(?:[^'\\{}]|'(?=\w)){8,}))"
)
"""What an answer in JSON says."""
_SPEAKER = re.compile(
    r"^(?:[EW] )?(?:srv|slot|cmn|main|common\w*) +\w{1,40}(?:\(\))?: +|^\w{4,60}: +"
)
"""Who says it, as the engine's lines begin."""

_PLACE = re.compile(r"(?: of)?[:,]? ?\(?\0+(?: (?:tokens|MiB|s)\b)?(?: against \0+)?\)?")


def told(hit: Hit, places: set[str], facts: LogFacts | None = None) -> Diagnosis:
    """A cause as it is told.

    Args:
        hit: what a log shows of it.
        places: where the program runs, as far as the log says.
        facts: what the whole log shows; None while it is read.
    """
    signature = hit.signature
    about, advice = _sentences(hit, places)
    cause = _filled(about, hit.values)
    fix = tuple(_filled(text, hit.values) for text in (*_spelling(hit), *advice))
    if own := hit.values.get("advice"):
        fix = (redact(own), *fix)
    if facts is not None and hit.shortage is not None and hit.id.startswith("oom-"):
        cause, fix = explain_shortage(hit.id, hit.shortage, facts, cause, fix)
    why = hit.values.get("why", "").rstrip(_ENDS)
    if why and why not in cause and (signature is not row_of(hit.id) or hit.id in BUILDS):
        cause = f"{cause} It says: {redact(why)}."
    elif about == signature.cause and hit.id in WIDE:
        cause = _quoting(cause, hit)
    if hit.is_survived:
        cause = f"Survived: {cause}"
    evidence = tuple(hit.evidence)
    return Diagnosis(hit.id, signature.severity, cause, fix, evidence, _confidence(hit), hit.count)


def _spelling(hit: Hit) -> tuple[str, ...]:
    """A hint at a program that is called almost like one that is not found."""
    if hit.id != "command-not-found":
        return ()
    called = re.split(r"[\\/]", hit.values.get("program", ""))[-1]
    near = get_close_matches(called, KNOWN_PROGRAMS, n=1, cutoff=_ALMOST)
    if not near or called in near:
        return ()
    return (f"Is {near[0]} meant? Then its name is misspelt.",)


def _quoting(cause: str, hit: Hit) -> str:
    """A cause of many kinds with the words of its line, unless it has them."""
    known = [
        value.rstrip(_ENDS)
        for name, value in hit.values.items()
        if name == "why" or len(value) > _LEAST_WORDS
    ]
    if not hit.evidence or any(value and value in cause for value in known):
        return cause
    said = _words_of(hit.evidence[0].text)
    is_telling = len(said) > _LEAST_WORDS and "Traceback" not in said
    return f"{cause} It says: {said}." if is_telling else cause


def _words_of(text: str) -> str:
    """What a line says, without what is around it."""
    found = _MESSAGE.search(text)
    said = (found["double"] or found["single"]) if found else _SPEAKER.sub("", text)
    words = " ".join(said.split())
    return (words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]} …").rstrip(_ENDS)


def _confidence(hit: Hit) -> float:
    """How sure a cause is, from 0 to 1."""
    tier = hit.signature.tier
    if tier < Tier.KIND and hit.clearness >= Clearness.ERROR:
        return _QUOTED_CONFIDENCE
    return _CONFIDENCE[tier]


def _sentences(hit: Hit, places: set[str]) -> tuple[str, tuple[str, ...]]:
    """The cause and the fixes that go with what the log says beside them."""
    signature = hit.signature
    if signature.variants:
        shown = [evidence.text for evidence in hit.evidence]
        words = "\n".join((*shown, *sorted(places)))
        for variant in signature.variants:
            if re.search(variant.pattern, words, re.IGNORECASE):
                return variant.cause or signature.cause, variant.fix
    return signature.cause, signature.fix


def _filled(template: str, values: dict[str, str]) -> str:
    """A sentence with what the log says in it, and without the places it leaves empty."""
    if "{" not in template:
        return template

    def value(found: re.Match[str]) -> str:
        return redact(values.get(found[1], "")).rstrip(_ENDS) or "\0"

    text = re.sub(r"\{(\w+)\}", value, template)
    return _PLACE.sub("", text).replace(" .", ".") if "\0" in text else text
