"""How far the numbers of a run can be trusted, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bactrian.report.formatting import count, listing, number, percent
from bactrian.report.run_record import ReportedRun, ReportedStep, ScoreRecord
from bactrian.report.scores import BITS

Level = Literal["fine", "look", "bad", "unmeasured"]

TRUNCATED_LOOK, TRUNCATED_BAD = 0.02, 0.10
UNPARSABLE_LOOK, UNPARSABLE_BAD = 0.05, 0.20
GAP_FP32, GAP_BAD = 1e-5, 0.05
SILENT_LOOK = 0.5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, or that nobody looked at."""

    level: Level
    title: str
    text: str


def checks(run: ReportedRun) -> list[Check]:
    """All checks, the worrying ones first."""
    parts = (_artifacts, _answers, _overlap, _decontamination, _gaps, _signal, _code, _limits)
    found = [check for part in parts for check in part(run)]
    order: tuple[Level, ...] = ("bad", "look", "fine", "unmeasured")
    return sorted(found, key=lambda check: order.index(check.level))


def _artifacts(run: ReportedRun) -> Iterator[Check]:
    faults = [f"{step.name}: {step.note}" for step in run.steps if step.note]
    if faults:
        yield Check("look", "Missing pieces", ". ".join(faults) + ". What follows from them is absent from this page.")
    else:
        yield Check(
            "fine", "Artifacts", "Every step's artifact is there, with all of its files at their recorded sizes."
        )


def _scores(run: ReportedRun) -> list[ScoreRecord]:
    return [score for step in run.evaluations if step.results for score in step.results.scores]


def _malformed(scores: list[ScoreRecord], outcome: str, words: str, look: float, bad: float) -> Check:
    """A share of answers that failed by form; the last model's decides how bad it is, the worst may explain a gain."""
    worst = max(scores, key=lambda score: _share(score, outcome))
    last = max((score for score in scores if score.model == scores[-1].model), key=lambda score: _share(score, outcome))
    most, share = _share(worst, outcome), _share(last, outcome)
    said = f"At most {percent(share)} of the last model's answers {words} ({_which(last)})."
    if worst.model != last.model:
        said += f" The highest share of any model is {percent(most)} ({_which(worst)})."
    if most >= look and most - share >= look:
        said += " Part of a gain may then come from answering in the expected form, not from solving more."
    elif share >= look and outcome == "truncated":
        said += " A cut answer counts as not right although it was never finished: a higher limit may raise the score."
    level: Level = "bad" if share >= bad else "look" if most >= look else "fine"
    return Check(level, f"{outcome.capitalize()} answers", said)


def _answers(run: ReportedRun) -> Iterator[Check]:
    scores = [score for score in _scores(run) if _total(score) and score.metric != BITS]
    if not scores:
        if run.evaluations:
            told = "No evaluation counted its answers: truncation and parsing are unknown."
            yield Check("unmeasured", "Answers", told)
        return
    yield _malformed(scores, "truncated", "were cut at the token limit", TRUNCATED_LOOK, TRUNCATED_BAD)
    yield _malformed(scores, "unparsable", "held nothing that the verifier could read", UNPARSABLE_LOOK, UNPARSABLE_BAD)
    lost = [(score, _number(score, "timed_out") + _number(score, "crashed")) for score in scores]
    worst, most = max(lost, key=lambda pair: pair[1])
    if not most:
        yield Check("fine", "Judged answers", "Every answer was judged: no verifier timed out or crashed.")
        return
    right, total = _number(worst, "right"), _total(worst)
    yield Check(
        "bad" if most / total >= 0.01 else "look",
        "Answers never judged",
        f"On {count(most)} of {count(total)} answers the verifier timed out or crashed ({_which(worst)}). These are "
        f"not known to be wrong: the share of right answers lies between {percent(right / total)} and "
        f"{percent((right + most) / total)}.",
    )


def _number(score: ScoreRecord, outcome: str) -> int:
    return score.counts.get(outcome) or 0


def _total(score: ScoreRecord) -> int:
    return sum(value or 0 for value in score.counts.values())


def _share(score: ScoreRecord, outcome: str) -> float:
    return _number(score, outcome) / _total(score)


def _which(score: ScoreRecord) -> str:
    return f"{score.model}, {score.task}, {score.mode}"


def _overlap(run: ReportedRun) -> Iterator[Check]:
    tasks = {name: task for step in run.evaluations if step.results for name, task in step.results.tasks.items()}
    unchecked = [name for name, task in tasks.items() if task.overlap is None]
    for name, task in tasks.items():
        if task.overlap:
            yield Check(
                "bad",
                "Overlap with training data",
                f"{count(task.overlap)} of {count(task.n)} questions of {name} occur in training data.",
            )
    if tasks and not unchecked and not any(task.overlap for task in tasks.values()):
        yield Check(
            "fine",
            "Overlap with training data",
            "No question of the evaluation occurs in the training data of this run (compared by hash). What the base "
            "model saw in pretraining is not known.",
        )
    if unchecked:
        told = f"Not recorded: whether the questions of {listing(unchecked)} occur in training data."
        yield Check("unmeasured", "Overlap with training data", told)


