"""A batch as a forest of segments: what sequences share is stored, and forwarded, once.

A *segment* is a run of tokens; its *parent* is the segment that it continues (-1: it starts a sequence). A conversation
is one root; a prompt with its chosen and rejected answers is a root with two children; a prompt with G rollouts is a
root with G children. The tokens of a forest lie one after the other in one row of T tokens, without padding.

Worked example: prompt [7, 8] with answers [1, 2] and [3]:

    Forest.of([Segment((7, 8)), Segment((1, 2), parent=0), Segment((3,), parent=0)])
    ids       7  8  1  2  3
    positions 0  1  2  3  2
    previous -1  0  1  2  1      (the token whose hidden state predicts this one)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Segment:
    """A run of token ids that continues the segment `parent` (its index in the forest, -1 for none)."""

    ids: tuple[int, ...]
    parent: int = -1


@dataclass(frozen=True)
class Span:
    """Where a segment lies in the row of tokens: [start, stop), and the position of its first token in its sequence."""

    start: int
    stop: int
    parent: int
    position: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Forest:
    """Segments laid out in one row of T tokens; parents come before their children."""

    segments: tuple[Segment, ...]
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Forest:
        """Lay segments out in the order given.

        Raises:
            ValueError: a segment is empty, or its parent does not come before it.
        """
        spans: list[Span] = []
        start = 0
        for index, segment in enumerate(segments):
            if not segment.ids:
                raise ValueError(f"segment {index} is empty")
            if not -1 <= segment.parent < index:
                raise ValueError(f"segment {index}: its parent {segment.parent} does not come before it")
            above = spans[segment.parent] if segment.parent >= 0 else None
            position = above.position + above.length if above else 0
            spans.append(Span(start, start + len(segment.ids), segment.parent, position))
            start += len(segment.ids)
        return cls(tuple(segments), tuple(spans))

    @property
    def tokens(self) -> int:
        return self.spans[-1].stop if self.spans else 0

    @cached_property
    def ids(self) -> torch.Tensor:
        """Token ids, long [T]."""
        import torch

        return torch.tensor([token for segment in self.segments for token in segment.ids], dtype=torch.long)

    @cached_property
    def positions(self) -> torch.Tensor:
        """Position of each token in its own sequence, long [T]."""
        import torch

        return torch.cat([torch.arange(s.position, s.position + s.length) for s in self.spans])

    @cached_property
    def previous(self) -> torch.Tensor:
        """Index of the token that predicts each token (-1 where there is none), long [T]."""
        import torch

        previous = torch.arange(-1, self.tokens - 1)
        for span in self.spans:
            previous[span.start] = self.spans[span.parent].stop - 1 if span.parent >= 0 else -1
        return previous

    def ancestors(self, index: int) -> list[int]:
        """The segments that segment `index` continues, eldest first, itself not included."""
        path: list[int] = []
        parent = self.spans[index].parent
        while parent >= 0:
            path.append(parent)
            parent = self.spans[parent].parent
        return path[::-1]


def pack(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Best-fit decreasing bin packing: lists of indices into `sizes`, each list's sum at most `budget`.

    An item larger than the budget gets a bin of its own: a conversation is never split. Order is deterministic. A
    million items take about a second: open bins are kept by their free room, and which rooms there are is a bit set, so
    that the smallest that fits is one shift away.

    Args:
        sizes: tokens of each item, at least 1.
        budget: tokens of a bin.
    """
    import numpy as np

    order = np.argsort(-np.asarray(sizes, dtype=np.int64), kind="stable").tolist()
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}  # free tokens → bins
    rooms = 0  # bit r: some bin has r free tokens
    for item in order:
        size = sizes[item]
        fitting = rooms >> size
        if not fitting:
            chosen, room = len(bins), budget
            bins.append([])
        else:
            room = size + (fitting & -fitting).bit_length() - 1
            chosen = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        bins[chosen].append(item)
        if room > size:
            left = by_room.setdefault(room - size, [])
            if not left:
                rooms |= 1 << (room - size)
            left.append(chosen)
    return bins


Ids = tuple[int, ...] | list[int]
WORTH_SHARING = 4  # tokens; a shorter common prefix is not worth a segment of its own


def common_prefix(sequences: Sequence[Ids], limit: int | None = None) -> int:
    """How many first tokens all sequences share, at most `limit`, leaving each at least one token of its own.

    0 where that is too few to be worth a segment, or where there are fewer than two sequences.
    """
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)  # the lexicographic extremes differ where any two do
    bound = min(len(s) for s in sequences) - 1
    bound = bound if limit is None else min(bound, limit)
    shared = 0
    while shared < bound and first[shared] == last[shared]:
        shared += 1
    return shared if shared >= WORTH_SHARING else 0


@dataclass(frozen=True)
class Group:
    """A prompt and its answers."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.answers))


def plant(groups: Sequence[Group]) -> tuple[Forest, list[Span]]:
    """A forest of prompts with their answers; what all prompts begin with (a system turn) is stored once for all.

    Returns:
        The forest, and where each answer lies: all answers of the first group, then of the second, and so on.
    """
    shared = common_prefix([group.prompt for group in groups])
    segments = [Segment(groups[0].prompt[:shared])] if shared else []
    places: list[int] = []
    for group in groups:
        segments.append(Segment(group.prompt[shared:], 0 if shared else -1))
        trunk = len(segments) - 1
        for answer in group.answers:
            places.append(len(segments))
            segments.append(Segment(answer, trunk))
    forest = Forest.of(segments)
    return forest, [forest.spans[place] for place in places]
