"""The whole chain at toy size: cases, pairs of single attributes, fused rewards, a soup, and the interaction."""

import json
from pathlib import Path

import pytest

from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

RECIPE = """\
name: asking
seed: 5
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  texts: {stage: cases, form: text, count: 60, said: [0, 3]}
  originals: {stage: cases, form: conversation, count: 40, said: [0, 3], seed: 7}
  practice: {stage: cases, count: 12, said: [0, 2], seed: 9}
  unseen: {stage: cases, count: 4, said: [0, 2], split: unseen, seed: 5}
  base: {stage: pretrain, data: texts, vocabulary: practice, hidden_size: 32, layers: 2, heads: 2,
         intermediate_size: 48, context: 96, epochs: 1, batch_size: 20, learning_rate: 0.01}
  clarity: &pairs {stage: counterfactuals, data: originals, attributes: requests, program: requests, only: [clarity],
                   limit: 12}
  focus: {<<: *pairs, only: [focus]}
  held: {<<: *pairs, only: [], part: dev, dev_share: 0.3, limit: 4}
  clarity_rm: &rm {stage: reward, model: base, data: clarity, epochs: 1, batch_size: 16, learning_rate: 1.0e-2}
  focus_rm: {<<: *rm, data: focus}
  fused: {stage: rlvr, model: base, data: practice, steps: 1, problems_per_step: 2, samples: 2, max_new_tokens: 8,
          learning_rate: 1.0e-2, reward: {verifier: reward_model, fusion: {weights: {focus: 2}, standardise: held,
          models: {clarity: clarity_rm, focus: focus_rm}}}}
  ppo: {stage: ppo, model: base, data: practice, value: clarity_rm, steps: 1, problems_per_step: 2, samples: 2,
        epochs: 1, max_new_tokens: 8, learning_rate: 1.0e-3, reward: {verifier_weight: 0, reward_weight: 1.0,
        fusion: {models: {clarity: clarity_rm, focus: focus_rm}, standardise: held}}}
  both: {stage: soup, models: [fused, ppo]}
  asking: {stage: interact, models: {plain: base, soup: both}, data: unseen, questions: 2, max_new_tokens: 12}
"""


@pytest.mark.slow
def test_the_chain_runs_and_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("asking.yaml").write_text(RECIPE)
    store = Store(tmp_path / "runs")
    runner.run(load(Path("asking.yaml")), store)
    steps = {step["name"]: step for step in json.loads((store.root / "asking" / "run.json").read_text())["steps"]}
    manifests = {name: Manifest.read(store.root / step["path"]) for name, step in steps.items()}
    for name in ("fused", "ppo"):
        metrics = manifests[name].metrics
        assert metrics["fusion/clarity/spread"] and metrics["fusion/focus/spread"]
    assert (manifests["both"].metrics["spread"] or 0) > 0
    results = json.loads((store.root / steps["asking"]["path"] / "results.json").read_text())
    assert results["models"] == ["plain", "soup"] and results["interaction"]["patient"] == "rules"
    assert "medical advice" in results["interaction"]["note"]
    assert {each["task"] for each in results["scores"]} == {"unseen", "unseen: attributes"}
