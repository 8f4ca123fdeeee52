from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from ggufctl.core.curve import ContextCurve

STEP = 256


def largest(measure, last: int, limit: int) -> int:
    """By trying them all."""
    return max((n for n in range(STEP, last + 1, STEP) if measure(n) <= limit), default=0)


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**5)), min_size=1, max_size=5),
    st.integers(2, 200),
    st.integers(0, 2 * 10**9),
)
@example(lines=[(0, 94856), (194265089, 0)], n_steps=11, limit=218548224)
@example(lines=[(0, 1868), (478210, 0)], n_steps=5, limit=956416)
def test_the_largest_context_of_a_convex_memory_is_exact(lines, n_steps, limit):
    def measure(n_ctx: int) -> int:
        return max(base + slope * n_ctx for base, slope in lines)

    last = n_steps * STEP
    curve = ContextCurve(lambda n: (measure(n),), STEP, [last], [STEP])

    assert curve.largest((limit,), exact=True) == largest(measure, last, limit)


@given(st.integers(0, 10**6), st.integers(1, 1000), st.integers(0, 10**8))
def test_a_straight_line_is_exact_with_three_measurements(base, slope, limit):
    seen = []

    def measure(n_ctx: int) -> tuple[int, ...]:
        seen.append(n_ctx)
        return (base + slope * n_ctx,)

    last = 512 * STEP
    curve = ContextCurve(measure, STEP, [STEP, 256 * STEP, last])

    assert curve.largest((limit,)) == largest(lambda n: base + slope * n, last, limit)
    assert len(seen) == 3


def test_without_a_budget_the_answer_is_never_too_large():
    def measure(n_ctx: int) -> tuple[int, ...]:
        return (n_ctx * n_ctx,)

    last = 100 * STEP
    curve = ContextCurve(measure, STEP, [STEP, last], budget=0)

    found = curve.largest((50 * STEP * 50 * STEP,))

    assert 0 < found <= 50 * STEP


def test_lower_contexts_are_measured_only_when_nothing_else_fits():
    seen = []

    def measure(n_ctx: int) -> tuple[int, ...]:
        seen.append(n_ctx)
        return (n_ctx,)

    curve = ContextCurve(measure, STEP, [10 * STEP, 20 * STEP], [STEP, 2 * STEP])

    assert curve.largest((20 * STEP,)) == 20 * STEP
    assert STEP not in seen
    assert curve.largest((5 * STEP,), exact=True) == 5 * STEP
    assert STEP in seen


def test_higher_contexts_are_measured_only_when_all_others_fit():
    seen = []

    def measure(n_ctx: int) -> tuple[int, ...]:
        seen.append(n_ctx)
        return (n_ctx,)

    curve = ContextCurve(measure, STEP, [10 * STEP], [STEP], [20 * STEP, 30 * STEP])

    assert curve.largest((5 * STEP,), exact=True) == 5 * STEP
    assert max(seen) == 10 * STEP
    assert curve.largest((25 * STEP,), exact=True) == 25 * STEP
    assert curve.largest((40 * STEP,)) == 30 * STEP


def test_every_limit_must_be_kept():
    curve = ContextCurve(lambda n: (n, 2 * n), STEP, [STEP, 50 * STEP, 100 * STEP])

    assert curve.largest((10**9, 40 * STEP)) == 20 * STEP
    assert curve.largest((10 * STEP, 10**9)) == 10 * STEP
