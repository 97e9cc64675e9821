"""Quality of confidences: against scikit-learn, and by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from bactrian.errors import BactrianError
from bactrian.judge.calibration.confidence_quality import (
    ConfidenceQuality,
    auprc,
    auroc,
    brier,
    confidence_quality,
    ece,
    reliability,
)

ITEMS = st.lists(st.tuples(st.integers(0, 20).map(lambda x: x / 20), st.booleans()), min_size=2, max_size=60)


@given(ITEMS)
@settings(max_examples=30)
def test_as_scikit_learn(items: list[tuple[float, bool]]) -> None:
    confidences, right = np.array([c for c, _ in items]), np.array([r for _, r in items])
    assert brier(confidences, right) == pytest.approx(brier_score_loss(right, confidences, labels=[False, True]))
    if right.any():
        assert auprc(confidences, right) == pytest.approx(average_precision_score(right, confidences))
    else:
        assert math.isnan(auprc(confidences, right))
    if right.any() and not right.all():
        assert auroc(confidences, right) == pytest.approx(roc_auc_score(right, confidences))
    else:
        assert math.isnan(auroc(confidences, right))


@given(ITEMS)
@settings(max_examples=30)
def test_ece_is_the_gap_of_the_bins(items: list[tuple[float, bool]]) -> None:
    confidences, right = np.array([c for c, _ in items]), np.array([r for _, r in items])
    bins = reliability(confidences, right)
    assert sum(found.n for found in bins) == len(items)
    by_hand = sum(found.n * abs(found.confidence - found.agreement.value) for found in bins if found.n) / len(items)
    assert ece(confidences, right) == pytest.approx(by_hand)
    for found in bins:
        inside = (confidences > found.low) & (confidences <= found.high) | (found.low == 0) & (confidences == 0)
        assert found.n == inside.sum()
        assert not found.n or found.agreement.low <= found.agreement.value <= found.agreement.high


def test_a_judge_that_is_as_often_right_as_it_says() -> None:
    confidences, right = np.repeat([0.55, 0.95], [20, 20]), np.array([True] * 11 + [False] * 9 + [True] * 19 + [False])
    assert ece(confidences, right) == pytest.approx(0, abs=1e-12)
    assert ece(np.ones(40), right) == pytest.approx(0.25)


def test_all_figures_have_intervals_and_go_through_json() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 1, 300)
    wrong = rng.random(300) < 1 - confidences
    found = confidence_quality(confidences, wrong, [str(number) for number in range(300)])
    for name in ("agreement", "ece", "brier", "auroc", "auprc"):
        figure = getattr(found, name)
        assert figure.low < figure.high
    assert found.agreement.low < 0.75 < found.agreement.high and found.auroc.low > 0.5
    assert found.bins[0].n == 0 and math.isnan(found.bins[0].confidence)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.dumps(ConfidenceQuality.from_json(json.loads(text), "here").to_json()) == text


def test_copies_of_rows_do_not_narrow_an_interval() -> None:
    rng = np.random.default_rng(0)
    confidences, wrong, groups = rng.uniform(0.5, 1, 80), rng.random(80) < 0.3, [str(number) for number in range(80)]
    once = confidence_quality(confidences, wrong, groups).agreement
    again = confidence_quality(np.tile(confidences, 4), np.tile(wrong, 4), groups * 4).agreement
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=1e-9)


def test_no_items() -> None:
    with pytest.raises(BactrianError, match="found none with a label"):
        confidence_quality([], [], [])
