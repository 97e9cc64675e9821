"""What looks wrong with a model's answers to a task: said by name beside the score, never averaged away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bactrian.evaluate.out_of_step import ENOUGH, out_of_step
from bactrian.evaluate.records import Record
from bactrian.evaluate.task import Loaded

UNPARSABLE = 0.2
CUT = 0.5
REFUSED = 0.5
FAILED = 0.02
ONE_ANSWER = 0.9


@dataclass(frozen=True)
class Flag:
    """`name` says what it is, `text` the numbers. A red one means that the score is not what it seems."""

    name: Literal["unparsable", "never stops", "refuses", "one answer", "verifier failed", "gold answers", "exemplars"]
    text: str
    red: bool = True


def flags_of(loaded: Loaded, records: Sequence[Record]) -> list[Flag]:
    """All that is odd, in a fixed order."""
    found = [
        _unparsable(records),
        _never_stops(records),
        _refuses(loaded, records),
        _one_answer(loaded, records),
        _failed(records),
        _gold(loaded, records),
    ]
    return [flag for flag in found if flag is not None]


def _share(records: Sequence[Record], outcome: str) -> float:
    return sum(each.outcome == outcome for each in records) / len(records)


def _unparsable(records: Sequence[Record]) -> Flag | None:
    share = _share(records, "unparsable")
    if share <= UNPARSABLE:
        return None
    return Flag("unparsable", f"no answer was found in {share:.0%} of the texts: the score measures the form asked for")


def _never_stops(records: Sequence[Record]) -> Flag | None:
    share = sum(each.finish == "length" for each in records) / len(records)
    tokens = max(each.tokens for each in records)
    if share <= CUT or tokens < 32:  # where a few words are asked for, being cut is the rule
        return None
    return Flag("never stops", f"{share:.0%} of the answers were cut at {tokens} tokens")


def _refuses(loaded: Loaded, records: Sequence[Record]) -> Flag | None:
    share = _share(records, "refused")
    if share <= REFUSED or loaded.task.skill == "safety":
        return None
    return Flag("refuses", f"{share:.0%} of the answers decline to answer")


def _one_answer(loaded: Loaded, records: Sequence[Record]) -> Flag | None:
    """A multiple-choice task in which the model always takes the same letter, and the truth does not."""
    ranked = loaded.task.form == "rank" and loaded.task.metric not in ("mc1", "mc2")
    if not ranked and loaded.task.verifier != "choice":
        return None
    given = Counter(each.extracted for each in records if each.extracted is not None)
    if sum(given.values()) < ENOUGH:
        return None
    answer, count = given.most_common(1)[0]
    share = count / sum(given.values())
    true = sum(each.outcome == "right" for each in records if each.extracted == answer) / count
    if share < ONE_ANSWER or true > 0.6:
        return None
    return Flag("one answer", f"always answers {answer}: {share:.0%} of the answers, of which {true:.0%} are right")


def _failed(records: Sequence[Record]) -> Flag | None:
    share = _share(records, "crashed") + _share(records, "timed_out")
    if share <= FAILED:
        return None
    return Flag("verifier failed", f"the verifier itself failed on {share:.0%} of the answers")


def _gold(loaded: Loaded, records: Sequence[Record]) -> Flag | None:
    """The file's gold answers do not belong to its questions."""
    found = out_of_step(loaded, records)
    return None if found is None else Flag("gold answers", found)
