"""Several processes train what one does: for every objective, sharded and replicated, resumed at another number."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bactrian.store.artifact import Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.processes import ALONE, Processes
from bactrian.train import checkpoints
from bactrian.train.backend import Backend, LoopSettings
from bactrian.train.checkpoints import SavedState
from bactrian.train.choose_backend import open_backend
from bactrian.train.loop import _apply, _updates, train
from bactrian.train.rl.actor_critic import ActorCritic
from bactrian.train.sharded import whole
from bactrian.train.shards import is_cut
from tests.model.tiny import write_tiny
from tests.train.bench import distance, innermost, load, make, metrics, same, trained
from tests.train.gang import together

# far from Adam's epsilon, where the sign of a gradient of nothing decides
SETTINGS = LoopSettings(learning_rate=1e-3, epsilon=1e-2, weight_decay=0.1)
OBJECTIVES = ("sft", "pretrain", "dpo", "simpo", "reward", "kto")
POLICIES = ("grpo, two updates", "cispo, refilled", "ppo in parts")

ALL = OBJECTIVES + POLICIES
FEW = ("sft", "dpo", "kto", "cispo, refilled")
# not whether one number is above another that is equal but for rounding, as `accuracy` before the first step
COMPARED = {"loss", "grad_norm", "tokens", "trained_tokens", "margin", "baseline", "reward", "completion_length"}


def trained_here(kind: str, folder: Path, place: Path, weights: str, **how: int) -> dict[str, Any]:
    """Weights after training, whole, and what was logged, by the processes that are there."""
    torch.manual_seed(0)
    model = load(folder)
    task = make(kind, model, **({"batch": 3} | how))
    inner = innermost(task)
    masters = inner.masters if isinstance(inner, ActorCritic) else {}
    given = SimpleNamespace(network=trained(task), masters=masters)
    backend = open_backend(Hardware(weights=weights))  # type: ignore[arg-type]
    train("test", given, task, SETTINGS, Workspace.temporary(place), backend=backend)
    return {"weights": {name: w.clone() for name, w in backend.gather(given).items()}, "metrics": metrics(place)}


def several(group: Processes, folder: Path, place: Path, kinds: tuple[str, ...], weights: str) -> dict[str, Any]:
    if weights == "hybrid":  # as on two machines of two
        os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(group.rank % 2)}
        group.local_rank = group.rank % 2
    return {kind: trained_here(kind, folder, place / kind / str(group.rank), weights) for kind in kinds}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "llama-tied")


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process makes."""
    place = tmp_path_factory.mktemp("alone")
    return {kind: trained_here(kind, folder, place / kind, "replicated") for kind in ALL}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "size", "kinds"), [("sharded", 2, ALL), ("sharded", 4, FEW), ("hybrid", 4, FEW), ("replicated", 2, ALL)]
)
def test_several_processes_train_what_one_does(
    folder: Path, tmp_path: Path, alone: dict[str, dict[str, Any]], weights: str, size: int, kinds: tuple[str, ...]
) -> None:
    found = together(size, several, folder, tmp_path, kinds, weights)
    for kind in kinds:
        expected = alone[kind]
        for each in found:
            assert distance(expected["weights"], each[kind]["weights"]) <= 1e-6, kind
            for mine, theirs in zip(expected["metrics"], each[kind]["metrics"], strict=True):
                assert mine.keys() == theirs.keys(), kind
                for name in COMPARED & mine.keys():
                    assert theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=1e-5), (kind, name)


def two_by_two(group: Processes, folder: Path, place: Path) -> dict[str, torch.Tensor]:
    """As on two machines of two; each process has two micro-batches in an update, or one and a filler."""
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(group.rank % 2)}
    group.local_rank = group.rank % 2
    found = trained_here("sft", folder, place / str(group.rank), "hybrid", batch=5, micro_tokens=16)
    weights: dict[str, torch.Tensor] = found["weights"]
    return weights


@pytest.mark.slow
def test_gradients_of_several_micro_batches_cross_between_machines_once(folder: Path, tmp_path: Path) -> None:
    expected = trained_here("sft", folder, tmp_path / "alone", "replicated", batch=5)
    for found in together(4, two_by_two, folder, tmp_path):
        assert distance(expected["weights"], found) <= 1e-6


def state_of(backend: Backend) -> dict[str, torch.Tensor]:
    return {name: whole(tensor).clone() for name, tensor in backend.state().items()}


def wrapped(folder: Path) -> tuple[Backend, Any]:
    """A fresh model with a backend that shards it where there are several processes, and its task."""
    model = load(folder)
    task = make("sft", model, batch=3, epochs=2)
    backend = open_backend(Hardware(weights="sharded"))
    backend.wrap(model, SETTINGS)
    return backend, task


def saving(group: Processes, folder: Path, place: Path) -> dict[str, torch.Tensor]:
    """Two steps, saved; then a third whose checkpoint is cut; the state after the second."""
    backend, task = wrapped(folder)
    for step in range(2):
        for update in _updates(task, step, backend):
            _apply(update, backend, 1e-3, 1.0, "test", None)
    checkpoints.save(place, SavedState(2, backend.state() | {"task.kept": torch.arange(5)}, {"loss": 0.5}))
    kept = state_of(backend)
    for update in _updates(task, 2, backend):
        _apply(update, backend, 1e-3, 1.0, "test", None)
    checkpoints.save(place, SavedState(3, backend.state(), {"loss": 0.4}))
    if group.leader:  # as if power had failed before all of it was on the disk
        with next((place / "step-000003").glob("__1_*.distcp")).open("r+b") as file:
            file.truncate(100)
    return kept


def loading(group: Processes, folder: Path, place: Path) -> tuple[int, dict[str, torch.Tensor], bool]:
    """The newest that is whole, read into fresh weights; and whether this process held only a part of them."""
    backend, _ = wrapped(folder)
    saved = checkpoints.load_newest(place, backend.like)
    assert saved is not None and torch.equal(saved.tensors.pop("task.kept"), torch.arange(5))
    backend.restore(saved.tensors)
    return saved.step, state_of(backend), any(map(is_cut, backend.state().values()))


@pytest.mark.slow
def test_a_checkpoint_of_two_is_read_by_four_and_by_one_to_the_bit(folder: Path, tmp_path: Path) -> None:
    saved, same_saved = together(2, saving, folder, tmp_path / "cut")
    assert same(saved, same_saved) and any("#square" in name for name in saved)
    for each in ("four", "one"):
        shutil.copytree(tmp_path / "cut", tmp_path / each)
    for step, state, cut in together(4, loading, folder, tmp_path / "four"):
        assert step == 2 and cut and same(state, saved)
    assert not (tmp_path / "four" / "step-000003").exists()
    step, state, cut = loading(ALONE, folder, tmp_path / "one")
    assert step == 2 and not cut and same(state, saved)


def loading_whole(group: Processes, folder: Path, place: Path) -> dict[str, torch.Tensor]:
    backend, _ = wrapped(folder)
    saved = checkpoints.load_newest(place, backend.like)
    assert saved is not None
    backend.restore(saved.tensors)
    return state_of(backend)


@pytest.mark.slow
def test_a_checkpoint_of_one_is_read_by_two_to_the_bit(folder: Path, tmp_path: Path) -> None:
    backend, task = wrapped(folder)
    for update in _updates(task, 0, backend):
        _apply(update, backend, 1e-3, 1.0, "test", None)
    checkpoints.save(tmp_path, SavedState(1, backend.state(), {"loss": 0.5}))
    for found in together(2, loading_whole, folder, tmp_path):
        assert same(found, state_of(backend))
