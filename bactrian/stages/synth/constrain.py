"""Stage `constrain`: verifiable constraints appended to prompts, so that an answer can be checked by rule."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Constrain(Stage):
    """Prompts with some of IFEval's constraints, of which every two go together [Tülu 3: persona IF, IF-augmented].

    The sentences that ask for them are ours, so the ground truth says what the prompt says. Rows of `synthesise` with
    template persona-if, or the prompts of any data, become problems for the verifier `ifeval`.
    """

    name: ClassVar[str] = "constrain"
    makes: ClassVar[Kind] = Kind.DATA

    prompts: DataRef = Field(description="problems, conversations or pairs: their prompts are taken")
    least: int = Field(1, ge=1, le=4, description="constraints of a prompt, at least")
    most: int = Field(3, ge=1, le=4, description="and at most; how many is drawn")
    types: list[str] = Field([], description="IFEval's ids to draw from; by default all 25")
    per_prompt: int = Field(1, ge=1, description="problems made of each prompt, each with constraints of its own")
    limit: int | None = Field(None, ge=1, description="prompts, from the first")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"found most {self.most} below least {self.least}")
        return self

    def needs(self) -> "Iterable[Need]":
        """Of the verifier."""
        return [Need("the verifier ifeval", "instructions")]

    def run(self, workspace: "Workspace") -> None:
        from itertools import islice
        from random import Random

        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.problem_rows import prompt_of
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.ifeval_prompts import NAMES, draw_types
        from bactrian.progress import say

        draw_types(Random(0), self.most, self.types or NAMES)  # a mistake is found before any row
        path = workspace.input(self.prompts).path
        tally = Tally()
        with RowWriter(workspace.output) as writer:
            for row, where in islice(stream_rows(path), self.limit):
                row, messages = complete_row(row, path.name), prompt_of(row, where)
                for number in range(self.per_prompt):
                    writer.write(
                        self._constrained(row, messages, Random(f"constrain/{workspace.seed}/{row['id']}/{number}"))
                    )
                    tally.keep()
            if not writer.count:
                raise BactrianError(f"{path}: no prompt to constrain")
            writer.card = f"# Prompts with constraints\n\n```\n{tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        workspace.metrics.update(tally.counts())
        write_account(workspace.output, tally)
        say(f"constrain: {tally}")

    def _constrained(self, row: Row, messages: list[Row], draw: Any) -> Row:
        import json

        from bactrian.data.io.problem_rows import question_hash
        from bactrian.data.synth.ifeval_prompts import NAMES, constrained_prompt, constraints_truth, draw_constraints

        task = str(messages[-1]["content"]).strip()
        drawn = draw_constraints(draw, draw.randint(self.least, self.most), task, self.types or NAMES)
        question = constrained_prompt(task, drawn)
        made_by = {"made_by": row["made_by"]} if row.get("made_by") else {}
        return {
            "id": question_hash(question),
            "messages": [*messages[:-1], {"role": "user", "content": question}],
            "ground_truth": constraints_truth(drawn),
            "dataset": "ifeval",
            "task": task,
            "constraints": [
                {"name": each.name, "words": each.words, "arguments": json.dumps(dict(each.arguments))}
                for each in drawn
            ],
            "parent": row["id"],
            "source": row["source"],
            "license": row["license"],
            **made_by,
        }

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.prompts, Facts())
        rows = min(data.rows, self.limit or data.rows) * self.per_prompt
        return Forecast(makes=Facts(rows=rows, tokens_per_row=(data.tokens_per_row or 50) + 40))
