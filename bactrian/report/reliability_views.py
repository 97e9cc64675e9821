"""Reliability on one page: every study's measures of every model, with intervals; and the over-refusal frontier.

Whatever step left `reliability.json` (rows of evaluate/reliability.py) has its rows here, so a study adds to the page
by writing such rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import read_json
from bactrian.report.formatting import count, finite, number, percent
from bactrian.report.run_record import ReportedRun, ReportedStep
from bactrian.report.svg import join, tag

ROWS, FRONTIER = "reliability.json", "frontier.json"
STUDIES = {
    "coconot": "Saying no (CoCoNot)",
    "alfa": "Asking well (ALFA)",
    "regurgitation": "Not reciting (ParaPO)",
}
NOTES = {"alfa": "A research simulator with cases made up or written for it: nothing in it is medical advice."}
"""Study → what is to be said wherever its numbers stand."""
SIDES = ("does not simply comply", "complies with what may be met")
ONE_SIDE = "One side alone says little: a model that turns everything away, or nothing, is perfect on one of the two."
WAYS = {"higher": "higher is better", "lower": "lower is better"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420.0, 300.0, 52.0, 14.0, 12.0, 40.0
MOST = 400
"""Rows of a study that are shown."""


@dataclass(frozen=True)
class MeasureView:
    """One measure of one task (or of a part of it), for each model: its value, interval and n."""

    task: str
    measure: str
    group: str
    way: str
    cells: list[str]


@dataclass(frozen=True)
class StudyView:
    """One study: `whole` has a line for each measure, `parts` one for each part of a task."""

    title: str
    note: str
    step: str
    models: list[str]
    whole: list[MeasureView]
    parts: list[MeasureView]


@dataclass(frozen=True)
class FrontierView:
    """A step that chose a point of the frontier."""

    step: str
    said: str
    plot: Markup
    points: list[tuple[str, str, str, str, str]]  # name, noncompliance, contrast, kept, note


@dataclass(frozen=True)
class ReliabilityView:
    """The section."""

    studies: list[StudyView]
    frontiers: list[FrontierView]


def reliability_view(run: ReportedRun) -> ReliabilityView | None:
    """What a run's steps say of reliability; None where they say nothing."""
    studies = [view for step in run.steps for view in _studies(step)]
    drawn = ((step, read_json(step, FRONTIER)) for step in run.steps)
    frontiers = [view for step, found in drawn if found and (view := _frontier(step, found))]
    return ReliabilityView(studies, frontiers) if studies or frontiers else None


def _studies(step: ReportedStep) -> Iterator[StudyView]:
    found = read_json(step, ROWS)
    rows = [each for each in _records((found or {}).get("rows")) if finite(each.get("value")) is not None]
    by_study: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_study.setdefault(str(row.get("study", "")), []).append(row)
    for study, mine in by_study.items():
        models = list(dict.fromkeys(str(row.get("model", "")) for row in mine))
        views = list(_measures(mine, models))[:MOST]
        whole, parts = ([view for view in views if bool(view.group) == part] for part in (False, True))
        yield StudyView(STUDIES.get(study, study), study_note(study, mine), step.name, models, whole, parts)


