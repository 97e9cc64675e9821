"""Rewards, verifiers, tasks, templates and stages from a user's own file: found beside the recipe, part of the key."""

import json
import os
import py_compile
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import functions
from bactrian.run.keys import tasks
from bactrian.run.part_trials import try_own_parts
from bactrian.run.python import RecipeInCode
from bactrian.store import own_files
from bactrian.store.artifact import Store
from bactrian.store.fingerprint import file_fingerprint
from bactrian.store.hardware import Hardware
from bactrian.verify.own import check_written, form_of
from tests.documents import write_rows
from tests.test_runner import run

RECIPE = """\
name: own
steps:
  with: {stage: rlvr, model: model, data: rows.jsonl, reward: reward.py:polite}
  other: {stage: prefer, prompts: rows.jsonl, pool: [model], reward: "reward.py:Rewards.short"}
  without: {stage: prefer, prompts: rows.jsonl, pool: [model]}
  after: {stage: dpo, model: with, data: pairs.jsonl}
  judged: {stage: evaluate, models: [model], data: rows.jsonl, verifier: reward.py:polite}
"""
REWARD = """\
from beside import WORD

def polite(completion, row):
    return float(WORD in completion)

class Rewards:
    @staticmethod
    def short(completion):
        return -len(completion)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe and what it names, in a folder that is not the working directory."""
    place = tmp_path / "mine"
    (place / "model").mkdir(parents=True)
    (place / "model" / "config.json").write_text("{}")
    write_rows(place)
    (place / "rows.jsonl").write_bytes((place / "unseen.jsonl").read_bytes())
    (place / "reward.py").write_text(REWARD)
    (place / "beside.py").write_text("WORD = 'please'\n")
    (place / "r.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return place


def keys(path: Path) -> dict[str, str]:
    return {task.step.name: task.key for task in tasks(load(path), Hardware())}


def test_a_changed_reward_changes_the_keys_of_what_uses_it_and_no_others(folder: Path) -> None:
    before = keys(folder / "r.yaml")
    (folder / "reward.py").write_text(REWARD.replace("def polite", "# a comment\ndef polite"))
    (folder / "unused.py").write_text("x = 1\n")
    assert keys(folder / "r.yaml") == before
    (folder / "reward.py").write_text(REWARD.replace("-len", "-2 * len"))
    changed = keys(folder / "r.yaml")
    assert {name for name in before if before[name] != changed[name]} == {"with", "other", "after", "judged"}
    (folder / "reward.py").write_text(REWARD)
    assert keys(folder / "r.yaml") == before
    (folder / "beside.py").write_text("WORD = 'thank you'\n")
    assert keys(folder / "r.yaml")["with"] != before["with"]


def test_where_the_file_lies_is_no_part_of_the_key(folder: Path, tmp_path: Path) -> None:
    before = keys(folder / "r.yaml")
    folder.rename(tmp_path / "moved")
    assert keys(tmp_path / "moved" / "r.yaml") == before


def test_the_function_s_name_is(folder: Path) -> None:
    before = keys(folder / "r.yaml")
    (folder / "r.yaml").write_text(RECIPE.replace("reward: reward.py:polite", 'reward: "reward.py:Rewards.short"'))
    assert keys(folder / "r.yaml")["with"] != before["with"]


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("rewards.py:polite", 'found "rewards.py:polite", and there is no file rewards.py, expected FILE.py:FUNCTION'),
        ("reward.py:plite", 'reward.py has no plite, expected .* did you mean "mine/reward.py:polite"'),
        ("reward.py", 'found "mine/reward.py", expected FILE.py:FUNCTION; mine/reward.py has polite, Rewards'),
        ("broken.py:f", r"broken.py, line 2: no valid Python: .* expected FILE.py:FUNCTION"),
    ],
)
def test_what_leads_nowhere_is_said_with_the_line_of_the_recipe(folder: Path, ref: str, said: str) -> None:
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    (folder / "r.yaml").write_text(RECIPE.replace("reward.py:polite", ref, 1))
    with pytest.raises(BactrianError, match=said) as error:
        load(folder / "r.yaml")
    assert re.search(r'r.yaml, line 3, step "with", field "reward.verifier": ', str(error.value))


