"""Two models on the same questions: differences with intervals, corrected for being many, and what flipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from scipy.stats import norm

from bactrian.chat.folding import bare, question_starts
from bactrian.errors import BactrianError
from bactrian.evaluate.estimates import Estimate, estimate, holm, stratified
from bactrian.evaluate.paired_change import change
from bactrian.evaluate.records import Place, Record, by_question, read_records
from bactrian.evaluate.results import NAME, about_of, read_object, require
from bactrian.evaluate.scoring import Averaging
from bactrian.evaluate.statistics import Comparison, mcnemar, paired_bootstrap
from bactrian.store.manifest import check_artifact


@dataclass(frozen=True)
class Flip:
    """A question on which the two differ: its score before and after, and both answers.

    prompt: the question itself, without the examples before it. gold: the right answer.
    """

    question: str
    group: str
    before: float
    after: float
    prompt: str
    answers: tuple[str, str]
    gold: str = ""


@dataclass(frozen=True)
class TaskDifference:
    """after − before on one task; `adjusted`: its p-value among those of all tasks compared (Holm).

    change: the mean of the questions' differences with its error, as the task is averaged.
    """

    task: str
    metric: str
    n: int
    before: float
    after: float
    comparison: Comparison
    adjusted: float
    change: Estimate
    groups: dict[str, tuple[float, float, int]]
    flips: list[Flip]


@dataclass(frozen=True)
class Side:
    """One model's records in one results folder, by task, and what results.json says of each task.

    A set that was asked in two ways is two tasks: "sums" and "sums (sampled)".
    """

    name: str
    records: Mapping[str, Sequence[Record]]
    tasks: Mapping[str, Mapping[str, Any]]


def pairs_to_compare(labels: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Each model with the next, the first with the last, and the baseline with every other; none twice."""
    pairs = [*pairwise(labels), *([(labels[0], labels[-1])] if len(labels) > 1 else [])]
    pairs += [(baseline, label) for label in labels if baseline is not None and label != baseline]
    return [pair for i, pair in enumerate(pairs) if pair not in pairs[:i] and pair[::-1] not in pairs[:i]]


def difference(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[str] = (),
    groups: Sequence[str] = (),
    macro: bool = False,
    seed: int = 0,
    means: bool = False,
) -> Comparison:
    """A paired test of one value per question.

    Right-or-wrong values: exact McNemar, but not where they are `means` over samples. Macro
    averages and clustered questions: z of the mean difference with its stratified or cluster-robust
    error. Else a paired bootstrap.

    Raises:
        ValueError: without pairs.
    """
    plain = not macro and not any(clusters)
    if plain and not means and set(before) | set(after) <= {0.0, 1.0}:
        return mcnemar([x == 1.0 for x in before], [x == 1.0 for x in after])
    if plain and len(before) == 1:  # nothing to draw from: whatever two shares differ by
        apart = after[0] - before[0]
        return Comparison(apart, (-1.0, 1.0), 1.0, "none: a single question", int(apart > 0), int(apart < 0))
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


def mean_of(task: str, side: Side) -> float:
    """One side's score of a task, averaged as its task is."""
    return Averaging.of_results(side.tasks.get(task, {})).estimate(side.records[task]).score


def compare_task(
    task: str, how: Averaging, before: Sequence[Record], after: Sequence[Record], seed: int = 0
) -> TaskDifference:
    """One task, on the questions that both answered.

    Bits per byte are compared as they are scored: all bits over all bytes. Less is better, so a text that takes fewer
    bits is gained; no text flips.

    Raises:
        BactrianError: where there are none.
    """
    first, second = by_question(before), by_question(after)
    shared = [question for question in first if question in second]
    if not shared:
        raise BactrianError(f"task {task}: the two have no question in common")
    a, b = ([how.of_question(side[question]) for question in shared] for side in (first, second))
    rows = [first[question][0] for question in shared]
    if how.metric == "bits":
        return _compare_bits(task, how, rows, [second[question][0] for question in shared])
    groups, clusters = [row.group for row in rows], [row.cluster for row in rows]
    means = how.metric == "share" and any(len(side[question]) > 1 for side in (first, second) for question in shared)
    compared = difference(a, b, clusters, groups, how.macro, seed, means)
    averages = [estimate(side, (), groups, how.macro).score for side in (a, b)]
    starts = question_starts([row.prompt for row in rows])
    flips = [
        _flip(row, second[row.question][0], start, x, y)
        for row, start, x, y in zip(rows, starts, a, b, strict=True)
        if x != y and (x > 0.5) != (y > 0.5)
    ]
    return TaskDifference(
        task,
        how.name,
        len(shared),
        averages[0],
        averages[1],
        compared,
        compared.p,
        estimate([y - x for x, y in zip(a, b, strict=True)], clusters, groups, how.macro),
        _by_group(rows, a, b, [1.0] * len(rows)),
        flips,
    )


def _compare_bits(task: str, how: Averaging, before: Sequence[Record], after: Sequence[Record]) -> TaskDifference:
    """The same texts twice: the error is that of a ratio; of a single text there is none, and nothing is tested."""
    for each in (*before, *after):
        if not each.values.keys() >= {"bits", "bytes"} or each.values["bytes"] <= 0:
            raise BactrianError(
                f"task {task}, question {each.question}: found the values {dict(each.values)}, expected bits and "
                f"bytes, more than 0, of which {how.name} are made"
            )
    sides = ((before, "bits"), (after, "bits"), (before, "bytes"))
    a, b, size = ([each.values[name] for each in side] for side, name in sides)
    score = [sum(bits) / sum(size) for bits in (a, b)]
    found = Estimate(score[1] - score[0], 0.0, (score[1] - score[0],) * 2)
    p, test = 1.0, "none: a single text"
    if len(before) > 1:
        error = change(task, how, before, after).error
        half = float(norm.ppf(0.975)) * error
        found = Estimate(found.score, error, (found.score - half, found.score + half))
        p, test = float(2 * norm.sf(abs(found.score) / error)) if error else float(found.score == 0), "ratio z"
    fewer, more = sum(y < x for x, y in zip(a, b, strict=True)), sum(y > x for x, y in zip(a, b, strict=True))
    compared = Comparison(found.score, found.interval, p, test, fewer, more)
    x, y = ([bits / n for bits, n in zip(side, size, strict=True)] for side in (a, b))
    groups = _by_group(before, x, y, size)
    return TaskDifference(task, how.name, len(before), score[0], score[1], compared, p, found, groups, [])


