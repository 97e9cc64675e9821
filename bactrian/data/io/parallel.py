"""One function over all rows of a file or folder: in this process, on its cores, or on a Ray cluster.

The function sees a batch of rows and gives one result a row, and may look at nothing but the rows. So the results,
which come in the order of the rows, are the same however the rows are cut into batches and wherever they are worked on.
What needs to see all rows (which of two duplicates stays, which rows a mixture takes) the caller does, in that order.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from bactrian.data.io.files import scan_rows, stream_rows
from bactrian.data.io.rows import Row, RowKind
from bactrian.store.hardware import Hardware
from bactrian.store.watchdog import stacks_when_asked, waits_for

Located = tuple[Row, str]
"""A row, and the words for where it stands."""
T = TypeVar("T")

BATCH = 500
FEW = 4_000
"""Rows that are worked on before other processes are started, which takes longer than that many rows."""
AHEAD = 2
"""Batches that wait for each process: what is in memory does not grow with the file."""


def map_rows(
    function: Callable[[list[Located]], list[T]],
    path: Path,
    hardware: Hardware,
    kind: RowKind | None = None,
    skip: int = 0,
    scanned: bool = False,
) -> Iterator[T]:
    """`function` over all rows of `path`, but for the first `skip`, as a stream of its results in
    the rows' order.

    Where `hardware.data` is "ray", on Ray Data (extra `ray`); else on `hardware.threads` processes.
    `function` must be picklable and must not look at anything but its rows. scanned: it gets a Fault in place of each
    row that cannot be read, as `scan_rows` gives it.

    Raises:
        BactrianError: for unreadable rows as `stream_rows` does, and if Ray is asked for and
            not installed.
    """
    if hardware.data == "ray":
        from bactrian.data.io.cluster import map_on_ray

        return islice(map_on_ray(function, path, kind, scanned), skip, None)
    rows: Iterator[Any] = scan_rows(path) if scanned else stream_rows(path, kind)
    return map_stream(function, islice(rows, skip, None), hardware.threads)


def map_stream(
    function: Callable[[list[Located]], list[T]], rows: Iterable[Located], processes: int = 1
) -> Iterator[T]:
    """`function` over a stream of rows on this machine; at most a few batches for each process are in memory."""
    batches = _batches(rows)
    for _ in range(FEW // BATCH if processes > 1 else 0):
        if not (batch := next(batches, None)):
            return
        yield from function(batch)
    if processes > 1:
        yield from _on_processes(function, batches, processes)
    else:
        for batch in batches:
            yield from function(batch)


def _batches(rows: Iterable[Located]) -> Iterator[list[Located]]:
    stream = iter(rows)
    while batch := list(islice(stream, BATCH)):
        yield batch


def _on_processes(
    function: Callable[[list[Located]], list[T]], batches: Iterator[list[Located]], processes: int
) -> Iterator[T]:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing import get_context

    first = next(batches, None)
    if first is None:
        return
    waiting: deque[Future[list[Any]]] = deque()
    # spawned, not forked: this process may hold torch's threads, whose locks a fork would copy as they are
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_serve) as pool:

        def next_results() -> list[T]:
            with waits_for(lambda: f"rows from the worker processes {', '.join(map(str, pool._processes))}"):
                return waiting.popleft().result()

        try:
            waiting.append(pool.submit(function, first))
            for batch in batches:
                waiting.append(pool.submit(function, batch))
                if len(waiting) > AHEAD * processes:
                    yield from next_results()
            while waiting:
                yield from next_results()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _serve() -> None:
    """In a worker process: Ctrl-C is for the process that started it, and once that has gone so does this one.

    A worker waits for work on a pipe whose other end it holds itself, so it would not notice.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stacks_when_asked()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
