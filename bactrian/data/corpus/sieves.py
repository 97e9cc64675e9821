"""Rules over documents and their attributes: what is kept, what is replaced in a text, what has been seen before.

All spans are parts of the text as it came, also those that an earlier rule has cut something out of: replacements are
collected, and made together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from bactrian.data.corpus.bloom import BloomSeen, ExactSeen, text_keys
from bactrian.data.corpus.tagging import Attributes, Value
from bactrian.data.io.rows import Row
from bactrian.errors import BactrianError

Measure = Literal["max", "min", "mean", "sum", "count", "share"]


class Edit(NamedTuple):
    """Characters start … end − 1 of a text as it came are replaced."""

    start: int
    end: int
    by: str


@dataclass
class CorpusDocument:
    """A document on its way through the rules: as it came, and what is to be replaced in its text."""

    row: Row
    attributes: Attributes
    where: str
    edits: list[Edit] = field(default_factory=list)
    size: int = 0  # UTF-8 bytes of the text as it would be now

    def __post_init__(self) -> None:
        self.size = utf8_size(self.text)

    @property
    def text(self) -> str:
        """As it came."""
        return str(self.row["text"])

    def replace(self, edits: Sequence[Edit]) -> None:
        """Replace more of the text."""
        if edits:
            self.edits += edits
            self.size = utf8_size(self.edited())

    def edited(self) -> str:
        """The text as it is now: where replacements overlap, the earlier one's text stands for both."""
        text, parts, upto = self.text, [], 0
        for start, end, by in sorted(self.edits, key=lambda edit: (edit.start, -edit.end)):
            if start >= upto:
                parts += [text[upto:start], by]
            upto = max(upto, end)
        return "".join([*parts, text[upto:]])


def utf8_size(text: str) -> int:
    """Bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


class Sieve(Protocol):
    """A rule at work: goes through batches of documents in their order."""

    def __call__(self, batch: Sequence[CorpusDocument]) -> list[str | None]:
        """Of each document why it is dropped, or None; may replace parts of those that stay."""


def measured(value: Value, measure: Measure, length: int) -> float | None:
    """One number for an attribute: itself, or of its spans' scores; None for the max, min or mean of no span.

    share: of the text's characters, the spans' lengths together.
    """
    if not isinstance(value, list):
        return value
    if measure == "count":
        return float(len(value))
    if measure == "share":
        return sum(end - start for start, end, _ in value) / length if length else 0.0
    scores = [score for _, _, score in value]
    if measure == "sum":
        return float(sum(scores))
    if not scores:
        return None
    return float(sum(scores) / len(scores)) if measure == "mean" else float((max if measure == "max" else min)(scores))


@dataclass
class BoundsSieve:
    """Keeps documents whose attribute is within bounds; with `inside` False those for which it is not."""

    attribute: str
    measure: Measure
    least: float | None
    most: float | None
    inside: bool
    keep_missing: bool

    def __call__(self, batch: Sequence[CorpusDocument]) -> list[str | None]:
        return [self._flaw(each) for each in batch]

    def _flaw(self, candidate: CorpusDocument) -> str | None:
        value = candidate.attributes.get(self.attribute)
        number = None if value is None else measured(value, self.measure, len(candidate.text))
        if number is None:
            return None if self.keep_missing else "has none"
        within = (self.least is None or number >= self.least) and (self.most is None or number <= self.most)
        return None if within == self.inside else f"{number:.4g}"


@dataclass
class SpanSieve:
    """Replaces an attribute's spans whose score is within bounds; documents with more than `limit` of them go."""

    attribute: str
    by: str
    least: float | None
    most: float | None
    limit: int | None

    def __call__(self, batch: Sequence[CorpusDocument]) -> list[str | None]:
        return [self._flaw(each) for each in batch]

    def _flaw(self, candidate: CorpusDocument) -> str | None:
        value = candidate.attributes.get(self.attribute)
        if value is None:
            return None
        if not isinstance(value, list):
            raise BactrianError(
                f"{candidate.where}, attribute {self.attribute!r}: found the number {value:g}, expected spans"
            )
        chosen = [
            Edit(int(start), int(end), self.by)
            for start, end, score in value
            if (self.least is None or score >= self.least) and (self.most is None or score <= self.most)
        ]
        if self.limit is not None and len(chosen) > self.limit:
            return f"{len(chosen):,} spans"
        candidate.replace(chosen)
        return _emptied(candidate)


