"""Proximal policy optimisation with a value model of its own [Schulman et al. 2017; Tülu 2.5, Tülu 3]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Group, Span, pack, plant
from bactrian.model.reward_model import RewardModel
from bactrian.train.batches import answer_tokens
from bactrian.train.loop import Share, Update
from bactrian.train.losses import clipped_policy, kl_estimate
from bactrian.train.objectives import clipped_value, generalised_advantages, importance_weights, whiten
from bactrian.train.options import PPOOptions
from bactrian.train.rl.rollouts import Rollout, Sampled, Sampler, refuse_stale
from bactrian.train.rl.stale import Queue, age
from bactrian.train.supervised import step_rows

Assess = Callable[[Sequence[Group], Sequence[Sequence[float]]], list[list[float]]]


@dataclass
class _Episodes:
    """The answers to one problem; of each answer a tensor [T] by token."""

    group: Group
    rollouts: list[Rollout]
    rewards: list[float]
    old: list[torch.Tensor] = field(default_factory=list)
    reference: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    advantages: list[torch.Tensor] = field(default_factory=list)
    targets: list[torch.Tensor] = field(default_factory=list)


class PPO:
    """Policy and value model are trained together; the value of a state is the head's number at the token before.

    In each step: sample, score, take old log-probabilities, the reference's and old values from the trainer's own
    forward, estimate advantages, then `epochs` passes over the same answers. In the first update the ratio is 1.
    """

    def __init__(
        self,
        policy: LanguageModel,
        value: RewardModel,
        sampler: Sampler,
        assess: Assess,
        problems: int,
        settings: PPOOptions,
        *,
        steps: int,
        seed: int,
        reference: LanguageModel | None = None,
    ):
        """
        Args:
            assess: from the groups and the verifiers' scores to the reward of each answer.
            problems: how many there are; each epoch visits them in a new order.
            reference: frozen start of the policy; needed if settings.kl > 0.
        """
        self.policy, self.value, self.sampler, self.assess = policy, value, sampler, assess
        self.problems, self.settings, self.reference = problems, settings, reference
        self.steps, self.seed = steps, seed
        self.updates_per_step = settings.epochs * settings.parts
        self.queue = Queue(self._sampled, settings.staleness, steps)
        self.state, self.restore = self.queue.state, self.queue.restore
        self.network = torch.nn.ModuleDict({"policy": policy.network, "value": value.network})
        both = (("policy", policy), ("value", value))
        self.masters = {f"{part}.{name}": w for part, model in both for name, w in model.masters.items()}

    def updates(self, step: int) -> Iterator[Update]:
        s = self.settings
        batch = self.queue.take(step)
        episodes = self._assessed([group.problem for group in batch], [group.rollouts for group in batch])
        self._look_back(episodes)
        self._advantages(episodes)
        headline = _headline(episodes)
        if s.staleness:
            headline["staleness"] = age(batch, step)
        else:
            self._refuse_gap(headline["logprob_gap_mean"], step)
        tokens = sum(len(r.ids) for e in episodes for r in e.rollouts)
        for epoch in range(s.epochs):
            order = _order(len(episodes), self.seed, step * s.epochs + epoch) if s.parts > 1 else range(len(episodes))
            size = -(-len(episodes) // s.parts)
            for part in range(s.parts):
                mine = [episodes[i] for i in order[part * size : (part + 1) * size]]
                yield self._update(mine, headline, tokens if epoch == part == 0 else 0, step >= s.value_warmup)

    def _sampled(self, step: int, version: int) -> list[Sampled]:
        """The batch of a step from the present weights; what it is worth is asked when it is trained on."""
        s = self.settings
        chosen = step_rows(self.problems, s.problems_per_step, step, self.seed)
        batch = [Sampled(p, r, []) for p, r in zip(chosen, self.sampler.rollouts(chosen, step, version), strict=True)]
        for group in batch:
            refuse_stale(group.rollouts, step, version)
        if s.staleness:  # later the weights will have moved: whether sampler and trainer agree, only now can tell
            self._refuse_gap(self._gap(batch[0]), version)
        return batch

    @torch.no_grad()
    def _gap(self, sampled: Sampled) -> float:
        """Mean gap between the sampler's and the trainer's log-probs of a group."""
        group = Group(self.sampler.prompt(sampled.problem), tuple(r.ids for r in sampled.rollouts))
        forest, spans = plant([group])
        found = self.policy.logprobs(forest, answer_tokens(spans)[0], self.settings.temperature).cpu()
        return float((found - torch.tensor([x for r in sampled.rollouts for x in r.logprobs])).abs().mean())

    def _assessed(self, chosen: Sequence[int], sampled: Sequence[list[Rollout]]) -> list[_Episodes]:
        groups = [
            Group(self.sampler.prompt(problem), tuple(r.ids for r in rollouts))
            for problem, rollouts in zip(chosen, sampled, strict=True)
        ]
        known = [r.score for rollouts in sampled for r in rollouts if r.judged]
        mean = sum(known) / max(1, len(known))  # of an answer that was not judged nothing is known
        rewards = self.assess(groups, [[r.score if r.judged else mean for r in rollouts] for rollouts in sampled])
        unended = self.settings.no_end_reward
        return [
            _Episodes(
                group,
                rollouts,
                [r if o.ended or unended is None else unended for r, o in zip(mine, rollouts, strict=True)],
            )
            for group, rollouts, mine in zip(groups, sampled, rewards, strict=True)
        ]

    def _bins(self, episodes: Sequence[_Episodes]) -> list[list[_Episodes]]:
        return [[episodes[i] for i in b] for b in pack([e.group.tokens for e in episodes], self.settings.micro_tokens)]

    @torch.no_grad()
    def _look_back(self, episodes: Sequence[_Episodes]) -> None:
        """Old log-probs and values, and the reference's log-probs, of every token."""
        for part in self._bins(episodes):
            forest, spans, where = _planted(part)
            columns = {
                "old": self.policy.logprobs(forest, where, self.settings.temperature),
                "values": self.value.scores(forest, forest.previous[where]),
            }
            if self.settings.kl:
                assert self.reference is not None, "a KL term needs a reference"
                columns["reference"] = self.reference.logprobs(forest, where, self.settings.temperature)
            for name, column in columns.items():
                pieces = iter(torch.split(column, [span.length for span in spans]))
                for e in part:
                    setattr(e, name, [next(pieces) for _ in e.rollouts])

    def _by_token(self, e: _Episodes, i: int) -> torch.Tensor:
        """The reward of each token of an answer, [T]: what it costs in KL, and at the last token the answer's own."""
        s, rewards = self.settings, torch.zeros_like(e.values[i])
        if s.kl:
            rewards -= s.kl * kl_estimate(e.old[i] - e.reference[i], s.kl_estimator)
        rewards[-1] += e.rewards[i]
        return rewards

    def _advantages(self, episodes: Sequence[_Episodes]) -> None:
        s = self.settings
        for e in episodes:
            for i in range(len(e.rollouts)):
                found = generalised_advantages(self._by_token(e, i), e.values[i], s.discount, s.decay)
                e.advantages.append(found[0])
                e.targets.append(found[1])
        if s.whiten:  # over the batch; targets are of the advantages before
            flat = iter(
                torch.split(
                    whiten(torch.cat([a for e in episodes for a in e.advantages])),
                    [len(a) for e in episodes for a in e.advantages],
                )
            )
            for e in episodes:
                e.advantages = [next(flat) for _ in e.advantages]

    def _refuse_gap(self, gap: float, step: int) -> None:
        limit = self.settings.gap_limit
        if not gap <= limit:
            raise BactrianError(
                f"step {step + 1}: the sampler's log-probs differ from the trainer's by {gap:.3g} on average; the "
                f"limit is {limit:g}: the policy that is trained is not the one that sampled"
            )

    def _update(self, episodes: list[_Episodes], headline: dict[str, float], tokens: int, moves: bool) -> Update:
        trained = sum(len(r.ids) for e in episodes for r in e.rollouts)
        return Update(
            micro_batches=[self._share(part, trained, moves) for part in self._bins(episodes)],
            tokens=tokens,
            metrics=headline,
            finish=lambda sums: {key: value / max(1, trained) for key, value in sums.items()},
        )

    def _share(self, part: list[_Episodes], trained: int, moves: bool) -> Callable[[], Share]:
        """`moves`: whether the policy is trained, and not its value model alone."""
        s = self.settings

        def share() -> Share:
            forest, _, where = _planted(part)
            with torch.set_grad_enabled(moves):
                logprobs, entropy = self.policy.logprobs_and_entropy(forest, where, s.temperature)
            values = self.value.scores(forest, forest.previous[where])
            old, advantages, before, targets = (
                torch.cat([x for e in part for x in getattr(e, column)])
                for column in ("old", "advantages", "values", "targets")
            )
            policy = clipped_policy(logprobs, old, advantages, s.clip, s.clip)
            each = policy.loss
            value = clipped_value(values, before, targets, s.value_clip)
            metrics = {
                "surrogate": float(policy.loss.detach().sum()),
                "value_loss": float(value.detach().sum()),
                "clip_fraction": float(policy.clipped.sum()),
                "ratio": float(policy.ratio.detach().sum()),
                "entropy": float(entropy.sum()),
                "approx_kl": float(0.5 * (logprobs.detach() - old).square().sum()),
            }
            if s.importance_cap is not None:
                sampled = torch.tensor([x for e in part for r in e.rollouts for x in r.logprobs], device=old.device)
                weights = importance_weights(old, sampled, s.importance_cap)
                each = each * weights
                metrics["importance_weight"] = float(weights.sum())
                metrics["importance_truncated"] = float((weights >= weights.new_tensor(s.importance_cap)).sum())
            loss = s.value_weight * value.sum()
            return ((each.sum() + loss) if moves else loss) / trained, metrics

        return share


