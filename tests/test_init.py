"""`bactrian init`: each combination of answers gives a recipe that plans, or is refused with what would do."""

import itertools
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bactrian.cli.init_command import init_command
from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import first_recipe
from bactrian.run.first_recipe import AIMS, USES, InitAnswers, likeliest, look, write_recipe
from bactrian.store import hardware
from bactrian.store.artifact import Store

ROWS: dict[str, dict[str, Any]] = {
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]},
    "alpaca": {"instruction": "Say one.", "input": "", "output": "One."},
    "pairs": {"prompt": "What is red?", "chosen": "A colour.", "rejected": "No."},
    "feedback": {"prompt": "What is red?", "completion": "A colour.", "label": True},
    "questions": {"question": "What is 3 + 4?", "answer": "3 and 4 is 7.\n#### 7"},
}
SUITS = {
    "sharegpt": ["sft"],
    "alpaca": ["sft"],
    "pairs": ["preference"],
    "feedback": ["preference"],
    "questions": ["sft", "rl", "evaluation"],
}
LATER = {"feedback": {"label": False}}  # of every second row


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bactrian.run.plan.measure_speed", lambda hardware: 1e11)
    for name, row in ROWS.items():
        rows = [row | (LATER.get(name, {}) if number % 2 else {}) for number in range(30)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    yield tmp_path


def written(name: str, aim: Any, **given: Any) -> Any:
    data = f"{name}.jsonl"
    answers = InitAnswers("embedded:smollm2-135m", data, aim, **given)
    return write_recipe(Path("recipe.yaml"), answers, look(data), Store(Path("runs")), force=True)


def test_what_rows_are_good_for(files: Path) -> None:
    for name, suits in SUITS.items():
        found = look(f"{name}.jsonl")
        assert [use.aim for use in found.suits] == suits, name
        assert likeliest(found) == suits[0] and found.rows == 30


@pytest.mark.parametrize(("device", "minutes"), [("auto", None), ("cpu", 5.0)])
def test_each_combination_plans_or_says_what_would(files: Path, device: Any, minutes: float | None) -> None:
    for name, aim in itertools.product(ROWS, AIMS):
        if aim in SUITS[name]:
            plan = written(name, aim, device=device, minutes=minutes).plan
            recipe = load(Path("recipe.yaml"))
            assert [step.name for step in plan.steps] == [step.name for step in recipe.steps]
            assert recipe.name == f"{name}-{aim}" and recipe.hardware.device == device
            stage = recipe.steps[-1].stage
            assert stage.name in {use.stage for use in USES if use.aim == aim}
            if aim != "evaluation":
                assert stage.seconds_limit() == (None if minutes is None else 300)
        else:
            with pytest.raises(BactrianError, match=f"do not suit {aim}, which needs .*they suit {SUITS[name][0]}"):
                written(name, aim, device=device, minutes=minutes)


def test_feedback_and_pairs_are_different_stages(files: Path) -> None:
    assert [step.stage for step in written("pairs", "preference").plan.steps][-1] == "dpo"
    assert [step.stage for step in written("feedback", "preference").plan.steps][-1] == "kto"


def test_adapters_where_the_memory_would_not_do(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(written("alpaca", "sft").path).steps[-1].stage.adapter is None  # type: ignore[attr-defined]
    monkeypatch.setattr("bactrian.run.plan.device_memory", lambda device: 2**30)
    stage: Any = load(written("alpaca", "sft").path).steps[-1].stage
    assert stage.adapter.rank == 16 and stage.learning_rate == pytest.approx(2e-4)


def test_an_evaluation_is_cut_to_the_time_that_there_is(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("questions.jsonl").write_text((json.dumps(ROWS["questions"]) + "\n") * 500)
    whole: Any = load(written("questions", "evaluation").path).steps[-1].stage
    assert whole.limit is None
    found = written("questions", "evaluation", minutes=0.5)
    stage: Any = load(found.path).steps[-1].stage
    assert first_recipe.FEWEST <= stage.limit < 500


def test_the_first_line_leads_to_the_schema(files: Path) -> None:
    line = written("alpaca", "sft").path.read_text().splitlines()[0]
    schema = Path(line.removeprefix("# yaml-language-server: $schema="))
    assert "track" in json.loads(schema.read_text())["properties"]


def test_no_file_is_replaced_unless_asked(files: Path) -> None:
    Path("recipe.yaml").write_text("mine")
    asked = ["init", "--data", "alpaca.jsonl", "--yes"]
    assert invoke(asked) == 2 and Path("recipe.yaml").read_text() == "mine"
    assert invoke([*asked, "--force"]) == 0 and "stage: sft" in Path("recipe.yaml").read_text()


def test_questions_are_asked_where_no_option_answers_them(files: Path) -> None:
    given = "\nquestions.jsonl\nrl\ncpu\n30\n"
    done = CliRunner().invoke(init_command, ["mine.yaml"], input=given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    stage: Any = load(Path("mine.yaml")).steps[-1].stage
    assert stage.name == "rlvr" and stage.seconds_limit() == 1800
    assert "good for: sft, rl, evaluation" in done.output


def test_a_recipe_elsewhere_finds_its_data(files: Path) -> None:
    assert invoke(["init", "there/mine.yaml", "--data", "alpaca.jsonl", "--yes"]) == 0
    assert f'data: "{files.resolve()}/alpaca.jsonl"' in Path("there/mine.yaml").read_text()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("absent.jsonl", "no file here"),
        ("empty.jsonl", "no row that can be read"),
        ("odd.jsonl", "suit none of the aims"),
    ],
)
def test_data_that_cannot_be_used(files: Path, capsys: pytest.CaptureFixture[str], data: str, said: str) -> None:
    Path("empty.jsonl").write_text("\n")
    Path("odd.jsonl").write_text('{"height": 3, "width": 4}\n' * 5)
    assert invoke(["init", "--data", data, "--yes"]) == 2
    assert said in capsys.readouterr().err and not Path("recipe.yaml").exists()


def test_names_that_yaml_would_stumble_over(files: Path) -> None:
    strange = 'a: "b" #c {d}.jsonl'
    Path("alpaca.jsonl").rename(strange)
    found = look(strange)
    write_recipe(Path("x.yaml"), InitAnswers("embedded:smollm2-135m", strange, "sft"), found, Store(Path("runs")))
    assert load(Path("x.yaml")).name == "a-b-c-d-sft"


def test_the_hardware_is_said(files: Path) -> None:
    from bactrian.cli.init_command import _hardware

    assert f"{hardware.cores()} cores" in _hardware()


def test_a_data_set_of_the_hub_that_cannot_be_looked_at(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    if importlib.util.find_spec("datasets"):
        pytest.skip("the Hub's client is installed, and would ask the Hub")
    asked = ["init", "--data", "someone/chats", "--yes"]
    assert (
        invoke(asked) == 2 and "--for: found nothing" in (said := capsys.readouterr().err) and "bactrian[hub]" in said
    )
    assert invoke([*asked, "--for", "preference"]) == 0
    written = Path("recipe.yaml").read_text()
    assert 'data: "someone/chats"' in written and "was not looked at" in written
    first, *_, last = load(Path("recipe.yaml")).steps
    assert (first.stage.hub, last.stage.name) == ("someone/chats", "dpo")  # type: ignore[attr-defined]


def test_a_data_set_of_the_hub_is_looked_at_where_its_client_is(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(ROWS["pairs"], f"someone/pairs, row {n}") for n in range(3)]
    asked: list[Any] = []

    def scan(*given: Any, **more: Any) -> Iterator[Any]:
        asked.append((given, more))
        return iter(rows)

    monkeypatch.setattr("bactrian.data.io.files.scan_hub", scan)
    found = look("someone/pairs@v2")
    assert asked == [(("someone/pairs",), {"revision": "v2"})] and found.rows == 3
    assert [use.aim for use in found.suits] == ["preference"]


def test_a_reward_of_ones_own_needs_prompts_alone(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "Say hello."}\n' * 3)
    Path("reward.py").write_text(
        "def polite(completion, row):\n    return 1.0\n\n\ndef three(a, b, c):\n    return 1.0\n"
    )
    asked = ["init", "there/mine.yaml", "--data", "prompts.jsonl", "--yes"]
    assert invoke([*asked, "--reward", "reward.py:polite"]) == 0
    assert "good for: rl" in capsys.readouterr().err
    stage: Any = load(Path("there/mine.yaml")).steps[-1].stage
    assert stage.name == "rlvr" and stage.reward.verifier.endswith("reward.py:polite")
    for words, said in (
        (["--reward", "reward.py:polit"], 'did you mean "reward.py:polite"?'),
        (["--reward", "reward.py:three"], "found def three(a, b, c)"),
        (["--reward", "reward.py:polite", "--for", "sft"], "a reward is for rl"),
    ):
        assert invoke([*asked, *words, "--force"]) == 2
        assert said in capsys.readouterr().err


def test_where_nobody_answers_it_says_which_option_would(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("\n"))
    assert invoke(["init", "new.yaml"]) == 2
    assert "--data: found no answer, as standard input has ended; expected it, or --yes" in capsys.readouterr().err
    assert not Path("new.yaml").exists()
