"""Stage `rlvr` with samplers as actors of a local Ray cluster: what it learns is what one process learns."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bactrian.data.io.files import write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.errors import BactrianError
from bactrian.stages.rl.rlvr import RLVR
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from bactrian.train.rl.asynchronous.books import Share
from bactrian.train.rl.asynchronous.ray_workers import RaySampler, RayWorkers
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {
    "model": "start",
    "data": "rows",
    "steps": 5,
    "problems_per_step": 4,
    "samples": 3,
    "max_new_tokens": 6,
    "learning_rate": 1e-2,
    "reward": {"no_end_reward": None},
    "template": "raw",
    "watch": {"rollouts": 2},
    "checkpoints": {"checkpoint_seconds": 0},
}
STALE = {"gap_limit": 0.01, "importance_cap": 2.0, "staleness": 2}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One for all tests here; of a cluster that other tests use, nothing is left."""
    yield
    import ray

    ray.shutdown()


def settings(stale: int = 0, adapter: dict[str, int] | None = None, **asynchronous: Any) -> RLVR:
    given = {**NEEDED, "sampling": {**STALE, "staleness": stale}, "adapter": adapter}
    return RLVR(**given, asynchronous=asynchronous or None)


def workspace(folder: Path) -> Workspace:
    write_tiny(folder / "start")
    # right is an answer with a digit in it: some are
    write_rows([problem(f"say {i} + {i}", "1", "1", "gsm8k", "test", "CC0-1.0") for i in range(9)], folder / "rows")
    inputs = {
        "rows": Input("rows", folder / "rows", Kind.DATA, "hash of rows"),
        "start": Input("start", folder / "start", Kind.MODEL, "hash of start"),
    }
    return Workspace.temporary(folder / "out", inputs, 1, Hardware(dtype="float32", threads=1))


def run(stage: RLVR, folder: Path) -> tuple[Weights, list[dict[str, Any]]]:
    """The weights that the stage leaves, and its metrics without what the clock says."""
    made = workspace(folder)
    stage.run(made)
    lines = [json.loads(line) for line in (made.output / "metrics.jsonl").read_text().splitlines()]
    timed = ("tokens_per_second", "waited")
    return load_file(made.output / "model.safetensors"), [
        {name: value for name, value in line.items() if name not in timed} for line in lines
    ]


@pytest.mark.slow
def test_samplers_that_are_waited_for_change_nothing(tmp_path: Path) -> None:
    """Adapters alone are trained here, and sent."""
    adapter = {"rank": 4}
    before = signal.getsignal(signal.SIGTERM)
    weights, lines = run(settings(0, adapter, samplers=2, compare_weights=True), tmp_path / "remote")
    assert signal.getsignal(signal.SIGTERM) == before, "a signal still asks for a checkpoint"
    expected, told = run(settings(0, adapter), tmp_path / "here")
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in weights)
    assert lines == told and lines[-1]["reward"] > 0


@pytest.mark.slow
def test_a_sampler_and_the_trainer_are_killed_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps ahead; batches are then as old as where one process samples and trains by turns, to the bit."""
    expected, told = run(settings(stale=2), tmp_path / "here")
    give, publish, given = RayWorkers.give, RayWorkers.publish, []

    class Killed(BaseException):
        pass

    def deadly(self: RayWorkers, worker: int, share: Share) -> None:
        give(self, worker, share)
        given.append((worker, share))
        if len(given) == 3:  # it has this share and one of the batch before
            self.ray.kill(self._actors[worker])

    def cut(self: RayWorkers, version: int, keep: set[int]) -> None:
        if version == 2 and "killed" not in told[0]:
            told[0]["killed"] = True
            raise Killed
        publish(self, version, keep)

    monkeypatch.setattr(RayWorkers, "give", deadly)
    monkeypatch.setattr(RayWorkers, "publish", cut)
    with pytest.raises(Killed):
        run(settings(stale=2, samplers=2), tmp_path / "remote")
    assert len({share for _, share in given}) < len(given), "a lost share was handed out again"
    weights, lines = run(settings(stale=2, samplers=2), tmp_path / "remote")
    assert told[0].pop("killed") and all(torch.equal(weights[name], expected[name]) for name in weights)
    assert lines == told and [line["staleness"] for line in lines] == [0, 1, 2, 2, 2]


@pytest.mark.slow
def test_a_sampler_that_hangs_is_replaced_and_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is stopped, not ended: it keeps its connections, and never answers again."""
    expected, told = run(settings(stale=2), tmp_path / "here")
    give, stopped, given = RayWorkers.give, list[int](), list[int]()

    def stopping(self: RayWorkers, worker: int, share: Share) -> None:
        if share.batch == 3 and not stopped:
            stopped.append(self.ray.get(self._actors[worker].process.remote()))
            os.kill(stopped[0], signal.SIGSTOP)
        give(self, worker, share)
        given.append(worker)

    monkeypatch.setattr(RaySampler, "process", lambda _: os.getpid(), raising=False)
    monkeypatch.setattr(RayWorkers, "give", stopping)
    weights, lines = run(settings(stale=2, samplers=1, patience=5), tmp_path / "remote")
    assert stopped and set(given) >= {0, 1}, "another sampler took its place"
    assert all(torch.equal(weights[name], expected[name]) for name in weights) and lines == told


@pytest.mark.slow
def test_new_weights_are_taken_up_in_flight_and_no_token_is_too_old(tmp_path: Path) -> None:
    _, lines = run(settings(stale=2, samplers=1, in_flight=True, piece=2, compare_weights=True), tmp_path)
    assert len(lines) == 5 and all(0 <= line["staleness"] <= 2 for line in lines)
    assert all(line["importance_weight"] > 0 for line in lines if line["loss"])


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(ValidationError, match=r"in_flight: found sampling.staleness 0, expected 1 or more"):
        settings(in_flight=True)
    with pytest.raises(ValidationError, match=r"staleness: expected as sampling: \{staleness: 1, importance_cap: 2\}"):
        settings(stale=1, samplers=2, staleness=1)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        settings(stale=-1, samplers=1)
    with pytest.raises(ValidationError, match=r"asynchronous: expected none beside reward.calibration"):
        RLVR(**{**NEEDED, "reward": {"calibration": "c"}}, asynchronous={})


def test_without_ray_the_line_that_installs_it_is_shown() -> None:
    assert ("asynchronous", "ray") in settings(samplers=1).all_needs()


def test_several_trainers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bactrian.store import processes

    monkeypatch.setattr("bactrian.stages.rl.watching.train_watched", lambda *_: None)
    monkeypatch.setattr(processes, "present", lambda: processes.Processes(0, 2))
    with pytest.raises(BactrianError, match="asynchronous: found 2 processes that train together, expected one"):
        run(settings(samplers=1), tmp_path)