def test_all_that_cannot_be_called_is_said_before_anything_is_made(folder: Path) -> None:
    (folder / "reward.py").write_text("def three(a, b, c): return 1\nclass Rewards:\n    short = 3\npolite = three\n")
    recipe = load(folder / "r.yaml")
    with pytest.raises(BactrianError) as error:
        try_own_parts(recipe, tasks(recipe, Hardware()), Store(Path("runs")))
    lines = [line for line in str(error.value).splitlines() if not line.startswith("  def")]
    assert [re.findall('step "(.*?)", field "(.*?)"', line)[0] for line in lines] == [
        ("with", "reward.verifier"),
        ("other", "reward"),
        ("judged", "verifier"),
    ]
    assert "mine/reward.py, line 1: found def three(a, b, c), expected one of" in lines[0]
    assert 'found "mine/reward.py:Rewards.short", which is a int' in lines[1] or "int" in lines[1]


def test_what_a_file_says_of_its_parameters_is_read_without_running_it(folder: Path) -> None:
    text = "raise SystemExit\ndef polite(a: int, b, c=[open('x')], *, d) -> float: return 1\n"
    (folder / "reward.py").write_text(f"{text}class Rewards:\n    short = 3\n")
    with pytest.raises(BactrianError) as error:
        load(folder / "r.yaml")
    said = 'line 3, step "with", field "reward.verifier": mine/reward.py, line 2: '
    assert said + "found def polite(a: int, b, c=[open('x')], *, d) -> float, expected one of" in str(error.value)


PARAMETERS = [
    "(completion, row)",
    "(completion)",
    "(completion: str, row: dict = {})",
    "(problem, completion)",
    "(given: 'Problem', said)",
    "(completions, prompts, **columns)",
    "(completion, /, *rest, **more)",
    "(prompt, completion)",
    "(row)",
    "()",
    "(*, completion)",
    "(completion, row, third=3)",
    "(completion, second=2, *, third=3)",
]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_what_is_read_is_what_is_imported(parameters: str, folder: Path) -> None:
    (folder / "one.py").write_text(f"def reward{parameters}:\n    return 1.0\n")
    name = f"{folder / 'one.py'}:reward"
    scope: dict[str, Any] = {}
    exec(compile((folder / "one.py").read_text(), str(folder / "one.py"), "exec"), scope)  # noqa: S102 - ours
    said = []
    for look in (lambda: check_written(name), lambda: form_of(scope["reward"], name)):
        try:
            look()
            said.append("")
        except BactrianError as error:
            said.append(str(error).replace("'Problem'", "Problem"))
    assert said[0] == said[1]


def test_a_text_is_short_for_the_group_and_settings_go_beside_it(folder: Path) -> None:
    long = RECIPE.replace("reward: reward.py:polite", "reward: {verifier: reward.py:polite}")
    before = keys(folder / "r.yaml")
    (folder / "r.yaml").write_text(long)
    assert keys(folder / "r.yaml") == before
    recipe = load(folder / "r.yaml", ["with.reward.verify_timeout=3"])
    assert recipe.step("with").stage.reward.verify_timeout == 3  # type: ignore[attr-defined]


STAGE = """\
from typing import ClassVar
from bactrian.stages.stage import DataRef, Stage
from bactrian.store.manifest import Kind

class Upper(Stage):
    "The rows in capitals."
    name: ClassVar[str] = "upper"
    makes: ClassVar[Kind] = Kind.DATA
    data: DataRef

    def run(self, workspace):
        text = (workspace.input(self.data).path / "data.jsonl").read_text()
        (workspace.output / "data.jsonl").write_text(text.upper())

class Nothing: pass
"""
STEPS = """\
name: small
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  data: {stage: letters}
  loud: {stage: "upper.py:Upper", data: data}
  sft: {stage: blend, data: loud}
"""


