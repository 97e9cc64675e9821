"""Gopher's and C4's rules as the Dolma toolkit counts them, under its names, so that thresholds made for it hold here.

Where they differ from ours: the *median* word length; words with a symbol; lines that end in "…" only; stop words that
stand alone; for n = 5 … 10 the characters of all n-grams that occur more than once, over those of all n-grams, which
overlap; all copies of a line count as duplicates. Each value is one span over the whole text. `c4_v1` lacks
`has_naughty_word`: that list of words is not ours to ship.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from bactrian.data.corpus.tagging import Value, batch_tagger, tagger
from bactrian.data.corpus.text_batch import BatchWords, RepeatedGrams, TextBatch
from bactrian.data.curate.quality import STOP_WORDS

DIGITS = 5
_ENDS = (".", "?", "!", '"')


@batch_tagger("gopher_v1")
def gopher_v1(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Fourteen numbers and n-gram shares of each text."""
    words = batch.words
    count, characters = np.maximum(words.counts, 1), np.maximum(words.characters, 1)
    columns = {
        f"fraction_of_characters_in_most_common_{n}grams": _top_share(words, batch.grams[n - 1]) / characters
        for n in (2, 3, 4)
    }
    columns |= {
        f"fraction_of_characters_in_duplicate_{n}grams": _repeated_share(words, batch.grams[n - 1])
        for n in range(5, 11)
    }
    grams = dict(zip(columns, (2, 3, 4, *range(5, 11)), strict=True))
    columns |= {
        "character_count": np.array([float(len(text)) for text in batch.texts]),
        "word_count": words.counts.astype(float),
        "median_word_length": _medians(words),
        "symbol_to_word_ratio": words.sums(words.of_each(lambda word: float("#" in word or "…" in word))) / count,
        "fraction_of_words_with_alpha_character": words.sums(
            words.of_each(lambda word: float(any(map(str.isalpha, word))))
        )
        / count,
        "required_word_count": words.sums(words.of_each(lambda word: float(word in STOP_WORDS))),
    }
    rounded = {name: np.round(values, DIGITS).tolist() for name, values in columns.items()}
    sizes = [len(text) for text in batch.texts]
    rows: list[Mapping[str, Value]] = []
    for i, text in enumerate(batch.texts):
        found = {name: values[i] for name, values in rounded.items() if words.counts[i] >= grams.get(name, 0)}
        found |= {name: round(value, DIGITS) for name, value in _line_shares(text, int(words.characters[i])).items()}
        rows.append({name: [[0, sizes[i], value]] for name, value in found.items()})
    return rows


def _line_shares(text: str, characters: int) -> dict[str, float]:
    if not text:
        return {}
    lines = text.split("\n")
    several = [(line, times) for line, times in Counter(lines).items() if times > 1]
    return {
        "fraction_of_lines_starting_with_bullet_point": sum(line.startswith(("*", "-")) for line in lines) / len(lines),
        "fraction_of_lines_ending_with_ellipsis": sum(line.endswith("…") for line in lines) / len(lines),
        "fraction_of_duplicate_lines": sum(times for _, times in several) / len(lines),
        "fraction_of_characters_in_duplicate_lines": sum(len(line) * times for line, times in several)
        / max(characters, 1),
    }


def _medians(words: BatchWords) -> np.ndarray:
    """[D] median of the lengths of each text's words; 0 where it has none."""
    texts = np.repeat(np.arange(len(words.counts)), words.counts)
    lengths = words.lengths[np.lexsort((words.lengths, texts))]
    found = np.zeros(len(words.counts))
    some = words.counts > 0
    low, high = words.starts[some] + (words.counts[some] - 1) // 2, words.starts[some] + words.counts[some] // 2
    found[some] = (lengths[low] + lengths[high]) / 2
    return found


def _top_share(words: BatchWords, grams: RepeatedGrams) -> np.ndarray:
    """[D] characters of the most frequent n-gram, of all its occurrences; where none occurs twice of the first one."""
    found = np.zeros(len(words.counts), dtype=np.int64)
    some = np.flatnonzero(words.counts >= grams.n)
    found[some] = words.gram_characters(words.starts[some], grams.n)
    if len(grams.counts):
        places = grams.places[grams.firsts]
        order = np.lexsort((-places, grams.counts))
        found[words.texts_of(places)[order]] = (grams.counts * words.gram_characters(places, grams.n))[order]
    return found


def _repeated_share(words: BatchWords, grams: RepeatedGrams) -> np.ndarray:
    """[D] characters of all n-grams that occur more than once over those of all n-grams."""
    n, before = grams.n, words.characters_before
    fits = np.flatnonzero(words.counts >= n)
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(before)])
    first, last = words.starts[fits], words.ends[fits] - n + 1
    whole = np.ones(len(words.counts), dtype=np.int64)
    whole[fits] = (upto[last + n] - upto[first + n]) - (upto[last] - upto[first])
    repeated = np.zeros(len(words.counts), dtype=np.int64)
    np.add.at(repeated, words.texts_of(grams.places), words.gram_characters(grams.places, n))
    return repeated / np.maximum(whole, 1)


@tagger("c4_v1")
def c4_v1(text: str) -> dict[str, Value]:
    """Lines without an end and with fewer than three words, as spans; javascript, placeholder text, braces; lines."""
    whole = [0, len(text), 1.0]
    lines = text.split("\n")
    said: dict[str, Value] = {}
    start = 0
    for number, original in enumerate(lines):
        end = start + len(original) + (number < len(lines) - 1)
        line = original.lower().strip()
        if not line.endswith(_ENDS):
            _add(said, "lines_with_no_ending_punctuation", [start, end, 1.0])
        words = line.split()
        if len(words) < 3:
            _add(said, "lines_with_too_few_words", [start, end, 1.0])
        found = {
            "has_javascript": "javascript" in words,
            "has_lorem_ipsum": "lorem ipsum" in line,
            "has_curly_brace": "{" in line,
        }
        said |= {name: [whole] for name, there in found.items() if there}
        start = end
    return said | {"line_count": [[0, len(text), float(len(lines))]]}


def _add(said: dict[str, Value], name: str, span: Sequence[float]) -> None:
    spans = said.setdefault(name, [])
    assert isinstance(spans, list)
    spans.append(span)
