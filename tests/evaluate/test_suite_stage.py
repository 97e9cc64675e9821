"""The stage `evaluate` on public tasks and the commands around it, on a tiny model and a folder of small sets."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from small import SETS, run, write_sets, write_small

from bactrian.cli import main as cli
from bactrian.data.io.files import write_rows
from bactrian.errors import BactrianError
from bactrian.evaluate.evaluation import named
from bactrian.evaluate.ledger import Ledger
from bactrian.evaluate.task import Question
from bactrian.evaluate.task_rows import spread
from bactrian.recipe.recipe import load
from bactrian.report.run_record import ResultsRecord
from bactrian.run.keys import tasks as keyed
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Store
from bactrian.store.hardware import Hardware


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write_small(tmp_path_factory.mktemp(name), seed) for name, seed in (("one", 1), ("two", 2))}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return write_sets(tmp_path / "sets")


def test_results_say_everything_that_shaped_them(tmp_path: Path, models: dict[str, Path], data: Path) -> None:
    results = run(tmp_path / "a", models, data)
    assert [(s["task"], s["model"], s["questions"]) for s in results["scores"][:3]] == [
        ("mmlu", "one", 9),
        ("gsm8k", "one", 6),
        ("arc_easy", "one", 5),
    ]
    about = results["tasks"]["mmlu"]
    assert about["exemplars"] == 5 and about["macro"] and "dev 0?" in about["prompt_example"]
    for field in ("data_hash", "task_hash", "template_hash", "verifier", "max_new_tokens", "format", "files", "stop"):
        assert field in about
    score = results["scores"][0]
    assert score["interval"][0] <= score["score"] <= score["interval"][1] and len(score["groups"]) == 3
    assert {c["task"] for c in results["comparisons"]} == {"mmlu", "gsm8k", "arc_easy"}
    assert all(c["p_holm"] >= c["p"] for c in results["comparisons"])
    ResultsRecord.model_validate(results)  # what the report reads
    again = run(tmp_path / "a", models, data)
    assert all(s["reused"] == s["requests"] for s in again["scores"])
    assert [s["score"] for s in again["scores"]] == [s["score"] for s in results["scores"]]


def test_results_name_an_artifact_and_not_where_its_store_lies(tmp_path: Path) -> None:
    made, own = tmp_path / "artifacts" / "problems-12", tmp_path / "own.jsonl"
    made.mkdir(parents=True)
    (made / "manifest.json").touch()
    assert named(str(made)) == "problems-12" and named(str(own)) == str(own)


def test_a_suite_skips_what_is_absent_and_says_so(tmp_path: Path, models: dict[str, Path], data: Path) -> None:
    results = run(tmp_path, models, data, tasks=[], suite="base", limit=2)
    assert list(results["tasks"]) == ["arc_easy"] and "hellaswag" in results["absent"]
    with pytest.raises(BactrianError, match="task hellaswag: its data are not here"):
        run(tmp_path, models, data, tasks=["hellaswag"])


def test_unseen_tasks_want_a_reason_and_leave_a_look(tmp_path: Path, models: dict[str, Path], data: Path) -> None:
    with pytest.raises(ValidationError, match=r"gpqa: unseen, for final candidates only.*--final"):
        Evaluate(models=["m"], tasks=["gpqa"], folders=[str(data)])
    with pytest.raises(ValidationError, match="gpqa: unseen"):
        Evaluate(models=["m"], tasks=["gpqa"], folders=[str(data)], final=True, reason=" ")
    results = run(tmp_path, models, data, tasks=["gpqa"], final=True, reason="the paper", format="single")
    looks = Ledger(Store(tmp_path)).looks()
    assert [(look.task, look.model, look.reason) for look in looks] == [
        ("gpqa", "one", "the paper"),
        ("gpqa", "two", "the paper"),
    ]
    assert results["tasks"]["gpqa"]["looks"] == 2 and results["looks"] == [look.seal for look in looks]


def test_scores_without_the_questions_that_training_data_hold(
    tmp_path: Path, models: dict[str, Path], data: Path
) -> None:
    asked = [row["question"] for row in SETS["gsm8k_test.jsonl"][:2]]
    write_rows(
        [
            {
                "id": str(i),
                "source": "s",
                "license": "MIT",
                "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Hm."}],
            }
            for i, text in enumerate([*asked, "Something else that nobody asks in any test at all, ever."])
        ],
        tmp_path / "train",
    )
    results = run(tmp_path / "a", {"one": models["one"]}, data, [tmp_path / "train"])
    clean = {score["task"]: score["clean"] for score in results["scores"]}
    assert clean["gsm8k"]["held"] == 2 and clean["gsm8k"]["questions"] == 4
    assert clean["mmlu"]["held"] == 0
    assert run(tmp_path / "b", {"one": models["one"]}, data)["scores"][0]["clean"] is None


def test_a_changed_file_makes_other_settings(data: Path) -> None:
    def made(**more: Any) -> Evaluate:
        return Evaluate(models=["m"], tasks=["gsm8k"], folders=[str(data)], **more)

    assert made().files == {}, "settings are checked without any file"
    before = made().resolved()
    assert before == made().resolved() and set(before.files) == {"gsm8k"}
    (data / "gsm8k_test.jsonl").write_text(json.dumps(SETS["gsm8k_test.jsonl"][0]) + "\n")
    assert before != made().resolved()
    with pytest.raises(BactrianError, match="is not the file that these settings name"):
        made(files=before.files).questions()


def test_a_limit_takes_from_all_groups_in_turn() -> None:
    questions = [Question(str(i), group="aaabbc"[i]) for i in range(6)]
    assert [q.prompt for q in spread(questions, 4)] == ["0", "1", "3", "5"]
    assert spread(questions, None) == spread(questions, 6) == tuple(questions)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"tasks": ["gsm9k"]}, "no task is called 'gsm9k'; did you mean \"gsm8k\""),
        ({}, "expected problems (data, problems), texts or public tasks (suite, tasks)"),
        ({"data": "d", "problems": {"p": "d"}}, "found data and problems, expected one of them"),
        ({"tasks": {"p": "d"}}, "expected names of public tasks; problem sets: problems: {p: d}"),
        ({"tasks": ["gsm8k"], "problems": {"gsm8k": "d"}}, "'gsm8k' is the name of two tasks"),
        ({"tasks": ["gsm8k"], "limits": {"mmlu": 3}}, "'mmlu' is none of the tasks asked"),
    ],
)
def test_wrong_settings_are_told_at_once(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Evaluate(models=["m"], **wrong)
    assert message in str(error.value)


def test_a_folder_that_is_not_there_is_told_with_its_step(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "steps: {scores: {stage: evaluate, models: ['embedded:smollm2-135m'], tasks: [gsm8k], folders: [/nowhere]}}"
    )
    with pytest.raises(BactrianError, match=r'step "scores" \(stage evaluate\): /nowhere: no such folder'):
        keyed(load(tmp_path / "r.yaml"), Hardware())
    (tmp_path / "r.yaml").write_text("steps: {scores: {stage: suite, models: ['embedded:smollm2-135m'], suite: dev}}")
    with pytest.raises(BactrianError, match='unknown stage "suite", expected stage evaluate, with suite: …'):
        load(tmp_path / "r.yaml")


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli.commands, list(arguments), catch_exceptions=False)
    return result.output


def test_the_commands(tmp_path: Path, models: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = [f"{name}={path}" for name, path in models.items()]
    invoke(
        "eval",
        *places,
        "--tasks",
        "arc_easy,gsm8k",
        "--data",
        str(data),
        "--max-new-tokens",
        "4",
        "--limit",
        "4",
        "--dtype",
        "float32",
        "--format",
        "plain",
    )
    (made,) = (tmp_path / "runs" / "artifacts").glob("evaluate-*/")
    shown = invoke("compare", f"{made}:one", f"{made}:two")
    assert "arc_easy" in shown and "p (Holm)" in shown and "gained" in shown
    for form, mark in (("markdown", "| task |"), ("latex", r"\toprule"), ("html", "<table>"), ("json", '"tasks"')):
        assert mark in invoke("compare", f"{made}:one", f"{made}:two", "--to", form)
    with pytest.raises(BactrianError, match="holds the models one, two; name one"):
        invoke("compare", str(made), f"{made}:two")
    assert "points is found 80% of the time" in invoke("power", "-n", "1000")
    assert "questions find a paired difference of 2 points" in invoke("power", "--difference", "2", "--tests", "10")
    assert "0 looks; every seal fits" in invoke("ledger")
    assert "gsm8k" in invoke("eval", "none", "--list", "--data", str(data))
    written = invoke("eval", places[0], "--tasks", "arc_easy", "--data", str(data), "--harness", str(tmp_path / "h"))
    assert json.loads(Path(written.strip()).read_text())["output_type"] == "multiple_choice"
    assert "arc_easy" in invoke("scores", str(made), "--to", "markdown")
    assert (tmp_path / "out" / "one" / "samples_gsm8k.jsonl").name in invoke(
        "scores", str(made), "--to", "lm-eval", "--out", str(tmp_path / "out")
    )
    assert "spread over 2 runs" in invoke("scores", f"{made}:one", f"{made}:two")
