"""Puts a cause into sentences, with the numbers of the log in them."""

from __future__ import annotations

import re

from ggufctl.core.diagnosis.findings import Clearness, Diagnosis, Hit, row_of
from ggufctl.core.escape import redact
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.shortage import explain_shortage
from ggufctl.core.signatures import Tier

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
    fix = tuple(_filled(text, hit.values) for text in advice)
    if facts is not None and hit.shortage is not None and hit.id.startswith("oom-"):
        cause, fix = explain_shortage(hit.id, hit.shortage, facts, cause, fix)
    why = hit.values.get("why", "")
    if why and why not in cause and signature is not row_of(hit.id):
        cause = f"{cause} It says: {redact(why)}."
    if hit.is_survived:
        cause = f"Survived: {cause}"
    evidence = tuple(hit.evidence)
    return Diagnosis(hit.id, signature.severity, cause, fix, evidence, _confidence(hit), hit.count)


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
    text = re.sub(r"\{(\w+)\}", lambda m: redact(values.get(m[1], "")) or "\0", template)
    return _PLACE.sub("", text).replace(" .", ".") if "\0" in text else text
