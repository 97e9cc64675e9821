"""Bradley-Terry ratings of many models with style in the same fit, as one logistic model.

logit P(first wins) = β_first − β_second + position + Σ_k c_k z_k, where z are standardised differences in style: of
lengths relative to their sum, and of headers, list items and bold passages for each 1,000 characters, relative to
theirs [the form of Arena's style control; Li et al. 2024]. A tie is half a win of either. Ratings are
1000 + 400/ln 10 · β, with the mean of all models, or the baseline, at 1000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from scipy.special import expit

from bactrian.errors import BactrianError
from bactrian.judge.winrates.games import STYLE, Game, style_counts
from bactrian.judge.winrates.logistic import ClusterDraws, Floats, fit_logistic, percentile_interval

SCALE, START = 400 / log(10), 1000.0
RIDGE = 1e-3
"""A model that won all its games would have no finite rating: a prior of variance 1,000 on β gives it a high one."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class ModelRating:
    """A model's rating and its interval; games: decided comparisons it is in.

    win_rate: against the baseline, style and position equal, in [0, 1]; None without a baseline.
    """

    model: str
    rating: float
    interval: Interval
    games: int
    win_rate: float | None = None
    win_interval: Interval | None = None


@dataclass(frozen=True)
class StyleEffect:
    """What one standard deviation more of a feature adds to the logit of winning."""

    feature: str
    coefficient: float
    interval: Interval


@dataclass(frozen=True)
class Ratings:
    """The best first. style: empty where it was not controlled. position: log-odds of standing first, if known."""

    ratings: tuple[ModelRating, ...]
    style: tuple[StyleEffect, ...]
    position: StyleEffect | None
    abstained: int


@dataclass(frozen=True)
class RatingDesign:
    """The logistic model of games as numbers: features [n, k], outcomes [n], and what the columns are."""

    models: list[str]
    features: Floats
    outcomes: Floats
    prompts: list[str]
    style: tuple[str, ...]
    position: bool

    @classmethod
    def of(cls, games: Sequence[Game], style: bool) -> RatingDesign:
        """`games`: decided ones.

        Raises:
            BactrianError: there is no game; or models that no chain of games connects.
        """
        if not games:
            raise BactrianError("win rates: found no decided comparison, expected at least one")
        models = sorted({name for game in games for name in (game.first, game.second)})
        _check_connected(games, models)
        place = {name: number for number, name in enumerate(models)}
        columns = np.zeros((len(games), len(models)))
        for row, game in enumerate(games):
            columns[row, place[game.first]] += 1
            columns[row, place[game.second]] -= 1
        # Of a pair in one order only, being first and being that model are the same thing.
        orders = {(game.first, game.second) for game in games}
        position = any((second, first) in orders for first, second in orders)
        parts = [columns]
        if position:
            parts.append(np.ones((len(games), 1)))
        used: tuple[str, ...] = ()
        if style:
            differences = style_differences(games)
            deviation = differences.std(axis=0)
            kept = deviation > 1e-12
            used = tuple(name for name, keep in zip(STYLE, kept, strict=True) if keep)
            parts.append(differences[:, kept] / deviation[kept])
        outcomes = np.array([game.outcome for game in games], dtype=np.float64)
        return cls(models, np.concatenate(parts, axis=1), outcomes, [game.prompt for game in games], used, position)

    def fit(self, weights: Floats | None = None, start: Floats | None = None) -> Floats:
        ridge = np.full(self.features.shape[1], RIDGE)
        return fit_logistic(self.features, self.outcomes, weights, ridge, start)


def fit_ratings(
    games: Sequence[Game],
    style: bool = False,
    baseline: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Ratings:
    """One fit of ratings, style and position to all decided games; intervals draw prompts and fit anew.

    Raises:
        BactrianError: there is nothing to fit, models were never compared with others, or `baseline` is no model.
    """
    decided = [game for game in games if game.outcome is not None]
    design = RatingDesign.of(decided, style)
    if baseline is not None and baseline not in design.models:
        raise BactrianError(
            f"baseline: found {baseline!r}, which is in no decided comparison; expected one of "
            f"{', '.join(design.models)}"
        )
    found = design.fit()
    drawn = ClusterDraws.of(design.prompts).refitted(lambda times: design.fit(times, found), resamples, seed)
    count = len(design.models)
    at = None if baseline is None else design.models.index(baseline)
    played = dict.fromkeys(design.models, 0)
    for game in decided:
        played[game.first] += 1
        played[game.second] += 1

    def centred(betas: Floats) -> Floats:
        zero = betas[..., :count].mean(axis=-1) if at is None else betas[..., at]
        return np.asarray(betas[..., :count] - zero[..., None])

    level_now, level_drawn = centred(found), centred(drawn)
    ratings = []
    for number, name in enumerate(design.models):
        low, high = percentile_interval(START + SCALE * level_drawn[:, number], level)
        share = None if at is None else float(expit(level_now[number]))
        share_interval = None if at is None else percentile_interval(expit(level_drawn[:, number]), level)
        rating = START + SCALE * float(level_now[number])
        ratings.append(ModelRating(name, rating, (low, high), played[name], share, share_interval))
    names = (*(("position",) if design.position else ()), *design.style)
    effects = [
        StyleEffect(name, float(found[count + column]), percentile_interval(drawn[:, count + column], level))
        for column, name in enumerate(names)
    ]
    position = effects.pop(0) if design.position else None
    ranked = tuple(sorted(ratings, key=lambda each: -each.rating))
    return Ratings(ranked, tuple(effects), position, len(games) - len(decided))


def style_differences(games: Sequence[Game]) -> Floats:
    """First minus second over their sum, for length and for headers, list items and bold a character, [n, 4]."""
    first = np.array([style_counts(game.first_text) for game in games])
    second = np.array([style_counts(game.second_text) for game in games])
    for counts in (first, second):
        counts[:, 1:] *= 1000 / np.maximum(counts[:, :1], 1)
    total = first + second
    return np.asarray(np.divide(first - second, total, out=np.zeros_like(total), where=total > 0))


def _check_connected(games: Sequence[Game], models: Sequence[str]) -> None:
    """
    Raises:
        BactrianError: naming models that no chain of games connects with the rest.
    """
    reached, new = {models[0]}, {models[0]}
    while new:
        new = {
            other
            for game in games
            for one, other in ((game.first, game.second), (game.second, game.first))
            if one in new and other not in reached
        }
        reached |= new
    if apart := sorted(set(models) - reached):
        raise BactrianError(
            f"ratings: no chain of comparisons leads from {models[0]} to {', '.join(apart)}; they cannot be put on one "
            f"scale"
        )
