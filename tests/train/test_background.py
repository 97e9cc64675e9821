"""Checkpoints written while training goes on: what is written, what a kill leaves, and what errors become."""

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.store.processes import Processes
from bactrian.train import checkpoints
from bactrian.train.background import Saver
from bactrian.train.checkpoints import SavedState
from tests.model.tiny import write_tiny
from tests.train.bench import SETTINGS, Cut, load, make, metrics, run, same
from tests.train.gang import together
from tests.train.test_processes import state_of, wrapped

BACKGROUND = replace(SETTINGS, background=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"), "llama-tied")


def task_of(folder: Path) -> Any:
    torch.manual_seed(0)
    return make("sft", load(folder), batch=2, epochs=3, micro_tokens=24)


def test_killed_and_resumed_is_undisturbed(folder: Path, tmp_path: Path) -> None:
    expected = run(task_of(folder), tmp_path / "whole")
    with pytest.raises(Cut.Killed):
        run(Cut(task_of(folder), after=9), tmp_path / "cut", BACKGROUND)  # type: ignore[arg-type]
    assert any((tmp_path / "cut" / "scratch" / "checkpoints").glob("step-00000?"))
    assert same(expected, run(task_of(folder), tmp_path / "cut", BACKGROUND))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_what_is_written_is_the_state_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, write = Event(), checkpoints._write_whole

    def late(*given: Any) -> None:
        go.wait(30)
        write(*given)

    monkeypatch.setattr(checkpoints, "_write_whole", late)
    weight = torch.arange(5.0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with Saver(tmp_path, background=True) as saver:
        saver.save(SavedState(1, {"weight": weight}, {"loss": 0.5}))
        assert saver.busy
        weight.mul_(2)
        torch.rand(3)
        go.set()
    found = checkpoints.load_newest(tmp_path)
    assert found is not None and torch.equal(found.tensors["weight"], torch.arange(5.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_ends_training_and_leaves_the_last_good_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = checkpoints._commit

    def full(draft: Path, final: Path, state: SavedState, files: dict[str, str]) -> None:
        if state.step > 1:
            raise BactrianError("the disk is full")
        commit(draft, final, state, files)

    monkeypatch.setattr(checkpoints, "_commit", full)
    with pytest.raises(BactrianError, match="the disk is full"):
        run(task_of(folder), tmp_path, BACKGROUND)
    found = checkpoints.load_newest(tmp_path / "scratch" / "checkpoints")
    assert found is not None and found.step == 1


def saving(group: Processes, folder: Path, place: Path) -> dict[str, torch.Tensor]:
    """In the background, while the processes exchange other things."""
    backend, _ = wrapped(folder)
    with Saver(place, background=True) as saver:
        saver.save(SavedState(1, backend.state(), {"loss": 0.5}))
        for number in range(50):
            assert group.gathered(number) == [number] * group.size
    return state_of(backend)


@pytest.mark.slow
def test_two_write_their_parts_in_the_background(folder: Path, tmp_path: Path) -> None:
    first, second = together(2, saving, folder, tmp_path)
    found = checkpoints.load_newest(tmp_path)
    assert found is not None and same(first, second) and same(found.tensors, first)
