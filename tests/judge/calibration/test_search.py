"""Multiple testing: against MAPIE's procedures on the same p-values, and against counting by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import FWERFixedSequenceTesting, control_fwer

from bactrian.judge.calibration.search import counts, fixed_sequence, holm, multi_start, quantile_grid

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
