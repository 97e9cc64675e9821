"""Reinforcement learning with verifiable rewards: rollouts, rewards, advantages and the policy's update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Group, pack, plant
from bactrian.train.batches import answer_tokens
from bactrian.train.loop import Share, Update
from bactrian.train.losses import ADVANTAGES, AGGREGATES, POLICY_LOSSES, PolicyTokens, StepSize, kl_estimate
from bactrian.train.objectives import importance_weights, overlong_penalty
from bactrian.train.options import GroupOptions
from bactrian.train.rl.rollouts import Rollout, Sampled, Sampler, gather, headline
from bactrian.train.rl.stale import Queue, age


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
    later updates from one before the first. Where rollouts are older (`staleness`), that is the policy that steps are
    kept near to, and `importance_cap` weighs its probabilities against those of the weights that sampled.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        problems: int,
        settings: GroupOptions,
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
        self.queue = Queue(self._sampled, settings.staleness, steps)
        self.state, self.restore = self.queue.state, self.queue.restore

    def updates(self, step: int) -> Iterator[Update]:
        s = self.settings
        sampled = self.queue.take(step)
        groups = [trained for each in sampled if each.alive and (trained := self._trained(each)).advantages]
        size = -(-len(groups) // s.updates_per_step)
        self._score_before(groups, later=groups[size:])
        told = headline(sampled) | ({"staleness": age(sampled, step)} if s.staleness else {})
        tokens = sum(len(r.ids) for each in sampled for r in each.rollouts)
        for part in range(s.updates_per_step):
            mine = groups[part * size : (part + 1) * size]
            yield self._update(mine, told, tokens if part == 0 else 0, step)

    def _sampled(self, step: int, version: int) -> list[Sampled]:
        """The batch of a step from the present weights."""
        s = self.settings
        groups = gather(
            self.sampler, self._rewards, self.problems, s.problems_per_step, step, self.seed, s.refills, version
        )
        if s.staleness:  # later the weights will have moved: whether sampler and trainer agree, only now can tell
            first = groups[0]
            group = Group(self.sampler.prompt(first.problem), tuple(r.ids for r in first.rollouts))
            found = torch.cat(self._by_answer(self.model, group)).cpu()
            sampled = torch.tensor([x for r in first.rollouts for x in r.logprobs])
            self._refuse_gap(float((found - sampled).abs().mean()), version)
        return groups

    def _refuse_gap(self, gap: float, step: int) -> None:
        if not gap <= self.settings.gap_limit:
            raise BactrianError(
                f"step {step + 1}: the sampler's log-probs differ from the trainer's by {gap:.3g} on average; the "
                f"limit is {self.settings.gap_limit:g}: the policy that is trained is not the one that sampled"
            )

    def _rewards(self, problem: int, rollouts: Sequence[Rollout]) -> list[float]:
        s = self.settings
        rewards = [r.score if r.ended or s.no_end_reward is None else s.no_end_reward for r in rollouts]
        if s.overlong_zone:
            late = (overlong_penalty(len(r.ids), s.max_new_tokens, s.overlong_zone) for r in rollouts)
            rewards = [reward + penalty for reward, penalty in zip(rewards, late, strict=True)]
        if s.kl and s.kl_in == "reward":
            group = Group(self.sampler.prompt(problem), tuple(r.ids for r in rollouts))
            for i, (rollout, reference) in enumerate(zip(rollouts, self._by_answer(self._frozen, group), strict=True)):
                difference = torch.tensor(rollout.logprobs) - reference.cpu()
                rewards[i] -= s.kl * float(kl_estimate(difference, s.kl_estimator).sum())
        return rewards

    def _trained(self, sampled: Sampled) -> _TrainedGroup:
        advantages = ADVANTAGES.use(self.settings.advantage)(torch.tensor([sampled.rewards]))[0].tolist()
        kept = [i for i, r in enumerate(sampled.rollouts) if r.ended or self.settings.train_unended]
        return _TrainedGroup(
            Group(self.sampler.prompt(sampled.problem), tuple(sampled.rollouts[i].ids for i in kept)),
            [advantages[i] for i in kept],
            [torch.tensor(sampled.rollouts[i].logprobs) for i in kept],
        )

    @property
    def _frozen(self) -> LanguageModel:
        assert self.reference is not None, "a KL term needs a reference"
        return self.reference

    def _bins(self, groups: list[_TrainedGroup]) -> list[list[_TrainedGroup]]:
        return [[groups[i] for i in b] for b in pack([g.group.tokens for g in groups], self.settings.micro_tokens)]

    def _score_before(self, groups: list[_TrainedGroup], later: list[_TrainedGroup]) -> None:
        """Old log-probs of the groups of later updates; the reference's of all, where the loss has a KL term."""
        for part in self._bins(later):
            for g, old in zip(part, self._by_group(self.model, [g.group for g in part]), strict=True):
                g.old = old
        if self.settings.kl and self.settings.kl_in == "loss":
            for part in self._bins(groups):
                for g, reference in zip(part, self._by_group(self._frozen, [g.group for g in part]), strict=True):
                    g.reference = reference

    def _by_answer(self, model: LanguageModel, group: Group) -> list[torch.Tensor]:
        return self._by_group(model, [group])[0]

    @torch.no_grad()
    def _by_group(self, model: LanguageModel, groups: list[Group]) -> list[list[torch.Tensor]]:
        """Log-probs of each answer of each group, [T] each."""
        forest, spans = plant(groups)
        where, _ = answer_tokens(spans)
        logprobs = model.logprobs(forest, where, self.settings.temperature)
        pieces = iter(torch.split(logprobs, [s.length for s in spans]))
        return [[next(pieces) for _ in group.answers] for group in groups]

    def _update(self, groups: list[_TrainedGroup], headline: dict[str, float], tokens: int, step: int) -> Update:
        answers = sum(len(g.group.answers) for g in groups)
        trained = sum(len(a) for g in groups for a in g.group.answers)

        worst: list[float] = []  # largest gap of each micro-batch: metrics add up, a maximum does not

        def finish(sums: dict[str, float]) -> dict[str, float]:
            means = {key: value / max(1, trained) for key, value in sums.items()}
            if not self.settings.staleness:
                self._refuse_gap(means.get("logprob_gap_mean", 0.0), step)
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
            old = old.to(device)
            sampled = torch.cat([x for g in part for x in g.sampled]).to(device)
            policy = POLICY_LOSSES.use(s.objective)(
                PolicyTokens(logprobs, old, advantages, owner, len(spans)), s.clip_low, s.clip_high
            )
            each = policy.loss
            gap = (sampled - old).abs()
            worst.append(float(gap.max()))
            metrics = {
                "surrogate": float(policy.loss.detach().sum()),
                "clip_fraction": float(policy.clipped.sum()),
                "ratio": float(policy.ratio.detach().sum()),
                "entropy": float(entropy.sum()),
                "logprob_gap_mean": float(gap.sum()),
            }
            if s.importance_cap is not None:
                weights = importance_weights(old, sampled, s.importance_cap)
                each = each * weights
                metrics["importance_weight"] = float(weights.sum())
                metrics["importance_truncated"] = float((weights >= weights.new_tensor(s.importance_cap)).sum())
            if s.kl and s.kl_in == "loss":
                reference = torch.cat([r for g in part for r in g.reference or []]).to(device)
                kl = kl_estimate(logprobs - reference, s.kl_estimator)
                each = each + s.kl * kl
                metrics["kl"] = float(kl.detach().sum())
            lengths = torch.tensor([span.length for span in spans], device=device, dtype=each.dtype)[owner]
            step = StepSize(answers, trained, s.max_new_tokens)
            return AGGREGATES.use(s.aggregate)(each, lengths, step), metrics

        return share
