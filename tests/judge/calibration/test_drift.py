"""Drift: rarely a false alarm, an alarm where there is reason, and bounds on fresh labels."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kstest

from bactrian.errors import BactrianError
from bactrian.judge.calibration.drift import (
    DriftReport,
    FreshLabels,
    check_fresh_labels,
    conformal_p_values,
    drift,
    log_wealth,
)
from bactrian.judge.calibration.thresholds import calibrate


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Confidences with many ties, as those of a judge that is sampled."""
    rng = np.random.default_rng(0)
    streams = rng.integers(5, 11, (150, 120)) / 10
    highest = [drift(stream[:60], stream[60:], seed=at).highest for at, stream in enumerate(streams)]
    for level in (0.05, 0.2, 0.5):
        alarms = sum(wealth >= 1 / level for wealth in highest)
        assert binomtest(alarms, len(streams), level, alternative="greater").pvalue > 0.01


def test_wealth_is_a_martingale() -> None:
    """Averaged over all next p-values, wealth stays what it was: exactly, by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    before = np.array([0.1, 0.9, 0.4])
    now = np.exp(log_wealth(before)[-1])
    after = 0.0
    for lower in (0.0, 0.5):  # the second view of p has a kink at one half
        points = lower + (nodes + 1) / 4
        after += sum(w / 4 * np.exp(log_wealth(np.append(before, p))[-1]) for p, w in zip(points, weights, strict=True))
    assert after == pytest.approx(now, rel=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_p_values_are_uniform_when_nothing_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stream = rng.integers(0, 4, 400) / 4
    p = conformal_p_values(stream[:100], stream[100:], rng)
    assert kstest(p, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("kind", ["lower", "higher", "both ends", "middle", "silent"])
def test_a_change_is_noticed(kind: str) -> None:
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.5, 1, 200)
    changed = {
        "lower": rng.uniform(0.5, 0.85, 200),
        "higher": rng.uniform(0.7, 1.0, 200),
        "both ends": 0.75 + rng.choice([-1, 1], 200) * rng.uniform(0.17, 0.25, 200),
        "middle": rng.uniform(0.67, 0.83, 200),
        "silent": np.where(rng.random(200) < 0.4, 0.0, rng.uniform(0.5, 1, 200)),
    }[kind]
    same = rng.uniform(0.5, 1, 100)
    found = drift(reference, np.concatenate([same, changed]), level=0.01)
    assert found.alarm is not None and 100 < found.alarm <= 300
    assert drift(reference, same, level=0.01).alarm is None


def test_report_goes_through_json_however_rich_it_gets() -> None:
    found = drift(np.linspace(0.9, 1, 50), np.linspace(0.5, 0.6, 6000), level=0.001)
    assert found.alarm is not None and found.highest >= found.wealth
    text = json.dumps(found.to_json(), allow_nan=False)
    assert DriftReport.from_json(json.loads(text), "here") == found


def test_bad_streams() -> None:
    for reference, traffic, level in (
        ([], [0.5], 0.1),
        ([0.5], [], 0.1),
        ([0.5], [float("nan")], 0.1),
        ([0.5], [0.5], 2),
    ):
        with pytest.raises(BactrianError):
            drift(reference, traffic, level=level)


@pytest.mark.parametrize(
    ("errors", "n", "verdict"),
    [(0, 100, "holds"), (3, 100, "holds"), (9, 100, "open"), (25, 100, "broken"), (0, 0, "open")],
)
def test_fresh_labels(errors: int, n: int, verdict: str) -> None:
    groups = [str(number) for number in range(200)]
    threshold = calibrate(np.full(200, 0.9), np.zeros(200), groups, alpha=0.1, delta=0.1)
    confidences = np.append(np.full(n, 0.95), [0.3] * 5)
    wrong = np.append(np.arange(n) < errors, [True] * 5)
    found = check_fresh_labels(threshold, confidences, wrong, [str(number) for number in range(n + 5)], delta=0.05)
    assert (found.verdict, found.accepted, found.errors) == (verdict, n, errors)
    assert found.low <= (errors / n if n else 0.5) <= found.high
    assert (found.more > 0) == (verdict == "open")
    assert FreshLabels.from_json(found.to_json(), "here") == found
    if verdict == "open" and n:
        more = n + found.more
        settled = check_fresh_labels(
            threshold,
            np.full(more, 0.95),
            np.arange(more) < round(errors / n * more),
            [str(number) for number in range(more)],
            delta=0.05,
        )
        assert settled.verdict == "holds"


def test_fresh_rows_of_one_prompt_count_once() -> None:
    groups = [str(number) for number in range(200)]
    threshold = calibrate(np.full(200, 0.9), np.zeros(200), groups, alpha=0.1, delta=0.1)
    found = check_fresh_labels(threshold, np.full(300, 0.9), np.zeros(300), ["a", "b", "c"] * 100, delta=0.05)
    assert (found.accepted, found.verdict) == (3, "open")
