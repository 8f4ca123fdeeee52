from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.escape import escape, is_unsafe, quoted, redact, redact_url


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = escape(text)

    assert not is_unsafe(shown)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 日本語, é", "plain text, 日本語, é"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("nul\0", "nul\\x00"),
        ("line\nbreak", "line\\x0abreak"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_what_is_dangerous_is_spelled_out(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_long_text_is_shortened() -> None:
    assert quoted("x" * 500 + "y.gguf", limit=10) == "'xxx…y.gguf'"
    assert quoted("x" * 500, 0) == f"'{'x' * 500}'"


@pytest.mark.parametrize(
    "text",
    [
        "token hf_abcdefghijklmnopqrstuvwxyz012345",
        "Authorization: Bearer abc.def",
        "GET https://cdn.example/x?Signature=s3cret&Key=s3cret",
        "https://me:s3cret@host/x",
        "key sk-aaaaaaaaaaaaaaaaaaaaaaaa",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    shown = redact(text)

    for secret in ("hf_abc", "abc.def", "s3cret", "sk-aaa"):
        assert secret not in shown


def test_a_url_is_shown_without_user_query_and_fragment() -> None:
    assert redact_url("https://me:pw@host:8/a/b.gguf?sig=1#frag") == "https://host:8/a/b.gguf"