def test_a_stage_of_one_s_own(fakes: list[str]) -> None:
    Path("upper.py").write_text(STAGE)
    first = run(text=STEPS)
    assert '"TEXT"' in (Path("runs") / str(first["loud"].path) / "data.jsonl").read_text()
    assert {each.status for each in run(text=STEPS).values()} == {"reused"}
    Path("upper.py").write_text(STAGE.replace("text.upper()", "text.upper() + text.upper()"))
    again = run(text=STEPS)
    assert [again[name].status for name in ("data", "loud", "sft")] == ["reused", "made", "made"]
    assert len((Path("runs") / str(again["loud"].path) / "data.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("upper.py:Nothing", 'found "upper.py:Nothing", which is a Nothing, expected FILE.py:CLASS, a subclass of'),
        ("upper.py:Uper", 'did you mean "upper.py:Upper"'),
        ("lower.py:Upper", "there is no file lower.py, expected FILE.py:CLASS"),
        ("fails.py:Upper", "fails.py, line 1: importing this file raised ZeroDivisionError"),
        ("taken.py:Upper", "whose name is 'letters'; Bactrian has a stage of that name"),
    ],
)
def test_a_stage_that_is_none(stage: str, said: str, fakes: list[str]) -> None:
    Path("upper.py").write_text(STAGE)
    Path("fails.py").write_text("1 / 0\nclass Upper: pass\n")
    Path("taken.py").write_text(STAGE.replace('"upper"', '"letters"'))
    Path("r.yaml").write_text(STEPS.replace("upper.py:Upper", stage))
    with pytest.raises(BactrianError) as error:
        load(Path("r.yaml"))
    assert said in str(error.value) and 'r.yaml, line 5, step "loud", field "stage"' in str(error.value)


TASK = """\
from bactrian.evaluate.task import Question, Task, TaskSource
from bactrian.verify import Verdict, register

@register("kind", examples=())
def kind(problem, completion):
    return Verdict(1.0, "right", completion, "")

CAPITALS = Task(
    name="capitals", suites=(), skill="knowledge", source=TaskSource(files=("capitals",)),
    build=lambda row: [Question(f"Capital of {row['country']}?", row["capital"])], verifier="contains",
)
"""


def test_a_task_of_one_s_own(folder: Path) -> None:
    (folder / "capitals_task.py").write_text(TASK)
    (folder / "capitals.jsonl").write_text('{"country": "Chad", "capital": "N\'Djamena"}\n')
    settings = "models: [model], tasks: [capitals_task.py:CAPITALS], limits: {capitals: 1}"
    (folder / "r.yaml").write_text(f"name: t\nsteps:\n  e: {{stage: evaluate, {settings}}}\n")
    stage: Any = tasks(load(folder / "r.yaml"), Hardware())[0].step.stage
    loaded, absent = stage.questions()
    assert [each.task.name for each in loaded] == ["capitals"] and not absent
    assert loaded[0].questions[0].truth == "N'Djamena"
    (folder / "capitals_task.py").write_text(TASK.replace("CAPITALS =", "Capitals ="))
    with pytest.raises(BactrianError, match=r'did you mean "mine/capitals_task.py:Capitals"'):
        load(folder / "r.yaml")


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '< ' + m.content + eos_token }}{% else %}"
    "{{ '> ' + m.content }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '< ' }}{% endif %}"
)


def test_a_template_of_one_s_own(folder: Path) -> None:
    from bactrian.chat.template import _jinja_text

    (folder / "t.jinja").write_text(TEMPLATE)
    (folder / "t.py").write_text(f"ARROWS = {TEMPLATE!r}\n")
    for ref in ("t.jinja", "t.py:ARROWS"):
        step = f"{{stage: sft, model: model, data: rows.jsonl, template: {ref}}}".replace("rows", "chats")
        (folder / "chats.jsonl").write_text('{"prompt": "hi", "response": "ho"}\n')
        (folder / "r.yaml").write_text(f"name: t\nsteps: {{s: {step}}}\n")
        stage: Any = load(folder / "r.yaml").steps[-1].stage
        assert _jinja_text(None, stage.template) == TEMPLATE  # type: ignore[arg-type]
    before = keys(folder / "r.yaml")
    (folder / "t.py").write_text(f"ARROWS = {TEMPLATE.replace('> ', '>> ')!r}\n")
    assert keys(folder / "r.yaml") != before
    (folder / "r.yaml").write_text((folder / "r.yaml").read_text().replace("t.py:ARROWS", "u.jinja"))
    with pytest.raises(BactrianError, match=r"there is no file u.jinja, expected FILE.jinja, or FILE.py:NAME"):
        load(folder / "r.yaml")


def test_a_file_of_a_package_counts_with_what_it_imports(tmp_path: Path) -> None:
    package = tmp_path / "theirs_own" / "inner"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    (package / "reward.py").write_text("from ..words import WORD\ndef polite(completion): return WORD in completion\n")
    (package.parent / "words.py").write_text("WORD = 'please'\n")
    first = file_fingerprint(package / "reward.py")
    function = own_files.load(f"{package}/reward.py:polite", "verifier", lambda found: found)
    assert function("please") is True
    (package.parent / "words.py").write_text("WORD = 'thanks'  # changed\n")
    assert file_fingerprint(package / "reward.py") != first


