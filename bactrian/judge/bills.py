"""What judging costs: calls and tokens of each judge, and money at the prices that the user states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bactrian.judge.opinions import Opinion

MILLION = 1e6


@dataclass(frozen=True)
class JudgePrice:
    """What a judge takes, in whatever currency: for a million tokens read and written, and for a comparison besides."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    comparison: float = 0.0

    def of(self, opinion: Opinion) -> float:
        """The price of one opinion; one that came to nothing is paid too."""
        tokens = opinion.tokens_in * self.tokens_in + opinion.tokens_out * self.tokens_out
        return tokens / MILLION + self.comparison


@dataclass(frozen=True)
class Bill:
    """What some opinions of one judge took. cost: at its price."""

    comparisons: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


def bill_of(opinions: Iterable[Opinion], price: JudgePrice) -> Bill:
    """All that these opinions took, faults included."""
    said = list(opinions)
    return Bill(
        len(said),
        sum(each.calls for each in said),
        sum(each.tokens_in for each in said),
        sum(each.tokens_out for each in said),
        sum(map(price.of, said)),
    )
