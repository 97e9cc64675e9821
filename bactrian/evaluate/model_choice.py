"""Which of several models is the best by its average over development tasks, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from scipy.stats import norm

from bactrian.errors import BactrianError
from bactrian.evaluate import scoring as evaluated
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.grading import read_records
from bactrian.evaluate.records import read_labelled
from bactrian.evaluate.results import NAME, read_object, require
from bactrian.evaluate.statistics import Comparison
from bactrian.store.manifest import MANIFEST, Manifest

LOWER_IS_BETTER = ("bits per byte",)


@dataclass(frozen=True)
class Measured:
    """What a step `evaluate` or `suite` found, in one mode.

    labels: content hash of a model → what the results call it.
    scores: (label, task) → score. records: likewise, the answers behind it. about: task → what results.json says of it.
    """

    name: str
    stage: str
    labels: Mapping[str, str]
    scores: Mapping[tuple[str, str], float]
    records: Mapping[tuple[str, str], Sequence[Any]]
    about: Mapping[str, Mapping[str, Any]]

    def difference(self, task: str, before: str, after: str) -> Comparison:
        """after − before, paired by question, tested as the stage itself tests it."""
        first, second = self.records[before, task], self.records[after, task]
        if self.stage == "suite":
            return compare_task(task, self.about[task], first, second).comparison
        return evaluated.compare(first, second)


@dataclass(frozen=True)
class Candidate:
    """A model that could be chosen: its average, its score by task, and what the chosen one has over it.

    difference: of the averages, chosen − this. interval: 95 %, questions paired within tasks, tasks as strata.
    """

    model: str
    average: float
    scores: dict[str, float]
    difference: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)

    @property
    def surely_worse(self) -> bool:
        """Whether the interval leaves out that it is as good as the chosen one."""
        return self.interval[0] > 0


def read_measured(name: str, folder: Path, mode: str) -> Measured:
    """The results of a step.

    Raises:
        BactrianError: they are of neither stage, have no such mode, or looked at tasks that nothing may be chosen by.
    """
    if not (folder / MANIFEST).is_file():
        raise BactrianError(f"{folder}: no {MANIFEST}; expected what a step evaluate or suite made")
    manifest, results = Manifest.read(folder), read_object(folder / NAME)
    manifest.check_inputs(folder)
    if manifest.stage not in ("evaluate", "suite"):
        raise BactrianError(f"{name}: found results of stage {manifest.stage}, expected evaluate or suite")
    require(results, {"tasks": dict, "scores": list}, str(folder / NAME))
    if unseen := [task for task, about in results["tasks"].items() if "looks" in about]:
        raise BactrianError(
            f"{name}: looks at {', '.join(unseen)}, unseen tasks; a model chosen by them has seen them: expected "
            "results on development tasks"
        )
    scores = {(each["model"], each["task"]): each["score"] for each in results["scores"] if each["mode"] == mode}
    if not scores:
        modes = ", ".join(sorted({each["mode"] for each in results["scores"]}))
        raise BactrianError(f"{name}: no scores in mode {mode}, found {modes}")
    if falling := [each["task"] for each in results["scores"] if each.get("metric") in LOWER_IS_BETTER]:
        raise BactrianError(f"{name}: {falling[0]} is measured in bits per byte, where less is better: leave it out")
    file = folder / "questions.parquet"
    if manifest.stage == "suite":
        records: Mapping[tuple[str, str], Sequence[Any]] = read_records(file)
    else:
        records = {(model, task): found for (model, task, how), found in read_labelled(file).items() if how == mode}
    return Measured(name, manifest.stage, _labels(name, manifest), scores, records, results["tasks"])


def _labels(name: str, manifest: Manifest) -> dict[str, str]:
    models = manifest.settings.get("models", [])
    called = models if isinstance(models, dict) else {ref: ref for ref in models}
    if not called or not set(called.values()) <= manifest.inputs.keys():
        raise BactrianError(f"{name}: its manifest does not say which models it measured; make it again")
    return {manifest.inputs[ref].content_hash: label for label, ref in called.items()}


def choose(models: Mapping[str, str], measured: Sequence[Measured]) -> list[Candidate]:
    """The candidates, the best first and the others in the order given; of equals the earlier one is the best.

    Args:
        models: name → content hash.

    Raises:
        BactrianError: results lack a candidate, or one of its tasks.
    """
    found = {name: _scores(name, content, measured) for name, content in models.items()}
    averages = {name: sum(scores.values()) / len(scores) for name, scores in found.items()}
    best = max(averages, key=lambda name: averages[name])  # the first of equals
    return [
        Candidate(
            name,
            averages[name],
            found[name],
            averages[best] - averages[name],
            _interval(averages[best] - averages[name], models[name], models[best], measured),
        )
        for name in (best, *(name for name in models if name != best))
    ]


def _scores(name: str, content: str, measured: Sequence[Measured]) -> dict[str, float]:
    """A candidate's score on each task of all results."""
    found: dict[str, float] = {}
    for each in measured:
        label = each.labels.get(content)
        if label is None:
            raise BactrianError(
                f"{name}: {each.name} did not measure this very model, it measured {', '.join(each.labels.values())}"
            )
        for task in each.about:
            if (label, task) not in each.scores:
                raise BactrianError(f"{each.name}: no score of {label} on task {task}")
            found[task if len(measured) == 1 else f"{each.name}: {task}"] = each.scores[label, task]
    return found


def _interval(difference: float, this: str, best: str, measured: Sequence[Measured]) -> tuple[float, float]:
    """95 % interval of a difference of averages, from the tasks' own intervals: independent strata."""
    if this == best:
        return (0.0, 0.0)
    pairs = [(each, task) for each in measured for task in each.about]
    halves = []
    for each, task in pairs:
        low, high = each.difference(task, each.labels[this], each.labels[best]).interval
        halves.append((high - low) / 2)
    z = float(norm.ppf(0.975))
    half = z * sqrt(sum((each / z) ** 2 for each in halves)) / len(pairs)
    return (difference - half, difference + half)
