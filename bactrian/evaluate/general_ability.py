"""What a model can do beside what it turns away: rows of the page on reliability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bactrian.evaluate.noncompliance_labels import STUDY
from bactrian.evaluate.records import Record
from bactrian.evaluate.reliability import ReliabilityRow
from bactrian.evaluate.scoring import BITS, Score


def beside(scored: Sequence[tuple[Score, Sequence[Record]]]) -> Iterator[ReliabilityRow]:
    """General ability beside this study's tasks: whatever else was asked and is scored as a share, model by model."""
    ours = {score.task for score, records in scored if any("judged" in record.values for record in records)}
    for score, _ in scored if ours else ():
        if score.task not in ours and score.metric != BITS and score.skill != "regurgitation":
            measure = f"general ability: {score.metric}"
            yield ReliabilityRow(
                STUDY, score.task, score.model, measure, score.score, *score.interval, score.questions, "higher"
            )
