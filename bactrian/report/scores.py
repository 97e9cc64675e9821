"""Scores and comparisons of an evaluate step, and the one sentence that heads the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.formatting import ABSENT, MINUS, count, known, listing, number, p_value, percent, points
from bactrian.report.run_record import (
    CleanRecord,
    ComparisonRecord,
    ReportedRun,
    ResultsRecord,
    ScoreRecord,
    TaskRecord,
)
from bactrian.verify.verdict import OUTCOMES

TESTS = {"mcnemar": "exact McNemar test"}


@dataclass(frozen=True)
class WhiskerRow:
    """One line of a dot-and-whisker chart."""

    label: str
    note: str
    track: Markup
    value: str
    aside: str
    tone: str = ""


@dataclass(frozen=True)
class Chart:
    """A dot-and-whisker chart: rows over one ruler."""

    title: str
    rows: list[WhiskerRow]
    ruler: Markup
    legend: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreLine:
    """A line of the table of scores."""

    model: str
    mode: str
    questions: str
    score: str
    interval: str
    bar: Markup
    counts: list[str]
    pass_at_k: str
    mean_tokens: str


@dataclass(frozen=True)
class TaskView:
    """All there is to say about one task.

    answered: whether it was asked for answers; texts whose bits are counted are not.
    outcomes: the ways in which its answers ended, in the order of the lines' counts. never: those in which none did.
    """

    name: str
    facts: list[tuple[str, str]]
    prompt: str
    chart: Chart
    lines: list[ScoreLine]
    outcomes: list[str]
    never: str
    pass_at_k: bool
    steps: Chart | None
    others: Chart | None
    tests: str
    answered: bool


def interval_text(interval: tuple[float, float] | None, show: Callable[[float], str]) -> str:
    """`35.6 % to 46.7 %`, or that there is none."""
    return f"{show(interval[0])} to {show(interval[1])}" if interval else "no interval recorded"


def range_text(interval: tuple[float, float] | None) -> str:
    """The same, short, for the table: `35.6–46.7 %`."""
    return f"{interval[0] * 100:.1f}–{percent(interval[1])}" if interval else "none recorded"


def mode_name(score: ScoreRecord) -> str:
    """`greedy`, `mean@8` for the mean over 8 samples, or `20 samples` where they are not averaged (pass@k)."""
    if score.mode == "greedy" or score.samples <= 1:
        return score.mode
    return f"mean@{score.samples}" if score.metric in PLAIN else f"{score.samples} samples"


def task_views(results: ResultsRecord) -> list[TaskView]:
    """One view per task, in the order of results.json."""
    names = dict.fromkeys([*results.tasks, *(score.task for score in results.scores)])
    return [_task(name, results) for name in names]


def _task(name: str, results: ResultsRecord) -> TaskView:
    task = results.tasks.get(name, TaskRecord())
    scores = [score for score in results.scores if score.task == name]
    comparisons = [comparison for comparison in results.comparisons if comparison.task == name]
    modes = list(dict.fromkeys(comparison.mode for comparison in comparisons))
    main = sorted(
        (c for c in comparisons if _is_main(c, results.models)),
        key=lambda c: (modes.index(c.mode), *_span(c, results.models)),
    )
    others = [c for c in comparisons if not _is_main(c, results.models)]
    metric = BITS if any(score.metric == BITS for score in scores) else ""
    ended: list[str] = [name for name in OUTCOMES if any(score.counts.get(name) for score in scores)]
    ended = ended or [*OUTCOMES[:2]]
    lines = [_line(score, ended) for score in scores]
    tests = sorted({TESTS.get(c.test, c.test) for c in comparisons if c.test})
    return TaskView(
        name,
        _facts(task, scores) + [(f"look out, {each.model}: {f.name}", f.text) for each in scores for f in each.flags],
        task.prompt_example,
        _score_chart(scores),
        lines,
        ended,
        listing([name.replace("_", " ") for name in OUTCOMES if name not in ended], "or"),
        any(line.pass_at_k != "–" for line in lines),
        _difference_chart("What each step changed", main, metric) if main else None,
        _difference_chart("All other pairs", others, metric) if others else None,
        ", ".join(tests),
        any(score.metric != BITS for score in scores),
    )


BITS = "bits per byte"
PLAIN = ("", "exact match", "share right")
"""Metrics that are a share of right answers."""


def shown(score: ScoreRecord) -> Callable[[float | None], str]:
    """How a value of a score's metric is written: percent, but bits per byte, and what is no share, as they are."""
    if score.metric == BITS:
        return lambda v: ABSENT if v is None or not known(v) else f"{v:.3f}"
    return percent if score.score is None or 0 <= score.score <= 1 else number


def changed(metric: str, value: float | None, unit: bool = True) -> str:
    """How a difference of two values of a metric is written: points, but bits per byte as they are."""
    if metric != BITS:
        return points(value, unit)
    if value is None or not known(value):
        return ABSENT
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", MINUS) + (" bits per byte" if unit else "")


