"""The JSON schema of recipes takes what the recipe reader takes, and marks the mistakes that a schema can see."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bactrian.cli import main as cli
from bactrian.recipe.given import reading_settings
from bactrian.recipe.recipe import read_recipe
from bactrian.recipe.schema import recipe_schema, schema_text
from bactrian.stages import all_stages

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))
SFT = {"steps": {"a": {"stage": "sft", "model": "m", "data": "d.jsonl"}}}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_we_ship_is_valid(path: Path, validator: Any) -> None:
    errors = [error.message for error in validator.iter_errors(read_recipe(path).data)]
    assert not errors


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"learning_rat": 1e-5}, "learning_rat"),
        ({"epochs": "two"}, "two"),
        ({"epochs": 0}, "minimum"),
        ({"stage": "stf"}, "stf"),
        ({"adapter": {"rnk": 8}}, "rnk"),
        ({"ablate": {"withou": []}}, "withou"),
    ],
)
def test_a_mistake_is_marked(change: dict[str, Any], word: str, validator: Any) -> None:
    recipe = copy.deepcopy(SFT)
    assert validator.is_valid(recipe)
    recipe["steps"]["a"] |= change
    errors = list(validator.iter_errors(recipe))
    assert errors and any(word in error.message for each in errors for error in (each, *each.context))


def test_a_setting_that_must_be_given_is_missed(validator: Any) -> None:
    errors = [e.message for e in validator.iter_errors({"steps": {"a": {"stage": "sft", "model": "m"}}})]
    assert errors == ["'data' is a required property"]


def test_every_stage_and_setting_is_in_it() -> None:
    schema = recipe_schema()
    definitions = schema["$defs"].values()
    found = {d["properties"]["stage"]["const"]: d["properties"] for d in definitions if "stage" in d["properties"]}
    assert found.keys() == all_stages().keys()
    for name, stage in all_stages().items():
        assert found[name].keys() == {"stage", "ablate", *stage.model_fields, *reading_settings(stage)}


def test_files_of_others_are_valid_as_a_list_and_with_how_they_are_read(validator: Any) -> None:
    step = {"stage": "sft", "model": "m", "data": ["a.csv", "b.jsonl"], "columns": {"prompt": "q"}, "license": "MIT"}
    assert validator.is_valid({"licences": "strict", "steps": {"a": step}})
    assert not validator.is_valid({"steps": {"a": {**step, "data": []}}})
    assert not validator.is_valid({"steps": {"a": {**step, "layout": "sharegtp"}}})


def test_the_published_schema_is_the_one_that_is_made_and_recipes_name_it() -> None:
    """After a change of settings: bactrian schema recipes/recipe.schema.json."""
    published = Path(__file__).parents[1] / "recipes" / "recipe.schema.json"
    assert published.read_text(encoding="utf-8") == schema_text()
    for path in RECIPES:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        named = first.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / named).resolve() == published


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["schema"]) == 0
    printed = capsys.readouterr().out
    assert cli.invoke(["schema", str(tmp_path / "s.json")]) == 0
    assert cli.invoke(["schema", str(tmp_path / "no" / "s.json")]) == 2
    assert "cannot be written (No such file or directory)" in capsys.readouterr().err
    assert json.loads(printed) == json.loads((tmp_path / "s.json").read_text()) == recipe_schema()
