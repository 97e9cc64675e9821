"""Some answers of each step of reinforcement learning, in a file that people read and nothing is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bactrian.train.rl.rollouts import AnsweredProblem
from bactrian.train.rl.verified import VerifiedSampler

Keep = Callable[[int, Sequence[AnsweredProblem]], None]
"""Is shown what each step trains on: the step's number, counted from 0, and the answers with their rewards."""


def nothing_kept(step: int, batch: Sequence[AnsweredProblem]) -> None:
    """Where nobody wants to read along."""


Show = Callable[[int, list[dict[str, Any]]], None]
"""Takes a step (from 1) and rows of rollouts.jsonl (`Workspace.show_rollouts`)."""


class KeptRollouts:
    """Shows all answers to the first few problems of each step.

    The columns are those of questions.parquet as far as they have a meaning here, and `reward`: what the step trained
    on, penalties included; `score` is the verifier's.
    """

    def __init__(self, show: Show, sampler: VerifiedSampler, problems: int) -> None:
        """
        Args:
            problems: of each step, whose answers are kept.
        """
        self.show, self.sampler, self.problems = show, sampler, problems

    def __call__(self, step: int, batch: Sequence[AnsweredProblem]) -> None:
        if self.problems:
            self.show(step + 1, [row for group in batch[: self.problems] for row in self._rows(group)])

    def _rows(self, group: AnsweredProblem) -> Iterator[dict[str, Any]]:
        row = self.sampler.rows[group.problem]
        about = {
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
