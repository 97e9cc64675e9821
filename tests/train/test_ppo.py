"""PPO: what a step computes, against its formulas; and that it learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.model.reward_model import RewardModel, rewards_of
from bactrian.stages.rl.ppo import PPO
from bactrian.train.loop import LoopSettings
from bactrian.train.objectives import clipped_value, generalised_advantages, whiten
from bactrian.train.optimiser import MasterAdamW
from bactrian.train.reward_modelling import MixedReward
from bactrian.train.rl.actor_critic import ActorCritic
from tests.model.tiny import write_tiny
from tests.train.bench import ToySampler, changed, frozen, load, metrics, pair, ppo_options, run

PLAIN = ppo_options(problems_per_step=4, epochs=1, kl=0.05, whiten=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model"))


def task(folder: Path, settings: PPO, steps: int = 1) -> ActorCritic:
    model = load(folder)
    return ActorCritic(
        model,
        RewardModel.of(model, 5),
        ToySampler(model, range(8), samples=2),
        MixedReward(10.0),
        8,
        settings,
        steps=steps,
        seed=3,
        reference=frozen(model, settings.kl),
    )


def test_whitening() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    found = whiten(values)
    assert float(found.mean()) == pytest.approx(0, abs=1e-12) and float(found.var()) == pytest.approx(1, abs=1e-6)
    assert whiten(torch.tensor([3.0])).tolist() == [0.0]


def test_the_value_s_clip_never_lowers_the_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    values, old, targets = torch.randn(3, 50, generator=draw)
    loss = clipped_value(values, old, targets)
    assert bool((loss >= 0.5 * (values - targets).square() - 1e-7).all())
    near = old + 0.1
    torch.testing.assert_close(clipped_value(near, old, targets), 0.5 * (near - targets).square())


def test_a_step_by_hand(folder: Path) -> None:
    """The first update's loss from plain forwards, one answer at a time, without packing."""
    made = task(folder, PLAIN)
    (update,) = made.updates(0)
    sampler = ToySampler(made.policy, range(8), samples=2)
    from bactrian.train.supervised import step_rows

    problems = step_rows(8, 4, 0, 3)
    rollouts = sampler.rollouts(problems, 0, 0)
    losses, count = [], 0
    for problem, group in zip(problems, rollouts, strict=True):
        for r in group:
            ids = torch.tensor([[*sampler.prompt(problem), *r.ids]])
            start, labels = len(sampler.prompt(problem)), torch.tensor(r.ids)[:, None]
            with torch.no_grad():
                old, reference = (
                    plain_logprobs(m.network, ids, start, labels)
                    for m in (made.policy, made.reference)  # type: ignore[union-attr]
                )
                values = plain_values(made.value, ids, start)
            rewards = -0.05 * (old - reference)
            rewards[-1] += 10 * r.score
            advantages, targets = generalised_advantages(rewards, values)
            losses.append((-advantages + 0.1 * 0.5 * (values - targets).square()).sum())
            count += len(r.ids)
    found = sum(float(share()[0].detach()) for share in update.micro_batches)
    assert found == pytest.approx(float(torch.stack(losses).sum() / count), rel=1e-4)


def plain_logprobs(network: torch.nn.Module, ids: torch.Tensor, start: int, labels: torch.Tensor) -> torch.Tensor:
    network.set_attn_implementation("eager")  # type: ignore[operator]
    logits = network(input_ids=ids).logits[0, start - 1 : -1]
    network.set_attn_implementation("bactrian_forest")  # type: ignore[operator]
    return logits.log_softmax(-1).gather(-1, labels)[:, 0]  # type: ignore[no-any-return]


def plain_values(model: RewardModel, ids: torch.Tensor, start: int) -> torch.Tensor:
    model.network.set_attn_implementation("eager")
    states = model.network.base_model(input_ids=ids).last_hidden_state[0, start - 1 : -1]
    model.network.set_attn_implementation("bactrian_forest")
    return (states @ model.scalar_head.T)[:, 0]  # type: ignore[no-any-return]


