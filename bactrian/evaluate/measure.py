"""Scores of one model on one task: what the paper averages, with its interval, the outcomes apart, and what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bactrian.evaluate.estimates import Estimate, bootstrap_ratio, clopper_pearson, estimate
from bactrian.evaluate.flags import Flag, flags_of
from bactrian.evaluate.grading import Record
from bactrian.evaluate.statistics import pass_at_k
from bactrian.evaluate.task import Loaded, Task
from bactrian.verify import OUTCOMES

RATIOS = {"instruction_loose": ("kept_loose", "instructions"), "instruction_strict": ("kept_strict", "instructions")}
"""Numbers that are ratios of sums."""
SHOWN = (
    "right",
    "score",
    "acc",
    "acc_norm",
    "acc_token",
    "acc_pmi",
    "mc1",
    "mc2",
    "prompt_loose",
    "prompt_strict",
    "harmful_refused",
    "benign_complied",
)


@dataclass(frozen=True)
class TaskScore:
    """One model on one task. `score` is the task's own metric as its paper averages it; `numbers` are the others.

    `clean`: the same on the questions that the model's training data do not hold, where that is known.
    """

    model: str
    task: str
    skill: str
    metric: str
    macro: bool
    questions: int
    samples: int
    score: float
    error: float
    interval: tuple[float, float]
    exact: tuple[float, float] | None  # Clopper and Pearson's, of plain shares
    counts: dict[str, int]
    numbers: dict[str, float]
    groups: dict[str, tuple[float, int]]
    mean_tokens: float
    mean_thinking_tokens: float
    mean_answer_tokens: float
    flags: list[Flag]
    clean: dict[str, Any] | None = None


def by_question(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Question id → its samples."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.question, []).append(record)
    return found


def question_values(task: Task, records: Sequence[Record]) -> dict[str, float]:
    """Question id → its value of the task's metric: of one answer its score, of n samples pass@k."""
    if task.metric != "pass_at_k":
        return {question: _mean(each.score for each in mine) for question, mine in by_question(records).items()}
    return {
        question: pass_at_k(len(mine), sum(each.outcome == "right" for each in mine), min(task.k, len(mine)))
        for question, mine in by_question(records).items()
    }


def measure(loaded: Loaded, model: str, records: Sequence[Record], held: Mapping[str, str] | None = None) -> TaskScore:
    """The score of one model. `held`: questions that its training data hold; None where that is not known."""
    task = loaded.task
    samples = by_question(records)
    estimated = _estimate(task, records)
    counted = Counter(each.outcome for each in records)
    clean = None
    if held is not None:
        kept = [each for each in records if each.question not in held]
        clean = {"held": len(samples) - len(by_question(kept)), "questions": len(by_question(kept))}
        clean |= asdict(_estimate(task, kept)) if kept else {}
    return TaskScore(
        model=model,
        task=task.name,
        skill=task.skill,
        metric=metric_name(task),
        macro=task.macro,
        questions=len(samples),
        samples=max(map(len, samples.values())),
        score=estimated.score,
        error=estimated.error,
        interval=estimated.interval,
        exact=_exact(task, records),
        counts={name: counted[name] for name in OUTCOMES},
        numbers=_numbers(task, records),
        groups=_groups(task, records),
        mean_tokens=_mean(each.tokens for each in records),
        mean_thinking_tokens=_mean(each.thinking_tokens for each in records),
        mean_answer_tokens=_mean(each.answer_tokens for each in records),
        flags=flags_of(loaded, records),
        clean=clean,
    )


def metric_name(task: Task) -> str:
    named = {
        "ifeval": "prompt, loose",
        "compliance": "right behaviour",
        "compliance_model": "right behaviour",
        "code": "pass@1",
    }
    if task.metric == "right" and task.verifier in named:
        return named[task.verifier]
    names = {
        "right": "exact match",
        "score": "F1" if task.verifier == "drop" else "score",
        "bits": "bits per byte",
        "pass_at_k": f"pass@{task.k}",
    }
    return names.get(task.metric, task.metric)


def _estimate(task: Task, records: Sequence[Record]) -> Estimate:
    if task.metric == "bits":
        above, below = ([each.values[name] for each in records] for name in ("bits", "bytes"))
        score, interval = bootstrap_ratio(above, below)
        return Estimate(score, (interval[1] - interval[0]) / 3.92, interval)
    values = question_values(task, records)
    first = {question: mine[0] for question, mine in by_question(records).items()}
    return estimate(
        list(values.values()),
        [each.cluster for each in first.values()],
        [each.group for each in first.values()],
        task.macro,
    )


def _exact(task: Task, records: Sequence[Record]) -> tuple[float, float] | None:
    """Where the score is a share of independent questions that are right or wrong."""
    values = question_values(task, records) if task.metric != "bits" else {}
    if task.macro or any(each.cluster for each in records) or not set(values.values()) <= {0.0, 1.0} or not values:
        return None
    return clopper_pearson(round(sum(values.values())), len(values))


def _numbers(task: Task, records: Sequence[Record]) -> dict[str, float]:
    """Further numbers by name: means of values over all answers, ratios, pass@1, the plain mean of a macro score."""
    names = [name for name in SHOWN if any(name in each.values for each in records)]
    found = {}
    for name in names:
        mine = [each.values[name] for each in records if name in each.values]
        found[name] = sum(mine) / len(mine)
    for name, (above, below) in RATIOS.items():
        total = sum(each.values.get(below, 0.0) for each in records)
        if total:
            found[name] = sum(each.values[above] for each in records if above in each.values) / total
    if task.metric == "pass_at_k":
        found["pass@1"] = found.pop("right")
    if task.metric in ("right", "pass_at_k"):
        found.pop("score", None)
    if task.macro:
        found["mean over questions"] = _mean(question_values(task, records).values())
    if task.metric == "bits":
        found["tokens"] = sum(each.values["tokens"] for each in records)
    return found


def _groups(task: Task, records: Sequence[Record]) -> dict[str, tuple[float, int]]:
    """Group → its mean and its number of questions."""
    values = question_values(task, records)
    members: dict[str, list[str]] = {}
    for record in records:
        if record.group and record.sample == 0:
            members.setdefault(record.group, []).append(record.question)
    return {name: (_mean([values[each] for each in mine]), len(mine)) for name, mine in sorted(members.items())}


def _mean(values: Any) -> float:
    given = list(values)
    return float(sum(given) / len(given))
