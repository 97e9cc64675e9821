"""Sizes of models that are not there: the same as transformers counts them, and enough to plan the large recipes."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bactrian.cli.main import invoke
from bactrian.errors import BactrianError
from bactrian.recipe import references
from bactrian.recipe.recipe import load
from bactrian.run.known_models import KNOWN, Shape, family_of, parameters_of
from bactrian.run.plan import plan
from bactrian.store.artifact import Store
from bactrian.store.extras import lacking

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("shape", sorted(set(KNOWN.values()), key=lambda shape: shape.parameters), ids=str)
def test_parameters_are_those_of_the_real_classes(shape: Shape) -> None:
    layers = 2  # the rest are alike
    config = AutoConfig.for_model(
        shape.family,
        hidden_size=shape.hidden,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    small = Shape(**{**vars(shape), "layers": layers})
    assert small.parameters == network.num_parameters()
    assert shape.parameters > small.parameters


def test_names() -> None:
    assert parameters_of("meta-llama/Llama-3.1-8B@main") == 8_030_261_248
    assert parameters_of("nobody/knows") == 0 and family_of("nobody/knows") is None
    assert all(family_of(name) == shape.family for name, shape in KNOWN.items())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(repository: str, *rest: object) -> str:
        raise references.Unreachable(f"{repository}: cannot be had from the Hub, and is not in its cache")

    monkeypatch.setattr(references, "_hub_commit", no_network)


PUBLISHED = {"tulu3-8b": (192, 520), "tulu3-70b": (3200, 2880), "tulu3-405b": (None, 11_776)}


@pytest.mark.parametrize("name", ["tulu3-8b", "tulu3-70b", "tulu3-405b", "tulu3.1-8b", "olmo2-13b-instruct"])
def test_large_recipes_are_planned_without_a_network(
    name: str, offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bactrian.run.plan.measure_speed", lambda hardware: 1e12)
    made = plan(load(RECIPES / f"{name}.yaml"), Store(tmp_path))
    steps = {step.name: step for step in made.steps}
    trained = [step for step in made.steps if step.stage in ("sft", "dpo", "reward", "ppo", "rlvr")]
    assert trained and all(step.flops > 1e15 and step.peak_memory > 1e10 and step.tokens > 1e6 for step in trained)
    if "sft" in steps:
        declared = {"olmo2-13b-instruct": 500 * steps["clean"].rows}.get(name, 7.3e8)
        assert steps["sft"].tokens == pytest.approx(2 * declared)
        assert steps["sft"].basis == ("assumed" if name == "olmo2-13b-instruct" else "stated")
    if name in PUBLISHED:
        sft, rlvr = PUBLISHED[name]
        assert made.compute is not None
        assert {step: run.gpu_hours for step, run in made.compute.published.items()} == {
            step: hours for step, hours in (("sft", sft), ("rlvr", rlvr)) if hours
        }
        status = invoke(["plan", str(RECIPES / f"{name}.yaml"), "--store", str(tmp_path)])
        assert status == (2 if lacking("hub") else 0)  # a run here would read the Hub
        assert "H100-hours" in (said := capsys.readouterr().out) and f"{rlvr:,}" in said
    with pytest.raises(BactrianError, match="cannot be had from the Hub"):
        from bactrian.run.keys import tasks

        tasks(load(RECIPES / f"{name}.yaml"), made.hardware)


def test_published_hours_are_of_steps(tmp_path: Path) -> None:
    text = "compute: {gpu: h100, published: {stf: {hours: 3}}}\nsteps: {c: {stage: corpus, count: 3}}\n"
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(BactrianError, match=r'field "compute.published.stf": found "stf", expected a step: c'):
        load(tmp_path / "r.yaml")
