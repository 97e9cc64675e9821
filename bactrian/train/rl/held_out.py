"""Held-out problems, looked at while a policy is trained: the best weights are kept, and over-optimisation is seen.

A reward can rise while what it stands for falls [Gao et al. 2023]. Only questions that nothing is trained on,
with a verdict that is no part of the reward, can tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bactrian.chat import prompt_ids
from bactrian.generate.engine import Engine, Request
from bactrian.store import processes
from bactrian.store.disk import write_atomically
from bactrian.train.backend import Backend, LocalBackend, Trained
from bactrian.train.loop import Enough, Remembering, TrainingTask, Update
from bactrian.verify import Item, Pool

SURE = 2.0
"""Standard errors by which the held-out score must have fallen for an alarm."""


@dataclass(frozen=True)
class HeldOutLook:
    """What the weights before a step did on the held-out questions.

    scores: by question, in [0, 1].
    length: mean tokens of an answer. truncated: share of answers that were cut off.
    reward: of the step's own rollouts, by the same weights (older ones, where rollouts wait); None after the last step.
    """

    step: int
    scores: list[float]
    length: float
    truncated: float
    reward: float | None = None

    @property
    def score(self) -> float:
        return sum(self.scores) / len(self.scores)


def fallen(best: HeldOutLook, now: HeldOutLook) -> bool:
    """Whether the score is below the best look's by more than SURE standard errors, paired by question."""
    difference = np.array(now.scores) - np.array(best.scores)
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5 if len(difference) > 1 else float("inf")
    return bool(difference.mean() < -SURE * error)


def over_optimised(best: HeldOutLook, now: HeldOutLook) -> bool:
    """The score has fallen since the best look, and the reward has not (where both are known)."""
    known = best.reward is not None and now.reward is not None
    return fallen(best, now) and not (known and now.reward < best.reward)  # type: ignore[operator]


class WatchedTask:
    """A task of reinforcement learning that is looked at before every `every`-th step, and once after the last.

    The first update of such a step also logs `held_out`, `held_out_length`, `held_out_truncated` and `alarm` (0 or 1,
    see `over_optimised`). Looks and the best look's weights are kept in files, so that a run that was killed goes on
    with them: a look is a function of the weights, and looks later than a checkpoint are made again.
    """

    whole_weights = True

    def __init__(
        self,
        task: TrainingTask,
        policy: Trained,
        look: Callable[[], HeldOutLook],
        folder: Path,
        *,
        every: int,
        stop: bool = False,
        backend: Backend | None = None,
    ) -> None:
        """
        Args:
            policy: whose weights are kept.
            look: answers the held-out questions with the present weights; its step is set here.
            folder: for looks.json and best.safetensors.
            stop: end training at the first alarm.
            backend: has the weights; by default this process.
        """
        self.task, self.policy, self.look, self.folder = task, policy, look, folder
        self.every, self.stop = every, stop
        self.backend = LocalBackend() if backend is None else backend
        self.steps, self.updates_per_step = task.steps, task.updates_per_step

    def updates(self, step: int) -> Iterator[Update]:
        if step % self.every:
            yield from self.task.updates(step)
            return
        now = replace(self.look(), step=step)
        for place, update in enumerate(self.task.updates(step)):
            yield update if place else replace(update, metrics={**update.metrics, **self._note(now, update.metrics)})

    def state(self) -> dict[str, torch.Tensor]:
        return self.task.state() if isinstance(self.task, Remembering) else {}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        if isinstance(self.task, Remembering):
            self.task.restore(tensors)

    def finish(self, step: int) -> dict[str, float]:
        """The look after the last step made; returns its numbers for the manifest, with the best look's step."""
        told = self._note(replace(self.backend.reading(self.look, whole=True), step=step), {}, last=True)
        return {**told, "best_step": float(self.best.step), "best_held_out": self.best.score}

    def restore_best(self) -> int:
        """Put the best look's weights back; returns its step."""
        from safetensors.torch import load_file

        step = self.best.step  # said by the leader, which has written the weights by then
        self.backend.scatter(self.policy, load_file(self.folder / "best.safetensors"))
        return step

    @property
    def looks(self) -> list[HeldOutLook]:
        """So far, by step; of several processes the leader keeps them."""
        file, group = self.folder / "looks.json", processes.present()
        text = group.told(file.read_text() if group.leader and file.exists() else "[]")
        return [HeldOutLook(**each) for each in json.loads(text)]

    @property
    def best(self) -> HeldOutLook:
        """The first of the highest score."""
        return max(self.looks, key=lambda look: (look.score, -look.step))

    def _note(self, look: HeldOutLook, metrics: Mapping[str, float], last: bool = False) -> dict[str, float]:
        look = replace(look, reward=metrics.get("reward"))
        before = [each for each in self.looks if each.step < look.step]
        best = max(before, key=lambda each: (each.score, -each.step), default=look)
        if look is best or look.score > best.score:
            self._keep_weights()
        if processes.present().leader:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "looks.json", json.dumps([asdict(each) for each in [*before, look]]))
        alarm = over_optimised(best, look)
        if alarm and self.stop and not last:
            raise Enough(
                f"the held-out score fell from {best.score:.3f} before step {best.step + 1} to {look.score:.3f}, "
                "and the reward did not fall with it"
            )
        return {
            "held_out": look.score,
            "held_out_length": look.length,
            "held_out_truncated": look.truncated,
            "alarm": float(alarm),
        }

    def _keep_weights(self) -> None:
        from safetensors.torch import save_file

        weights = self.backend.gather(self.policy)
        if processes.present().leader:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / "best.partial"
            save_file(weights, draft)
            draft.replace(self.folder / "best.safetensors")


class HeldOutAnswers:
    """Greedy answers of the policy to the held-out problems, verified: what `WatchedTask` calls to look."""

    def __init__(self, engine: Engine, rows: list[dict[str, Any]], pool: Pool, max_new_tokens: int) -> None:
        """
        Args:
            rows: problem rows.

        Raises:
            BactrianError: a prompt leaves no room for an answer.
        """
        self.engine, self.rows, self.pool = engine, rows, pool
        prompts = [
            tuple(prompt_ids(row["messages"], engine.template, f"held-out problem {row['id']}", row.get("tools")))
            for row in rows
        ]
        engine.check_fits(prompts, max_new_tokens, [f"held-out problem {row['id']}" for row in rows])
        self.requests = [Request(prompt, max_new_tokens=max_new_tokens, temperature=0.0) for prompt in prompts]

    def __call__(self) -> HeldOutLook:
        group = processes.present()
        mine = range(group.rank, len(self.rows), group.size)  # of several processes each asks some
        answers = [each[0] for each in self.engine.generate([self.requests[i] for i in mine])]
        verdicts = self.pool.verify_all([Item.of(self.rows[i], a.text) for i, a in zip(mine, answers, strict=True)])
        told = [(v.score, len(a.ids), a.finish == "length") for v, a in zip(verdicts, answers, strict=True)]
        known = {i: each for part in group.gathered(dict(zip(mine, told, strict=True))) for i, each in part.items()}
        scores, lengths, cut = zip(*(known[i] for i in range(len(self.rows))), strict=True)
        return HeldOutLook(
            step=0, scores=list(scores), length=sum(lengths) / len(lengths), truncated=sum(cut) / len(cut)
        )
