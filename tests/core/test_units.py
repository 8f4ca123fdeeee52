"""Figures as people read them."""

from __future__ import annotations

import pytest

from ggufctl.core.units import format_memory, format_usd, n_of
from ggufctl.render.plan import name_heading
from ggufctl.services.plan import plan_by_name


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 MiB"), (1000, "1 MiB"), (43 << 20, "43 MiB"), (600 << 20, "0.6 GiB")],
)
def test_little_memory_is_said_in_mib(n_bytes, text):
    assert format_memory(n_bytes) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0.0012, "0.0012"), (0.8, "0.80"), (31.59, "31.59"), (2943934.67, "2,943,935")],
)
def test_cents_are_said_where_they_say_something(usd, text):
    assert format_usd(usd) == text


def test_one_file_is_no_files():
    assert (n_of(1, "file"), n_of(2, "file")) == ("1 file", "2 files")


def test_a_name_without_a_size_says_which_rule_it_goes_by():
    assert "by the rule for unknown sizes" in name_heading(plan_by_name("org/some-GGUF"))
    assert "unknown" not in name_heading(plan_by_name("org/some-7B-GGUF"))
