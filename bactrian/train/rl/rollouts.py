"""AnsweredProblem answers, what each is worth, and which groups of them say anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bactrian.errors import BactrianError
from bactrian.store import processes
from bactrian.train.supervised import step_rows


@dataclass(frozen=True)
class Rollout:
    """One sampled answer and what it was worth.

    ids, logprobs: [T], as sampled; never tokenised again.
    score: the verifier's, in [0, 1].
    ended: an end token or stop text was sampled.
    version: of the weights that sampled it; of the oldest, where they changed on the way.
    judged: False where the verifier itself failed, which says nothing about the answer.
    text, outcome, extracted, reason: what was written, and the verdict in words.
    spans: (start, end, version) of the tokens [start, end) that each version sampled, where there were several.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    ended: bool
    version: int
    judged: bool = True
    text: str = ""
    outcome: str = ""
    extracted: str | None = None
    reason: str = ""
    spans: tuple[tuple[int, int, int], ...] = ()

    def provenance(self) -> tuple[tuple[int, int, int], ...]:
        """(start, end, version) of all its tokens."""
        return self.spans or ((0, len(self.ids), self.version),)


class Sampler(Protocol):
    """Answers a batch of problems, n times each, and scores the answers."""

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        """n rollouts for each problem number; a function of (weights, problems, step, before) alone.

        before: problems that the same step has sampled already, so that no two draw alike.
        """
        ...

    def prompt(self, problem: int) -> tuple[int, ...]:
        """The problem's prompt."""
        ...


class SharedSampler:
    """A sampler whose work all processes that train together share: each answers some problems, and all get all.

    Problems keep the numbers by which they draw: the answers are those that one process would sample.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        group = processes.present()
        first, last = (len(problems) * rank // group.size for rank in (group.rank, group.rank + 1))
        mine = problems[first:last]
        sampled = self.sampler.rollouts(mine, step, version, before + first) if mine else []
        return [rollouts for part in group.gathered(sampled) for rollouts in part]

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.sampler.prompt(problem)


@dataclass
class AnsweredProblem:
    """A problem's answers and their rewards."""

    problem: int
    rollouts: list[Rollout]
    rewards: list[float]

    @property
    def alive(self) -> bool:
        """Whether the rewards differ: otherwise all advantages are 0."""
        return max(self.rewards) - min(self.rewards) > 1e-9


Reward = Callable[[int, Sequence[Rollout]], list[float]]


def gather(
    sampler: Sampler,
    reward: Reward,
    problems: int,
    wanted: int,
    step: int,
    seed: int,
    refills: int = 0,
    version: int | None = None,
    newest: int | None = None,
) -> list[AnsweredProblem]:
    """The groups of a step: the next `wanted` problems and, for each whose answers are worth the same, another.

    Args:
        reward: from a problem and its rollouts to their rewards.
        problems: how many there are; each epoch visits them in a new order.
        refills: rounds of replacing groups without variance by problems drawn at random from those that this step
            has not sampled [DAPO's dynamic sampling].
        version: of the present weights, the number of steps they have made; where None, `step`.
        newest: where samplers take up new weights in the middle of answers, the newest that there are.

    Returns:
        All groups that were sampled; at most `wanted` are alive. A function of the weights and the step alone.

    Raises:
        BactrianError: rollouts come from other weights than the present ones.
    """
    version = step if version is None else version
    chosen = step_rows(problems, wanted, step, seed)
    groups: list[AnsweredProblem] = []
    for attempt in range(1 + refills):
        if attempt:
            missing = wanted - sum(group.alive for group in groups)
            left = sorted(set(range(problems)) - {group.problem for group in groups})
            order = np.random.default_rng([seed, step, attempt]).permutation(len(left))
            chosen = [left[i] for i in order[:missing]]
        if not chosen:
            break
        for problem, rollouts in zip(chosen, sampler.rollouts(chosen, step, version, len(groups)), strict=True):
            refuse_stale(rollouts, step, version, newest)
            groups.append(AnsweredProblem(problem, rollouts, without_failures(reward(problem, rollouts), rollouts)))
    return groups


def without_failures(rewards: Sequence[float], rollouts: Sequence[Rollout]) -> list[float]:
    """The rewards, with the mean of the group's others for each answer that was not judged: its advantage is 0."""
    known = [reward for reward, rollout in zip(rewards, rollouts, strict=True) if rollout.judged]
    mean = sum(known) / len(known) if known else 0.0
    return [reward if rollout.judged else mean for reward, rollout in zip(rewards, rollouts, strict=True)]


def refuse_stale(rollouts: Sequence[Rollout], step: int, version: int, newest: int | None = None) -> None:
    """
    Raises:
        BactrianError: rollouts come from other weights than this version's (to `newest`, where that is given).
    """
    found = {each for rollout in rollouts for _, _, each in rollout.provenance()}
    if stale := found - {*range(version, (version if newest is None else newest) + 1)}:
        expected = version if newest is None else f"{version} to {newest}"
        raise BactrianError(f"step {step + 1}: rollouts of weight versions {sorted(stale)}, expected {expected}")


def refuse_gap(gap: float, limit: float, step: int) -> None:
    """
    Raises:
        BactrianError: the mean gap between a sampler's and its model's log-probs is over the limit.
    """
    if not gap <= limit:
        raise BactrianError(
            f"step {step + 1}: the sampler's log-probs differ from the trainer's by {gap:.3g} on average; the "
            f"limit is {limit:g}: the policy that is trained is not the one that sampled"
        )


def headline(groups: Sequence[AnsweredProblem]) -> dict[str, float]:
    """What says whether a policy learns, over all rollouts, trained on or not."""
    return {
        "reward": float(np.mean([group.rewards for group in groups])),
        "reward_std": float(np.mean([np.std(group.rewards) for group in groups])),
        "zero_variance": 1 - sum(group.alive for group in groups) / len(groups),
        **of_rollouts([rollout for group in groups for rollout in group.rollouts]),
        "groups": float(len(groups)),
    }


def of_rollouts(flat: Sequence[Rollout]) -> dict[str, float]:
    """Means over answers."""
    return {
        "score": sum(r.score for r in flat) / len(flat),
        "completion_length": sum(len(r.ids) for r in flat) / len(flat),
        "truncated": sum(not r.ended for r in flat) / len(flat),
        "unjudged": sum(not r.judged for r in flat) / len(flat),
    }
