"""Batches that wait between the sampler and the trainer, as where a cluster samples and trains at the same time.

There the sampler's weights are `staleness` steps behind, and so are its answers when they are trained on
(in Tülu 3 by one step).
Here one process does both by turns. It is no faster for it; it learns as such a cluster would. Where samplers are
processes of their own (`asynchronous`), they fill the queue meanwhile.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from bactrian.train.rl.rollouts import AnsweredProblem, Rollout


class Queue:
    """Before step t is trained on, the present weights sample the batch of step t + staleness.

    The batches of the first steps are all from the first weights. With staleness 2 and 5 steps:

        step               0        1      2      3      4
        sampled in it      0, 1, 2  3      4      -      -
        steps old          0        1      2      2      2
    """

    def __init__(self, sample: Callable[[int, int], list[AnsweredProblem]], staleness: int, steps: int) -> None:
        """
        Args:
            sample: from a step's number and the version of the present weights to the batch of that step.
        """
        self.sample, self.staleness, self.steps = sample, staleness, steps
        self.waiting: deque[list[AnsweredProblem]] = deque()

    def take(self, step: int) -> list[AnsweredProblem]:
        """The batch of a step; steps are taken in their order."""
        last = min(step + self.staleness, self.steps - 1)
        for due in range(step + len(self.waiting), last + 1):
            self.waiting.append(self.sample(due, step))
        return self.waiting.popleft()

    def state(self) -> dict[str, torch.Tensor]:
        """What waits, for a checkpoint: numbers come back as they were, to the bit."""
        if not self.waiting:
            return {}
        text = json.dumps([[asdict(group) for group in batch] for batch in self.waiting])
        return {"waiting": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        self.waiting.clear()
        if "waiting" in tensors:
            found = json.loads(tensors["waiting"].numpy().tobytes())
            self.waiting.extend([_group(**group) for group in batch] for batch in found)


def _group(problem: int, rollouts: list[dict[str, Any]], rewards: list[float]) -> AnsweredProblem:
    return AnsweredProblem(problem, [_rollout(**rollout) for rollout in rollouts], rewards)


def _rollout(ids: list[int], logprobs: list[float], spans: list[tuple[int, int, int]], **rest: Any) -> Rollout:
    return Rollout(tuple(ids), tuple(logprobs), spans=tuple((a, b, version) for a, b, version in spans), **rest)


def age(batch: list[AnsweredProblem], step: int) -> float:
    """Mean number of steps that the weights have moved since the answers were sampled, each answer's tokens alike."""
    ages = [
        sum((end - start) * (step - version) for start, end, version in rollout.provenance()) / max(1, len(rollout.ids))
        for group in batch
        for rollout in group.rollouts
    ]
    return sum(ages) / len(ages)