def _held(score: ScoreRecord, clean: CleanRecord) -> str:
    """How many questions a model's training data hold, and the score without them."""
    if not clean.held:
        return "none of its questions"
    held = f"{count(clean.held)} of its questions"
    if not clean.questions:
        return f"{held}: all"
    write = shown(score)
    return f"{held}; without them {write(clean.score)} ({interval_text(clean.interval, write)})"


def _facts(task: TaskRecord, scores: list[ScoreRecord]) -> list[tuple[str, str]]:
    overlap = "not checked" if task.overlap is None else f"{count(task.overlap)} of its questions"
    cleaned = [(f"found in what {each.model} was trained on", _held(each, each.clean)) for each in scores if each.clean]
    facts = [
        ("questions", count(task.n)),
        ("verifier", task.verifier),
        ("answers cut after", f"{count(task.max_new_tokens)} tokens" if task.max_new_tokens else ""),
        *(cleaned if cleaned and task.overlap is None else [("found in training data", overlap)]),
        ("looks at this unseen task, by the ledger", count(task.looks) if task.looks is not None else ""),
        ("data", task.data_hash[:12]),
        ("chat template", task.template_hash[:12]),
    ]
    return [(label, value) for label, value in facts if value]


def _span(comparison: ComparisonRecord, models: list[str]) -> tuple[bool, int]:
    """Sorts single steps in their order before the whole way from first to last."""
    if comparison.before not in models or comparison.after not in models:
        return (True, len(models))
    before, after = models.index(comparison.before), models.index(comparison.after)
    return (after - before > 1, before)


def _is_main(comparison: ComparisonRecord, models: list[str]) -> bool:
    """Whether this compares neighbours in the order of models, or the first with the last."""
    if comparison.before not in models or comparison.after not in models:
        return True
    before, after = models.index(comparison.before), models.index(comparison.after)
    return after == before + 1 or (before, after) == (0, len(models) - 1)


def _score_chart(scores: list[ScoreRecord]) -> Chart:
    highs = [score.interval[1] if score.interval else score.score for score in scores]
    highs += [_last_pass(score)[1] for score in scores]
    bits = any(score.metric == BITS for score in scores)
    most = max((h for h in highs if h is not None and known(h)), default=1.0)
    scale = charts.axis(0.0, (most if bits else min(1.0, most)) or 1.0)
    rows = []
    for index, score in enumerate(scores):
        k, at_k = _last_pass(score)
        same = index > 0 and scores[index - 1].model == score.model
        mark = "full" if score.mode == "greedy" else "hollow"
        track = charts.whisker(scale, score.score, score.interval, mark, at_k)
        write = shown(score)
        aside = interval_text(score.interval, write) if known(score.score) else ""
        note = mode_name(score) + (f" · ◆ pass@{k} {percent(at_k)}" if at_k is not None else "")
        value = write(score.score) if known(score.score) else "no score"
        rows.append(WhiskerRow("" if same else score.model, note, track, value, aside, "same" if same else ""))
    ruler = charts.ruler(scale, (lambda v: f"{v:.1f}") if bits else (lambda v: percent(v, 0)))
    return Chart(_chart_title(scores), rows, ruler)


def _chart_title(scores: list[ScoreRecord]) -> str:
    """What is averaged, where the results say it."""
    metric = next((score.metric for score in scores if score.metric), "")
    if metric in PLAIN:
        title = "Share of right answers"
    else:
        title = {"acc": "Share of right choices", "mc2": "Probability of the true answers (MC2)"}.get(metric, metric)
        title = title[0].upper() + title[1:].replace("_", ", ")
    return f"{title}, mean over groups" if any(score.macro for score in scores) else title


def _last_pass(score: ScoreRecord) -> tuple[str, float | None]:
    """The largest k of pass@k and its value; k = 1 is the score itself."""
    by_k = sorted(
        (int(k), value) for k, value in score.pass_at_k.items() if k.isascii() and k.isdigit() and value is not None
    )
    return (str(by_k[-1][0]), by_k[-1][1]) if by_k and by_k[-1][0] > 1 else ("", None)


def _line(score: ScoreRecord, ended: list[str]) -> ScoreLine:
    total = sum(value or 0 for value in score.counts.values())
    bar = charts.stacked([(name, (score.counts.get(name) or 0) / total) for name in OUTCOMES] if total else [])
    at_k = ", ".join(f"@{k} {percent(value)}" for k, value in score.pass_at_k.items() if k != "1")
    tokens = "–" if score.mean_tokens is None else f"{score.mean_tokens:.1f}"
    if score.mean_thinking_tokens:
        tokens = f"{score.mean_thinking_tokens:.1f} thinking + {score.mean_answer_tokens or 0.0:.1f}"
    counts = [count(score.counts[name]) if name in score.counts else "–" for name in ended]
    return ScoreLine(
        score.model,
        mode_name(score),
        count(score.questions),
        shown(score)(score.score) if known(score.score) else "no score",
        interval_text(score.interval, shown(score)) if score.metric == BITS else range_text(score.interval),
        bar,
        counts,
        at_k or "–",
        tokens,
    )


