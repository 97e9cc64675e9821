"""What `score` steps found: pairs ranked rightly, calibration, sections of a benchmark, the best of n answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import count, finite, interval, known, number, percent, points
from bactrian.report.run_record import ReportedRun, ReportedStep
from bactrian.report.svg import join, tag

SCORES = "scores.json"
SIZE, LEFT, BOTTOM, TOP = 260.0, 40.0, 34.0, 8.0
MOST_LINES = 80


@dataclass(frozen=True)
class PreferenceView:
    """One `score` step: whose scores, tables, and of a reward model the reliability diagram."""

    step: str
    scorer: str
    tables: list[SideTable]
    diagram: Markup | None
    caption: str


def preference_views(run: ReportedRun) -> list[PreferenceView]:
    """Every step that left scores.json, in order."""
    found = ((step, read_json(step, SCORES)) for step in run.steps)
    return [_view(step, scores) for step, scores in found if scores]


def _view(step: ReportedStep, scores: Mapping[str, Any]) -> PreferenceView:
    calibration = scores.get("calibration")
    calibration = calibration if isinstance(calibration, Mapping) else {}
    bins = [each for each in _records(calibration.get("bins")) if _drawable(each)]
    caption = ""
    if bins:
        caption = (
            f"How sure the rewards are of a pair, σ(|margin|), against how often they are right, with 95 % intervals: "
            f"on the line they are as often right as they are sure. Expected calibration error "
            f"{number(finite(calibration.get('error')))}, loss {number(finite(calibration.get('loss')))} (knowing "
            f"nothing: 0.693), Brier score {number(finite(calibration.get('brier')))}."
        )
    return PreferenceView(
        step.name, str(scores.get("scorer", "")), list(_tables(scores)), reliability(bins) if bins else None, caption
    )


def _tables(scores: Mapping[str, Any]) -> Iterator[SideTable]:
    groups = _records(scores.get("groups"))
    overall = scores.get("all")
    if isinstance(overall, Mapping):
        groups = [*groups, {**overall, "name": "all pairs"}]
    if groups:
        heads = [
            str(scores.get("by", "source")),
            "pairs",
            "ranked rightly",
            "95 % interval",
            "ties",
            "mean margin",
            "mean chosen",
            "mean rejected",
        ]
        yield _table(
            "Pairs ranked rightly",
            heads,
            [
                [
                    str(each.get("name", "")),
                    count(finite(each.get("pairs"))),
                    percent(finite(each.get("accuracy"))),
                    interval(each.get("interval")),
                    count(finite(each.get("ties"))),
                    *(number(finite(each.get(name))) for name in ("margin", "chosen", "rejected")),
                ]
                for each in groups
            ],
        )
    sections = _records(scores.get("sections"))
    if sections:
        lines = [
            [
                str(each.get("name", "")),
                count(finite(each.get("pairs"))),
                percent(finite(each.get("accuracy"))),
                _listed(each.get("missing")),
            ]
            for each in sections
        ]
        lines.append(["mean of the sections", "", percent(finite(scores.get("overall"))), ""])
        yield _table("By section", ["section", "pairs", "ranked rightly", "subsets that are not there"], lines)
    best = _records(scores.get("best_of"))
    if best:
        heads = [
            "model",
            "task",
            "best of",
            "score",
            "95 % interval",
            "gain over one answer",
            "its 95 % interval",
            "one answer",
            "the truly best",
        ]
        yield _table(
            "The best of k answers by reward, expected over all draws of k",
            heads,
            [
                [
                    str(each.get("model", "")),
                    str(each.get("task", "")),
                    count(finite(each.get("k"))),
                    percent(finite(each.get("score"))),
                    interval(each.get("interval")),
                    points(finite(each.get("gain"))),
                    interval(each.get("gain_interval"), points),
                    percent(finite(each.get("single"))),
                    percent(finite(each.get("oracle"))),
                ]
                for each in best
            ],
        )
    means = _records(scores.get("means"))
    if means:
        yield _table(
            "Mean rewards",
            [str(scores.get("by", "source")), "answers", "mean reward"],
            [
                [str(each.get("name", "")), count(finite(each.get("answers"))), number(finite(each.get("mean")))]
                for each in means
            ],
        )


def reliability(bins: list[Mapping[str, Any]]) -> Markup:
    """Confidence across, accuracy up, both from ½ or less to 1; a dot and its interval for each bin."""
    lowest = min([0.5, *(float(each["interval"][0]) for each in bins)])
    across, up = charts.axis(0.5, 1.0), charts.axis(lowest, 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + across.share(x) * (SIZE - LEFT - TOP), SIZE - BOTTOM - up.share(y) * (SIZE - BOTTOM - TOP)

    parts = []
    for tick in up.ticks:
        (left, y), (right, _) = place(0.5, tick), place(1.0, tick)
        parts.append(tag("line", {"x1": left, "x2": right, "y1": y, "y2": y, "class": "grid"}))
        parts.append(tag("text", {"x": left - 6, "y": y + 4, "text-anchor": "end"}, percent(tick, 0)))
    for tick in across.ticks:
        x, y = place(tick, up.low)
        parts.append(tag("text", {"x": x, "y": y + 16, "text-anchor": "middle"}, percent(tick, 0)))
    (x1, y1), (x2, y2) = place(0.5, 0.5), place(1.0, 1.0)
    parts.append(tag("line", {"x1": x1, "x2": x2, "y1": y1, "y2": y2, "class": "zero"}))
    for each in bins:
        sure, right = float(each["confidence"]), float(each["accuracy"])
        (x, low), (_, high) = (place(sure, float(end)) for end in each["interval"])
        parts.append(tag("line", {"x1": x, "x2": x, "y1": low, "y2": high, "class": "whisker"}))
        at, height = place(sure, right)
        said = f"{count(finite(each.get('pairs')))} pairs: {percent(sure)} sure, {percent(right)} right"
        parts.append(tag("circle", {"cx": at, "cy": height, "r": 4.5, "class": "dot full"}, tag("title", {}, said)))
    box = {
        "viewBox": f"0 0 {SIZE:g} {SIZE:g}",
        "class": "curve reliability",
        "role": "img",
        "aria-label": "Reliability diagram",
    }
    return tag("svg", box, join(parts))


def _table(title: str, heads: list[str], lines: list[list[str]]) -> SideTable:
    return SideTable(title, heads, lines[:MOST_LINES], max(0, len(lines) - MOST_LINES))


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else "–"


def _drawable(each: Mapping[str, Any]) -> bool:
    interval = each.get("interval")
    ends = list(interval) if isinstance(interval, list) and len(interval) == 2 else [None]
    return all(known(finite(value)) for value in (each.get("confidence"), each.get("accuracy"), *ends))
