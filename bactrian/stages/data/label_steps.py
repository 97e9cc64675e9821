"""Stage `label_steps`: thoughts in steps, each with how likely a thought that has come so far ends right."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.chat import ThinkingFormat
    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Workspace
    from bactrian.think.forcing import Question
    from bactrian.think.thought import Thought
    from bactrian.verify import Pool

Row = dict[str, Any]
Labelled = tuple[list[str], list[float]]
"""A trace: its steps and their values."""
AT_ONCE = 32
"""Problems whose thoughts, and then their continuations, are sampled together; a kill loses no more than these."""
OWN = ("solution", "reasoning", "steps", "values")
"""Columns of a problem that the rows made of it have anew, or not at all."""


class LabelSteps(Stage):
    """Traces to train a process reward model on: a step is a line, or `step_tokens` tokens, as in tree search.

    The value of a step by `rollouts`: the share of ways on from it that end right [Wang et al. 2024, Math-Shepherd]; of
    the last one, whether the answer is right. By `program`: 1 if it holds no mistake, else 0; this only questions
    of the task `tracking` can be told. Without a model the traces are the rows' own `reasoning`.
    """

    name: ClassVar[str] = "label_steps"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="problem rows")
    model: ModelRef | None = Field(None, description="the model that thinks; by default traces are the rows' own")
    by: Literal["rollouts", "program"] = Field("rollouts", description="who says how good a step is")
    limit: int | None = Field(None, ge=1, description="problems, from the first; by default all")
    samples: int = Field(2, ge=1, description="traces of each problem")
    rollouts: int = Field(4, ge=1, description="ways on that are sampled from each step")
    temperature: float = Field(1.0, gt=0, description="of traces and of ways on")
    step_tokens: int = Field(32, ge=1, description="longest step")
    max_thinking_tokens: int = Field(512, ge=1, description="longest trace, and longest way on")
    answer_tokens: int = Field(64, ge=1, description="longest answer")
    final: str = Field("Final Answer:", description="what begins an answer after a cut")
    format: str = Field("auto", description="how thinking is told from answer: auto, tags, think, s1")
    template: str | None = Field(None, description="chat template, where not the model's own")
    batch_rows: int = Field(64, ge=1, description="thoughts side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model is None and self.by == "rollouts":
            raise ValueError("by: rollouts needs a model, whose ways on they are")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress
        from bactrian.verify import Pool, check_verifiers

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem")[: self.limit]
        if not rows:
            raise BactrianError(f"{path}: found no problems")
        check_verifiers(rows, str(path))
        kept = workspace.scratch / "labelled.jsonl"
        done = len(read_lines(kept))
        engine = self._engine(workspace)
        with (
            progress("label_steps", len(rows), "problem", done) as bar,
            Pool(workspace.hardware.threads, self.timeout) as pool,
        ):
            for start in range(done, len(rows), AT_ONCE):
                some = rows[start : start + AT_ONCE]
                labelling = Labelling(self, engine, some, pool, workspace.seed) if engine else None
                made = labelling.traces() if labelling else [[given(row)] for row in some]
                with kept.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(traces) + "\n" for traces in made)
                bar.advance(len(some))
        labels = read_lines(kept)
        values = [value for traces in labels for _, values in traces for value in values]
        with RowWriter(workspace.output) as writer:
            for row, traces in zip(rows, labels, strict=True):
                for number, (steps, mine) in enumerate(traces):
                    about = {name: row[name] for name in row if name not in OWN}
                    writer.write({**about, "id": f"{row['id']}-{number}", "steps": steps, "values": mine})
            writer.card = (
                f"# Steps of thoughts, labelled by {self.by}\n\n{len(values)} steps, mean value "
                f"{sum(values) / len(values):.3f}"
            )
        for licence in writer.licences:
            workspace.add_licence(licence)
        workspace.metrics.update(
            rows_kept=float(sum(map(len, labels))), steps=float(len(values)), value=sum(values) / len(values)
        )

    def _engine(self, workspace: "Workspace") -> "Engine | None":
        from bactrian.generate.engines import open_engine

        if self.model is None:
            return None
        folder = workspace.input(self.model).path
        return open_engine(folder, workspace.hardware, template=self.template, rows=self.batch_rows)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Traces are taken to be half as long as they may be, ways on half as long as traces."""
        data = inputs[self.data]
        rows = min(data.rows, self.limit or data.rows)
        length = self.max_thinking_tokens / 2
        steps = length / self.step_tokens
        each = length + self.answer_tokens
        if self.by == "rollouts":
            each += steps * (length / 2 + self.rollouts * (length / 2 + self.answer_tokens))
        parameters = inputs[self.model].parameters if self.model else 0
        tokens = rows * self.samples * each if self.model else 0.0
        makes = Facts(rows=rows * (self.samples if self.model else 1), tokens_per_row=data.tokens_per_row + length)
        return Forecast(tokens, 2.0 * parameters * tokens, 4.0 * parameters + 2e9, makes)


