"""The loop: any cut of a step is the same step; k steps, a kill and the rest are the whole; damage is named."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.train import checkpoints as checkpoint
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import Update, train
from tests.draws import drawn_seed
from tests.model.tiny import write_tiny
from tests.train.bench import KINDS, Cut, distance, gradient, gradient_in_parts, load, make, metrics, run, same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def double(folder: Path) -> LanguageModel:
    model = load(folder)
    model.network.double()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_into_micro_batches_gives_the_same_gradient(folder: Path, kind: str) -> None:
    model = double(folder)
    whole, one = gradient_in_parts(make(kind, model, micro_tokens=10_000))
    for micro_tokens in (1, random.Random(drawn_seed()).choice((40, 60, 100))):
        found, parts = gradient_in_parts(make(kind, model, micro_tokens=micro_tokens))
        assert distance(whole, found) <= 1e-6
        assert micro_tokens > 1 or parts > one


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_each_micro_batch_s_own_mean_is_another_gradient(folder: Path, kind: str) -> None:
    model = double(folder)
    whole = gradient(make(kind, model))
    few, many = (gradient(make(kind, model, items=part, batch=len(part))) for part in ([0], [1, 2, 3, 4]))
    naive = {name: (few[name] + many[name]) / 2 for name in whole}
    assert distance(whole, naive) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_after_several_steps_do_not_depend_on_the_cut(folder: Path, tmp_path: Path, kind: str) -> None:
    # far from Adam's epsilon, where the sign of a gradient of nothing decides
    settings = LoopSettings(learning_rate=1e-3, epsilon=1e-2, clip=None)
    after = []
    for micro_tokens in (40, 10_000):
        model = load(folder)
        task = make(kind, model, batch=3, epochs=2, micro_tokens=micro_tokens)
        after.append(run(task, tmp_path / str(micro_tokens), settings))
    assert distance(*after) <= 1e-6


# epochs that end within a step and one micro-batch a step; epochs that end with a step and several
CASES = [(kind, 5, 10_000) for kind in KINDS if kind != "ppo"]
CASES += [(kind, 4, 60) for kind in ("sft", "dpo_norm", "grpo, two updates")]


def end_as_if_undisturbed(
    folder: Path, place: Path, case: tuple[str, int, int], moments: Callable[[int, int], Iterable[int]]
) -> None:
    """moments: micro-batches before which to kill, given the number of them and that in a step."""
    kind, items, micro_tokens = case

    def fresh() -> Cut:
        model = load(folder)
        return Cut(make(kind, model, items=range(items), batch=2, epochs=2, micro_tokens=micro_tokens), 10**6)

    task = fresh()
    expected, steps = run(task, place / "whole"), task.steps
    micro_batches = 10**6 - task.after
    assert steps >= 4 and micro_batches >= steps
    for kill in moments(micro_batches, micro_batches // steps):
        cut = place / str(kill)
        task = fresh()
        task.after = kill
        with pytest.raises(Cut.Killed):
            run(task, cut)
        task = fresh()
        assert same(run(task, cut), expected)
        assert metrics(cut) == metrics(place / "whole")
        # it resumed, unless the kill came before the end of the first step
        assert 10**6 - task.after < micro_batches or kill < micro_batches // steps


@pytest.mark.parametrize(("kind", "items", "micro_tokens"), CASES)
def test_killed_at_any_micro_batch_it_ends_as_if_undisturbed(
    folder: Path, tmp_path: Path, kind: str, items: int, micro_tokens: int
) -> None:
    """The loop that saves is one for all: each moment for one kind, and in a drawn step where that has two updates; for
    the others one moment that is drawn.
    """
    draw = random.Random(drawn_seed())

    def moments(count: int, in_a_step: int) -> Iterable[int]:
        if (kind, micro_tokens) == ("sft", 60):
            return range(count)
        if (kind, micro_tokens) == ("grpo, two updates", 10_000):
            first = in_a_step * draw.randrange(1, count // in_a_step)
            return range(first, first + in_a_step)
        return [draw.randrange(in_a_step, count)]

    end_as_if_undisturbed(folder, tmp_path, (kind, items, micro_tokens), moments)


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "items", "micro_tokens"), CASES)
def test_killed_at_every_micro_batch_it_ends_as_if_undisturbed(
    folder: Path, tmp_path: Path, kind: str, items: int, micro_tokens: int
) -> None:
    end_as_if_undisturbed(folder, tmp_path, (kind, items, micro_tokens), lambda count, _: range(count))


def test_killed_again_and_again(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    expected = run(make("sft", model, batch=1, epochs=2), tmp_path / "whole")
    for _ in range(9):  # one step further each time
        model = load(folder)
        with pytest.raises(Cut.Killed):
            run(Cut(make("sft", model, batch=1, epochs=2), 1), tmp_path / "cut")
    model = load(folder)
    assert same(run(make("sft", model, batch=1, epochs=2), tmp_path / "cut"), expected)


def test_in_bfloat16_too_a_resumed_run_is_the_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    def fresh() -> LanguageModel:
        return load(folder, "bfloat16")

    model = fresh()
    expected = run(make("dpo_norm", model, batch=2, epochs=2), tmp_path / "whole")
    model = fresh()
    with pytest.raises(Cut.Killed):
        run(Cut(make("dpo_norm", model, batch=2, epochs=2), 3), tmp_path / "cut")
    model = fresh()
    assert same(run(make("dpo_norm", model, batch=2, epochs=2), tmp_path / "cut"), expected)


def flip_a_byte(newest: Path) -> None:
    path = newest / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def truncate(newest: Path) -> None:
    path = newest / "checkpoint.json"
    path.write_bytes(path.read_bytes()[:-20])


def forge(newest: Path) -> None:
    path = newest / "checkpoint.json"
    path.write_text(path.read_text().replace('"step', '"stop', 1).replace('\\"step\\": ', '\\"step\\": 1', 1))


def remove(newest: Path) -> None:
    (newest / "state.safetensors").unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, forge, remove])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    model = load(folder)
    expected = run(make("sft", model, batch=1, epochs=1), tmp_path / "whole")
    model = load(folder)
    with pytest.raises(Cut.Killed):
        run(Cut(make("sft", model, batch=1, epochs=1), 3), tmp_path / "cut")
    checkpoints = tmp_path / "cut" / "scratch" / "checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["step-000002", "step-000003"]
    damage(checkpoints / "step-000003")
    (checkpoints / "step-000004.partial").mkdir()
    capsys.readouterr()
    model = load(folder)
    assert same(run(make("sft", model, batch=1, epochs=1), tmp_path / "cut"), expected)
    said = capsys.readouterr().err
    assert f"{checkpoints / 'step-000003'}: damaged checkpoint, not used" in said
    assert "resuming after step 2 of 5; 3 to go" in said
    assert not list(checkpoints.glob("*.partial"))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_without_a_good_checkpoint_it_starts_over(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    expected = run(make("sft", model, batch=1), tmp_path / "whole")
    model = load(folder)
    with pytest.raises(Cut.Killed):
        run(Cut(make("sft", model, batch=1), 4), tmp_path / "cut")
    for each in (tmp_path / "cut" / "scratch" / "checkpoints").iterdir():
        flip_a_byte(each)
    model = load(folder)
    assert same(run(make("sft", model, batch=1), tmp_path / "cut"), expected)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_a_checkpoint_holds_what_it_was_given_and_the_random_state(tmp_path: Path) -> None:
    torch.manual_seed(5)
    given = checkpoint.SavedState(7, {"a": torch.randn(3, 2), "b": torch.tensor(4.0)}, {"tokens": 2.0**40})
    checkpoint.save(tmp_path, given)
    expected = torch.rand(3)
    torch.manual_seed(6)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and same(found.tensors, given.tensors)
    assert (found.step, found.counts) == (7, {"tokens": 2.0**40})
    assert torch.equal(torch.rand(3), expected)


def test_checkpoints_are_written_when_it_is_time_and_not_after_the_last_step(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    run(make("sft", model, batch=1), tmp_path, LoopSettings(1e-3, checkpoint_seconds=3600))
    assert not (tmp_path / "scratch" / "checkpoints").exists()
    model = load(folder)
    run(make("sft", model, batch=1), tmp_path, LoopSettings(1e-3, checkpoint_seconds=0))
    names = sorted(p.name for p in (tmp_path / "scratch" / "checkpoints").iterdir())
    assert names == ["step-000003", "step-000004"]


class Poisoned:
    """Its third step's loss is not a number."""

    steps, updates_per_step = 5, 1

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.task = model, make("sft", model, batch=1)

    def updates(self, step: int) -> list[Update]:
        (update,) = self.task.updates(step)
        (share,) = update.micro_batches
        return [Update([lambda: (share()[0] * (float("nan") if step == 2 else 1), {})], update.tokens)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gradient_that_is_not_finite_says_where_and_changes_nothing(folder: Path, tmp_path: Path, dtype: str) -> None:
    from bactrian.store.artifact import Workspace

    model = load(folder, dtype)
    workspace = Workspace.temporary(tmp_path)
    with pytest.raises(BactrianError, match=r"sft, step 3: the loss is nan"):
        train("sft", model, Poisoned(model), LoopSettings(1e-3, checkpoint_seconds=0), workspace)
    assert all(bool(w.isfinite().all()) for w in model.network.parameters())
    found = checkpoint.load_newest(tmp_path / "scratch" / "checkpoints")
    assert found is not None and found.step == 2
    assert len((tmp_path / "output" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_line_of_metrics_for_each_update(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    run(make("sft", model, batch=2, epochs=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert {"loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "trained_tokens"} <= line.keys()
    assert lines[-1]["tokens"] > lines[0]["tokens"] > 0
    assert lines[-1]["loss"] < lines[0]["loss"]
