"""Reinforcement learning with verifiable rewards: rewards and advantages within a group, and the policy's loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from bactrian.model.language_model import LanguageModel
from bactrian.train.fitting import Halvable
from bactrian.train.loop import Share, Update
from bactrian.train.losses import ADVANTAGES, AGGREGATES, POLICY_LOSSES, PolicyTokens, StepSize, kl_estimate
from bactrian.train.objectives import overlong_penalty
from bactrian.train.options import GroupSampling, GroupUpdate, MemorySettings
from bactrian.train.rl.core import (
    PolicyCore,
    TrainedAnswers,
    column,
    planted,
    policy_metrics,
    sampled_logprobs,
    unless_cut,
)
from bactrian.train.rl.kept_rollouts import Keep, nothing_kept
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout, Sampler, gather, headline
from bactrian.train.supervised import step_rows


class GroupReward(Protocol):
    """What becomes of answers that are long or never end."""

    @property
    def no_end_reward(self) -> float | None: ...
    @property
    def overlong_zone(self) -> int: ...


class GroupSettings(Protocol):
    """What GroupPolicy reads of a stage's settings."""

    @property
    def problems_per_step(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def kl(self) -> float: ...
    @property
    def objective(self) -> str: ...
    @property
    def advantage(self) -> str: ...
    @property
    def aggregate(self) -> str: ...
    @property
    def update(self) -> GroupUpdate: ...
    @property
    def sampling(self) -> GroupSampling: ...
    @property
    def memory(self) -> MemorySettings: ...
    @property
    def reward(self) -> GroupReward: ...


class GroupPolicy:
    """GRPO: each answer is judged against the other answers to the same problem.

    Groups whose rewards are all alike have no gradient and are not trained on; they are counted. Within a step,
    rollouts are cut into `updates_per_step` parts, one optimiser update each. Old log-probabilities come from the
    trainer's own forward: in the first update from the very one that is trained on, so its ratio is exactly 1; for
    later updates from one before the first. Where rollouts are older (`staleness`), that is the policy that steps are
    kept near to, and `importance_cap` weighs its probabilities against those of the weights that sampled.
    """

    whole_weights = True

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        problems: int,
        settings: GroupSettings,
        *,
        steps: int,
        seed: int,
        reference: LanguageModel | None = None,
        keep: Keep = nothing_kept,
    ):
        """
        Args:
            problems: how many there are; each epoch visits them in a new order.
            reference: frozen start of the policy; needed if settings.kl > 0.
            keep: is shown the answers of every step.
        """
        self.model, self.sampler, self.problems, self.settings = model, sampler, problems, settings
        self.steps, self.seed, self.reference, self.keep = steps, seed, reference, keep
        self.updates_per_step = settings.update.updates_per_step
        self.loss, self.aggregate = POLICY_LOSSES.use(settings.objective), AGGREGATES.use(settings.aggregate)
        self.advantages = ADVANTAGES.use(settings.advantage)
        self.core = PolicyCore(
            model,
            sampler,
            self._sample,
            sampling=settings.sampling,
            memory=settings.memory,
            temperature=settings.temperature,
            steps=steps,
            first=self._first,
        )
        self.state, self.restore = self.core.queue.state, self.core.queue.restore

    def updates(self, step: int) -> Iterator[Update]:
        sampled, aged = self.core.batch(step)
        self.keep(step, sampled)
        groups = [trained for each in sampled if each.alive and (trained := self._trained(each)).rollouts]
        size = -(-len(groups) // self.updates_per_step)
        self._score_before(groups, later=groups[size:])
        told = headline(sampled) | aged
        tokens = sum(len(r.ids) for each in sampled for r in each.rollouts)
        for part in range(self.updates_per_step):
            mine = groups[part * size : (part + 1) * size]
            yield self._update(mine, told, tokens if part == 0 else 0, step)

    def _sample(self, step: int, version: int) -> list[AnsweredProblem]:
        s = self.settings
        refills = s.sampling.refills
        return gather(
            self.core.sampler,
            self._rewards,
            self.problems,
            s.problems_per_step,
            step,
            self.seed,
            refills,
            version,
            self.core.newest,
        )

    def _first(self, step: int) -> list[int]:
        """The problems that `gather` asks first."""
        return step_rows(self.problems, self.settings.problems_per_step, step, self.seed)

    def _rewards(self, problem: int, rollouts: Sequence[Rollout]) -> list[float]:
        s = self.settings
        rewards = unless_cut([r.score for r in rollouts], rollouts, s.reward.no_end_reward)
        if zone := s.reward.overlong_zone:
            late = (overlong_penalty(len(r.ids), s.max_new_tokens, zone) for r in rollouts)
            rewards = [reward + penalty for reward, penalty in zip(rewards, late, strict=True)]
        if s.kl and s.update.kl_in == "reward":
            (found,) = self.core.logprobs(self._frozen, [self.core.group(problem, rollouts)])
            for i, (rollout, reference) in enumerate(zip(rollouts, found, strict=True)):
                difference = torch.tensor(rollout.logprobs) - reference.cpu()
                rewards[i] -= s.kl * float(kl_estimate(difference, s.update.kl_estimator).sum())
        return rewards

    def _trained(self, sampled: AnsweredProblem) -> TrainedAnswers:
        """The answers of a group that are trained on, each with its advantage on each of its tokens."""
        advantages = self.advantages(torch.tensor([sampled.rewards]))[0]
        kept = [i for i, r in enumerate(sampled.rollouts) if r.ended or self.settings.update.train_unended]
        rollouts = [sampled.rollouts[i] for i in kept]
        return TrainedAnswers(
            self.core.group(sampled.problem, rollouts),
            rollouts,
            [sampled.rewards[i] for i in kept],
            advantages=[advantages[i].expand(len(sampled.rollouts[i].ids)) for i in kept],
        )

    @property
    def _frozen(self) -> LanguageModel:
        assert self.reference is not None, "a KL term needs a reference"
        return self.reference

    def _score_before(self, groups: list[TrainedAnswers], later: list[TrainedAnswers]) -> None:
        """Old log-probs of the groups of later updates; the reference's of all, where the loss has a KL term."""
        for g, old in self.core.scored(self.model, later):
            g.old = old
        if self.settings.kl and self.settings.update.kl_in == "loss":
            for g, reference in self.core.scored(self._frozen, groups):
                g.reference = reference

    def _update(self, groups: list[TrainedAnswers], told: dict[str, float], tokens: int, step: int) -> Update:
        trained = sum(g.tokens for g in groups)
        size = StepSize(sum(len(g.rollouts) for g in groups), trained, self.settings.max_new_tokens)
        bins = self.core.bins(groups)

        def finish(sums: dict[str, float]) -> dict[str, float]:
            worst = sums.pop("logprob_gap_max", 0.0)
            means = {key: value / max(1, trained) for key, value in sums.items()}
            self.core.refuse_gap(means.get("logprob_gap_mean", 0.0), step)
            surrogate = means.pop("surrogate", 0.0)
            return {"surrogate": surrogate, **means, "logprob_gap_max": worst}

        return Update(
            micro_batches=[self._share(part, size) for part in bins],
            tokens=tokens,
            sizes=[sum(g.group.tokens for g in part) for part in bins],
            metrics=told,
            finish=finish,
        )

    def _share(self, part: list[TrainedAnswers], size: StepSize) -> Halvable[TrainedAnswers]:
        s = self.settings

        def share(part: list[TrainedAnswers]) -> Share:
            forest, spans, where, owner = planted(part)
            logprobs, entropy = self.model.logprobs_and_entropy(forest, where, s.temperature)
            owner = owner.to(logprobs.device)
            old = column(part, "old", logprobs) if part[0].old else logprobs.detach()
            sampled = sampled_logprobs(part, logprobs)
            tokens = PolicyTokens(logprobs, old, column(part, "advantages", logprobs), owner, len(spans))
            policy = self.loss(tokens, s.update.clip_low, s.update.clip_high)
            gap = (sampled - old).abs()
            each, weights = self.core.weighed(policy.loss, old, sampled)
            metrics = {
                **policy_metrics(policy, entropy),
                "logprob_gap_mean": float(gap.sum()),
                "logprob_gap_max": float(gap.max()),
            }
            metrics |= weights
            if s.kl and s.update.kl_in == "loss":
                kl = kl_estimate(logprobs - column(part, "reference", logprobs), s.update.kl_estimator)
                each = each + s.kl * kl
                metrics["kl"] = float(kl.detach().sum())
            lengths = torch.tensor([span.length for span in spans], device=owner.device, dtype=each.dtype)[owner]
            return self.aggregate(each, lengths, size), metrics

        return Halvable(share, part, [each.group.tokens for each in part], TrainedAnswers.halves)
