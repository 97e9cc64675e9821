"""Where the memory does not suffice, micro-batches are cut, and training does what it would have done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import Decoder
from bactrian.store.artifact import Workspace
from bactrian.train import optimiser
from bactrian.train.backend import LocalBackend, LoopSettings
from bactrian.train.fitting import Fitting, Halvable, no_longer_fits
from bactrian.train.loop import train
from bactrian.train.rl.actor_critic import ActorCritic
from tests.model.tiny import write_tiny
from tests.train.bench import distance, innermost, load, make, trained

SETTINGS = LoopSettings(learning_rate=1e-3, epsilon=1e-2)
ROOM = 36  # tokens that a made-up GPU has memory for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "llama-tied")


def weights_after(folder: Path, place: Path, kind: str, backend: Any, **how: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    task = make(kind, load(folder), micro_tokens=10**6, batch=5, **how)
    inner = innermost(task)
    given = SimpleNamespace(network=trained(task), masters=inner.masters if isinstance(inner, ActorCritic) else {})
    train("test", given, task, SETTINGS, Workspace.temporary(place), backend=backend)
    return {name: weight.clone() for name, weight in backend.gather(given).items()}


def small(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that has no memory for more than ROOM tokens, where it is to have a gradient."""

    def tried(model: Decoder, forest: Any, *more: Any) -> Any:
        if torch.is_grad_enabled() and forest.tokens > ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(model, forest, *more)

    return tried


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto", "grpo, two updates", "ppo"])
def test_a_forward_that_does_not_fit_is_made_in_parts(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = weights_after(folder, tmp_path / "roomy", kind, LocalBackend())
    monkeypatch.setattr(Decoder, "forward", small(Decoder.forward))
    found = weights_after(folder, tmp_path / "small", kind, LocalBackend())
    assert distance(expected, found) <= 1e-6
    assert "does not fit the GPU" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["grpo, two updates", "ppo"])
def test_answers_to_one_problem_are_parted_too(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights_after(folder, tmp_path / "roomy", kind, LocalBackend())
    monkeypatch.setattr("tests.train.test_fitting.ROOM", 18)  # a prompt of at most 10 tokens and one answer of 6
    monkeypatch.setattr(Decoder, "forward", small(Decoder.forward))
    assert distance(expected, weights_after(folder, tmp_path / "small", kind, LocalBackend())) <= 1e-6


class FailsLate(LocalBackend):
    """Has no memory at the end of the second backward, when gradients are added already."""

    calls = 0

    def backward(self, loss: torch.Tensor) -> None:
        super().backward(loss)
        self.calls += 1
        if self.calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_failed_backward_added_is_forgotten(folder: Path, tmp_path: Path, dtype: str) -> None:
    found = {}
    for name, backend in (("plain", LocalBackend()), ("late", FailsLate())):
        model = load(folder, dtype)
        task = make("sft", model, batch=5, micro_tokens=40)
        model.masters = (
            {n: w.detach().float() for n, w in model.network.named_parameters()} if dtype != "float32" else {}
        )
        train("test", model, task, SETTINGS, Workspace.temporary(tmp_path / name), backend=backend)
        found[name] = backend.gather(model)
    assert distance(found["plain"], found["late"]) <= (1e-6 if dtype == "float32" else 2e-3)


def test_one_row_too_long_says_what_to_set(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.train.test_fitting.ROOM", 3)
    monkeypatch.setattr(Decoder, "forward", small(Decoder.forward))
    with pytest.raises(BactrianError, match=r"one item of \d+ tokens .*recompute: layer.*Tried to allocate 2.00 GiB"):
        weights_after(folder, tmp_path, "sft", LocalBackend())


def test_where_all_cannot_begin_anew_the_setting_is_told() -> None:
    assert "micro_tokens: 7" in str(no_longer_fits(15, torch.OutOfMemoryError("no")))


def test_a_size_is_known_to_fit_once_an_update_beside_the_optimiser_s_state_went_through() -> None:
    fitting = Fitting()
    fitting.went_through([90])
    assert not fitting.fits(10)
    fitting.went_through([40, 20])
    assert fitting.fits(40) and not fitting.fits(41)


def test_halves_hold_each_item_once_and_are_even() -> None:
    piece = Halvable(lambda items: (torch.tensor(float(sum(items))), {}), list(range(9)), [3, 1, 4, 1, 5, 9, 2, 6, 5])
    fitting = Fitting(too_large=10)
    parts = list(fitting.pieces(piece))
    assert [i for part in parts if isinstance(part, Halvable) for i in part.items] == list(range(9))
    assert all(part.size < 10 or len(part.items) == 1 for part in parts if isinstance(part, Halvable))
    assert sum(float(part()[0]) for part in parts) == 36


def test_offloaded_masters_are_what_is_saved(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU offloading moves them elsewhere; here to other memory of the same kind."""
    monkeypatch.setattr(optimiser, "in_main_memory", torch.Tensor.clone)
    found = {}
    for offload in (False, True):
        model = load(folder, "bfloat16")
        model.masters = {name: weight.detach().float() for name, weight in model.network.named_parameters()}
        task = make("sft", model, batch=5, micro_tokens=40)
        train("test", model, task, replace(SETTINGS, offload=offload), Workspace.temporary(tmp_path / str(offload)))
        found[offload] = {name: weight.clone() for name, weight in model.exact().items()}
    assert distance(found[False], found[True]) <= 1e-6
