"""What the rows that a line matches mean there: who answers, and whether it is only advice."""

from __future__ import annotations

import re
from typing import TypeAlias

from ggufctl.core.diagnosis.findings import row_of
from ggufctl.core.diagnosis.speech import without_speech
from ggufctl.core.diagnosis.upstream import ANY_PROGRAM, FROM_OWN_SERVER
from ggufctl.core.signatures import Signature

__all__ = ["Rows", "closest", "meant"]

Rows: TypeAlias = list[tuple[Signature, re.Match[str]]]
"""What a line shows, and where."""

_ADVICE = re.compile(
    r"\bif (?:you|it|there|the|your|not|memory|that|this|an?|out)\b|\bin case (?:of|you|the)\b|"
    r"\bwhen you\b|\b(?:to|helps?) (?:avoid|prevent|reduce)\b|\b(?:may|might|can|could) (?:avoid|"
    r"prevent|reduce|help|cause|lead|result|run)\b|\brisk of\b|\b(?:common|possible) "
    r"(?:causes|reasons)\b",
    re.IGNORECASE,
)
"""What begins an advice, or a warning of what may happen."""
_MAY_HAPPEN = re.compile(r"\b(?:may|might|can|could) (?:cause|lead to|result in)\b", re.IGNORECASE)
"""What begins a warning of what may happen, whatever it is."""
_EFFECTS = ("cause", "lead", "result")
_WARNED_OF = ("oom-", "out-of-memory", "gpu-allocation", "disk-full", "threads-limit")
"""Causes that programs warn of where nothing of them has happened."""
_OWN_SERVER = re.compile(
    r"\bhttps?://(?:localhost|127\.\d|0\.0\.0\.0|\[::1?\]|192\.168\.|10\.\d|"
    r"172\.(?:1[6-9]|2\d|3[01])\.|[\w.-]+\.(?:internal|local|svc)\b|[a-z][\w-]*:\d{2,5}\b|"
    r"\S{1,200}/(?:v1/(?:chat/|completions?\b|embeddings?\b|models\b|messages\b|responses\b|rerank)|"
    r"api/(?:chat|generate|embed\w*|tags|show)\b))",
    re.IGNORECASE,
)
"""An address that is not one of the internet, or that of an API for models."""
_DOWNLOADED = re.compile(
    r"modelscope|/v2/|/resolve/|manifest|mirror|\.gguf\b|pypi|/simple/", re.IGNORECASE
)
"""What is fetched from copies of registries and of the Hub, wherever they stand."""


def meant(found: Rows, text: str) -> Rows:
    """The rows of a line that it really is about.

    Args:
        found: all that it matches.
        text: it.
    """
    return _without_advice(_as_client(_without_speech(found, text), text), text)


def _without_speech(found: Rows, text: str) -> Rows:
    """What a line shows apart from what a user or a model says in it."""
    if not found:
        return found
    silent = without_speech(text)
    return found if silent == text else [row for row in found if row[1].re.search(silent)]


def _as_client(found: Rows, text: str) -> Rows:
    """What a line shows, answers of a server of one's own not taken for the Hub's."""
    if not any(signature.id in FROM_OWN_SERVER for signature, _ in found):
        return found
    if not _OWN_SERVER.search(text) or _DOWNLOADED.search(text):
        return found
    rows: dict[str, tuple[Signature, re.Match[str]]] = {}
    for signature, match in found:
        own = row_of(FROM_OWN_SERVER.get(signature.id, signature.id))
        rows.setdefault(own.id, (own if own.id != signature.id else signature, match))
    return list(rows.values())


def _without_advice(found: Rows, text: str) -> Rows:
    """Without rows whose words only stand in what a line advises for the case of them."""
    if any(verb in text for verb in _EFFECTS) and (warned := _MAY_HAPPEN.search(text)):
        found = [row for row in found if row[1].start() < warned.start()]
    if not any(signature.id.startswith(_WARNED_OF) for signature, _ in found):
        return found
    advice = _ADVICE.search(text)
    return [
        (signature, match)
        for signature, match in found
        if advice is None
        or match.start() < advice.start()
        or not signature.id.startswith(_WARNED_OF)
    ]


def closest(found: Rows) -> Rows:
    """Without rows that quote whatever a program says, if another knows it."""
    closer = [row for row in found if row[0].id not in ANY_PROGRAM]
    quoted = [row for row in found if row[0].id in ANY_PROGRAM]
    if {signature.id for signature, _ in closer} == {"aborted"}:
        closer += [row for row in quoted if row[0].id == "cxx-exception"]
    return closer or quoted[:1]
