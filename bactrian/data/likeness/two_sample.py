"""Can a classifier tell two sets of texts apart? [Lopez-Paz and Oquab 2017]

A logistic regression on words, marks and length, cross-validated; its AUC is the chance that of one text of each set it
says rightly which is which. 0.5: it cannot. Each different text of a set counts once: copies are another figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import rankdata

from bactrian.data.likeness.bags import text_hash
from bactrian.data.likeness.vectors import NO_WORD, READ

FOLDS = 5
FEWEST = 2 * FOLDS
"""Different texts of each set; with fewer there is no telling."""
MARKS = "\n\t.,;:?!'\"()[]{}<>*#_`|–—-/\\+=$%&@…“”’0123456789"
TELLS = 10
"""Features that are named of each side."""
LEAST = 0.01
"""How much larger a side's share of texts with a feature must be, for it to be named."""
LENGTH = "(length)"
Z = 1.959964
_STEPS = 80
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Tell:
    """A word, mark or LENGTH by which a side is known; share of the texts of each side that have it (of LENGTH: the
    mean logarithm, in deviations from the mean of both)."""

    feature: str
    a: float
    b: float


@dataclass(frozen=True)
class TwoSample:
    """auc, None where a side has fewer than FEWEST different texts; interval 95 %; tells, only if the interval is above
    0.5: what side A is known by, then side B."""

    auc: float | None
    interval: tuple[float, float]
    a: int
    b: int
    tells_a: list[Tell]
    tells_b: list[Tell]


def two_sample(
    a: Sequence[str], b: Sequence[str], weighted: sparse.csr_matrix, words: tuple[str, ...], seed: int = 0
) -> TwoSample:
    """The test of two lists of different texts.

    Args:
        weighted: [|a| + |b|, V], TF-IDF of the texts of `a`, then of `b`.
        words: [V].
    """
    if min(len(a), len(b)) < FEWEST:
        return TwoSample(None, (0.0, 1.0), len(a), len(b), [], [])
    of_b = np.repeat([0, 1], [len(a), len(b)])
    marks, lengths = _marks([*a, *b]), _lengths([*a, *b])
    features = sparse.csr_matrix(sparse.hstack([weighted, marks, lengths[:, None], np.ones((len(of_b), 1))]))
    folds = _folds(a, b, seed)
    areas, sizes, slopes = [], [], []
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        slopes.append(logistic(features[train], of_b[train]))
        areas.append(area(features[test] @ slopes[-1], of_b[test]))
        sizes.append(int((of_b[test] == 0).sum()) * int((of_b[test] == 1).sum()))
    auc = float(np.average(areas, weights=sizes))
    interval = auc_interval(auc, len(a), len(b))
    names = (*words, *(f"the mark {mark!r}" for mark in MARKS), LENGTH)
    told: tuple[list[Tell], list[Tell]] = ([], [])
    if interval[0] > 0.5:
        told = _tells(features[:, :-1], np.mean(slopes, axis=0)[:-1], of_b, names)
    return TwoSample(auc, interval, len(a), len(b), *told)


def logistic(features: sparse.csr_matrix, labels: Labels) -> Floats:
    """Slopes [F] of a logistic regression with an L2 penalty of 1/2 on all but the last, which is the constant.

    Both classes weigh as much as half of all rows, so that the larger set is not the safe guess.
    """
    signs = np.where(labels == 1, 1.0, -1.0)
    balance = len(labels) / (2 * np.where(labels == 1, (labels == 1).sum(), (labels == 0).sum()))
    turned = features.T.tocsr()
    penalty = np.ones(features.shape[1])
    penalty[-1] = 1e-6

    def loss(slopes: Floats) -> tuple[float, Floats]:
        margins = signs * (features @ slopes)
        value = float(balance @ np.logaddexp(0, -margins) + 0.5 * penalty @ slopes**2)
        return value, turned @ (-balance * signs * expit(-margins)) + penalty * slopes

    found: Floats = minimize(
        loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}
    ).x
    return found


def area(scores: Floats, labels: Labels) -> float:
    """AUC: the chance that a text of class 1 has a higher score than one of class 0; ties are halves."""
    ones = int((labels == 1).sum())
    ranks = rankdata(scores)[labels == 1].sum() - ones * (ones + 1) / 2
    return float(ranks / (ones * (len(labels) - ones)))


def auc_interval(auc: float, m: int, n: int) -> tuple[float, float]:
    """95 % interval of an AUC from m and n texts, good at its ends too [Newcombe 2006, method 5]."""
    more = (m + n) / 2 - 1

    def beyond(value: float) -> float:
        spread = 1 + more * ((1 - value) / (2 - value) + value / (1 + value))
        return abs(value - auc) - Z * float(np.sqrt(value * (1 - value) * spread / (m * n)))

    tiny = 1e-12
    low = 0.0 if auc <= tiny else float(brentq(beyond, 0.0, min(auc, 1 - tiny)))
    high = 1.0 if auc >= 1 - tiny else float(brentq(beyond, max(auc, tiny), 1.0))
    return low, high


def _folds(a: Sequence[str], b: Sequence[str], seed: int) -> Labels:
    """[|a| + |b|]: of each side as many in each fold as can be, a text of both sides in one and the same."""
    both = set(a) & set(b)
    fold: dict[str, int] = {}
    for group in (both, set(a) - both, set(b) - both):
        ranked = sorted(group, key=lambda text: text_hash(text, f"folds/{seed}/"))
        fold |= {text: number % FOLDS for number, text in enumerate(ranked)}
    return np.array([fold[text] for text in (*a, *b)])


def _marks(texts: Sequence[str]) -> sparse.csr_matrix:
    """[N, M]: 1 + log of how often each mark occurs, rows of length 1."""
    counts = np.array([[text.count(mark) for mark in MARKS] for text in (each[:READ] for each in texts)], np.float64)
    values = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return sparse.csr_matrix(values / np.where(norms > 0, norms, 1))


def _lengths(texts: Sequence[str]) -> Floats:
    """[N]: log of the characters, less the mean, over the deviation, at most 3 away from 0."""
    logs = np.log1p(np.array([len(text) for text in texts], np.float64))
    scaled: Floats = np.clip((logs - logs.mean()) / (logs.std() or 1.0), -3, 3)
    return scaled


def _tells(
    features: sparse.csr_matrix, slopes: Floats, of_b: Labels, names: tuple[str, ...]
) -> tuple[list[Tell], list[Tell]]:
    """The features that move the score of the texts of a side most, compared with the other side's."""
    sides = [features[of_b == side] for side in (0, 1)]
    means = [np.asarray(side.mean(axis=0)).ravel() for side in sides]
    held = [side.getnnz(axis=0) / side.shape[0] for side in sides]
    for own, mean in zip(held, means, strict=True):
        own[-1] = mean[-1]  # every text has a length
    pull = slopes * (means[1] - means[0])  # > 0 where it helps, whichever side it is of
    pull[[name == NO_WORD for name in names]] = 0
    best = np.argsort(-pull, kind="stable")
    told: tuple[list[Tell], list[Tell]] = ([], [])
    for number in best[pull[best] > 0].tolist():
        is_b = means[1][number] > means[0][number]
        side, more = told[int(is_b)], held[int(is_b)][number] - held[1 - int(is_b)][number]
        if len(side) < TELLS and more > LEAST:
            side.append(Tell(names[number], float(held[0][number]), float(held[1][number])))
    return told
