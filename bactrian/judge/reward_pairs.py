"""Reward models as judges of pairs, so that whatever calibrates a judge calibrates them too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bactrian.chat import render_answer
from bactrian.judge.models import rewards_of_answers, turn
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, OnOpinion, Opinion
from bactrian.model.reward_model import RewardModel

PAIRS_AT_ONCE = 64


class RewardPairJudge:
    """σ(r1 − r2), the probability under which a reward model was trained [Bradley & Terry 1952].

    Each answer is read by itself, so no order can change it: `order_changed` is None.
    """

    def __init__(self, model: RewardModel, identity: JudgeIdentity, micro_tokens: int = 4096) -> None:
        self.model, self._identity, self.micro_tokens = model, identity, micro_tokens

    @property
    def identity(self) -> JudgeIdentity:
        return self._identity

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        longest = getattr(self.model.network.config, "max_position_embeddings", None)
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            places = []
            for place, pair in enumerate(pairs[start : start + PAIRS_AT_ONCE], start):
                if pair.first.strip() and pair.second.strip():
                    places.append(place)
                else:
                    on_opinion(place, Opinion(fault="an empty answer, which a reward model does not score"))
            self._compare([pairs[place] for place in places], places, longest, on_opinion)

    def _compare(
        self, pairs: Sequence[AnswerPair], places: Sequence[int], longest: int | None, on_opinion: OnOpinion
    ) -> None:
        asked = [(pair.prompt, [turn("assistant", text)]) for pair in pairs for text in (pair.first, pair.second)]
        names = [f"pair {pair.id}" for pair in pairs for _ in range(2)]
        tokens = [
            len(render_answer(prompt, answer, self.model.template, name).ids)
            for (prompt, answer), name in zip(asked, names, strict=True)
        ]
        rewards = rewards_of_answers(self.model, asked, names, self.micro_tokens, longest)
        for number, place in enumerate(places):
            one, other = 2 * number, 2 * number + 1
            on_opinion(place, reward_opinion(rewards[one], rewards[other], tokens[one] + tokens[other]))


def reward_opinion(first: float | None, second: float | None, tokens: int) -> Opinion:
    """Of two rewards; None: the answer is longer than the model's context."""
    if first is None or second is None:
        return Opinion(tokens_in=tokens, calls=2, fault="an answer that is longer than the reward model's context")
    if not (math.isfinite(first) and math.isfinite(second)):
        return Opinion(tokens_in=tokens, calls=2, fault=f"rewards {first} and {second}")
    probability = 1 / (1 + math.exp(-max(-700.0, min(700.0, first - second))))
    return Opinion((probability, 1 - probability), None, 1.0, 2, tokens)
