"""Stage `score` with a judge that compares: accuracy by section, its calibration, and how often the order decides."""

import json
import math
from pathlib import Path

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.judge.answer_scores import half_log_odds
from bactrian.judge.opinions import Opinion
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store
from tests.generate.chat_server import Handler, completion, serving

RECIPE = """\
name: compared
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  scored: {stage: score, data: pairs.jsonl, compare: helpfulness, by: subset, sections: rewardbench,
           judge_server: {url: URL, model: m, backoff: 0.01, tries: 2}}
"""
SUBSETS = ("alpacaeval-easy", "alpacaeval-easy", "alpacaeval-easy", "hep-python", "hep-python")
SAID = ("good", "good", "good", "fine", "odd")


def write_inputs(folder: Path, url: str) -> None:
    rows = [
        {
            "id": f"p{number}",
            "prompt": [{"role": "user", "content": f"Say {number}."}],
            "chosen": [{"role": "assistant", "content": f"{word} {number}"}],
            "rejected": [{"role": "assistant", "content": f"poor {number}"}],
            "subset": subset,
            "source": "test",
            "license": "MIT",
        }
        for number, (subset, word) in enumerate(zip(SUBSETS, SAID, strict=True))
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "r.yaml").write_text(RECIPE.replace("URL", url))


def behave(handler: Handler, content: str, nth: int) -> None:
    """Likes what is good, in either place; of what is fine, whichever comes first; refuses to look at what is odd."""
    if "odd 4" in content:
        handler.give(400, b'{"error": {"message": "not this one"}}')
        return
    first = content.split("<answer A ")[1].split("</answer A")[0] if "<answer A" in content else "A"
    a = 0.9 if "good" in first or ("fine" not in first and "good" not in content) else 0.1
    a = 0.7 if "fine" in content else a
    top = [{"token": token, "logprob": math.log(p)} for token, p in (("A", a), ("B", 1 - a))]
    body = json.loads(completion("A"))
    body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": math.log(a), "top_logprobs": top}]}
    handler.give(200, json.dumps(body).encode())


def test_pairs_scored_by_a_judge_that_compares_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RewardBench's report of a judge, from the command line."""
    monkeypatch.chdir(tmp_path)
    with serving(behave) as (url, _):
        write_inputs(tmp_path, url)
        judge = json.dumps({"url": url, "model": "m", "backoff": 0.01, "tries": 2})
        how = ["--compare", "helpfulness", "--by", "subset", "--sections", "rewardbench"]
        command = ["score", "--data", "pairs.jsonl", "--judge-server", judge, *how, "--store", "runs"]
        assert invoke(command) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "Reasoning" in told.out + told.err
    folder = next((tmp_path / "runs" / "artifacts").glob("score-*"))
    found, rows = json.loads((folder / "scores.json").read_text()), read_rows(folder)
    assert len(rows) == 4 and "refused with 400" in (folder / "README.md").read_text()
    for row in rows[:3]:
        assert row["chosen_reward"] - row["rejected_reward"] == pytest.approx(math.log(9))
    assert rows[3]["chosen_reward"] == pytest.approx(0.0, abs=1e-9)  # both orders disagree: it knows nothing
    assert found["order_changed"]["pairs"] == 4 and found["order_changed"]["share"] == 0.25
    assert {each["name"]: each["accuracy"] for each in found["sections"]}["Chat"] == 1.0
    assert found["calibration"]["loss"] == pytest.approx((3 * -math.log(0.9) + math.log(2)) / 4)


def test_comparing_needs_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(BactrianError, match="compare: expected a judge"):
        load(Path("r.yaml"), ("scored.judge_server=null",))


def test_certainty_leaves_finite_odds() -> None:
    sure = half_log_odds(Opinion((1.0, 0.0), False, 1.0))
    assert isinstance(sure, float) and math.isfinite(sure) and sure > 6
    assert half_log_odds(Opinion(fault="prose")) == "no opinion: prose"


RATED = RECIPE.replace("compare: helpfulness, by: subset, sections: rewardbench,", "rubric: RUBRIC,")


def rates(handler: Handler, content: str, nth: int) -> None:
    """10 for what is good, 1 for the rest."""
    handler.give(200, completion(f"Rating: {10 if 'good' in content.partition('<answer ')[2] else 1}"))


