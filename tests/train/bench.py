"""Small tasks of every kind over a tiny model, and the loop run on them."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from bactrian.chat import Rendered
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.adapters import WithoutAdapters, add_adapters
from bactrian.model.language_model import Decoder, LanguageModel
from bactrian.model.reward_model import RewardModel
from bactrian.recipe.groups import regrouped
from bactrian.stages.rl.ppo import PPO
from bactrian.stages.rl.rlvr import RLVR
from bactrian.store.artifact import Workspace
from bactrian.train.backend import LoopSettings
from bactrian.train.loop import Remembering, Share, TrainingTask, Update, train
from bactrian.train.losses import Objective
from bactrian.train.preference import Preference, PreferencePair, reference_logprobs
from bactrian.train.reward_modelling import BradleyTerry, MixedReward
from bactrian.train.rl.actor_critic import ActorCritic
from bactrian.train.rl.held_out import WatchedTask
from bactrian.train.rl.policy import GroupPolicy
from bactrian.train.rl.rollouts import Rollout
from bactrian.train.supervised import ExtraLosses, Growth, Supervised
from bactrian.train.unpaired import LabelledAnswer, Unpaired, reference_sums

SYSTEM = (5, 9, 14, 6, 7, 20)
Kind = TypeVar("Kind", RLVR, PPO)


def group_options(**flat: Any) -> RLVR:
    """Settings of a group policy; those that stand in groups are given flat."""
    return RLVR.model_validate(regrouped(RLVR, {"model": "-", "data": "-", **flat})[0])


def ppo_options(**flat: Any) -> PPO:
    return PPO.model_validate(regrouped(PPO, {"model": "-", "data": "-", **flat})[0])


def changed(options: Kind, **changes: Any) -> Kind:
    """The options with some of them changed, given flat, and checked again."""
    kind = type(options)
    return kind.model_validate(regrouped(kind, options.model_dump() | changes)[0])


POLICY = group_options(problems_per_step=3, max_new_tokens=6, micro_tokens=64)
OBJECTIVES = {
    "dpo": Objective("dpo", 0.3),
    "dpo_norm": Objective("dpo_norm", 5.0),
    "simpo": Objective("simpo", 2.0, gamma=0.5),
    "ipo": Objective("ipo", 0.5),
    "dpo_norm with sft": Objective("dpo_norm", 5.0, label_smoothing=0.1, sft_weight=0.3),
}
POLICIES = {
    "grpo by token": POLICY,
    "grpo by response": changed(POLICY, aggregate="response"),
    "dr. grpo": changed(POLICY, aggregate="constant", advantage="none"),
    "rloo with kl": changed(POLICY, advantage="rloo", kl=0.1),
    "gspo": changed(POLICY, objective="gspo", aggregate="response", updates_per_step=2, clip_low=3e-4, clip_high=4e-4),
    "cispo, refilled": changed(POLICY, objective="cispo", refills=2, importance_cap=2.0),
    "kl in the reward": changed(POLICY, kl=0.1, kl_estimator="k1", kl_in="reward"),
    "grpo, two updates": changed(POLICY, updates_per_step=2, kl=0.05, kl_estimator="k2"),
}
PPOS = {
    "ppo": ppo_options(problems_per_step=3, epochs=2, kl=0.05, whiten=False, micro_tokens=64),
    "ppo in parts": ppo_options(problems_per_step=3, epochs=2, parts=2, kl=0.0, micro_tokens=64),
}
KINDS = ("sft", "pretrain", "pretrain with z-loss", *OBJECTIVES, "reward", "kto", *POLICIES, *PPOS)


def tokens(length: int, *seed: int) -> tuple[int, ...]:
    """Random ids, none of them special."""
    generator = torch.Generator().manual_seed(sum((i + 1) * 7919 * s for i, s in enumerate(seed)) + length)
    return tuple(torch.randint(3, 60, (length,), generator=generator).tolist())


def conversation(i: int) -> Rendered:
    """A shared system turn, a question and an answer of some length, of which the answer is trained."""
    question, answer = tokens(3 + i % 3, i, 1), tokens(2 + 5 * (i % 4), i, 2)
    return Rendered([*SYSTEM, *question, *answer], [0.0] * (len(SYSTEM) + len(question)) + [1.0] * len(answer))


def text(i: int) -> Rendered:
    ids = [*SYSTEM, *tokens(4 + 7 * (i % 3), i)]
    return Rendered(ids, [1.0] * len(ids))


def pair(i: int) -> PreferencePair:
    return PreferencePair((*SYSTEM, *tokens(3, i, 1)), tokens(2 + 3 * (i % 4), i, 2), tokens(3 + 2 * (i % 3), i, 3))


def opinion(i: int) -> LabelledAnswer:
    return LabelledAnswer((*SYSTEM, *tokens(3, i, 1)), tokens(2 + 3 * (i % 4), i, 2), i % 3 > 0)


@cache
def _loaded(folder: Path, dtype: str) -> LanguageModel:
    return LanguageModel.load(folder, dtype)


def load(folder: Path, dtype: str = "float32") -> LanguageModel:
    """A model of its own, as `LanguageModel.load` gives it; files are read once."""
    model = _loaded(folder, dtype)
    return LanguageModel(copy.deepcopy(model.network), model.tokenizer, model.template)


class ToySampler:
    """Answers of the policy itself; an answer is worth the share of its tokens with an even id."""

    def __init__(self, model: LanguageModel, problems: Sequence[int], samples: int = 4) -> None:
        self.engine = LocalEngine(model)
        self.problems, self.samples = problems, samples

    def prompt(self, problem: int) -> tuple[int, ...]:
        return (*SYSTEM, *tokens(2 + problem % 3, self.problems[problem], 1))

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        self.engine.version = version
        asked = [
            Request(self.prompt(p), n=self.samples, seed=1000 * step + self.problems[p], max_new_tokens=6)
            for p in problems
        ]
        return [
            [
                Rollout(c.ids, c.logprobs, sum(t % 2 == 0 for t in c.ids) / len(c.ids), True, c.version)
                for c in completions
            ]
            for completions in self.engine.generate(asked)
        ]


def make(
    kind: str,
    model: LanguageModel,
    *,
    items: Sequence[int] = range(5),
    batch: int = 5,
    epochs: float = 1,
    micro_tokens: int = 64,
    adapted: bool = False,
) -> TrainingTask:
    """A task of this kind over these items (rows, pairs or problems). A reference is the model as it is now.

    adapted: train adapters, which are put in here; whatever else the task needs is on the same weights.
    """
    common: dict[str, Any] = {"seed": 3, "micro_tokens": micro_tokens}
    if kind == "reward":
        reward = RewardModel.of(model, seed=3, shared=adapted)
        if adapted:
            adapt(reward)
        margins = [0.1 * i for i in range(len(items))]
        return BradleyTerry(
            reward, [pair(i) for i in items], margins, centring=0.01, batch_pairs=batch, epochs=epochs, **common
        )
    value = RewardModel.of(model, seed=5, shared=adapted)
    if adapted:
        adapt(model)
    if kind == "sft":
        return Supervised(model, [conversation(i) for i in items], batch_rows=batch, epochs=epochs, **common)
    if kind == "pretrain":
        return Supervised(model, [text(i) for i in items], batch_rows=batch, epochs=epochs, **common)
    if kind == "pretrain with z-loss":
        rows = [text(i) for i in items]
        extra, growth = ExtraLosses(z_loss=0.1), Growth(max(1, batch // 2), 2)
        return Supervised(model, rows, batch_rows=batch, epochs=epochs, extra=extra, growth=growth, **common)
    if objective := OBJECTIVES.get(kind):
        pairs = [pair(i) for i in items]
        reference = None if objective.loss == "simpo" else reference_logprobs(model, pairs, 64) - 0.5
        return Preference(model, pairs, reference, objective, batch_pairs=batch, epochs=epochs, **common)
    if kind == "kto":
        opinions = [opinion(i) for i in items]
        reference = reference_sums(model, opinions, 64) - 0.5
        weights = {"desirable_weight": 1.0, "undesirable_weight": 1.3}
        return Unpaired(model, opinions, reference, beta=0.1, batch=batch, epochs=epochs, **weights, **common)
    if kind in PPOS:
        chosen = changed(PPOS[kind], problems_per_step=batch, micro_tokens=micro_tokens)
        rewards = MixedReward(1.0, RewardModel.of(model, seed=6), 0.1)
        if adapted:
            adapt(value)
        return ActorCritic(
            model,
            value,
            ToySampler(model, items),
            rewards,
            len(items),
            chosen,
            seed=3,
            steps=max(1, round(len(items) * epochs / batch)),
            reference=frozen(model, chosen.kl, adapted),
        )
    settings = changed(POLICIES[kind], problems_per_step=batch, micro_tokens=micro_tokens)
    steps = max(1, round(len(items) * epochs / batch))
    sampler = ToySampler(model, items)
    start = frozen(model, settings.kl, adapted)
    return GroupPolicy(model, sampler, len(items), settings, steps=steps, seed=3, reference=start)


def adapt(model: Decoder) -> None:
    add_adapters(model.network, "base", rank=4, alpha=8.0, seed=1)


def frozen(model: LanguageModel, kl: float, adapted: bool = False) -> LanguageModel | None:
    """The model without its adapters, or a copy with other weights, so that a KL term has a gradient."""
    if not kl:
        return None
    if adapted:
        return WithoutAdapters.of(model)
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(0.9)
    return LanguageModel(network, model.tokenizer, model.template)


class Cut:
    """A task that is killed when its n-th micro-batch is asked for."""

    class Killed(BaseException):
        pass

    def __init__(self, task: TrainingTask, after: int) -> None:
        self.task, self.after = task, after
        self.steps, self.updates_per_step = task.steps, task.updates_per_step

    def updates(self, step: int) -> Iterator[Update]:
        for update in self.task.updates(step):
            yield replace(update, micro_batches=[self._counted(share) for share in update.micro_batches])

    def state(self) -> dict[str, torch.Tensor]:
        return self.task.state() if isinstance(self.task, Remembering) else {}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        if isinstance(self.task, Remembering):
            self.task.restore(tensors)

    def _counted(self, share: Callable[[], Share]) -> Callable[[], Share]:
        def counted() -> Share:
            if self.after == 0:
                raise Cut.Killed
            self.after -= 1
            return share()

        return counted


def innermost(task: TrainingTask) -> Any:
    """The task that others are wrapped around."""
    while isinstance(task, Cut | WatchedTask):
        task = task.task
    return task


def trained(task: TrainingTask) -> torch.nn.Module:
    """The weights that a task trains."""
    inner = innermost(task)
    network: torch.nn.Module = inner.network if isinstance(inner, ActorCritic) else inner.model.network
    return network


SETTINGS = LoopSettings(learning_rate=1e-2, schedule="cosine", warmup=0.2, weight_decay=0.1, checkpoint_seconds=0)


def run(task: TrainingTask, folder: Path, settings: LoopSettings = SETTINGS) -> dict[str, torch.Tensor]:
    """Train in this folder; the weights after it."""
    network = trained(task)
    inner = innermost(task)
    masters = inner.masters if isinstance(inner, ActorCritic) else inner.model.masters
    model = SimpleNamespace(network=network, masters=masters)
    train("test", model, task, settings, Workspace.temporary(folder))
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on time."""
    lines = [json.loads(line) for line in (folder / "output" / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def gradient(task: TrainingTask) -> dict[str, torch.Tensor]:
    """The gradient of the first update, float64."""
    return gradient_in_parts(task)[0]


def gradient_in_parts(task: TrainingTask) -> tuple[dict[str, torch.Tensor], int]:
    """The gradient of the first update, float64, and how many micro-batches it came in."""
    network = trained(task)
    network.zero_grad(set_to_none=True)
    update = next(iter(task.updates(0)))
    for share in update.micro_batches:
        torch.autograd.backward(share()[0])
    found = {n: w.grad.double().clone() for n, w in network.named_parameters() if w.grad is not None}
    network.zero_grad(set_to_none=True)
    return found, len(update.micro_batches)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest difference of any entry, as a share of the largest entry."""
    assert a.keys() == b.keys()
    largest = max(float(x.abs().max()) for x in a.values())
    return max(float((a[name] - b[name]).abs().max()) for name in a) / largest


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Equal in every bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
