"""One command on a user's own file, with a tiny model: what it makes, what it says, and when it makes it again."""

import json
from pathlib import Path
from typing import Any

import pytest

import bactrian as bt
from bactrian.cli.main import invoke
from bactrian.data.io.provenance import read_provenance
from bactrian.store.manifest import Manifest
from tests.test_own_data import LAYOUTS, stored

SHORT = ["--epochs", "1", "--batch-size", "3"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.model.tiny import write_tiny

    return str(write_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bactrian.run.make.prepare", lambda hardware, seed: None)
    monkeypatch.setenv("BACTRIAN_NO_REEXEC", "1")
    monkeypatch.chdir(tmp_path)


def rows(layout: str, count: int = 4) -> list[dict[str, Any]]:
    return [LAYOUTS[layout][0](i) for i in range(1, count + 1)]


def steps(run: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in json.loads(Path(f"runs/{run}/run.json").read_text())["steps"]}


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert invoke(arguments) == status
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_sft_on_a_sharegpt_file_in_one_command(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = stored(Path(), rows("sharegpt"), "jsonl")
    command = ["sft", "--model", tiny, "--data", str(file), *SHORT]
    output = said(capsys, *command)
    assert output.count("no licence is stated for mine.jsonl") == 1
    made = steps("sft")
    assert list(made) == ["mine", "sft"]
    tuned, source = (Path("runs") / made[name]["path"] for name in ("sft", "mine"))
    assert any("unclear" in licence.marks for licence in Manifest.read(tuned).licences)
    assert Manifest.read(tuned).metrics["rows_kept"] == 4
    (record,) = read_provenance(source)
    assert record["path"] == "mine.jsonl" and record["rows"] == 4
    assert "nothing to make" in said(capsys, *command)
    planned = said(capsys, "sft", "--model", tiny, "--data", "nowhere.jsonl", status=2)
    assert "does not exist" in planned
    stored(Path(), rows("sharegpt", 5), "jsonl")
    assert "nothing to make" not in said(capsys, *command)
    assert {name: step["path"] for name, step in steps("sft").items()} != {n: s["path"] for n, s in made.items()}
    assert "no licence is stated" not in said(capsys, *command, "--license", "CC0-1.0")
    ours = bt.sft(model=tiny, data=str(file), epochs=1.0, batch_size=3, license="CC0-1.0", seed=0)
    assert ours.path.resolve() == (Path("runs") / steps("sft")["sft"]["path"]).resolve()


def test_plan_shows_the_step_in_front_and_only_makes_it_along(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    stored(Path(), rows("pair of texts"), "csv")
    lines = ["name: own", "steps:", f"  tuned: {{stage: dpo, model: {tiny}, data: mine.csv, batch_size: 2}}"]
    Path("r.yaml").write_text("\n".join(lines) + "\n")
    planned = said(capsys, "plan", "r.yaml")
    assert "mine " in planned and "source" in planned and "no licence is stated for mine.csv" in planned
    said(capsys, "run", "r.yaml", "--only", "tuned")
    assert list(steps("own")) == ["mine", "tuned"]
    Path("r.yaml").write_text("licences: strict\n" + Path("r.yaml").read_text())
    for command in ("plan", "run"):
        assert "mine.csv states no licence" in said(capsys, command, "r.yaml", status=2)


def test_kto_on_labelled_answers_of_a_csv(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = [{**row, "label": ("true", "false")[i % 2]} for i, row in enumerate(rows("feedback of texts"))]
    stored(Path(), labelled, "csv")
    said(capsys, "kto", "--model", tiny, "--data", "mine.csv", "--batch-size", "2")
    assert Manifest.read(Path("runs") / steps("kto")["kto"]["path"]).metrics["rows_kept"] == 4


def test_a_benchmark_of_one_s_own_from_two_csvs(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    stored(Path(), [{"frage": row["question"], "loesung": row["answer"]} for row in rows("question, number")], "csv")
    stored(Path(), [{"frage": row["question"], "loesung": row["answer"]} for row in rows("gsm8k")], "csv", "other")
    options = ["--columns", "question=frage,answer=loesung", "--max-new-tokens", "2", "--dtype", "float32"]
    output = said(capsys, "eval", tiny, "--data", "mine.csv", "--data", "sums=other.csv", *options)
    results = json.loads((Path("runs") / steps("eval")["evaluate"]["path"] / "results.json").read_text())
    assert {(score["task"], score["questions"]) for score in results["scores"]} == {("mine", 4), ("sums", 4)}
    assert "answers are checked by the verifier math" in output and "by the verifier gsm8k" in output


def test_rows_of_another_step_are_looked_at_before_a_model_is_loaded(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["steps:", "  sums: {stage: problems, tasks: [{source: sums, count: 4}]}"]
    lines += [f"  tuned: {{stage: dpo, model: {tiny}, data: sums}}"]
    Path("r.yaml").write_text("\n".join(lines) + "\n")
    output = said(capsys, "run", "r.yaml", status=2)
    assert 'step "tuned" (stage dpo): field "data": found' in output and "row 1: a problem row" in output
    assert "bactrian rlvr" in output
