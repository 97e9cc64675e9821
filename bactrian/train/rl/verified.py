"""Answers of the policy itself, verified while others are still being sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bactrian.chat import prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Engine, Request
from bactrian.train.rl.rollouts import Rollout
from bactrian.verify import Item, Pool
from bactrian.verify.model_verifiers import ABSTAINS
from bactrian.verify.stream import Stream
from bactrian.verify.verdict import Verdict, at_limit

SEEDS_APART = 1_000_003
FAILED = ("crashed", "timed_out")
"""Outcomes that say nothing of the answer."""


class VerifiedSampler:
    """Samples answers to problem rows and has each verified as soon as it is finished."""

    def __init__(
        self,
        engine: Engine,
        rows: Sequence[dict[str, Any]],
        pool: Pool,
        seed: int,
        *,
        samples: int,
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        """
        Args:
            rows: problem rows.
            samples: answers to each problem.

        Raises:
            BactrianError: a prompt leaves no room for an answer.
        """
        self.engine, self.rows, self.pool, self.seed = engine, rows, pool, seed
        self.samples, self.max_new_tokens, self.temperature = samples, max_new_tokens, temperature
        self.prompts = [
            tuple(prompt_ids(row["messages"], engine.template, f"problem {row['id']}", row.get("tools")))
            for row in rows
        ]
        engine.check_fits(self.prompts, max_new_tokens, [f"problem {row['id']}" for row in rows])

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.prompts[problem]

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> list[list[Rollout]]:
        """See `rollouts.Sampler`.

        Raises:
            BactrianError: the verifiers failed on every answer.
        """
        self.engine.version = version
        with Stream[tuple[int, int]](self.pool) as stream:

            def verify(place: int, sample: int, completion: Completion) -> None:
                stream.give((place, sample), Item.of(self.rows[problems[place]], completion.text))

            groups = self.engine.generate(self.requests(problems, step, before), on_finish=verify)
            verdicts = stream.verdicts()
        failed = {key for key, verdict in verdicts.items() if verdict.outcome in FAILED}
        broken = [verdicts[key] for key in failed if verdicts[key].reason != ABSTAINS]
        if broken and len(failed) == len(verdicts):
            shown = broken[0]
            raise BactrianError(
                f"step {step + 1}: the verifiers failed on all {len(failed)} answers, which is no reward: "
                f"{shown.outcome}: {shown.reason}"
            )
        return [
            [self.rollout(c, verdicts[place, sample]) for sample, c in enumerate(group)]
            for place, group in enumerate(groups)
        ]

    def requests(self, problems: Sequence[int], step: int, before: int) -> list[Request]:
        """What the engine is asked; arguments as of `rollouts`."""
        first = (self.seed * SEEDS_APART + step) * SEEDS_APART
        return [
            Request(
                self.prompts[problem],
                n=self.samples,
                seed=first + before + place,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
            )
            for place, problem in enumerate(problems)
        ]

    def rollout(self, completion: Completion, verdict: Verdict) -> Rollout:
        """An answer and its verdict."""
        return Rollout(
            completion.ids,
            completion.logprobs,
            verdict.score,
            completion.finish == "stop",
            completion.version,
            verdict.outcome not in FAILED,
            completion.text,
            at_limit(verdict.outcome, completion.finish),
            verdict.extracted,
            verdict.reason,
        )