@dataclass(frozen=True)
class Cut:
    """A thought on problem `number`, and where its steps end."""

    number: int
    thought: "Thought"
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Labelling:
    """Some problems' traces, sampled and labelled."""

    stage: LabelSteps
    engine: "Engine"
    rows: Sequence[Row]
    pool: "Pool"
    seed: int

    def traces(self) -> list[list[Labelled]]:
        """Of each problem its traces; none for a thought without a token."""
        cuts = self._cuts()
        values = self._by_program(cuts) if self.stage.by == "program" else self._by_rollouts(cuts)
        made: list[list[Labelled]] = [[] for _ in self.rows]
        for cut, worth in zip(cuts, values, strict=True):
            texts = [self.engine.text(cut.thought.ids[:end]) for end in cut.ends]
            steps = [text[len(before) :] for before, text in zip(["", *texts], texts, strict=False)]
            told = [(step, value) for step, value in zip(steps, worth, strict=True) if step]
            made[cut.number].append(([step for step, _ in told], [value for _, value in told]))
        return made

    def _think(self, questions: "Sequence[Question]", numbers: Sequence[int]) -> "list[list[Thought]]":
        from bactrian.think.forcing import think
        from bactrian.think.thought import Budget

        stage = self.stage
        budget = Budget(stage.max_thinking_tokens, final=stage.final, answer=stage.answer_tokens)
        names = [f"problem {self.rows[number]['id']}" for number in numbers]
        return think(self.engine, questions, self._form, budget, names=names)

    @property
    def _form(self) -> "ThinkingFormat":
        from bactrian.chat import thinking_format

        return thinking_format(self.engine.template, self.stage.format)

    def _question(self, row: Row, ids: tuple[int, ...], n: int, name: str) -> "Question":
        """To think about a row's problem, from a beginning on; `name` names the random stream."""
        from bactrian.data.io.problem_rows import question_seed
        from bactrian.think.forcing import Question, opened_prompt

        prompt = opened_prompt(row["messages"], self.engine.template, self._form, f"problem {row['id']}")
        return Question((*prompt, *ids), n, question_seed(self.seed, name), self.stage.temperature)

    def _cuts(self) -> list[Cut]:
        from bactrian.think.steps import step_ends

        asked = [self._question(row, (), self.stage.samples, row["id"]) for row in self.rows]
        found = self._think(asked, range(len(self.rows)))
        return [
            Cut(number, each, step_ends(each.ids[: each.thinking_tokens], self.engine.text, self.stage.step_tokens))
            for number, thoughts in enumerate(found)
            for each in thoughts
            if each.thinking_tokens
        ]

    def _by_program(self, cuts: Sequence[Cut]) -> list[list[float]]:
        return [
            [program(self.rows[cut.number], self.engine.text(cut.thought.ids[:end])) for end in cut.ends]
            for cut in cuts
        ]

    def _by_rollouts(self, cuts: Sequence[Cut]) -> list[list[float]]:
        """The share of ways on that end right; of a whole thought, whether it did."""
        ways = [(place, end) for place, cut in enumerate(cuts) for end in cut.ends[:-1]]
        numbers = [cuts[place].number for place, _ in ways]
        asked = [
            self._question(
                self.rows[number],
                cuts[place].thought.ids[:end],
                self.stage.rollouts,
                f"{self.rows[number]['id']}/{place}/{end}",
            )
            for number, (place, end) in zip(numbers, ways, strict=True)
        ]
        shares = iter(self._shares(self._think(asked, numbers), numbers))
        ended = self._shares([[cut.thought] for cut in cuts], [cut.number for cut in cuts])
        return [[*(next(shares) for _ in cut.ends[:-1]), last] for cut, last in zip(cuts, ended, strict=True)]

    def _shares(self, groups: "Sequence[Sequence[Thought]]", numbers: Sequence[int]) -> list[float]:
        """Of each group of thoughts on problem `number` the share whose answer is right."""
        from bactrian.verify import Item

        items = [
            Item.of(self.rows[number], thought.answer)
            for number, thoughts in zip(numbers, groups, strict=True)
            for thought in thoughts
        ]
        right = iter([verdict.outcome == "right" for verdict in self.pool.verify_all(items)])
        return [sum(next(right) for _ in thoughts) / len(thoughts) for thoughts in groups]


def given(row: Row) -> Labelled:
    """A row's own reasoning, line by line, judged by the program. Raises BactrianError for a row without."""
    reasoning = row.get("reasoning")
    if not isinstance(reasoning, str) or not reasoning:
        raise BactrianError(f"label_steps: row {row['id']}: no reasoning; name a model that thinks, or give rows some")
    steps = reasoning.splitlines(keepends=True)
    return steps, [program(row, "".join(steps[: place + 1])) for place in range(len(steps))]


def program(row: Row, thinking: str) -> float:
    from bactrian.data.synth.tracking import right_so_far

    return float(right_so_far(row["messages"][-1]["content"], thinking))


def read_lines(path: Path) -> list[list[Labelled]]:
    """What was kept so far; a last line that a kill cut in half is taken away."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + newline, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]