class SeenDocuments:
    """Drops documents whose text, or whose column, was there before; white space does not matter."""

    def __init__(self, seen: ExactSeen | BloomSeen, column: str | None) -> None:
        self.seen, self.column = seen, column

    def __call__(self, batch: Sequence[CorpusDocument]) -> list[str | None]:
        keys = [self._key(each) for each in batch]
        some = [number for number, key in enumerate(keys) if key]
        again = self.seen.add(text_keys([keys[number] for number in some]))
        found: list[str | None] = [None] * len(batch)
        for number, known in zip(some, again.tolist(), strict=True):
            if known:
                found[number] = keys[number][:60]
        return found

    def _key(self, candidate: CorpusDocument) -> str:
        """ "" for a document without one, which is no duplicate of others like it."""
        if self.column is None:
            return candidate.edited()
        value = candidate.row.get(self.column)
        return "" if value is None else plain_url(str(value)) if self.column == "url" else str(value)


def plain_url(url: str) -> str:
    """A URL without scheme, "www.", fragment and final slash, its host in small letters."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url.strip()
    host = parts.netloc.lower().removeprefix("www.")
    return f"{host}{parts.path.rstrip('/')}{'?' if parts.query else ''}{parts.query}"


class SeenParagraphs:
    """Cuts out paragraphs (lines) that were there before, in this document too; those of fewer words stay.

    Documents of whose characters more than `limit` are cut go. What an earlier rule replaced is compared as it came.
    """

    def __init__(self, seen: ExactSeen | BloomSeen, least_words: int, limit: float | None) -> None:
        self.seen, self.least_words, self.limit = seen, least_words, limit

    def __call__(self, batch: Sequence[CorpusDocument]) -> list[str | None]:
        spans = [self._paragraphs(each) for each in batch]
        texts = [each.text[start:end] for each, found in zip(batch, spans, strict=True) for start, end in found]
        again: NDArray[np.bool_] = self.seen.add(text_keys(texts))
        flaws: list[str | None] = []
        at = 0
        for candidate, found in zip(batch, spans, strict=True):
            known = [span for span, seen in zip(found, again[at : at + len(found)].tolist(), strict=True) if seen]
            at += len(found)
            flaws.append(self._cut(candidate, known))
        return flaws

    def _paragraphs(self, candidate: CorpusDocument) -> list[tuple[int, int]]:
        """Those that no earlier rule has cut whole, with their line break."""
        found, start, text = [], 0, candidate.text
        cut = [(edit.start, edit.end) for edit in candidate.edits]
        for line in text.split("\n"):
            end = min(start + len(line) + 1, len(text))
            enough = len(line.split(None, self.least_words)) >= self.least_words
            if enough and not any(first <= start and end <= last for first, last in cut):
                found.append((start, end))
            start = end
        return found

    def _cut(self, candidate: CorpusDocument, spans: Sequence[tuple[int, int]]) -> str | None:
        share = sum(end - start for start, end in spans) / max(1, len(candidate.text))
        if self.limit is not None and share > self.limit:
            return f"{share:.0%} of the characters"
        candidate.replace([Edit(start, end, "") for start, end in spans])
        return _emptied(candidate)


def _emptied(candidate: CorpusDocument) -> str | None:
    return "nothing is left" if candidate.edits and not candidate.edited().strip() else None
