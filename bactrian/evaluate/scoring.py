"""Scores of one model on one task: what is averaged, with its interval, the outcomes apart, and what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bactrian.evaluate.estimates import Estimate, bootstrap_ratio, clopper_pearson, cluster_error, estimate
from bactrian.evaluate.flags import Flag, flags_of
from bactrian.evaluate.records import Record, by_question
from bactrian.evaluate.statistics import clustered_wilson, pass_at_k
from bactrian.evaluate.task import Loaded, Metric, Task
from bactrian.verify import OUTCOMES

RATIOS = {
    "instruction_loose": ("kept_loose", "instructions"),
    "instruction_strict": ("kept_strict", "instructions"),
    "compliance rate": ("complied", "judged"),
}
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
    "neither",
    "empty",
    "unparsable",
    "judge failed",
)
PERCENTILES = (50, 75, 90, 95, 99)
"""Of lengths of common subsequences, as they were published [ParaPO]."""
SHARE, BITS = "share right", "bits per byte"
METRICS: dict[str, Metric] = {
    SHARE: "share",
    BITS: "bits",
    "F1": "score",
    "score": "score",
    **{name: name for name in ("acc", "acc_norm", "acc_token", "acc_pmi", "mc1", "mc2")},
}
"""What results.json calls a metric → the metric, where it is not "right" by another name, nor pass@k."""
RIGHT: tuple[Metric, ...] = ("right", "share", "pass_at_k")
"""Metrics by which an answer is right or not."""


@dataclass(frozen=True)
class Averaging:
    """How a task's records become one number: by metric, over questions or over groups of them; `k` of pass@k.

    `name`: what results.json calls the metric.
    """

    metric: Metric = "share"
    macro: bool = False
    k: int = 1
    name: str = SHARE

    @classmethod
    def of(cls, task: Task) -> Averaging:
        return cls(task.metric, task.macro, task.k, metric_name(task))

    @classmethod
    def of_results(cls, about: Mapping[str, Any]) -> Averaging:
        """Of what results.json says of a task; the share of right answers where it does not say."""
        name = str(about.get("metric", SHARE))
        at_k = name.startswith("pass@") and about.get("k") is not None
        metric: Metric = "pass_at_k" if at_k else METRICS.get(name, "right")
        return cls(metric, bool(about.get("macro")), int(about["k"]) if at_k else 1, name)

    def value(self, record: Record) -> float:
        """One answer's."""
        if self.metric in RIGHT:
            return float(record.outcome == "right")
        return record.score if self.metric == "bits" else record.values.get(self.metric, record.score)

    def of_question(self, samples: Sequence[Record]) -> float:
        """One question's, of its samples."""
        if self.metric != "pass_at_k":
            return _mean(self.value(each) for each in samples)
        right = sum(each.outcome == "right" for each in samples)
        return pass_at_k(len(samples), right, min(self.k, len(samples)))

    def of_questions(self, records: Iterable[Record]) -> dict[str, float]:
        """Question id → its value."""
        return {question: self.of_question(samples) for question, samples in by_question(records).items()}

    def estimate(self, records: Sequence[Record]) -> Estimate:
        """The mean with its error and interval.

        Raises:
            ValueError: where there are no records.
        """
        if self.metric == "bits":
            above, below = ([each.values[name] for each in records] for name in ("bits", "bytes"))
            score, interval = bootstrap_ratio(above, below)
            return Estimate(score, (interval[1] - interval[0]) / 3.92, interval)
        samples = by_question(records)
        values = [self.of_question(mine) for mine in samples.values()]
        if self.metric == "share":
            counts = {len(mine) for mine in samples.values()}
            if len(counts) != 1:
                raise ValueError(f"expected answers, and the same number for each question; found {sorted(counts)}")
            error = cluster_error(values, [""] * len(values))
            return Estimate(_mean(values), error, clustered_wilson(values, counts.pop()))
        first = [mine[0] for mine in samples.values()]
        return estimate(values, [each.cluster for each in first], [each.group for each in first], self.macro)


@dataclass(frozen=True)
class Score:
    """One model on one task, as in results.json. `score` is the task's own metric as its paper averages it.

    What the verifier failed on (timed_out, crashed) stays in the denominator, so that the score is never too high, and
    is counted. interval: 95 %. exact: Clopper and Pearson's, of plain shares. numbers: further ones, by name.
    groups: the mean of each and its number of questions. pass_at_k: by k. mean_score: of the verifier's own scores,
    which differs where it gives part marks. Of mean_tokens, thinking and answer apart are in mean_thinking_tokens and
    mean_answer_tokens. clean: the score on the questions that the model's training data do not hold, where known.
    """

    model: str
    task: str
    mode: str
    skill: str
    metric: str
    macro: bool
    questions: int
    samples: int
    score: float
    error: float
    interval: tuple[float, float]
    exact: tuple[float, float] | None
    counts: dict[str, int]
    pass_at_k: dict[str, float]
    numbers: dict[str, float]
    groups: dict[str, tuple[float, int]]
    mean_tokens: float
    mean_thinking_tokens: float
    mean_answer_tokens: float
    mean_score: float
    flags: list[Flag] = field(default_factory=list)
    clean: dict[str, Any] | None = None


