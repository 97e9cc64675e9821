"""What `mt_bench` steps found: mean ratings by turn and category, with intervals, and answers to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import count, finite, interval, number, shorten
from bactrian.report.run_record import ReportedRun, ReportedStep
from bactrian.report.scores import Chart, WhiskerRow

RATINGS = "mt_bench.json"
LOWEST, HIGHEST = 1.0, 10.0
MOST_LINES = 80
MOST_SENTENCES = 3
TITLE = 100
Record = Mapping[str, Any]


@dataclass(frozen=True)
class BenchAnswer:
    """A rated answer to read; the texts are cut already."""

    verdict: str
    title: str
    texts: list[tuple[str, str]]


@dataclass(frozen=True)
class BenchView:
    """One `mt_bench` step."""

    step: str
    facts: list[tuple[str, str]]
    chart: Chart | None
    tables: list[SideTable]
    examples: list[BenchAnswer]


def bench_views(run: ReportedRun) -> list[BenchView]:
    """Every step that left mt_bench.json, in order."""
    found = ((step, read_json(step, RATINGS)) for step in run.steps)
    return [_view(step, record) for step, record in found if record]


def sentences(run: ReportedRun) -> list[Markup]:
    """The mean ratings of the last such step, in plain words; empty where there is none."""
    for step in reversed(run.steps):
        if models := _models(read_json(step, RATINGS)):
            scores = [(name, _scores(found)) for name, found in models]
            return [
                Markup("{} is rated <strong>{}</strong> of 10 (95 % CI {}).").format(
                    name, number(finite(mine[0].get("rating"))), interval(mine[0].get("interval"), number)
                )
                for name, mine in scores[:MOST_SENTENCES]
                if mine
            ]
    return []


def _view(step: ReportedStep, found: Record) -> BenchView:
    models = _models(found)
    unread = sum(int(finite(each.get("unread")) or 0) for _, each in models)
    facts = [
        ("Judge", str(found.get("judge") or "")),
        ("Questions", count(finite(found.get("questions")))),
        ("Ratings that could not be read", count(unread)),
    ]
    examples = found.get("examples")
    shown = [_example(each) for each in examples if isinstance(each, Mapping)] if isinstance(examples, list) else []
    return BenchView(step.name, facts, _chart(models), _tables(models), shown)


def _chart(models: Sequence[tuple[str, Record]]) -> Chart | None:
    """Each model's mean rating, of all answers and by turn, on one ruler."""
    scale, rows = charts.axis(LOWEST, HIGHEST), []
    for name, found in models[:MOST_LINES]:
        label = name
        for each in _scores(found):
            kind = str(each.get("name", ""))
            if kind != "all" and not kind.startswith("turn "):
                continue
            rating = finite(each.get("rating"))
            track = charts.whisker(scale, rating, _ends(each.get("interval")), "full" if kind == "all" else "hollow")
            note = f"{kind} · {count(finite(each.get('answers')))} answers"
            value, aside = number(rating), interval(each.get("interval"), number)
            rows.append(WhiskerRow(label, note, track, value, aside, "" if label else "same"))
            label = ""
    return Chart("Mean rating from 1 to 10", rows, charts.ruler(scale, lambda v: f"{v:.0f}")) if rows else None


def _tables(models: Sequence[tuple[str, Record]]) -> list[SideTable]:
    """Categories in lines, models in columns."""
    by_name = {
        name: {str(each.get("name")): each for each in _scores(found)} for name, found in models[: MOST_LINES // 10]
    }
    categories = sorted({kind for mine in by_name.values() for kind in mine if kind != "all" and kind[:5] != "turn "})
    if not categories:
        return []
    lines = [[kind, *(_cell(mine.get(kind)) for mine in by_name.values())] for kind in categories]
    left_out = max(0, len(models) - len(by_name))
    title = "Mean rating by category, with 95 % intervals over questions"
    return [SideTable(title + (f"; {left_out} models more" if left_out else ""), ["category", *by_name], lines, 0)]


def _cell(found: Record | None) -> str:
    if found is None:
        return "–"
    return f"{number(finite(found.get('rating')))} ({interval(found.get('interval'), number)})"


def _example(each: Record) -> BenchAnswer:
    rating = finite(each.get("rating"))
    verdict = f"{each.get('model')}: " + (f"rated {number(rating)}" if rating is not None else "rating not read")
    question = str(each.get("question", ""))
    texts = [
        ("question", question),
        (str(each.get("model", "")), str(each.get("answer", ""))),
        ("judgement", str(each.get("judgement", ""))),
    ]
    return BenchAnswer(verdict, shorten(question, TITLE), texts)


def _models(found: Record) -> list[tuple[str, Record]]:
    models = found.get("models")
    if not isinstance(models, Mapping):
        return []
    known = [(str(name), each) for name, each in models.items() if isinstance(each, Mapping)]
    return sorted(known, key=lambda each: -(_first(each[1]) or 0.0))


def _first(found: Record) -> float | None:
    scores = _scores(found)
    return finite(scores[0].get("rating")) if scores else None


def _scores(found: Record) -> list[Record]:
    scores = found.get("scores")
    return [each for each in scores if isinstance(each, Mapping)] if isinstance(scores, list) else []


def _ends(value: Any) -> tuple[float, float] | None:
    ends = [finite(each) for each in value] if isinstance(value, list) and len(value) == 2 else []
    return (ends[0], ends[1]) if ends and ends[0] is not None and ends[1] is not None else None
