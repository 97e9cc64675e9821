"""Thoughts cut into steps, and how likely a thought that has come so far ends right (docs/methods.md).

The value of a step by rollouts: the share of continuations from it that end right [Wang et al. 2024, Math-Shepherd]; of
the last one, whether the answer is right. By program: 1 if the thought holds no mistake so far, else 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.chat import ThinkingFormat, thinking_format
from bactrian.data.io.problem_rows import question_seed
from bactrian.data.synth.digit_chains import right_so_far
from bactrian.errors import BactrianError
from bactrian.generate.engine import Engine
from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
from bactrian.think.steps import step_ends
from bactrian.think.thought import Budget, Thought
from bactrian.verify import Item, Pool

Row = dict[str, Any]
LabelledTrace = tuple[list[str], list[float]]
"""A trace: its steps and their values."""


@dataclass(frozen=True)
class LabelSettings:
    """samples: traces of each problem. rollouts: continuations sampled from each step; None: values by program.

    temperature: of traces and continuations. step_tokens: the longest step. budget: of a trace and of a continuation.
    format: how thinking is told from answer.
    """

    samples: int
    rollouts: int | None
    temperature: float
    step_tokens: int
    budget: Budget
    format: str = "auto"


@dataclass(frozen=True)
class CutThought:
    """A thought on problem `number`, and where its steps end."""

    number: int
    thought: Thought
    ends: tuple[int, ...]


@dataclass(frozen=True)
class StepLabels:
    """Some problems' traces, sampled and labelled."""

    engine: Engine
    rows: Sequence[Row]
    pool: Pool
    settings: LabelSettings
    seed: int

    def traces(self) -> list[list[LabelledTrace]]:
        """Of each problem its traces; none for a thought without a token."""
        cuts = self._cuts()
        values = (
            self._by_program(cuts)
            if self.settings.rollouts is None
            else self._by_rollouts(cuts, self.settings.rollouts)
        )
        made: list[list[LabelledTrace]] = [[] for _ in self.rows]
        for cut, worth in zip(cuts, values, strict=True):
            texts = [self.engine.text(cut.thought.ids[:end]) for end in cut.ends]
            steps = [text[len(before) :] for before, text in zip(["", *texts], texts, strict=False)]
            shown = [(step, value) for step, value in zip(steps, worth, strict=True) if step]
            made[cut.number].append(([step for step, _ in shown], [value for _, value in shown]))
        return made

    def _think(self, questions: Sequence[ThinkingQuestion], numbers: Sequence[int]) -> list[list[Thought]]:
        names = [f"problem {self.rows[number]['id']}" for number in numbers]
        return think(self.engine, questions, self._form, self.settings.budget, names=names)

    @property
    def _form(self) -> ThinkingFormat:
        return thinking_format(self.engine.template, self.settings.format)

    def _question(self, row: Row, ids: tuple[int, ...], n: int, name: str) -> ThinkingQuestion:
        """To think about a row's problem, from a beginning on; `name` names the random stream."""
        prompt = opened_prompt(row["messages"], self.engine.template, self._form, f"problem {row['id']}")
        return ThinkingQuestion((*prompt, *ids), n, question_seed(self.seed, name), self.settings.temperature)

    def _cuts(self) -> list[CutThought]:
        asked = [self._question(row, (), self.settings.samples, row["id"]) for row in self.rows]
        found = self._think(asked, range(len(self.rows)))
        return [
            CutThought(
                number, each, step_ends(each.ids[: each.thinking_tokens], self.engine.text, self.settings.step_tokens)
            )
            for number, thoughts in enumerate(found)
            for each in thoughts
            if each.thinking_tokens
        ]

    def _by_program(self, cuts: Sequence[CutThought]) -> list[list[float]]:
        return [
            [value_by_program(self.rows[cut.number], self.engine.text(cut.thought.ids[:end])) for end in cut.ends]
            for cut in cuts
        ]

    def _by_rollouts(self, cuts: Sequence[CutThought], rollouts: int) -> list[list[float]]:
        """The share of continuations that end right; of a whole thought, whether it did."""
        starts = [(place, end) for place, cut in enumerate(cuts) for end in cut.ends[:-1]]
        numbers = [cuts[place].number for place, _ in starts]
        asked = [
            self._question(
                self.rows[number],
                cuts[place].thought.ids[:end],
                rollouts,
                f"{self.rows[number]['id']}/{place}/{end}",
            )
            for number, (place, end) in zip(numbers, starts, strict=True)
        ]
        shares = iter(self._shares(self._think(asked, numbers), numbers))
        ended = self._shares([[cut.thought] for cut in cuts], [cut.number for cut in cuts])
        return [[*(next(shares) for _ in cut.ends[:-1]), last] for cut, last in zip(cuts, ended, strict=True)]

    def _shares(self, groups: Sequence[Sequence[Thought]], numbers: Sequence[int]) -> list[float]:
        """Of each group of thoughts on problem `number` the share whose answer is right."""
        items = [
            Item.of(self.rows[number], thought.answer)
            for number, thoughts in zip(numbers, groups, strict=True)
            for thought in thoughts
        ]
        right = iter([verdict.outcome == "right" for verdict in self.pool.verify_all(items)])
        return [sum(next(right) for _ in thoughts) / len(thoughts) for thoughts in groups]


def given_trace(row: Row) -> LabelledTrace:
    """A row's own reasoning, line by line, its steps' values by program.

    Raises:
        BactrianError: the row has no reasoning.
    """
    reasoning = row.get("reasoning")
    if not isinstance(reasoning, str) or not reasoning:
        raise BactrianError(f"label_steps: row {row['id']}: no reasoning; name a model that thinks, or give rows some")
    steps = reasoning.splitlines(keepends=True)
    return steps, [value_by_program(row, "".join(steps[: place + 1])) for place in range(len(steps))]


def value_by_program(row: Row, thinking: str) -> float:
    return float(right_so_far(row["messages"][-1]["content"], thinking))


def read_traces(path: Path) -> list[list[LabelledTrace]]:
    """What was kept so far; a last line that a kill cut in half is taken away."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + newline, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]
