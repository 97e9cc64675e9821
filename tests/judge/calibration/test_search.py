"""Multiple testing: against MAPIE's procedures on the same p-values, and against counting by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import FWERFixedSequenceTesting, control_fwer
from scipy.stats import binom

from bactrian.judge.calibration.bounds import upper_bound
from bactrian.judge.calibration.search import (
    GOOD,
    SPLIT,
    counts,
    first_ranks,
    fixed_sequence,
    holm,
    multi_start,
    powerful_n,
    quantile_grid,
)

P_VALUES = st.lists(st.floats(1e-6, 0.3), min_size=4, max_size=24).map(np.array)


@given(P_VALUES, st.sampled_from([0.05, 0.1, 0.2]))
@settings(max_examples=40)
def test_as_mapie(p: np.ndarray[Any, Any], delta: float) -> None:
    stack = np.stack([p, p[::-1]])
    for procedure, theirs in (
        (fixed_sequence, FWERFixedSequenceTesting(1)),
        (holm, "bonferroni_holm"),
    ):
        ours = procedure(stack, delta).trusted
        for row, values in zip(ours, stack, strict=True):
            assert np.flatnonzero(row).tolist() == sorted(control_fwer(values, delta, theirs))
    length = len(p) // 4 * 4  # MAPIE's starts and ours are the same where the grid is a multiple of their number
    ours = multi_start(p[None, :length], delta).trusted[0]
    assert np.flatnonzero(ours).tolist() == sorted(control_fwer(p[:length], delta, FWERFixedSequenceTesting(4)))


@given(P_VALUES, st.sampled_from([0.05, 0.1]))
@settings(max_examples=40)
def test_holm_trusts_all_that_bonferroni_does(p: np.ndarray[Any, Any], delta: float) -> None:
    trusted = holm(p[None], delta).trusted[0]
    assert trusted[p <= delta / len(p)].all()
    assert not trusted[p > delta].any()


@pytest.mark.parametrize("procedure", [fixed_sequence, holm, multi_start])
def test_what_is_not_tested_costs_nothing(procedure: Any) -> None:
    p = np.array([[0.001, 0.02, 0.03, 0.4]])
    gaps = np.array([[np.nan, 0.001, np.nan, 0.02, 0.03, 0.4]])
    found = procedure(gaps, 0.1)
    assert not found.tested[0, [0, 2]].any() and not found.trusted[0, [0, 2]].any()
    if procedure is not multi_start:  # whose starts are places of the grid
        assert procedure(p, 0.1).trusted.tolist() == found.trusted[:, [1, 3, 4, 5]].tolist()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_counts_as_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidences, wrong = rng.integers(0, 6, (3, 40)) / 5, rng.random((3, 40)) < 0.3
    members, grid = rng.random((3, 40)) < 0.7, np.sort(rng.integers(1, 6, (3, 5)) / 5)[:, ::-1]
    n, errors = counts(confidences, wrong, members, grid)
    accepted = members[:, None] & (confidences[:, None] >= grid[:, :, None])
    assert n.tolist() == accepted.sum(axis=2).tolist()
    assert errors.tolist() == (accepted & wrong[:, None]).sum(axis=2).tolist()


def test_a_grid_of_quantiles_begins_and_ends_where_it_shall() -> None:
    confidences = np.random.default_rng(0).permutation(np.arange(1, 101) / 100)[None]
    everyone = np.ones((1, 100), dtype=bool)
    grid = quantile_grid(confidences, everyone, np.array([30]), points=8)
    assert grid[0].tolist() == pytest.approx([0.71, 0.61, 0.51, 0.41, 0.31, 0.21, 0.11, 0.01])
    assert np.isinf(quantile_grid(confidences, everyone, np.array([101]), points=8)).all()
    some = everyone & (confidences > 0.5)
    assert quantile_grid(confidences, some, np.array([30]), points=2)[0].tolist() == pytest.approx([0.71, 0.51])


@pytest.mark.parametrize("delta", [0.1, 0.1 / 3, 0.05])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_the_first_test_is_one_that_a_good_judge_passes_as_often_as_not(alpha: float, delta: float) -> None:
    """By the bounds themselves: it passes at this size in half of the cases, at sizes that bear fewer errors less."""
    least = 30
    n = powerful_n(alpha, delta, least)

    def borne(size: int) -> int:
        """The most errors with which a test of so many items passes; -1 where none may be made."""
        return int((upper_bound(np.arange(size), size, delta) <= alpha).sum()) - 1

    def power(size: int) -> float:
        return float(binom.cdf(borne(size), size, GOOD * alpha))

    assert power(n) >= 0.5 and borne(n - 1) < borne(n)
    assert n >= least
    sizes = [size for size in range(least, n) if borne(size) > borne(size - 1)]  # where another error is first borne
    assert all(power(size) < 0.5 for size in sizes)


def test_where_the_first_test_lies_follows_from_the_levels_alone() -> None:
    """Neither labels nor the values of confidences have a say, only how many there are."""
    rng = np.random.default_rng(0)
    everyone = np.ones((1, 400), dtype=bool)
    one, other = rng.uniform(0.5, 1, (1, 400)), rng.uniform(0.9, 1, (1, 400))
    found = [first_ranks(each, everyone, 0.1, 0.1, "fixed_sequence", 30)[0] for each in (one, other)]
    assert found == [powerful_n(0.1, 0.1, 30)] * 2
    few = first_ranks(one[:, :100], everyone[:, :100], 0.1, 0.1, "fixed_sequence", 30)
    assert few.tolist() == [50]  # half of the items
    assert first_ranks(one[:, :40], everyone[:, :40], 0.1, 0.1, "fixed_sequence", 30).tolist() == [30]
    assert first_ranks(one, everyone, 0.1, 0.1, SPLIT, 30).tolist() == [60]
    assert first_ranks(one, everyone, 0.1, 0.1, "fixed_sequence", 30, forgiven=0).tolist() == [30]
    assert first_ranks(one, everyone, 0.1, 0.1, "fixed_sequence", 30, forgiven=3).tolist() == [65]