def test_the_ratio_is_one_in_the_first_pass_and_moves_after(folder: Path, tmp_path: Path) -> None:
    run(task(folder, changed(PLAIN, epochs=3, kl=0.0)), tmp_path)
    ratios = [line["ratio"] for line in metrics(tmp_path)]
    assert ratios[0] == 1.0 and all(abs(r - 1) > 1e-6 for r in ratios[1:])
    assert metrics(tmp_path)[0]["logprob_gap_max"] <= 1e-5


def test_an_answer_cut_off_is_worth_the_penalty(folder: Path) -> None:
    made = task(folder, changed(PLAIN, no_end_reward=-10.0))
    sampler = made.sampler
    sampled = sampler.rollouts([0, 1], 0, 0)
    sampled[0][0] = replace(sampled[0][0], ended=False)
    episodes = made._assessed([0, 1], sampled)
    assert episodes[0].rewards[0] == -10.0 and episodes[0].rewards[1] == pytest.approx(10 * sampled[0][1].score)


def test_a_gap_over_the_limit_stops_the_run(folder: Path, tmp_path: Path) -> None:
    made = task(folder, PLAIN)
    honest = made.sampler.rollouts
    made.sampler.rollouts = lambda *a, **k: [  # type: ignore[method-assign]
        [replace(r, logprobs=tuple(x - 0.2 for x in r.logprobs)) for r in group] for group in honest(*a, **k)
    ]
    with pytest.raises(BactrianError, match=r"differ from the trainer's by 0\.2 on average"):
        run(made, tmp_path)


def test_it_learns_what_is_rewarded_and_its_value_model_what_is_to_come(folder: Path, tmp_path: Path) -> None:
    settings = ppo_options(problems_per_step=8, epochs=2, kl=0.0)
    run(task(folder, settings, steps=25), tmp_path, LoopSettings(1e-2, checkpoint_seconds=3600))
    lines = metrics(tmp_path)
    first, last = (sum(line["score"] for line in part) / len(part) for part in (lines[:6], lines[-6:]))
    assert last > first + 0.2
    assert lines[-1]["value_loss"] < 0.3 * lines[0]["value_loss"]


def test_a_value_model_without_a_start_expects_nothing_and_first_learns_alone(folder: Path, tmp_path: Path) -> None:
    """Its values are 0 before the first update; while it warms up no weight of the policy moves, then all move."""
    made = task(folder, ppo_options(problems_per_step=8, epochs=1, kl=0.0, value_warmup=3), steps=4)
    made.value = RewardModel.of(made.policy, 5, blank=True)
    made.network["value"] = made.value.network
    start = {name: w.clone() for name, w in made.policy.network.named_parameters()}
    first = {name: w.clone() for name, w in made.value.network.named_parameters()}
    explained, moved = [], []
    for step in range(4):
        (update,) = made.updates(step)
        explained.append(update.metrics["value_explained"])
        optimiser = MasterAdamW(made.network, rates={"value.": 3.0})
        optimiser.expect(len(update.micro_batches))
        for micro_batch in update.micro_batches:
            torch.autograd.backward(micro_batch()[0])
        optimiser.step(1e-3, None)
        moved.append(not all(torch.equal(w, start[n]) for n, w in made.policy.network.named_parameters()))
    assert explained[0] == pytest.approx(0, abs=1e-6)  # nothing is expected, so nothing is explained
    assert moved == [False, False, False, True]
    assert any(not torch.equal(w, first[n]) for n, w in made.value.network.named_parameters())


def test_a_reward_model_can_have_its_say(folder: Path) -> None:
    model = RewardModel.of(load(folder), 1)
    groups = [pair(i).group for i in range(3)]
    scores = [[1.0, 0.0]] * 3
    learned = rewards_of(model, groups, micro_tokens=20)
    for few, many in zip(learned, rewards_of(model, groups, micro_tokens=10_000), strict=True):
        assert few == pytest.approx(many, abs=1e-5)
    mixed = MixedReward(10.0, model, 0.5)(groups, scores)
    for got, rewards in zip(mixed, learned, strict=True):
        assert got == pytest.approx([10 + 0.5 * rewards[0], 0.5 * rewards[1]], abs=1e-5)
