"""Which of several models is the best by its average over development tasks, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from scipy.stats import norm

from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import compare_task
from bactrian.evaluate.records import Record, read_records
from bactrian.evaluate.results import NAME, about_of, read_object, require
from bactrian.evaluate.scoring import BITS, Averaging
from bactrian.evaluate.statistics import Comparison
from bactrian.store.manifest import MANIFEST, Manifest


@dataclass(frozen=True)
class MeasuredModels:
    """What a step `evaluate` found: of each task in the mode that is wanted, or else in the one that it was asked in.

    labels: content hash of a model → what the results call it.
    scores: (label, task) → score. records: likewise, the answers behind it. about: task → what results.json says of it.
    """

    name: str
    labels: Mapping[str, str]
    scores: Mapping[tuple[str, str], float]
    records: Mapping[tuple[str, str], Sequence[Record]]
    about: Mapping[str, Mapping[str, Any]]

    def difference(self, task: str, before: str, after: str) -> Comparison:
        """after − before, paired by question, tested as the stage itself tests it."""
        how = Averaging.of_results(self.about[task])
        return compare_task(task, how, self.records[before, task], self.records[after, task]).comparison


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


def read_measured(name: str, folder: Path, mode: str) -> MeasuredModels:
    """The results of a step.

    Raises:
        BactrianError: they are of another stage, have no such mode, or looked at tasks that nothing may be chosen by.
    """
    if not (folder / MANIFEST).is_file():
        raise BactrianError(f"{folder}: no {MANIFEST}; expected what a step evaluate made")
    manifest, results = Manifest.read(folder), read_object(folder / NAME)
    manifest.check_inputs(folder)
    if manifest.stage != "evaluate":
        raise BactrianError(f"{name}: found results of stage {manifest.stage}, expected evaluate")
    require(results, {"tasks": dict, "scores": list}, str(folder / NAME))
    if unseen := [task for task, about in results["tasks"].items() if "looks" in about]:
        raise BactrianError(
            f"{name}: looks at {', '.join(unseen)}, unseen tasks; a model chosen by them has seen them: expected "
            "results on development tasks"
        )
    if falling := [each["task"] for each in results["scores"] if each.get("metric") == BITS]:
        raise BactrianError(f"{name}: {falling[0]} is measured in bits per byte, where less is better: leave it out")
    modes: dict[str, list[str]] = {}
    for each in results["scores"]:
        modes.setdefault(each["task"], []).append(each["mode"])
    if not any(mode in found for found in modes.values()):
        known = ", ".join(sorted({each for found in modes.values() for each in found}))
        raise BactrianError(f"{name}: no scores in mode {mode}, found {known}")
    asked = {task: mode if mode in found else found[0] for task, found in modes.items()}
    scores = {(s["model"], s["task"]): s["score"] for s in results["scores"] if s["mode"] == asked[s["task"]]}
    records = {
        (model, task): found
        for (model, task, how), found in read_records(folder / "questions.parquet").items()
        if how == asked.get(task)
    }
    about = {task: about_of(results["tasks"], task, asked.get(task, mode)) for task in results["tasks"]}
    return MeasuredModels(name, _labels(name, manifest), scores, records, about)


def _labels(name: str, manifest: Manifest) -> dict[str, str]:
    models = manifest.settings.get("models", [])
    called = models if isinstance(models, dict) else {ref: ref for ref in models}
    if not called or not set(called.values()) <= manifest.inputs.keys():
        raise BactrianError(f"{name}: its manifest does not say which models it measured; make it again")
    return {manifest.inputs[ref].content_hash: label for label, ref in called.items()}


def choose(models: Mapping[str, str], measured: Sequence[MeasuredModels]) -> list[Candidate]:
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


def _scores(name: str, content: str, measured: Sequence[MeasuredModels]) -> dict[str, float]:
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


def _interval(difference: float, this: str, best: str, measured: Sequence[MeasuredModels]) -> tuple[float, float]:
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
