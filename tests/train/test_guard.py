"""Updates that are outliers are not made; what is not finite leaves no trace; a killed run skips the same ones."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.train.backend import LoopSettings
from bactrian.train.checkpoints import SavedState, save
from bactrian.train.guard import FEWEST, HOPELESS, SkipRule, SpikeGuard
from bactrian.train.loop import Update, train
from bactrian.train.rewinding import Rewinder, RewindRule

values = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=25, max_size=45)


@settings(max_examples=40)
@given(values, st.integers(20, 30))
def test_the_rule_is_that_of_skip_step_optimisers(given_values: list[tuple[int, int]], window: int) -> None:
    guard = SpikeGuard(SkipRule(window, 2.0))
    for at, pair in enumerate(given_values):
        expected = True
        for part in (0, 1):
            before = [each[part] for each in given_values[max(0, at - window) : at]]
            if at + 1 >= max(20, window // 2):
                limit = float(np.mean(before) + 2.0 * np.std(before, ddof=1))
                if math.isclose(pair[part], limit, rel_tol=1e-9, abs_tol=1e-9):
                    return  # rounding decides
                expected = expected and pair[part] <= limit
        assert guard.allows(*pair) == expected


@settings(max_examples=40)
@given(values, st.integers(0, 24))
def test_what_is_not_finite_is_skipped_and_forgotten(given_values: list[tuple[int, int]], at: int) -> None:
    plain, disturbed = SpikeGuard(SkipRule(20, 2.0)), SpikeGuard(SkipRule(20, 2.0))
    for number, pair in enumerate(given_values):
        if number == at:
            assert not disturbed.allows(float("nan"), 1.0) and not disturbed.allows(1.0, float("inf"))
        assert plain.allows(*pair) == disturbed.allows(*pair)


def test_what_stays_not_finite_is_an_error() -> None:
    guard = SpikeGuard(SkipRule())
    with pytest.raises(BactrianError, match=f"{HOPELESS} updates in a row"):
        for _ in range(HOPELESS):
            assert not guard.allows(float("nan"), float("nan"))


def test_nothing_is_skipped_before_the_window_says_anything() -> None:
    guard = SpikeGuard(SkipRule(20, 1.0))
    assert all(guard.allows(10.0**i, 1.0) for i in range(FEWEST - 1))
    assert not guard.allows(1e30, 1.0)


class Line:
    """Fits w x to 3 x; the data of some steps are wild."""

    updates_per_step = 1

    def __init__(self, network: torch.nn.Linear, steps: int, wild: set[int], until: int = 10**6) -> None:
        self.network, self.steps, self.wild, self.until = network, steps, wild, until

    def updates(self, step: int) -> Iterator[Update]:
        if step == self.until:
            raise InterruptedError
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        y = 3 * x if step not in self.wild else 1e6 * torch.ones_like(x)
        if step == 50:
            y = y * float("nan")
        yield Update([lambda: ((self.network(x) - y).square().mean(), {})], tokens=8)


class Notes:
    def __init__(self, scratch: Path) -> None:
        self.checkpoints, self.lines = scratch / "checkpoints", list[dict[str, float]]()

    def log(self, step: int, **values: float) -> None:
        self.lines.append(values)

    def rewind(self, step: int) -> None:
        del self.lines[step:]


def fit(
    notes: Notes, until: int = 10**6, rewind: RewindRule | None = None, wild: frozenset[int] = frozenset({40, 45, 60})
) -> tuple[torch.Tensor, dict[str, float]]:
    torch.manual_seed(1)
    network = torch.nn.Linear(1, 1)
    line = Line(network, 70, set(wild), until)
    loop = LoopSettings(1e-2, skip=SkipRule(32, 4.0), checkpoint_seconds=0, rewind=rewind)
    totals = train("line", SimpleNamespace(network=network, masters={}), line, loop, notes)
    return network.weight.detach(), totals


def test_wild_updates_are_not_made_and_a_killed_run_skips_the_same(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "whole")
    weight, totals = fit(notes)
    skipped = [at for at, line in enumerate(notes.lines) if line["skipped"]]
    assert skipped == [40, 45, 50, 60] and totals["skipped"] == 4
    assert math.isfinite(float(weight))
    notes = Notes(tmp_path / "cut")
    for until in (30, 42, 55):
        with pytest.raises(InterruptedError):
            fit(notes, until)
    again, counted = fit(notes)
    assert torch.equal(again, weight) and counted == totals
    assert [at for at, line in enumerate(notes.lines) if line["skipped"]] == skipped


class Roots(Line):
    """A finite loss whose gradient is not: the root of nothing, and something besides."""

    def updates(self, step: int) -> Iterator[Update]:
        def root() -> tuple[torch.Tensor, dict[str, float]]:
            return (self.network.weight - self.network.weight.detach()).abs().sqrt().sum(), {}

        yield Update([lambda: (self.network.bias.square().sum(), {}), root], tokens=8)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Line, r"line, step 51: the loss is nan \(micro-batches 1 of 1\); nothing has moved: .*spikes"),
        (Roots, r"line, step 1: the gradient's norm is (nan|inf); nothing has moved: .*spikes"),
    ],
)
def test_without_the_guard_what_is_not_finite_is_an_error_and_moves_nothing(
    tmp_path: Path, task: type[Line], said: str
) -> None:
    torch.manual_seed(1)
    network, notes = torch.nn.Linear(1, 1), Notes(tmp_path)
    model = SimpleNamespace(network=network, masters={})
    with pytest.raises(BactrianError, match=said):
        train("line", model, task(network, 70, set()), LoopSettings(1e-2), notes)
    assert all(bool(weight.isfinite().all()) for weight in network.parameters())
    assert all(math.isfinite(line["loss"]) for line in notes.lines)


def test_too_many_skipped_updates_take_training_back_and_on_after_them(tmp_path: Path) -> None:
    rule, wild = RewindRule(after=3, within=32, every=32), frozenset({40, 45})  # and 50, which is not a number
    notes = Notes(tmp_path / "whole")
    weight, totals = fit(notes, rewind=rule, wild=wild)
    assert [at for at, line in enumerate(notes.lines) if "rewound" in line] == [50]
    assert notes.lines[50]["rewound"] == 51 - 32 and totals["rewinds"] == 1 and totals["updates_undone"] == 19
    assert totals["updates"] == len(notes.lines) == 70

    class Hole(Line):
        """Without the data of steps 33 to 51, as if the guard had not seen them either."""

        def updates(self, step: int) -> Iterator[Update]:
            return super().updates(step) if not 32 <= step <= 50 else iter([Update([], tokens=8)])

    torch.manual_seed(1)
    network, loop = torch.nn.Linear(1, 1), LoopSettings(1e-2, skip=SkipRule(32, 4.0))
    line = Hole(network, 70, set())
    train("line", SimpleNamespace(network=network, masters={}), line, loop, Notes(tmp_path / "by hand"))
    assert torch.equal(network.weight, weight)

    notes = Notes(tmp_path / "cut")
    for until in (20, 44, 52, 66):
        with pytest.raises(InterruptedError):
            fit(notes, until, rule, wild)
    again, counted = fit(notes, rewind=rule, wild=wild)
    assert torch.equal(again, weight) and counted == totals


def test_going_back_again_and_again_to_one_state_is_an_error(tmp_path: Path) -> None:
    rewinder = Rewinder(RewindRule(1, 32, 64), tmp_path)
    save(tmp_path, SavedState(0, {"weight": torch.ones(1)}, {}))
    rewinder.keep(0)
    for step in (3, 9, 11):
        assert rewinder.note(step, skipped=True) and rewinder.back(None).step == 0
    assert rewinder.note(12, skipped=True)
    with pytest.raises(BactrianError, match="after going back 3 times to the state after step 0"):
        rewinder.target("here")
