"""The backend has the weights: what it gathers is what it scatters, and a loop sees no optimiser but its own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.store.hardware import Hardware
from bactrian.store.processes import Processes
from bactrian.train import choose_backend
from bactrian.train.backend import LocalBackend, LoopSettings
from bactrian.train.choose_backend import open_backend
from tests.model.tiny import write_tiny
from tests.train.bench import load, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_gathered_comes_back_after_a_step_to_the_bit(folder: Path, dtype: str) -> None:
    model = load(folder, dtype)
    model.masters = {
        name: w.detach().float().clone() for name, w in model.network.named_parameters() if dtype != "float32"
    }
    backend = open_backend(Hardware())
    assert isinstance(backend, LocalBackend)
    backend.wrap(model, LoopSettings(1e-2))
    start = {name: weight.clone() for name, weight in backend.gather(model).items()}
    assert all(weight.dtype == torch.float32 for weight in start.values())
    (update,) = make("sft", model).updates(0)
    backend.expect(len(update.micro_batches))
    for micro_batch in update.micro_batches:
        backend.backward(micro_batch()[0])
    assert backend.step(1e-2, 1.0) > 0
    moved = backend.gather(model)
    assert moved.keys() == start.keys() and any(not torch.equal(moved[name], start[name]) for name in start)
    backend.scatter(model, start)
    again = backend.gather(model)
    assert all(torch.equal(again[name], start[name]) for name in start)
    for name, weight in model.network.named_parameters():
        assert torch.equal(weight, start[name].to(weight.dtype))


def test_a_part_that_is_frozen_is_not_gathered(folder: Path) -> None:
    model = load(folder)
    frozen, _ = next(iter(model.network.named_parameters()))
    model.network.get_parameter(frozen).requires_grad_(False)
    assert frozen not in LocalBackend().gather(model)


def test_hybrid_weights_want_as_many_processes_on_each_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uneven(Processes):
        def gathered(self, value: Any) -> list[Any]:
            return [(2, 0), (2, 1), (1, 0)]

    monkeypatch.setattr(choose_backend, "local_size", lambda: 2)
    with pytest.raises(BactrianError, match=r"hybrid, and machines with 2, 1 processes"):
        choose_backend.on_one_machine(Uneven(0, 3, 0))
