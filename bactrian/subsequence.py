"""The longest common subsequence of two sequences: what two texts share in order, gaps allowed.

It stands below all rooms because two on one floor need it: ROUGE-L in `data/`, recital in `verify/`.
"""

from collections.abc import Hashable, Iterable, Sequence


def common_length(a: Sequence[Hashable], b: Iterable[Hashable]) -> int:
    """Length of the longest common subsequence, with a bit for each item of `a` [Hyyrö 2004].

    >>> common_length("abcbdab", "bdcaba")
    4
    """
    return common_with(places_of(a), len(a), b)


def places_of(items: Iterable[Hashable]) -> dict[Hashable, int]:
    """Item → the places where it stands, a bit each: half the work of `common_length`, for many comparisons."""
    places: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        places[item] = places.get(item, 0) | 1 << place
    return places


def common_with(places: dict[Hashable, int], length: int, other: Iterable[Hashable]) -> int:
    """`common_length` of a sequence of `length` items, given as `places_of` them, and another one."""
    all_bits = (1 << length) - 1
    row = all_bits
    for item in other:
        if match := row & places.get(item, 0):
            row = (row + match | row - match) & all_bits
    return length - row.bit_count()
