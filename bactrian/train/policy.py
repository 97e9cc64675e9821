"""Reinforcement learning with verifiable rewards: rollouts, rewards, advantages and the policy's update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, pack, plant
from bactrian.train.batches import answer_tokens
from bactrian.train.loop import Share, Update
from bactrian.train.objectives import KLEstimator, clipped_policy, group_advantages, kl_estimate
from bactrian.train.supervised import step_rows

Aggregate = Literal["token", "response", "constant"]


@dataclass(frozen=True)
class Rollout:
    """One sampled answer and what it was worth.

    ids, logprobs: [T], as sampled; never tokenised again.
    score: the verifier's, in [0, 1].
    ended: an end token or stop text was sampled.
    version: of the weights that sampled it.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    ended: bool
    version: int


class Sampler(Protocol):
    """Answers a batch of problems, n times each, and scores the answers."""

    def rollouts(self, problems: Sequence[int], step: int, version: int) -> list[list[Rollout]]:
        """n rollouts for each problem number; a function of (weights, problems, step) alone."""
        ...

    def prompt(self, problem: int) -> tuple[int, ...]:
        """The problem's prompt."""
        ...


@dataclass(frozen=True)
class Settings:
    """Of GRPO and its variants (SPEC 4.4).

    scale: of the advantages (see `group_advantages`).
    aggregate: "token": mean over the tokens of all trained groups [DAPO]; "response": mean over each response's tokens,
        then over responses [GRPO]; "constant": sum over tokens / (max_new_tokens x responses) [Dr. GRPO].
    unended_reward: replaces the reward of an answer that was cut off; None leaves its score.
    gap_limit: largest mean gap between the sampler's and the trainer's log-probs of a step that is let pass.
    """

    problems_per_step: int
    updates_per_step: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 256
    scale: Literal["std", "none", "rloo"] = "std"
    aggregate: Aggregate = "token"
    clip_low: float = 0.2
    clip_high: float = 0.272
    kl: float = 0.0
    kl_estimator: KLEstimator = "k3"
    unended_reward: float | None = 0.0
    gap_limit: float = 0.05
    micro_tokens: int = 4096


@dataclass
class _TrainedGroup:
    """A group whose rewards differ: what the update reads. Per answer tensors are [T]."""

    group: Group
    advantages: list[float]
    sampled: list[torch.Tensor]
    old: list[torch.Tensor] | None = None
    reference: list[torch.Tensor] | None = None


