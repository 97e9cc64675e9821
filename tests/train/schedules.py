"""Asynchronous training on a virtual clock: what may go wrong in a cluster goes wrong, by a seed, and nothing waits.

The account, the queue, the batches and the checkpoints are the real ones; only the workers and the time are made up.
`python -m tests.train.schedules 10000` runs so many schedules.
"""

import heapq
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

from bactrian.train.rl.asynchronous.books import Share
from bactrian.train.rl.asynchronous.remote_sampler import AheadQueue, RemoteSampler, ShareAnswered, WorkerLost
from bactrian.train.rl.rollouts import AnsweredProblem, Rollout, Sampler, gather
from bactrian.train.rl.stale import Queue
from bactrian.train.supervised import step_rows


@dataclass(frozen=True)
class Plan:
    """What is trained, and how much goes wrong."""

    seed: int
    exact: bool
    staleness: int
    steps: int
    problems: int
    wanted: int
    refills: int
    workers: int
    slow: float  # chance that a share's environment takes a hundred times as long
    deaths: int  # at most
    twice: float  # chance that an answer is delivered a second time
    old: float  # chance that a worker samples with weights that are too old, once
    kill: float  # chance, after a step, that the trainer is killed

    @classmethod
    def drawn(cls, seed: int) -> "Plan":
        r = random.Random(seed)
        return cls(
            seed,
            exact=r.random() < 0.5,
            staleness=r.choice([0, 1, 1, 2, 3]),
            steps=r.randint(1, 6),
            problems=r.randint(3, 8),
            wanted=r.randint(1, 5),
            refills=r.choice([0, 0, 1, 2]),
            workers=r.randint(1, 4),
            slow=r.choice([0, 0.2]),
            deaths=r.choice([0, 1, 3]),
            twice=r.choice([0, 0.3]),
            old=r.choice([0, 0.1]),
            kill=r.choice([0, 0.3]),
        )


def answers(share: Share, versions: Sequence[int]) -> list[list[Rollout]]:
    """Two made-up answers to each problem, a function of who asked and with which weights alone."""
    groups = []
    for place, problem in enumerate(share.problems, share.first):
        group = []
        for sample in range(2):
            drawn = crc32(f"{share.batch} {place} {problem} {sample} {versions[0]}".encode())
            spans = tuple((k, k + 1, version) for k, version in enumerate(versions))
            ids = tuple((drawn + k) % 97 for k in range(len(spans)))
            score = float(drawn % 3 == 0)
            group.append(Rollout(ids, (-0.5,) * len(ids), score, True, min(versions), spans=spans))
        groups.append(group)
    return groups


@dataclass
class VirtualWorkers:
    """Workers that take time, die, answer twice and late, and messages that overtake each other."""

    plan: Plan
    random: random.Random
    now: float = 0.0
    kept: set[int] = field(default_factory=set)
    published: list[tuple[float, int]] = field(default_factory=list)
    alive: dict[int, float] = field(default_factory=dict)  # worker → when it is free
    doomed: set[int] = field(default_factory=set)  # workers that are dead, and nobody knows yet
    mail: list[tuple[float, int, WorkerLost | tuple[int, Share, list[float]]]] = field(default_factory=list)
    numbers: int = 0
    events: int = 0
    erred: bool = False

    def __post_init__(self) -> None:
        for _ in range(self.plan.workers):
            self._hire()

    def _hire(self) -> None:
        self.alive[self.numbers] = self.now
        self.numbers += 1

    def publish(self, version: int, keep: Collection[int]) -> None:
        self.kept = {old for old in self.kept if old in keep} | {version}
        self.published.append((self.now, version))

    def workers(self) -> Sequence[int]:
        return list(self.alive)

    def give(self, worker: int, share: Share) -> None:
        r, plan = self.random, self.plan
        assert not plan.exact or share.version in self.kept, "the weights that it needs are gone"
        if worker in self.doomed:
            return
        start = max(self.now, self.alive[worker])
        self.alive[worker] = ended = start + r.uniform(0.5, 2.0)
        verified = ended + r.uniform(0.1, 2.0) * (100 if r.random() < plan.slow else 1)
        looks = sorted(r.uniform(start, ended) for _ in range(r.randint(1, 3)))
        if len(self.doomed) < plan.deaths and r.random() < 0.2:
            self.doomed.add(worker)
            self._post(
                r.uniform(self.now, verified) + r.uniform(0.0, 3.0), WorkerLost(worker, "the simulation ended it")
            )
            if r.random() < 0.5:
                return  # what it sampled is gone with it; else the answer overtakes the bad news, or comes after it
        self._post(verified + r.uniform(0.0, 3.0), (worker, share, looks))
        if r.random() < plan.twice:
            self._post(verified + r.uniform(0.0, 9.0), (worker, share, looks))

    def _post(self, at: float, event: WorkerLost | tuple[int, Share, list[float]]) -> None:
        self.events += 1
        heapq.heappush(self.mail, (at, self.events, event))

    def next(self) -> ShareAnswered | WorkerLost:
        assert self.events < 2000, "it does not end"
        at, _, event = heapq.heappop(self.mail)
        self.now = max(self.now, at)
        if isinstance(event, WorkerLost):
            del self.alive[event.worker]
            self._hire()
            return event
        worker, share, looks = event
        return ShareAnswered(worker, share, answers(share, self._versions(share, looks)))

    def _versions(self, share: Share, looks: list[float]) -> list[int]:
        """With which weights a worker sampled, who looked for new ones at these times; some hear of none for long."""
        if not self.erred and self.random.random() < self.plan.old:
            self.erred = True
            return [share.version - 1]
        if self.plan.exact:
            return [share.version]
        return [max(version for when, version in self.published if when <= look) for look in looks]