def score(
    model: str,
    task: str,
    mode: str,
    records: Sequence[Record],
    how: Averaging = Averaging(),
    at: Sequence[int] = (),
) -> Score:
    """The score of one model from its records alone. `at`: pass@k for each of these k, too.

    Raises:
        ValueError: if there are no answers, questions have different numbers of them, or a k is
            above it.
    """
    samples, estimated = by_question(records), how.estimate(records)
    counted = Counter(each.outcome for each in records)
    rights = [(len(mine), sum(each.outcome == "right" for each in mine)) for mine in samples.values()]
    at_k = {str(k): _mean(pass_at_k(n, right, k) for n, right in rights) for k in at}
    return Score(
        model=model,
        task=task,
        mode=mode,
        skill="",
        metric=how.name,
        macro=how.macro,
        questions=len(samples),
        samples=max(map(len, samples.values())),
        score=estimated.score,
        error=estimated.error,
        interval=estimated.interval,
        exact=_exact(how, records),
        counts={name: counted[name] for name in OUTCOMES},
        pass_at_k=at_k | ({str(how.k): estimated.score} if how.name.startswith("pass@") else {}),
        numbers=_numbers(how, records),
        groups=_groups(how, records),
        mean_tokens=_mean(each.tokens for each in records),
        mean_thinking_tokens=_mean(each.thinking_tokens for each in records),
        mean_answer_tokens=_mean(each.answer_tokens for each in records),
        mean_score=_mean(each.score for each in records),
    )


def measure(loaded: Loaded, model: str, records: Sequence[Record], held: Mapping[str, str] | None = None) -> Score:
    """The score of one model, with what is odd. `held`: questions that its training data hold; None if not known."""
    task, how = loaded.task, Averaging.of(loaded.task)
    clean = None
    if held is not None:
        kept = [each for each in records if each.question not in held]
        questions = len(by_question(kept))
        clean = {"held": len(by_question(records)) - questions, "questions": questions}
        clean |= asdict(how.estimate(kept)) if kept else {}
    plain = score(model, task.name, task.mode, records, how, task.at)
    return replace(plain, skill=task.skill, flags=flags_of(loaded, records), clean=clean)


def metric_name(task: Task) -> str:
    """What results.json calls a task's metric."""
    named = {
        "ifeval": "prompt, loose",
        "compliance": "right behaviour",
        "compliance_model": "right behaviour",
        "noncompliance": "right behaviour",
        "judge": "right behaviour",
        "code": "pass@1",
        "recital": "recited",
    }
    if task.metric == "right" and task.verifier in named:
        return named[task.verifier]
    names = {
        "right": "exact match",
        "share": SHARE,
        "score": "F1" if task.verifier == "drop" else "score",
        "bits": BITS,
        "pass_at_k": f"pass@{task.k}",
    }
    return names.get(task.metric, task.metric)


def _exact(how: Averaging, records: Sequence[Record]) -> tuple[float, float] | None:
    """Where the score is a share of independent questions that are right or wrong."""
    values = how.of_questions(records) if how.metric != "bits" else {}
    if how.macro or any(each.cluster for each in records) or not set(values.values()) <= {0.0, 1.0} or not values:
        return None
    return clopper_pearson(round(sum(values.values())), len(values))


def _numbers(how: Averaging, records: Sequence[Record]) -> dict[str, float]:
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
    lengths = sorted({name for each in records for name in each.values if name.startswith("lcs_")})
    for name in lengths:
        mine = sorted(each.values[name] for each in records)
        found |= {f"{name}_p{share}": mine[min(len(mine) - 1, len(mine) * share // 100)] for share in PERCENTILES}
    if how.metric == "pass_at_k":
        found["pass@1"] = found.pop("right", _mean(each.outcome == "right" for each in records))
    if how.metric in RIGHT and not lengths:
        found.pop("score", None)
    if how.macro:
        found["mean over questions"] = _mean(how.of_questions(records).values())
    if how.metric == "bits":
        found["tokens"] = sum(each.values["tokens"] for each in records)
    return found


def _groups(how: Averaging, records: Sequence[Record]) -> dict[str, tuple[float, int]]:
    """Group → its mean and its number of questions."""
    values = how.of_questions(records)
    members: dict[str, list[str]] = {}
    for record in records:
        if record.group and record.sample == 0:
            members.setdefault(record.group, []).append(record.question)
    return {name: (_mean([values[each] for each in mine]), len(mine)) for name, mine in sorted(members.items())}


def _mean(values: Iterable[float]) -> float:
    given = list(values)
    return float(sum(given) / len(given))
