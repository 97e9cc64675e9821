"""Shipped recipes are named like files, listed, and printed so that they work anywhere."""

from pathlib import Path

import pytest

from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.recipe.shipped_recipes import find_recipe, shipped_recipes, summary


@pytest.mark.parametrize("name", ["nano", "nano.yaml", "recipes/nano.yaml", "catalogue/coconot"])
def test_a_name_stands_for_the_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path(name)) == shipped_recipes()[name.removeprefix("recipes/").removesuffix(".yaml")]
    assert load(Path(name)).steps


def test_a_file_of_one_s_own_goes_before_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "nano.yaml"
    own.write_text("steps: {a: {stage: problems, tasks: [{source: sums, count: 3}]}}")
    assert list(load(Path("nano.yaml")).steps) == list(load(own).steps)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quikstart", 'did you mean "quickstart"'),
        ("recipes/nanno.yaml", 'did you mean "nano"'),
        ("elsewhere/what.yaml", "`bactrian recipes` lists"),
        ("nano.json", 'did you mean "nano"'),
        (".", "found a folder"),
    ],
)
def test_what_is_neither_is_one_error(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BactrianError, match="expected a recipe file or the name of a shipped recipe") as error:
        load(Path(name))
    assert said in str(error.value)


def test_every_recipe_says_what_it_does_in_a_sentence() -> None:
    for path in shipped_recipes().values():
        assert 10 < len(summary(path)) < 300 and summary(path)[-1] in ".?!:"


def test_the_command_lists_and_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.invoke(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in shipped_recipes())
    assert cli.invoke(["recipes", "catalogue/coconot"]) == 0
    printed = tmp_path / "mine.yaml"
    printed.write_text(capsys.readouterr().out)
    schema = printed.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert Path(schema).is_absolute() and Path(schema).is_file()
    assert printed.read_text().splitlines()[1:] == shipped_recipes()["catalogue/coconot"].read_text().splitlines()[1:]
