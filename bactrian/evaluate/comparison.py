"""Two models on the same questions: differences with intervals, corrected for being many, and what flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import norm

from bactrian.errors import BactrianError
from bactrian.evaluate.estimates import estimate, holm
from bactrian.evaluate.grading import Record, read_records
from bactrian.evaluate.results import NAME, read_object, require
from bactrian.evaluate.statistics import Comparison, mcnemar, paired_bootstrap, pass_at_k
from bactrian.store.manifest import check_artifact


@dataclass(frozen=True)
class Flip:
    """A question on which the two differ: its score before and after, and both answers."""

    question: str
    group: str
    before: float
    after: float
    prompt: str
    answers: tuple[str, str]


@dataclass(frozen=True)
class TaskDifference:
    """after − before on one task; `adjusted`: its p-value among those of all tasks compared (Holm)."""

    task: str
    metric: str
    n: int
    before: float
    after: float
    comparison: Comparison
    adjusted: float
    groups: dict[str, tuple[float, float, int]]
    flips: list[Flip]


@dataclass(frozen=True)
class Side:
    """One model's records in one results folder, by task, and what results.json says of each task."""

    name: str
    records: Mapping[str, Sequence[Record]]
    tasks: Mapping[str, Mapping[str, Any]]


def difference(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[str] = (),
    groups: Sequence[str] = (),
    macro: bool = False,
    seed: int = 0,
) -> Comparison:
    """A paired test of one value per question.

    Right-or-wrong answers to single questions: exact McNemar. Macro averages and clustered questions: z of the mean
    difference with its stratified or cluster-robust error. Else a paired bootstrap. Raises ValueError without pairs.
    """
    plain = not macro and not any(clusters)
    if plain and set(before) | set(after) <= {0.0, 1.0}:
        return mcnemar([x == 1.0 for x in before], [x == 1.0 for x in after])
    if plain:
        return paired_bootstrap(before, after, seed)
    change = [b - a for a, b in zip(before, after, strict=True)]
    found = estimate(change, clusters, groups, macro)
    half = float(norm.ppf(0.975)) * found.error
    p = float(2 * norm.sf(abs(found.score) / found.error)) if found.error else float(found.score == 0)
    test = "stratified z" if macro else "clustered z"
    interval = (found.score - half, found.score + half)
    if not any(change) and set(before) <= {0.0, 1.0}:  # nothing differs: that is no proof that nothing would
        interval = mcnemar([x == 1.0 for x in before], [x == 1.0 for x in after]).interval
    return Comparison(found.score, interval, p, test, sum(x > 0 for x in change), sum(x < 0 for x in change))


def values_of(records: Sequence[Record], k: int | None) -> dict[str, tuple[float, Record]]:
    """Question id → its value (mean over samples, or pass@k) and its first record."""
    samples: dict[str, list[Record]] = {}
    for record in records:
        samples.setdefault(record.question, []).append(record)
    found = {}
    for question, mine in samples.items():
        value = sum(each.score for each in mine) / len(mine)
        if k is not None:
            value = pass_at_k(len(mine), sum(each.outcome == "right" for each in mine), min(k, len(mine)))
        found[question] = (value, mine[0])
    return found


def mean_of(task: str, side: Side) -> float:
    """One side's score of a task, averaged as its task is."""
    about = side.tasks.get(task, {})
    k = about.get("k") if str(about.get("metric", "")).startswith("pass@") else None
    found = list(values_of(side.records[task], k).values())
    groups = [record.group for _, record in found]
    return estimate([value for value, _ in found], (), groups, bool(about.get("macro"))).score


