"""Preference tuning: the reference's log-probabilities are the live ones, whatever the order of rows."""

import random
from pathlib import Path

import pytest
import torch

from bactrian.model.language_model import LanguageModel
from bactrian.train.preference import Objective, Pair, Preference, pair_logprobs, reference_logprobs
from tests.model.test_packing import plain_logprobs
from tests.model.tiny import write_tiny
from tests.train.bench import frozen, load, pair, run

PAIRS = [pair(i) for i in range(11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder: Path) -> LanguageModel:
    return load(folder)


def plain_sums(model: LanguageModel, each: Pair) -> list[float]:
    answers = (each.chosen, each.rejected)
    return [float(plain_logprobs(model, (*each.prompt, *a))[-len(a) :].sum().detach()) for a in answers]


def test_summed_log_probs_are_the_plain_forward_s(model: LanguageModel) -> None:
    found = pair_logprobs(model, PAIRS).detach()
    torch.testing.assert_close(found, torch.tensor([plain_sums(model, p) for p in PAIRS]), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("micro_tokens", [1, 60, 10_000])
def test_the_cached_reference_is_the_live_one_row_by_row(model: LanguageModel, micro_tokens: int) -> None:
    cached = reference_logprobs(model, PAIRS, micro_tokens)
    live = torch.cat([pair_logprobs(model, [p]).detach() for p in PAIRS])
    torch.testing.assert_close(cached, live, atol=2e-5, rtol=1e-5)


def test_shuffled_rows_take_their_reference_with_them(model: LanguageModel) -> None:
    cached = reference_logprobs(model, PAIRS, 60)
    order = list(range(len(PAIRS)))
    random.Random(1).shuffle(order)
    shuffled = reference_logprobs(model, [PAIRS[i] for i in order], 60)
    torch.testing.assert_close(shuffled, cached[order], atol=2e-5, rtol=1e-5)


def losses(model: LanguageModel, reference: LanguageModel, batch: int, seed: int) -> dict[frozenset[int], float]:
    """Each step's loss by the pairs that it was of, from a cached reference, without training."""
    cached = reference_logprobs(reference, PAIRS, 60)
    task = Preference(
        model, PAIRS, cached, Objective("dpo_norm", 5.0), batch_pairs=batch, epochs=1, seed=seed, micro_tokens=60
    )
    from bactrian.train.supervised import step_rows

    found = {}
    for step in range(task.steps):
        (update,) = task.updates(step)
        total = sum(float(share()[0].detach()) for share in update.micro_batches)
        rows = step_rows(len(PAIRS), batch, step, seed)[: len(PAIRS) - step * batch]
        found[frozenset(rows)] = total
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_step_reads_the_reference_of_its_own_pairs(model: LanguageModel, seed: int) -> None:
    reference = frozen(model, 1.0)
    assert reference is not None
    for rows, loss in losses(model, reference, 4, seed).items():
        each = []
        for i in rows:
            p = PAIRS[i]
            gains = [a - b for a, b in zip(plain_sums(model, p), plain_sums(reference, p), strict=True)]
            margin = 5.0 * (gains[0] / len(p.chosen) - gains[1] / len(p.rejected))
            each.append(float(-torch.nn.functional.logsigmoid(torch.tensor(margin))))
        assert loss == pytest.approx(sum(each) / len(each), rel=1e-4)


def test_at_the_start_every_loss_is_log_two(model: LanguageModel) -> None:
    for loss in losses(model, model, 4, 0).values():
        assert loss == pytest.approx(0.693147, abs=1e-4)


def test_training_learns_the_preferences(folder: Path, tmp_path: Path) -> None:
    import json

    model = load(folder)
    reference = reference_logprobs(model, PAIRS, 60)
    task = Preference(
        model, PAIRS, reference, Objective("dpo_norm", 5.0), batch_pairs=4, epochs=8, seed=0, micro_tokens=60
    )
    run(task, model, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["accuracy"] == 1 and lines[-1]["margin"] > 1 and lines[-1]["loss"] < 0.3
    assert lines[0]["reward_chosen"] == pytest.approx(0, abs=1e-4)
