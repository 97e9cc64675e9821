"""Taggers by rules of thumb for web pages: Gopher's (Rae et al. 2021) and C4's (Raffel et al. 2020), and lengths.

They say numbers and mark lines, and judge nothing: what is too much is said by rules (stage `curate`). With the papers'
bounds on them a document passes `gopher` and `repetition` exactly if it passes the rule `gopher` of stage `filter`.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from bactrian.data.corpus.tagging import Value, batch_tagger, tagger
from bactrian.data.corpus.text_batch import TextBatch
from bactrian.data.curate.quality import (
    BULLETS,
    ELLIPSES,
    REPEATED,
    REPEATED_ALL,
    SENTENCE,
    STOP_WORDS,
    TERMINAL,
    duplicated,
    stem,
)
from bactrian.data.io.texts import estimated_tokens


@batch_tagger("gopher")
def gopher(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Words, mean word length, symbols (#, …) a word, shares of lines with bullets and ellipses and of words with a
    letter, and how many of eight stop words there are."""
    words, texts = batch.words, batch.texts
    count = np.maximum(words.counts, 1)
    length = words.characters / count
    symbols = np.array([text.count("#") + text.count("…") + text.count("...") for text in texts]) / count
    alphabetic = words.sums(words.of_each(lambda word: float(any(map(str.isalpha, word))))) / count
    stops = {word: number for number, word in enumerate(sorted(STOP_WORDS))}
    which = words.of_each(lambda word: stops.get(stem(word), -1))
    present = np.zeros((len(texts), len(stops)), dtype=bool)
    at = np.flatnonzero(which >= 0)
    present[words.texts_of(at), which[at]] = True
    return [
        {
            "words": float(words.counts[i]),
            "mean_word_length": float(length[i]),
            "symbols_a_word": float(symbols[i]),
            "bulleted_lines": _share(line.startswith(BULLETS) for line in batch.lines[i]),
            "ellipsis_lines": _share(line.endswith(ELLIPSES) for line in batch.lines[i]),
            "alphabetic_words": float(alphabetic[i]),
            "stop_words": float(present[i].sum()),
        }
        for i in range(len(texts))
    ]


def _share(flags: object) -> float:
    found = list(flags)  # type: ignore[call-overload]
    return sum(found) / len(found) if found else 0.0


@batch_tagger("repetition")
def repetition(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Shares of duplicate lines and paragraphs and of their characters; of the characters, what the most frequent
    n-gram covers for n = 2, 3, 4, and what n-grams that came before cover for n = 5 … 10 [Gopher, table A1]."""
    words = batch.words
    total = np.maximum(words.characters, 1)
    columns = {}
    for n, _ in REPEATED:
        columns[f"top_{n}gram"] = _top_characters(batch, n) / total
    for n, _ in REPEATED_ALL:
        columns[f"repeated_{n}grams"] = _covered_characters(batch, n) / total
    rows: list[Mapping[str, Value]] = []
    for i, text in enumerate(batch.texts):
        paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
        said: dict[str, Value] = {}
        for name, parts in (("lines", batch.lines[i]), ("paragraphs", paragraphs)):
            share, characters = duplicated(parts, len(text))
            said |= {f"duplicate_{name}": share, f"duplicate_{name[:-1]}_characters": characters}
        rows.append(said | {name: float(values[i]) for name, values in columns.items()})
    return rows


def _top_characters(batch: TextBatch, n: int) -> np.ndarray:
    """[D] characters of all occurrences of the n-gram that occurs most often, if it occurs more than once; of several
    the one that comes first."""
    words, grams = batch.words, batch.grams[n - 1]
    found = np.zeros(len(batch.texts), dtype=np.int64)
    if len(grams.counts):
        places = grams.places[grams.firsts]
        order = np.lexsort((-places, grams.counts))  # the last one written to a text stays
        covered = grams.counts * words.gram_characters(places, n)
        found[words.texts_of(places)[order]] = covered[order]
    return found


def _covered_characters(batch: TextBatch, n: int) -> np.ndarray:
    """[D] characters of the words inside an n-gram that occurred before, each word once."""
    words, later = batch.words, batch.grams[n - 1].later()
    edges = np.zeros(len(words.ids) + 1, dtype=np.int64)
    np.add.at(edges, later, 1)
    np.add.at(edges, later + n, -1)
    covered: np.ndarray = words.sums(np.where(np.cumsum(edges)[:-1] > 0, words.lengths, 0))
    return covered


@tagger("c4")
def c4(text: str) -> dict[str, Value]:
    """Spans of the lines that C4 cuts out: `open_lines` do not end in punctuation, `short_lines` have fewer than five
    words (score: how many), `javascript_lines` speak of it; numbers: sentences, braces, and placeholder text.

    A line's span goes to the end of its line break, so that cutting it leaves no blank line. Blank lines are in no
    span.
    """
    open_lines: list[Sequence[float]] = []
    short: list[Sequence[float]] = []
    javascript: list[Sequence[float]] = []
    parts = text.splitlines(keepends=True)
    for end, part in zip(accumulate(map(len, parts)), parts, strict=True):
        line = part.strip()
        if not line:
            continue
        start = end - len(part)
        if not line.endswith(TERMINAL) or line.endswith(ELLIPSES):
            open_lines.append([start, end, 1.0])
        if (count := len(line.split(None, 5))) < 5:
            short.append([start, end, float(count)])
        if "javascript" in line.lower():
            javascript.append([start, end, 1.0])
    return {
        "open_lines": open_lines,
        "short_lines": short,
        "javascript_lines": javascript,
        "sentences": float(len(SENTENCE.findall(text))),
        "curly_brackets": float(text.count("{")),
        "lorem_ipsum": float("lorem ipsum" in text.lower()),
    }


@tagger("length")
def length(text: str) -> dict[str, Value]:
    """Characters, UTF-8 bytes, and about how many tokens they are."""
    size = len(text) if text.isascii() else len(text.encode())
    return {"characters": float(len(text)), "bytes": float(size), "tokens": float(estimated_tokens(text))}
