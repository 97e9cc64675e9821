"""PPO whose reward is a model's wants rows that ask something, and no ground truth; whatever reads one still does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.document import Document
from bactrian.recipe.recipe import Recipe, check
from bactrian.run.prepare import check_rows
from bactrian.store.artifact import Input
from bactrian.store.manifest import Kind

ASKED = {"messages": [{"role": "user", "content": "My knee hurts. What is it?"}], "license": "MIT", "source": "here"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "threads.jsonl").write_text(json.dumps(ASKED) + "\n")
    return tmp_path


def recipe(folder: Path, reward: dict[str, Any], data: str = "posts") -> Recipe:
    steps = {
        "posts": {"stage": "prompts", "data": ["threads.jsonl"]},
        "ppo": {"stage": "ppo", "model": "model", "data": data, "reward": reward},
    }
    if data != "posts":
        del steps["posts"]
    document = {"name": "x", "steps": steps}
    return check(Document("r.yaml", json.dumps(document), document), folder)


def look(folder: Path, reward: dict[str, Any]) -> None:
    step = recipe(folder, reward).step("ppo")
    check_rows(step, {"posts": Input("posts", folder / "threads.jsonl", Kind.DATA, "")})


MODEL = {"reward_model": "model", "reward_weight": 1.0, "verifier_weight": 0.0}


@pytest.mark.parametrize(
    ("reward", "fits"),
    [
        ({**MODEL, "verifier": "format"}, True),
        ({**MODEL, "verifier": "reward_model"}, True),
        ({**MODEL, "verifier": "gsm8k"}, False),
        (MODEL, False),
    ],
)
def test_prompts_will_do_where_the_verifier_reads_no_truth_and_nowhere_else(
    folder: Path, reward: dict[str, Any], fits: bool
) -> None:
    refused = ""
    try:
        look(folder, reward)
    except BactrianError as error:
        refused = str(error)
    assert not refused if fits else re.search(r'field "data": found .* expected problems', refused)


def test_rows_that_ask_nothing_are_refused_all_the_same(folder: Path) -> None:
    (folder / "threads.jsonl").write_text('{"text": "Nothing is asked here.", "license": "MIT"}\n')
    with pytest.raises(BactrianError, match=r'field "data": found .* expected problems'):
        look(folder, {**MODEL, "verifier": "format"})


def test_a_file_of_prompts_will_do_as_it_is(folder: Path) -> None:
    found = recipe(folder, {**MODEL, "verifier": "format"}, "threads.jsonl")
    assert [step.name for step in found.steps] == ["ppo"] and found.step("ppo").stage.data == "threads.jsonl"
    with pytest.raises(BactrianError, match="expected problems"):
        recipe(folder, MODEL, "threads.jsonl")