def _planted(part: Sequence[_Episodes]) -> tuple[Forest, list[Span], torch.Tensor]:
    """A forest of the episodes, the spans of their answers, and the indices of the answers' tokens."""
    forest, spans = plant([e.group for e in part])
    return forest, spans, answer_tokens(spans)[0]


def _order(count: int, seed: int, epoch: int) -> list[int]:
    key = np.array([seed % 2**64, 2**63 + epoch], dtype=np.uint64)
    return [int(i) for i in np.random.Generator(np.random.Philox(key=key)).permutation(count)]


def _headline(episodes: Sequence[_Episodes]) -> dict[str, float]:
    """What says whether a policy learns, and whether the value model knows what is to come."""
    flat = [r for e in episodes for r in e.rollouts]
    rewards = torch.tensor([r for e in episodes for r in e.rewards])
    old = torch.cat([x for e in episodes for x in e.old]).float().cpu()
    targets = torch.cat([x for e in episodes for x in e.targets]).float().cpu()
    values = torch.cat([x for e in episodes for x in e.values]).float().cpu()
    gaps = (torch.tensor([x for r in flat for x in r.logprobs]) - old).abs()
    found = {
        "reward": float(rewards.mean()),
        "score": sum(r.score for r in flat) / len(flat),
        "completion_length": sum(len(r.ids) for r in flat) / len(flat),
        "truncated": sum(not r.ended for r in flat) / len(flat),
        "unjudged": sum(not r.judged for r in flat) / len(flat),
        "logprob_gap_mean": float(gaps.mean()),
        "logprob_gap_max": float(gaps.max()),
        "value_explained": float(1 - (targets - values).var() / targets.var().clamp(min=1e-8)),
    }
    if episodes[0].reference:
        reference = torch.cat([x for e in episodes for x in e.reference]).float().cpu()
        found["kl"] = float((old - reference).mean())
    return found
