"""What `winrate` steps found: win rates raw and controlled, ratings, what style and order do, comparisons to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import count, finite, interval, number, percent, shorten
from bactrian.report.run_record import ReportedRun, ReportedStep
from bactrian.report.scores import Chart, WhiskerRow

WIN_RATES = "winrates.json"
KINDS = (("raw", "raw"), ("length_controlled", "length controlled"), ("style_controlled", "style controlled"))
MOST_LINES = 80
MOST_SENTENCES = 3
TITLE = 100
Record = Mapping[str, Any]


@dataclass(frozen=True)
class ShownComparison:
    """Two answers to read: who was preferred, what was asked, and both texts, which are cut already."""

    verdict: str
    title: str
    question: str
    answers: list[tuple[str, str]]


@dataclass(frozen=True)
class WinRateView:
    """One `winrate` step."""

    step: str
    facts: list[tuple[str, str]]
    charts: list[Chart]
    tables: list[SideTable]
    notes: list[str]
    examples: list[ShownComparison]


def win_rate_views(run: ReportedRun) -> list[WinRateView]:
    """Every step that left winrates.json, in order."""
    found = ((step, read_json(step, WIN_RATES)) for step in run.steps)
    return [_view(step, record) for step, record in found if record]


def sentences(run: ReportedRun) -> list[Markup]:
    """The best models of the last step that has win rates, in plain words; empty where there is none."""
    for step in reversed(run.steps):
        found = read_json(step, WIN_RATES)
        if models := _records(found.get("models")):
            return [_sentence(each, found) for each in models[:MOST_SENTENCES]]
    return []


def _sentence(record: Record, found: Record) -> Markup:
    raw, fair = (each if isinstance(each := record.get(key), Mapping) else {} for key, _ in KINDS[:2])
    text = Markup("{} wins <strong>{}</strong> of its comparisons with {} (95 % CI {})").format(
        str(record.get("model", "")),
        percent(finite(raw.get("rate"))),
        str(found.get("baseline")),
        interval(raw.get("interval")),
    )
    if fair:
        text += Markup("; at equal lengths <strong>{}</strong> ({})").format(
            percent(finite(fair.get("rate"))), interval(fair.get("interval"))
        )
    return text + Markup(".")


def _view(step: ReportedStep, found: Record) -> WinRateView:
    position = found.get("position") if isinstance(found.get("position"), Mapping) else {}
    facts = [
        ("Judge", str(found.get("judge") or "")),
        ("Baseline", str(found.get("baseline") or "none")),
        ("Comparisons", count(finite(found.get("comparisons")))),
        ("Without a verdict", count(finite(found.get("abstained")))),
        ("Prompts", count(finite(found.get("prompts")))),
    ]
    if isinstance(position, Mapping) and finite(position.get("both_orders")):
        facts.append(("Verdicts that change with the order", percent(finite(position.get("changed")))))
    drawn = [each for each in (_rates(found), _ratings(found)) if each]
    given = found.get("notes")
    notes = [str(note) for note in given] if isinstance(given, list) else []
    examples = [_example(each) for each in _records(found.get("examples"))]
    return WinRateView(step.name, facts, drawn, list(_tables(found)), notes, examples)


def _rates(found: Record) -> Chart | None:
    """Each model's win rates, raw and controlled, on one ruler; a line at one half."""
    scale = charts.axis(0.0, 1.0)
    rows = []
    for record in _records(found.get("models"))[:MOST_LINES]:
        label = str(record.get("model", ""))
        for key, kind in KINDS:
            mine = record.get(key)
            if not isinstance(mine, Mapping):
                continue
            note = f"{kind} · {count(finite(record.get('prompts')))} prompts" if key == "raw" else kind
            rate, ends = finite(mine.get("rate")), _ends(mine.get("interval"))
            track = charts.whisker(scale, rate, ends, "full" if key == "raw" else "hollow")
            tone = "" if label else "same"
            rows.append(WhiskerRow(label, note, track, percent(rate), interval(mine.get("interval")), tone))
            label = ""
    title = f"Win rates against {found.get('baseline')}"
    return Chart(title, rows, charts.ruler(scale, lambda v: percent(v, 0))) if rows else None


