"""What of an evaluation goes on the page on reliability: how much each model recites and copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bactrian.evaluate.records import Record
from bactrian.evaluate.reliability import Better, ReliabilityRow
from bactrian.evaluate.scoring import Averaging
from bactrian.evaluate.task import Loaded

STUDY = "regurgitation"
SHARE, MEAN = Averaging("right", name="recited"), Averaging("score", name="score")


def recited_rows(model: str, loaded: Loaded, records: Sequence[Record]) -> Iterator[ReliabilityRow]:
    """The share of texts that are recited, or of words that are copied; none of other tasks."""
    task, names = loaded.task, loaded.verifiers()
    measures: tuple[tuple[str, Averaging], ...]
    if names == ("recital",):
        measures = (("recites", SHARE), ("gold text's words in order", MEAN))
    elif names == ("verbatim",):
        measures = (("copied words", MEAN),)
    else:
        return
    better: Better = "" if task.skill != STUDY else "higher" if task.name == "quotation" else "lower"
    for measure, how in measures:
        found = how.estimate(records)
        yield ReliabilityRow(
            STUDY, task.name, model, measure, found.score, *found.interval, len(loaded.questions), better
        )