def _difference_chart(title: str, comparisons: list[ComparisonRecord], metric: str) -> Chart:
    ends = [end for c in comparisons for end in (*(c.interval or ()), c.difference or 0.0) if known(end)]
    scale = charts.axis(min([0.0, *ends]), max([0.0, *ends]), 6)
    rows = []
    for c in comparisons:
        aside = f"{interval_text(c.interval, lambda v: changed(metric, v, unit=False))} · {p_value(c.p)}"
        note = f"{c.mode} · {verdict_word(c, metric)}{_flips(c)}"
        mark, told = "full" if c.mode == "greedy" else "hollow", tone(c, metric)
        track = charts.whisker(scale, c.difference, c.interval, f"{mark} {told}")
        rows.append(WhiskerRow(f"{c.before} → {c.after}", note, track, changed(metric, c.difference), aside, told))
    return Chart(title, rows, charts.ruler(scale, lambda v: _tick(metric, v)))


def _tick(metric: str, value: float) -> str:
    return changed(metric, value, unit=False).removesuffix(".0") if value else "0"


def _flips(c: ComparisonRecord) -> str:
    if c.gained is None or c.lost is None:
        return ""
    return f" · {number(c.gained)} gained, {number(c.lost)} lost"


def tone(c: ComparisonRecord, metric: str = "") -> str:
    """`better`, `worse`, or `level` when no difference was shown. Of bits per byte less is better."""
    if not c.shown or c.difference is None:
        return "level"
    return "better" if (c.difference > 0) != (metric == BITS) else "worse"


def verdict_word(c: ComparisonRecord, metric: str = "") -> str:
    """The same for the reader."""
    if c.p is None or c.interval is None:
        return "not tested"
    return {"better": "better", "worse": "worse", "level": "not distinguishable from zero"}[tone(c, metric)]


@dataclass(frozen=True)
class RunSummary:
    """What the run did, in plain words; the first sentence is the headline."""

    sentences: list[Markup]
    tone: str


def verdict(run: ReportedRun) -> RunSummary:
    """The verdict of the last evaluate step that has scores."""
    for step in reversed(run.evaluations):
        results = step.results
        if results is not None and any(known(score.score) for score in results.scores):
            return _verdict(results)
    nothing = Markup("Nothing was measured: no evaluate step of this run has left scores, so what it did is unknown.")
    return RunSummary([nothing], "level")


def _verdict(results: ResultsRecord) -> RunSummary:
    names = list(dict.fromkeys(score.task for score in results.scores))
    found = [_sentence(results, name, len(names) > 1) for name in names]
    return RunSummary([sentence for sentence, _ in found], found[0][1])


def _sentence(results: ResultsRecord, task: str, several: bool) -> tuple[Markup, str]:
    scores = [s for s in results.scores if s.task == task and known(s.score)]
    if not scores:
        return Markup("On {} no score was recorded.").format(task), "level"
    greedy = [score for score in scores if score.mode == "greedy"] or [s for s in scores if s.mode == scores[0].mode]
    order = {name: index for index, name in enumerate(results.models)}
    greedy.sort(key=lambda score: order.get(score.model, len(order)))
    first, last = greedy[0], greedy[-1]
    write = shown(first)
    what = "greedy accuracy" if first.mode == "greedy" else f"{first.mode} accuracy"
    if first.metric not in PLAIN:
        what = first.metric
    where = Markup("On {} {}{}, {}").format(
        f"{count(first.questions)}{_seen(results.tasks.get(task))}",
        "texts" if first.metric == BITS else "problems",
        f" of {task}" if several else "",
        what,
    )
    if first is last:
        text = Markup("{} of {} is <strong>{}</strong> (95 % CI {}).")
        interval = interval_text(first.interval, write)
        return text.format(where, first.model, write(first.score), interval), "level"
    compared = [
        c
        for c in results.comparisons
        if (c.task, c.mode, c.before, c.after) == (task, first.mode, first.model, last.model)
    ]
    ends = (write(first.score), write(last.score))
    if not compared or compared[0].difference is None:
        text = Markup("{} was {} for {} and {} for {}; the two were not compared by a paired test.")
        return text.format(where, ends[0], first.model, ends[1], last.model), "level"
    c = compared[0]
    effect = Markup("{}, 95 % CI {}, {}").format(
        changed(first.metric, c.difference),
        interval_text(c.interval, lambda v: changed(first.metric, v, unit=False)),
        p_value(c.p),
    )
    if c.shown:
        return Markup("{} went from {} to <strong>{}</strong> ({}).").format(where, *ends, effect), tone(
            c, first.metric
        )
    text = Markup("{} was {} before and {} after: <strong>no difference that can be told from zero</strong> ({}).")
    return text.format(where, *ends, effect), "level"


def _seen(task: TaskRecord | None) -> str:
    """` unseen` only where that was checked."""
    if task is None or task.overlap is None:
        return " evaluation"
    return " unseen" if task.overlap == 0 else f" evaluation ({count(task.overlap)} of them in training data)"
