"""Lines without what terminals and collectors add; any bytes in any pieces; flat memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufctl.core.diagnosis import _BEGIN_LOADING, _LOADED, LogReport, diagnose_chunks, log_filter
from ggufctl.core.logfacts import FACT_WORDS
from ggufctl.core.logtext import MAX_LINE_BYTES, Filter, clean, read_log
from ggufctl.core.signatures import SIGNATURES

TEXT = "llama_model_load: error loading model: x"


@pytest.mark.parametrize(
    ("line", "stream"),
    [
        (TEXT, ""),
        (f"\x1b[31m{TEXT}\x1b[0m", ""),
        (f"0.00.123.456 E {TEXT}", ""),
        (f"llama-1  | 0.00.123.456 E {TEXT}", "llama-1"),
        (f"2026-01-02T03:04:05.678901234Z {TEXT}", ""),
        (f"2026-01-02T03:04:05.678901234Z stderr F {TEXT}", ""),
        (f"[pod/llama-0/server] {TEXT}", "pod/llama-0/server"),
        (f"Jan  2 03:04:05 gpu-1 ollama[123]: {TEXT}", "ollama[123]"),
        (f"2026-01-02T03:04:05+0000 gpu-1 llama-server[9]: {TEXT}", "llama-server[9]"),
        (f"2026-01-02 03:04:05,678 ERROR {TEXT}", ""),
        (json.dumps({"log": TEXT + "\n", "stream": "stderr", "time": "x"}), ""),
        (json.dumps({"textPayload": TEXT, "severity": "ERROR"}), ""),
        (json.dumps({"MESSAGE": f"\x1b[1m{TEXT}", "PRIORITY": "3"}), ""),
    ],
)
def test_only_what_the_program_wrote_is_left(line, stream):
    assert clean(line) == (stream, TEXT)


def test_lines_keep_their_numbers_and_progress_bars_are_taken_apart():
    lines = list(read_log([b"one\n10%\r20%\r100%\nthr", b"ee\nfour"]))

    assert [(line.number, line.text) for line in lines] == [
        (1, "one"),
        (2, "10%"),
        (2, "20%"),
        (2, "100%"),
        (3, "three"),
        (4, "four"),
    ]


def test_a_filter_selects_lines_by_words_and_texts_and_keeps_their_numbers():
    wanted = Filter({"oops"}, {"ab c"})
    log = b"nothing\nOops!\noopsie\nxab cx\n\nlast oops"

    assert [line.number for line in read_log([log], wanted)] == [2, 4, 6]


def test_text_in_utf_16_is_read():
    lines = list(read_log(["error: invalid argument: --x\n".encode("utf-16")]))

    assert lines[0].text.endswith("error: invalid argument: --x")


def test_a_line_without_an_end_is_not_kept_whole():
    (line,) = read_log([b"a" * 100_000 for _ in range(20)])

    assert len(line.text) <= MAX_LINE_BYTES


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_no_bytes_make_it_fail(chunks):
    *_, report = diagnose_chunks(chunks)

    assert isinstance(report, LogReport)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_lines_of_real_failures_make_nothing_fail(data):
    sample = data.draw(st.sampled_from(SIGNATURES)).sample
    cut = data.draw(st.integers(0, len(sample)))
    noise = data.draw(st.text(max_size=60))
    digits = data.draw(st.sampled_from(["", "9" * 5000, "1.2.3", "-0", "\u0663"]))
    text = sample[:cut] + noise + digits + sample[cut:]

    *_, report = diagnose_chunks([text.encode("utf-8", "replace")])

    assert all(0 <= found.confidence <= 1 for found in report.diagnoses)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SIGNATURES), st.integers(1, 50))
def test_it_does_not_matter_in_which_pieces_a_log_comes(signature, size):
    data = (signature.sample + "\n").encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    *_, whole = diagnose_chunks([data])
    *_, pieced = diagnose_chunks(pieces)

    assert pieced == whole


def test_memory_stays_flat_over_a_long_log():
    line = b"0.12.345.678 I slot update_slots: id  0 | task 7 | prompt processing, error rate 0\n"
    piece = line * 2000

    def peak(n: int) -> int:
        tracemalloc.start()
        for _ in diagnose_chunks(piece for _ in range(n)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)

    assert peak(24) < 2 * peak(6) + (1 << 20)


def test_the_filter_keeps_every_line_that_marks_or_facts_are_read_from():
    wanted = log_filter()
    for text in (*FACT_WORDS, *_BEGIN_LOADING, *_LOADED):
        assert wanted.select(f"a\n{text}\nz\n".encode()) == [2], text
