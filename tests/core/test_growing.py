"""Numbers that grow with the context, and what was decided by them."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.growing import Growing, NotGrowing, Span, at

LINES = st.tuples(st.integers(-6, 6), st.integers(-50, 50))
"""Slope, and value without a context."""

STEPS = st.integers(1, 40)
ORDERS = [operator.lt, operator.le, operator.gt, operator.ge]


def on(line, step):
    return line[0] * step + line[1]


def growing(line, span):
    return Growing.of(on(line, span.here), line[0], span)


@given(LINES, LINES, STEPS, st.sampled_from(ORDERS))
def test_a_comparison_leaves_the_contexts_that_it_comes_out_the_same_for(a, b, here, compare):
    span = Span(here)
    answer = compare(growing(a, span), growing(b, span))

    assert answer == compare(on(a, here), on(b, here))
    for step in range(1, 80):
        # Those it comes out the same for have no gap, so that nothing else is left out.
        assert (step in span) == (compare(on(a, step), on(b, step)) == answer)


@given(LINES, LINES, STEPS)
def test_equality_leaves_out_the_contexts_that_it_would_come_out_otherwise_for(a, b, here):
    span = Span(here)
    answer = growing(a, span) == growing(b, span)

    assert here in span
    assert all((on(a, step) == on(b, step)) == answer for step in range(1, 80) if step in span)


@given(LINES, LINES, STEPS, st.integers(-9, 9), STEPS)
def test_sums_and_multiples_are_those_of_any_other_context(a, b, here, factor, there):
    span = Span(here)
    x, y = growing(a, span), growing(b, span)

    for found, true in (
        (x + y, on(a, there) + on(b, there)),
        (x - y, on(a, there) - on(b, there)),
        (7 - x, 7 - on(a, there)),
        (x * factor, on(a, there) * factor),
        (-x, -on(a, there)),
    ):
        assert at(found, there - here) == true


@given(st.integers(1, 9), st.integers(-50, 50), STEPS, st.integers(1, 9), STEPS)
def test_a_quotient_is_exact_or_refused(slope, base, here, divisor, there):
    x = Growing.of(slope * here + base, slope, Span(here))
    try:
        found = x // divisor, x % divisor
    except NotGrowing:
        assert slope % divisor
    else:
        assert tuple(at(n, there - here) for n in found) == divmod(slope * there + base, divisor)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x * x,
        lambda x: x**2,
        lambda x: 100 // x,
        lambda x: x // 3,
        lambda x: x / 2,
        lambda x: x & 255,
        lambda x: int(x),
        lambda x: x * 0.5,
    ],
)
def test_what_does_not_grow_on_a_line_is_refused(ask):
    with pytest.raises(NotGrowing):
        ask(Growing.of(512, 256, Span(2)))


def test_the_smaller_of_two_holds_until_the_other_one_is():
    span = Span(4)
    cells = Growing.of(4 * 256, 256, span)

    assert min(cells, 2048) is cells
    assert 8 in span
    assert 9 not in span


def test_a_number_that_does_not_grow_is_a_plain_one():
    x = Growing.of(512, 256, Span(2))

    assert type(x - x) is type(x * 0) is int