def worth(problem: int, rollouts: Sequence[Rollout]) -> list[float]:
    return [rollout.score for rollout in rollouts]


def sampled(sampler: Sampler, plan: Plan, newest: int | None, step: int, version: int) -> list[AnsweredProblem]:
    """The batch of a step, with refills for groups that are all right or all wrong."""
    return gather(sampler, worth, plan.problems, plan.wanted, step, plan.seed, plan.refills, version, newest)


class Undisturbed:
    """The same answers by one process in which nothing goes wrong."""

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        return answers(Share(step, before, tuple(problems), version), [version])

    def prompt(self, problem: int) -> tuple[int, ...]:
        return (problem,)


def ahead(plan: Plan, r: random.Random) -> tuple[RemoteSampler, AheadQueue, VirtualWorkers]:
    crew = VirtualWorkers(plan, r)
    remote = RemoteSampler(
        crew, [(n,) for n in range(plan.problems)], parts=plan.workers, exact=plan.exact, gap_limit=1
    )

    def sample(step: int, version: int) -> list[AnsweredProblem]:
        newest = None if plan.exact else remote.published
        return sampled(remote, plan, newest, step, version)

    def first(step: int) -> list[int]:
        return step_rows(plan.problems, plan.wanted, step, plan.seed)

    return remote, AheadQueue(sample, plan.staleness, plan.steps, remote, first), crew


def run(plan: Plan) -> Counter[str]:
    """Train, kills and resumes included; raises AssertionError where a batch is not what it must be.

    Returns:
        What happened how often.
    """
    r, told = random.Random(plan.seed + 1), Counter[str]()
    undisturbed = Queue(partial(sampled, Undisturbed(), plan, None), plan.staleness, plan.steps)
    expected = [undisturbed.take(step) for step in range(plan.steps)]
    remote, queue, crew = ahead(plan, r)
    trained: list[list[AnsweredProblem]] = []
    saved, state = 0, queue.state()
    while len(trained) < plan.steps:
        step = len(trained)
        batch = queue.take(step)
        check(plan, step, batch, expected[step])
        trained.append(batch)
        crew.now += r.uniform(0.0, 4.0)
        if r.random() < 0.3:
            saved, state = len(trained), queue.state()
            told["checkpoints"] += 1
        if len(trained) < plan.steps and r.random() < plan.kill:
            told.update(remote.dropped)
            del trained[saved:]
            remote, queue, crew = ahead(plan, r)
            queue.restore(state)
            told["kills"] += 1
    told.update(remote.dropped)
    told.update(deaths=len(crew.doomed), steps=plan.steps, batches=len(trained))
    assert not queue.waiting and not queue.begun and not remote.books.needed()
    return told


def check(plan: Plan, step: int, batch: list[AnsweredProblem], expected: list[AnsweredProblem]) -> None:
    """What must hold of a batch when it is trained on."""
    asked = [group.problem for group in batch]
    assert asked[: plan.wanted] == step_rows(plan.problems, plan.wanted, step, plan.seed)
    assert len(asked[plan.wanted :]) == len({*asked[plan.wanted :]} - {*asked[: plan.wanted]}), "refilled twice"
    for group in batch:
        assert len(group.rollouts) == 2
        for rollout in group.rollouts:
            ages = [step - version for _, _, version in rollout.provenance()]
            assert max(ages) <= plan.staleness, f"a token is {max(ages)} steps old"
            assert min(ages) >= 0, "a token is from weights that are not there yet"
            assert [end for _, end, _ in rollout.provenance()][-1] == len(rollout.ids)
    if plan.exact:
        bare = [(g.problem, g.rewards, [x.ids for x in g.rollouts], [x.version for x in g.rollouts]) for g in batch]
        assert bare == [
            (g.problem, g.rewards, [x.ids for x in g.rollouts], [x.version for x in g.rollouts]) for g in expected
        ]


def main(count: int) -> None:
    began, told = time.perf_counter(), Counter[str]()
    for seed in range(count):
        told += run(Plan.drawn(seed))
    print(f"{count} schedules in {time.perf_counter() - began:.1f} s: {dict(told)}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
