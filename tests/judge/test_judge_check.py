"""`judge check` and `judge cascade` on judges whose votes stand in the rows: draws, several judges, several folders."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.judge.calibrated import JudgeCalibration
from tests.judge.cascade_recipes import calibration_of, made, recipe, write

LEVELS = "alpha: 0.2, delta: 0.2, least: 10"


def voted(first: int, count: int, draws: float, labelled: bool) -> list[dict[str, Any]]:
    """Pairs with the votes of two judges in both orders. The weak one's vote changes with the order on a share of them;
    both are right on 95 % of the others."""
    random, rows = Random(f"votes/{first}/{count}"), []
    for n in range(first, first + count):

        def votes(drawn: bool) -> dict[str, str]:
            right = "1" if random.random() < 0.95 else "2"
            return {"unswapped": "1", "swapped": "2"} if drawn else {"unswapped": right, "swapped": right}

        judges = {"weak": votes(random.random() < draws), "strong": votes(random.random() < 0.1)}
        row = {"id": f"p{n}", "prompt": f"Question {n}?", "first": f"good {n}", "second": f"poor {n}", "judges": judges}
        rows.append({**row, "label": 1} if labelled else row)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration, and verdicts on three sets of other pairs, the last of which has other ones."""
    folder = tmp_path_factory.mktemp("voted")
    write(folder / "labels.jsonl", voted(0, 200, 0.4, True))
    write(folder / "monday.jsonl", voted(1000, 300, 0.4, False))
    write(folder / "tuesday.jsonl", voted(2000, 300, 0.4, False))
    write(folder / "other.jsonl", voted(3000, 300, 0.8, False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        judges = "[{recorded: weak}, {recorded: strong}]"
        steps = [f"calibrated: {{stage: calibrate, labels: labels.jsonl, judges: {judges}, {LEVELS}}}"]
        for name in ("monday", "tuesday", "other"):
            steps.append(f"{name}: {{stage: judge, data: {name}.jsonl, calibration: calibrated}}")
        steps.append(steps[0].replace("calibrated:", "another:").replace("alpha: 0.2", "alpha: 0.3"))
        recipe(folder, "\n".join(steps))
        (folder / "made.json").write_text(json.dumps({name: str(path) for name, path in made(folder).items()}))
    return folder


def check(folder: Path, capsys: pytest.CaptureFixture[str], *judged: str) -> tuple[int, dict[str, Any]]:
    steps = json.loads((folder / "made.json").read_text())
    given = [each for name in judged for each in ("--judged", steps[name])]
    capsys.readouterr()
    status = invoke(["judge", "check", steps["calibrated"], *given, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_traffic_like_the_labelled_pairs_raises_no_alarm_though_many_verdicts_are_draws(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = check(folder, capsys, "monday")
    weak, strong = found["traffic"]["weak"], found["traffic"]["strong"]
    assert status == 0 and weak["alarm"] is None and strong["alarm"] is None
    assert weak["seen"] == 300 and 80 < strong["seen"] < 160  # what the weak one is not sure of
    assert weak["medians"] == [1.0, 1.0]


def test_a_change_is_told_by_the_judge_that_it_is_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = check(folder, capsys, "other")
    assert status == 1 and found["void"] and found["traffic"]["weak"]["alarm"] is not None
    assert found["traffic"]["strong"]["alarm"] is None


def test_several_folders_are_one_stream_in_their_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = check(folder, capsys, "monday", "tuesday", "other")
    weak = found["traffic"]["weak"]
    assert status == 1 and weak["seen"] == 900 and 600 < weak["alarm"] <= 900
    assert check(folder, capsys, "monday", "tuesday")[0] == 0


def test_what_another_calibration_judged_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = json.loads((folder / "made.json").read_text())
    assert invoke(["judge", "check", steps["another"], "--judged", steps["monday"]]) == 2
    assert "was judged by another calibration" in capsys.readouterr().err


def test_a_planned_cascade_has_the_thresholds_of_the_calibration(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    command = ["judge", "cascade", "labels.jsonl", "--judge", "weak", "--judge", "strong", "--least", "10"]
    prices = ["--price", "weak=0,0,1", "--price", "strong=0,0,10"]
    assert invoke([*command, "--alpha", "0.2", "--delta", "0.2", *prices, "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    cascade = JudgeCalibration.read(calibration_of(folder)).cascade
    assert plan["cascade"]["members"] == [each.to_json() for each in cascade.members]
    weak = plan["expected"]["composition"]["weak"]
    assert plan["expected"]["relative_cost"] == pytest.approx((1 + 10 * (1 - weak)) / 10)
    assert invoke([*command, *prices]) == 0
    told = capsys.readouterr().out
    assert "the cascade" in told and "of asking the last judge alone" in told


def test_too_few_labels_are_said_for_each_risk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ten.jsonl", voted(0, 10, 0.0, True))
    assert invoke(["judge", "cascade", "ten.jsonl"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("found labels for 10 prompts, expected") == 4 and "Label more prompts" in told
    write(tmp_path / "tied.jsonl", [{**row, "label": 0} for row in voted(0, 10, 0.0, True)])
    assert invoke(["judge", "cascade", "tied.jsonl"]) == 2
    assert "no row says which answer is preferred" in capsys.readouterr().err
