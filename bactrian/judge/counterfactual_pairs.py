"""Pairs from an original and its two rewrites in one attribute: which of the three a judge confirms, and which moved
something else too [ALFA, Li et al. 2025; the check of locality is ours].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Side = Literal["enhanced", "original", "corrupted"]
SIDES: tuple[Side, ...] = ("enhanced", "original", "corrupted")
PAIRS: tuple[tuple[Side, Side], ...] = (("enhanced", "original"), ("enhanced", "corrupted"), ("original", "corrupted"))
"""(chosen, rejected), from more of the attribute to less."""
DISAGREES = "the judge does not rank the two so"
UNREAD = "the judge's words cannot be read"
MOVED = "another attribute moved too"
LocalityRule = Literal["drop", "count", "off"]


@dataclass(frozen=True)
class AttributeOpinion:
    """What a judge says of a triple. ranks: of each side, 0 the most; None: unreadable.

    moved: rewrite → other attributes in which it differs from the original; a rewrite that is missing was not read.
    """

    ranks: Mapping[Side, int] | None
    moved: Mapping[Side, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PairFate:
    """One possible pair: kept, or why not."""

    chosen: Side
    rejected: Side
    reason: str = ""
    detail: str = ""

    @property
    def name(self) -> str:
        return f"{self.chosen} > {self.rejected}"


def pair_fates(
    there: Mapping[Side, str], opinions: Sequence[AttributeOpinion] | None, locality: LocalityRule = "drop"
) -> list[PairFate]:
    """What becomes of each pair whose two sides are there.

    Args:
        there: the texts that there are; a rewrite may be missing.
        opinions: of each judge, all of which must agree; None: nothing is verified.
        locality: whether a rewrite that moved another attribute costs its pairs.
    """
    found = []
    for chosen, rejected in PAIRS:
        if chosen in there and rejected in there:
            flaw = ("", "") if opinions is None else _flaw(chosen, rejected, opinions, locality)
            found.append(PairFate(chosen, rejected, *flaw))
    return found


def _flaw(
    chosen: Side, rejected: Side, opinions: Sequence[AttributeOpinion], locality: LocalityRule
) -> tuple[str, str]:
    for said in opinions:
        if said.ranks is None:
            return UNREAD, "ranking"
        if not said.ranks[chosen] < said.ranks[rejected]:
            return DISAGREES, ""
    for said in opinions if locality == "drop" else ():
        for side in (chosen, rejected):
            if side != "original" and side not in said.moved:
                return UNREAD, "locality"
            if moved := said.moved.get(side):
                return MOVED, ", ".join(moved)
    return "", ""


@dataclass
class AttributeAccount:
    """Of one attribute: pairs that could be, and that are kept; rewrites that were compared, and what moved in them."""

    pairs: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    local: int = 0
    moved: Counter[str] = field(default_factory=Counter)

    def add(self, fates: Iterable[PairFate], opinions: Sequence[AttributeOpinion] | None) -> None:
        """Count a triple."""
        for fate in fates:
            self.pairs += 1
            self.kept += not fate.reason
            if fate.reason:
                self.reasons[fate.reason] += 1
        for side in ("enhanced", "corrupted"):
            read = [said.moved[side] for said in opinions or () if side in said.moved]
            if read:
                self.compared += 1
                self.local += not any(read)
                self.moved.update({name for moved in read for name in moved})

    def summary(self) -> dict[str, Any]:
        """As it stands in rows.json; drop_rate and local_rate are shares, None of nothing."""
        return {
            "pairs": self.pairs,
            "kept": self.kept,
            "drop_rate": (self.pairs - self.kept) / self.pairs if self.pairs else None,
            "reasons": dict(self.reasons),
            "compared": self.compared,
            "local_rate": self.local / self.compared if self.compared else None,
            "moved": dict(self.moved.most_common()),
        }
