"""Exact bounds: the specification's figures, and what makes them bounds at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from bactrian.errors import BactrianError
from bactrian.judge.calibration.bounds import check_levels, least_n, p_value, upper_bound

LEVELS = st.floats(0.005, 0.5)


@pytest.mark.parametrize(
    ("n", "errors", "delta", "expected"),
    [
        (30, 0, 0.1, 0.073881),
        (50, 2, 0.1, 0.102959),
        (100, 10, 0.1, 0.149883),
        (200, 20, 0.1, 0.132816),
        (500, 60, 0.05, 0.146595),
        (100, 10, 0.05, 0.163718),
    ],
)
def test_published_figures(n: int, errors: int, delta: float, expected: float) -> None:
    assert float(upper_bound(errors, n, delta)) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 400), st.floats(0, 1), LEVELS)
def test_at_the_bound_so_few_errors_have_probability_delta(n: int, share: float, delta: float) -> None:
    errors = min(int(share * n), n - 1)
    bound = float(upper_bound(errors, n, delta))
    assert binom.cdf(errors, n, bound) == pytest.approx(delta, rel=1e-6)
    assert errors / n < bound < 1


@given(st.integers(1, 400), st.floats(0, 1), LEVELS, LEVELS)
def test_p_value_and_bound_say_the_same(n: int, share: float, alpha: float, delta: float) -> None:
    errors = int(share * n)
    p, bound = float(p_value(errors, n, alpha)), float(upper_bound(errors, n, delta))
    assert p == pytest.approx(float(binom.cdf(errors, n, alpha)), abs=1e-12)
    if abs(bound - alpha) > 1e-9:
        assert (p <= delta) == (bound <= alpha)


def test_nothing_is_known_of_nothing_and_of_what_is_always_wrong() -> None:
    assert float(upper_bound(0, 0, 0.1)) == float(upper_bound(7, 7, 0.1)) == 1.0
    assert float(p_value(0, 0, 0.1)) == 1.0


@pytest.mark.parametrize(
    ("alpha", "delta", "expected"), [(0.1, 0.1, 22), (0.15, 0.05, 19), (0.5, 0.5, 1), (0.5, 0.25, 2)]
)
def test_least_n(alpha: float, delta: float, expected: int) -> None:
    assert least_n(alpha, delta) == expected


@given(LEVELS, LEVELS)
def test_least_n_is_the_least(alpha: float, delta: float) -> None:
    n = least_n(alpha, delta)
    assert float(upper_bound(0, n, delta)) <= alpha * (1 + 1e-9)
    assert n == 1 or float(upper_bound(0, n - 1, delta)) > alpha * (1 - 1e-9)


@pytest.mark.parametrize(("alpha", "delta", "named"), [(0, 0.1, "alpha"), (0.1, 1, "delta"), (math.nan, 0.1, "alpha")])
def test_levels_out_of_range(alpha: float, delta: float, named: str) -> None:
    with pytest.raises(BactrianError, match=named):
        check_levels(alpha, delta)
