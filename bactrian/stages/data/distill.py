"""Stage `distill`: a teacher thinks about problems, and its traces become rows to learn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import VerifierField, known_verifier
from bactrian.stages.stage import Facts, Forecast, ModelRef, ProblemRef, SamplingLoad, Stage, TemplateRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace
    from bactrian.think.attempt import Attempt
    from bactrian.think.thought import Thought

Row = dict[str, Any]
OWN = ("solution", "reasoning", "settings", "ground_truth", "dataset", "messages")
"""Columns of a problem that the row made of it does not have as they are."""


class Distill(Stage):
    """Thinking traces and answers of a teacher to problems, as conversations [s1, Muennighoff et al. 2025].

    Thinking goes into `reasoning_content`, so that the student's chat template writes it its own way. By default a
    trace need not be right, as in s1; whether it was is the column `right`. Traces that were cut by the limit, or that
    came to no answer, teach not to answer: they are dropped and counted.
    """

    name: ClassVar[str] = "distill"
    makes: ClassVar[Kind] = Kind.DATA

    teacher: ModelRef = Field(description="the model that thinks")
    data: ProblemRef = Field(description="problem rows")
    verifier: VerifierField = None
    limit: int | None = Field(None, ge=1, description="problems, from the first; by default all")
    keep: Literal["all", "right"] = Field("all", description="right: only traces whose answer the row's verifier takes")
    samples: int = Field(1, ge=1, description="traces of each problem; with keep: right, the first right one is taken")
    temperature: float = Field(0.0, ge=0, description="of thinking and answer; 0 is greedy")
    max_thinking_tokens: int = Field(4096, ge=1, description="longest thinking")
    answer_tokens: int = Field(512, ge=1, description="longest answer")
    format: str = Field("auto", description="how the teacher's thinking is told from its answer: auto, tags, think, s1")
    template: TemplateRef = Field(None, description="the teacher's chat template, where not its own")
    rows_at_once: int = Field(32, ge=1, description="traces side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.think import attempt
        from bactrian.verify import check_verifiers

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem", known_verifier(self.verifier))[: self.limit]
        check_verifiers(rows, str(path))
        kept = workspace.scratch / "traces.jsonl"
        done = attempt.read(kept)
        self._think(workspace, [row for row in rows if row["id"] not in done], kept, len(rows))
        done, tally = attempt.read(kept), Tally()
        with RowWriter(workspace.output) as writer:
            for row in rows:
                chosen = self._chosen(done[row["id"]][0])
                if isinstance(chosen, str):
                    tally.drop(chosen, str(row["id"]))
                else:
                    tally.keep()
                    writer.write(self._row(row, chosen))
            if not tally.kept:
                raise BactrianError(f"{path}: no trace could be used\n{tally}")
            writer.card = f"# Traces of {workspace.input(self.teacher).name}\n\n```\n{tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        first = [attempts[0] for attempts, _ in done.values()]
        workspace.metrics.update(
            tally.counts(),
            tokens=float(sum(a.sampled for attempts, _ in done.values() for a in attempts)),
            right=sum(a.right for a in first) / len(first),
            thinking_tokens=sum(a.thinking_tokens for a in first) / len(first),
        )
        write_account(workspace.output, tally)
        say(f"distill: {tally}")

    def _think(self, workspace: "Workspace", rows: list[Row], path: Path, total: int) -> None:
        """Make the traces of these problems; each is kept as it is done, so that a kill loses none of them."""
        from bactrian.chat import thinking_format
        from bactrian.data.io.problem_rows import question_seed
        from bactrian.generate.engines import open_engine
        from bactrian.progress import progress
        from bactrian.think import attempt
        from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
        from bactrian.think.thought import Budget
        from bactrian.verify import Item, Pool

        if not rows:
            return
        folder = workspace.input(self.teacher).path
        engine = open_engine(folder, workspace.hardware, template=self.template, rows=self.rows_at_once)
        form = thinking_format(engine.template, self.format)
        questions = [
            ThinkingQuestion(
                opened_prompt(row["messages"], engine.template, form, f"problem {row['id']}"),
                self.samples,
                question_seed(workspace.seed, row["id"]),
                self.temperature,
            )
            for row in rows
        ]
        budget = Budget(
            self.max_thinking_tokens, final="", answer=self.answer_tokens, greedy_answer=not self.temperature
        )
        waiting: dict[int, dict[int, Thought]] = {}
        before = total - len(rows)
        with (
            Pool(workspace.hardware.threads, self.timeout) as pool,
            progress("distill", total, "problem", before) as bar,
        ):

            def done(number: int, sample: int, thought: "Thought") -> None:
                mine = waiting.setdefault(number, {})
                mine[sample] = thought
                if len(mine) == self.samples:
                    row, thoughts = rows[number], [mine[place] for place in range(self.samples)]
                    verdicts = pool.verify_all([Item.of(row, each.answer) for each in thoughts])
                    made = [
                        attempt.Attempt.of(row["id"], place, each, verdict)
                        for place, (each, verdict) in enumerate(zip(thoughts, verdicts, strict=True))
                    ]
                    attempt.append(path, made)
                    del waiting[number]
                    bar.advance()

            think(engine, questions, form, budget, names=[f"problem {row['id']}" for row in rows], on_thought=done)

    def _chosen(self, attempts: "list[Attempt]") -> "Attempt | str":
        """The trace to keep of a problem's, or why there is none."""
        whole = [each for each in attempts if each.ended != "budget" and each.finish == "stop"]
        if not whole:
            return f"thinking or answer cut at {self.max_thinking_tokens} or {self.answer_tokens} tokens"
        said = [each for each in whole if each.thinking.strip() and each.answer.strip()]
        if not said:
            return "nothing thought, or nothing answered"
        if self.keep == "all":
            return said[0]
        return next((each for each in said if each.right), "its answer is not right")

    def _row(self, row: Row, trace: "Attempt") -> Row:
        from bactrian.data.io.rows import as_given

        answer = {"role": "assistant", "content": trace.answer, "reasoning_content": trace.thinking}
        row = as_given(row)
        return {
            "messages": [*row["messages"], answer],
            **{name: row[name] for name in row if name not in OWN},
            "right": trace.right,
        }

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Thinking is taken to be half as long as it may be."""
        teacher, data = inputs[self.teacher], inputs[self.data]
        rows = min(data.rows, self.limit or data.rows)
        trace = self.max_thinking_tokens / 2 + self.answer_tokens / 2
        tokens = rows * (data.tokens_per_row + self.samples * trace)
        return Forecast(
            tokens,
            2.0 * teacher.multiplied * tokens,
            4.0 * teacher.parameters + 2e9,
            Facts(rows=rows, tokens_per_row=data.tokens_per_row + trace),
            sampling=(
                SamplingLoad(
                    teacher.parameters,
                    rows * self.samples,
                    trace,
                    self.max_thinking_tokens + self.answer_tokens,
                    rows,
                    data.tokens_per_row,
                    active=teacher.active,
                ),
            ),
        )
