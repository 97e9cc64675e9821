"""Preference tuning: the reference's log-probabilities are the live ones, whatever the order of rows."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bactrian.model.language_model import LanguageModel
from bactrian.model.reward_model import RewardModel
from bactrian.train.backend import LoopSettings
from bactrian.train.losses import Objective
from bactrian.train.objectives import kahneman_tversky
from bactrian.train.preference import Preference, PreferencePair, pair_logprobs, reference_logprobs
from bactrian.train.reward_modelling import BradleyTerry
from bactrian.train.unpaired import Unpaired, reference_sums
from tests.model.test_packing import plain_logprobs
from tests.model.tiny import write_tiny
from tests.train.bench import frozen, load, metrics, opinion, pair, run

PAIRS = [pair(i) for i in range(11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder: Path) -> LanguageModel:
    return load(folder)


def plain_sums(model: LanguageModel, each: PreferencePair) -> list[float]:
    answers = (each.chosen, each.rejected)
    return [float(plain_logprobs(model, (*each.prompt, *a))[-len(a) :].sum().detach()) for a in answers]


def test_summed_log_probs_are_the_plain_forward_s(model: LanguageModel) -> None:
    found = pair_logprobs(model, PAIRS).detach()
    torch.testing.assert_close(found, torch.tensor([plain_sums(model, p) for p in PAIRS]), atol=2e-5, rtol=1e-5)


def test_what_is_not_the_assistant_s_is_read_and_not_counted(model: LanguageModel) -> None:
    """A turn of a tool inside an answer: its tokens have no part in the sum, and shift what follows them."""
    marks = [
        (tuple(place % 3 != 1 for place in range(len(p.chosen))), (True,) * (len(p.rejected) - 1) + (False,))
        for p in PAIRS[:4]
    ]
    masked = [replace(p, trained=mark) for p, mark in zip(PAIRS, marks, strict=False)]
    expected = []
    for each, sides in zip(masked, marks, strict=True):
        for answer, counted in zip((each.chosen, each.rejected), sides, strict=True):
            known = plain_logprobs(model, (*each.prompt, *answer))[-len(answer) :].detach()
            expected.append(sum(float(value) for value, counts in zip(known, counted, strict=True) if counts))
        assert each.lengths == (sum(sides[0]), len(each.rejected) - 1) and each.lengths[0] < len(each.chosen)
    both = pair_logprobs(model, [*masked, PAIRS[5]]).detach()  # beside one that counts whole
    torch.testing.assert_close(both[:4].flatten(), torch.tensor(expected), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(both[4], torch.tensor(plain_sums(model, PAIRS[5])), atol=2e-5, rtol=1e-5)


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
    run(task, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["accuracy"] == 1 and lines[-1]["margin"] > 1 and lines[-1]["loss"] < 0.3
    assert lines[0]["reward_chosen"] == pytest.approx(0, abs=1e-4)


def test_a_reward_model_learns_the_order_and_centring_holds_the_level(folder: Path, tmp_path: Path) -> None:
    def trained_on(centring: float, margin: float) -> tuple[torch.Tensor, list[dict[str, float]]]:
        model = RewardModel.of(load(folder), 1)
        pairs = [pair(i) for i in range(6)]
        task = BradleyTerry(
            model, pairs, [margin] * 6, centring=centring, batch_pairs=6, epochs=30, seed=0, micro_tokens=1000
        )
        place = tmp_path / f"{centring}-{margin}"
        run(task, place, LoopSettings(1e-2, checkpoint_seconds=3600))
        return model.rewards([p.group for p in pairs]).detach().view(-1, 2), metrics(place)

    rewards, lines = trained_on(0.0, 0.0)
    assert bool((rewards[:, 0] > rewards[:, 1]).all()) and lines[-1]["accuracy"] == 1.0
    assert lines[-1]["loss"] < 0.1 * lines[0]["loss"]
    centred, _ = trained_on(1.0, 0.0)
    assert float(centred.mean().abs()) < 0.1 and bool((centred[:, 0] > centred[:, 1]).all())


def test_kto_moves_good_answers_up_and_bad_ones_down(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    opinions = [opinion(i) for i in range(6)]
    reference = reference_sums(model, opinions, 64)
    task = Unpaired(
        model,
        opinions,
        reference,
        beta=0.3,
        desirable_weight=1.0,
        undesirable_weight=1.0,
        batch=6,
        epochs=25,
        seed=0,
        micro_tokens=1000,
    )
    run(task, tmp_path, LoopSettings(3e-3, checkpoint_seconds=3600))
    first, last = metrics(tmp_path)[0], metrics(tmp_path)[-1]
    assert first["baseline"] < 1e-5 and abs(first["reward_desirable"]) < 1e-4  # the policy is its own reference
    assert last["reward_desirable"] > 0.5 and last["reward_undesirable"] < -0.5 and last["accuracy"] == 1.0


def test_kto_s_formula() -> None:
    answers, reference = torch.tensor([-5.0, -9.0]), torch.tensor([-7.0, -6.0])
    found = kahneman_tversky(
        answers, reference, torch.tensor([True, False]), 0.5, beta=0.2, desirable_weight=2.0, undesirable_weight=3.0
    )
    value = torch.sigmoid(torch.tensor([0.2 * (2.0 - 0.5), 0.2 * (0.5 + 3.0)]))
    torch.testing.assert_close(found.loss, torch.tensor([2.0, 3.0]) * (1 - value))
