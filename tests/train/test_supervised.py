"""Which rows a step trains on, and what of them."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bactrian.chat import Rendered
from bactrian.model.language_model import LanguageModel
from bactrian.train.supervised import BatchPlan, Growth, Supervised, epoch_order, step_rows
from tests.model.tiny import write_tiny
from tests.train.bench import SYSTEM, conversation, text, tokens


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_each_epoch_visits_each_row_once(rows: int, batch: int, seed: int) -> None:
    steps = -(-3 * rows // batch)
    visited = [row for step in range(steps) for row in step_rows(rows, batch, step, seed)]
    assert len(visited) == steps * batch  # also across the ends of epochs, and where a batch holds several
    for epoch in range(3):
        assert sorted(visited[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**63 - 1))
def test_a_step_s_rows_are_the_same_again_whatever_came_before(rows: int, batch: int, step: int, seed: int) -> None:
    assert step_rows(rows, batch, step, seed) == step_rows(rows, batch, step, seed)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(20, epoch, seed).tolist()) for epoch in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_the_order_is_uniform() -> None:
    first = Counter(int(epoch_order(5, epoch, 1)[0]) for epoch in range(1000))
    assert len(first) == 5 and all(150 < n < 250 for n in first.values())


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 40), st.integers(1, 300))
def test_a_batch_that_grows_has_every_row_in_one_step(total: int, batch: int, first: int, until: int) -> None:
    plan = BatchPlan(total, batch, Growth(first, until))
    sizes = [b - a for a, b in pairwise(plan.starts)]
    assert plan.starts[0] == 0 and sum(sizes) == total and len(sizes) == plan.steps
    assert all(size == min(batch, size) > 0 for size in sizes)
    whole = sizes[:-1]
    assert whole == sorted(whole) and all(size == batch or size in [first << n for n in range(9)] for size in whole)
    assert all(size == batch for at, size in zip(plan.starts, whole, strict=False) if at >= until)
    if first < batch and total > first:
        assert sizes[0] == first
    assert BatchPlan(total, batch).steps == -(-total // batch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return LanguageModel.load(write_tiny(tmp_path_factory.mktemp("model")))


def supervised(model: LanguageModel, rows: list[Rendered], batch: int = 3, epochs: float = 1.0) -> Supervised:
    return Supervised(model, rows, batch_rows=batch, epochs=epochs, seed=1, micro_tokens=50)


@pytest.mark.parametrize(("epochs", "steps", "last"), [(1, 3, 1), (2, 5, 2), (0.5, 2, 1), (0.01, 1, 1)])
def test_steps_and_the_size_of_the_last(model: LanguageModel, epochs: float, steps: int, last: int) -> None:
    rows = [conversation(1)] * 7
    task = supervised(model, rows, epochs=epochs)
    assert task.steps == steps
    updates = [update for step in range(steps) for update in task.updates(step)]
    assert updates[-1].tokens == last * len(rows[0].ids)
    assert all(update.micro_batches for update in updates)


def test_the_loss_is_the_plain_mean_over_trained_tokens(model: LanguageModel) -> None:
    from tests.model.test_packing import plain_logprobs

    rows = [conversation(i) for i in range(6)]
    rows[2] = Rendered(rows[2].ids, [w * 0.5 for w in rows[2].weights])
    total = weights = 0.0
    for row in rows:
        losses = -plain_logprobs(model, tuple(row.ids)).detach()
        own = torch.tensor(row.weights[1:])
        total, weights = total + float((losses * own).sum()), weights + float(own.sum())
    (update,) = supervised(model, rows, batch=6).updates(0)
    assert len(update.micro_batches) > 1
    assert sum(share()[0].item() for share in update.micro_batches) == pytest.approx(total / weights, rel=1e-5)
    assert update.metrics["trained_tokens"] == sum(w > 0 for row in rows for w in row.weights)


def test_the_first_token_of_a_row_is_never_trained(model: LanguageModel) -> None:
    row = text(1)
    (update,) = supervised(model, [row], batch=1).updates(0)
    assert update.metrics["trained_tokens"] == len(row.ids) - 1
    (share,) = update.micro_batches
    assert torch.isfinite(share()[0])


def test_micro_batches_keep_their_budget_where_only_untrained_beginnings_are_shared(model: LanguageModel) -> None:
    sizes: list[int] = []
    forward = model.forward

    class Measured(LanguageModel):
        def forward(self, forest, sink=None):  # type: ignore[no-untyped-def]
            sizes.append(forest.tokens)
            return forward(forest, sink)

    measured = Measured(model.network, model.tokenizer, model.template)
    alike = [(*SYSTEM, *SYSTEM, *tokens(5, i)) for i in range(12)]
    for trained_from in (0, 3, len(SYSTEM)):
        rows = [Rendered(list(ids), [0.0] * trained_from + [1.0] * (len(ids) - trained_from)) for ids in alike]
        (update,) = supervised(measured, rows, batch=12).updates(0)
        sizes.clear()
        with torch.no_grad():
            for share in update.micro_batches:
                share()
        assert max(sizes) <= 50
        shared = len(SYSTEM) if trained_from == len(SYSTEM) else 0
        assert sum(sizes) == 12 * 17 - shared * (12 - len(sizes))


def test_a_model_folder_is_left_alone(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "m")
    before = (folder / "model.safetensors").read_bytes()
    model = LanguageModel.load(folder)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.zero_()
    assert (folder / "model.safetensors").read_bytes() == before
