"""Verification beside sampling: an answer is verified once it is finished, while others are still being sampled."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType
from typing import Generic, Self, TypeVar

from bactrian.verify.pool import Item, Pool
from bactrian.verify.registry import verifier
from bactrian.verify.verdict import Verdict

Key = TypeVar("Key")


class Stream(Generic[Key]):
    """Takes items one by one and verifies them in a thread of its own, in batches of whatever has come meanwhile.

    Verdicts do not depend on when an item came or what came with it; so what models judge waits until all of it is
    there. The pool is this stream's until `verdicts`.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._waiting: list[tuple[Key, Item]] = []
        self._for_models: list[tuple[Key, Item]] = []
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1)
        self._done: dict[Key, Verdict] = {}
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def give(self, key: Key, item: Item) -> None:
        """Have an item verified; returns at once."""
        if verifier(item.dataset).place == "judge":
            self._for_models.append((key, item))
            return
        with self._lock:
            self._waiting.append((key, item))
        self._running.append(self._thread.submit(self._verify))

    def verdicts(self) -> dict[Key, Verdict]:
        """All verdicts, when the last is there.

        Raises:
            BactrianError: see `verify_all`.
        """
        for running in self._running:
            running.result()
        self._running = []
        self._verify_all(sorted(self._for_models, key=lambda given: given[1].digest()))
        self._for_models = []
        return self._done

    def _verify(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        self._verify_all(batch)

    def _verify_all(self, batch: Sequence[tuple[Key, Item]]) -> None:
        if batch:
            found = self.pool.verify_all([item for _, item in batch])
            self._done.update((key, verdict) for (key, _), verdict in zip(batch, found, strict=True))