def _ratings(found: Record) -> Chart | None:
    """Ratings, with style controlled where that was done, the best first."""
    controlled = bool(_records(found.get("style_ratings")))
    records = _records(found.get("style_ratings" if controlled else "ratings"))[:MOST_LINES]
    ends = [end for each in records for end in (_ends(each.get("interval")) or ())]
    known = [value for each in records if (value := finite(each.get("rating"))) is not None]
    if not known:
        return None
    scale = charts.axis(min([*ends, *known]), max([*ends, *known]))
    rows = []
    for each in records:
        rating = finite(each.get("rating"))
        track = charts.whisker(scale, rating, _ends(each.get("interval")), "full")
        note = f"{count(finite(each.get('games')))} comparisons"
        rows.append(
            WhiskerRow(str(each.get("model", "")), note, track, count(rating), interval(each.get("interval"), count))
        )
    title = "Ratings (Bradley-Terry, Elo's scale" + (", style controlled)" if controlled else ")")
    return Chart(title, rows, charts.ruler(scale, lambda v: f"{v:.0f}"))


def _tables(found: Record) -> Iterator[SideTable]:
    if people := _records(found.get("people")):
        lines = [
            [
                str(each.get("model", "")),
                percent(finite(each.get("rate"))),
                interval(each.get("interval")),
                interval(each.get("classical")),
                count(finite(each.get("labels"))),
                count(finite(each.get("judged"))),
            ]
            for each in people
        ]
        heads = ["model", "win rate", "95 % interval", "people's labels alone", "labels", "further verdicts"]
        yield SideTable("Win rates as people find them, with the judge's help (prediction-powered)", heads, lines, 0)
    if tasks := _records(found.get("tasks")):
        lines = [
            [
                str(each.get("task", "")),
                str(each.get("method", "")) + (" (over all families)" if each.get("pooled") else ""),
                percent(finite(each.get("agreement"))),
                interval(each.get("interval")),
                count(finite(each.get("labels"))),
                "; ".join(
                    f"{one.get('model')}: {percent(finite(one.get('rate')))}" for one in _records(each.get("rates"))
                ),
            ]
            for each in tasks[:MOST_LINES]
        ]
        heads = ["family", "compared by", "agrees with people", "95 % interval", "labelled prompts", "win rates"]
        title = "Win rates by family of tasks, each compared in the way that agrees best with people"
        yield SideTable(title, heads, lines, max(0, len(tasks) - MOST_LINES))
    if over := _records(found.get("over_tasks")):
        lines = [
            [str(each.get("model", "")), percent(finite(each.get("rate"))), count(finite(each.get("families")))]
            for each in over[:MOST_LINES]
        ]
        heads = ["model", "mean win rate", "families"]
        yield SideTable("Means over families of tasks, which count alike", heads, lines, max(0, len(over) - MOST_LINES))
    if style := _records(found.get("style")):
        lines = [
            [
                str(each.get("feature", "")),
                number(finite(each.get("coefficient"))),
                interval(each.get("interval"), number),
            ]
            for each in style
        ]
        heads = ["more of", "adds to the log-odds, a standard deviation", "95 % interval"]
        yield SideTable("What the judge likes besides", heads, lines, 0)
    if apart := _records(found.get("separation")):
        lines = [
            [
                str(each.get("first", "")),
                str(each.get("second", "")),
                percent(finite(each.get("share"))),
                count(finite(each.get("comparisons"))),
                count(finite(each.get("further"))),
            ]
            for each in apart[:MOST_LINES]
        ]
        heads = ["model", "next in rank", "wins, ties half", "comparisons", "more to tell them apart"]
        yield SideTable(
            "Neighbours in rank: comparisons that a test at 5 % needs for a power of 80 %",
            heads,
            lines,
            max(0, len(apart) - MOST_LINES),
        )


def _example(each: Record) -> ShownComparison:
    first, second = str(each.get("first", "")), str(each.get("second", ""))
    chance = finite(each.get("probability"))
    verdict = f"no verdict: {each.get('fault')}"
    if chance is not None:
        better, worse = (first, second) if chance >= 0.5 else (second, first)
        verdict = f"{better} over {worse}: {percent(max(chance, 1 - chance), 0)}"
    question = str(each.get("question", ""))
    answers = [(first, str(each.get("first_text", ""))), (second, str(each.get("second_text", "")))]
    return ShownComparison(verdict, shorten(question, TITLE), question, answers)


def _records(value: Any) -> Sequence[Record]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _ends(value: Any) -> tuple[float, float] | None:
    ends = [finite(each) for each in value] if isinstance(value, list) and len(value) == 2 else []
    return (ends[0], ends[1]) if ends and ends[0] is not None and ends[1] is not None else None
