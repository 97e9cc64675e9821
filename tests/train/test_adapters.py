"""Adapters: they move alone, whatever the objective, on weights that nothing copies; merged is the adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.decode_kernels import kernels
from bactrian.generate.decoder import Product
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.adapters import WithoutAdapters, add_adapters, merge_adapters
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Group, Segment, plant
from bactrian.model.reward_model import RewardModel
from bactrian.train.batches import answer_tokens
from bactrian.train.loop import LoopSettings
from tests.model.tiny import ARCHITECTURES, write_tiny
from tests.train.bench import Cut, adapt, load, make, run, same, tokens, trained

KINDS = ("sft", "dpo_norm", "kto", "reward", "rloo with kl", "ppo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def some_logprobs(model: LanguageModel) -> torch.Tensor:
    ids = tuple(3 + (7 * i) % 40 for i in range(30))
    with torch.no_grad():
        return model.logprobs(Forest.of([Segment(ids)]), torch.arange(1, 30))


def adapted(folder: Path, tmp_path: Path, dtype: str = "float32") -> LanguageModel:
    model = load(folder, dtype)
    add_adapters(model.network, "base", rank=4, alpha=8.0, seed=1)
    run(make("sft", model, epochs=3), tmp_path, LoopSettings(learning_rate=1e-2))
    return model


def test_an_adapter_starts_as_nothing_and_moves_only_itself(folder: Path, tmp_path: Path) -> None:
    plain = LanguageModel.load(folder)
    model = LanguageModel.load(folder)
    add_adapters(model.network, "base", rank=4, alpha=8.0)
    assert torch.equal(some_logprobs(model), some_logprobs(plain))
    model = adapted(folder, tmp_path)
    assert not torch.allclose(some_logprobs(model), some_logprobs(plain), atol=1e-2)
    base = {n.replace(".base_layer", ""): w for n, w in model.network.named_parameters() if "lora_" not in n}
    assert same(base, dict(plain.network.named_parameters()))


def test_merged_is_the_adapter_and_peft_reads_what_was_saved(folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = adapted(folder, tmp_path / "run")
    before = some_logprobs(model)
    merge_adapters(model.network, tmp_path / "merged" / "adapter")
    torch.testing.assert_close(some_logprobs(model), before, atol=1e-5, rtol=1e-5)
    model.save(tmp_path / "merged")
    again = LanguageModel.load(tmp_path / "merged")
    torch.testing.assert_close(some_logprobs(again), before, atol=1e-5, rtol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[3, 9, 14, 5, 20, 7]])
    with torch.no_grad():
        plain_logits = plain(ids).logits.clone()
    theirs = PeftModel.from_pretrained(plain, str(tmp_path / "merged" / "adapter"))
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids).logits, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(theirs(ids).logits, plain_logits, atol=1e-2)


def test_a_target_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(BactrianError, match=r"no linear layer is named qproj; there are down_proj, .*q_proj"):
        add_adapters(LanguageModel.load(folder).network, "base", rank=4, alpha=8.0, targets=["qproj"])


def with_random_adapters(model: LanguageModel, size: float = 0.1) -> LanguageModel:
    """Adapters whose B is not 0 any more."""
    adapt(model)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=size)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_as_if_undisturbed_and_moves_adapters_alone(folder: Path, tmp_path: Path, kind: str) -> None:
    def fresh() -> Any:
        epochs = 1 if kind == "ppo" else 2
        return make(kind, load(folder, "bfloat16"), items=range(4), batch=2, epochs=epochs, adapted=True)

    task = fresh()
    before = {name: w.detach().clone() for name, w in trained(task).named_parameters()}
    moving = {name for name, w in trained(task).named_parameters() if w.requires_grad}
    assert moving == {name for name in before if "lora_" in name or name.endswith("score.weight")}
    expected = run(task, tmp_path / "whole")
    assert same({n: w for n, w in expected.items() if n not in moving}, {n: before[n] for n in before.keys() - moving})
    assert sum(not torch.equal(expected[name], before[name]) for name in moving) > len(moving) / 2
    with pytest.raises(Cut.Killed):
        run(Cut(fresh(), 3), tmp_path / "cut")
    assert same(run(fresh(), tmp_path / "cut"), expected)


def test_without_its_adapters_it_is_the_base_to_the_bit_and_no_copy(folder: Path) -> None:
    base, model = load(folder, "bfloat16"), with_random_adapters(load(folder, "bfloat16"))
    reference = WithoutAdapters.of(model)
    assert torch.equal(some_logprobs(reference), some_logprobs(base))
    assert not torch.equal(some_logprobs(model), some_logprobs(base))
    assert reference.network is model.network
    assert all(w.requires_grad == ("lora_" in name) for name, w in model.network.named_parameters())


def test_policy_and_value_model_share_weights_and_not_adapters(folder: Path) -> None:
    model = load(folder)
    expected = some_logprobs(model)
    value = RewardModel.of(model, 5, shared=True)
    adapt(value)
    twin = value.twin()
    with torch.no_grad():
        for name, weight in value.network.named_parameters():
            if "lora_B" in name or name == "score.weight":
                weight.normal_()
    assert torch.equal(some_logprobs(model), expected)
    own = {w.data_ptr() for n, w in value.network.named_parameters() if "lora_" not in n and n != "score.weight"}
    assert own <= {w.data_ptr() for w in model.network.parameters()}
    assert not torch.equal(twin.scalar_head, value.scalar_head)
    assert own <= {w.data_ptr() for w in twin.network.parameters()}


@pytest.mark.skipif(kernels() is None, reason="no C compiler on this machine: there are no kernels to test")
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_what_samples_is_what_is_trained(tmp_path: Path, architecture: str) -> None:
    for dtype, mean, largest in (("float32", 1e-5, 1e-5), ("bfloat16", 0.05, 0.5)):
        model = with_random_adapters(LanguageModel.load(write_tiny(tmp_path / dtype, architecture), dtype))
        prompts = [(5, *tokens(4 + i, i)) for i in range(4)]
        engine = LocalEngine(model)
        assert engine.decoder is not None
        groups = engine.generate([Request(p, n=4, seed=i, max_new_tokens=12) for i, p in enumerate(prompts)])
        forest, spans = plant([Group(p, tuple(c.ids for c in g)) for p, g in zip(prompts, groups, strict=True)])
        with torch.no_grad():
            trainer = model.logprobs(forest, answer_tokens(spans)[0])
            base = WithoutAdapters.of(model).logprobs(forest, answer_tokens(spans)[0])
        sampler = torch.tensor([x for g in groups for c in g for x in c.logprobs])
        gap = (trainer - sampler).abs()
        assert float(gap.mean()) <= mean and float(gap.max()) <= largest
        assert float((base - sampler).abs().mean()) > 0.1  # it is the adapter that samples


def test_a_young_adapter_s_product_is_nearer_to_the_trainer_s_than_merged_weights_are(folder: Path) -> None:
    """Merged into bfloat16 weights its small values would mostly round away."""
    model = with_random_adapters(load(folder, "bfloat16"), 1e-3)
    layer: Any = model.network.get_submodule("model.layers.0.mlp.down_proj")
    base = layer.get_base_layer()
    torch.manual_seed(1)
    x = torch.randn(256, base.in_features, dtype=torch.bfloat16)
    with torch.no_grad():
        trained_on, ours = layer(x).float(), Product(layer)(x).float()
        merged = torch.nn.functional.linear(x, base.weight + layer.get_delta_weight("default")).float()
    assert (ours - trained_on).norm() < 0.2 * (merged - trained_on).norm()
    assert (ours - base(x).float()).norm() > 5 * (ours - trained_on).norm()
