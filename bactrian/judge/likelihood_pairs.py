"""A language model's own likelihood as a judge of pairs: which of two answers it would rather have written itself.

It is asked nothing and knows no rubric. A model that can solve a task finds slips in answers to it unlikely, so this is
a strong judge for its price where right and wrong can be told, and none of style or taste.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bactrian.chat import prompt_ids, render_answer
from bactrian.generate.engines import open_engine
from bactrian.judge.models import turn
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, OnOpinion, Opinion
from bactrian.model.ranking import Ask
from bactrian.store.hardware import Hardware

METHOD = "its own likelihood of the answers"


class LikelihoodPairJudge:
    """P(first) = p(first | prompt) / (p(first | prompt) + p(second | prompt)), each with its end token.

    The order of the answers changes nothing. A pair that is too long for the model's context is a fault.
    """

    def __init__(self, folder: Path, known_as: str, hardware: Hardware) -> None:
        """
        Args:
            known_as: content hash of the folder.

        Raises:
            BactrianError: the folder holds no language model.
        """
        self.engine, self.known_as = open_engine(folder, hardware), known_as

    @property
    def identity(self) -> JudgeIdentity:
        return JudgeIdentity(self.known_as, "", self.engine.template.digest, METHOD)

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        """
        Raises:
            BactrianError: a prompt is not what the model's template takes.
        """
        asks, places = list[Ask](), list[int]()
        for place, pair in enumerate(pairs):
            ask = self._ask(pair)
            if len(ask.context) + max(map(len, ask.options)) > self.engine.longest:
                on_opinion(place, Opinion(fault=f"longer than the model's context of {self.engine.longest:,} tokens"))
            else:
                asks.append(ask)
                places.append(place)
        for batch in self.engine.likelihoods(asks):
            for number, (first, second) in batch:
                chance = first_preferred(first.logprob, second.logprob)
                read = len(asks[number].context) + sum(map(len, asks[number].options))
                on_opinion(places[number], Opinion((chance, 1 - chance), False, 1.0, 1, read))

    def _ask(self, pair: AnswerPair) -> Ask:
        name, prompt = f"pair {pair.id}", list(pair.prompt)
        context = prompt_ids(prompt, self.engine.template, name)
        options = [
            tuple(render_answer(prompt, [turn("assistant", text)], self.engine.template, name).ids[len(context) :])
            for text in (pair.first, pair.second)
        ]
        return Ask(tuple(context), tuple(options))


def first_preferred(first: float, second: float) -> float:
    """The first one's share of two likelihoods, given as logarithms.

    >>> first_preferred(-3.0, -3.0)
    0.5
    """
    return 1 / (1 + math.exp(max(-50.0, min(50.0, second - first))))
