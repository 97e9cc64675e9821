"""Several processes train what one does: every objective, weights and adapters, sharded and replicated, references
too; resumed at another number; with memory that does not suffice in one of them."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model import language_model
from bactrian.model.adapters import merge_adapters
from bactrian.model.language_model import Decoder, LanguageModel
from bactrian.store.artifact import Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.processes import ALONE, Processes
from bactrian.train import abreast, checkpoints
from bactrian.train.backend import Backend, LoopSettings
from bactrian.train.checkpoints import SavedState
from bactrian.train.choose_backend import in_shards, open_backend
from bactrian.train.loop import TrainingTask, _apply, _updates, train
from bactrian.train.preference import Preference, reference_logprobs
from bactrian.train.rl.actor_critic import ActorCritic
from bactrian.train.shards import is_cut
from bactrian.train.units import units, whole
from bactrian.train.unpaired import Unpaired, reference_sums
from tests.model.tiny import write_tiny
from tests.train.bench import distance, innermost, load, make, metrics, same, trained
from tests.train.gang import together

# far from Adam's epsilon, where the sign of a gradient of nothing decides
SETTINGS = LoopSettings(learning_rate=1e-3, epsilon=1e-2, weight_decay=0.1)
OBJECTIVES = ("sft", "pretrain", "dpo", "simpo", "reward", "kto")
POLICIES = ("grpo, two updates", "cispo, refilled", "ppo", "ppo in parts")
ADAPTED = ("adapted sft", "adapted dpo", "adapted reward", "adapted ppo")

ALL = OBJECTIVES + POLICIES + ADAPTED
FEW = ("sft", "dpo", "kto", "cispo, refilled", "adapted sft")
# not whether one number is above another that is equal but for rounding, as `accuracy` before the first step
COMPARED = {"loss", "grad_norm", "tokens", "trained_tokens", "margin", "baseline", "reward", "completion_length"}


def trained_here(kind: str, folder: Path, place: Path, weights: str, **how: int) -> dict[str, Any]:
    """Weights after training, whole, and what was logged, by the processes that are there; adapters merged, too."""
    torch.manual_seed(0)
    hardware = Hardware(weights=weights)  # type: ignore[arg-type]
    words = kind.partition(" ")
    adapted, kind = words[0] == "adapted", words[2] if words[0] == "adapted" else kind
    model = load(folder)
    task: Any = make(kind, model, adapted=adapted, **({"batch": 3} | how))
    inner: Any = innermost(task)
    masters = inner.masters if isinstance(inner, ActorCritic) else {}
    given = SimpleNamespace(network=trained(task), masters=masters)
    backend = open_backend(hardware)
    refer(inner, hardware, backend, given, adapted)
    train("test", given, task, SETTINGS, Workspace.temporary(place), backend=backend)
    found: dict[str, Any] = {
        "weights": {name: w.clone() for name, w in backend.gather(given).items()},
        "metrics": metrics(place),
        "cut": all(map(is_cut, given.network.parameters())),
        "state": {name.partition("#")[0] for name in backend.state()},
    }
    policy = inner.policy if isinstance(inner, ActorCritic) else inner.model
    if adapted:
        if backend.settle(policy):
            merge_adapters(policy.network, place / "adapter")
        found["merged"] = {name: weight.clone() for name, weight in backend.exact(policy).items()}
    return found


def refer(task: Any, hardware: Hardware, backend: Backend, given: Any, adapted: bool) -> None:
    """What a task reads beside what it trains, as weights of this hardware lie."""
    if isinstance(task, Preference | Unpaired) and task.reference is not None:
        backend.wrap(given, SETTINGS)  # few tokens at a time: more of them for one process than for another
        if isinstance(task, Preference):
            read = partial(reference_logprobs, task.model, task.pairs, 40, in_step=backend.in_step)
        else:
            read = partial(reference_sums, task.model, task.opinions, 40, in_step=backend.in_step)
        task.reference = backend.reading(read) - 0.5
    elif not adapted and getattr(task, "reference", None) is not None:
        task.reference = in_shards(task.reference, hardware)
    if isinstance(task, ActorCritic):
        assess: Any = task.assess
        task.assess = replace(assess, model=in_shards(assess.model, hardware))


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
    ("weights", "size", "kinds"),
    [("sharded", 2, ALL), ("sharded", 4, FEW), ("hybrid", 4, FEW), ("replicated", 2, OBJECTIVES + POLICIES)],
)
def test_several_processes_train_what_one_does(
    folder: Path, tmp_path: Path, alone: dict[str, dict[str, Any]], weights: str, size: int, kinds: tuple[str, ...]
) -> None:
    found = together(size, several, folder, tmp_path, kinds, weights)
    for kind in kinds:
        expected = alone[kind]
        for each in found:
            assert distance(expected["weights"], each[kind]["weights"]) <= 1e-6, kind
            assert each[kind]["cut"] == (weights != "replicated"), kind
            assert each[kind]["state"] == set(expected["weights"]), kind  # of frozen weights there is none
            for mine, theirs in zip(expected["metrics"], each[kind]["metrics"], strict=True):
                assert mine.keys() == theirs.keys(), kind
                for name in COMPARED & mine.keys():
                    assert theirs[name] == pytest.approx(mine[name], rel=1e-4, abs=1e-5), (kind, name)
        if "merged" in expected:
            assert all("lora_" in name or name == "score.weight" or "value." in name for name in expected["state"])
            assert distance(expected["merged"], found[0][kind]["merged"]) <= 1e-6, kind
            assert not any(each[kind]["merged"] for each in found[1:])


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


def wrapped(folder: Path, adapted: bool = False) -> tuple[Backend, Any]:
    """A fresh model with a backend that shards it where there are several processes, and its task."""
    model = load(folder)
    task = make("sft", model, batch=3, epochs=2, adapted=adapted)
    backend = open_backend(Hardware(weights="sharded"))
    backend.wrap(model, SETTINGS)
    return backend, task


def saving(group: Processes, folder: Path, place: Path) -> list[dict[str, torch.Tensor]]:
    return [saved_of(group, folder, place / kind, kind == "adapters") for kind in ("weights", "adapters")]


def saved_of(group: Processes, folder: Path, place: Path, adapted: bool) -> dict[str, torch.Tensor]:
    """Two steps, saved; then a third whose checkpoint is cut; the state after the second."""
    backend, task = wrapped(folder, adapted)
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


def loading(group: Processes, folder: Path, place: Path) -> list[tuple[int, dict[str, torch.Tensor], bool]]:
    return [loaded_of(folder, place / kind, kind == "adapters") for kind in ("weights", "adapters")]


def loaded_of(folder: Path, place: Path, adapted: bool) -> tuple[int, dict[str, torch.Tensor], bool]:
    """The newest that is whole, read into fresh weights; and whether this process held only a part of them."""
    backend, _ = wrapped(folder, adapted)
    saved = checkpoints.load_newest(place, backend.like)
    assert saved is not None and torch.equal(saved.tensors.pop("task.kept"), torch.arange(5))
    backend.restore(saved.tensors)
    return saved.step, state_of(backend), any(map(is_cut, backend.state().values()))


@pytest.mark.slow
def test_a_checkpoint_of_two_is_read_by_four_and_by_one_to_the_bit(folder: Path, tmp_path: Path) -> None:
    saved, same_saved = together(2, saving, folder, tmp_path / "cut")
    assert all(map(same, saved, same_saved)) and all(any("#square" in name for name in each) for each in saved)
    assert all("lora_" in name for name in saved[1])
    for each in ("four", "one"):
        shutil.copytree(tmp_path / "cut", tmp_path / each)
    for found in together(4, loading, folder, tmp_path / "four"):
        for (step, state, cut), expected in zip(found, saved, strict=True):
            assert step == 2 and cut and same(state, expected)
    assert not list((tmp_path / "four").glob("*/step-000003"))
    for (step, state, cut), expected in zip(loading(ALONE, folder, tmp_path / "one"), saved, strict=True):
        assert step == 2 and not cut and same(state, expected)


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


PLACES = ("forward", "loss", "backward", "lowest backward", "gathering", "both at once", "more than 30 tokens")


class Shortage:
    """Memory that does not suffice, once: at the `after`-th time that it is asked for with a gradient in view."""

    def __init__(self, here: bool, after: int) -> None:
        self.here, self.left = here, after

    def __call__(self, *_: Any) -> None:
        self.left -= torch.is_grad_enabled()
        if self.left == 0 and self.here:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            self()
            return function(*given, **named)

        return called

    def in_backward(self, _: Any, __: Any, output: torch.Tensor) -> None:
        self.left -= output.requires_grad
        if self.left == 0 and self.here:
            output.register_hook(fail)


def fail(_: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def never_enough(most: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that has no memory for more than so many tokens, where it is to have a gradient."""

    def tried(model: Decoder, forest: Any, *more: Any) -> Any:
        if torch.is_grad_enabled() and forest.tokens > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(model, forest, *more)

    return tried


