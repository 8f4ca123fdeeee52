"""That a program goes on after what it could not do, or has done what it was asked to."""

from __future__ import annotations

import re
from enum import Enum

from ggufctl.core.diagnosis.speech import is_prose, is_speech
from ggufctl.core.signatures import Phase, Signature

__all__ = [
    "FILTER_WORDS",
    "Outcome",
    "is_called_error",
    "is_done_with",
    "is_no_failure",
    "is_tried_again",
    "may_be_outcome",
    "outcome_of",
]

_GOES_ON = re.compile(
    r"\bfall(?:s|ing)[- ]?back(?: (?:to|on)\b|$)|(?:[,;.:] |- )skipping\b|\bskipped because\b|"
    r"\bcan (?:be )?(?:safely )?ignored?\b|\bgenerating (?:a )?new\b|\busing no\b|"
    r"\bcontinu(?:ing (?:without|with|anyway)|e without)\b|\bwill not be computed\b|"
    r"(?:fail\w*|not (?:found|available)|mismatch|invalid|missing|exceeds)\b.{0,120}[,;)—-] ?"
    r"(?:(?:will use|using)\b(?! the)|returning 0|capping|reserving|clamping)|"
    r"\bop(?:eration)?s? will not be available\b|\bwill (?:be )?create|\bhas no effect$|"
    r"\bfeature is disabled\b|\binstalling it now\b|\bforcing o(?:ff|n)\b|: disabling \w+ due to\b|"
    r"[,;—–] ?(?:keeping|setting to|registering|recording|removing|proceeding|scheduling|returning|"
    r"defaulting|assuming|treating|marking|reusing|ignoring|trying (?:fallback|again|another|"
    r"next))\b|"
    r"\(expected\)|\brecovered from\b|"
    r"\btrying (?:another|the next) (?:address|mirror|server|host)\b",
    re.IGNORECASE,
)
"""That a program goes on, whatever it could not do."""
_TRIES_AGAIN = re.compile(
    r"[,;:.(—–-] ?(?:(?:will|going to|attempting to) )?(?:retry|retries|restart|reconnect)\w*\b",
    re.IGNORECASE,
)
_CALLED = re.compile(
    r"\W{0,40}(?:\S{1,120}:? ){0,2}[\w.]{0,80}(?:error|fatal|panic(?:ked)?|exception)\b",
    re.IGNORECASE,
)
"""What begins a line that calls itself an error."""


def is_called_error(text: str, *, is_error: bool | None) -> bool:
    """Whether a program calls what it writes an error, by its level or its first words.

    Args:
        text: a line.
        is_error: whether its level says so; None where it has none.
    """
    return bool(is_error) or (is_error is None and _CALLED.match(text) is not None)


def is_tried_again(text: str) -> bool:
    """Whether a line says that what failed is tried again."""
    return _TRIES_AGAIN.search(text) is not None


def is_no_failure(text: str) -> bool:
    """Whether a line says that its program goes on, or is of a conversation about errors.

    A line that calls itself an error by its level is not to be asked about.
    """
    return is_speech(text) or (
        (_GOES_ON.search(text) is not None or is_prose(text)) and _CALLED.match(text) is None
    )


class Outcome(Enum):
    """What was done."""

    RUN = "all that was asked for"
    STEP = "a step, after which only what was called an error may have failed"
    CREATED = "something is in a cluster now that was not there"
    SCHEDULED = "a pod has found its node, its volumes and its image"
    READY = "a server of another program has started"


