"""What is still possible, as a table of facts, and which question about it tells most: information gain.

A row of the table is one way in which everything may be: a value for each slot, and the answer that follows. All rows
are equally likely. What is asked for is the answer, not the row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import log2

ALIKE = 1e-9
"""Bits by which two gains may differ and still be the same."""


@dataclass(frozen=True)
class FactTable:
    """slots: names of the columns. rows: values in that order, and the answer."""

    slots: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], str], ...]

    @cached_property
    def answers(self) -> Counter[str]:
        """Answer → rows that have it."""
        return Counter(answer for _, answer in self.rows)

    @property
    def entropy(self) -> float:
        """Of the answer, bits."""
        return entropy(list(self.answers.values()))

    @property
    def decided(self) -> bool:
        """Whether all rows that are left have one answer."""
        return len(self.answers) <= 1

    def values(self, slot: str) -> list[str]:
        """The values that a slot can still have, in order of first occurrence."""
        place = self.slots.index(slot)
        return list(dict.fromkeys(values[place] for values, _ in self.rows))

    def given(self, facts: Mapping[str, str]) -> FactTable:
        """The table once these slots are known."""
        return self.where(lambda row: all(row[slot] == value for slot, value in facts.items()))

    def without(self, slot: str, value: str) -> FactTable:
        """The table once it is known that a slot has not this value."""
        return self.where(lambda row: row[slot] != value)

    def where(self, holds: Callable[[Mapping[str, str]], bool]) -> FactTable:
        kept = tuple(row for row in self.rows if holds(dict(zip(self.slots, row[0], strict=True))))
        return FactTable(self.slots, kept)

    def gain(self, slot: str) -> float:
        """Bits that the answer's entropy is expected to lose once a slot is known: H(answer) − H(answer | slot).

        >>> rows = ((("yes", "two"), "crow"), (("no", "two"), "man"), (("no", "two"), "ape"))
        >>> table = FactTable(("wings", "legs"), rows)
        >>> round(table.gain("wings"), 3), table.gain("legs")
        (0.918, 0.0)
        """
        left = sum(len(part.rows) * part.entropy for part in self._parts(slot)) / max(1, len(self.rows))
        return self.entropy - left

    @cached_property
    def gains(self) -> dict[str, float]:
        """Slot → its gain."""
        return {slot: self.gain(slot) for slot in self.slots}

    def best(self) -> str:
        """The slot that tells most, the first of several; never one that is known, even where no slot tells anything
        by itself and only two together would.
        """
        return max(self.slots, key=lambda slot: (len(self.values(slot)) > 1, round(self.gains[slot] / ALIKE)))

    def _parts(self, slot: str) -> list[FactTable]:
        return [self.given({slot: value}) for value in self.values(slot)]


def entropy(counts: Sequence[int]) -> float:
    """Of a distribution in these proportions, bits."""
    total = sum(counts)
    return -sum(n / total * log2(n / total) for n in counts if n) if total else 0.0


@cache
def questions_needed(table: FactTable) -> float:
    """Expected number of questions until the answer is decided, by the best policy that there is (exact, all orders).

    Exponential in the slots, of which our requests have four. Asking for the greatest gain can need more: where only
    two slots together tell anything, it sees no difference between them and a third.
    """
    if table.decided:
        return 0.0
    costs = []
    for slot in table.slots:
        parts = [table.given({slot: value}) for value in table.values(slot)]
        if len(parts) > 1:
            costs.append(1 + sum(len(part.rows) * questions_needed(part) for part in parts) / len(table.rows))
    return min(costs)


def greedy_questions(table: FactTable, truth: Mapping[str, str], most: int) -> int:
    """Questions that asking for the best slot each time takes until the answer is decided; at most `most`."""
    for asked in range(most):
        if table.decided:
            return asked
        slot = table.best()
        table = table.given({slot: truth[slot]})
    return most
