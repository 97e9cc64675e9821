"""Micro-batches of an update, cut for and dealt out to the processes that make it together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from bactrian.model.packing import pack
from bactrian.store import processes


@dataclass(frozen=True)
class Hand:
    """What one process computes of an update: micro-batches by number.

    filler: one to compute besides, for nothing, as often as the others have one more: where forwards and backwards are
    made together, all make equally many.
    """

    own: tuple[int, ...]
    filler: int = 0


def cut(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Items as micro-batches of at most `budget` tokens: lists of indices into `sizes`.

    In one process as `pack` has it. Several get a multiple of their number, as even as can be, so that none waits for
    others, and none is without work as long as there are items: their losses add up whatever the cut.

    Args:
        sizes: tokens of each item, at least 1. One of more than `budget` is a micro-batch of its own.
    """
    hands = processes.present().size
    if hands == 1:
        return pack(sizes, budget)
    count = hands * max(1, -(-sum(sizes) // (hands * budget)))
    while True:
        bins = even(sizes, count)
        if all(len(each) == 1 or sum(sizes[i] for i in each) <= budget for each in bins):
            return bins
        count += hands


def even(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Items in `count` bins, or one each if they are fewer; the largest first, each to the bin with the least in it."""
    bins: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, number = heapq.heappop(loads)
        bins[number].append(item)
        heapq.heappush(loads, (load + sizes[item], number))
    return [each for each in bins if each]


def deal(sizes: Sequence[int], hands: int) -> list[Hand]:
    """Who computes which micro-batch: each exactly one process, the largest first, each to the one with the least.

    None gets more than one more than the fewest need; those that have fewer make up for it with the smallest.

    Args:
        sizes: of the micro-batches, in tokens.
    """
    if not sizes:
        return [Hand(()) for _ in range(hands)]
    rounds = -(-len(sizes) // hands)
    held: list[list[int]] = [[] for _ in range(hands)]
    loads = [(0, hand) for hand in range(hands)]
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, hand = heapq.heappop(loads)
        held[hand].append(number)
        if len(held[hand]) < rounds:
            heapq.heappush(loads, (load + sizes[number], hand))
    smallest = min(range(len(sizes)), key=lambda i: (sizes[i], i))
    return [Hand(tuple(sorted(own)), smallest) for own in held]
