"""Several reward models as one: the weighted mean of their rewards, each standardised on held-out answers first.

Rewards of models trained apart have no common level or scale; without standardising, the one with the widest spread
would decide [reward fusion of ALFA, Li et al. 2025; standardising is ours].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from bactrian.chat import ChatTemplate
from bactrian.errors import BactrianError
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel, rewards_of

LEAST = 2
"""Answers from which a spread can be told."""


@dataclass(frozen=True)
class FusedPart:
    """One reward model and its weight; mean, spread: of its rewards on the answers that it was standardised on."""

    name: str
    model: RewardModel
    weight: float = 1.0
    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class FusedReward:
    """A scorer like a reward model: its reward is Σ weight · (reward − mean) / spread, over Σ weight."""

    parts: tuple[FusedPart, ...]

    def __post_init__(self) -> None:
        """
        Raises:
            BactrianError: no part, weights that are not all above 0, or models that read messages in different ways.
        """
        if not self.parts or min(part.weight for part in self.parts) <= 0:
            raise BactrianError("reward fusion: expected reward models with weights above 0")
        first = self.parts[0]
        for part in self.parts[1:]:
            if part.model.template.digest != first.model.template.digest:
                raise BactrianError(f"reward fusion: {part.name} has another chat template than {first.name}")
            if part.model.tokenizer.get_vocab() != first.model.tokenizer.get_vocab():
                raise BactrianError(f"reward fusion: {part.name} has another tokenizer than {first.name}")

    @property
    def template(self) -> ChatTemplate:
        return self.parts[0].model.template

    def rewards(self, groups: Sequence[Group]) -> torch.Tensor:
        """The fused reward of each answer of each group, float32 [answers]."""
        whole = sum(part.weight for part in self.parts)
        total = torch.zeros(sum(len(group.answers) for group in groups))
        for part in self.parts:
            total += part.weight / whole * (part.model.rewards(groups).float().cpu() - part.mean) / part.spread
        return total

    def each(self, change: Callable[[RewardModel], RewardModel]) -> FusedReward:
        """The same of models that are changed."""
        return FusedReward(tuple(replace(part, model=change(part.model)) for part in self.parts))

    def standardised(self, groups: Sequence[Group], micro_tokens: int = 4096) -> FusedReward:
        """The same with the mean and spread of each model's rewards on these answers.

        Raises:
            BactrianError: fewer than two answers, or a model that gives all of them one reward.
        """
        made = []
        for part in self.parts:
            found = [reward for group in rewards_of(part.model, groups, micro_tokens) for reward in group]
            if len(found) < LEAST or not all(map(math.isfinite, found)):
                raise BactrianError(f"reward fusion: {part.name}: found {len(found)} finite rewards, expected some")
            mean = sum(found) / len(found)
            spread = math.sqrt(sum((reward - mean) ** 2 for reward in found) / (len(found) - 1))
            if not spread:
                raise BactrianError(f"reward fusion: {part.name} gives all {len(found)} answers one reward, {mean:.3g}")
            made.append(FusedPart(part.name, part.model, part.weight, mean, spread))
        return FusedReward(tuple(made))