class GroupPolicy:
    """GRPO: each answer is judged against the other answers to the same problem.

    Groups whose rewards are all alike have no gradient and are not trained on; they are counted. Within a step,
    rollouts are cut into `updates_per_step` parts, one optimiser update each. Old log-probabilities come from the
    trainer's own forward: in the first update from the very one that is trained on, so its ratio is exactly 1; for
    later updates from one before the first.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        problems: int,
        settings: Settings,
        *,
        steps: int,
        seed: int,
        reference: LanguageModel | None = None,
    ):
        """
        Args:
            problems: how many there are; each epoch visits them in a new order.
            reference: frozen start of the policy; needed if settings.kl > 0.
        """
        self.model, self.sampler, self.problems, self.settings = model, sampler, problems, settings
        self.steps, self.seed, self.reference = steps, seed, reference
        self.updates_per_step = settings.updates_per_step

    def updates(self, step: int) -> Iterator[Update]:
        s = self.settings
        chosen = step_rows(self.problems, s.problems_per_step, step, self.seed)
        rollouts = self.sampler.rollouts(chosen, step, version=step)
        stale = {r.version for group in rollouts for r in group} - {step}
        if stale:
            raise BactrianError(f"step {step + 1}: rollouts of weight versions {sorted(stale)}, expected {step}")
        rewards = torch.tensor([[self._reward(r) for r in group] for group in rollouts])
        advantages = group_advantages(rewards, s.scale)
        alive = [i for i in range(len(rollouts)) if float(rewards[i].max() - rewards[i].min()) > 1e-9]
        groups = [
            _TrainedGroup(
                Group(self.sampler.prompt(chosen[i]), tuple(r.ids for r in rollouts[i])),
                advantages[i].tolist(),
                [torch.tensor(r.logprobs) for r in rollouts[i]],
            )
            for i in alive
        ]
        size = -(-len(groups) // s.updates_per_step)
        self._score_before(groups, later=groups[size:])
        headline = _headline(rollouts, rewards, len(alive))
        tokens = sum(len(r.ids) for group in rollouts for r in group)
        for part in range(s.updates_per_step):
            mine = groups[part * size : (part + 1) * size]
            yield self._update(mine, headline, tokens if part == 0 else 0, step)

    def _reward(self, rollout: Rollout) -> float:
        unended = self.settings.unended_reward
        return rollout.score if rollout.ended or unended is None else unended

    def _bins(self, groups: list[_TrainedGroup]) -> list[list[_TrainedGroup]]:
        return [[groups[i] for i in b] for b in pack([g.group.tokens for g in groups], self.settings.micro_tokens)]

    @torch.no_grad()
    def _score_before(self, groups: list[_TrainedGroup], later: list[_TrainedGroup]) -> None:
        """Old log-probs of the groups of later updates; the reference's of all, where the loss has a KL term."""
        for part in self._bins(later):
            for g, old in zip(part, self._by_answer(self.model, part), strict=True):
                g.old = old
        if self.settings.kl:
            assert self.reference is not None, "a KL term needs a reference"
            for part in self._bins(groups):
                for g, reference in zip(part, self._by_answer(self.reference, part), strict=True):
                    g.reference = reference

    def _by_answer(self, model: LanguageModel, part: list[_TrainedGroup]) -> list[list[torch.Tensor]]:
        forest, spans = plant([g.group for g in part])
        where, _ = answer_tokens(spans)
        logprobs = model.logprobs(forest, where, self.settings.temperature)
        pieces = iter(torch.split(logprobs, [s.length for s in spans]))
        return [[next(pieces) for _ in g.group.answers] for g in part]

    def _update(self, groups: list[_TrainedGroup], headline: dict[str, float], tokens: int, step: int) -> Update:
        answers = sum(len(g.group.answers) for g in groups)
        trained = sum(len(a) for g in groups for a in g.group.answers)

        worst: list[float] = []  # largest gap of each micro-batch: metrics add up, a maximum does not

        def finish(sums: dict[str, float]) -> dict[str, float]:
            means = {key: value / max(1, trained) for key, value in sums.items()}
            gap = means.get("logprob_gap_mean", 0.0)
            if not gap <= self.settings.gap_limit:
                raise BactrianError(
                    f"step {step + 1}: the sampler's log-probs differ from the trainer's by {gap:.3g} on average; the "
                    f"limit is {self.settings.gap_limit:g}: the policy that is trained is not the one that sampled"
                )
            return {"surrogate": means.pop("surrogate", 0.0), **means, "logprob_gap_max": max(worst, default=0.0)}

        return Update(
            micro_batches=[self._share(part, answers, trained, worst) for part in self._bins(groups)],
            tokens=tokens,
            metrics=headline,
            finish=finish,
        )

    def _share(self, part: list[_TrainedGroup], answers: int, trained: int, worst: list[float]) -> Callable[[], Share]:
        s = self.settings

        def share() -> Share:
            forest, spans = plant([g.group for g in part])
            where, owner = answer_tokens(spans)
            logprobs, entropy = self.model.logprobs_and_entropy(forest, where, s.temperature)
            device = logprobs.device
            owner = owner.to(device)
            old = logprobs.detach() if part[0].old is None else torch.cat([o for g in part for o in g.old or []])
            advantages = torch.tensor([a for g in part for a in g.advantages], device=device)[owner]
            policy = clipped_policy(logprobs, old.to(device), advantages, s.clip_low, s.clip_high)
            each = policy.loss
            gap = (torch.cat([x for g in part for x in g.sampled]).to(device) - old).abs()
            worst.append(float(gap.max()))
            metrics = {
                "surrogate": float(policy.loss.detach().sum()),
                "clip_fraction": float(policy.clipped.sum()),
                "ratio": float(policy.ratio.detach().sum()),
                "entropy": float(entropy.sum()),
                "logprob_gap_mean": float(gap.sum()),
            }
            if s.kl:
                reference = torch.cat([r for g in part for r in g.reference or []]).to(device)
                kl = kl_estimate(logprobs - reference, s.kl_estimator)
                each = each + s.kl * kl
                metrics["kl"] = float(kl.detach().sum())
            lengths = torch.tensor([span.length for span in spans], device=device, dtype=each.dtype)[owner]
            if s.aggregate == "response":
                loss = (each / lengths).sum() / answers
            else:
                loss = each.sum() / (trained if s.aggregate == "token" else answers * s.max_new_tokens)
            return loss, metrics

        return share


def _headline(rollouts: list[list[Rollout]], rewards: torch.Tensor, alive: int) -> dict[str, float]:
    """What says whether a policy learns (PAINS 1), over all rollouts, trained on or not."""
    flat = [r for group in rollouts for r in group]
    return {
        "reward": float(rewards.mean()),
        "score": sum(r.score for r in flat) / len(flat),
        "reward_std": float(rewards.std(1, correction=0).mean()),
        "zero_variance": 1 - alive / len(rollouts),
        "completion_length": sum(len(r.ids) for r in flat) / len(flat),
        "truncated": sum(not r.ended for r in flat) / len(flat),
    }
