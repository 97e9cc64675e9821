"""What all tasks share that train a policy on its own answers: sampling and its check, forwards, weighing, metrics.

A task (`policy`, `actor_critic`) has the rewards, the advantages and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch.utils._pytree import tree_map_only

from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Group, Span, plant
from bactrian.store import processes
from bactrian.train.batches import answer_tokens
from bactrian.train.dealing import cut
from bactrian.train.frozen import read_in_step
from bactrian.train.losses import PolicyLoss
from bactrian.train.objectives import importance_weights
from bactrian.train.options import MemorySettings, SamplingSettings
from bactrian.train.rl.asynchronous.remote_sampler import AheadQueue, RemoteSampler
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout, Sampler, SharedSampler, refuse_gap
from bactrian.train.rl.stale import Queue, age

T = TypeVar("T")


@dataclass
class TrainedAnswers:
    """The answers to one problem that are trained on; of each answer a tensor [T] by token.

    old: log-probs before the step's first update, from the trainer's own forward. targets: returns, for a value model.
    """

    group: Group
    rollouts: list[Rollout]
    rewards: list[float]
    old: list[torch.Tensor] = field(default_factory=list)
    reference: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    advantages: list[torch.Tensor] = field(default_factory=list)
    targets: list[torch.Tensor] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Of the answers."""
        return sum(len(answer) for answer in self.group.answers)

    def halves(self) -> list[tuple[TrainedAnswers, int]]:
        """Half of the answers and the other half, with their tokens, the prompt's too; none where there is but one."""
        count = len(self.rollouts)
        parts = (slice(0, count // 2), slice(count // 2, count)) if count > 1 else ()
        names = ("rollouts", "rewards", "old", "reference", "values", "advantages", "targets")
        found = []
        for part in parts:
            group = Group(self.group.prompt, self.group.answers[part])
            found.append((TrainedAnswers(group, **{name: getattr(self, name)[part] for name in names}), group.tokens))
        return found


class PolicyCore:
    """A policy, whoever samples from it, and what a step does to its answers before and beside the loss."""

    def __init__(
        self,
        policy: LanguageModel,
        sampler: Sampler,
        sample: Callable[[int, int], list[AnsweredProblem]],
        *,
        sampling: SamplingSettings,
        memory: MemorySettings,
        temperature: float,
        steps: int,
        first: Callable[[int], list[int]] | None = None,
    ) -> None:
        """
        Args:
            sample: from a step's number and the version of the present weights to the batch of that step.
            temperature: of sampling; logits are divided by it in training too.
            steps: of the whole training.
            first: the problems that a step asks first; needed where the sampler is asked before it is to give them.
        """
        self.policy, self.sampler, self.sample = policy, SharedSampler(sampler), sample
        self.sampling, self.memory, self.temperature = sampling, memory, temperature
        self.remote = sampler if isinstance(sampler, RemoteSampler) else None
        if self.remote is None:
            self.queue = Queue(self._checked, sampling.staleness, steps)
        else:
            assert first is not None
            self.queue = AheadQueue(sample, sampling.staleness, steps, self.remote, first)

    @property
    def newest(self) -> int | None:
        """The newest weights that may have sampled, where they change in the middle of answers."""
        return None if self.remote is None or self.remote.exact else self.remote.published

    def batch(self, step: int) -> tuple[list[AnsweredProblem], dict[str, float]]:
        """What a step trains on, its age, where answers wait, and the seconds that it was waited for."""
        before = 0.0 if self.remote is None else self.remote.waited
        batch = self.queue.take(step)
        told = {"staleness": age(batch, step)} if self.sampling.staleness else {}
        return batch, told if self.remote is None else {**told, "waited": self.remote.waited - before}

    def group(self, problem: int, rollouts: Sequence[Rollout]) -> Group:
        return Group(self.sampler.prompt(problem), tuple(rollout.ids for rollout in rollouts))

    def _checked(self, step: int, version: int) -> list[AnsweredProblem]:
        """A batch from the present weights; where it will wait, whether sampler and trainer agree only now can tell."""
        batch = self.sample(step, version)
        if self.sampling.staleness:
            found = self.logprobs(self.policy, [self.group(batch[0].problem, batch[0].rollouts)])[0]
            sampled = torch.tensor([x for rollout in batch[0].rollouts for x in rollout.logprobs])
            refuse_gap(float((torch.cat(found).cpu() - sampled).abs().mean()), self.sampling.gap_limit, version)
        return batch

    def refuse_gap(self, gap: float, step: int) -> None:
        """
        Raises:
            BactrianError: fresh answers were sampled by another policy than the one that is trained, by its log-probs.
        """
        if not self.sampling.staleness:  # of old answers that was asked when they were sampled
            refuse_gap(gap, self.sampling.gap_limit, step)

    def bins(self, answers: Sequence[TrainedAnswers]) -> list[list[TrainedAnswers]]:
        """Micro-batches."""
        return [[answers[i] for i in b] for b in cut([a.group.tokens for a in answers], self.memory.micro_tokens)]

    @torch.no_grad()
    def logprobs(self, model: LanguageModel, groups: Sequence[Group]) -> list[list[torch.Tensor]]:
        """Log-probs under a model of each answer of each group, [T] each, in one forward."""
        forest, spans = plant(groups)
        found = model.logprobs(forest, answer_tokens(spans)[0], self.temperature)
        pieces = iter(torch.split(found, [span.length for span in spans]))
        return [[next(pieces) for _ in group.answers] for group in groups]

    def scored(
        self, model: LanguageModel, answers: Sequence[TrainedAnswers]
    ) -> Iterator[tuple[TrainedAnswers, list[torch.Tensor]]]:
        """Each problem's answers with their log-probs under a model, [T] each."""
        bins = self.bins(answers)
        jobs = [partial(self.logprobs, model, [a.group for a in part]) for part in bins]
        found = shared(jobs, in_step=read_in_step(model))
        for part, scores in zip(bins, found, strict=True):
            yield from zip(part, scores, strict=True)

    def weighed(
        self, each: torch.Tensor, old: torch.Tensor, sampled: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Losses of N tokens times their importance, where that is asked for; and sums for the metrics."""
        cap = self.sampling.importance_cap
        if cap is None:
            return each, {}
        weights = importance_weights(old, sampled, cap)
        truncated = float((weights >= weights.new_tensor(cap)).sum())
        return each * weights, {"importance_weight": float(weights.sum()), "importance_truncated": truncated}


def shared(jobs: Sequence[Callable[[], T]], *, in_step: bool = False) -> list[T]:
    """The results of all jobs; of several processes that train together each does some. Tensors may change device.

    Args:
        in_step: each reads weights that all have parts of: all do equally many, whoever has fewer one for nothing.
    """
    group = processes.present()
    mine = {number: job() for number, job in enumerate(jobs) if number % group.size == group.rank}
    if in_step and len(mine) < -(-len(jobs) // group.size):
        jobs[0]()
    if group.size == 1:
        return list(mine.values())
    known = {number: found for part in group.gathered(in_memory(mine)) for number, found in part.items()}
    return [known[number] for number in range(len(jobs))]


def in_memory(value: Any) -> Any:
    """The same with all tensors in main memory: those of one process's GPU are none of another's."""
    return tree_map_only(torch.Tensor, torch.Tensor.cpu, value)


def planted(part: Sequence[TrainedAnswers]) -> tuple[Forest, list[Span], torch.Tensor, torch.Tensor]:
    """A forest of the answers, their spans, the indices of their tokens, and the answer that each token is of."""
    forest, spans = plant([answers.group for answers in part])
    return forest, spans, *answer_tokens(spans)


def column(part: Sequence[TrainedAnswers], name: str, like: torch.Tensor) -> torch.Tensor:
    """A field of TrainedAnswers, of all tokens, [N], where `like` is."""
    return torch.cat([tensor for answers in part for tensor in getattr(answers, name)]).to(like.device)


def sampled_logprobs(part: Sequence[TrainedAnswers], like: torch.Tensor) -> torch.Tensor:
    """The sampler's, of all tokens, [N], where `like` is."""
    return torch.tensor([x for a in part for rollout in a.rollouts for x in rollout.logprobs], device=like.device)


def policy_metrics(loss: PolicyLoss, entropy: torch.Tensor) -> dict[str, float]:
    """Sums over a micro-batch's tokens."""
    return {
        "surrogate": float(loss.loss.detach().sum()),
        "clip_fraction": float(loss.clipped.sum()),
        "ratio": float(loss.ratio.detach().sum()),
        "entropy": float(entropy.sum()),
    }


def unless_cut(rewards: Sequence[float], rollouts: Sequence[Rollout], no_end_reward: float | None) -> list[float]:
    """The rewards, with `no_end_reward` in place of those of answers that were cut off; None changes nothing."""
    if no_end_reward is None:
        return list(rewards)
    return [reward if rollout.ended else no_end_reward for reward, rollout in zip(rewards, rollouts, strict=True)]
