"""Axes, curves, the graph's layout, and numbers in words."""

from __future__ import annotations

import random
import re

import pytest

from bactrian.report import charts, formatting, graph


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 0), (-3e-7, 2e-6), (5, 5), (-1e12, 1e12), (0.3, 0.30001), (0, 1e-300), (-2, -1)]
)
def test_an_axis_holds_its_range_with_few_round_ticks(low: float, high: float) -> None:
    axis = charts.axis(low, high)
    assert axis.low <= low and axis.high >= high and axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 12
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert 0 <= axis.share(low) <= axis.share(high) <= 1


def test_smoothing_keeps_a_straight_line_and_calms_noise() -> None:
    line = [(float(x), 3.0 * x - 2) for x in range(100)]
    for (_, smooth), (_, exact) in zip(charts.smooth(line, 9), line, strict=True):
        assert smooth == pytest.approx(exact)
    rng = random.Random(0)
    noise = [(float(x), rng.gauss(0, 1)) for x in range(500)]
    assert max(abs(value) for _, value in charts.smooth(noise, 33)) < 1.2


@pytest.mark.parametrize("count", [1, 2, 11, 12, 399, 401, 5000])
def test_thinning_and_curves_for_any_number_of_points(count: int) -> None:
    points = [(float(x), float(x % 5)) for x in range(count)]
    assert len(charts.thin(points, 400)) <= 400
    drawn = charts.curve([("series0", points)])
    assert "nan" not in drawn and "inf" not in drawn
    assert len(re.findall(r"step ", drawn)) >= 1


def test_boxes_do_not_overlap_and_all_edges_are_drawn() -> None:
    names = [f"s{i}" for i in range(9)]
    rng = random.Random(3)
    boxes = [
        graph.Box(name, "x", "model", "", (*rng.sample(names[:i], min(i, 3)), "embedded:base"))
        for i, name in enumerate(names)
    ]
    drawn = graph.draw(boxes)
    assert drawn.count('class="edge"') == sum(len(box.inputs) for box in boxes)
    corners = [(float(x), float(y)) for x, y in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', drawn)]
    assert len(corners) == len(boxes) + 1
    for i, (x, y) in enumerate(corners):
        for a, b in corners[:i]:
            assert abs(x - a) >= graph.BOX_WIDTH or abs(y - b) >= graph.BOX_HEIGHT


def test_a_graph_of_one_and_inputs_that_come_later_or_twice() -> None:
    assert graph.draw([graph.Box("only", "x", "data", "", ())]).count("<rect") == 1
    loop = [graph.Box("a", "", "model", "", ("b", "b")), graph.Box("b", "", "model", "", ("a", "a"))]
    assert graph.draw(loop).count('class="edge"') == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (0.1234567, "0.1235"),
        (12.0, "12"),
        (1.2e-6, "1.2e−6"),
        (1e-5, "1e−5"),
        (-0.5, "−0.5"),
        (1.5e6, "1.5 M"),
    ],
)
def test_numbers(value: float, said: str) -> None:
    assert formatting.number(value).replace(formatting.NARROW, " ") == said


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.5, "p = 0.50"),
        (0.0312, "p = 0.031"),
        (1.2e-9, "p = 1.2 × 10⁻⁹"),
        (0.0, "p < 10⁻³⁰⁰"),
        (None, "p not recorded"),
    ],
)
def test_p_values(p: float | None, said: str) -> None:
    assert formatting.p_value(p).replace(formatting.NBSP, " ") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.41, "0.4 s"), (59.9, "1 min 0 s"), (75, "1 min 15 s"), (7500, "2 h 5 min"), (None, "–"), (float("nan"), "–")],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert formatting.duration(seconds).replace(formatting.NARROW, " ") == said


def test_small_differences_are_never_minus_zero() -> None:
    assert formatting.points(-0.0001) == "+0.0 points"
