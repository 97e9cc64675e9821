"""Some answers of each step of reinforcement learning, in a file that people read and nothing is made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bactrian.store.disk import naming_full_disk
from bactrian.train.rl.rollouts import AnsweredProblem
from bactrian.train.rl.verified import VerifiedSampler

Keep = Callable[[int, Sequence[AnsweredProblem]], None]
"""Is shown what each step trains on: the step's number, counted from 0, and the answers with their rewards."""


def nothing_kept(step: int, batch: Sequence[AnsweredProblem]) -> None:
    """Where nobody wants to read along."""


class KeptRollouts:
    """rollouts.jsonl: one line an answer, all answers to the first few problems of each step.

    `step` counts from 1. The columns are those of questions.parquet as far as they have a meaning here, and `reward`:
    what the step trained on, penalties included; `score` is the verifier's. A killed process's lines of steps that are
    made again, and a line that was cut in half, are dropped first.
    """

    def __init__(self, path: Path, sampler: VerifiedSampler, problems: int) -> None:
        """
        Args:
            problems: of each step, whose answers are kept.
        """
        self.path, self.sampler, self.problems = path, sampler, problems
        self._began = False

    def __call__(self, step: int, batch: Sequence[AnsweredProblem]) -> None:
        if not self.problems:
            return
        if not self._began:
            self._began = True
            drop_from(self.path, step + 1)
        lines = [json.dumps(line) for group in batch[: self.problems] for line in self._lines(step + 1, group)]
        with naming_full_disk(self.path), self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def _lines(self, step: int, group: AnsweredProblem) -> Iterator[dict[str, Any]]:
        row = self.sampler.rows[group.problem]
        about = {
            "step": step,
            "question": str(row["id"]),
            "prompt": self.sampler.engine.template.write(row["messages"], True),
            "ground_truth": str(row["ground_truth"]),
        }
        for sample, (rollout, reward) in enumerate(zip(group.rollouts, group.rewards, strict=True)):
            yield {
                **about,
                "sample": sample,
                "completion": rollout.text,
                "extracted": rollout.extracted,
                "score": rollout.score,
                "reward": reward,
                "outcome": rollout.outcome,
                "tokens": len(rollout.ids),
                "finish": "stop" if rollout.ended else "length",
                "reason": rollout.reason,
            }


def drop_from(path: Path, step: int) -> None:
    """Leave the whole lines of earlier steps, in one rename."""
    if not path.exists():
        return
    draft = path.with_name(f".{path.name}.draft")
    with naming_full_disk(path):
        with path.open() as lines, draft.open("w") as kept:
            kept.writelines(line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step)
        draft.replace(path)
