"""Does a calibration still hold? Two questions, one of them without any label.

Unlabelled: is today's traffic like what the judge was calibrated on? A conformal test martingale (Vovk, Gammerman and
Shafer, Algorithmic Learning in a Random World, 2nd edition 2022, part III) bets against it. While confidences are
exchangeable with those of the calibration, its wealth is a martingale that begins at 1, so that it ever reaches
1 / level with probability level at most (Ville 1939), however often one looks. It sees a change of confidences; if the
judge becomes wrong more often at the same confidence, only labels tell.

Labelled: are the verdicts that the threshold accepts still right often enough, on a few fresh labels?
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bactrian.errors import BactrianError
from bactrian.judge.calibration.bounds import check_levels, least_n, upper_bound
from bactrian.judge.calibration.search import Floats
from bactrian.judge.calibration.thresholds import CalibrationRecord, Threshold, check_items, one_per_group

JUMPS = (0.1, 0.01, 0.001)
"""How often a bettor changes its mind: fast ones see a sudden change, slow ones a small one that stays."""


class DriftReport(CalibrationRecord):
    """What the martingale says of some traffic.

    reference, seen: how many confidences of the calibration and of the traffic. level: the probability of a false
    alarm, ever. wealth: at the end; highest: at its best; neither above e^700. alarm: after how many confidences it
    first reached 1 / level; None if never. medians: of the reference and of the traffic, for people.
    """

    reference: int
    seen: int
    level: float
    wealth: float
    highest: float
    alarm: int | None
    medians: tuple[float, float]


class FreshLabels(CalibrationRecord):
    """What fresh labels say of a threshold.

    accepted, errors: of the fresh items. low, high: exact bounds of the risk, each wrong with probability delta at
    most. verdict: "holds" if the risk is at most alpha, "broken" if it is above, "open" if neither is certain. more:
    how many more accepted items with a label would settle it, if the share of errors stays; 0 unless open.
    """

    accepted: int
    errors: int
    low: float
    high: float
    alpha: float
    delta: float
    verdict: Literal["holds", "broken", "open"]
    more: int


def drift(reference: ArrayLike, traffic: ArrayLike, *, level: float = 0.01, seed: int = 0) -> DriftReport:
    """Bets that the traffic's confidences are not like the reference's, one after the other in the order given.

    Both with one item for each prompt: items of one prompt are not exchangeable.

    Args:
        reference: confidences of the calibration items [n]. traffic: of what was judged since, in order [t].
        level: the probability of a false alarm.

    Raises:
        BactrianError: no reference or no traffic, a confidence that is no number, or a level out of range.
    """
    check_levels(level, level)
    before, now = np.asarray(reference, dtype=np.float64), np.asarray(traffic, dtype=np.float64)
    for name, values in (("reference", before), ("traffic", now)):
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise BactrianError(f"drift, {name}: found {values!r:.80}, expected at least one confidence, all numbers")
    wealth = np.exp(np.minimum(log_wealth(conformal_p_values(before, now, np.random.default_rng(seed))), 700))
    reached = np.flatnonzero(wealth >= 1 / level)
    return DriftReport(
        reference=len(before),
        seen=len(now),
        level=level,
        wealth=float(wealth[-1]),
        highest=float(max(wealth.max(), 1.0)),
        alarm=int(reached[0]) + 1 if len(reached) else None,
        medians=(float(np.median(before)), float(np.median(now))),
    )


def conformal_p_values(reference: Floats, traffic: Floats, rng: np.random.Generator) -> Floats:
    """Where each confidence ranks among the reference, the traffic so far and itself, ties broken at random: [t].

    Independent and uniform on [0, 1] as long as all of it is exchangeable.
    """
    seen = sorted(reference.tolist())
    found = []
    for value, toss in zip(traffic.tolist(), rng.random(len(traffic)).tolist(), strict=True):
        insort(seen, value)
        below, upto = bisect_left(seen, value), bisect_right(seen, value)
        found.append((below + toss * (upto - below)) / len(seen))
    return np.asarray(found)


def log_wealth(p: Floats) -> Floats:
    """The logarithm of the wealth after each p-value: [t].

    The mean of simple jumpers (Vovk et al., Retrain or not retrain, 2021), some of which bet on p-values that are too
    low or too high, and some on p-values that are too near to the middle or to both ends.
    """
    views = np.stack([p, np.abs(2 * p - 1)])[:, None]
    jump = np.asarray(JUMPS)[None, :, None]
    stakes = np.array([-1.0, 0.0, 1.0])
    capital = np.full((2, len(JUMPS), 3), 1 / 3)
    logs = np.zeros((2, len(JUMPS)))
    found = np.empty((len(p), 2, len(JUMPS)))
    for at in range(len(p)):
        capital = (1 - jump) * capital + jump / 3
        capital *= 1 + stakes * (views[:, :, at, None] - 0.5)
        total = capital.sum(axis=2)
        logs += np.log(total)
        capital /= total[:, :, None]
        found[at] = logs
    flat = found.reshape(len(p), -1)
    return np.asarray(np.logaddexp.reduce(flat, axis=1) - np.log(flat.shape[1]))


def check_fresh_labels(
    threshold: Threshold,
    confidences: ArrayLike,
    wrong: ArrayLike,
    groups: Sequence[str],
    *,
    delta: float,
    seed: int = 0,
) -> FreshLabels:
    """Bounds of the risk of what a threshold accepts, on labels that the calibration has not seen.

    Args:
        confidences, wrong, groups: as for `thresholds.calibrate`. delta: how likely each bound may be wrong.

    Raises:
        BactrianError: arrays that do not fit, no item, or delta out of range.
    """
    check_levels(threshold.alpha, delta)
    c, errs = check_items(confidences, wrong, groups)
    kept = one_per_group(groups, seed)
    kept = kept[threshold.accepts(c[kept])]
    n, errors = len(kept), int(errs[kept].sum())
    high = float(upper_bound(errors, n, delta))
    low = 1 - float(upper_bound(n - errors, n, delta))
    verdict: Literal["holds", "broken", "open"] = "open"
    if high <= threshold.alpha:
        verdict = "holds"
    elif low > threshold.alpha:
        verdict = "broken"
    return FreshLabels(
        accepted=n,
        errors=errors,
        low=low,
        high=high,
        alpha=threshold.alpha,
        delta=delta,
        verdict=verdict,
        more=_more(errors, n, threshold.alpha, delta) if verdict == "open" else 0,
    )


def _more(errors: int, n: int, alpha: float, delta: float) -> int:
    """How many more items would settle it at the share of errors seen so far, in steps of a quarter."""
    if not errors:
        return least_n(alpha, delta) - n
    size = n
    while size < 1_000_000:
        size = size * 5 // 4 + 1
        expected = round(errors / n * size)
        if (
            float(upper_bound(expected, size, delta)) <= alpha
            or 1 - float(upper_bound(size - expected, size, delta)) > alpha
        ):
            break
    return size - n
