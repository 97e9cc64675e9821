"""What conversations come to as rows of the page on reliability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bactrian.evaluate.estimates import estimate
from bactrian.evaluate.records import Record
from bactrian.evaluate.reliability import Better, ReliabilityRow

STUDY = "alfa"
MEASURES: Mapping[str, tuple[str, Better, str]] = {
    "questions": ("questions asked", "", "questions"),
    "unanswerable": ("questions without an answer", "lower", ""),
    "decided": ("decided before the questions ran out", "", ""),
    "questions_beyond_best": ("questions beyond what the best policy needs", "lower", "questions"),
    "gap_bits": ("short of the best question", "lower", "bits"),
}
"""Number of a conversation → what the page calls it, which way is good, its unit."""


def asking_rows(
    task: str,
    records: Mapping[str, Mapping[str, Sequence[Record]]],
    numbers: Mapping[str, Mapping[str, Any]],
    saved: Mapping[str, Mapping[str, Any] | None],
) -> Iterator[ReliabilityRow]:
    """The rows of all models on one set of cases; intervals are clustered by case.

    Args:
        records: model → "" and "attributes" → records. numbers: by model, as `interaction_numbers` gives them.
        saved: by model, as `error_reduction` gives it.
    """
    for model, mine in records.items():
        yield _mean(task, model, "right in the end", mine[""])
        by_attribute: dict[str, list[Record]] = {}
        for record in mine["attributes"]:
            by_attribute.setdefault(record.group, []).append(record)
        if by_attribute:
            yield _mean(task, model, "attributes of its questions, mean", mine["attributes"])
        for name, some in by_attribute.items():
            yield _mean(task, model, "attribute of its questions", some, name)
    for model, found in numbers.items():
        for name, (measure, better, unit) in MEASURES.items():
            if name in found:
                low, high = found[name]["interval"]
                value, n = found[name]["mean"], found["conversations"]
                yield ReliabilityRow(STUDY, task, model, measure, value, low, high, n, better, unit=unit)
    for model, one in saved.items():
        if one is not None:
            low, high = one["interval"]
            measure = "errors fewer than the baseline's"
            yield ReliabilityRow(STUDY, task, model, measure, one["reduction"], low, high, one["cases"], "higher")


def _mean(task: str, model: str, measure: str, records: Sequence[Record], group: str = "") -> ReliabilityRow:
    found = estimate([record.score for record in records], [record.cluster for record in records])
    n = len({record.cluster for record in records})
    return ReliabilityRow(STUDY, task, model, measure, found.score, *found.interval, n, "higher", group)
