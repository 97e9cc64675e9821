"""The toolkit from Python: same artifacts and keys as the command line, handles to what was made, clear mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bactrian as bt
from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.run.keys import tasks
from bactrian.run.python import rows_file
from bactrian.store.artifact import Store
from tests.stages.test_training_stages import write_inputs

ROWS = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in [("a", "b")] * 3
]


def model(folder: Path) -> str:
    from tests.model.tiny import write_tiny

    return str(write_tiny(folder / "tiny"))


def test_a_recipe_in_code_has_the_keys_of_its_yaml(fakes: list[str], tmp_path: Path) -> None:
    recipe = bt.Recipe("small", seed=17, hardware={"dtype": "float32", "threads": 1, "device": "cpu"}, store="runs")
    recipe.step("data", "letters", count=2).step("sft", "blend", data="data", steps=2)
    recipe.step("scores", "compare", models=["sft"])
    Path("r.yaml").write_text(recipe.to_yaml())
    ours = recipe.run()
    assert cli.invoke(["run", "r.yaml"]) == 0  # makes nothing: all is there
    steps = json.loads(Path("runs/small/run.json").read_text())["steps"]
    assert {step["name"]: step["status"] for step in steps}.keys() == {"data", "sft", "scores"} == set(ours)
    assert len(fakes) == 3
    checked = recipe.check()
    assert [task.key for task in tasks(checked, checked.hardware.decide())] == [step["key"] for step in steps]


def test_run_takes_a_file_and_overrides(fakes: list[str]) -> None:
    Path("r.yaml").write_text("name: small\nsteps: {data: {stage: letters, count: 2}}\n")
    first = bt.run("r.yaml")
    second = bt.run("r.yaml", overrides={"data.count": 3})
    assert first["data"].path != second["data"].path
    with pytest.raises(KeyError, match="no step 'dat'; made are: data"):
        first["dat"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cuont": 2}, 'field "cuont"'),
        ({"count": "two"}, 'field "count"'),
        ({"stage": "lettres"}, 'did you mean "letters"'),
    ],
)
def test_mistakes_are_those_of_a_recipe(fakes: list[str], change: dict[str, Any], said: str) -> None:
    recipe = bt.Recipe("small").step("data", **{"stage": "letters", **change})
    with pytest.raises(BactrianError, match=said):
        recipe.run()
    with pytest.raises(BactrianError, match="two steps are called 'data'"):
        recipe.step("data", "letters")


def test_rows_are_one_file_by_content_and_must_be_json(tmp_path: Path) -> None:
    path = rows_file(ROWS, tmp_path)
    assert path == rows_file(iter(ROWS), tmp_path) != rows_file(ROWS[:2], tmp_path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS
    with pytest.raises(BactrianError, match=r"row 2 of the rows given: .*complex"):
        rows_file([{"a": 1}, {"a": 1j}], tmp_path)
    with pytest.raises(BactrianError, match="found no rows"):
        bt.sft(model="embedded:smollm2-135m", data=[])
    with pytest.raises(BactrianError, match="row 1"):
        rows_file([{"a": float("nan")}], tmp_path)


def test_a_stage_is_a_function_and_the_command_line_finds_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    start = model(tmp_path)
    tuned = bt.sft(model=start, data=ROWS, epochs=1, batch_size=3, hardware={"dtype": "float32"})
    assert (
        isinstance(tuned, bt.Model) and (tuned.path / "model.safetensors").is_file() and tuned.metrics["rows_kept"] == 3
    )
    again = bt.sft(model=Path(start), data=ROWS, epochs=1, batch_size=3, hardware={"dtype": "float32"})
    assert again.path == tuned.path
    capsys.readouterr()
    rows = next(Path("runs/given").glob("*.jsonl"))
    said = ["--epochs", "1", "--batch-size", "3"]
    assert cli.invoke(["sft", "--model", start, "--data", str(rows), *said]) == 0
    if bt.load("sft", run="sft").manifest == tuned.manifest:  # where auto is float32, it is the very artifact
        assert "nothing to make" in capsys.readouterr().err
    answers = tuned.generate(["a", "b"], max_new_tokens=4)
    assert len(answers) == 2 and answers == tuned.generate(["a", "b"], max_new_tokens=4)
    assert tuned.generate([[{"role": "user", "content": "a"}]], max_new_tokens=4) == answers[:1]
    with pytest.raises(BactrianError, match="prompt 0"):
        tuned.generate("a", max_new_tokens=10_000)
    page = tuned._repr_html_()
    assert "sft" in page and tuned.manifest is not None and tuned.manifest.content_hash[:16] in page


def test_results_are_read_and_shown_without_markup(tmp_path: Path) -> None:
    score = {"task": "t", "mode": "greedy", "score": 0.5, "interval": [0.4, 0.6], "questions": 9}
    scores = [{"model": "<b>base</b>", **score}, {"model": "tuned", **score, "score": 0.75}]
    (tmp_path / "results.json").write_text(json.dumps({"scores": scores, "comparisons": []}))
    results = bt.Results("r", tmp_path)
    assert results.score("tuned") == 0.75 and results.comparisons == []
    assert results._repr_html_().count("<table>") == 1
    with pytest.raises(BactrianError, match=r"found 0 scores, expected one of: .*tuned, t, greedy"):
        results.score("other")
    assert "<b>" not in results._repr_html_() and "&lt;b&gt;base" in results._repr_html_()
    apart = {
        "before": "<b>base</b>",
        "after": "tuned",
        "task": "t",
        "difference": 0.25,
        "interval": [0.1, 0.4],
        "p": 0.01,
    }
    (tmp_path / "results.json").write_text(json.dumps({"scores": scores, "comparisons": [apart]}))
    page = bt.Results("r", tmp_path)._repr_html_()
    assert "<b>" not in page and "+25.0%</td><td>+10.0% to +40.0%</td><td>0.01</td>" in page


def test_load_finds_steps_files_and_folders(fakes: list[str], tmp_path: Path) -> None:
    made = bt.Recipe("small").step("data", "letters", count=2).run()["data"]
    assert bt.load("data", run="small") == bt.load(made.path) == made
    key = made.path.name.rpartition("-")[2][:8]
    assert bt.load(key).path == made.path
    with pytest.raises(BactrianError, match="no artifact"):
        bt.load("nothing-of-this-name")


def test_data_are_iterated_row_by_row(tmp_path: Path) -> None:
    write_inputs(tmp_path, "float32")
    data = bt.load(tmp_path / "problems.jsonl")
    assert isinstance(data, bt.Data) and len(data) == len(list(data)) > 0 and "messages" in next(iter(data))


def test_packages_are_functions_too_and_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys, bactrian as bt\n"
        "assert bt.run.__name__ == 'bactrian.run' and bt.evaluate.__name__ == 'bactrian.evaluate'\n"
        "from bactrian.run.runner import run\n"
        "import bactrian.evaluate.statistics\n"
        "assert callable(bt.run) and callable(bt.evaluate) and bactrian_run()\n"
        "assert 'sft' in dir(bt) and bt.sft.__name__ == 'sft' and 'cross-entropy' in bt.sft.__doc__\n"
        "try: bt.stf\n"
        "except AttributeError as error: assert 'stages are' in str(error)\n"
        "else: raise SystemExit('stf was found')\n"
    ).replace("bactrian_run()", "bt.run.runner.run is run")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    light = "import bactrian, sys; assert not {'torch', 'pydantic', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", light]).returncode == 0


def test_a_store_of_ones_own(fakes: list[str], tmp_path: Path) -> None:
    run = bt.Recipe("small", store=tmp_path / "mine").step("data", "letters", count=2).run()
    assert (
        run["data"].path.is_relative_to(tmp_path / "mine") and run.report == tmp_path / "mine" / "small" / "report.html"
    )
    assert Store(tmp_path / "mine").locate("data", "small") == run["data"].path
    assert 'sandbox="allow-scripts"' in run._repr_html_()
