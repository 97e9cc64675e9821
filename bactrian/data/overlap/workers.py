"""One function in several processes, results in order. Forked, so that all of them share one index in memory.

Threads do not help here: the work is many short numpy calls, and after each the thread must win the interpreter's lock
back from the one that reads rows (measured: two threads were slower than one).
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from bactrian.errors import BactrianError

Given = TypeVar("Given")
Made = TypeVar("Made")

AHEAD = 3
"""Inputs that a worker may have been given and not answered."""


class Workers(Generic[Given, Made]):
    """`with Workers(work, 2) as workers: for made in workers.map(inputs): …`. One worker is this process itself.

    Workers end when this process does, however it ends: then their pipes close.
    """

    def __init__(self, work: Callable[[Given], Made], count: int) -> None:
        self.work = work
        self._pipes: list[Connection] = []
        if count > 1 and sys.platform == "linux":  # elsewhere forking is not there or not safe
            for _ in range(count):
                self._start()

    def __enter__(self) -> "Workers[Given, Made]":
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._pipes:
            pipe.close()

    def map(self, inputs: Iterable[Given]) -> Iterator[Made]:
        """What `work` makes of each input, in their order; inputs are drawn a little ahead.

        Raises what `work` raises, and BactrianError if a worker was killed.
        """
        if not self._pipes:
            yield from map(self.work, inputs)
            return
        asked: deque[Connection] = deque()
        for number, given in enumerate(inputs):
            if len(asked) == AHEAD * len(self._pipes):
                yield self._answer(asked.popleft())
            pipe = self._pipes[number % len(self._pipes)]
            with _telling_of_death():
                pipe.send(given)
            asked.append(pipe)
        while asked:
            yield self._answer(asked.popleft())

    def _start(self) -> None:
        ours, theirs = get_context("fork").Pipe()
        before = [*self._pipes, ours]
        get_context("fork").Process(target=_serve, args=(self.work, theirs, before), daemon=True).start()
        theirs.close()
        self._pipes.append(ours)

    def _answer(self, pipe: Connection) -> Made:
        with _telling_of_death():
            made, error = pipe.recv()
        if error is not None:
            raise error
        return made  # type: ignore[no-any-return]


@contextmanager
def _telling_of_death() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise BactrianError("a worker process was killed, perhaps for want of memory; run again to go on") from None


def _serve(work: Callable[[Any], Any], pipe: Connection, others: list[Connection]) -> None:
    """Answer until the pipe closes. Ends of pipes that are not this worker's are closed, or they would never close."""
    for other in others:
        other.close()
    waiting: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(pipe, waiting), daemon=True).start()
    while True:
        answer = _tried(work, waiting.get())
        try:
            pipe.send(answer)
        except OSError:
            os._exit(0)


def _listen(pipe: Connection, waiting: "SimpleQueue[Any]") -> None:
    """Take what comes at once: if both sides only sent, with full pipes, neither would ever read."""
    while True:
        try:
            waiting.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)


def _tried(work: Callable[[Any], Any], given: Any) -> tuple[Any, Exception | None]:
    try:
        return work(given), None
    except Exception as error:  # it belongs to who asked
        return None, error
