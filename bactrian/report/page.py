"""What the page of a run shows."""

from __future__ import annotations

from typing import Any

from bactrian.report import (
    bench_views,
    curves,
    data_rows,
    graph,
    judges,
    lineage,
    model_choices,
    overview,
    preferences,
    reliability_views,
    scaling_plot,
    scores,
    studies,
    traced,
    transcripts,
    trust,
    win_rate_views,
)
from bactrian.report.formatting import count, date, duration
from bactrian.report.html import render
from bactrian.report.run_record import ReportedRun
from bactrian.verify.verdict import OUTCOMES

RECIPE_LIMIT = 100_000


def render_page(run: ReportedRun) -> str:
    """The whole page as HTML; `render` says how texts in it are kept harmless."""
    styles, scripts = ("style.css", *traced.STYLES), ("page.js", *traced.SCRIPTS)
    return render("page.html.j2", styles, scripts, _content(run))


def head(run: ReportedRun) -> scores.RunSummary:
    """The sentences at the head: for each task of the last evaluation, of many tasks the whole; else of win rates,
    ratings or judges."""
    plain = scores.verdict(run)
    last = next((step.results for step in reversed(run.evaluations) if step.results and step.results.scores), None)
    told = win_rate_views.sentences(run) or bench_views.sentences(run) or judges.sentences(run)
    if last is None and told:
        return scores.RunSummary(told, "level")
    if last is None or len(plain.sentences) <= overview.MANY:
        return plain
    return scores.RunSummary(overview.sentences(last), "level")


def _content(run: ReportedRun) -> dict[str, Any]:
    """All that the template shows, by name."""
    boxes = lineage.boxes(run)
    traces = traced.RunTraces(run)
    trained = [drawn for step in run.steps if (drawn := curves.step_curves(step))]
    final, marks = lineage.final_marks(run)
    recipe = run.record.recipe
    return {
        "name": run.record.name,
        "verdict": head(run),
        "date": date(run.record.started),
        "total": duration(run.record.seconds),
        "hardware": lineage.hardware_line(run),
        "seeds": lineage.seeds(run),
        "code": lineage.code_version(run),
        "command": run.command,
        "problems": [(step.name, step.note) for step in run.steps if step.note],
        "graph": graph.draw(boxes) if boxes else None,
        "boxes": boxes,
        "data": data_rows.data_views(run),
        "evaluations": [
            (step.name, overview.overview(step.results), scores.task_views(step.results))
            for step in run.evaluations
            if step.results
        ],
        "choices": model_choices.choice_views(run),
        "studies": studies.study_views(run),
        "preferences": preferences.preference_views(run),
        "reliability": reliability_views.reliability_view(run),
        "judging": judges.judging_views(run),
        "win_rates": win_rate_views.win_rate_views(run),
        "benches": bench_views.bench_views(run),
        "scaling": [view for step in run.evaluations if (view := scaling_plot.scaling_view(step))],
        "outcome_classes": OUTCOMES,
        "curves": trained,
        "transcripts": [
            (step.name, found)
            for step in run.evaluations[-1:]
            if (found := transcripts.task_transcripts(step, traces=traces))
        ],
        "traced": traces.caption,
        "checks": trust.checks(run),
        "licences": lineage.licences(run),
        "final": final,
        "marks": marks,
        "times": lineage.times(run),
        "made": count(sum(step.record.status == "made" for step in run.steps)),
        "reused": count(sum(step.record.status == "reused" for step in run.steps)),
        "details": lineage.details(run),
        "recipe": recipe[:RECIPE_LIMIT],
        "recipe_path": run.record.recipe_path,
        "recipe_cut": max(0, len(recipe) - RECIPE_LIMIT),
    }
