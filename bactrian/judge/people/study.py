"""The human pairwise study: which model people prefer, how sure that is, and how much more would make it sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binomtest

from bactrian.errors import BactrianError
from bactrian.judge.people.agreement import Interval
from bactrian.judge.people.pairs_by_hand import PairByHand
from bactrian.judge.people.record import HandVerdict
from bactrian.judge.winrates.games import Game
from bactrian.judge.winrates.ratings import Ratings, fit_ratings
from bactrian.judge.winrates.separation import Separation, comparisons_to_separate

OUTCOMES = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True)
class HeadToHead:
    """Two models' comparisons with each other; ties are pairs of which both or neither are good.

    design: by how much the variance of the share is larger than that of as many independent comparisons, as several
    people judge one prompt; at least 1.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    prompts: int
    design: float
    separation: Separation


@dataclass(frozen=True)
class AcceptableShare:
    """How many of a model's answers would do; interval: Wilson's, with prompts as its n."""

    model: str
    answers: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class HandStudy:
    """ratings: Bradley-Terry on the Elo scale; their `position` is the annotators' leaning to the left answer.

    unnamed: verdicts on pairs whose models the file does not name, or names alike: left out.
    """

    ratings: Ratings
    pairs: tuple[HeadToHead, ...]
    acceptable: tuple[AcceptableShare, ...]
    unnamed: int


def hand_study(pairs: Sequence[PairByHand], verdicts: Sequence[HandVerdict], seed: int = 0) -> HandStudy:
    """The study of all that was said; attention items and skipped pairs do not count.

    Intervals draw prompts with all that was said of them, since verdicts on one prompt are alike.

    Raises:
        BactrianError: no verdict is on a pair with two named models; or some models were never compared with others.
    """
    by_id = {each.pair.id: each for each in pairs if not each.attention}
    said = [(by_id[each.pair], each) for each in verdicts if each.pair in by_id and each.choice in OUTCOMES]
    named = [(pair, verdict) for pair, verdict in said if all(pair.models) and pair.models[0] != pair.models[1]]
    if not named:
        raise BactrianError(
            f"study: found {len(said)} verdicts, none of them on a pair with two models' names; expected the fields "
            f"'first_model' and 'second_model', 'chosen_model' and 'rejected_model', or 'model_a' and 'model_b'"
        )
    games = [_game(pair, verdict) for pair, verdict in named]
    models = sorted({name for game in games for name in (game.first, game.second)})
    met = [found for one, other in combinations(models, 2) if (found := _head_to_head(games, one, other))]
    return HandStudy(fit_ratings(games, seed=seed), tuple(met), _acceptable(named, models), len(said) - len(named))


def _game(pair: PairByHand, verdict: HandVerdict) -> Game:
    """The comparison with the sides as they were shown."""
    game = Game(pair.pair.group, *pair.models, OUTCOMES[verdict.choice])
    return game.swapped if verdict.swapped else game


def _head_to_head(games: Sequence[Game], one: str, other: str) -> HeadToHead | None:
    own = [game if game.first == one else game.swapped for game in games if {game.first, game.second} == {one, other}]
    if not own:
        return None
    outcomes = [game.outcome for game in own]
    wins, losses, ties = (outcomes.count(value) for value in (1.0, 0.0, 0.5))
    prompts = len({game.prompt for game in own})
    design = _design_effect(own)
    separation = comparisons_to_separate(wins, losses, ties, prompts, clustering=design)
    return HeadToHead(one, other, wins, losses, ties, prompts, design, separation)


def _design_effect(games: Sequence[Game]) -> float:
    """The variance of the mean outcome with prompts as clusters, over that of independent outcomes [Kish 1965]."""
    outcomes = np.array([game.outcome for game in games], dtype=np.float64)
    residuals = outcomes - outcomes.mean()
    sums: dict[str, float] = {}
    for game, residual in zip(games, residuals, strict=True):
        sums[game.prompt] = sums.get(game.prompt, 0.0) + float(residual)
    independent = float((residuals**2).sum())
    if len(sums) < 2 or independent == 0:
        return max(1.0, len(games) / len(sums))
    clustered = sum(value**2 for value in sums.values()) * len(sums) / (len(sums) - 1)
    return max(1.0, clustered / independent)


def _acceptable(named: Sequence[tuple[PairByHand, HandVerdict]], models: Sequence[str]) -> tuple[AcceptableShare, ...]:
    found = []
    for model in models:
        own = [
            (pair.pair.group, would_do)
            for pair, verdict in named
            for name, would_do in zip(pair.models, verdict.acceptable or (), strict=False)
            if name == model
        ]
        if own:
            share, prompts = sum(would_do for _, would_do in own) / len(own), len({prompt for prompt, _ in own})
            interval = binomtest(round(share * prompts), prompts).proportion_ci(method="wilson")
            found.append(AcceptableShare(model, len(own), share, (float(interval.low), float(interval.high))))
    return tuple(found)
