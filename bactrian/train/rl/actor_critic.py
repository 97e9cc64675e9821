"""Proximal policy optimisation with a value model of its own [Schulman et al. 2017; Tülu 2.5, Tülu 3]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel
from bactrian.train.fitting import Halvable
from bactrian.train.frozen import read_in_step
from bactrian.train.loop import Share, Update
from bactrian.train.losses import clipped_policy, kl_estimate
from bactrian.train.objectives import clipped_value, generalised_advantages, whiten
from bactrian.train.options import CriticSettings, MemorySettings, PPOUpdate, SamplingSettings
from bactrian.train.rl.core import (
    PolicyCore,
    TrainedAnswers,
    column,
    planted,
    policy_metrics,
    sampled_logprobs,
    shared,
    unless_cut,
)
from bactrian.train.rl.kept_rollouts import Keep, nothing_kept
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout, Sampler, of_rollouts, refuse_stale
from bactrian.train.supervised import step_rows

Assess = Callable[[Sequence[Group], Sequence[Sequence[float]]], list[list[float]]]


class EndReward(Protocol):
    """What an answer is worth that never ends."""

    @property
    def no_end_reward(self) -> float | None: ...


class ActorCriticSettings(Protocol):
    """What ActorCritic reads of a stage's settings."""

    @property
    def problems_per_step(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def kl(self) -> float: ...
    @property
    def update(self) -> PPOUpdate: ...
    @property
    def critic(self) -> CriticSettings: ...
    @property
    def sampling(self) -> SamplingSettings: ...
    @property
    def memory(self) -> MemorySettings: ...
    @property
    def reward(self) -> EndReward: ...


class ActorCritic:
    """PPO: policy and value model are trained together; the value of a state is the head's number at the token before.

    In each step: sample, score, take old log-probabilities, the reference's and old values from the trainer's own
    forward, estimate advantages, then `epochs` passes over the same answers. In the first update the ratio is 1.
    """

    whole_weights = True

    def __init__(
        self,
        policy: LanguageModel,
        value: RewardModel,
        sampler: Sampler,
        assess: Assess,
        problems: int,
        settings: ActorCriticSettings,
        *,
        steps: int,
        seed: int,
        reference: LanguageModel | None = None,
        keep: Keep = nothing_kept,
    ):
        """
        Args:
            assess: from the groups and the verifiers' scores to the reward of each answer.
            problems: how many there are; each epoch visits them in a new order.
            reference: frozen start of the policy; needed if settings.kl > 0.
            keep: is shown the answers of every step.
        """
        self.policy, self.value, self.sampler, self.assess = policy, value, sampler, assess
        self.problems, self.settings, self.reference = problems, settings, reference
        self.steps, self.seed, self.keep = steps, seed, keep
        self.updates_per_step = settings.epochs * settings.update.parts
        self.core = PolicyCore(
            policy,
            sampler,
            self._sample,
            sampling=settings.sampling,
            memory=settings.memory,
            temperature=settings.temperature,
            steps=steps,
        )
        self.state, self.restore = self.core.queue.state, self.core.queue.restore
        self.network = torch.nn.ModuleDict({"policy": policy.network, "value": value.network})
        both = (("policy", policy), ("value", value))
        self.masters = {f"{part}.{name}": w for part, model in both for name, w in model.masters.items()}

    def updates(self, step: int) -> Iterator[Update]:
        s = self.settings
        batch, aged = self.core.batch(step)
        problems = [answered.problem for answered in batch]
        episodes = self._assessed(problems, [answered.rollouts for answered in batch])
        self.keep(step, [AnsweredProblem(p, e.rollouts, e.rewards) for p, e in zip(problems, episodes, strict=True)])
        self._look_back(episodes)
        self._advantages(episodes)
        told = _headline(episodes) | aged
        self.core.refuse_gap(told["logprob_gap_mean"], step)
        tokens = sum(e.tokens for e in episodes)
        parts = s.update.parts
        for epoch in range(s.epochs):
            order = _order(len(episodes), self.seed, step * s.epochs + epoch) if parts > 1 else range(len(episodes))
            size = -(-len(episodes) // parts)
            for part in range(parts):
                mine = [episodes[i] for i in order[part * size : (part + 1) * size]]
                yield self._update(mine, told, tokens if epoch == part == 0 else 0, step >= s.critic.value_warmup)

    def _sample(self, step: int, version: int) -> list[AnsweredProblem]:
        """The batch of a step from the present weights; what it is worth is asked when it is trained on."""
        chosen = step_rows(self.problems, self.settings.problems_per_step, step, self.seed)
        sampled = self.core.sampler.rollouts(chosen, step, version)
        for rollouts in sampled:
            refuse_stale(rollouts, step, version)
        return [AnsweredProblem(problem, rollouts, []) for problem, rollouts in zip(chosen, sampled, strict=True)]

    def _assessed(self, chosen: Sequence[int], sampled: Sequence[list[Rollout]]) -> list[TrainedAnswers]:
        groups = [self.core.group(problem, rollouts) for problem, rollouts in zip(chosen, sampled, strict=True)]
        known = [r.score for rollouts in sampled for r in rollouts if r.judged]
        mean = sum(known) / max(1, len(known))  # of an answer that was not judged nothing is known
        rewards = self.assess(groups, [[r.score if r.judged else mean for r in rollouts] for rollouts in sampled])
        no_end = self.settings.reward.no_end_reward
        return [
            TrainedAnswers(group, rollouts, unless_cut(mine, rollouts, no_end))
            for group, rollouts, mine in zip(groups, sampled, rewards, strict=True)
        ]

    def _look_back(self, episodes: Sequence[TrainedAnswers]) -> None:
        """Old log-probs and values, and the reference's log-probs, of every token."""
        bins = self.core.bins(episodes)
        found_of = shared([partial(self._columns, part) for part in bins], in_step=read_in_step(self.reference))
        for part, columns in zip(bins, found_of, strict=True):
            for name, found in columns.items():
                pieces = iter(torch.split(found, [len(answer) for e in part for answer in e.group.answers]))
                for e in part:
                    setattr(e, name, [next(pieces) for _ in e.rollouts])

    @torch.no_grad()
    def _columns(self, part: Sequence[TrainedAnswers]) -> dict[str, torch.Tensor]:
        """What is known of each token before the step, of all answers [N]."""
        forest, _, where, _ = planted(part)
        columns = {
            "old": self.policy.logprobs(forest, where, self.settings.temperature),
            "values": self.value.scores(forest, forest.previous[where]),
        }
        if self.settings.kl:
            assert self.reference is not None, "a KL term needs a reference"
            columns["reference"] = self.reference.logprobs(forest, where, self.settings.temperature)
        return columns

    def _by_token(self, e: TrainedAnswers, i: int) -> torch.Tensor:
        """The reward of each token of an answer, [T]: what it costs in KL, and at the last token the answer's own."""
        s, rewards = self.settings, torch.zeros_like(e.values[i])
        if s.kl:
            rewards -= s.kl * kl_estimate(e.old[i] - e.reference[i], s.update.kl_estimator)
        rewards[-1] += e.rewards[i]
        return rewards

    def _advantages(self, episodes: Sequence[TrainedAnswers]) -> None:
        s = self.settings.update
        for e in episodes:
            for i in range(len(e.rollouts)):
                found = generalised_advantages(self._by_token(e, i), e.values[i], s.discount, s.decay)
                e.advantages.append(found[0])
                e.targets.append(found[1])
        if s.whiten:  # over the batch; targets are of the advantages before
            flat = [a for e in episodes for a in e.advantages]
            pieces = iter(torch.split(whiten(torch.cat(flat)), [len(a) for a in flat]))
            for e in episodes:
                e.advantages = [next(pieces) for _ in e.advantages]

    def _update(self, episodes: list[TrainedAnswers], told: dict[str, float], tokens: int, moves: bool) -> Update:
        trained, bins = sum(e.tokens for e in episodes), self.core.bins(episodes)
        return Update(
            micro_batches=[self._share(part, trained, moves) for part in bins],
            tokens=tokens,
            sizes=[sum(e.group.tokens for e in part) for part in bins],
            metrics=told,
            finish=lambda sums: {key: value / max(1, trained) for key, value in sums.items()},
        )

    def _share(self, part: list[TrainedAnswers], trained: int, moves: bool) -> Halvable[TrainedAnswers]:
        """`moves`: whether the policy is trained, and not its value model alone."""
        s = self.settings

        def share(part: list[TrainedAnswers]) -> Share:
            forest, _, where, _ = planted(part)
            with torch.set_grad_enabled(moves):
                logprobs, entropy = self.policy.logprobs_and_entropy(forest, where, s.temperature)
            values = self.value.scores(forest, forest.previous[where])
            old, advantages, before, targets = (
                column(part, name, logprobs) for name in ("old", "advantages", "values", "targets")
            )
            policy = clipped_policy(logprobs, old, advantages, s.update.clip, s.update.clip)
            value = clipped_value(values, before, targets, s.critic.value_clip)
            each, weights = self.core.weighed(policy.loss, old, sampled_logprobs(part, old))
            metrics = {
                **policy_metrics(policy, entropy),
                "value_loss": float(value.detach().sum()),
                "approx_kl": float(0.5 * (logprobs.detach() - old).square().sum()),
                **weights,
            }
            loss = s.critic.value_weight * value.sum()
            return ((each.sum() + loss) if moves else loss) / trained, metrics

        return Halvable(share, part, [each.group.tokens for each in part], TrainedAnswers.halves)


def _order(count: int, seed: int, epoch: int) -> list[int]:
    key = np.array([seed % 2**64, 2**63 + epoch], dtype=np.uint64)
    return [int(i) for i in np.random.Generator(np.random.Philox(key=key)).permutation(count)]


def _headline(episodes: Sequence[TrainedAnswers]) -> dict[str, float]:
    """What says whether a policy learns, and whether the value model knows what is to come."""
    flat = [r for e in episodes for r in e.rollouts]
    rewards = torch.tensor([r for e in episodes for r in e.rewards])
    here = torch.zeros(())
    old, targets, values = (column(episodes, name, here).float() for name in ("old", "targets", "values"))
    gaps = (torch.tensor([x for r in flat for x in r.logprobs]) - old).abs()
    found = {
        "reward": float(rewards.mean()),
        **of_rollouts(flat),
        "logprob_gap_mean": float(gaps.mean()),
        "logprob_gap_max": float(gaps.max()),
        "value_explained": float(1 - (targets - values).var() / targets.var().clamp(min=1e-8)),
    }
    if episodes[0].reference:
        reference = torch.cat([x for e in episodes for x in e.reference]).float().cpu()
        found["kl"] = float((old - reference).mean())
    return found
