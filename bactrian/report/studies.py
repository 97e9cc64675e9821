"""What studies found, on the page of a run: ladders of sizes, mixes by swarm, micro-anneals, lines between models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from bactrian.report import charts
from bactrian.report.data_rows import SideTable, read_json
from bactrian.report.formatting import count, finite, number, percent
from bactrian.report.run_record import ReportedRun
from bactrian.report.svg import join, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420.0, 240.0, 56.0, 10.0, 8.0, 36.0
COLOURS = ("#1f6fb2", "#c2571a", "#3d8f4f", "#8a4fb0", "#a33a52", "#5f6b73")
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points of one colour; joined by a line, drawn as marks, or both."""

    name: str
    marks: Sequence[Point] = ()
    line: Sequence[Point] = ()
    hollow: bool = False
    colour: str = COLOURS[0]


@dataclass(frozen=True)
class FoundByStudy:
    """One study: what it says in words, its tables and plots with their captions."""

    step: str
    title: str
    sentences: list[str]
    tables: list[SideTable] = field(default_factory=list)
    plots: list[tuple[Markup, str]] = field(default_factory=list)


def study_views(run: ReportedRun) -> list[FoundByStudy]:
    """Every study of a run, in order. What cannot be read is left out."""
    makers: dict[str, Callable[[str, Mapping[str, Any]], FoundByStudy]] = {
        "ladder.json": ladder_view,
        "swarm.json": _swarm,
        "microanneal.json": _microanneal,
        "soup.json": _soup,
    }
    found = []
    for step in run.steps:
        for file, make in makers.items():
            told = read_json(step, file)
            if told and (file != "soup.json" or told.get("lines")):
                try:
                    found.append(make(step.name, told))
                except (KeyError, TypeError, ValueError, IndexError, ArithmeticError):
                    found.append(FoundByStudy(step.name, "A study", [f"{file} cannot be read"]))
    return found


def ladder_view(step: str, told: Mapping[str, Any]) -> FoundByStudy:
    """What a step of stage `ladder` found, by its ladder.json."""
    law, runs, predictions = told["law"], told["runs"], told["predictions"]
    sentences = []
    for each in predictions:
        low, high = each["interval"]
        line = f"{each['name']}: predicted {each['predicted']:.4f} [{low:.4f}, {high:.4f}]"
        if "miss" in each:
            line += f", measured {each['measured']:.4f}, off by {100 * each['miss']:+.2f} %"
        sentences.append(line)
    signs = {"a": "A", "alpha": "α", "b": "B", "beta": "β", "floor": "E"}
    coefficients = [
        [signs[name], f"{law[name]:.4g}", f"{low:.4g} to {high:.4g}"] for name, (low, high) in told["intervals"].items()
    ]
    lines = [
        [
            r["name"],
            count(r["parameters"]),
            count(r["tokens"]),
            f"{r['loss']:.4f}",
            f"{r['fitted']:.4f}",
            f"{100 * r['residual']:+.2f} %",
        ]
        for r in runs
    ]
    heads = ["run", "parameters", "tokens", "bits per byte", "the law", "off by"]
    tables = [
        SideTable("The law, A/N^α + B/D^β + E", ["", "value", "95 % interval"], coefficients, 0),
        SideTable("Runs that it was fitted to", heads, lines, 0),
    ]
    plots = [(plane(list(_rungs(told)), "tokens (log axis)", "bits per byte", log=True), LADDER_CAPTION)]
    residuals = [(r["fitted"], 100 * r["residual"]) for r in runs]
    missed = [(each["predicted"], -100 * each["miss"]) for each in predictions if "miss" in each]
    drawn = [Series("fitted", residuals), Series("not fitted", missed, hollow=True, colour=COLOURS[1])]
    plots.append((plane(drawn, "bits per byte by the law", "measured over the law, %"), "Residuals."))
    return FoundByStudy(step, "A ladder of sizes", sentences, tables, plots)


LADDER_CAPTION = "Dots: measured; open: not fitted; lines: the law, one colour a size."


def _rungs(told: Mapping[str, Any]) -> Iterator[Series]:
    """Of each size its runs, and the law through their lengths."""
    law = told["law"]

    def at(parameters: float, tokens: float) -> float:
        terms = (("a", "alpha", parameters), ("b", "beta", tokens))
        return float(law["floor"] + sum(law[c] / size ** law[p] for c, p, size in terms if c in law))

    measured = [(r["parameters"], r["tokens"], r["loss"], False) for r in told["runs"]]
    measured += [(p["parameters"], p["tokens"], p["measured"], True) for p in told["predictions"] if "measured" in p]
    lengths = [tokens for _, tokens, *_ in measured]
    low, high = math.log(min(lengths)), math.log(max(lengths))
    across = [math.exp(low + (high - low) * n / 24) for n in range(25)]
    for place, size in enumerate(sorted({size for size, *_ in measured})):
        mine = [(tokens, loss) for own, tokens, loss, _ in measured if own == size]
        hollow = any(apart for own, *_, apart in measured if own == size)
        line = [(tokens, at(size, tokens)) for tokens in across]
        yield Series(f"{count(size)} parameters", mine, line, hollow, COLOURS[place % len(COLOURS)])


