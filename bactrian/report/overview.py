"""A suite of many tasks on one screen: every score on one ruler, what is flagged, and the whole in two sentences."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.formatting import count, known, percent
from bactrian.report.run_record import ComparisonRecord, ResultsRecord, ScoreRecord
from bactrian.report.scores import BITS, Chart, WhiskerRow, interval_text, shown

MANY = 3
"""Tasks up to which each has a sentence of its own at the head of the page, and no overview is needed."""


@dataclass(frozen=True)
class Overview:
    """All scores in one chart, and the flags: (task and model, what it is, the numbers)."""

    chart: Chart
    flags: list[tuple[str, str, str]]


def overview(results: ResultsRecord) -> Overview | None:
    """None where there are few tasks."""
    names = list(dict.fromkeys(score.task for score in results.scores))
    if len(names) <= MANY:
        return None
    ordered = [score for name in names for score in results.scores if score.task == name and score.metric != BITS]
    scale = charts.axis(0.0, 1.0)
    rows = [_row(scale, score, new) for score, new in zip(ordered, _starts(ordered), strict=True)]
    chart = Chart("All scores", rows, charts.ruler(scale, lambda v: percent(v, 0)))
    return Overview(
        chart,
        [(f"{score.task}, {score.model}", flag.name, flag.text) for score in results.scores for flag in score.flags],
    )


def _starts(scores: list[ScoreRecord]) -> list[bool]:
    return [number == 0 or scores[number - 1].task != score.task for number, score in enumerate(scores)]


def _row(scale: charts.Axis, score: ScoreRecord, new: bool) -> WhiskerRow:
    write = shown(score)
    note = f"{score.model} · {count(score.questions)} questions · {score.metric or 'share right'}"
    note += f" · look out: {', '.join(flag.name for flag in score.flags)}" if score.flags else ""
    track = charts.whisker(scale, score.score, score.interval, "full")
    value = write(score.score) if known(score.score) else "no score"
    aside = interval_text(score.interval, write) if known(score.score) else ""
    tone = "worse" if score.flags else "" if new else "same"
    return WhiskerRow(score.task if new else "", note, track, value, aside, tone)


def sentences(results: ResultsRecord) -> list[Markup]:
    """How many tasks there are and how each model did; what changed from the first to the last; what is flagged."""
    names = list(dict.fromkeys(score.task for score in results.scores))
    models = list(dict.fromkeys(score.model for score in results.scores))
    means = [_mean(results, model) for model in models]
    each = Markup("{} <strong>{}</strong>")
    listed = Markup(", ").join(each.format(model, mean) for model, mean in zip(models, means, strict=True))
    found = [Markup("{} tasks were asked. Mean of the scores in percent, tasks alike: {}.").format(len(names), listed)]
    if len(models) > 1:
        ends = (models[0], models[-1])
        first = {score.task: score.mode for score in reversed(results.scores)}
        pairs = [c for c in results.comparisons if (c.before, c.after) == ends and c.mode == first.get(c.task)]
        better, worse = ([c.task for c in pairs if _told(c) and (c.difference or 0) * sign > 0] for sign in (1, -1))
        text = Markup("From {} to {}, {} of {} tasks went up and {} down by more than chance (p-values corrected).")
        found.append(text.format(models[0], models[-1], len(better), len(pairs), len(worse)))
    flagged = sum(bool(score.flags) for score in results.scores)
    if flagged:
        text = Markup("<strong>{} of {} scores are flagged</strong>: they are not what they seem, see below.")
        found.append(text.format(flagged, len(results.scores)))
    return found


def _told(c: ComparisonRecord) -> bool:
    return c.shown and (c.p_holm is None or c.p_holm < 0.05)


def _mean(results: ResultsRecord, model: str) -> str:
    """Of the tasks' scores, where a set was asked in two ways the first."""
    first = {s.task: s.score for s in reversed(results.scores) if s.model == model and s.metric != BITS}
    mine = [value for value in first.values() if value is not None and known(value)]
    return percent(sum(mine) / len(mine)) if mine else "no score"