def _decontamination(run: ReportedRun) -> Iterator[Check]:
    """Whether the rows that the last model was trained on were held against test items, as its manifest says."""
    models = [step for step in run.steps if step.kind == "model" and step.manifest]
    records = models[-1].manifest.decontamination if models and models[-1].manifest else ()
    never = [record.data for record in records if not record.against]
    if never:
        yield Check(
            "look",
            "Not decontaminated",
            f"{models[-1].name} was trained on rows that were never held against benchmarks: {listing(never)}. A stage "
            f"`decontaminate` before training does it.",
        )
    elif records:
        yield Check("fine", "Decontaminated", f"{models[-1].name} was trained on: {'; '.join(map(str, records))}.")


def _gaps(run: ReportedRun) -> Iterator[Check]:
    for step in run.steps:
        column = step.metrics.columns.get("logprob_gap_max") if step.metrics else None
        if column:
            at, worst = max(column, key=lambda point: point[1])
            dtype = str(step.manifest.hardware.get("dtype", "")) if step.manifest else ""
            exact = dtype.endswith(("float32", "fp32"))
            limit = GAP_FP32 if exact else GAP_BAD
            said = f"In {step.name}, sampler and trainer differ by at most {number(worst)} nats (step {number(at)})"
            promise = (
                f"; in float32 at most {number(GAP_FP32)} is expected."
                if exact
                else f" in {dtype or 'this precision'}."
            )
            level: Level = "fine" if worst <= limit else "bad" if worst > GAP_BAD else "look"
            yield Check(
                level,
                "Sampler and trainer agree" if level == "fine" else "Sampler and trainer drift apart",
                said + promise,
            )
        elif step.metrics and "reward" in step.metrics.columns:
            yield Check(
                "unmeasured",
                "Sampler and trainer",
                f"{step.name} did not record how far the sampler's log-probs are from the trainer's.",
            )


def _signal(run: ReportedRun) -> Iterator[Check]:
    for step in run.steps:
        column = step.metrics.columns.get("zero_variance") if step.metrics else None
        if column:
            mean = sum(value for _, value in column) / len(column)
            said = (
                f"In {step.name}, {percent(mean, 0)} of groups had answers that all scored alike: they taught nothing."
            )
            yield Check("look" if mean >= SILENT_LOOK else "fine", "Groups without signal", said)


def _code(run: ReportedRun) -> Iterator[Check]:
    resumed = [step.name for step in run.steps if step.manifest and step.manifest.attempts > 1]
    if resumed:
        yield Check(
            "fine",
            "Resumed steps",
            f"{listing(resumed)} was interrupted and resumed; its time is that of all attempts together.",
        )
    versions = {str(value) for step in run.steps for value in _code_names(step)}
    if len(versions) > 1:
        yield Check(
            "look",
            "Several versions of the code",
            "The steps were made by different versions: " + ", ".join(sorted(versions)) + ". Reused artifacts are "
            "those whose own code has not changed.",
        )


def _code_names(step: ReportedStep) -> list[str]:
    code = step.manifest.code if step.manifest else {}
    return [str(code.get("commit") or code["version"])[:12]] if code.get("commit") or code.get("version") else []


def _limits(run: ReportedRun) -> Iterator[Check]:
    compared = sum(len(step.results.comparisons) for step in run.evaluations if step.results)
    if compared > 1:
        yield Check(
            "look" if compared > 20 else "fine",
            "Several comparisons",
            f"This page shows {count(compared)} comparisons; their p values are not corrected for being many. By "
            f"chance alone one in twenty would fall below 0.05.",
        )
    if _scores(run) and any(step.kind == "model" for step in run.steps):
        yield Check(
            "unmeasured",
            "Spread over seeds",
            "This is one run with one seed. The intervals say how much the choice of questions matters, not how much "
            "another training seed would have changed.",
        )
    if _scores(run):
        yield Check(
            "unmeasured",
            "Verifiers' own errors",
            "How often a verifier rejects a right answer or accepts a wrong one is not part of the intervals.",
        )
        yield Check(
            "unmeasured",
            "Everything else",
            "Only the tasks above were scored. Other abilities, safety and what the model regurgitates were not "
            "measured, and may have changed.",
        )
    elif any(step.kind == "model" for step in run.steps):
        yield Check(
            "unmeasured",
            "What the model can do",
            "No evaluate step has left scores. That is not a score of zero: nothing was measured.",
        )