def study_note(study: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What has to be said beside a study's rows, if anything."""
    sides = {str(row.get("measure")) for row in rows} & {*SIDES}
    return ONE_SIDE if len(sides) == 1 else NOTES.get(study, "")


def _measures(rows: Sequence[Mapping[str, Any]], models: Sequence[str]) -> Iterator[MeasureView]:
    lines: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        key = (str(row.get("task", "")), str(row.get("measure", "")), str(row.get("group", "")))
        lines.setdefault(key, {})[str(row.get("model", ""))] = row
    for (task, measure, group), by_model in lines.items():
        way = WAYS.get(str(next(iter(by_model.values())).get("better", "")), "")
        yield MeasureView(task, measure, group, way, [_cell(by_model.get(model)) for model in models])


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    value, low, high = (finite(row.get(key)) for key in ("value", "low", "high"))
    unit = str(row.get("unit", ""))

    def show(given: float | None) -> str:
        return f"{number(given)} {unit}" if unit else percent(given)

    between = f" [{show(low)}, {show(high)}]" if low is not None and high is not None else ""
    return f"{show(value)}{between}, n = {count(finite(row.get('n')))}"


def _frontier(step: ReportedStep, found: Mapping[str, Any]) -> FrontierView | None:
    points = [
        each
        for each in _records(found.get("points"))
        if _is_share(each.get("noncompliance")) and _is_share(each.get("contrast"))
    ]
    if not points:
        return None
    chosen = str(found.get("chosen", ""))
    said = (
        f"Taken: {chosen}, the most noncompliance among those that lose at most {percent(finite(found.get('margin')))} "
        f"of the contrasts beside {points[0].get('name', '')}. Chosen on these very data, so it flatters."
    )
    return FrontierView(step.name, said, frontier_plot(points, chosen), [_told(each, chosen) for each in points])


def _is_share(given: Any) -> bool:
    value = finite(given)
    return value is not None and 0 <= value <= 1


def _told(point: Mapping[str, Any], chosen: str) -> tuple[str, str, str, str, str]:
    name = str(point.get("name", ""))
    note = "taken" if name == chosen else "dominated" if point.get("dominated") is True else ""
    return name, _between(point, "noncompliance"), _between(point, "contrast"), _between(point, "kept"), note


def _between(point: Mapping[str, Any], side: str) -> str:
    low, high = _ends(point, side)
    return f"{percent(finite(point.get(side)))} [{percent(low)}, {percent(high)}]"


def _ends(point: Mapping[str, Any], side: str) -> tuple[float | None, float | None]:
    given = point.get(f"{side}_interval")
    ends = [finite(end) for end in given] if isinstance(given, list) and len(given) == 2 else [None, None]
    return ends[0], ends[1]


def frontier_plot(points: Sequence[Mapping[str, Any]], chosen: str) -> Markup:
    """Noncompliance (upwards) against contrasts met (to the right), with both intervals; right above is best.

    The points are joined in their order, so a family that is merged at growing scales is one line.
    """
    values = {side: _reach(points, side) for side in ("contrast", "noncompliance")}
    across, up = charts.axis(*values["contrast"], 4), charts.axis(*values["noncompliance"], 4)

    def x(value: float) -> float:
        return LEFT + across.share(value) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - up.share(value) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in across.ticks:
        parts.append(tag("line", {"x1": x(tick), "x2": x(tick), "y1": TOP, "y2": HEIGHT - BOTTOM, "class": "grid"}))
        parts.append(tag("text", {"x": x(tick), "y": HEIGHT - 22, "text-anchor": "middle"}, percent(tick, 0)))
    for tick in up.ticks:
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y(tick), "y2": y(tick), "class": "grid"}))
        parts.append(tag("text", {"x": LEFT - 6, "y": y(tick) + 4, "text-anchor": "end"}, percent(tick, 0)))
    parts.append(
        tag("text", {"x": (LEFT + WIDTH) / 2, "y": HEIGHT - 5, "text-anchor": "middle"}, "contrasts that are met")
    )
    places = [(x(float(each["contrast"])), y(float(each["noncompliance"]))) for each in points]
    parts.append(tag("path", {"class": "line right", "d": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)}))
    for each, (a, b) in zip(points, places, strict=True):
        for side, place, fixed in (("contrast", x, b), ("noncompliance", y, a)):
            low, high = _ends(each, side)
            if low is not None and high is not None:
                ends = (
                    {"x1": place(low), "x2": place(high), "y1": fixed, "y2": fixed}
                    if side == "contrast"
                    else {"x1": fixed, "x2": fixed, "y1": place(low), "y2": place(high)}
                )
                parts.append(tag("line", {**ends, "class": "whisker"}))
        name = str(each.get("name", ""))
        mark = "full" if name == chosen else "hollow"
        parts.append(tag("circle", {"cx": a, "cy": b, "r": 4.5, "class": f"dot {mark}"}))
        parts.append(tag("text", {"x": a + 7, "y": b - 6}, name))
    label = "requests turned down as they should be, against harmless look-alikes that are met"
    return tag(
        "svg",
        {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "class": "curve", "role": "img", "aria-label": label},
        join(parts),
    )


def _reach(points: Sequence[Mapping[str, Any]], side: str) -> tuple[float, float]:
    """The range of all values and intervals, within 0 and 1."""
    values = [float(each[side]) for each in points]
    values += [end for each in points for end in _ends(each, side) if end is not None]
    return max(0.0, min(values)), min(1.0, max(values))


def _records(given: Any) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
