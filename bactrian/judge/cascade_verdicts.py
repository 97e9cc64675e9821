"""A calibrated cascade at work: each pair goes up from the cheapest judge until one is sure enough, or none is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bactrian.data.io.journal import Journal
from bactrian.judge.bills import Bill, JudgePrice, bill_of
from bactrian.judge.calibrated import refuse_other
from bactrian.judge.calibration.thresholds import Threshold
from bactrian.judge.kept_opinions import kept_opinions
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, Opinion, PairJudge


@dataclass
class CascadeJudge:
    """A judge of a cascade, opened when it is first asked and then held.

    identity: the calibrated one; a judge that turns out to be another is refused.
    """

    name: str
    identity: JudgeIdentity
    threshold: Threshold
    open: Callable[[], PairJudge]
    price: JudgePrice = field(default_factory=JudgePrice)

    @cached_property
    def judge(self) -> PairJudge:
        """
        Raises:
            BactrianError: it cannot be opened, or is not the judge that was calibrated.
        """
        opened = self.open()
        refuse_other(self.identity, opened.identity, self.name)
        return opened


@dataclass(frozen=True)
class CascadeVerdict:
    """Which answer is better, and which judge was sure enough to say so; or that none was.

    preferred: FIRST or SECOND; None where the cascade abstains. confidence: of the judge that accepted, or of the last
    one asked. judge: the name of the one that accepted, "" where none did.
    opinions: (judge, what it said), in the order of asking.
    """

    preferred: int | None
    confidence: float
    judge: str
    opinions: tuple[tuple[str, Opinion], ...] = ()

    @property
    def abstains(self) -> bool:
        return self.preferred is None


class CalibratedCascade:
    """Judges with thresholds, cheap to strong. One whose threshold is infinite is never asked."""

    def __init__(self, judges: Sequence[CascadeJudge]) -> None:
        self.judges = list(judges)

    def verdicts(self, pairs: Sequence[AnswerPair], journal: Journal | None = None) -> list[CascadeVerdict]:
        """The verdict on each pair, in order. A judge that fails on a pair passes it on, as one that is not sure does.

        Args:
            journal: keeps every opinion as it comes; what it has already is not asked again.

        Raises:
            BactrianError: a judge cannot be opened, is not the one that was calibrated, or stopped answering.
        """
        found: list[tuple[tuple[str, Opinion], ...]] = [() for _ in pairs]
        accepted: dict[int, CascadeJudge] = {}
        for judge in self.judges:
            waiting = [place for place in range(len(pairs)) if place not in accepted]
            if not waiting or not judge.threshold.calibrated:
                continue
            said = self._opinions(judge, [pairs[place] for place in waiting], journal)
            takes = judge.threshold.accepts([sureness(each) for each in said])
            for place, opinion, taken in zip(waiting, said, takes, strict=True):
                found[place] = (*found[place], (judge.name, opinion))
                if taken:
                    accepted[place] = judge
        return [_verdict(said, accepted.get(place)) for place, said in enumerate(found)]

    def bills(self, verdicts: Sequence[CascadeVerdict]) -> dict[str, Bill]:
        """What each judge was asked and took, escalations included."""
        said = [each for verdict in verdicts for each in verdict.opinions]
        return {
            judge.name: bill_of((opinion for name, opinion in said if name == judge.name), judge.price)
            for judge in self.judges
        }

    def _opinions(self, judge: CascadeJudge, pairs: Sequence[AnswerPair], journal: Journal | None) -> list[Opinion]:
        if journal is not None:
            return kept_opinions(lambda: judge.judge, judge.identity, pairs, journal, f"judge · {judge.name}")
        heard: dict[int, Opinion] = {}
        judge.judge.compare(pairs, heard.__setitem__)
        return [heard[place] for place in range(len(pairs))]


def sureness(opinion: Opinion) -> float:
    """The confidence that a threshold is held against; 0 for a fault and for a draw, which prefers neither answer."""
    drawn = not opinion.fault and opinion.probabilities[0] == opinion.probabilities[1]
    return 0.0 if drawn else opinion.confidence


def _verdict(said: tuple[tuple[str, Opinion], ...], judge: CascadeJudge | None) -> CascadeVerdict:
    if judge is None:
        return CascadeVerdict(None, said[-1][1].confidence if said else 0.0, "", said)
    return CascadeVerdict(said[-1][1].preferred, said[-1][1].confidence, judge.name, said)
