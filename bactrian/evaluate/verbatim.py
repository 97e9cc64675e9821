"""How much of a text stands word for word in a corpus: what decides for the verifier `verbatim`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bactrian.data.io.files import stream_rows
from bactrian.data.io.texts import whole_text
from bactrian.data.overlap.gram_set import GramSet
from bactrian.verify import Problem, Verdict
from bactrian.verify.verdict import unparsable


class CorpusReader:
    """Gives verdicts by a corpus: the share of an answer's words that lie in sequences of `n` words of it."""

    def __init__(self, paths: Iterable[Path], n: int) -> None:
        """
        Raises:
            BactrianError: a file cannot be read.
        """
        self.grams = GramSet.of_texts((whole_text(row) for path in paths for row, _ in stream_rows(path)), n)

    def judge(self, asked: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return [self._verdict(problem, text) for problem, text in asked]

    def _verdict(self, problem: Problem, text: str) -> Verdict:
        copied, words = self.grams.copied(text)
        if not words:
            return unparsable("no words")
        share = copied / words
        right = share >= float(problem.settings["threshold"])
        reason = f"{copied} of {words} words in copied sequences"
        return Verdict(share, "right" if right else "wrong", text.strip()[:500], reason)
