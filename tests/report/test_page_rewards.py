"""The page's section on rewards: what `score` left, as it stands there, whatever it is."""

import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run
from test_page_rows import page, sections
from test_report import HOSTILE

from bactrian.evaluate.reward_agreement import agreement, best_of, calibration
from bactrian.evaluate.reward_agreement import sections as by_section


def scores() -> dict[str, Any]:
    """What a fairly good reward model would leave."""
    draw = random.Random(2)
    groups: dict[str, list[tuple[float, float]]] = {}
    for number in range(900):
        size = abs(draw.gauss(0, 1.6))
        right = draw.random() < 1 / (1 + math.exp(-0.7 * size))
        name = ("alpacaeval-easy", "llmbar-natural", "hep-python")[number % 3]
        groups.setdefault(name, []).append((size, 0.0) if right else (0.0, size))
    each = [agreement(name, rewards) for name, rewards in groups.items()]
    both = [reward for rewards in groups.values() for reward in rewards]
    answers = [
        ([draw.random() + s for s in truth], truth)
        for truth in ([float(draw.random() < 0.4) for _ in range(8)] for _ in range(80))
    ]
    made = by_section(each)
    return {
        "scorer": "reward",
        "by": "subset",
        "all": asdict(agreement("all", both)),
        "groups": [asdict(g) for g in each],
        "calibration": asdict(calibration([a - b for a, b in both])),
        "sections": [asdict(s) for s in made],
        "overall": sum(section.accuracy for section in made) / len(made),
        "best_of": [{"model": "sft", "task": "sums", **asdict(best_of(answers, k))} for k in (1, 4, 8)],
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_tables_and_diagram_are_shown(run: Path) -> None:
    given = scores()
    shown = page(run, scores=given)
    assert "rewards" in sections(shown)
    for part in (
        "Scores by",
        "llmbar-natural",
        "Chat Hard",
        "mean of the sections",
        "900",
        "The best of k answers",
        "Expected calibration error",
        "knowing nothing: 0.693",
        "all pairs",
    ):
        assert part in shown.text, part
    dots = [found for tag, found in shown.elements if tag == "circle" and found.get("class") == "dot full"]
    drawn = [dot for dot in dots if dot.get("r") == "4.5" and not str(dot.get("cx", "%")).endswith("%")]
    assert len(drawn) == len(given["calibration"]["bins"])
    assert all(0 <= float(str(dot[axis])) <= 260 for dot in drawn for axis in ("cx", "cy"))


def test_without_scores_there_is_no_section(run: Path) -> None:
    assert "rewards" not in sections(page(run))


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[1]",
        {"calibration": 3, "groups": "x", "all": [1]},
        {"calibration": {"bins": [1, {"interval": [None, 2]}, {"confidence": "x", "accuracy": 1, "interval": [0, 1]}]}},
        {
            "groups": [{"name": None, "pairs": "x", "interval": 7}],
            "all": {},
            "sections": [{"missing": 3}],
            "overall": "x",
        },
        {"best_of": [{"k": {}, "interval": [1], "gain_interval": "ab"}], "means": [{"mean": 1e999}]},
    ],
)
def test_what_is_broken_costs_nothing_else(run: Path, found: Any) -> None:
    assert "scores" in sections(page(run, scores=found))


def test_hostile_names_are_text(run: Path) -> None:
    given = scores()
    given["scorer"] = HOSTILE
    given["groups"][0]["name"] = HOSTILE
    shown = page(run, scores=given)
    assert shown.count("script") == 1 and shown.count("img") == 0
    assert "alert(1)" in shown.text
