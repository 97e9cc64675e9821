"""How good confidences are as such: are they as often right as they say, and do they tell right from wrong?

ECE and the reliability diagram: Guo et al., On Calibration of Modern Neural Networks, 2017. Every figure has a 95 %
interval: exact for a share, else by bootstrap over groups (items of one prompt are drawn together).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BeforeValidator, PlainSerializer
from scipy.stats import binomtest, rankdata

from bactrian.judge.calibration.search import Flags, Floats, Ints
from bactrian.judge.calibration.thresholds import CalibrationRecord, check_items

BINS = 10
RESAMPLES = 400

NullIsUnknown = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, when_used="json"),
]


class QualityFigure(CalibrationRecord):
    """A number with its 95 % interval; NaN (null in JSON) where the items cannot tell."""

    value: NullIsUnknown
    low: NullIsUnknown
    high: NullIsUnknown


class ReliabilityBin(CalibrationRecord):
    """Items with a confidence in (low, high], 0 in the first bin: how sure the judge was on average, how often right.

    Without items the last two are unknown.
    """

    low: float
    high: float
    n: int
    confidence: NullIsUnknown
    agreement: QualityFigure


class ConfidenceQuality(CalibrationRecord):
    """n: items. agreement: the share that is right. ece: expected calibration error, 10 bins of one width. brier: mean
    squared distance of confidence from right (1) or wrong (0). auroc: how likely a right verdict has the higher
    confidence, of a right and a wrong one. auprc: average precision of finding the right ones.
    """

    n: int
    agreement: QualityFigure
    ece: QualityFigure
    brier: QualityFigure
    auroc: QualityFigure
    auprc: QualityFigure
    bins: tuple[ReliabilityBin, ...]


def confidence_quality(
    confidences: ArrayLike, wrong: ArrayLike, groups: Sequence[str], seed: int = 0
) -> ConfidenceQuality:
    """All figures of one judge's confidences on items with labels.

    Args:
        confidences: [n], in [0, 1]. wrong: [n]. groups: [n], what the items are about.

    Raises:
        BactrianError: arrays that do not fit, or no item.
    """
    c, errs = check_items(confidences, wrong, groups)
    _, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    draws = _resamples(which.astype(np.int64), np.random.default_rng(seed))

    def figure(metric: Callable[[Floats, Flags], float]) -> QualityFigure:
        drawn = [metric(c[items], ~errs[items]) for items in draws]
        known = [value for value in drawn if not math.isnan(value)]
        low, high = np.quantile(known, [0.025, 0.975]) if known else (math.nan, math.nan)
        return QualityFigure(value=metric(c, ~errs), low=float(low), high=float(high))

    return ConfidenceQuality(
        n=len(c),
        agreement=figure(lambda c, right: float(right.mean())),
        ece=figure(ece),
        brier=figure(brier),
        auroc=figure(auroc),
        auprc=figure(auprc),
        bins=reliability(c, ~errs),
    )


def ece(confidences: Floats, right: Flags, bins: int = BINS) -> float:
    """Σ over bins of (share of items) · |mean confidence - share right|, in [0, 1]."""
    which = _bin_of(confidences, bins)
    gaps = np.bincount(which, weights=confidences - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))


def brier(confidences: Floats, right: Flags) -> float:
    return float(np.square(confidences - right).mean())


def auroc(confidences: Floats, right: Flags) -> float:
    """P(a right item has the higher confidence), a tie counting half; NaN where all are right or none is."""
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(confidences)[right].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def auprc(confidences: Floats, right: Flags) -> float:
    """Average precision: Σ (recall gained at a confidence) · precision from it up; NaN where none is right."""
    if not right.any():
        return math.nan
    order = np.argsort(-confidences, kind="stable")
    hits, seen = np.cumsum(right[order]), np.arange(1, len(order) + 1)
    last = np.append(np.diff(confidences[order]) != 0, True)
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / seen[last]).sum() / hits[-1])


def reliability(confidences: Floats, right: Flags, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram as numbers: bins of one width, each with the exact interval of its agreement."""
    which = _bin_of(confidences, bins)
    found = []
    for number in range(bins):
        inside = which == number
        found.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                n=int(inside.sum()),
                confidence=float(confidences[inside].mean()) if inside.any() else math.nan,
                agreement=_share(int(right[inside].sum()), int(inside.sum())),
            )
        )
    return tuple(found)


def _bin_of(confidences: Floats, bins: int) -> Ints:
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def _share(hits: int, n: int) -> QualityFigure:
    if not n:
        return QualityFigure(value=math.nan, low=math.nan, high=math.nan)
    interval = binomtest(hits, n).proportion_ci(0.95, method="exact")
    return QualityFigure(value=hits / n, low=float(interval.low), high=float(interval.high))


def _resamples(which: Ints, rng: np.random.Generator) -> list[Ints]:
    """Items of as many groups as there are, drawn with replacement, each time."""
    order = np.argsort(which, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)
    drawn = rng.integers(0, len(members), (RESAMPLES, len(members)))
    return [np.concatenate([members[group] for group in groups]) for groups in drawn]
