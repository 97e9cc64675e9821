"""Programming problems through a recipe: each manifest names the isolation in which its programs ran."""

import json
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.sandbox import Isolation, choice, want
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

RECIPE = """\
name: programs
seed: 3
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  texts: {stage: corpus, count: 60}
  base: {stage: pretrain, data: texts, vocabulary: practice, hidden_size: 32, layers: 1, heads: 2,
         intermediate_size: 48, context: 256, batch_size: 30}
  practice:
    stage: problems
    tasks: [{source: humaneval, data: humaneval.jsonl}, {source: mbpp, data: mbpp.jsonl, verifier: code_rate}]
  rlvr: {stage: rlvr, model: base, data: practice, steps: 1, problems_per_step: 2, samples: 2, max_new_tokens: 8}
  scores: {stage: evaluate, models: [base, rlvr], data: practice, samples: 2, k: [1, 2], max_new_tokens: 8}
"""
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "entry_point": f"add{n}",
        "prompt": f"def add{n}(a, b):\n",
        "canonical_solution": f"    return a + b + {n}\n",
        "test": f"def check(c):\n    assert c(1, 2) == {3 + n}\n",
    }
    for n in range(2)
]
MBPP = {
    "text": "Add.",
    "code": "def plus(a, b): return a + b",
    "test_list": ["assert plus(1, 2) == 3"],
    "test_setup_code": "",
    "challenge_test_list": [],
    "task_id": 1,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("humaneval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in HUMANEVAL))
    Path("mbpp.jsonl").write_text(json.dumps(MBPP) + "\n")
    Path("r.yaml").write_text(RECIPE)
    return tmp_path


def manifests(*overrides: str, only: str | None = None) -> dict[str, Manifest]:
    records = runner.run(load(Path("r.yaml"), overrides), Store(Path("runs")), only, report=False)
    return {record.name: Manifest.read(Path("runs") / record.path) for record in records if record.path}


def test_manifests_name_the_isolation_of_what_ran_programs(strong: Isolation, here: Path) -> None:
    found = manifests()
    named = {name: manifest.hardware.get("sandbox") for name, manifest in found.items()}
    assert named == {"texts": None, "base": None, "practice": strong.name, "rlvr": strong.name, "scores": strong.name}
    assert found["practice"].metrics["rows_kept"] == 3
    (results,) = (here / "runs" / "artifacts").glob("evaluate-*/results.json")
    scores = json.loads(results.read_text())["scores"]
    assert {each["verifier"] for each in scores} == {"code, code_rate"}
    assert scores[1]["pass_at_k"].keys() == {"1", "2"}


@pytest.mark.usefixtures("here")
def test_without_isolation_the_step_stops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "tools", list)
    choice.strongest.cache_clear()
    try:
        with pytest.raises(BactrianError, match=r'step "practice".*bubblewrap'):
            manifests(only="practice")
    finally:
        choice.strongest.cache_clear()
        want("isolated")
