"""Stage `label_steps`: thoughts in steps, each with how likely a thought that has come so far ends right."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import VerifierField, known_verifier
from bactrian.stages.stage import Facts, Forecast, ModelRef, ProblemRef, SamplingLoad, Stage, TemplateRef
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.generate.engine import Engine
    from bactrian.store.artifact import Workspace
    from bactrian.think.step_labels import LabelSettings

Row = dict[str, Any]
AT_ONCE = 32
"""Problems whose thoughts, and then their continuations, are sampled together; a kill loses no more than these."""
OWN = ("solution", "reasoning", "steps", "values")
"""Columns of a problem that the rows made of it have anew, or not at all."""


class LabelSteps(Stage):
    """Traces to train a process reward model on: a step is a line, or `step_tokens` tokens, as in tree search.

    The value of a step by `rollouts`: the share of continuations from it that end right [Wang et al. 2024,
    Math-Shepherd]; of the last one, whether the answer is right. By `program`: 1 if it holds no mistake, else 0; only
    questions of the task `tracking` have such a program. Without a model the traces are the rows' own `reasoning`.
    """

    name: ClassVar[str] = "label_steps"
    makes: ClassVar[Kind] = Kind.DATA

    data: ProblemRef = Field(description="problem rows")
    verifier: VerifierField = None
    model: ModelRef | None = Field(None, description="the model that thinks; by default traces are the rows' own")
    by: Literal["rollouts", "program"] = Field("rollouts", description="who says how good a step is")
    limit: int | None = Field(None, ge=1, description="problems, from the first; by default all")
    samples: int = Field(2, ge=1, description="traces of each problem")
    rollouts: int = Field(4, ge=1, description="continuations sampled from each step")
    temperature: float = Field(1.0, gt=0, description="of traces and continuations")
    step_tokens: int = Field(32, ge=1, description="longest step")
    max_thinking_tokens: int = Field(512, ge=1, description="longest trace, and longest continuation")
    answer_tokens: int = Field(64, ge=1, description="longest answer")
    final: str = Field("Final Answer:", description="what begins an answer after a cut")
    format: str = Field("auto", description="how thinking is told from answer: auto, tags, think, s1")
    template: TemplateRef = Field(None, description="chat template, where not the model's own")
    batch_rows: int = Field(64, ge=1, description="thoughts side by side")
    timeout: float = Field(10.0, gt=0, description="seconds of processor time for verifying one answer")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model is None and self.by == "rollouts":
            raise ValueError("by: rollouts needs a model, which continues the thoughts")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import as_given
        from bactrian.data.io.writer import RowWriter
        from bactrian.think.step_labels import read_traces
        from bactrian.verify import check_verifiers

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem", known_verifier(self.verifier))[: self.limit]
        if not rows:
            raise BactrianError(f"{path}: found no problems")
        check_verifiers(rows, str(path))
        kept = workspace.scratch / "labelled.jsonl"
        self._label(workspace, rows, kept)
        labels = read_traces(kept)
        values = [value for traces in labels for _, values in traces for value in values]
        with RowWriter(workspace.output) as writer:
            for row, traces in zip(rows, labels, strict=True):
                for number, (steps, mine) in enumerate(traces):
                    about = {name: value for name, value in as_given(row).items() if name not in OWN}
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

    def _label(self, workspace: "Workspace", rows: list[Row], kept: "Path") -> None:
        """Make and label the traces that `kept` lacks, some problems at a time."""
        from bactrian.progress import progress
        from bactrian.think.step_labels import StepLabels, given_trace, read_traces
        from bactrian.verify import Pool

        done, engine = len(read_traces(kept)), self._engine(workspace)
        with (
            progress("label_steps", len(rows), "problem", done) as bar,
            Pool(workspace.hardware.threads, self.timeout) as pool,
        ):
            for start in range(done, len(rows), AT_ONCE):
                some = rows[start : start + AT_ONCE]
                labels = StepLabels(engine, some, pool, self._settings(), workspace.seed) if engine else None
                made = labels.traces() if labels else [[given_trace(row)] for row in some]
                with kept.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(traces) + "\n" for traces in made)
                bar.advance(len(some))

    def _settings(self) -> "LabelSettings":
        from bactrian.think.step_labels import LabelSettings
        from bactrian.think.thought import Budget

        budget = Budget(self.max_thinking_tokens, final=self.final, answer=self.answer_tokens)
        rollouts = self.rollouts if self.by == "rollouts" else None
        return LabelSettings(self.samples, rollouts, self.temperature, self.step_tokens, budget, self.format)

    def _engine(self, workspace: "Workspace") -> "Engine | None":
        from bactrian.generate.engines import open_engine

        if self.model is None:
            return None
        folder = workspace.input(self.model).path
        return open_engine(folder, workspace.hardware, template=self.template, rows=self.batch_rows)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Traces are taken to be half as long as they may be, continuations half as long as traces."""
        data = inputs[self.data]
        rows = min(data.rows, self.limit or data.rows)
        length = self.max_thinking_tokens / 2
        steps = length / self.step_tokens
        each = length + self.answer_tokens
        if self.by == "rollouts":
            each += steps * (length / 2 + self.rollouts * (length / 2 + self.answer_tokens))
        model = inputs[self.model] if self.model else Facts()
        tokens = rows * self.samples * each if self.model else 0.0
        makes = Facts(rows=rows * (self.samples if self.model else 1), tokens_per_row=data.tokens_per_row + length)
        traces = rows * self.samples
        once = SamplingLoad(
            model.parameters,
            traces,
            length + self.answer_tokens,
            2 * length,
            rows,
            data.tokens_per_row,
            active=model.active,
        )
        loads = [once]
        if self.by == "rollouts":  # continuations from each step of each trace, read again as a prompt
            loads.append(
                replace(
                    once,
                    answers=traces * steps * self.rollouts,
                    tokens=length / 2 + self.answer_tokens,
                    longest=length + self.answer_tokens,
                    prompts=traces * steps,
                    prompt_tokens=length / 2,
                )
            )
        sampling = tuple(loads) if self.model else ()
        return Forecast(tokens, 2.0 * model.multiplied * tokens, 4.0 * model.parameters + 2e9, makes, sampling=sampling)