def _flip(row: Record, after: Record, start: int, x: float, y: float) -> Flip:
    answers = (row.completion, after.completion)
    return Flip(row.question, row.group, x, y, bare(row.prompt[start:]), answers, row.ground_truth)


def _by_group(
    rows: Sequence[Record], a: Sequence[float], b: Sequence[float], weights: Sequence[float]
) -> dict[str, tuple[float, float, int]]:
    """Group → its weighted means before and after, and its number of questions."""

    def mean(side: Sequence[float], which: Sequence[int]) -> float:
        return sum(weights[i] * side[i] for i in which) / sum(weights[i] for i in which)

    members: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.group:
            members.setdefault(row.group, []).append(place)
    return {name: (mean(a, which), mean(b, which), len(which)) for name, which in sorted(members.items())}


def adjusted(differences: Sequence[TaskDifference]) -> list[TaskDifference]:
    """The same with Holm's p-values over all of them."""
    corrected = holm([each.comparison.p for each in differences])
    return [replace(each, adjusted=p) for each, p in zip(differences, corrected, strict=True)]


def average(differences: Sequence[TaskDifference]) -> Comparison:
    """The mean over tasks of their differences, each task of the same weight, tasks as independent strata."""
    mean, p = stratified([each.change for each in differences])
    gained, lost = (sum(getattr(each.comparison, name) for each in differences) for name in ("gained", "lost"))
    return Comparison(mean.score, mean.interval, p, "stratified z", gained, lost)


def labelled(places: Iterable[Place]) -> dict[Place, str]:
    """(model, task, mode) → what the task is called where a name must do: with its mode, if it was asked in two."""
    modes: dict[str, set[str]] = {}
    listed = list(places)
    for _, task, mode in listed:
        modes.setdefault(task, set()).add(mode)
    return {
        (model, task, mode): task if mode == "greedy" or len(modes[task]) == 1 else f"{task} ({mode})"
        for model, task, mode in listed
    }


def read_side(ref: str) -> Side:
    """FOLDER or FOLDER:MODEL, a results artifact (or a folder with questions.parquet and
    results.json).

    Raises:
        BactrianError: where it is none, does not match its manifest, or holds several models
            and none is named.
    """
    folder, _, label = ref.rpartition(":") if not Path(ref).is_dir() else (ref, "", "")
    path = Path(folder or ref)
    if not (path / "questions.parquet").is_file():
        raise BactrianError(
            f"{ref}: no questions.parquet in {path}; expected the folder of an evaluation, such as "
            f"runs/artifacts/evaluate-…, or such a folder, a colon and one of its models"
        )
    check_artifact(path)
    about = read_object(path / NAME) if (path / NAME).is_file() else {}
    records = read_records(path / "questions.parquet")
    models = list(dict.fromkeys(model for model, _, _ in records))
    if not models:
        raise BactrianError(f"{path / 'questions.parquet'}: holds no answers")
    if not label and len(models) != 1:
        raise BactrianError(f"{ref}: holds the models {', '.join(models)}; name one: {path}:{models[0]}")
    chosen = label or models[0]
    if chosen not in models:
        raise BactrianError(f"{ref}: no model {chosen!r}; expected one of {', '.join(models)}")
    if about:
        require(about, {"tasks": dict}, str(path / NAME))
    names = {place: label for place, label in labelled(records).items() if place[0] == chosen}
    return Side(
        chosen,
        {label: records[place] for place, label in names.items()},
        {label: about_of(about.get("tasks", {}), task, mode) for (_, task, mode), label in names.items()},
    )


def compare(before: Side, after: Side, seed: int = 0) -> list[TaskDifference]:
    """All tasks that both answered.

    Raises:
        BactrianError: for none, or a task that was edited in between.
    """
    shared = [task for task in before.records if task in after.records]
    if not shared:
        raise BactrianError(f"no task was answered by both: {', '.join(before.records)} and {', '.join(after.records)}")
    for task in shared:
        refuse_edited(task, before.tasks.get(task, {}), after.tasks.get(task, {}))
    ways = {task: Averaging.of_results(before.tasks.get(task, {})) for task in shared}
    return adjusted(
        [compare_task(task, ways[task], before.records[task], after.records[task], seed) for task in shared]
    )


def refuse_edited(task: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """
    Raises:
        BactrianError: where the two were not asked the same: the task was edited between the
            two evaluations.
    """
    for field in ("task_hash", "data_hash"):
        one, other = before.get(field), after.get(field)
        if one and other and one != other:
            raise BactrianError(
                f"task {task} was edited between the two evaluations ({field} {str(one)[:12]} and {str(other)[:12]}): "
                f"their scores are not of the same questions, prompts or rules; evaluate both again"
            )


def as_json(differences: Sequence[TaskDifference], before: str, after: str) -> dict[str, Any]:
    return {"before": before, "after": after, "tasks": [asdict(each) for each in differences]}
