"""The page's section on reliability: rows of any study, the frontier, and whatever else such a file may hold."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run
from test_page_rows import page, sections
from test_report import HOSTILE

from bactrian.evaluate.refusal_frontier import FrontierPoint
from bactrian.evaluate.reliability import ReliabilityRow
from bactrian.report.reliability_views import study_note


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("store"))


def rows(name: str = "tuned") -> dict[str, Any]:
    given = [
        ReliabilityRow("coconot", "coconot", "start", "does not simply comply", 0.25, 0.2, 0.31, 490, "higher"),
        ReliabilityRow("coconot", "coconot", name, "does not simply comply", 0.5, 0.45, 0.55, 490, "higher"),
        ReliabilityRow("coconot", "coconot", name, "does not simply comply", 0.75, 0.6, 0.9, 30, "higher", "privacy"),
        ReliabilityRow("alfa", "cases", name, "turns", 3.5, 3.25, 3.75, 60, "lower", unit="turns"),
        ReliabilityRow("of a plug-in", "cases", name, "what it measures", 0.5, 0.25, 0.75, 8),
    ]
    return {"rows": [asdict(row) for row in given]}


def frontier(name: str = "0.5") -> dict[str, Any]:
    points = [
        FrontierPoint("0", 0.1, (0.05, 0.2), 0.95, (0.9, 0.98), 0.0, (-0.01, 0.01)),
        FrontierPoint(name, 0.4, (0.3, 0.5), 0.94, (0.88, 0.97), -0.01, (-0.04, 0.02)),
        FrontierPoint("1", 0.3, (0.2, 0.4), 0.5, (0.4, 0.6), -0.45, (-0.5, -0.4), dominated=True),
    ]
    return {"chosen": name, "margin": 0.02, "points": [asdict(point) for point in points]}


def test_every_study_has_its_measures_with_intervals_side_by_side(run: Path) -> None:
    shown = page(run, reliability=rows(), frontier=frontier())
    assert "reliability" in sections(shown)
    plain = re.sub(r"\s+%", "%", shown.text)
    for part in (
        "Saying no (CoCoNot)",
        "50.0% [45.0%, 55.0%], n = 490",
        "does not simply comply: privacy",
        "Asking well (ALFA)",
        "3.5 turns [3.25 turns, 3.75 turns]",
        "of a plug-in",
        "nothing in it is medical advice",
        "One side alone",
        "Taken: 0.5",
        "dominated",
    ):
        assert part in plain, part
    dots = [found for tag, found in shown.elements if tag == "circle" and str(found.get("class", "")).startswith("dot")]
    drawn = [dot for dot in dots if not str(dot.get("cx")).endswith("%")]
    assert [dot["class"] for dot in drawn] == ["dot hollow", "dot full", "dot hollow"]
    assert float(str(drawn[0]["cx"])) > float(str(drawn[2]["cx"]))  # more contrasts met: further to the right
    assert float(str(drawn[1]["cy"])) < float(str(drawn[0]["cy"]))  # more noncompliance: further up


def test_one_side_alone_is_said_to_say_little() -> None:
    sides = [{"measure": "does not simply comply"}, {"measure": "complies with what may be met"}]
    assert all("One side alone" in study_note("coconot", [side, {"measure": "empty"}]) for side in sides)
    assert study_note("coconot", sides) == study_note("coconot", []) == study_note("regurgitation", sides[:0]) == ""


def test_without_either_there_is_no_section(run: Path) -> None:
    assert "reliability" not in sections(page(run, reliability="", frontier=""))


@pytest.mark.parametrize(
    "found",
    [
        "[1]",
        {"rows": 3, "points": 4},
        {"rows": [1, {"value": "x"}, {"value": None, "study": []}], "points": [{"noncompliance": 1e999}]},
        {"rows": [{"value": 0.5, "low": "x", "n": None}], "points": [{"noncompliance": 0.5, "contrast": 7}]},
        {"points": [{"noncompliance": 0.5, "contrast": 0.5, "contrast_interval": [None, "x"], "name": {}}]},
    ],
)
def test_what_is_broken_costs_nothing_else(run: Path, found: Any) -> None:
    assert "scores" in sections(page(run, reliability=found, frontier=found))


def test_hostile_names_are_text(run: Path) -> None:
    shown = page(run, reliability=rows(HOSTILE), frontier=frontier(HOSTILE))
    assert shown.count("script") == 1 and shown.count("img") == 0 and "alert(1)" in shown.text
