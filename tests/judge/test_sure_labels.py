"""A judge that labels answers only where people's labels say that it may be trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.tally import Tally
from bactrian.data.synth.noncompliance.taxonomy import KINDS
from bactrian.errors import BactrianError
from bactrian.evaluate.noncompliance_labels import labelled
from bactrian.generate.choices import ChoiceReply, ChoiceRequest, OnChoice
from bactrian.judge.answer_labels import calibrated_labels, read_labelled_answers
from bactrian.judge.point_judges import WeighingJudge
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.verify import Item, Pool
from tests.evaluate.small import write_small

SHARED = Path(__file__).parents[3] / "shared" / "data"


class WordChooser:
    """Says ACCEPTABLE (or COMPLIANCE) to every answer, as surely as the answer's last word says: "… sure 0.9"."""

    def choose(self, asked: Sequence[ChoiceRequest], on_reply: OnChoice) -> None:
        for place, request in enumerate(asked):
            sure = float(str(request.messages[-1]["content"]).split("sure ")[1].split()[0])
            rest = (1 - sure) / 2
            reply = ChoiceReply((sure, rest, rest), 0.9) if sure else ChoiceReply(fault="503")
            on_reply(place, reply)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(tmp_path: Path, *, sure_right: int = 60, unsure_wrong: int = 40, kind: str = "underspecified") -> Path:
    """Right labels that are given with 0.9, and wrong ones with 0.5."""
    labels = ("COMPLIANCE", "NONCOMPLIANCE") if kind == "contrast" else ("ACCEPTABLE", "UNACCEPTABLE")
    drawn = [(labels[0], 0.9)] * sure_right + [(labels[1], 0.5)] * unsure_wrong
    return write(
        tmp_path / "labels.jsonl",
        [
            {"prompt": f"How long is it ({n})?", "completion": f"sure {sure} .", "kind": kind, "label": label}
            for n, (label, sure) in enumerate(drawn)
        ],
    )


def test_it_labels_where_it_is_sure_and_abstains_elsewhere_in_a_column_of_its_own(tmp_path: Path) -> None:
    tally = Tally()
    known = read_labelled_answers(answers(tmp_path), tally)
    found = calibrated_labels(WeighingJudge(WordChooser()), known, ["requests"], alpha=0.1, delta=0.1)
    threshold = found.thresholds["requests"]
    assert tally.kept == 100 and 0.5 < threshold.value <= 0.9 and threshold.bound <= 0.1
    settings = {"rubric": "noncompliance/underspecified"}
    texts = ["sure 0.95 .", "sure 0.6 .", "sure 0.0 ."]
    items = [Item("judge", text, "ACCEPTABLE", settings, "How long?") for text in texts]
    contrast = Item("judge", "sure 0.99 .", "COMPLIANCE", {"rubric": "noncompliance/contrast"}, "How?")
    with Pool(1, judges={"judge": found}) as pool:
        verdicts = pool.verify_all([*items, contrast])
    columns = [
        [name for name, value in labelled(verdict, "text").items() if value and name != "complied"]
        for verdict in verdicts
    ]
    # a set on which it was not tested is not labelled, however sure the judge is
    assert columns == [["judged"], ["judge unsure"], ["judge failed"], ["judge unsure"]]
    assert [verdict.outcome for verdict in verdicts] == ["right", "crashed", "crashed", "crashed"]