SCALE = 2


def doubled(completion: str) -> float:
    return len(re.findall("a", completion)) * SCALE


def test_an_edit_within_the_second_is_run_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes bytecode of the same size and second for current."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    for said in (1, 2):
        path.write_text(f"def f(completion): return {said}\n")
        os.utime(path, (10**9, 10**9))
        py_compile.compile(str(path))  # as a run of the user's own leaves it
        path.write_text(f"def f(completion): return {said + 4}\n")
        os.utime(path, (10**9, 10**9))
        assert own_files.load_file(path).f("") == said + 4


def test_a_function_of_a_module_is_named_by_its_file(tmp_path: Path) -> None:
    assert functions.reference_to(doubled, tmp_path) == f"{__file__}:doubled"


def test_one_of_a_notebook_is_written_down_with_what_it_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bonus = [1, 2]

    def reward(completion: str) -> float:
        return doubled(completion) + len(bonus)

    monkeypatch.setattr(doubled, "__module__", "__main__")
    ref = functions.reference_to(reward, tmp_path)
    assert ref == functions.reference_to(reward, tmp_path) and ref.startswith(f"{tmp_path}/given/reward-")
    again = own_files.load(ref, "verifier", lambda found: found)
    assert again("banana") == reward("banana") == 8


def test_what_cannot_be_written_down_is_said(tmp_path: Path) -> None:
    file = Path(__file__).open()  # noqa: SIM115 - held by the function

    def reads(completion: str) -> float:
        return float(len(file.read()))

    with file:
        for found, said in (
            (reads, "reads uses file, TextIOWrapper, which cannot be written to a file; put the function into a file"),
            (lambda completion: 1.0, "found a lambda, expected a function made by def"),
            (len, "expected a function made by def"),
        ):
            with pytest.raises(BactrianError, match=said):
                functions.reference_to(found, tmp_path)


def test_a_recipe_in_code_takes_the_function(folder: Path) -> None:
    recipe = RecipeInCode("mine").step("rl", "rlvr", model="m/m", data="d/d", reward=doubled)
    assert f"reward: {Path(__file__)}:doubled" in " ".join(recipe.to_yaml().split())


def test_completions_are_scored_by_one_s_own_verifier(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [{"completion": text, "prompt": "Ask for it."} for text in ("please", "now")]
    Path("said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    assert invoke(["verify", "score", "said.jsonl", "--verifier", "mine/reward.py:polite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == 0.5
    assert invoke(["verify", "score", "said.jsonl", "--verifier", "mine/reward.py:plite"]) == 2
    assert 'did you mean "mine/reward.py:polite"' in capsys.readouterr().err


def test_a_prompt_template_lies_beside_the_recipe_and_is_part_of_the_key(folder: Path, tmp_path: Path) -> None:
    (folder / "words").mkdir()
    (folder / "words" / "mine.jinja").write_text("Say {{ question }} again.")
    server = "{server: {url: 'http://localhost/v1', model: m}}"
    step = f"stage: synthesise, seeds: rows.jsonl, generators: [{server}], gates: {{decontaminate: false}}"
    text = f"name: own\nsteps:\n  mine: {{{step}, template: words/mine.jinja}}\n"
    text += f"  shipped: {{{step}, template: paraphrase}}\n"
    (folder / "r.yaml").write_text(text)
    before = keys(folder / "r.yaml")
    stage = load(folder / "r.yaml").step("mine").stage
    assert stage.template == "mine/words/mine.jinja"  # type: ignore[attr-defined]
    assert stage.resolved().prompt == "Say {{ question }} again."  # type: ignore[attr-defined]
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert keys(moved / "r.yaml") == before, "where it lies is no part of the key"
    (moved / "words" / "mine.jinja").write_text("Say {{ question }} once more.")
    assert {name for name, key in keys(moved / "r.yaml").items() if key != before[name]} == {"mine"}
    (moved / "r.yaml").write_text(text.replace("words/mine.jinja", "mine.jinja"))
    with pytest.raises(BactrianError, match=r'field "template".*there is no file mine.jinja, expected FILE.jinja'):
        load(moved / "r.yaml")
