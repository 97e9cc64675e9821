"""Who samples which share of which batch, and what has come back: an account without threads and without a clock.

Whatever happens to workers and messages, each share of a batch counts once, and no token in it is older than it may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bactrian.errors import BactrianError
from bactrian.train.rl.rollouts import Rollout

TRIES = 5
"""Times that a share is handed out before the run ends: whatever kills that many workers will kill the next."""
Delivery = Literal["taken", "twice", "stale"]


@dataclass(frozen=True)
class Share:
    """Problems of one batch that one worker answers.

    batch: the step that trains on it. first: the place of its first problem in the batch.
    version: of the weights that are to sample it, or, where newer ones may, of the oldest that may.
    """

    batch: int
    first: int
    problems: tuple[int, ...]
    version: int

    @property
    def place(self) -> tuple[int, int]:
        return self.batch, self.first


class Books:
    """Shares that wait, shares that workers have, shares that came back.

    Batches are the same problems in the same order whatever comes back first, and are cut into shares without a look at
    who is there: so that nothing but the weights decides what is trained on. A batch made of what is finished first
    would be one of short answers.
    """

    def __init__(self, exact: bool) -> None:
        """
        Args:
            exact: a share is sampled with its version of the weights; otherwise with that one or newer ones.
        """
        self.exact = exact
        self._rounds: dict[tuple[int, int], list[Share]] = {}  # by batch and place of the first problem
        self._taken: set[tuple[int, int]] = set()
        self._waiting: dict[tuple[int, int], Share] = {}
        self._held: dict[tuple[int, int], int] = {}  # place of a share → the worker that has it
        self._tries: dict[tuple[int, int], int] = {}
        self._answers: dict[tuple[int, int], list[list[Rollout]]] = {}

    def open(self, batch: int, first: int, problems: Sequence[int], version: int, parts: int) -> None:
        """Problems of a batch are to be sampled, in so many shares at most.

        Args:
            first: how many problems of the batch were opened before.

        Raises:
            ValueError: these were opened before.
        """
        if (batch, first) in self._rounds or (batch, first) in self._taken:
            raise ValueError(f"batch {batch}, problem {first}: opened twice")
        edges = [len(problems) * part // parts for part in range(parts + 1)]
        shares = [
            Share(batch, first + start, tuple(problems[start:stop]), version)
            for start, stop in pairwise(edges)
            if start < stop
        ]
        self._rounds[batch, first] = shares
        self._waiting.update((share.place, share) for share in shares)

    def opened(self, batch: int, first: int) -> bool:
        return (batch, first) in self._rounds

    def load(self, worker: int) -> int:
        """Shares that a worker has."""
        return sum(holder == worker for holder in self._held.values())

    def hand_out(self, worker: int) -> Share | None:
        """The next share, for this worker: of the earliest batch; None if none waits.

        Raises:
            BactrianError: it was handed out too often.
        """
        if not self._waiting:
            return None
        share = self._waiting.pop(min(self._waiting))
        tries = self._tries[share.place] = self._tries.get(share.place, 0) + 1
        if tries > TRIES:
            raise BactrianError(
                f"step {share.batch + 1}: {len(share.problems)} problems were given to samplers {TRIES} times and "
                "did not come back as they should: samplers were lost, or had old weights; see what ends them (memory?)"
            )
        self._held[share.place] = worker
        return share

    def lost(self, worker: int) -> None:
        """A worker is gone: what it had waits again. If an answer of it comes nevertheless, it counts, once."""
        for place in [place for place, holder in self._held.items() if holder == worker]:
            del self._held[place]
            share = next(share for shares in self._rounds.values() for share in shares if share.place == place)
            self._waiting[place] = share

    def deliver(self, share: Share, answers: list[list[Rollout]]) -> Delivery:
        """A share came back.

        Returns:
            "twice": it had come back before, and this is dropped. "stale": it was sampled with other weights than it
            may be, is dropped, and waits again.

        Raises:
            ValueError: these are no answers to its problems, or their spans are not their tokens.
        """
        place = share.place
        if place not in self._waiting and place not in self._held:
            return "twice"
        if len(answers) != len(share.problems):
            raise ValueError(f"{share}: {len(answers)} groups of answers")
        fitting = all(self._may(share, rollout) for group in answers for rollout in group)
        self._held.pop(place, None)
        self._waiting.pop(place, None)
        if not fitting:
            self._waiting[place] = share
            return "stale"
        self._answers[place] = answers
        return "taken"

    def _may(self, share: Share, rollout: Rollout) -> bool:
        """Whether all of an answer's tokens are of weights that may have sampled them."""
        spans, at = rollout.provenance(), 0
        for start, end, _ in spans:
            if start != at or end < start:
                raise ValueError(f"{share}: spans {spans} of {len(rollout.ids)} tokens")
            at = end
        if at != len(rollout.ids):
            raise ValueError(f"{share}: spans {spans} of {len(rollout.ids)} tokens")
        versions = {version for _, _, version in spans}
        return versions == {share.version} if self.exact else min(versions) >= share.version

    def complete(self, batch: int, first: int) -> bool:
        """Whether all shares of what was opened there are back."""
        return all(share.place in self._answers for share in self._rounds[batch, first])

    def take(self, batch: int, first: int) -> list[list[Rollout]]:
        """The answers to what was opened there, in the order of its problems; they are given once.

        Raises:
            KeyError: not all are back, or they were taken before.
        """
        answers = [group for share in self._rounds[batch, first] for group in self._answers[share.place]]
        for share in self._rounds.pop((batch, first)):
            del self._answers[share.place]
            self._tries.pop(share.place, None)
        self._taken.add((batch, first))
        return answers

    def needed(self) -> set[int]:
        """Versions that what is open was, or is still, to be sampled with: more of those batches may be asked for."""
        return {share.version for shares in self._rounds.values() for share in shares}
