"""Self-consistency [Wang et al. 2023] over answers to one problem: groups of equal answers, and a strict majority.

OLMo 2 keeps a synthetic problem only if more than half of its sampled solutions agree. Which answers are equal is given
to it, as that is a verifier's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ballot:
    """Of one problem: the places of the answers that won, in order (none: no majority), and the size of each group.

    answered: how many of all answers could be read.
    """

    winners: tuple[int, ...]
    sizes: tuple[int, ...]
    answered: int
    voters: int

    @property
    def share(self) -> float:
        """Of all votes, those for the largest group."""
        return max(self.sizes, default=0) / self.voters if self.voters else 0.0


def vote(answers: Sequence[str | None], same: Callable[[int, int], bool]) -> Ballot:
    """Who wins: an answer that more than half of all voters gave; a tie, or many small groups, has no winner.

    An answer joins the first group with whose first answer it is the same both ways round: what is taken for another
    one by leniency on one side alone is not the same.

    Args:
        answers: None where none could be read: a vote for nobody, which still counts among the voters.
        same: of two places, whether the first one's answer is right where the second one's is the truth.
    """
    groups: list[list[int]] = []
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        for group in groups:
            if answers[group[0]] == answer or (same(place, group[0]) and same(group[0], place)):
                group.append(place)
                break
        else:
            groups.append([place])
    largest = max(groups, key=len, default=[])
    winners = tuple(largest) if 2 * len(largest) > len(answers) else ()
    answered = sum(map(len, groups))
    return Ballot(winners, tuple(sorted(map(len, groups), reverse=True)), answered, len(answers))
