"""A thought in steps: a line each, or so many tokens, as tree search grows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bactrian.errors import BactrianError
from bactrian.generate.engine import Engine
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel, rewards_of


def step_ends(ids: Sequence[int], text: Callable[[Sequence[int]], str], size: int) -> tuple[int, ...]:
    """Where the steps of a thought end: behind a token with a line break, after `size` tokens, at its end.

    >>> step_ends([5, 10, 6, 6, 6, 6], lambda ids: "".join(map(chr, ids)), 3)
    (2, 5, 6)
    """
    ends, start = list[int](), 0
    for place, id in enumerate(ids, 1):
        if "\n" in text([id]) or place - start == size or place == len(ids):
            ends.append(place)
            start = place
    return tuple(ends)


class StepScorer:
    """A reward model that was trained on steps: how likely a thought that has come so far ends
    right, in (0, 1).

    It reads the thinking model's own tokens.

    Raises:
        BactrianError: for one with another vocabulary.
    """

    def __init__(self, model: RewardModel, engine: Engine, micro_tokens: int = 4096) -> None:
        if model.template.encoder.digest != engine.template.encoder.digest:
            raise BactrianError(
                "the process reward model has another tokenizer than the model that thinks; expected "
                "one that was made of the same model (stage process_reward)"
            )
        self.model, self.micro_tokens = model, micro_tokens

    def __call__(self, prompt: Sequence[int], thoughts: Sequence[Sequence[int]]) -> list[float]:
        """The reward of each thought so far; the prompt, which opened it, is forwarded once."""
        *before, last = prompt
        group = Group(tuple(before), tuple((last, *ids) for ids in thoughts))
        (scores,) = rewards_of(self.model, [group], self.micro_tokens)
        return [sigmoid(score) for score in scores]


def sigmoid(score: float) -> float:
    from math import exp

    return 1 / (1 + exp(-max(-30.0, min(30.0, score))))
