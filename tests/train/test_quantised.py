"""Adapters beside weights in 4 bits: the forward is that of the weights as the bits say, and only adapters move."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model import quantised
from bactrian.model.adapters import WithoutAdapters, merge_adapters
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.store import extras
from tests.model.tiny import write_tiny
from tests.train.bench import Cut, adapt, gradient, make, run, same, trained

WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # rows of whole blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), **WIDE)


def some_logprobs(model: LanguageModel) -> torch.Tensor:
    ids = tuple(3 + (7 * i) % 40 for i in range(30))
    with torch.no_grad():
        return model.logprobs(Forest.of([Segment(ids)]), torch.arange(1, 30))


def packed(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The weights in 4 bits as they lie in memory."""
    return {n: w.detach().clone() for n, w in model.network.named_parameters() if w.dtype == torch.uint8}


@pytest.mark.parametrize("architecture", ["llama-tied", "qwen2", "gemma3"])
def test_the_forward_is_that_of_the_dequantised_weights(tmp_path: Path, architecture: str) -> None:
    folder = write_tiny(tmp_path / "m", architecture, **WIDE)
    model, plain = LanguageModel.load(folder, quantised=True), LanguageModel.load(folder)
    assert len(packed(model)) == 3 * 7  # every linear layer of the decoder layers, and nothing else
    expected = some_logprobs(plain)
    found = some_logprobs(model)
    again = some_logprobs(model)
    quantised.dequantise(model.network)
    model.save(tmp_path / "dense")
    torch.testing.assert_close(some_logprobs(LanguageModel.load(tmp_path / "dense")), found, atol=1e-4, rtol=1e-4)
    assert torch.equal(found, again) and not torch.allclose(found, expected, atol=1e-3)
    dense, start = load_file(tmp_path / "dense" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert dense.keys() == start.keys()
    for name, weight in start.items():
        if name.endswith("_proj.weight"):
            assert 0.03 < (dense[name] - weight).norm() / weight.norm() < 0.15
        else:
            assert torch.equal(dense[name], weight)


@pytest.mark.parametrize("kind", ["reward", "rloo with kl"])
def test_gradients_flow_and_nothing_but_adapters_moves(folder: Path, tmp_path: Path, kind: str) -> None:
    def fresh() -> LanguageModel:
        return LanguageModel.load(folder, "bfloat16", quantised=True)

    model = fresh()
    task = make(kind, model, items=range(4), batch=2, epochs=2, adapted=True)
    before = {name: w.detach().clone() for name, w in trained(task).named_parameters()}
    moving = {name for name, w in trained(task).named_parameters() if w.requires_grad}
    assert moving == {name for name in before if "lora_" in name or name.endswith("score.weight")}
    expected = run(task, tmp_path / "whole")
    assert same({n: expected[n] for n in before.keys() - moving}, {n: before[n] for n in before.keys() - moving})
    assert sum(not torch.equal(expected[name], before[name]) for name in moving) > len(moving) / 2
    again = make(kind, fresh(), items=range(4), batch=2, epochs=2, adapted=True)
    with pytest.raises(Cut.Killed):
        run(Cut(again, 3), tmp_path / "cut")
    again = make(kind, fresh(), items=range(4), batch=2, epochs=2, adapted=True)
    assert same(run(again, tmp_path / "cut"), expected)


def test_the_gradient_of_an_adapter_is_that_beside_the_dequantised_weights(folder: Path, tmp_path: Path) -> None:
    model = LanguageModel.load(folder, quantised=True)
    quantised.dequantise(model.network)
    model.save(tmp_path / "dense")
    found = {}
    for name, each in (
        ("nf4", LanguageModel.load(folder, quantised=True)),
        ("plain", LanguageModel.load(tmp_path / "dense")),
    ):
        some_logprobs(each)  # a forward without a gradient before: it must not lay weights out for good
        adapt(each)
        found[name] = {n.replace(".base_layer", ""): grad for n, grad in gradient(make("sft", each)).items()}
    assert found["nf4"].keys() == found["plain"].keys() and len(found["nf4"]) == 2 * 3 * 7
    for name, grad in found["plain"].items():
        torch.testing.assert_close(found["nf4"][name], grad, atol=1e-5, rtol=1e-3)


def test_merged_is_the_adapter_beside_4_bits(folder: Path, tmp_path: Path) -> None:
    model = LanguageModel.load(folder, quantised=True)
    start = some_logprobs(model)
    run(make("sft", model, epochs=3, adapted=True), tmp_path / "run")
    assert torch.equal(some_logprobs(WithoutAdapters.of(model)), start)
    before = some_logprobs(model)
    assert not torch.allclose(before, start, atol=1e-2)
    merge_adapters(model.network, tmp_path / "merged" / "adapter")
    model.save(tmp_path / "merged")
    torch.testing.assert_close(some_logprobs(LanguageModel.load(tmp_path / "merged")), before, atol=1e-4, rtol=1e-4)


def test_it_samples_what_it_trains(folder: Path) -> None:
    model = LanguageModel.load(folder, quantised=True)
    adapt(model)
    ids = (5, 6, 7)
    (completion,) = LocalEngine(model).generate([Request(ids, max_new_tokens=8)])[0]
    whole = Forest.of([Segment((*ids, *completion.ids))])
    with torch.no_grad():
        trainer = model.logprobs(whole, torch.arange(3, 3 + len(completion.ids)))
    assert float((trainer - torch.tensor(completion.logprobs)).abs().max()) <= 1e-5


def test_a_layer_that_the_cpu_s_kernel_gets_wrong_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match=r"down_proj: rows of 48 weights; .* multiples of 64"):
        LanguageModel.load(write_tiny(tmp_path, hidden_size=64, head_dim=16), quantised=True)


def test_without_the_library_it_says_what_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    with pytest.raises(BactrianError, match=r'need bitsandbytes: pip install "bactrian\[quantised\]"'):
        LanguageModel.load(folder, quantised=True)
