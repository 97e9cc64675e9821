"""Statistics against independent computations, invariants, and simulated coverage."""

from math import comb, isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.evaluate.statistics import clustered_wilson, mcnemar, paired_bootstrap, pass_at_k, wilson


@given(st.integers(1, 5000), st.data())
def test_wilson_contains_the_share(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert high - low > 0
    mirrored = wilson(n - right, n)
    assert isclose(low, 1 - mirrored[1], abs_tol=1e-12) and isclose(high, 1 - mirrored[0], abs_tol=1e-12)


def test_wilson_solves_its_equation() -> None:
    """The bounds are the p at which |right/n − p| = z √(p(1−p)/n)."""
    for right, n in [(3, 10), (93, 300), (1, 1000)]:
        for p in wilson(right, n):
            assert abs(right / n - p) == pytest.approx(1.959963985 * (p * (1 - p) / n) ** 0.5, rel=1e-8)


def test_wilson_covers() -> None:
    random = np.random.default_rng(0)
    for n, p in [(50, 0.1), (300, 0.3), (300, 0.01)]:
        bounds = np.array([wilson(right, n) for right in range(n + 1)])
        drawn = bounds[random.binomial(n, p, size=20_000)]
        assert 0.92 < ((drawn[:, 0] <= p) & (p <= drawn[:, 1])).mean() <= 1


@pytest.mark.parametrize("spread", [0.3, 3.0, 1000.0])
def test_clustered_interval_covers(spread: float) -> None:
    """Questions of different difficulty (Beta): 4 samples each; pooled Wilson would be too narrow where they differ."""
    random, questions, samples, p = np.random.default_rng(1), 200, 4, 0.3
    inside = pooled = 0
    for _ in range(1500):
        means = random.binomial(samples, random.beta(p * spread, (1 - p) * spread, questions)) / samples
        low, high = clustered_wilson(means, samples)
        inside += low <= p <= high
        low, high = wilson(float(means.sum()) * samples, questions * samples)
        pooled += low <= p <= high
    assert 0.93 < inside / 1500 < 0.98
    assert spread > 10 or pooled / 1500 < 0.9


def test_clustered_interval_at_its_ends() -> None:
    assert clustered_wilson([0.0] * 50, 4) == wilson(0, 50)
    assert clustered_wilson([1.0] * 50, 4) == wilson(50, 50)
    one_sample = clustered_wilson([1.0] * 30 + [0.0] * 70, 1)
    assert one_sample == pytest.approx(wilson(30, 100), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    there, back = mcnemar(before, after), mcnemar(after, before)
    assert there.p == pytest.approx(back.p) and there.difference == -back.difference
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert 0 <= there.p <= 1 and -1 <= there.interval[0] <= there.difference <= there.interval[1] <= 1


def test_mcnemar_by_hand() -> None:
    """8 gained, 1 lost: p = 2 (C(9,0) + C(9,1)) / 2⁹ = 20/512."""
    before, after = [False] * 8 + [True] + [True] * 11, [True] * 8 + [False] + [True] * 11
    found = mcnemar(before, after)
    assert found.p == pytest.approx(20 / 512) and (found.gained, found.lost) == (8, 1)
    assert found.difference == pytest.approx(7 / 20)
    assert mcnemar([True], [True]).p == 1.0


def test_mcnemar_interval_covers_and_test_keeps_its_level() -> None:
    random, n = np.random.default_rng(2), 300
    for gain, loss in [(0.1, 0.05), (0.02, 0.02)]:
        inside = rejected = 0
        for _ in range(1500):
            drawn = random.random(n)
            found = mcnemar((drawn > gain).tolist(), ((drawn < gain) | (drawn > gain + loss)).tolist())
            inside += found.interval[0] <= gain - loss <= found.interval[1]
            rejected += found.p < 0.05
        assert inside / 1500 > 0.935
        if gain == loss:
            assert rejected / 1500 < 0.05


def test_bootstrap_covers_and_keeps_its_level() -> None:
    random, questions = np.random.default_rng(3), 150
    inside = rejected = 0
    for seed in range(400):
        difficulty = random.beta(0.5, 1, questions)
        before = random.binomial(4, difficulty) / 4
        after = random.binomial(4, difficulty) / 4
        found = paired_bootstrap(before, after, seed, resamples=1000)
        inside += found.interval[0] <= 0 <= found.interval[1]
        rejected += found.p < 0.05
    assert 0.91 < inside / 400 < 0.98 and rejected / 400 < 0.09


def test_bootstrap_is_seeded_paired_and_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    before, after = random.random(60), random.random(60)
    found = paired_bootstrap(before, after, seed=1)
    assert paired_bootstrap(before, after, seed=1) == found
    assert paired_bootstrap(before, after, seed=2).interval == pytest.approx(found.interval, abs=0.02)
    assert paired_bootstrap(before, before + 0.1).interval == pytest.approx((0.1, 0.1))
    normal = 1.96 * np.std(after - before) / 60**0.5
    assert found.interval == pytest.approx((found.difference - normal, found.difference + normal), abs=0.02)
    monkeypatch.setattr("bactrian.evaluate.statistics.CHUNK", 100)
    assert paired_bootstrap(before, after, seed=1).interval == pytest.approx(found.interval, abs=0.02)


def test_bootstrap_p_values() -> None:
    assert paired_bootstrap([0.0] * 40, [1.0] * 40).p == pytest.approx(2 / 10_001)
    assert paired_bootstrap([0.5] * 40, [0.5] * 40).p == 1.0
    with pytest.raises(ValueError, match="same questions"):
        paired_bootstrap([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="same questions"):
        mcnemar([], [])


@pytest.mark.parametrize(
    ("n", "right", "k", "expected"),
    [(20, 1, 10, 0.5), (20, 5, 10, 0.983746), (10, 3, 1, 0.3), (20, 2, 1, 0.1), (5, 2, 5, 1.0)],
)
def test_pass_at_k_vectors(n: int, right: int, k: int, expected: float) -> None:
    assert pass_at_k(n, right, k) == pytest.approx(expected, abs=5e-7)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_is_its_formula_and_monotone(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    found = pass_at_k(n, right, k)
    assert found == pytest.approx(1 - comb(n - right, k) / comb(n, k), abs=1e-9)
    assert k == n or pass_at_k(n, right, k + 1) >= found - 1e-12
    assert right == n or pass_at_k(n, right + 1, k) >= found - 1e-12
    assert pass_at_k(n, right, 1) == pytest.approx(right / n)


def test_pass_at_k_needs_enough_samples() -> None:
    with pytest.raises(ValueError, match="k = 5"):
        pass_at_k(4, 1, 5)
