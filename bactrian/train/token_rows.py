"""Tokens on disk as rows to train on: what stage `tokenize` wrote, an instance at each place of the order."""

from __future__ import annotations

from dataclasses import dataclass

from bactrian.chat import Rendered
from bactrian.data.corpus.token_reader import TokenReader
from bactrian.data.curate.token_repeats import repeats


@dataclass(frozen=True)
class TokenRows:
    """A `RowSource`: instances of equal length, in which documents are cut apart unless `across`.

    first: the token that a document begins with in training; the files hold what comes after it. across: a row is an
    instance, whose tokens see those of documents before theirs, as OLMo 2 was trained; else each document in it is a
    row of its own. mask_repeats: an instance that says the same over and over is left out.
    """

    reader: TokenReader
    first: int
    across: bool = False
    mask_repeats: bool = False

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def mean_tokens(self) -> float:
        """Of an instance."""
        return self.reader.about.tokens / len(self.reader)

    def at(self, start: int, stop: int) -> list[Rendered]:
        """The rows at places [start, stop)."""
        rows: list[Rendered] = []
        for ids in self.reader.instances(start, stop):
            if self.mask_repeats and repeats(ids):
                continue
            starts = [0] if self.across else self.reader.starts(ids).tolist()
            for at, end in zip(starts, [*starts[1:], len(ids)], strict=True):
                # the first piece goes on with a document that began before, unless it is the first of all
                piece = ids[at:end].tolist() if at == 0 else [self.first, *ids[at:end].tolist()]
                rows.append(Rendered(piece, [1.0] * len(piece)))
        return rows
