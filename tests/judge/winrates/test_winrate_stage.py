"""Stage `winrate`: recorded verdicts, a judge's, and what both leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.judge.winrates.answers import answer_pairs, judged_games, read_answers
from bactrian.judge.winrates.summary import win_rates


def annotation(model: str, number: int, preference: float | None, mine: str = "short") -> dict[str, Any]:
    """A row of AlpacaEval's annotations."""
    return {
        "instruction": f"question {number} <script>alert(1)</script>",
        "output_1": f"**base** answer {number}",
        "generator_1": "base",
        "output_2": mine + " x" * number,
        "generator_2": model,
        "annotator": "judge",
        "preference": preference,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def verdicts(tmp_path: Path) -> list[str]:
    """Two models: one wins two thirds, one a third; a verdict is missing of the second."""
    good = [annotation("good", n, 2.0 if n % 3 else 1.0) for n in range(30)]
    bad = [annotation("bad", n, 1.0 if n % 3 else 2.0, "# Head\n- item") for n in range(30)]
    bad[7]["preference"] = None
    return [written(tmp_path / "good.jsonl", good), written(tmp_path / "bad.jsonl", bad)]


def ran(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any], Path | None]:
    """Exit status, winrates.json and the artifact of `bactrian winrate ARGUMENTS`."""
    store = tmp_path / "store"
    status = invoke(["winrate", *arguments, "--store", str(store), "--resamples", "30"])
    folders = sorted((store / "artifacts").glob("winrate-*")) if status == 0 else []
    found = json.loads((folders[0] / "winrates.json").read_text()) if folders else {}
    return status, found, folders[0] if folders else None


def test_recorded_verdicts(verdicts: list[str], tmp_path: Path) -> None:
    status, found, folder = ran(tmp_path, *verdicts, "--baseline", "base")
    assert status == 0 and folder is not None
    rates = {each["model"]: each for each in found["models"]}
    assert rates["good"]["raw"]["rate"] == pytest.approx(2 / 3)
    assert rates["bad"]["prompts"] == 29 and rates["bad"]["abstained"] == found["abstained"] == 1
    low, high = rates["good"]["raw"]["interval"]
    assert low < 2 / 3 < high
    assert found["ratings"][0]["model"] == "good"
    rows = read_rows(folder)
    assert len(rows) == 60 and sum("probability" not in row for row in rows) == 1
    assert {row["fault"] for row in rows if "fault" in row} == {"no preference"}
    page = (tmp_path / "store" / "winrate" / "report.html").read_text()
    assert "good wins <strong>66.7" in page and "Nothing was measured" not in page
    assert "Win rates against base" in page and "&lt;script&gt;" in page and "<script>alert" not in page


def test_peoples_verdicts_correct_a_judge(tmp_path: Path) -> None:
    """A judge that gives the model everything; people, on a third of the prompts, give it half."""
    rows = [annotation("good", n, 1.9 + 0.1 * (n % 2)) for n in range(90)]
    by_model = [
        {"prompt": rows[n]["instruction"], "first": "good", "second": "base", "verdict": 1 + n % 2} for n in range(20)
    ]
    by_texts = [
        {
            "prompt": [],
            "first": rows[n]["output_1"],
            "second": rows[n]["output_2"],
            "label": None,
            "labels": {"ann": ("first", "second")[n % 2], "ben": "tie" if n < 22 else None},
        }
        for n in range(20, 30)
    ]
    people = written(tmp_path / "people.jsonl", [*by_model, *by_texts])
    data = written(tmp_path / "judge.jsonl", rows)
    status, found, _ = ran(tmp_path, data, "--baseline", "base", "--people", people)
    assert status == 0 and found["models"][0]["raw"]["rate"] > 0.9
    (powered,) = found["people"]
    assert (powered["labels"], powered["judged"]) == (30, 60)
    assert powered["people_rate"] == pytest.approx(0.5) and 0.4 < powered["rate"] < 0.6


def test_missing_prompts_stop_it(verdicts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Path(verdicts[1]).read_text().splitlines()
    Path(verdicts[1]).write_text("\n".join(rows[:-2]) + "\n")
    assert ran(tmp_path, *verdicts, "--baseline", "base")[0] == 2
    assert "bad has no comparison with base on 2 of 30 prompts" in capsys.readouterr().err


def test_answers_need_a_judge_and_verdicts_none(
    verdicts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = written(tmp_path / "a.jsonl", [{"instruction": "q", "output": "a", "generator": "one"}])
    assert ran(tmp_path, answers)[0] == 2
    assert "found answers and no judge" in capsys.readouterr().err
    assert ran(tmp_path, answers, verdicts[0])[0] == 2
    assert "found verdicts and answers" in capsys.readouterr().err


def answers_of(model: str, prompts: int, reference: str = "") -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"q{n}"}], "completion": f"{model} {n}", "model": model}
        | ({"reference": reference} if reference else {})
        for n in range(prompts)
    ]


def test_answers_are_paired_by_prompt_whatever_the_layout_and_order() -> None:
    ours = [each for row in answers_of("a", 4, "a person's") for each in read_answers(row, "row")]
    alpaca = [{"instruction": f"q{n}", "output": f"b {n}", "generator": "b"} for n in (3, 1, 0, 2)]
    theirs = [each for row in alpaca for each in read_answers(row, "row")]
    respond = [
        each
        for n in range(4)
        for each in read_answers(
            {"messages": [{"role": "user", "content": f"q{n}"}], "answers": [{"model": "c", "text": f"c {n}"}]}, "row"
        )
    ]
    met = answer_pairs([*ours, *theirs, *respond], "b")
    assert [(one, other) for one, other, _ in met] == [("a", "b")] * 4 + [("c", "b")] * 4
    assert all(pair.first.split()[1] == pair.second.split()[1] for _, _, pair in met)
    assert [pair.reference for _, _, pair in met[:4]] == ["a person's"] * 4
    assert len(answer_pairs([*ours, *theirs, *respond], None)) == 12


def test_a_prompt_without_an_answer_is_named() -> None:
    rows = [*answers_of("a", 4), *answers_of("b", 3)]
    answers = [each for row in rows for each in read_answers(row, "row")]
    with pytest.raises(BactrianError, match="b has no answer to 1 of 4 prompts, such as 'q3'"):
        answer_pairs(answers, "a")
    with pytest.raises(BactrianError, match="a answered 'q0' twice"):
        answer_pairs([*answers, answers[0]], "a")
    with pytest.raises(BactrianError, match="baseline: found 'z'"):
        answer_pairs(answers, "z")


def opinion(pair: AnswerPair) -> Opinion:
    """Of a judge that likes the longer answer, and fails on one prompt."""
    if "q2" in str(pair.prompt):
        return Opinion(fault="the server said nothing")
    longer = 0.9 if len(pair.first) > len(pair.second) else 0.1
    return Opinion((longer, 1 - longer), order_changed=False)


def test_a_judges_failures_are_kept_apart() -> None:
    rows = [*answers_of("long winded", 6), *answers_of("b", 6)]
    met = answer_pairs([each for row in rows for each in read_answers(row, "row")], "b")
    found = win_rates(judged_games(met, [opinion(pair) for _, _, pair in met]), "b", resamples=20)
    assert found["abstained"] == 1 and found["models"][0]["prompts"] == 5
    assert found["models"][0]["raw"]["rate"] == pytest.approx(0.9)
    assert found["position"]["both_orders"] == 5 and found["position"]["changed"] == 0
