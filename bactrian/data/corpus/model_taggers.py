"""Taggers that need a tokenizer or a trained classifier, which the step names."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bactrian.data.corpus.encoding import encode, opened_tokenizer
from bactrian.data.corpus.hashed_classifier import HashedClassifier
from bactrian.data.corpus.periods import periodic_runs
from bactrian.data.corpus.tagging import Value, batch_tagger
from bactrian.data.corpus.text_batch import TextBatch

SENTENCE = re.compile(r"""\S[^\n]*?(?:[.!?]+["')\]]*(?=\s)|(?=\n)|\Z)""")
"""Up to a final mark before white space, or the end of a line."""


@cache
def opened_classifier(folder: Path) -> HashedClassifier:
    """The classifier that a step `quality` left in a folder.

    Raises:
        BactrianError: where there is none.
    """
    return HashedClassifier.load(folder)


@batch_tagger("tokens", needs=("tokenizer",))
def tokens(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """How many tokens a text has."""
    tokenizer = opened_tokenizer(batch.inputs["tokenizer"])
    return [{"": float(len(ids))} for ids in encode(tokenizer, batch.texts).input_ids]


@batch_tagger("token_repeats", needs=("tokenizer",))
def token_repeats(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Spans of 1 to 13 tokens that are repeated 32 times or more in a row; score: how many times."""
    encoded = encode(opened_tokenizer(batch.inputs["tokenizer"]), batch.texts, offsets=True)
    rows: list[Mapping[str, Value]] = []
    for ids, places in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
        runs = periodic_runs(np.array(ids, dtype=np.int64))
        rows.append({"": [[places[run.start][0], places[run.end - 1][1], float(run.times)] for run in runs]})
    return rows


@batch_tagger("classifier", needs=("classifier",), extra="data")
def classifier(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """The probability that a text is of the wanted kind, by a classifier that a step `quality` trained."""
    scores = opened_classifier(batch.inputs["classifier"]).probabilities(batch.texts)
    return [{"": float(score)} for score in scores]


@batch_tagger("toxicity", needs=("toxicity",), extra="data")
def toxicity(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """A span for each sentence, its score the probability that it is toxic, as Dolma has it [Soldaini et al. 2024]."""
    places = [[match.span() for match in SENTENCE.finditer(text)] for text in batch.texts]
    said = [text[start:end] for text, spans in zip(batch.texts, places, strict=True) for start, end in spans]
    scores = map(float, opened_classifier(batch.inputs["toxicity"]).probabilities(said) if said else ())
    return [{"": [[start, end, next(scores)] for start, end in spans]} for spans in places]
