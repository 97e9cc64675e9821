"""The spans of an answer that stand in the training data [OLMoTrace: Liu et al. 2025, section 3].

As there, a span is a run of whole words that stands somewhere in the data and is part of no longer one from the same
place on, and spans are ranked by how improbable their words are taken one by one, so that long and rare ones come
first. Other than there, a span has a least number of words, and all of them are kept, where OLMoTrace keeps the 5 % of
an answer's tokens that are rarest: on a few gigabytes of data, eight words in a row are seldom chance, and what was
left out would look like the model's own words.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import log10

import numpy as np

from bactrian.data.overlap.trace.corpus_index import CorpusIndex, TracedPlace
from bactrian.data.overlap.trace.tokens import DELIMITER, TokenForm, token_form

LEAST_WORDS = 8
"""As in `decontaminate` (n = 8). The 7-grams of ordinary prose recur by chance; ParaPO's creativity counts from ten
tokens on, about as much [Chen et al. 2025]."""
_STOPPING = """
a about after all also an and any are as at be because been before but by can could d did do does for from had has have
he her his how i if in into is it its just ll m may me more my no not of on one only or other our out re s she should so
some such t than that the their them then there these they this those to up us ve was we were what when which who will
with would you your
"""
STOP_WORDS = frozenset(_STOPPING.split())
"""English words without content; a span of nothing else is left out, whatever its length."""
PLACES = 10
CONTEXT = 200


@dataclass(frozen=True)
class TracedSpan:
    """Characters [start, end) of an answer, which stand in the training data.

    words: how many. count: how often they stand there. rarity: the sum of −log10 of the share of each word in the data.
    places: some of the places, with those first that are the same letter for letter.
    """

    start: int
    end: int
    text: str
    words: int
    count: int
    rarity: float
    places: tuple[TracedPlace, ...]

    @property
    def verbatim(self) -> bool:
        """Whether one of the places is the same letter for letter; else case or white space differ."""
        return any(place.text == self.text for place in self.places)


@dataclass(frozen=True)
class AnswerTrace:
    """An answer, its spans in order, how many words it has, and how many of them are in a span."""

    text: str
    spans: tuple[TracedSpan, ...]
    words: int
    covered: int

    @property
    def share(self) -> float:
        """Of the words in spans; 0 for an answer without words."""
        return self.covered / self.words if self.words else 0.0

    def ranked(self) -> list[TracedSpan]:
        """The spans, rarest first."""
        return sorted(self.spans, key=lambda span: (-span.rarity, span.start))


def trace(
    answer: str,
    index: CorpusIndex,
    least: int = LEAST_WORDS,
    places: int = PLACES,
    context: int = CONTEXT,
    most: int | None = None,
) -> AnswerTrace:
    """The spans of an answer of at least so many words that stand in the index's texts.

    Args:
        places: at most so many of each span, each with `context` characters around it.
        most: only the rarest spans, so many.
    """
    found = token_form([answer], index.fold)
    form = found.form.tobytes()
    runs = []
    for first, last in _maximal(found, form, index, least):
        words = [_form_of(found, form, at, at) for at in range(first, last + 1) if found.word[at]]
        if not all(word[:-1].decode("utf-8", "surrogatepass").lower() in STOP_WORDS for word in words):
            runs.append((first, last, len(words), _rarity(words, index)))
    if most is not None:
        runs = sorted(sorted(runs, key=lambda run: -run[3])[:most])
    spans, in_span = [], np.zeros_like(found.word)
    for first, last, words_in, rare in runs:
        passage = _form_of(found, form, first, last)
        start, end = int(found.start[first]), int(found.end[last])
        text = answer[start:end]
        where = sorted(index.places(passage, places, context), key=lambda place: place.text != text)
        spans.append(TracedSpan(start, end, text, words_in, index.count(passage), rare, tuple(where)))
        in_span[first : last + 1] = True
    return AnswerTrace(answer, tuple(spans), int(found.word.sum()), int((in_span & found.word).sum()))


def pieces(answer: AnswerTrace) -> list[tuple[str, tuple[int, ...]]]:
    """The answer cut where spans begin or end: (text, numbers of the spans that it is in) of each piece."""
    edges = {0, len(answer.text), *(edge for span in answer.spans for edge in (span.start, span.end))}
    begins: dict[int, list[int]] = {}
    for number, span in enumerate(answer.spans):
        begins.setdefault(span.start, []).append(number)
    cut, inside = [], list[int]()
    for start, end in pairwise(sorted(edges)):
        inside = [number for number in inside if answer.spans[number].end > start] + begins.get(start, [])
        cut.append((answer.text[start:end], tuple(inside)))
    return cut


def _rarity(words: Iterable[bytes], index: CorpusIndex) -> float:
    """How improbable words are, each by its share of the data."""
    return sum(-log10(index.count(word) / index.words) for word in words)


def _maximal(found: TokenForm, form: bytes, index: CorpusIndex, least: int) -> list[tuple[int, int]]:
    """First and last token of each longest run that stands in the data, begins and ends with a word, and has enough
    words; none is part of another.

    Of the runs of w words that begin at every w-th, w half of `least`, each run that is long enough holds one: where
    that does not stand in the data, no such run begins in the w places before it.
    """
    words: list[int] = found.word.nonzero()[0].tolist()
    places: list[int] = [*found.at.tolist(), len(form) - 1]

    def stands(first: int, last: int) -> bool:
        return index.has(form[places[words[first]] : places[words[last] + 1]])

    spans: list[tuple[int, int]] = []
    step, first = (least + 1) // 2, 0
    while first + least <= len(words):
        block = -(-first // step) * step
        if not stands(block, block + step - 1):
            first = block + 1
            continue
        at = places[words[first]]
        last = bisect_left(words, bisect_left(places, at + index.longest(form, at))) - 1
        if last - first + 1 < least:
            first += 1
            continue
        spans.append((words[first], words[last]))
        if last + 1 == len(words):
            break
        # the next run has the word after this one; the shorter it is, the rather it stands somewhere
        low, high = first + 1, last + 3 - least
        first = bisect_left(range(low, high), True, key=lambda start: stands(start, last + 1)) + low
    return spans


def _form_of(found: TokenForm, form: bytes, first: int, last: int) -> bytes:
    """The form of the tokens from first to last."""
    start = int(found.at[first])
    return form[start : form.index(DELIMITER, int(found.at[last])) + 1]
