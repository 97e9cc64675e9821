"""Charts as inline SVG, drawn by hand: colours and fonts come from the style sheet, so they follow light and dark.

Bars and whiskers are placed in percent of their box, so they fit any width without scaling the text. Curves need paths,
hence a fixed view box.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bactrian.report.formatting import number
from bactrian.report.svg import coordinate, join, tag

Point = tuple[float, float]

WIDTH, HEIGHT = 360.0, 176.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 8.0, 22.0
RAW_POINTS = 400
LINE_POINTS = 180


@dataclass(frozen=True)
class Axis:
    """A range with round ticks inside it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1; values outside stay at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def axis(low: float, high: float, about: int = 5) -> Axis:
    """The smallest range with round ends that holds both numbers.

    >>> axis(0.0, 0.43).ticks
    (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """
    if high - low < 1e-12 * max(1e-200, abs(high), abs(low)) or high == low:
        pad = abs(high) * 0.5 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(multiple * power for multiple in (1, 2, 5, 10) if multiple * power >= rough * 0.999)
    first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
    ticks = tuple(round(index * width, 12 - math.floor(math.log10(width))) for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def _x(share: float) -> str:
    return f"{share * 100:.2f}%"


def whisker(scale: Axis, value: float | None, interval: Point | None, mark: str, extra: float | None = None) -> Markup:
    """One row of a dot-and-whisker chart: grid lines, the interval, the dot, and (`extra`) a diamond.

    `mark` is a class of the style sheet: "full" or "hollow".
    """
    parts = [
        tag(
            "line",
            {
                "x1": _x(scale.share(t)),
                "x2": _x(scale.share(t)),
                "y1": "0",
                "y2": "100%",
                "class": "zero" if t == 0 else "grid",
            },
        )
        for t in scale.ticks
    ]
    if interval is not None and all(map(math.isfinite, interval)):
        low, high = (_x(scale.share(end)) for end in interval)
        parts.append(tag("line", {"x1": low, "x2": high, "y1": "50%", "y2": "50%", "class": "whisker"}))
        caps = ({"x1": end, "x2": end, "y1": "32%", "y2": "68%", "class": "whisker"} for end in (low, high))
        parts += [tag("line", cap) for cap in caps]
    if extra is not None and math.isfinite(extra):
        diamond = tag("path", {"d": "M0 -5L5 0L0 5L-5 0Z", "class": "diamond"})
        parts.append(tag("svg", {"x": _x(scale.share(extra)), "y": "50%", "overflow": "visible"}, diamond))
    if value is not None and math.isfinite(value):
        parts.append(tag("circle", {"cx": _x(scale.share(value)), "cy": "50%", "r": "4.5", "class": f"dot {mark}"}))
    return tag("svg", {"class": "track", "aria-hidden": "true"}, *parts)


def ruler(scale: Axis, label: Callable[[float], str]) -> Markup:
    """The tick labels below the rows of a dot-and-whisker chart; every other one when there are many."""
    every = 1 if len(scale.ticks) <= 6 else 2
    parts = [
        tag("text", {"x": _x(scale.share(tick)), "y": "12", "text-anchor": "middle"}, label(tick))
        for tick in scale.ticks[::every]
    ]
    return tag("svg", {"class": "ruler", "aria-hidden": "true"}, *parts)


def stacked(shares: Sequence[tuple[str, float]]) -> Markup:
    """A horizontal bar of (class, share) pieces whose shares add up to at most 1."""
    parts, start = [], 0.0
    for name, share in shares:
        if share > 0:
            parts.append(tag("rect", {"x": _x(start), "width": _x(share), "height": "100%", "class": name}))
            start += share
    return tag("svg", {"class": "stacked", "aria-hidden": "true"}, *parts)


def smooth(points: Sequence[Point], width: int, limit: int = LINE_POINTS) -> list[Point]:
    """A straight line fitted to the `width` nearest points around each of at most `limit` places, read off there.

    In the middle of evenly spaced points that is the moving average; at the ends it neither lags nor follows the noise.

    >>> smooth([(0, 0.0), (1, 3.0), (2, 0.0)], 3)
    [(0, 1.0), (1, 1.0), (2, 1.0)]
    """
    out = []
    for index in _spread(len(points), limit):
        start = min(max(0, index - width // 2), max(0, len(points) - width))
        near = points[start : start + width]
        x = sum(at for at, _ in near) / len(near)
        y = sum(value for _, value in near) / len(near)
        across = sum((at - x) ** 2 for at, _ in near)
        slope = sum((at - x) * (value - y) for at, value in near) / across if across else 0.0
        out.append((points[index][0], y + slope * (points[index][0] - x)))
    return out


def window(points: int) -> int:
    """How many steps the smoothed line averages over: none below 12 points, else about a fifteenth, odd."""
    return 1 if points < 12 else max(3, points // 15) | 1


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points: the lowest and highest of each stretch, so that no spike disappears."""
    if len(points) <= limit:
        return list(points)
    stretches = limit // 2
    kept: list[Point] = []
    for index in range(stretches):
        part = points[index * len(points) // stretches : (index + 1) * len(points) // stretches]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def _spread(length: int, limit: int) -> list[int]:
    """At most `limit` evenly spaced places in a list, both ends included."""
    if length <= limit:
        return list(range(length))
    return [round(index * (length - 1) / (limit - 1)) for index in range(limit)]


def curve(
    series: Sequence[tuple[str, Sequence[Point]]],
    label: Callable[[float], str] = number,
    bounds: Point | None = None,
    exact: bool = False,
) -> Markup:
    """One or two series over training steps: faint raw points, a smoothed line, values on hover.

    Args:
        series: (class, points in order of step); points are finite.
        label: how a value is printed.
        bounds: a range that the vertical axis holds at least.
        exact: draw the line through the points themselves (a schedule, not a measurement).
    """
    steps = [at for _, points in series for at, _ in points]
    values = [value for _, points in series for _, value in points] + list(bounds or ())
    across, up = (min(steps), max(steps)), axis(min(values), max(values), 4)

    def place(point: Point) -> Point:
        share = 0.5 if across[0] == across[1] else (point[0] - across[0]) / (across[1] - across[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up.share(point[1]) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in up.ticks:
        y = place((across[0], tick))[1]
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y, "class": "grid"}))
        parts.append(tag("text", {"x": LEFT - 6, "y": y + 4, "text-anchor": "end"}, label(tick)))
    ends = [(across[0], "start"), (across[1], "end")] if across[0] < across[1] else [(across[0], "middle")]
    for at, anchor in ends:
        x = place((at, up.low))[0]
        parts.append(tag("text", {"x": x, "y": HEIGHT - 5, "text-anchor": anchor}, f"step {number(at)}"))
    hover: list[tuple[float, float, str]] = []
    for name, points in series:
        raw = [place(point) for point in thin(points, RAW_POINTS)]
        line = [place(point) for point in smooth(points, 1 if exact else window(len(points)))]
        parts.append(tag("path", {"class": f"raw {name}", "d": "".join(f"M{_pair(p)}h0" for p in raw)}))
        if len(line) > 1:
            parts.append(tag("path", {"class": f"line {name}", "d": "M" + "L".join(map(_pair, line))}))
        for point in (points[index] for index in _spread(len(points), LINE_POINTS)):
            x, y = place(point)
            hover.append((round(x, 1), round(y, 1), f"step {number(point[0])}: {label(point[1])}"))
    box = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "class": "curve", "role": "img"}
    return tag("svg", box | {"data-points": json.dumps(hover, ensure_ascii=False, separators=(",", ":"))}, join(parts))


def _pair(point: Point) -> str:
    return f"{coordinate(point[0])} {coordinate(point[1])}"


def smooth_end(points: Sequence[Point]) -> float:
    """The mean over the last window: what the curve came to."""
    tail = points[-window(len(points)) :]
    return sum(value for _, value in tail) / len(tail)
