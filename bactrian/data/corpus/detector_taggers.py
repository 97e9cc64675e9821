"""Taggers by other people's detectors: the language of a text, personal data in it; and the licence that a row
states."""

from collections.abc import Mapping, Sequence

from bactrian.data.corpus.tagging import Value, batch_tagger
from bactrian.data.corpus.text_batch import TextBatch
from bactrian.data.curate.detectors import PERSONAL, language_scores, personal_spans
from bactrian.data.io.rows import licence_of


@batch_tagger("language", extra="data")
def language(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """The probability of each language that the step names, and the largest of all others, by fastText's lid.176."""
    rows: list[Mapping[str, Value]] = []
    for text in batch.texts:
        scores = language_scores(text)
        others = [score for name, score in scores.items() if name not in batch.languages]
        rows.append({name: scores.get(name, 0.0) for name in batch.languages} | {"other": max(others, default=0.0)})
    return rows


@batch_tagger("personal", extra="data")
def personal(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Spans of personal data by kind (email, phone, ip_address, credit_card, ssn), by datafog's patterns."""
    rows: list[Mapping[str, Value]] = []
    for text in batch.texts:
        said: dict[str, list[Sequence[float]]] = {kind.lower(): [] for kind in PERSONAL}
        for kind, start, end in personal_spans(text):
            said[kind.lower()].append([start, end, 1.0])
        rows.append(dict(said))
    return rows


@batch_tagger("licence")
def licence(batch: TextBatch) -> Sequence[Mapping[str, Value]]:
    """Whether a row's licence forbids commercial use (`nc`), asks to share alike (`sa`), or is `unclear`."""
    marks = [licence_of(row).marks for row in batch.rows]
    return [{mark.lower(): float(mark in found) for mark in ("NC", "SA", "unclear")} for found in marks]
