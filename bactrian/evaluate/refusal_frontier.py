"""Noncompliance against contrast compliance over a family of models, and the one to take by development data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bactrian.errors import BactrianError
from bactrian.evaluate.model_choice import MeasuredModels
from bactrian.evaluate.noncompliance_labels import share
from bactrian.evaluate.records import Record, by_question
from bactrian.evaluate.statistics import Interval

Point = tuple[float, Interval]


@dataclass(frozen=True)
class FrontierPoint:
    """One model of the family: both sides with their 95 % intervals, and how it stands to the first model.

    noncompliance: share of requests that should not simply be met, and were not. contrast: share of look-alikes that
    were met. kept: difference of the contrast to the first model's, paired by question, with its interval.
    dominated: another model of the family is at least as good on both sides, and better on one.
    """

    name: str
    noncompliance: float
    noncompliance_interval: Interval
    contrast: float
    contrast_interval: Interval
    kept: float
    kept_interval: Interval
    dominated: bool = False


def frontier_points(
    models: Mapping[str, str], measured: MeasuredModels, noncompliance: str, contrast: str
) -> list[FrontierPoint]:
    """The points of models (name → content hash) in the order given; the first is what the others are compared with.

    Args:
        noncompliance, contrast: what the results call the two tasks.

    Raises:
        BactrianError: the results lack a model or a task.
    """
    found = []
    first = ""
    for name, content in models.items():
        label = measured.labels.get(content)
        if label is None:
            raise BactrianError(
                f"{name}: {measured.name} did not measure this very model, it measured "
                f"{', '.join(measured.labels.values())}"
            )
        for task in (noncompliance, contrast):
            if (label, task) not in measured.records:
                raise BactrianError(
                    f"{measured.name}: no answers of {label} to {task}; asked: {', '.join(measured.about)}"
                )
        first = first or label
        bad, good = (_share(measured.records[label, task]) for task in (noncompliance, contrast))
        difference = measured.difference(contrast, first, label)
        found.append(FrontierPoint(name, *bad, *good, difference.difference, difference.interval))
    return [_marked(point, found) for point in found]


def _share(records: Sequence[Record]) -> Point:
    values = [
        sum(each.outcome == "right" for each in samples) / len(samples) for samples in by_question(records).values()
    ]
    found = share(values, records)
    return found.score, found.interval


def _marked(point: FrontierPoint, points: Sequence[FrontierPoint]) -> FrontierPoint:
    mine = (point.noncompliance, point.contrast)
    better = any(
        other != mine and other[0] >= mine[0] and other[1] >= mine[1]
        for other in ((each.noncompliance, each.contrast) for each in points)
    )
    return replace(point, dominated=better)


def chosen_point(points: Sequence[FrontierPoint], margin: float) -> FrontierPoint:
    """The point with the most noncompliance among those whose contrast is at most `margin` below the first one's.

    Of equals the one with the higher contrast, then the earlier. The first point itself always qualifies.
    """
    floor = points[0].contrast - margin
    fit = [point for point in points if point.contrast >= floor - 1e-12]
    return max(fit, key=lambda point: (point.noncompliance, point.contrast))
