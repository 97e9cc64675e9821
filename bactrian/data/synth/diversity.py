"""How unlike one another texts are: distinct n-grams and self-BLEU.

distinct-n [Li et al. 2016] falls with the number of texts whatever they say, so it is taken of samples of one size.
Self-BLEU [Zhu et al. 2018] is the mean BLEU-4 of each text of a sample against all others: 1 for a set of copies.
Dispersion and topics, of all texts, are those of `data/likeness/spread.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from bactrian.data.likeness.bags import TextBag, text_bag
from bactrian.data.likeness.spread import bag_spread
from bactrian.data.synth.rouge_novelty import rouge_words

SAMPLE = 200
"""Texts that are compared; self-BLEU is quadratic in it."""
LONGEST = 4
"""Of the n-grams that BLEU counts."""
Grams = Counter[tuple[str, ...]]


def diversity(texts: Iterable[str], seed: int = 0, sample: int = SAMPLE) -> dict[str, Any]:
    """{texts, sample, distinct_1, distinct_2, distinct_3, self_bleu, mean_words, vocabulary} of a drawn sample, and
    what `bag_spread` says of all texts. The order of the texts changes nothing.

    distinct_n: different n-grams over all n-grams of the sample, 0 where there are none. self_bleu: None below 2 texts.
    """
    return bag_diversity(text_bag(texts), seed, sample)


def bag_diversity(bag: TextBag, seed: int = 0, sample: int = SAMPLE) -> dict[str, Any]:
    """`diversity` of texts that are in a bag."""
    rows = [text for text, count in zip(bag.texts, bag.counts.tolist(), strict=True) for _ in range(count)]
    chosen = rows if len(rows) <= sample else Random(f"diversity/{seed}").sample(rows, sample)
    words = [rouge_words(text) for text in chosen]
    shares = {f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)}
    return {
        "texts": bag.rows,
        "sample": len(chosen),
        **shares,
        "self_bleu": self_bleu(words) if len(words) > 1 else None,
        "mean_words": sum(map(len, words)) / max(1, len(words)),
        "vocabulary": len({word for text in words for word in text}),
        **bag_spread(bag),
    }


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams over all n-grams of some texts, each a list of words."""
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4 of each text against all others; orders that a text is too short for are left out of its mean.

    A precision of 0 counts as half an n-gram, so that a text of which only single words recur is not exactly 0.
    """
    counted = [{n: _grams(text, n) for n in range(1, LONGEST + 1)} for text in texts]
    most, second = _highest(counted)
    scores = [_bleu(own, len(text), most, second, texts) for own, text in zip(counted, texts, strict=True)]
    return sum(scores) / len(scores)


def _grams(words: Sequence[str], n: int) -> Grams:
    return Counter(zip(*(words[k:] for k in range(n)), strict=False))


def _highest(counted: Sequence[Mapping[int, Grams]]) -> tuple[Grams, Grams]:
    """How often each n-gram occurs in the text that has it most often, and in the one after that."""
    most, second = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for grams in (each for text in counted for each in text.values()):
        for gram, count in grams.items():
            if count > most[gram]:
                most[gram], second[gram] = count, most[gram]
            elif count > second[gram]:
                second[gram] = count
    return most, second


def _bleu(own: Mapping[int, Grams], length: int, most: Grams, second: Grams, texts: Sequence[Sequence[str]]) -> float:
    logs = []
    for grams in own.values():
        if not grams:
            continue
        # the others' most is the second highest count where this text has the highest
        hits = sum(min(count, second[gram] if count == most[gram] else most[gram]) for gram, count in grams.items())
        logs.append(math.log((hits or 0.5) / grams.total()))
    if not logs:
        return 0.0
    lengths = [len(text) for text in texts]
    lengths.remove(length)
    closest = min(lengths, key=lambda other: (abs(other - length), other))
    brevity = min(0.0, 1 - closest / length)
    return math.exp(brevity + sum(logs) / len(logs))