def _swarm(step: str, told: Mapping[str, Any]) -> FoundByStudy:
    names, predicted = told["sources"], told["predicted"]
    chosen = ", ".join(f"{name} {percent(told['best'][name])}" for name in names)
    sentences = [
        f"Least predicted loss: {chosen}; {predicted['reference']:.4f} → {predicted['best']:.4f} bits per byte."
    ]
    if told["at_cap"]:
        sentences.append(f"At their caps: {', '.join(told['at_cap'])}.")
    if not told["trusted"]:
        sentences.append("The regression does not surely beat the mean of the runs: the reference mixture is kept.")
    shares = [[n, *(percent(told[k][n]) for k in ("reference", "best", "shares", "caps"))] for n in names]
    fits = [
        [d["domain"], percent(d["error"]), percent(d["error_of_mean"]), "yes" if d["beats_mean"] else "no"]
        + [f"{d['slopes'][name]:+.3f}" for name in names]
        for d in told["domains"]
    ]
    tables = [
        SideTable("Shares", ["source", "reference", "least predicted", "left", "cap"], shares, 0),
        SideTable("Regressions", ["domain", "error, one left out", "error of the mean", "beats it", *names], fits, 0),
    ]
    drawn = []
    for place, domain in enumerate(d["domain"] for d in told["domains"]):
        points = [(run["validated"][domain], run["bits"][domain]) for run in told["runs"]]
        ends = (min(map(min, points)), max(map(max, points)))
        line = [(end, end) for end in ends]
        drawn.append(Series(domain, points, line, colour=COLOURS[place % len(COLOURS)]))
    plot = plane(drawn, "predicted without it, bits per byte", "measured")
    return FoundByStudy(step, "A mix by swarm", sentences, tables, [(plot, "Each small model, by domain.")])


def _microanneal(step: str, told: Mapping[str, Any]) -> FoundByStudy:
    names = [name for name in (told["target"], told["guard"]) if name]
    accepted = [row["candidate"] for row in told["candidates"] if row["accepted"]]
    lines = []
    for row in told["candidates"]:
        cells = [row["candidate"]]
        for each in (row["target"], row.get("guard")):
            if each:
                cells += [f"{each['before']:.4f} → {each['after']:.4f}", f"{each['gain']:+.4f} ± {each['error']:.4f}"]
        lines.append([*cells, "accepted" if row["accepted"] else row["why"]])
    heads = ["candidate", *(head for name in names for head in (f"{name}: general → with it", "gain")), "decision"]
    sentence = f"Accepted: {', '.join(accepted) or 'none'}. Gains are paired, ± one standard error."
    return FoundByStudy(step, "Micro-anneals", [sentence], [SideTable("Candidates", heads, lines, 0)])


def _soup(step: str, told: Mapping[str, Any]) -> FoundByStudy:
    drawn = [
        Series(
            f"model 1 to model {each['to'] + 1}",
            line=list(zip(each["at"], each["bits"], strict=True)),
            marks=list(zip(each["at"], each["bits"], strict=True)),
            colour=COLOURS[place % len(COLOURS)],
        )
        for place, each in enumerate(told["lines"])
    ]
    worst = max(float(each["barrier"]) for each in told["lines"])
    sentence = f"Largest barrier on the straight lines between models: {number(finite(worst))} bits per byte."
    plot = plane(drawn, "share of the other model", "bits per byte")
    return FoundByStudy(step, "Lines between models", [sentence], [], [(plot, "At 0 the first model.")])


def plane(series: Sequence[Series], across: str, up: str, log: bool = False) -> Markup:
    """Points and lines in a plane. `log`: the horizontal axis is logarithmic.

    Raises:
        ValueError: there is nothing to draw, or a number is not finite.
    """
    points = [point for each in series for point in (*each.marks, *each.line)]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a point that is not finite")
    xs = [math.log10(x) if log else x for x, _ in points]
    horizontal, vertical = charts.axis(min(xs), max(xs), 4), charts.axis(*_ends(points), 4)
    low, high = min(xs), max(xs)

    def place(point: Point) -> Point:
        x = math.log10(point[0]) if log else point[0]
        share = 0.5 if low == high else (x - low) / (high - low)
        y = HEIGHT - BOTTOM - vertical.share(point[1]) * (HEIGHT - TOP - BOTTOM)
        return LEFT + 8 + share * (WIDTH - LEFT - RIGHT - 16), y

    parts = []
    for tick in vertical.ticks:
        y = place((points[0][0], tick))[1]
        parts.append(tag("line", {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": y, "y2": y, "class": "grid"}))
        parts.append(tag("text", {"x": LEFT - 6, "y": y + 4, "text-anchor": "end"}, number(tick)))
    for tick in [low, high] if log else [each for each in horizontal.ticks if low <= each <= high]:
        value = 10**tick if log else tick
        at: dict[str, str | float] = {"x": place((value, points[0][1]))[0], "y": HEIGHT - BOTTOM + 14}
        parts.append(tag("text", at | {"text-anchor": "middle"}, number(value)))
    for each in series:
        if len(each.line) > 1:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, each.line))
            parts.append(tag("path", {"d": path, "fill": "none", "stroke": each.colour, "stroke-opacity": "0.6"}))
        for point in each.marks:
            x, y = place(point)
            title = tag("title", {}, f"{each.name}: {number(point[0])}, {number(point[1])}")
            look = {"fill": "none" if each.hollow else each.colour, "stroke": each.colour}
            parts.append(tag("circle", {"cx": x, "cy": y, "r": 3.5, **look}, title))
    middle: dict[str, str | float] = {"x": (LEFT + WIDTH - RIGHT) / 2, "y": HEIGHT - 6, "text-anchor": "middle"}
    parts.append(tag("text", middle, f"{across} · vertical: {up}"))
    box: dict[str, str | float] = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "class": "curve", "role": "img"}
    return tag("svg", box, join(parts))


def _ends(points: Sequence[Point]) -> Point:
    values = [y for _, y in points]
    return min(values), max(values)
