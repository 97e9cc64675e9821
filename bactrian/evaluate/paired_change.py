"""By how much one model does better than another on the same questions, with a standard error.

Of texts the difference is that of all bits over all bytes, of which its error is that of a ratio; of everything else
the mean over questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bactrian.errors import BactrianError
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging


@dataclass(frozen=True)
class Change:
    """after − before. `gain` is the same with the sign of better; error: of a normal distribution."""

    before: float
    after: float
    error: float
    lower_is_better: bool

    @property
    def gain(self) -> float:
        return (self.before - self.after) if self.lower_is_better else (self.after - self.before)


def change(task: str, how: Averaging, before: Sequence[Record], after: Sequence[Record]) -> Change:
    """The change from one model's answers to another's.

    Raises:
        BactrianError: they were asked other questions, or fewer than two.
    """
    bits = how.metric == "bits"
    one, other = (_values(how, records) for records in (before, after))
    if one.keys() != other.keys() or len(one) < 2:
        raise BactrianError(f"{task}: found {len(one)} and {len(other)} questions, expected the same two or more")
    weights = {record.question: record.values["bytes"] if bits else 1.0 for record in before}
    a, b, w = (np.array([values[each] for each in one]) for values in (one, other, weights))
    total = w.sum()
    difference = float((b - a).sum() / total)
    apart = (b - a) - difference * w
    error = float(np.sqrt(len(a) / (len(a) - 1) * (apart**2).sum()) / total)
    return Change(float(a.sum() / total), float(b.sum() / total), error, bits)


def _values(how: Averaging, records: Sequence[Record]) -> dict[str, float]:
    if how.metric == "bits":
        return {record.question: record.values["bits"] for record in records}
    return how.of_questions(records)
