"""Intervals, corrections and power against simulation, scipy and textbook formulas."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.evaluate.estimates import bootstrap_ratio, clopper_pearson, cluster_error, estimate, holm
from bactrian.evaluate.power import detectable, needed, power_of, seed_spread, spread_of
from bactrian.evaluate.statistics import mcnemar, wilson


def test_clopper_pearson_inverts_the_binomial_test() -> None:
    from scipy.stats import binom

    low, high = clopper_pearson(7, 30)
    assert binom.sf(6, 30, low) == pytest.approx(0.025, abs=1e-6)
    assert binom.cdf(7, 30, high) == pytest.approx(0.025, abs=1e-6)
    assert clopper_pearson(0, 10)[0] == 0 and clopper_pearson(10, 10)[1] == 1


def test_plain_shares_get_the_binomial_error_and_wilsons_interval() -> None:
    values = [1.0] * 30 + [0.0] * 70
    found = estimate(values)
    assert found.error == pytest.approx(sqrt(0.3 * 0.7 / 99))
    assert found.interval == pytest.approx(wilson(0.3 * 99, 99), abs=1e-9)


def test_cluster_error_is_that_of_the_clusters() -> None:
    values = np.repeat([1.0, 0.0, 0.0, 1.0, 0.0], 8)
    clusters = np.repeat(list("abcde"), 8).tolist()
    assert cluster_error(values, clusters) == pytest.approx(np.std([1, 0, 0, 1, 0], ddof=1) / sqrt(5))
    assert cluster_error(values, [""] * 40) == pytest.approx(values.std(ddof=1) / sqrt(40))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(1)
    inside = {"clusters": 0, "macro": 0}
    for _ in range(400):
        centres = draw.beta(2, 2, size=40)
        values = (draw.random((40, 5)) < centres[:, None]).astype(float).ravel()
        low, high = estimate(values.tolist(), [str(i) for i in range(40) for _ in range(5)]).interval
        inside["clusters"] += low <= 0.5 <= high
        shares = np.linspace(0.1, 0.9, 9)
        groups = np.repeat(np.arange(9), [5, 40, 5, 40, 5, 40, 5, 40, 5])
        values = (draw.random(len(groups)) < shares[groups]).astype(float)
        low, high = estimate(values.tolist(), [], [str(g) for g in groups], macro=True).interval
        inside["macro"] += low <= 0.5 <= high
    assert all(365 <= count <= 395 for count in inside.values()), inside


def test_macro_weighs_groups_alike() -> None:
    found = estimate([1.0, 0.0, 0.0, 0.0], [], ["a", "b", "b", "b"], macro=True)
    assert found.score == 0.5 and found.interval[0] < 0.5 < found.interval[1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(p: list[float]) -> None:
    adjusted = holm(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    for rank, place in enumerate(order):
        expected = max(min(1.0, (len(p) - k) * p[order[k]]) for k in range(rank + 1))
        assert adjusted[place] == pytest.approx(expected)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))


def test_power_by_simulation() -> None:
    draw = np.random.default_rng(2)
    n, up, down = 400, 0.16, 0.08
    found = 0
    for _ in range(400):
        kind = draw.random(n)
        before, after = (kind >= up) & (kind < up + down), kind < up
        found += mcnemar(before.tolist(), after.tolist()).p < 0.05
    assert power_of(n, up - down, up + down) == pytest.approx(found / 400, abs=0.08)


@given(st.floats(0.01, 0.2), st.floats(0.3, 0.7))
def test_needed_and_detectable_are_inverse(difference: float, score: float) -> None:
    n = needed(difference, score)
    assert power_of(n, difference, 0.5) <= 1
    assert detectable(n, score) == pytest.approx(difference, rel=0.03)


def test_known_numbers() -> None:
    assert spread_of(1319, 0.5) == pytest.approx(0.02698, abs=1e-4)  # GSM8K: ± 2.7 points
    mean, deviation, (low, high) = seed_spread([0.4, 0.5, 0.6])
    assert (mean, deviation) == (pytest.approx(0.5), pytest.approx(0.1))
    assert low == pytest.approx(0.5 - 0.2484, abs=1e-3)
    ratio, (low, high) = bootstrap_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert ratio == low == high == 2.0
    with pytest.raises(ValueError):
        needed(0.0, 0.5)