_OUTCOMES = {
    Outcome.RUN: (
        r"^(?:✓ )?App completed\b",
        r"\bEXIT_CODE\W{1,3}0\b",
        r"\bResult = PASS\b",
        r"^Prompt executed in ",
        r"^✓ Downloaded\b",
        r"'train_runtime': ",
        r"^=* ?(?:\d+ (?:passed|skipped|deselected|xfailed|xpassed|warnings?|subtests passed)"
        r"(?:, )?)+ in [\d.]+s",
        r"^OK(?: \((?:(?:skipped|expected failures)=\d+(?:, )?)+\))?$",
        r"^100% tests passed|^\[  PASSED  \] \d+ tests?|^ok\s+\S+\s+[\d.]+s$",
        r"^All tests successful\.",
        r"^Result: PASS$",
        r"^\W{0,2}[Ff]ail:? +0$",
        r"^# FAIL: +0$",
        r"^Tests: +(?:\d+ (?:skipped|todo|passed), )*\d+ total$",
        r"^test result: ok\.",
        r"^configure: exit 0$",
        r"^\s*congratulations :\)",
        r"\b(?:finished|completed) with (?:exit )?(?:code|status)[ :=]{1,2}0\b",
        r"^Job succeeded$",
        r"\b\d+ (?:ok|passed|succeeded|successful)\b.{0,40}\b0 (?:failed|errors?|failures?)\b",
        r"\bunreachable=0 +failed=0\b",
        r"^Process finished with exit code 0",
        r"^\W{0,4}(?:BUILD SUCCESSFUL|Build succeeded)\b",
    ),
    Outcome.STEP: (
        r"^Successfully (?:built|installed|tagged|downloaded|converted|uninstalled|created) ",
        r"^Successfully built$",
        r"^Saved \./",
        r"^Status: (?:Downloaded newer image|Image is up to date)",
        r"^The file is already fully retrieved",
        r"^(?i:using device|running on|device)\W{1,3}cpu$",
        r"^-- Build files have been written to",
        r"^\[100%\] Built target",
        r"^\s*Finished `?[\w-]+`? (?:\[|profile)",
        r"^(?:added|changed|removed|up to date,? audited) \d+ packages?\b",
        r"^(?:Installed|Prepared|Resolved|Audited) \d+ packages? in ",
        r"^Model successfully (?:exported|saved) ",
        r"^Setting up [a-z][\w.+-]* \(",
    ),
    Outcome.CREATED: (r"^[\w.]+/\S+ (?:created|configured)$",),
    Outcome.SCHEDULED: (
        r"\bStarted +(?:<?\w+>? +)?.{0,80}Started container \S",
        r"\bStarted +\S+ +(?:\(x\d+ over \S+\) +)?kubelet\b",
    ),
    Outcome.READY: (
        r"\bApplication startup complete\b",
        r"^\w+@\S+ ready\.$",
        r"\bdatabase system is ready to accept connections\b",
        r"\bserver is fired up and ready\b",
        r"text_generation_router\S*: .{0,80}\bConnected$",
    ),
}
"""How programs say it."""
_PATTERNS = {outcome: re.compile("|".join(forms)) for outcome, forms in _OUTCOMES.items()}

FILTER_WORDS = frozenset(
    (
        "congratulations fail ok startup fired connected passed finished completed succeeded "
        "successful successfully written built downloaded added changed removed audited installed "
        "prepared resolved setting configure exit kubelet executed pass container saved tests "
        "runtime retrieved unreachable created configured ready device"
    ).split()
)
"""Runs of letters of which every such line has one."""

_WORDS = re.compile("[a-z]+")
_OF_SCHEDULING = frozenset(
    {
        "gpu-not-schedulable",
        "image-not-found",
        "image-pull",
        "mount-failed",
        "not-schedulable",
        "pod-network",
        "secret-missing",
    }
)


def may_be_outcome(low: str) -> bool:
    """Whether a line in lower case has a word of those that say what has been done."""
    return not FILTER_WORDS.isdisjoint(_WORDS.findall(low))


def outcome_of(text: str) -> Outcome | None:
    """What a line says has been done; None if it does not."""
    return next((outcome for outcome, form in _PATTERNS.items() if form.search(text)), None)


def is_done_with(outcome: Outcome, signature: Signature, *, is_called_error: bool) -> bool:
    """Whether what was shown before is survived by what has been done.

    Args:
        outcome: what has been done.
        signature: the cause that was shown.
        is_called_error: whether a line that shows it calls it an error.
    """
    match outcome:
        case Outcome.CREATED:
            return signature.id == "manifest-refused"
        case Outcome.SCHEDULED:
            return signature.id in _OF_SCHEDULING
        case Outcome.READY:
            return signature.phase < Phase.SERVE
        case Outcome.STEP:
            return not is_called_error or signature.id == "package-conflict"
    return True