def short(place: str, rank: int, network: Any, patch: pytest.MonkeyPatch) -> None:
    """From now on process 1 has no memory at this place in its second update."""
    layers = list(units(network))
    shortage = Shortage(rank == 1 or place == "both at once", after=2)
    if place in ("forward", "both at once"):
        layers[1].mlp.register_forward_hook(shortage)
    elif place == "loss":
        patch.setattr(language_model, "token_logprobs", shortage.before(language_model.token_logprobs))
    elif place in ("backward", "lowest backward"):
        layers[place == "backward"].mlp.register_forward_hook(shortage.in_backward)
    elif place == "gathering":
        shortage.left = 15
        patch.setattr(abreast._Exchange, "allocate", shortage.before(abreast._Exchange.allocate))
    elif rank == 1:
        patch.setattr(Decoder, "forward", never_enough(30, Decoder.forward))


def without_memory(group: Processes, folder: Path, place: Path, places: tuple[str, ...]) -> dict[str, Any]:
    """Weights after three updates, by where memory does not suffice; and what is said of a row that never fits."""
    found, patched, said = {}, pytest.MonkeyPatch(), ""
    for where in places:
        with patched.context() as patch:
            model = load(folder)
            short(where, group.rank, model.network, patch)
            found[where] = train_plainly(model, place / where / str(group.rank))
    with patched.context() as patch:
        patch.setattr(Decoder, "forward", never_enough(3 if group.rank == 1 else 1000, Decoder.forward))
        try:
            train_plainly(load(folder), place / "never" / str(group.rank))
        except BactrianError as error:
            said = str(error)
    return {"weights": found, "said": said}


def train_plainly(model: LanguageModel, place: Path) -> dict[str, torch.Tensor]:
    task: TrainingTask = make("sft", model, batch=5, epochs=3, micro_tokens=10**6)
    backend = open_backend(Hardware(weights="sharded"))
    train("test", model, task, SETTINGS, Workspace.temporary(place), backend=backend)
    return {name: w.clone() for name, w in backend.gather(model).items()}


@pytest.mark.slow
def test_where_one_runs_out_of_memory_all_begin_the_update_anew_in_smaller_parts(folder: Path, tmp_path: Path) -> None:
    expected = train_plainly(load(folder), tmp_path / "alone")
    for found in together(2, without_memory, folder, tmp_path, PLACES):
        for where in PLACES:
            assert distance(expected, found["weights"][where]) <= 1e-6, where
        assert "process 1 of 2: one item of" in found["said"] and "recompute: layer" in found["said"]
