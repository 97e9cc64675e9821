"""All that games say of models, as the record that a step leaves and tables are drawn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from bactrian.errors import BactrianError
from bactrian.judge.winrates.games import Game, PositionBias, check_same_prompts, position_bias
from bactrian.judge.winrates.length_control import (
    MODELS_FOR_DIFFICULTY,
    control_length,
    joint_difficulty,
    length_feature,
    resampled_difficulty,
)
from bactrian.judge.winrates.logistic import ClusterDraws, Floats, percentile_interval
from bactrian.judge.winrates.prediction_powered import powered_rate
from bactrian.judge.winrates.ratings import Ratings, fit_ratings
from bactrian.judge.winrates.separation import comparisons_to_separate
from bactrian.judge.winrates.task_methods import TaskMethod

Record = dict[str, Any]
SHOWN = 1500
"""Characters of a text that an example shows; the rows have the whole."""


def win_rates(
    games: Sequence[Game], baseline: str | None, style: bool = True, resamples: int = 500, seed: int = 0
) -> Record:
    """Win rates against the baseline, ratings, style, position: JSON-ready, shares in [0, 1].

    Every interval is of prompts drawn with replacement, everything that is fitted, fitted anew; so are the difficulties
    of prompts, which come from the models at hand, where there are five or more.

    Raises:
        BactrianError: a model lacks prompts, or nothing was decided.
    """
    if baseline is not None:
        check_same_prompts(games, baseline)
    texts = all(game.first_text or game.second_text for game in games)
    plain = fit_ratings(games, False, baseline, resamples, seed)
    fair = fit_ratings(games, True, baseline, resamples, seed) if style and texts else None
    models = [] if baseline is None else _against(games, baseline, texts, resamples, seed)
    if fair is not None:
        controlled = {each.model: each for each in fair.ratings}
        for record in models:
            found = controlled[record["model"]]
            record["style_controlled"] = {"rate": found.win_rate, "interval": found.win_interval}
    return {
        "baseline": baseline,
        "comparisons": len(games),
        "abstained": sum(game.outcome is None for game in games),
        "prompts": len({game.prompt for game in games}),
        "resamples": resamples,
        "models": sorted(models, key=lambda each: -each["raw"]["rate"]),
        "ratings": [asdict(each) for each in plain.ratings],
        "style_ratings": [] if fair is None else [asdict(each) for each in fair.ratings],
        "style": [] if fair is None else [asdict(each) for each in fair.style],
        "position": asdict(_position(games)),
        "separation": _separation(games, plain),
        "examples": _examples(games),
        "notes": _notes(games, baseline, texts, models),
    }


def _against(games: Sequence[Game], baseline: str, texts: bool, resamples: int, seed: int) -> list[Record]:
    """Each model against the baseline: raw and length-controlled."""
    met: dict[str, dict[str, list[Game]]] = defaultdict(lambda: defaultdict(list))
    for game in games:
        if baseline in (game.first, game.second):
            turned = game if game.second == baseline else game.swapped
            met[turned.first][turned.prompt].append(turned)
    prompts = sorted({prompt for mine in met.values() for prompt in mine})
    outcomes = np.array([[_mean(mine[prompt]) for prompt in prompts] for mine in met.values()])
    draws, difficulty = ClusterDraws.of(prompts), np.zeros(len(prompts))
    again = np.zeros((resamples, len(prompts)))
    if texts and len(met) >= MODELS_FOR_DIFFICULTY:
        difficulty, again = joint_difficulty(outcomes), resampled_difficulty(outcomes, draws, resamples, seed)
    records = []
    for (model, mine), said in zip(met.items(), outcomes, strict=True):
        known = ~np.isnan(said)
        kept = [game for prompt in prompts for game in mine[prompt]]
        record: Record = {
            "model": model,
            "comparisons": len(kept),
            "prompts": int(known.sum()),
            "abstained": sum(game.outcome is None for game in kept),
            "wins": sum(game.outcome is not None and game.outcome > 0.5 for game in kept),
            "ties": sum(game.outcome == 0.5 for game in kept),
        }
        if not known.any():
            continue
        values = said[known]
        every = zip(draws.drawn(resamples, seed), again, strict=True)
        drawn = [(times[known], gamma[known]) for times, gamma in every if times[known].any()]
        rates = np.array([np.average(values, weights=times) for times, _ in drawn])
        record["raw"] = {"rate": float(values.mean()), "interval": percentile_interval(rates)}
        if not known.all():
            # whatever the undecided comparisons would have been
            record["bounds"] = [float(np.where(known, said, worst).mean()) for worst in (0.0, 1.0)]
        if texts and known.sum() > 1:
            lengths = [_lengths(mine[prompt][0]) for prompt, there in zip(prompts, known, strict=True) if there]
            record["characters"] = [float(np.mean([each[side] for each in lengths])) for side in (0, 1)]
            record["length_controlled"] = _controlled(values, lengths, difficulty[known], drawn)
        records.append(record)
    return records


def _controlled(
    outcomes: Floats, lengths: Sequence[tuple[int, int]], difficulty: Floats, drawn: Sequence[tuple[Floats, Floats]]
) -> Record:
    """`drawn`: of each resample, how often each prompt counts, and the difficulties that were fitted on it."""
    length = length_feature([theirs for _, theirs in lengths], [mine for mine, _ in lengths])
    fit = control_length(outcomes, length, difficulty)
    rates = [control_length(outcomes, length, gamma, None, times, fit.coefficients).win_rate for times, gamma in drawn]
    return {"rate": fit.win_rate, "interval": percentile_interval(np.array(rates)), "length": fit.length}


def _lengths(game: Game) -> tuple[int, int]:
    return len(game.first_text), len(game.second_text)


def _mean(games: Sequence[Game]) -> float:
    """Of both orders, where there are both; NaN where nothing was decided."""
    decided = [game.outcome for game in games if game.outcome is not None]
    return float(np.mean(decided)) if decided else float("nan")


def powered_rates(games: Sequence[Game], people: Sequence[Game], baseline: str) -> list[Record]:
    """Each model's win rate against the baseline as people would find it, from their few verdicts and the judge's many.

    Args:
        people: what people said of some of the games, by prompt and models; of several on one game the mean counts.

    Raises:
        BactrianError: people judged something that is no game with a verdict, or too little of a model.
    """
    said: dict[tuple[str, str], float] = {}
    for game in games:
        if baseline in (game.first, game.second) and game.outcome is not None:
            mine = game if game.second == baseline else game.swapped
            said[mine.first, mine.prompt] = float(mine.outcome if mine.outcome is not None else 0.5)
    heard: dict[tuple[str, str], list[float]] = defaultdict(list)
    undecided = {(game.prompt, frozenset((game.first, game.second))) for game in games if game.outcome is None}
    for game in people:
        if game.outcome is None or (game.prompt, frozenset((game.first, game.second))) in undecided:
            continue  # neither side of the sum may have what the judge did not judge
        mine = game if game.second == baseline else game.swapped
        if (mine.first, mine.prompt) not in said:
            raise BactrianError(
                f"people: found a verdict on {game.first} and {game.second}, prompt {game.prompt}, which is no "
                f"comparison with {baseline} that the judge made"
            )
        heard[mine.first, mine.prompt].append(float(mine.outcome if mine.outcome is not None else 0.5))
    records = []
    for model in sorted({model for model, _ in heard}):
        labelled = [prompt for name, prompt in heard if name == model]
        rest = [prompt for name, prompt in said if name == model and (name, prompt) not in heard]
        found = powered_rate(
            [float(np.mean(heard[model, prompt])) for prompt in labelled],
            [said[model, prompt] for prompt in labelled],
            [said[model, prompt] for prompt in rest],
            labelled,
            rest,
        )
        records.append({"model": model, **asdict(found)})
    return records


def _position(games: Sequence[Game]) -> PositionBias:
    """From games in both orders, or from what a judge that was asked both orders itself says of each."""
    asked = [game.order_changed for game in games if game.order_changed is not None]
    if asked:
        return PositionBias(len(asked), sum(asked) / len(asked), 0.5, (0.0, 1.0))
    return position_bias(games)


def _separation(games: Sequence[Game], ratings: Ratings) -> list[Record]:
    """Of neighbours in rank: how many further comparisons would tell them apart."""
    found = []
    names = [each.model for each in ratings.ratings]
    for one, other in pairwise(names):
        between = [
            game if game.first == one else game.swapped for game in games if {game.first, game.second} == {one, other}
        ]
        said = [game.outcome for game in between if game.outcome is not None]
        if not said:
            continue
        wins, losses = sum(each > 0.5 for each in said), sum(each < 0.5 for each in said)
        prompts = len({game.prompt for game in between if game.outcome is not None})
        apart = comparisons_to_separate(wins, losses, len(said) - wins - losses, prompts)
        found.append({"first": one, "second": other, "comparisons": len(said), **asdict(apart)})
    return found


def _examples(games: Sequence[Game]) -> list[Record]:
    """A few comparisons to read: the clearest wins of either side, the closest ones, and some without a verdict."""
    told = [game for game in games if game.first_text or game.second_text]
    decided = sorted((game for game in told if game.outcome is not None), key=lambda game: game.outcome or 0.0)
    close = sorted(decided, key=lambda game: abs((game.outcome or 0.0) - 0.5))
    chosen = [*decided[-2:], *decided[:2], *close[:2], *[game for game in told if game.outcome is None][:2]]
    return [
        {
            "question": game.question[:SHOWN],
            "first": game.first,
            "second": game.second,
            "first_text": game.first_text[:SHOWN],
            "second_text": game.second_text[:SHOWN],
            "probability": game.outcome,
            "fault": game.fault,
        }
        for game in dict.fromkeys(chosen)
    ]


def _notes(games: Sequence[Game], baseline: str | None, texts: bool, models: Sequence[Record]) -> list[str]:
    notes = []
    if baseline is None:
        notes.append("no baseline: ratings only")
    if not texts:
        notes.append("no texts of the answers: neither length nor style can be controlled")
    elif baseline is not None and len(models) < MODELS_FOR_DIFFICULTY:
        notes.append(f"length control without difficulties of prompts, which need {MODELS_FOR_DIFFICULTY} models")
    if abstained := sum(game.outcome is None for game in games):
        notes.append(f"{abstained:,} comparisons without a verdict are in no number")
    for each in models:
        if bounds := each.get("bounds"):
            low, high = (f"{100 * end:.1f}" for end in bounds)
            notes.append(f"{each['model']}: {low} to {high}, whatever those without a verdict would have been")
    return notes


def task_rates(games: Sequence[Game], tasks: Mapping[str, TaskMethod], of: Mapping[str, str], baseline: str) -> Record:
    """Win rates against the baseline by family of tasks, and their mean, in which families count alike.

    Args:
        tasks: family → how it was compared. of: prompt → family.
    """
    found: dict[str, dict[str, list[float]]] = {task: {} for task in sorted(set(of.values()))}
    for game in games:
        if baseline in (game.first, game.second):
            turned = game if game.second == baseline else game.swapped
            mine = found[of[game.prompt]].setdefault(turned.first, [])
            mine += [] if turned.outcome is None else [turned.outcome]
    families = [
        {
            **asdict(tasks[task]),
            "rates": [
                {"model": model, "rate": float(np.mean(said)) if said else None, "comparisons": len(said)}
                for model, said in by_model.items()
            ],
        }
        for task, by_model in found.items()
    ]
    models = list(dict.fromkeys(model for by_model in found.values() for model in by_model))
    means = {
        model: [float(np.mean(said)) for by_model in found.values() if (said := by_model.get(model))]
        for model in models
    }
    over = [
        {"model": model, "rate": float(np.mean(rates)), "families": len(rates)}
        for model, rates in means.items()
        if rates
    ]
    return {"tasks": families, "over_tasks": over}


def win_rate_lines(found: Mapping[str, Any]) -> list[str]:
    """The record as a table in plain text."""
    lines = [f"{found['comparisons']:,} comparisons on {found['prompts']:,} prompts, {found['abstained']:,} undecided"]
    if found["models"]:
        width = max(len(each["model"]) for each in found["models"])
        lines.append(
            f"{'against ' + found['baseline']:<{width}}  {'win rate':>20}  {'length-controlled':>20}  {'style':>20}"
        )
        lines += [
            f"{each['model']:<{width}}  " + "  ".join(_cell(each.get(name)) for name in COLUMNS)
            for each in found["models"]
        ]
    for each in found.get("tasks", []):
        low, high = each["interval"]
        rates = ", ".join(f"{one['model']} {_percent(one['rate'])}" for one in each["rates"])
        pooled = ", chosen over all families" if each["pooled"] else ""
        lines.append(
            f"{each['task']}: by {each['method']}, which agrees with people on {each['agreement']:.0%} ({low:.0%} to "
            f"{high:.0%}) of {each['labels']:,} prompts{pooled}: {rates}"
        )
    for each in found.get("over_tasks", []):
        lines.append(f"{each['model']}, mean over {each['families']} families of tasks: {_percent(each['rate'])}")
    for each in found.get("people", []):
        low, high = each["interval"]
        lines.append(
            f"{each['model']}, as people find it: {100 * each['rate']:.1f} ({100 * low:.1f} to {100 * high:.1f}) from "
            f"{each['labels']:,} labels and {each['judged']:,} verdicts more; without the judge "
            f"{100 * each['classical'][0]:.1f} to {100 * each['classical'][1]:.1f}"
        )
    controlled = bool(found.get("style_ratings"))
    ratings = found["style_ratings" if controlled else "ratings"]
    width = max(len(each["model"]) for each in ratings)
    lines.append(f"{'rating':<{width}}  {'95 % interval':>20}{'  style controlled' if controlled else ''}")
    lines += [
        f"{each['model']:<{width}}  {each['rating']:6.0f} ({each['interval'][0]:.0f} to {each['interval'][1]:.0f})"
        for each in ratings
    ]
    position = found["position"]
    if position["both_orders"]:
        lines.append(
            f"of {position['both_orders']:,} pairs in both orders {position['changed']:.1%} change the verdict"
        )
    return [*lines, *found["notes"]]


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}"


COLUMNS = ("raw", "length_controlled", "style_controlled")


def _cell(found: Mapping[str, Any] | None) -> str:
    if not found:
        return f"{'–':>20}"
    low, high = found["interval"]
    return f"{100 * found['rate']:.1f} ({100 * low:.1f} to {100 * high:.1f})".rjust(20)