def compare_task(
    task: str, about: Mapping[str, Any], before: Sequence[Record], after: Sequence[Record], seed: int = 0
) -> TaskDifference:
    """One task, on the questions that both answered. Raises BactrianError where there are none.

    `about` is what results.json says of the task: metric, macro, k.
    """
    k = about.get("k") if str(about.get("metric", "")).startswith("pass@") else None
    first, second = values_of(before, k), values_of(after, k)
    shared = [question for question in first if question in second]
    if not shared:
        raise BactrianError(f"task {task}: the two have no question in common")
    a, b = ([side[question][0] for question in shared] for side in (first, second))
    rows = [first[question][1] for question in shared]
    macro = bool(about.get("macro"))
    compared = difference(a, b, [row.cluster for row in rows], [row.group for row in rows], macro, seed)
    means = [estimate(side, (), [row.group for row in rows], macro).score for side in (a, b)]
    flips = [
        Flip(q, row.group, first[q][0], second[q][0], row.prompt[-600:], (row.completion, second[q][1].completion))
        for q, row in zip(shared, rows, strict=True)
        if first[q][0] != second[q][0] and (first[q][0] > 0.5) != (second[q][0] > 0.5)
    ]
    return TaskDifference(
        task,
        str(about.get("metric", "")),
        len(shared),
        means[0],
        means[1],
        compared,
        compared.p,
        _by_group(rows, a, b),
        flips,
    )


def _by_group(rows: Sequence[Record], a: Sequence[float], b: Sequence[float]) -> dict[str, tuple[float, float, int]]:
    members: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.group:
            members.setdefault(row.group, []).append(place)
    return {
        name: (sum(a[i] for i in which) / len(which), sum(b[i] for i in which) / len(which), len(which))
        for name, which in sorted(members.items())
    }


def adjusted(differences: Sequence[TaskDifference]) -> list[TaskDifference]:
    """The same with Holm's p-values over all of them."""
    corrected = holm([each.comparison.p for each in differences])
    return [TaskDifference(**(vars(each) | {"adjusted": p})) for each, p in zip(differences, corrected, strict=True)]


def read_side(ref: str) -> Side:
    """FOLDER or FOLDER:MODEL, a results artifact (or a folder with questions.parquet and results.json).

    Raises BactrianError where it is none, does not match its manifest, or holds several models and none is named.
    """
    folder, _, label = ref.rpartition(":") if not Path(ref).is_dir() else (ref, "", "")
    path = Path(folder or ref)
    if not (path / "questions.parquet").is_file():
        raise BactrianError(
            f"{ref}: no questions.parquet in {path}; expected the folder of an evaluation, such as "
            f"runs/artifacts/suite-…, or such a folder, a colon and one of its models"
        )
    check_artifact(path)
    about = read_object(path / NAME) if (path / NAME).is_file() else {}
    records = read_records(path / "questions.parquet")
    models = list(dict.fromkeys(model for model, _ in records))
    if not models:
        raise BactrianError(f"{path / 'questions.parquet'}: holds no answers")
    if not label and len(models) != 1:
        raise BactrianError(f"{ref}: holds the models {', '.join(models)}; name one: {path}:{models[0]}")
    chosen = label or models[0]
    if chosen not in models:
        raise BactrianError(f"{ref}: no model {chosen!r}; expected one of {', '.join(models)}")
    mine = {task: found for (model, task), found in records.items() if model == chosen}
    if about:
        require(about, {"tasks": dict}, str(path / NAME))
    return Side(chosen, mine, about.get("tasks", {}))


def compare(before: Side, after: Side, seed: int = 0) -> list[TaskDifference]:
    """All tasks that both answered. Raises BactrianError for none, or a task that was edited in between."""
    shared = [task for task in before.records if task in after.records]
    if not shared:
        raise BactrianError(f"no task was answered by both: {', '.join(before.records)} and {', '.join(after.records)}")
    for task in shared:
        refuse_edited(task, before.tasks.get(task, {}), after.tasks.get(task, {}))
    found = [
        compare_task(task, before.tasks.get(task, {}), before.records[task], after.records[task], seed)
        for task in shared
    ]
    return adjusted(found)


def refuse_edited(task: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raises BactrianError where the two were not asked the same: the task was edited between the two evaluations."""
    for field in ("task_hash", "data_hash"):
        one, other = before.get(field), after.get(field)
        if one and other and one != other:
            raise BactrianError(
                f"task {task} was edited between the two evaluations ({field} {str(one)[:12]} and {str(other)[:12]}): "
                f"their scores are not of the same questions, prompts or rules; evaluate both again"
            )


def as_json(differences: Sequence[TaskDifference], before: str, after: str) -> dict[str, Any]:
    return {"before": before, "after": after, "tasks": [asdict(each) for each in differences]}
