"""What is trained and what is kept: masters between stages, frozen parts, dropped activations."""

import copy
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.model.recompute import drop_activations
from bactrian.train.freezing import freeze
from bactrian.train.loop import LoopSettings
from tests.model.tiny import ARCHITECTURES, write_tiny
from tests.train.bench import gradient, make, run, same

TINY_STEPS = LoopSettings(learning_rate=1e-6, schedule="constant", clip=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def some_logprobs(model: LanguageModel) -> torch.Tensor:
    ids = tuple(3 + (7 * i) % 40 for i in range(30))
    with torch.no_grad():
        return model.logprobs(Forest.of([Segment(ids)]), torch.arange(1, 30))


def distance_from(weights: dict[str, torch.Tensor], folder: Path) -> float:
    start = LanguageModel.load(folder)
    return max(float((weights[n] - w.detach()).abs().max()) for n, w in start.network.named_parameters())


@pytest.mark.parametrize("architecture", ["llama", "llama-tied"])
def test_small_updates_survive_the_way_from_stage_to_stage(tmp_path: Path, architecture: str) -> None:
    """A few updates of 1e-6 are far below bfloat16's steps at 0.15 (5e-4): rounding between stages loses them."""
    start = write_tiny(tmp_path / "start", architecture)
    first = LanguageModel.load(start, "bfloat16", masters=True)
    run(make("sft", first, epochs=3), tmp_path / "run", TINY_STEPS)
    moved = {name: weight.clone() for name, weight in first.masters.items()}
    assert 1e-6 < distance_from(moved, start) < 1e-5
    first.save(tmp_path / "after")
    second = LanguageModel.load(tmp_path / "after", "bfloat16", masters=True)
    assert same(second.masters, moved)
    assert torch.equal(some_logprobs(second), some_logprobs(first))
    without = LanguageModel.load(start, "bfloat16")  # what rounding leaves of the same steps
    run(make("sft", without, epochs=3), tmp_path / "without", TINY_STEPS)
    lost = {name: w.float() - moved[name] for name, w in without.network.named_parameters()}
    assert max(float(w.abs().max()) for w in lost.values()) > 1e-4


def test_frozen_parts_stay_and_the_rest_moves(folder: Path, tmp_path: Path) -> None:
    model = LanguageModel.load(folder, "bfloat16", masters=True)
    start = {name: weight.clone() for name, weight in model.masters.items()}
    freeze(model.network, ["model.embed_tokens.*", "model.layers.0.*", "*norm*"])
    run(make("sft", model), tmp_path, LoopSettings(learning_rate=1e-3))
    for name, weight in model.masters.items():
        frozen = name.startswith(("model.embed_tokens", "model.layers.0.")) or "norm" in name
        assert torch.equal(weight, start[name]) == frozen, name


@pytest.mark.parametrize(("pattern", "message"), [("layer.0.*", "no weight is named 'layer"), ("*", "no weight to")])
def test_freezing_nothing_or_everything_is_an_error(folder: Path, pattern: str, message: str) -> None:
    with pytest.raises(BactrianError, match=message):
        freeze(LanguageModel.load(folder).network, [pattern])


def kept_bytes(model: LanguageModel) -> int:
    """Of activations, between forward and backward."""
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        next(iter(make("sft", model).updates(0))).micro_batches[0]()
    weights = {w.untyped_storage().data_ptr() for w in model.network.parameters()}
    return sum(size for place, size in seen.items() if place not in weights)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_dropped_activations_change_memory_and_not_one_bit(tmp_path: Path, architecture: str) -> None:
    model = LanguageModel.load(write_tiny(tmp_path, architecture))
    expected, most = gradient(make("sft", model)), kept_bytes(model)
    for what, every, most_kept in (("mlp", 1, 0.85), ("layer", 1, 0.5), ("layer", 3, 0.85), ("mlp", 2, 0.97)):
        other = LanguageModel(copy.deepcopy(model.network), model.tokenizer, model.template)
        drop_activations(other.network, what, every)  # type: ignore[arg-type]
        assert same(gradient(make("sft", other)), expected)
        assert kept_bytes(other) < most_kept * most
