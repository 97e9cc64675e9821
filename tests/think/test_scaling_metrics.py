"""Control, Scaling and Performance against a plain computation, and the bootstrap's intervals."""

from itertools import combinations

import numpy as np
import pytest

from bactrian.think.scaling_metrics import MethodRun, accuracy_at, at_equal_tokens, curve


def constant(tokens: float, accuracy: float, n: int = 100, **bounds: float) -> MethodRun:
    right = np.arange(n) < round(accuracy * n)
    return MethodRun(np.full(n, tokens), right.astype(float), **bounds)


def test_the_paper_s_example() -> None:
    """(1k, 40), (2k, 50), (4k, 56): slopes 10, 5.333, 3, worked out by hand."""
    found = curve([constant(1000, 0.40), constant(2000, 0.50), constant(4000, 0.56)])
    assert found.scaling.value == pytest.approx((10 + 16 / 3 + 3) / 3)
    assert found.performance.value == pytest.approx(0.56)
    assert found.per_doubling.value == pytest.approx((10 + 8 + 6) / 3)


def test_control_counts_answers_and_runs() -> None:
    runs = [constant(900, 0.4, within=0.5, most=1000.0), constant(2100, 0.5, within=0.25, most=2000.0)]
    assert (curve(runs).control, curve(runs).control_of_means) == (0.375, 0.5)


def test_slopes_equal_a_plain_loop_and_the_interval_holds_them() -> None:
    random = np.random.default_rng(3)
    ease = random.random(300)
    runs = [
        MethodRun(random.normal(size, size / 5, 300).clip(1), (ease < 0.1 * place).astype(float))
        for place, size in enumerate([8, 16, 32, 64, 128], 1)
    ]
    points = [(run.tokens.mean(), run.right.mean()) for run in runs]
    expected = np.mean([(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2)]) * 1e5
    found = curve(runs, seed=1)
    assert found.scaling.value == pytest.approx(expected)
    assert found.scaling.interval is not None
    low, high = found.scaling.interval
    assert 0 < low < expected < high


def test_runs_of_the_same_length_have_no_slope() -> None:
    assert curve([constant(100, 0.2), constant(100, 0.9)]).scaling.value is None
    assert curve([constant(100, 0.2)]).scaling.value is None
    three = curve([constant(100, 0.2), constant(100.5, 0.9), constant(200, 0.4)])
    assert three.scaling.value == pytest.approx(1e5 * (0.2 / 100 - 0.5 / 99.5) / 2)


def test_interpolation_is_over_the_logarithm_and_never_beyond_the_curve() -> None:
    tokens, right = np.array([[10.0, 40.0]]), np.array([[0.2, 0.6]])
    assert accuracy_at(tokens, right, np.array([20.0]))[0] == pytest.approx(0.4)
    assert np.isnan(accuracy_at(tokens, right, np.array([41.0]))[0])
    sequential = [constant(10, 0.2), constant(40, 0.6)]
    found = at_equal_tokens(sequential, constant(20, 0.3))
    assert found.value == pytest.approx(0.1) and found.interval is not None
    assert at_equal_tokens(sequential, constant(80, 0.3)).value is None


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="same questions"):
        curve([constant(1, 0.5, 10), constant(2, 0.5, 11)])