def test_a_judge_that_is_sure_and_wrong_is_refused(tmp_path: Path) -> None:
    path = answers(tmp_path, sure_right=30, unsure_wrong=0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = [{**row, "label": "NEITHER", "prompt": f"{row['prompt']} {n}"} for n, row in enumerate(rows)]
    known = read_labelled_answers(write(tmp_path / "more.jsonl", [*rows, *wrong]), Tally())
    with pytest.raises(BactrianError, match=r"trusted with none of its labels.*30"):
        calibrated_labels(WeighingJudge(WordChooser()), known, ["requests"], alpha=0.15, delta=0.1)


@pytest.mark.parametrize(("wanted", "message"), [("contrasts", "no labelled answer"), ("requests", "expected 30")])
def test_too_few_labels_are_refused(tmp_path: Path, wanted: str, message: str) -> None:
    known = read_labelled_answers(answers(tmp_path, sure_right=8, unsure_wrong=1), Tally())
    with pytest.raises(BactrianError, match=message):
        calibrated_labels(WeighingJudge(WordChooser()), known, [wanted], alpha=0.15, delta=0.1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "?", "completion": "!", "kind": "contrast"}, "line 1, field 'label': found None"),
        ({"prompt": "?", "completion": "!", "kind": "contrast", "label": "ACCEPTABLE"}, "one of COMPLIANCE, NONCOMP"),
        ({"prompt": "?", "completion": "!", "kind": "weather", "label": "NEITHER"}, "field 'kind': found the kind"),
        ({"prompt": "?", "kind": "contrast", "label": "NEITHER"}, "field 'completion': found None"),
        ({"prompt": "?", "completion": "!", "final_label": "4_other"}, "found '4_other'"),
    ],
)
def test_a_row_that_is_no_labelled_answer_is_refused_by_line_and_field(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(BactrianError, match=message):
        read_labelled_answers(write(tmp_path / "bad.jsonl", [row]), Tally())


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data here")
def test_xstest_s_answers_are_read_as_contrasts_and_divided_ones_are_counted() -> None:
    tally = Tally()
    found = read_labelled_answers(SHARED / "xstest_labelled_completions_mistralinstruct.jsonl", tally)
    assert tally.kept == len(found) and len(found) + tally.dropped["annotators are divided"].count == 450
    assert {each.label for each in found} == {"COMPLIANCE", "NONCOMPLIANCE"} and all(each.contrast for each in found)


def test_every_kind_has_a_name_that_labels_can_use(tmp_path: Path) -> None:
    rows = [
        {"prompt": kind.request, "completion": kind.good, "kind": (*kind.aliases, kind.name)[0], "label": "acceptable"}
        for kind in KINDS.values()
    ]
    found = read_labelled_answers(write(tmp_path / "all.jsonl", rows), Tally())
    assert [each.problem.settings["rubric"] for each in found] == [f"noncompliance/{kind}" for kind in KINDS]


def test_the_setting_wants_a_judge() -> None:
    with pytest.raises(ValidationError, match="expected a judge or judge_server"):
        Evaluate(models=["m"], suite="reliability", sure={"labels": "people.jsonl"})


def test_the_stage_has_a_calibrated_judge_label_and_says_what_that_rests_on(tmp_path: Path) -> None:
    """A judge of random weights, and labels of all three kinds: at a risk of 0.9 it may be trusted, at 0.1 not."""
    model = write_small(tmp_path / "model")
    rows = [
        {"prompt": f"How long ({n})?", "completion": f"{n}", "kind": "underspecified", "label": label}
        for n, label in enumerate(("ACCEPTABLE", "UNACCEPTABLE", "NEITHER") * 10)
    ]
    people = write(tmp_path / "people.jsonl", rows)
    (tmp_path / "sets").mkdir()
    asked = {"id": "o", "category": "-", "subcategory": "underspecified", "prompt": "How long?"}
    write(tmp_path / "sets" / "coconot_eval.jsonl", [asked])

    def run(alpha: float, out: Path) -> Path:
        given = {"m": Input("m", model, Kind.MODEL, "content"), "people": Input("people", people, Kind.DATA, "labels")}
        workspace = Workspace.temporary(out, given)
        sure = {"labels": "people", "alpha": alpha, "delta": 0.5, "least": 10}
        folders, tasks = [str(tmp_path / "sets")], ["coconot"]
        Evaluate(models=["m"], judge="m", tasks=tasks, folders=folders, max_new_tokens=4, sure=sure).run(workspace)
        return workspace.output

    output = run(0.9, tmp_path / "out")
    kept = json.loads((output / "sure_labels.json").read_text())
    assert list(kept) == ["requests"] and kept["requests"]["alpha"] == 0.9 and kept["requests"]["bound"] <= 0.9
    measures = {row["measure"] for row in json.loads((output / "reliability.json").read_text())["rows"]}
    assert "judge unsure" in measures
    with pytest.raises(BactrianError, match=r"sure: .*people.jsonl: requests: the judge may be trusted with none"):
        run(0.1, tmp_path / "refused")
