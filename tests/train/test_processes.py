"""Several processes train what one does: for every objective, sharded and replicated, resumed at another number."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bactrian.store.artifact import Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.processes import Processes
from bactrian.train.backend import LoopSettings, open_backend
from bactrian.train.loop import train
from bactrian.train.rl.actor_critic import ActorCritic
from tests.model.tiny import write_tiny
from tests.train.bench import distance, innermost, load, make, metrics, trained
from tests.train.gang import together

# far from Adam's epsilon, where the sign of a gradient of nothing decides
SETTINGS = LoopSettings(learning_rate=1e-3, epsilon=1e-2, weight_decay=0.1)
SHARED = ("sft", "pretrain", "dpo", "simpo", "reward", "kto")


def trained_here(kind: str, folder: Path, place: Path, weights: str, **changes: Any) -> dict[str, Any]:
    """Weights after training, whole, and what was logged, by the processes that are there."""
    model = load(folder)
    task = make(kind, model, batch=3, epochs=2, **changes)
    inner = innermost(task)
    masters = inner.masters if isinstance(inner, ActorCritic) else {}
    given = SimpleNamespace(network=trained(task), masters=masters)
    backend = open_backend(Hardware(weights=weights))  # type: ignore[arg-type]
    train("test", given, task, SETTINGS, Workspace.temporary(place), backend=backend)
    return {"weights": {name: w.clone() for name, w in backend.gather(given).items()}, "metrics": metrics(place)}


def several(group: Processes, folder: Path, place: Path, kinds: tuple[str, ...], weights: str) -> dict[str, Any]:
    torch.manual_seed(0)
    return {kind: trained_here(kind, folder, place / kind / str(group.rank), weights) for kind in kinds}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "llama-tied")


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("weights", ["sharded", "replicated"])
def test_several_processes_train_what_one_does(folder: Path, tmp_path: Path, size: int, weights: str) -> None:
    found = together(size, several, folder, tmp_path / "several", SHARED, weights)
    for kind in SHARED:
        alone = trained_here(kind, folder, tmp_path / "alone" / kind, weights)
        for each in found:
            assert distance(alone["weights"], each[kind]["weights"]) <= 1e-6
            for mine, theirs in zip(alone["metrics"], each[kind]["metrics"], strict=True):
                assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-5)
