"""Whether a text is a paraphrase to learn from: as long as the original, in other words, with the same meaning.

The published bounds on length (half to twice) and the guards are ours; the study says only what a paraphrase is for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bactrian.data.curate.quality import Flaw
from bactrian.data.overlap.gram_set import GramSet
from bactrian.data.synth.rouge_novelty import rouge_words
from bactrian.data.synth.same_meaning import KEPT, Kept, meaning_flaw
from bactrian.subsequence import common_length


@dataclass(frozen=True)
class ParaphraseGuards:
    """shortest, longest: words of the paraphrase over the original's. shared: words in a row of the original that no
    paraphrase may hold; None: any. alike: highest share of the longer one's words that both have in one order.
    keeps: what must be the same in both, by `same_meaning`.
    """

    shortest: float = 0.5
    longest: float = 2.0
    shared: int | None = 8
    alike: float = 0.8
    keeps: Collection[Kept] = KEPT

    def flaw(self, original: str, paraphrase: str, declines: Callable[[str], bool]) -> Flaw | None:
        """The first of the guards that a paraphrase fails. `declines`: whether a text refuses to answer."""
        if declines(paraphrase) and not declines(original):
            return Flaw("a refusal", repr(paraphrase[:80]))
        mine, other = rouge_words(original), rouge_words(paraphrase)
        if not mine or not other:
            return Flaw("no words to compare")
        ratio = len(other) / len(mine)
        if not self.shortest <= ratio <= self.longest:
            return Flaw("too short" if ratio < self.shortest else "too long", f"{ratio:.2f} of the original's words")
        common = common_length(mine, other) / max(len(mine), len(other))
        if common > self.alike:
            return Flaw("a copy, or nearly", f"{common:.0%} of the words in the same order")
        if self.shared is not None and (held := shared_run(original, paraphrase, self.shared)):
            return Flaw(f"{self.shared} words in a row as in the original", held[:120])
        return meaning_flaw(original, paraphrase, self.keeps)


def shared_run(original: str, paraphrase: str, n: int) -> str:
    """Whether `n` words in a row of one text stand in another: how many words of the second lie in such runs, or ""."""
    copied, words = GramSet.of_texts([original], n).copied(paraphrase)
    return f"{copied} of {words} words" if copied else ""