@pytest.mark.parametrize("recipe", [RECIPE, RATED.replace("RUBRIC", "kindness counts")])
def test_a_kill_loses_nothing_that_the_judge_said(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes away after some answers; made again, the step asks only for the others."""
    monkeypatch.chdir(tmp_path)
    there = [False]
    judging = behave if recipe == RECIPE else rates

    def goes(handler: Handler, content: str, nth: int) -> None:
        if not there[0] and any(f"Say {n}." in content for n in (2, 3, 4)):
            handler.give(500)
        else:
            judging(handler, content, nth)

    with serving(goes) as (url, handler):
        write_inputs(tmp_path, url)
        (tmp_path / "r.yaml").write_text(recipe.replace("URL", url).replace("tries: 2", "tries: 2, concurrency: 1"))
        with pytest.raises(BactrianError):
            runner.run(load(Path("r.yaml"), ()), Store(Path("runs")))
        before = {body["messages"][-1]["content"] for body in handler.bodies}
        there[0] = True
        handler.bodies.clear()
        (record,) = runner.run(load(Path("r.yaml"), ()), Store(Path("runs")))
        again = " ".join(body["messages"][-1]["content"] for body in handler.bodies)
    assert any("Say 0." in text for text in before)
    assert "Say 0." not in again and "Say 4." in again
    assert json.loads((tmp_path / "runs" / str(record.path) / "scores.json").read_text())["scorer"] == "m"


def test_a_rubric_in_a_file_beside_the_recipe_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "elsewhere"
    away.mkdir()
    monkeypatch.chdir(away)  # the file is looked for beside the recipe
    (tmp_path / "kind.md").write_text("Kindness counts.\nNothing else does.\n")

    def made() -> tuple[str, set[str]]:
        handler.bodies.clear()
        (record,) = runner.run(load(tmp_path / "r.yaml", ()), Store(tmp_path / "runs"))
        return str(record.path), {body["messages"][-1]["content"] for body in handler.bodies}

    with serving(rates) as (url, handler):
        write_inputs(tmp_path, url)
        text = (
            RATED.replace("URL", url).replace("RUBRIC", "kind.md").replace("pairs.jsonl", str(tmp_path / "pairs.jsonl"))
        )
        (tmp_path / "r.yaml").write_text(text)
        first, asked = made()
        assert asked and all("What counts: Kindness counts.\nNothing else does." in text for text in asked)
        assert made() == (first, set())
        (tmp_path / "kind.md").write_text("Brevity counts.")
        second, asked = made()
        assert second != first and all("What counts: Brevity counts." in text for text in asked)
    (tmp_path / "kind.md").write_text(" \n")
    with pytest.raises(BactrianError, match=r"rubric: .*kind.md: found '', expected a text that says what counts"):
        runner.run(load(tmp_path / "r.yaml", ()), Store(tmp_path / "runs"))
    (tmp_path / "kind.md").unlink()
    with pytest.raises(BactrianError, match=r'field "rubric": found "kind.md", and there is no file kind.md, expected'):
        load(tmp_path / "r.yaml", ())


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ("calibrate, labels: pairs.jsonl, judges: [{recorded: j}]", "rubric"),
        ("judge, data: pairs.jsonl, calibration: c", "rubric"),
        ("winrate, data: [pairs.jsonl]", "rubric"),
        ("score, data: pairs.jsonl, judge: j", "compare"),
    ],
)
def test_every_stage_that_asks_by_a_rubric_takes_it_from_a_file(
    stage: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, "http://127.0.0.1:1/v1")
    (tmp_path / "c").mkdir()
    (tmp_path / "rules.txt").write_text("Which of them is shorter?")
    (tmp_path / "r.yaml").write_text(f"steps:\n  s: {{stage: {stage}, {field}: rules.txt}}\n")
    given = load(tmp_path / "r.yaml", given_changes(stage))
    assert getattr(given.steps[0].stage.resolved(), field) == "Which of them is shorter?\n"
    plain = load(tmp_path / "r.yaml", (f"s.{field}=Which is shorter?", *given_changes(stage)))
    assert getattr(plain.steps[0].stage.resolved(), field) == "Which is shorter?"


def given_changes(stage: str) -> tuple[str, ...]:
    return ("s.judge=embedded:smollm2-135m",) if "judge: j" in stage else ()
