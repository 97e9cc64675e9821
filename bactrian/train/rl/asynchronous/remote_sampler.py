"""The trainer's side: shares are given to workers as soon as they may be sampled, and waited for when they are due."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from bactrian import sandbox
from bactrian.errors import BactrianError
from bactrian.train.rl.asynchronous.books import Books, Share
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout, refuse_gap
from bactrian.train.rl.stale import Queue
from bactrian.verify.model_verifiers import ABSTAINS


@dataclass(frozen=True)
class ShareAnswered:
    """A share that came back.

    gap: mean difference of the sampler's log-probs and those of its own model's forward.
    isolation: that in which its verifiers ran programs, if they ran any.
    """

    worker: int
    share: Share
    answers: list[list[Rollout]]
    gap: float | None = None
    isolation: str | None = None


@dataclass(frozen=True)
class WorkerLost:
    """A worker that is gone; another is there in its place."""

    worker: int
    why: str


class SamplerCrew(Protocol):
    """The workers and the messages to and from them; the seam between the account and a cluster."""

    def publish(self, version: int, keep: Collection[int]) -> None:
        """The present weights are this version from now on; of older ones keep those that are named."""
        ...

    def workers(self) -> Sequence[int]:
        """Those that are there. A number is never used again."""
        ...

    def give(self, worker: int, share: Share) -> None: ...

    def next(self) -> ShareAnswered | WorkerLost:
        """What happens next; waits for it. Each share that was given comes back, or its worker is lost."""
        ...


class RemoteSampler:
    """A `Sampler` whose answers are sampled by workers, of which it may be asked long before it is to give them."""

    def __init__(
        self, crew: SamplerCrew, prompts: Sequence[tuple[int, ...]], *, parts: int, exact: bool, gap_limit: float
    ) -> None:
        """
        Args:
            prompts: of all problems.
            parts: shares of a batch.
            exact: see `Books`.
            gap_limit: mean gap between a sampler's log-probs and its model's that stops the run.
        """
        self.crew, self.prompts, self.parts, self.exact, self.gap_limit = crew, prompts, parts, exact, gap_limit
        self.books = Books(exact)
        self.published = -1  # the newest version
        self.waited = 0.0  # seconds that the trainer has waited
        self.dropped = {"twice": 0, "stale": 0}

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.prompts[problem]

    def publish(self, version: int) -> None:
        """The present weights are this version."""
        if version != self.published:
            self.crew.publish(version, self.books.needed())
            self.published = version

    def ask(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> None:
        """Have answers sampled that `rollouts` will be asked for, with these weights (or newer ones, unless exact)."""
        self.books.open(step, before, problems, version, self.parts)
        self._hand_out()

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        """See `rollouts.Sampler`; waits for them.

        Raises:
            BactrianError: verifiers failed on every answer, a worker refused, or samplers are lost again and again.
        """
        began = time.monotonic()
        if not self.books.opened(step, before):
            self.ask(problems, step, version, before)
        while not self.books.complete(step, before):
            self._meet(self.crew.next())
            self._hand_out()
        self.waited += time.monotonic() - began
        answers = self.books.take(step, before)
        refuse_unjudged(answers, step)
        return answers

    def _hand_out(self) -> None:
        while (workers := self.crew.workers()) and (
            share := self.books.hand_out(worker := min(workers, key=lambda each: (self.books.load(each), each)))
        ):
            self.crew.give(worker, share)

    def _meet(self, event: ShareAnswered | WorkerLost) -> None:
        if isinstance(event, WorkerLost):
            self.books.lost(event.worker)
            return
        if event.gap is not None:
            refuse_gap(event.gap, self.gap_limit, event.share.batch)
        sandbox.note_used(event.isolation)
        found = self.books.deliver(event.share, event.answers)
        if found != "taken":
            self.dropped[found] += 1


def refuse_unjudged(answers: Sequence[Sequence[Rollout]], step: int) -> None:
    """
    Raises:
        BactrianError: the verifiers failed on every answer.
    """
    flat = [rollout for group in answers for rollout in group]
    broken = [rollout for rollout in flat if not rollout.judged and rollout.reason != ABSTAINS]
    if broken and not any(rollout.judged for rollout in flat):
        raise BactrianError(
            f"step {step + 1}: the verifiers failed on all {len(flat)} answers, which is no reward: "
            f"{broken[0].outcome}: {broken[0].reason}"
        )


class AheadQueue(Queue):
    """A `Queue` whose batches are sampled elsewhere: begun as early as their weights are there, finished when due.

    A checkpoint waits until all that was begun is there. So nothing that was sampled is lost or sampled twice, and what
    a killed run goes on with is what it had.
    """

    def __init__(
        self,
        sample: Callable[[int, int], list[AnsweredProblem]],
        staleness: int,
        steps: int,
        sampler: RemoteSampler,
        first: Callable[[int], list[int]],
    ) -> None:
        """
        Args:
            sample: as in `Queue`; it finds that the sampler was asked already.
            first: the problems that a step asks first.
        """
        super().__init__(sample, staleness, steps)
        self.sampler, self.first = sampler, first
        self.begun: deque[tuple[int, int]] = deque()  # steps, and the version that was there when they were begun

    def take(self, step: int) -> list[AnsweredProblem]:
        last = min(step + self.staleness, self.steps - 1)
        fresh = range(step + len(self.waiting) + len(self.begun), last + 1)
        if fresh or not self.sampler.exact:
            self.sampler.publish(step)
        for due in fresh:
            self.sampler.ask(self.first(due), due, step)
            self.begun.append((due, step))
        return self.waiting.popleft() if self.waiting else self._finished()

    def _finished(self) -> list[AnsweredProblem]:
        return self.sample(*self.begun.popleft())

    def state(self) -> dict[str, torch.Tensor]:
        while self.begun:
            self.waiting.append(self._finished())
        return super().state()
