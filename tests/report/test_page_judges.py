"""The page's section on judges: what `calibrate` and `judge` left, as it stands there, whatever it is."""

import random
from pathlib import Path
from typing import Any

import pytest
from fabricate import write_run
from test_page_rows import page, sections
from test_report import HOSTILE

from bactrian.judge.bills import JudgePrice
from bactrian.judge.calibration_run import Levels, about_judge, calibrated_cascade, expected_of
from bactrian.judge.labelled import LabelledPair
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.report import judges
from bactrian.report.load import load_run


def calibration(name: str = "likelihood") -> dict[str, Any]:
    """What a judge leaves that is as often right as it is sure, beside one that says nothing, on 400 pairs."""
    draw = random.Random(5)
    pairs, said = [], []
    for number in range(400):
        sure = draw.uniform(0.5, 1)
        label = int(draw.random() > sure)  # it prefers the first
        pair = AnswerPair(str(number), ({"role": "user", "content": f"question {number}"},), "a", "b")
        pairs.append(LabelledPair(pair, label, (1, 0, 0)))
        said.append(Opinion((sure, 1 - sure), False, 1.0, 2, 90))
    opinions = {"silent": [Opinion(fault="prose")] * len(pairs), name: said}
    prices = {"silent": JudgePrice(), name: JudgePrice(tokens_in=1.0)}
    cascade = calibrated_cascade(pairs, opinions, Levels(0.15, 0.1))
    judges = [{"name": each, "about": about_judge(pairs, told, prices[each])} for each, told in opinions.items()]
    return {
        "judges": judges,
        "cascade": cascade.to_json(),
        "labels": {"pairs": 400, "prompts": 400, "ties": 12, "divided": 3},
        "expected": expected_of(cascade, pairs, opinions, prices),
    }


def judged(name: str = "likelihood") -> dict[str, Any]:
    return {
        "pairs": 50,
        "coverage": 0.8,
        "abstained": 10,
        "composition": {name: 40, "abstains": 10},
        "bills": {name: {"comparisons": 50, "calls": 100, "tokens_in": 4321, "tokens_out": 0, "cost": 1.25}},
        "faults": {name: 2},
        "labelled": 30,
        "agreed": 27,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_a_calibration_shows_reliability_bounds_and_who_decides(run: Path) -> None:
    given = calibration()
    shown = page(run, calibration=given)
    assert "judges" in sections(shown)
    threshold = given["cascade"]["members"][1]["threshold"]
    assert threshold["value"] is not None and given["cascade"]["members"][0]["threshold"]["value"] is None
    for part in ("400 labelled pairs", "12 ties and 3 divided", "AUROC", "never trusted", "failed on 400", "abstains"):
        assert part in shown.text, part
    hollow = [found for tag, found in shown.elements if tag == "circle" and found.get("class") == "dot hollow"]
    tests = [test for member in given["cascade"]["members"] for test in member["threshold"]["curve"]]
    drawn = [dot for dot in hollow if not str(dot.get("cx")).endswith("%")]
    assert len(drawn) == sum(not test["trusted"] for test in tests)
    assert all(0 <= float(str(dot[axis])) <= 360 for dot in drawn for axis in ("cx", "cy"))


def test_judged_pairs_show_coverage_abstention_and_the_bill(run: Path) -> None:
    shown = page(run, judged=judged())
    for part in ("50 pairs: 80.0", "10 abstained on", "27 of 30 verdicts agree", "4,321", "1.25"):
        assert part in shown.text.replace("\u202f", "").replace("\u00a0", " "), part


def test_without_either_there_is_no_section(run: Path) -> None:
    assert "judges" not in sections(page(run))


@pytest.mark.parametrize(
    "found",
    [
        "",
        "[1]",
        {"judges": 3, "cascade": [], "labels": "x", "expected": {"coverage": {}}},
        {"judges": [{"name": 7, "about": {"quality": {"bins": [1, {"n": 3, "agreement": None}]}}}]},
        {
            "cascade": {
                "members": [{"name": "a", "threshold": {"alpha": 0.1, "curve": [{"value": None, "bound": "x"}]}}]
            }
        },
        {"expected": {"composition": {"a": "x", "abstains": None}, "relative_cost": 1e999}},
    ],
)
def test_what_is_broken_costs_nothing_else(run: Path, found: Any) -> None:
    assert "scores" in sections(page(run, calibration=found))
    assert "scores" in sections(page(run, calibration="", judged=found))


def test_hostile_names_are_text(run: Path) -> None:
    shown = page(run, calibration=calibration(HOSTILE))
    assert shown.count("script") == 1 and shown.count("img") == 0 and "alert(1)" in shown.text
    shown = page(run, calibration="", judged=judged(HOSTILE))
    assert shown.count("script") == 1 and shown.count("img") == 0 and "alert(1)" in shown.text


def test_a_run_without_scores_begins_with_what_its_judges_promise(run: Path) -> None:
    given = calibration()
    page(run, calibration=given)
    (said,) = judges.sentences(load_run(run))
    assert f"{given['expected']['coverage']:.0%}".replace("%", "") in said and "at most 15" in said
    page(run, calibration={**given, "expected": {**given["expected"], "coverage": 0.0}})
    assert "left to people" in judges.sentences(load_run(run))[0]
