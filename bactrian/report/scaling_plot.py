"""Accuracy against thinking tokens, of every method on one plot: the section that a `scaling` step leaves."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.formatting import known, number, percent, points
from bactrian.report.run_record import ReportedRun, ReportedStep, ScalingMethod, ScalingPoint, ScalingRecord
from bactrian.report.svg import join, tag

WIDTH, HEIGHT = 720.0, 360.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 40.0
COLOURS = ("#3366cc", "#dc3912", "#109618", "#990099", "#b8860b", "#0099a8", "#a05030", "#6a6aa8", "#7a7a00", "#c0507a")
FILE_NAME = re.compile(r"[\w-][\w.-]{0,200}")


@dataclass(frozen=True)
class MethodView:
    """A method's line of the table; `key` draws it as in the plot."""

    key: Markup
    name: str
    kind: str
    control: str
    scaling: str
    per_doubling: str
    performance: str


@dataclass(frozen=True)
class PointView:
    """A run's line of the table."""

    method: str
    label: str
    thinking: str
    sampled: str
    accuracy: str
    within: str
    notes: str


@dataclass(frozen=True)
class ScalingView:
    """The section of one step."""

    step: str
    unit: str
    plot: Markup
    methods: list[MethodView]
    points: list[PointView]
    equal: list[tuple[str, str]]


def scaling_view(step: ReportedStep) -> ScalingView | None:
    """What a step's results say about test-time compute; None where they say nothing."""
    record = step.results.scaling if step.results is not None else None
    if record is None or not record.methods:
        return None
    methods = [_method(method, place) for place, method in enumerate(record.methods)]
    runs = [_point(method.name, point) for method in record.methods for point in method.points]
    equal = [
        (
            f"{each.sequential} − {each.parallel}, {each.point} ({number(each.tokens)} tokens)",
            _with(each.difference, each.interval, points),
        )
        for each in record.equal_tokens
        if each.difference is not None
    ]
    return ScalingView(step.name, record.unit, plot(record), methods, runs, equal)


def _method(method: ScalingMethod, place: int) -> MethodView:
    def slope(value: float) -> str:
        return f"{value:+,.1f}"

    mark = _mark(method.kind, 8, 8, COLOURS[place % len(COLOURS)], method.name)
    return MethodView(
        tag("svg", {"width": "16", "height": "16", "aria-hidden": "true"}, mark),
        method.name,
        method.kind,
        percent(method.control),
        _with(method.scaling, method.scaling_interval, slope),
        _with(method.per_doubling, method.per_doubling_interval, slope),
        _with(method.performance, method.performance_interval, percent),
    )


def _with(value: float | None, interval: tuple[float, float] | None, show: Callable[[float], str]) -> str:
    """A number with its interval; a dash where there is none."""
    if value is None or not known(value):
        return "–"
    return show(value) + (f" [{show(interval[0])}, {show(interval[1])}]" if interval else "")


def _point(method: str, point: ScalingPoint) -> PointView:
    counts = (
        (point.cut, "cut"),
        (point.waits, "endings taken back"),
        (point.loops, "in loops"),
        (point.unanswered, "unanswered"),
    )
    notes = ", ".join(f"{count} {what}" for count, what in counts if count)
    return PointView(
        method,
        point.label,
        number(point.thinking_tokens),
        number(point.sampled_tokens),
        _with(point.accuracy, point.interval, percent),
        percent(point.within),
        notes,
    )


def plot(record: ScalingRecord) -> Markup:
    """Accuracy (vertical) against mean thinking tokens a question (log₂), sequential and parallel methods together.

    A method's runs are joined by a line, full for sequential ones, dashed for parallel ones; bars are 95 % intervals.
    Fewer than one token has its place at one.
    """
    drawn = [
        (method, colour, [p for p in method.points if known(p.thinking_tokens) and known(p.accuracy)])
        for method, colour in zip(record.methods, _colours(), strict=False)
    ]
    tokens = [math.log2(max(1.0, p.thinking_tokens or 0.0)) for _, _, ps in drawn for p in ps]
    highs = [(p.interval or (0.0, p.accuracy or 0.0))[1] for _, _, ps in drawn for p in ps]
    left, right = (math.floor(min(tokens, default=0)), math.ceil(max(tokens, default=1)))
    right = max(right, left + 1)
    up = charts.axis(0.0, min(1.0, max(highs, default=1.0)) or 1.0)

    def place(size: float, accuracy: float) -> tuple[float, float]:
        share = (math.log2(max(1.0, size)) - left) / (right - left)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up.share(accuracy) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(place, up, left, right)]
    for method, colour, its in drawn:
        parts.append(_series(method, colour, its, place))
    box = {
        "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}",
        "class": "scaling",
        "role": "img",
        "font-family": "sans-serif",
        "font-size": "11",
        "fill": "currentColor",
        "aria-label": "Accuracy against thinking tokens",
    }
    return tag("svg", box, join(parts))


