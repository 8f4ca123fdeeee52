"""Lines without what terminals and collectors add; any bytes in any pieces; flat memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufctl.core.diagnosis import LogReport, diagnose_chunks, log_filter
from ggufctl.core.diagnosis.lines import LOADED, LOADING
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
    for text in (*FACT_WORDS, *LOADING, *LOADED):
        assert wanted.select(f"a\n{text}\nz\n".encode()) == [2], text


@pytest.mark.parametrize(
    "line",
    [
        f"<30>1 2026-03-04T03:04:05.123Z gpu llama 812 - - {TEXT}",
        f"Mar 04 03:04:05 {TEXT}",
        f"2026-03-04T03:04:05.1Z app[web.1]: {TEXT}",
        f"1772593445123\t{TEXT}",
        f"0|llama  | {TEXT}",
        f"llama-7d9f8b6c5d-x2x4z server {TEXT}",
        f"server.log:12:{TEXT}",
        f"12:{TEXT}",
        f"     3\t{TEXT}",
        f"> > {TEXT}",
        f"llama-server.exe : {TEXT}",
        json.dumps({"content": {"message": TEXT}, "id": "1"}),
        json.dumps({"_source": {"message": TEXT}}),
        json.dumps({"log": json.dumps({"msg": TEXT}) + "\n", "stream": "stderr"}),
        "[" + json.dumps({"line": TEXT}) + ",",
        f'1772593445123,"{TEXT}",a1',
    ],
)
def test_what_other_collectors_add_is_taken_off(line):
    assert clean(line)[1] == TEXT


def test_an_error_is_no_unit_of_a_journal():
    assert clean("Mar 04 03:04:05 fatal error: x.h is missing")[1] == "fatal error: x.h is missing"


def test_a_message_of_several_lines_is_read_as_such():
    event = json.dumps({"message": f"Traceback:\n  File\n{TEXT}"})

    assert [(line.number, line.text) for line in read_log([event.encode()])][-1] == (1, TEXT)


def test_a_level_is_that_of_the_program_and_not_of_the_stream_it_writes_to():
    (of_stream,) = read_log([json.dumps({"severity": "ERROR", "textPayload": "x"}).encode()])
    (own,) = read_log([json.dumps({"level": "error", "msg": "x"}).encode()])

    assert of_stream.is_error is None
    assert own.is_error is True


def test_spaces_quotes_and_signs_of_web_pages_are_plain_ones():
    text = "cannot\u00a0open \u2018x\u2019: &lt;y&gt; &quot;z&quot;"

    assert next(read_log([text.encode()])).text == "cannot open 'x': <y> \"z\""


def test_lines_that_a_console_broke_are_whole_again_and_keep_their_numbers():
    lines = [TEXT + "/abc" * n for n in (20, 35, 2)]
    broken = [line[at : at + 80] for line in lines for at in range(0, len(line), 80)]

    read = list(read_log([("\n".join(broken) + "\n").encode()]))

    assert [(line.number, line.text) for line in read if line.text] == [
        (1, lines[0]),
        (3, lines[1]),
        (6, lines[2]),
    ]


def test_lines_of_one_length_are_no_broken_ones():
    text = "".join(f"slot {n}: {'x' * 90}\n" for n in range(100, 120))

    assert len([line for line in read_log([text.encode()]) if line.text]) == 20
