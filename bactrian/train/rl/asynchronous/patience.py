"""How long a sampler may be silent before it is replaced: one that hangs does not die, so nothing else would tell."""

from __future__ import annotations

START = 1800.0  # seconds until a new sampler's first answer: it loads the model, and may have to compile
LEAST = 600.0
TIMES = 20.0
"""A sampler is taken to hang after so many times the longest silence that ended in an answer."""


class Patience:
    """Keeps the time since each sampler with work was last heard of. All times are seconds of one clock."""

    def __init__(self, seconds: float | None = None) -> None:
        """
        Args:
            seconds: of silence that are allowed after a sampler's first answer; None: 20 times the longest silence so
                far, and 10 minutes at least.
        """
        self.seconds = seconds
        self.longest = 0.0
        self._open: dict[int, int] = {}  # worker → shares that it has
        self._since: dict[int, float] = {}  # worker with work → when it was last heard of, or was given the first share
        self._heard: set[int] = set()

    def given(self, worker: int, now: float) -> None:
        self._open[worker] = self._open.get(worker, 0) + 1
        self._since.setdefault(worker, now)

    def answered(self, worker: int, now: float) -> None:
        if worker in self._heard:
            self.longest = max(self.longest, now - self._since[worker])
        self._heard.add(worker)
        self._open[worker] -= 1
        self._since[worker] = now
        if not self._open[worker]:
            del self._open[worker], self._since[worker]

    def lost(self, worker: int) -> None:
        self._open.pop(worker, None)
        self._since.pop(worker, None)

    def limit(self, worker: int) -> float:
        """Seconds of silence that this sampler is allowed."""
        usual = self.seconds if self.seconds is not None else max(LEAST, TIMES * self.longest)
        return usual if worker in self._heard else max(START, usual)

    def left(self, now: float) -> tuple[float, int]:
        """Seconds until a sampler is overdue (0 or less: it is), and which one.

        Raises:
            ValueError: nobody has work.
        """
        return min((since + self.limit(worker) - now, worker) for worker, since in self._since.items())
