"""Problems whose question did not come before and is not held out."""

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from bactrian.data.io.problem_rows import question_keys, trained_keys
from bactrian.data.io.tally import Tally

Row = dict[str, Any]


@dataclass
class NewQuestions:
    """Takes each question once. `held_out`: keys of questions that are never taken; `tally` counts what is refused."""

    held_out: Set[str]
    tally: Tally
    seen: set[str] = field(default_factory=set)

    @property
    def known(self) -> int:
        """How many questions a maker may make in vain."""
        return len(self.held_out | self.seen)

    def take(self, row: Row) -> bool:
        """Whether the row's question is new; from then on it is not."""
        keys = question_keys(row)
        if trained_keys(row) & self.held_out:
            self.tally.drop("its question is held out", str(row["id"]))
        elif keys & self.seen:
            self.tally.drop("its question came before", str(row["id"]))
        else:
            self.seen |= keys
            return True
        return False
