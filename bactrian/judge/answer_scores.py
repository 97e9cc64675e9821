"""Scores of single answers by a reward model, a judge or the rows' own verifiers; or why an answer has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.judge.kept_opinions import kept_opinions
from bactrian.judge.models import RewardJudge, rewards_of_answers, spoken
from bactrian.judge.opinions import FIRST, AnswerPair, Opinion, PairJudge
from bactrian.progress import progress
from bactrian.verify import Item, Judge, Pool, Verdict, check_verifiers
from bactrian.verify.model_verifiers import ask

Turns = Sequence[Any]


@dataclass(frozen=True)
class AnswerToScore:
    """A prompt's messages and the turns that answer it; `name` is for messages to people."""

    name: str
    prompt: Turns
    answer: Turns


AnswerScore = float | str
"""The score, or why there is none: a failure is no zero."""


def scores_by_rewards(
    judge: RewardJudge, answers: Sequence[AnswerToScore], longest: int, micro_tokens: int
) -> list[AnswerScore]:
    """A reward model's rewards; none for an answer of more than `longest` tokens with its prompt."""
    asked, names = [(each.prompt, each.answer) for each in answers], [each.name for each in answers]
    with progress("score", total=len(asked), unit="answer") as bar:
        rewards = rewards_of_answers(judge.model, asked, names, micro_tokens, longest, bar.advance)
    why = {True: f"longer than {longest} tokens", False: "a reward that is no finite number"}
    return [why[reward is None] if reward is None or not isfinite(reward) else reward for reward in rewards]


@dataclass(frozen=True)
class Comparisons:
    """What a judge says of pairs by comparing them: the log-odds of each pair's first answer, half on each side.

    So the difference of a pair's two scores is log p / (1 − p), as a reward model's would be. `order_changed`: of the
    pairs asked in both orders, whether the answer preferred changed with the order.
    """

    first: list[AnswerScore]
    second: list[AnswerScore]
    order_changed: list[bool]


SUREST = 1e-6
"""No comparison counts as surer than this leaves: its log-odds are finite."""


def scores_by_comparison(
    judge: PairJudge, pairs: Sequence[tuple[AnswerToScore, AnswerToScore]], journal: Journal
) -> Comparisons:
    """Of two answers to one prompt each, compared by a judge of pairs.

    Args:
        journal: keeps every opinion as it comes; what it has already is not asked again.

    Raises:
        BactrianError: the judge stopped answering; what it said is kept.
    """
    asked = [AnswerPair(one.name, tuple(one.prompt), spoken(one.answer), spoken(other.answer)) for one, other in pairs]
    opinions = kept_opinions(lambda: judge, judge.identity, asked, journal, "compare")
    halves = [half_log_odds(opinion) for opinion in opinions]
    return Comparisons(
        halves,
        [half if isinstance(half, str) else -half for half in halves],
        [opinion.order_changed for opinion in opinions if opinion.order_changed is not None],
    )


def half_log_odds(opinion: Opinion) -> AnswerScore:
    """½ log p / (1 − p) of the first answer, or the reason why there is no opinion."""
    if opinion.fault:
        return f"no opinion: {opinion.fault[:60]}"
    first = min(1 - SUREST, max(SUREST, opinion.probabilities[FIRST]))
    return log(first / (1 - first)) / 2


def scores_by_judge(judge: Judge, answers: Sequence[AnswerToScore], rubric: str) -> list[AnswerScore]:
    """A judge's ratings, in [0, 1]; `rubric`: what counts."""
    settings = {"rubric": rubric}
    items = [
        ("judge", spoken(each.answer), "-", settings, each.prompt[-1]["content"], each.prompt[:-1]) for each in answers
    ]
    return [score_or_reason(verdict) for verdict in ask(judge, items)]


def scores_by_verifiers(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[AnswerToScore], where: str, threads: int
) -> list[AnswerScore]:
    """The scores of the verifiers that the rows name.

    Raises:
        BactrianError: a row names none, or has no ground truth, or one that its verifier cannot read.
    """
    for number, row in enumerate(rows, 1):
        if "dataset" not in row or "ground_truth" not in row:
            raise BactrianError(
                f"{where}, row {number}: without judge and reward_model a row names its verifier in 'dataset' and "
                f"has a 'ground_truth'; found the fields {', '.join(row)}"
            )
    check_verifiers(rows, where)
    items = [
        Item.of({**row, "messages": each.prompt}, each.answer[0]["content"])
        for row, each in zip(rows, answers, strict=True)
    ]
    with Pool(threads) as pool:
        return [score_or_reason(verdict) for verdict in pool.verify_all(items)]


def score_or_reason(verdict: Verdict) -> AnswerScore:
    """A verdict's score, or why it has none."""
    failed = verdict.outcome in ("crashed", "timed_out")
    return f"{verdict.outcome.replace('_', ' ')}: {verdict.reason[:60]}" if failed else verdict.score
