"""Every row of the table: its sample shows exactly its cause, and nothing is blamed for a "
"remark."""

from __future__ import annotations

import re

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks, diagnose_lines, log_filter
from ggufctl.core.logtext import read_log
from ggufctl.core.signatures import SIGNATURES, Severity, required_texts

CAUSES = [signature for signature in SIGNATURES if signature.severity is Severity.FATAL]


def report_of(text: str) -> LogReport:
    *_, report = diagnose_chunks([text.encode()])
    assert isinstance(report, LogReport)
    return report


def test_there_are_at_least_eighty_causes_with_names_of_their_own():
    assert len(CAUSES) >= 80
    assert len({signature.id for signature in SIGNATURES}) == len(SIGNATURES)


@pytest.mark.parametrize("signature", CAUSES, ids=lambda s: s.id)
def test_the_sample_of_a_cause_shows_exactly_that_cause(signature):
    assert [found.id for found in report_of(signature.sample).diagnoses] == [signature.id]


@pytest.mark.parametrize(
    "signature", [s for s in SIGNATURES if s.severity is Severity.REMARK], ids=lambda s: s.id
)
def test_a_remark_is_told_and_never_blamed(signature):
    report = report_of(signature.sample)

    assert report.diagnoses == ()
    assert [found.id for found in report.remarks] == [signature.id]


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: s.id)
def test_the_filter_lets_every_sample_through(signature):
    everything = list(diagnose_lines(read_log([signature.sample.encode()])))
    filtered = list(diagnose_lines(read_log([signature.sample.encode()], log_filter())))

    assert everything[-1].diagnoses == filtered[-1].diagnoses


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: s.id)
def test_patterns_compile_need_some_text_and_name_what_the_sentences_use(signature):
    groups = {"fit", "mib", "program"}
    for pattern in signature.patterns:
        assert min(map(len, required_texts(pattern))) >= 3
        groups |= re.compile(pattern).groupindex.keys()

    told = [(signature.cause, signature.fix), *((v.cause, v.fix) for v in signature.variants)]
    used = re.findall(r"\{(\w+)\}", "".join(cause + "".join(fix) for cause, fix in told))

    assert set(used) <= groups


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: s.id)
def test_causes_and_fixes_are_sentences_without_holes(signature):
    for found in (*report_of(signature.sample).diagnoses, *report_of(signature.sample).remarks):
        for text in (found.cause, *found.fix):
            assert text[-1] in ".!?"
            assert "{" not in text and "\0" not in text
            assert ": ." not in text and "  " not in text


@pytest.mark.parametrize(
    "variant", [v for s in SIGNATURES for v in s.variants], ids=lambda v: v.pattern[:30]
)
def test_what_is_told_instead_is_whole_sentences(variant):
    re.compile(variant.pattern)
    assert variant.fix
    assert all(text[-1] in ".!?)" for text in (variant.cause or ".", *variant.fix))


@pytest.mark.parametrize("signature", CAUSES, ids=lambda s: s.id)
def test_every_cause_has_a_fix(signature):
    assert signature.fix


def test_the_needed_text_of_a_pattern_is_in_whatever_it_matches():
    assert required_texts(r"unable to allocate (?P<device>\S+) buffer") == ("unable to allocate ",)
    assert required_texts(r"(?:Remote)?EntryNotFoundError") == ("entrynotfounderror",)
    assert required_texts(r"colou?rs of cats") == ("rs of cats",)
    assert required_texts(r"a{2,40}b (?:cats|dogs) c") == ("cats", "dogs")
    assert required_texts(r"(?:cat|)s of .{0,60}") == ("s of ",)


@pytest.mark.parametrize("pattern", ["one|other", "[abc]+", "ab?c?"])
def test_a_pattern_without_such_a_text_is_refused(pattern):
    with pytest.raises(ValueError, match=r"alternatives|no text"):
        required_texts(pattern)
