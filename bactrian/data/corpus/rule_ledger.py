"""What rules over documents took: documents, bytes and tokens, one rule after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bactrian.data.corpus.bloom import BloomSeen
from bactrian.data.corpus.sieves import CorpusDocument, Sieve, utf8_size
from bactrian.data.io.formats import Fault
from bactrian.data.io.tally import Tally
from bactrian.data.io.texts import BYTES_PER_TOKEN


@dataclass
class Amount:
    """Documents, UTF-8 bytes and tokens."""

    documents: int = 0
    bytes: int = 0
    tokens: float = 0.0

    def add(self, documents: int, size: int, tokens: float) -> None:
        self.documents += documents
        self.bytes += size
        self.tokens += tokens


@dataclass
class RuleLedger:
    """Counts documents on their way through rules, whose names are `labels`.

    tokens: the attribute that counts a document's tokens; of a text that was cut, in proportion to its bytes. Without
    one four bytes are taken for a token.
    """

    labels: Sequence[str]
    tokens: str | None = None
    tally: Tally = field(default_factory=Tally)
    attributes: set[str] = field(default_factory=set)
    seen: int = 0
    _came: Amount = field(default_factory=Amount)
    _taken: list[Amount] = field(default_factory=list)
    _changed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._taken = [Amount() for _ in self.labels]
        self._changed = [0 for _ in self.labels]

    def refuse(self, fault: Fault) -> None:
        """Count a row that is no document."""
        self.seen += 1
        self.tally.drop(fault.reason, fault.where + (f" ({fault.detail})" if fault.detail else ""))

    def enter(self, batch: Sequence[CorpusDocument]) -> None:
        """Count documents that come to the first rule."""
        self.seen += len(batch)
        for candidate in batch:
            self.attributes |= candidate.attributes.keys()
            self._came.add(1, candidate.size, self._tokens_of(candidate, candidate.size))

    def sifted(self, rule: int, batch: Sequence[CorpusDocument], sieve: Sieve) -> list[CorpusDocument]:
        """Those that a rule lets pass."""
        before = [each.size for each in batch]
        passed: list[CorpusDocument] = []
        taken = self._taken[rule]
        for candidate, size, flaw in zip(batch, before, sieve(batch), strict=True):
            if flaw is None:
                passed.append(candidate)
                if candidate.size != size:
                    self._changed[rule] += 1
                    taken.add(0, size - candidate.size, self._tokens_of(candidate, size - candidate.size))
            else:
                taken.add(1, size, self._tokens_of(candidate, size))
                self.tally.drop(self.labels[rule], f"{candidate.row['id']}: {flaw}")
        return passed

    def keep(self, candidate: CorpusDocument) -> None:
        """Count a document that is left."""
        if candidate.edits:
            self.tally.repair("parts replaced", str(candidate.row["id"]))
        else:
            self.tally.keep()

    def _tokens_of(self, candidate: CorpusDocument, size: int) -> float:
        """Of so many bytes of it."""
        if self.tokens is None:
            return size / BYTES_PER_TOKEN
        value = candidate.attributes.get(self.tokens, 0.0)
        number = value[0][2] if isinstance(value, list) and value else value
        whole = utf8_size(candidate.text)
        return float(number) * size / whole if isinstance(number, int | float) and whole else 0.0

    def _lefts(self) -> list[Amount]:
        """What came, and what was left after each rule."""
        lefts = [self._came]
        for taken in self._taken:
            last = lefts[-1]
            lefts.append(Amount(last.documents - taken.documents, last.bytes - taken.bytes, last.tokens - taken.tokens))
        return lefts

    def funnel(self) -> dict[str, int]:
        """How many documents came, and were left after each rule; a rule that is there twice has its number."""
        plain = [label.replace("__", " ") for label in self.labels]
        names = [f"{name} (rule {i + 1})" if plain.count(name) > 1 else name for i, name in enumerate(plain)]
        return dict(zip(["documents", *names], [left.documents for left in self._lefts()], strict=True))

    def table(self, sieves: Sequence[Sieve]) -> list[dict[str, Any]]:
        """A line for each rule: what it took, in how many documents it replaced something, and what was left.

        false_positives: of a Bloom filter, at the end.
        """
        lines: list[dict[str, Any]] = []
        for label, taken, changed, left, sieve in zip(
            self.labels, self._taken, self._changed, self._lefts()[1:], sieves, strict=True
        ):
            seen = getattr(sieve, "seen", None)
            lines.append(
                {
                    "rule": label,
                    "documents_dropped": taken.documents,
                    "documents_changed": changed,
                    "bytes_taken": taken.bytes,
                    "tokens_taken": round(taken.tokens),
                    "documents_left": left.documents,
                    "bytes_left": left.bytes,
                    "tokens_left": round(left.tokens),
                    "false_positives": seen.rate() if isinstance(seen, BloomSeen) else None,
                }
            )
        return lines

    def metrics(self) -> dict[str, float]:
        """Headline numbers for a manifest."""
        left = self._lefts()[-1]
        return self.tally.counts() | {"bytes_kept": float(left.bytes), "tokens_kept": float(round(left.tokens))}
