"""Reward models from pairs (Bradley-Terry), and rewards that mix a verifier's score with a reward model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel, Scorer, rewards_of
from bactrian.train.batches import Batches
from bactrian.train.loop import Share
from bactrian.train.objectives import bradley_terry
from bactrian.train.preference import PreferencePair


class BradleyTerry(Batches):
    """-log sigma(r_chosen - r_rejected - margin), mean over the pairs of a step [Stiennon et al. 2020].

    A centring weight c adds c (r_chosen + r_rejected)², which holds the rewards' level near 0 [Eisenstein et al. 2023]:
    pairs alone say nothing about it.
    """

    def __init__(
        self,
        model: RewardModel,
        pairs: Sequence[PreferencePair],
        margins: Sequence[float] | None = None,
        *,
        centring: float,
        batch_pairs: int,
        epochs: float,
        seed: int,
        micro_tokens: int,
    ):
        """
        Args:
            margins: of each pair; None for none.
        """
        super().__init__(pairs, batch=batch_pairs, epochs=epochs, seed=seed, micro_tokens=micro_tokens)
        self.model, self.pairs, self.centring = model, pairs, centring
        self.margins = torch.zeros(len(pairs)) if margins is None else torch.tensor(margins)

    def share(self, rows: list[int], count: int, known: dict[str, float]) -> Share:
        rewards = self.model.rewards([self.pairs[i].group for i in rows]).view(-1, 2)
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        each = bradley_terry(chosen, rejected, self.margins[rows].to(chosen))
        each = each + self.centring * (chosen + rejected).square()
        metrics = {
            "accuracy": float((chosen > rejected).sum()),
            "margin": float((chosen - rejected).detach().sum()),
            "reward_chosen": float(chosen.detach().sum()),
            "reward_rejected": float(rejected.detach().sum()),
        }
        return each.sum() / count, metrics


@dataclass(frozen=True)
class MixedReward:
    """alpha x the verifier's score + weight x the reward model's reward (docs/methods.md).

    A reward model's scale is its own: where both count, `weight` has to be set with an eye on its manifest's spread.
    """

    alpha: float = 10.0
    model: Scorer | None = None
    weight: float = 0.0
    micro_tokens: int = 4096

    def __call__(self, groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> list[list[float]]:
        """The reward of each answer of each group, given the verifiers' scores in [0, 1]."""
        verified = [[self.alpha * score for score in group] for group in scores]
        if self.model is None or not self.weight:
            return verified
        learned = rewards_of(self.model, groups, self.micro_tokens)
        return [
            [v + self.weight * r for v, r in zip(a, b, strict=True)] for a, b in zip(verified, learned, strict=True)
        ]
