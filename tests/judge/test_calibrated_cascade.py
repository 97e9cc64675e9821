"""Calibrations of real (tiny) judges: made, used, refused where anything differs, and whole after a kill."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import read_rows
from bactrian.data.io.journal import Journal
from bactrian.errors import BactrianError
from bactrian.judge.calibrated import CALIBRATION, JudgeCalibration
from bactrian.judge.calibration.thresholds import calibrate
from bactrian.judge.cascade_verdicts import CalibratedCascade, CascadeJudge
from bactrian.judge.opened import open_cascade
from bactrian.judge.opinions import AnswerPair, JudgeIdentity, OnOpinion, Opinion
from bactrian.recipe.recipe import load
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Manifest
from tests.judge.cascade_recipes import CALIBRATE, JUDGE, PAIRS, calibration_of, made, recipe, rows, write
from tests.model.tiny import write_tiny


def test_what_is_decided_is_chosen_by_the_judge_and_the_rest_is_kept_apart(ready: Path) -> None:
    steps = made(ready)
    found = JudgeCalibration.read(steps["calibrated"])
    (member,) = found.cascade.members
    assert member.threshold.calibrated and member.threshold.bound <= 0.2
    pairs = read_rows(steps["judged"], "pair")
    apart = [json.loads(line) for line in (steps["judged"] / "abstained.jsonl").read_text().splitlines()]
    account = json.loads((steps["judged"] / "judged.json").read_text())
    assert len(pairs) + len(apart) == 40 and account["abstained"] == len(apart) and pairs and apart
    assert sorted([row["place"] for row in pairs] + [row["place"] for row in apart]) == list(range(40))
    assert all(row["confidence"] >= member.threshold.value and row["judge"] == "judge" for row in pairs)
    assert all(row["confidences"]["judge"] < member.threshold.value for row in apart)
    assert not any("chosen" in row for row in apart)
    given = {row["id"]: row for row in rows(PAIRS, 40)}
    for pair in pairs:
        assert pair["chosen"][0]["content"] == given[pair["id"]][pair["verdict"]]
    assert account["bills"]["judge"]["comparisons"] == 40 and account["bills"]["judge"]["tokens_in"] > 0


def test_labels_that_rows_have_are_held_against_the_verdicts_and_shown_to_no_judge(ready: Path) -> None:
    recipe(ready, f"{CALIBRATE}\n{JUDGE.replace('fresh', 'labels')}")
    steps = made(ready)
    (member,) = JudgeCalibration.read(steps["calibrated"]).cascade.members
    account = json.loads((steps["judged"] / "judged.json").read_text())
    found = member.threshold
    assert (account["labelled"], account["agreed"]) == (found.n, found.n - found.errors) and found.n
    assert Manifest.read(steps["judged"]).metrics["calibrated_on"] == PAIRS


def test_a_calibration_set_of_ten_is_refused_before_anybody_is_asked(ready: Path) -> None:
    write(ready / "labels.jsonl", [{**row, "label": 1} for row in rows(0, 10)])
    recipe(ready, CALIBRATE.replace("alpha: 0.2, delta: 0.2, least: 10", "alpha: 0.1, delta: 0.1"))
    shutil.rmtree(ready / "judge")  # a judge that was asked would have to be there
    write_tiny(ready / "judge", "llama", seed=9)
    with pytest.raises(BactrianError, match="found labels for 10 prompts, expected 30 or more") as error:
        made(ready)
    assert "labels.jsonl" in str(error.value)


def test_labels_with_ties_only_are_refused(ready: Path) -> None:
    write(ready / "labels.jsonl", [{**row, "label": "tie"} for row in rows(0, 40)])
    recipe(ready, CALIBRATE)
    with pytest.raises(BactrianError, match="no row says which answer is preferred"):
        made(ready)


def test_items_of_one_prompt_count_as_one(ready: Path) -> None:
    lines = [
        {**row, "id": f"{row['id']}-{n}", "first": f"{row['first']} {n}", "label": 1}
        for row in rows(0, 9)
        for n in range(5)
    ]
    write(ready / "labels.jsonl", lines)
    recipe(ready, CALIBRATE)
    with pytest.raises(BactrianError, match="found labels for 9 prompts"):
        made(ready)


def test_a_model_that_has_changed_is_not_the_one_that_was_calibrated(ready: Path) -> None:
    calibration = calibration_of(ready)
    pair = AnswerPair("x", ({"role": "user", "content": "what ?"},), "yes", "no")
    assert len(open_cascade(calibration, Hardware()).verdicts([pair])) == 1
    shutil.rmtree(ready / "judge")
    write_tiny(ready / "judge", seed=5)
    with pytest.raises(BactrianError, match=r"judge judge: the calibration does not hold for it; model: calibrated"):
        open_cascade(calibration, Hardware()).verdicts([pair])
    shutil.rmtree(ready / "judge")
    with pytest.raises(BactrianError, match="where nothing is now"):
        open_cascade(calibration, Hardware()).verdicts([pair])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("rubric: follows_instruction", "rubric: calibrated with 'helpfulness', found 'follows_instruction'"),
        ("judges: [{model: judge, name: other}]", "judges: calibrated with judge, found other"),
        ("judges: [{model: judge, name: judge}]", "method: calibrated with 'its own likelihood of the answers', found"),
        ("demonstrations: shown.jsonl", "demonstrations: calibrated with none, found"),
    ],
)
def test_another_rubric_judge_or_demonstrations_are_refused_by_name(ready: Path, settings: str, told: str) -> None:
    write(ready / "shown.jsonl", [{"annotator": "a", "instruction": "x", "outputs": ["y", "z"], "label": 1}])
    recipe(ready, f"{CALIBRATE}\n{JUDGE[:-1]}, {settings}}}")
    with pytest.raises(BactrianError) as error:
        made(ready)
    assert told in str(error.value)


def test_demonstrations_that_are_calibrated_on_are_refused(ready: Path) -> None:
    row = rows(0, 1)[0]
    shown = {"annotator": "a", "prompt": row["prompt"], "outputs": ["yes", "no"], "label": 1}
    other = {**shown, "prompt": [{"role": "user", "content": "something else"}]}
    write(ready / "shown.jsonl", [other, shown])
    judge = "{model: judge, annotators: 1, shown: 1}"
    recipe(
        ready, CALIBRATE.replace("{likelihood: judge}", judge).replace("least", "demonstrations: shown.jsonl, least")
    )
    with pytest.raises(BactrianError, match="found 1 of 2 whose prompts are among the labelled pairs"):
        made(ready)


def test_a_judge_near_chance_is_an_artifact_that_nobody_may_use(ready: Path) -> None:
    """People who contradict it half the time: nothing is trusted, nothing is asked, nothing is guessed."""
    write(ready / "labels.jsonl", [{**row, "label": 1 + n % 2} for n, row in enumerate(rows(0, PAIRS))])
    recipe(ready, CALIBRATE)
    calibration = JudgeCalibration.read(made(ready)["calibrated"])
    assert not calibration.cascade.calibrated and calibration.expected["coverage"] == 0
    recipe(ready, f"{CALIBRATE}\n{JUDGE}")
    with pytest.raises(BactrianError, match=r"no judge of this calibration may be trusted:\njudge: .*always abstains"):
        made(ready)


def test_a_threshold_that_somebody_lowered_is_no_calibration(ready: Path) -> None:
    folder = calibration_of(ready)
    data = json.loads((folder / CALIBRATION).read_text())
    data["cascade"]["members"][0]["threshold"]["value"] = 0.5001
    (folder / CALIBRATION).write_text(json.dumps(data))
    with pytest.raises(BactrianError, match=f"{CALIBRATION}.*threshold"):
        JudgeCalibration.read(folder)


def test_a_step_that_is_no_calibration_is_refused_before_anything_runs(ready: Path) -> None:
    recipe(
        ready,
        f"{CALIBRATE}\nagain: {{stage: judge, data: fresh.jsonl, calibration: calibrated}}\n"
        f"{JUDGE.replace('calibration: calibrated', 'calibration: again')}",
    )
    with pytest.raises(BactrianError, match='"again", a step of stage judge, expected a step of stage calibrate'):
        load(ready / "r.yaml")


class CountingJudge:
    """A judge that says how often it was asked about each pair, and dies after some."""

    identity = JudgeIdentity("m", "r", "t", "s")

    def __init__(self, dies_after: int | None = None, chance: float = 0.9) -> None:
        self.asked, self.dies_after, self.chance = Counter[str](), dies_after, chance

    def compare(self, pairs: Sequence[AnswerPair], on_opinion: OnOpinion) -> None:
        for place, pair in enumerate(pairs):
            if self.dies_after is not None and self.asked.total() >= self.dies_after:
                raise BactrianError("no further opinion can be had")
            self.asked[pair.id] += 1
            fault = "prose" if pair.id == "p2" else ""
            said = (
                Opinion(calls=2, fault=fault) if fault else Opinion((self.chance, 1 - self.chance), False, 1.0, 2, 30)
            )
            on_opinion(place, said)


def test_a_killed_cascade_asks_nothing_twice(trusted: Path, tmp_path: Path) -> None:
    calibration = JudgeCalibration.read(calibration_of(trusted))
    threshold = next(t for t in (m.threshold for m in calibration.cascade.members) if t.calibrated)
    pairs = [AnswerPair(row["id"], tuple(row["prompt"]), row["first"], row["second"]) for row in rows(0, 12)]

    def run(judge: CountingJudge) -> Any:
        cascade = CalibratedCascade([CascadeJudge("j", judge.identity, threshold, lambda: judge)])
        with Journal(tmp_path / "opinions.jsonl") as journal:
            return cascade.verdicts(pairs, journal), cascade

    first, second = CountingJudge(dies_after=5), CountingJudge()
    with pytest.raises(BactrianError, match="no further opinion"):
        run(first)
    with (tmp_path / "opinions.jsonl").open("ab") as file:
        file.write(b'["half a li')  # the kill came in the middle of a line
    verdicts, cascade = run(second)
    assert not first.asked.keys() & second.asked.keys() and (first.asked + second.asked).total() == len(pairs)
    assert [each.abstains for each in verdicts].count(True) == 1 and verdicts[2].abstains  # the fault
    assert cascade.bills(verdicts)["j"].calls == 24 and cascade.bills(verdicts)["j"].tokens_in == 30 * 11
    silent = CountingJudge(dies_after=0)
    assert run(silent)[0] == verdicts


@pytest.mark.parametrize(("chance", "decided"), [(0.5, False), (0.51, True)])
def test_a_draw_is_no_verdict_however_low_the_threshold(chance: float, decided: bool) -> None:
    groups = [str(n) for n in range(40)]
    threshold = calibrate([0.5] * 40, [False] * 40, groups, alpha=0.2, delta=0.2, grid=[0.5])
    judge = CountingJudge(chance=chance)
    cascade = CalibratedCascade([CascadeJudge("j", judge.identity, threshold, lambda: judge)])
    (verdict,) = cascade.verdicts([AnswerPair("x", (), "a", "b")])
    assert threshold.value == 0.5 and verdict.abstains is not decided
