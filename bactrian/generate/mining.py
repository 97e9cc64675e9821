"""What of a corpus a model recites: a segment's beginning is shown, the model goes on greedily, and is held against it.

Score of a segment: the longest common subsequence of the tokens that the model wrote and those that follow in the text
[ParaPO, Chen et al. 2025]. Segments that are alike are asked once, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from bactrian.chat.plain_text import PlainText
from bactrian.generate.engine import Engine, Request
from bactrian.subsequence import common_length

Ids = tuple[int, ...]
Document = tuple[str, str]
"""Id and text."""


@dataclass(frozen=True)
class Cut:
    """Where segments lie in a document: `prefix` tokens that are shown, `suffix` that are held against the model's.

    stride: tokens from one segment of a document to the next; None: only its first. random: one segment at a random
    place instead, of documents of more than `long` characters.
    """

    prefix: int = 64
    suffix: int = 32
    stride: int | None = None
    random: bool = False
    long: int = 0

    def segments(self, ids: Ids, text: str, random: Random) -> list[int]:
        """Where segments of a document begin, in tokens; none if it is too short."""
        last = len(ids) - self.prefix - self.suffix
        if last < 0 or (self.random and len(text) <= self.long):
            return []
        if self.random:
            return [random.randint(0, last)]
        return [0] if self.stride is None else list(range(0, last + 1, self.stride))


@dataclass(frozen=True)
class CorpusSegment:
    """A segment: of which document (id, number), from which token on, its ids."""

    document: str
    number: int
    start: int
    ids: Ids

    def key(self) -> int:
        """What segments that are alike have in common."""
        return hash(self.ids)


def segments_of(plain: PlainText, document: Document, number: int, cut: Cut, seed: int) -> list[CorpusSegment]:
    """The segments of a document, the `number`th of its corpus."""
    name, text = document
    ids = plain.ids(text)
    ids = ids[1:] if plain.first is not None and ids[:1] == (plain.first,) else ids
    size, starts = cut.prefix + cut.suffix, cut.segments(ids, text, Random(f"segment/{seed}/{number}"))
    return [CorpusSegment(name, number, start, ids[start : start + size]) for start in starts]


def recitals(
    engine: Engine,
    plain: PlainText,
    segments: Sequence[CorpusSegment],
    prefix: int,
    on_done: Callable[[int], None] | None = None,
) -> list[Ids]:
    """What the model writes after each segment's first `prefix` tokens, as many as the segment has left, greedily.

    The token that begins a document stands before them. An end token that comes early ends what is written.
    """
    first = () if plain.first is None else (plain.first,)
    requests = [
        Request((*first, *each.ids[:prefix]), max_new_tokens=len(each.ids) - prefix, temperature=0.0)
        for each in segments
    ]
    heard = None if on_done is None else lambda request, sample, completion: on_done(1)
    ends = set(engine.template.end_ids)
    return [
        tuple(token for token in done[0].ids if token not in ends)
        for done in engine.generate(requests, on_finish=heard)
    ]


def score(segment: CorpusSegment, prefix: int, written: Ids) -> int:
    """Tokens of what follows in the text that the model wrote in that order."""
    return common_length(segment.ids[prefix:], written)
