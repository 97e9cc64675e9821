"""When a checkpoint is due: early, then by the share of the work that is done, and never too dear."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

SOON = 5.0
"""Seconds of training before a process's first checkpoint, and at least between two."""
SELDOM = 120.0
"""Seconds between two checkpoints at most, where their price allows."""
SHARE = 0.02
"""Of the steps, after which a checkpoint is due even if that was quick."""
PRICE = 0.05
"""Of the time, that checkpoints may take."""


class Pace:
    """Counts a process's seconds and steps since its last checkpoint, and what one takes.

    A process that is killed every so often makes progress if it gets as far as its first checkpoint: so that one comes
    after SOON seconds, or after as long as the last one of the process before took. All others keep to PRICE.
    """

    def __init__(
        self,
        steps: int,
        seconds: float | None,
        start: int = 0,
        cost: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """
        Args:
            steps: of the whole work.
            seconds: between two checkpoints, whatever they take; None: as the module's numbers have it.
            start: steps that were made before this process.
            cost: seconds that a checkpoint took before this process; 0 if there was none.
        """
        self.steps, self.seconds, self.cost, self.clock = steps, seconds, cost, clock
        self.first, self.step, self.since = True, start, clock()

    def due(self, step: int) -> bool:
        """Whether to save now, after so many steps."""
        passed = self.clock() - self.since
        if self.seconds is not None:
            return passed >= min(self.seconds, SOON if self.first else self.seconds)
        if self.first:
            return passed >= max(SOON, self.cost)
        if passed < max(SOON, self.cost * (1 / PRICE - 1)):
            return False
        return passed >= SELDOM or step - self.step >= SHARE * self.steps

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Around the writing of a checkpoint, which is measured."""
        began = self.clock()
        yield
        self.since = self.clock()
        self.first, self.step, self.cost = False, step, self.since - began