def _colours() -> list[str]:
    return list(COLOURS) * 8


Place = Callable[[float, float], tuple[float, float]]


def _grid(place: Place, up: charts.Axis, left: int, right: int) -> Markup:
    parts = []
    for tick in up.ticks:
        y = place(1.0, tick)[1]
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y, **FAINT}))
        parts.append(tag("text", {"x": LEFT - 6, "y": y + 4, "text-anchor": "end"}, percent(tick, 0)))
    for power in range(left, right + 1):
        x = place(2.0**power, 0.0)[0]
        parts.append(tag("line", {"x1": x, "x2": x, "y1": TOP, "y2": HEIGHT - BOTTOM, **FAINT}))
        parts.append(tag("text", {"x": x, "y": HEIGHT - BOTTOM + 15, "text-anchor": "middle"}, f"{2**power:,}"))
    axis: dict[str, str | float] = {"x": (LEFT + WIDTH - RIGHT) / 2, "y": HEIGHT - 6, "text-anchor": "middle"}
    return join([*parts, tag("text", axis, "thinking tokens a question (mean, log axis)")])


FAINT = {"stroke": "currentColor", "stroke-opacity": "0.15"}


def _series(method: ScalingMethod, colour: str, its: list[ScalingPoint], place: Place) -> Markup:
    its = sorted(its, key=lambda point: point.thinking_tokens or 0.0)
    at = [(place(point.thinking_tokens or 0.0, point.accuracy or 0.0), point) for point in its]
    parts = []
    if len(at) > 1:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for (x, y), _ in at)
        dashed = {"stroke-dasharray": "5 4"} if method.kind == "parallel" else {}
        parts.append(tag("path", {"d": path, "fill": "none", "stroke": colour, "stroke-width": "2", **dashed}))
    for (x, y), point in at:
        if point.interval is not None:
            ends = [place(1.0, end)[1] for end in point.interval]
            parts.append(
                tag("line", {"x1": x, "x2": x, "y1": ends[0], "y2": ends[1], "stroke": colour, "stroke-opacity": "0.5"})
            )
        said = f"{method.name}, {point.label}: {percent(point.accuracy)} at {number(point.thinking_tokens)} tokens"
        parts.append(_mark(method.kind, x, y, colour, said))
    return join(parts)


def _mark(kind: str, x: float, y: float, colour: str, said: str) -> Markup:
    title = tag("title", {}, said)
    if kind == "parallel":
        return tag("rect", {"x": x - 4, "y": y - 4, "width": 8.0, "height": 8.0, "fill": colour}, title)
    return tag("circle", {"cx": x, "cy": y, "r": 4.5, "fill": colour}, title)


def drawings(run: ReportedRun) -> Iterator[tuple[str, str]]:
    """(file name, SVG) of each step that compared methods; a step whose name is no file name is left out."""
    for step in run.evaluations:
        record = step.results.scaling if step.results is not None else None
        if record is not None and record.methods and FILE_NAME.fullmatch(step.name):
            yield f"scaling-{step.name}.svg", standalone(record)


def standalone(record: ScalingRecord) -> str:
    """The plot as an SVG file, with the methods' names beside their marks below it."""
    keys = []
    for place, (method, colour) in enumerate(zip(record.methods, _colours(), strict=False)):
        x, y = LEFT + (place % 3) * 220, HEIGHT + 14 + place // 3 * 18
        keys += [_mark(method.kind, x, y, colour, method.name), tag("text", {"x": x + 10, "y": y + 4}, method.name)]
    height = HEIGHT + 12 + -(-len(record.methods) // 3) * 18
    ground = tag("rect", {"width": WIDTH, "height": height, "fill": "#ffffff"})
    drawing = tag("svg", {"width": WIDTH, "height": HEIGHT}, plot(record))
    box: dict[str, str | float] = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {WIDTH:g} {height:g}",
        "width": WIDTH,
        "height": height,
        "font-family": "sans-serif",
        "font-size": "11",
        "color": "#222222",
        "fill": "#222222",
    }
    return str(tag("svg", box, ground, drawing, *keys)) + "\n"
