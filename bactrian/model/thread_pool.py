"""Independent pieces of work of unequal size, each on one thread of a CPU.

torch gives every operation all threads. Operations of a tenth of a millisecond gain nothing from that; several pieces
made of such operations, one on each thread, do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier

import torch

WORTH_IT = 2**15
"""Cost below which handing work over takes longer than the work."""


def run_in_threads(pieces: Sequence[Callable[[], None]], costs: Sequence[float]) -> None:
    """Run all pieces, as many at a time as torch has threads, without gradients; those of one thread in their order.

    No piece may write what another reads or writes, so that nothing depends on who runs what.

    Args:
        costs: of each piece, in pairs of a query and a key, to share them out evenly.
    """
    threads = min(torch.get_num_threads(), len(pieces))
    if threads < 2 or sum(costs) < WORTH_IT:
        for piece in pieces:
            piece()
        return

    inference = torch.is_inference_mode_enabled()

    def run(mine: list[int]) -> None:
        with torch.inference_mode(inference), torch.no_grad():  # whether a tensor is one of inference must not change
            for index in mine:
                pieces[index]()

    pool = _pool(torch.get_num_threads(), os.getpid())
    done = [pool.submit(run, mine) for mine in shared_out(costs, threads)]
    wait(done)
    for each in done:
        each.result()


def shared_out(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Indices for each of the parts: the dearest first, each to who has least; inside a part in order."""
    loads, chosen = [0.0] * parts, [list[int]() for _ in range(parts)]
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        chosen[least].append(index)
    return [sorted(mine) for mine in chosen if mine]


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that give each operation themselves alone; after a fork the child has a pool of its own."""
    ready = Barrier(threads + 1, timeout=60)

    def alone() -> None:
        torch.get_num_threads()  # at its first use in a thread torch sets what the process has; so that is done now
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, "bactrian-attention", alone)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # torch hands the last number it was told to every thread that begins later
    return pool
