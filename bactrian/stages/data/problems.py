"""Stage `problems`: verifiable problems with worked solutions."""

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.data.problem_sources import AnyProblemSource
from bactrian.stages.stage import Facts, Forecast, HeldOutRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SEED_STRIDE = 1_000_003
"""Between the seeds of two tasks of one step."""


class Problems(Stage):
    """Verifiable problems with worked solutions: generated, from reasoning-gym, or from a file.

    Every solution is put to the row's own verifier first, and so is nonsense; rows whose verifier refuses the one or
    accepts the other are dropped, counted and shown.
    """

    name: ClassVar[str] = "problems"
    makes: ClassVar[Kind] = Kind.DATA

    tasks: list[AnyProblemSource] = Field(min_length=1, description="where the problems come from")
    exclude: list[HeldOutRef] = Field([], description="held-out rows: whatever shares a question with them is dropped")
    system: str = Field("", description="a system turn for every row")
    instruction: str = Field("", description="a last line added to every question")
    as_conversations: bool = Field(False, description="write the worked solution as an assistant turn, for SFT")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.curate.new_questions import NewQuestions
        from bactrian.data.io.files import read_rows, write_rows
        from bactrian.data.io.problem_rows import question_keys
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.evaluate.worked_solutions import with_right_solutions
        from bactrian.progress import say

        held_out = {
            key for ref in self.exclude for row in read_rows(workspace.input(ref).path) for key in question_keys(row)
        }
        tally, rows = Tally(), list[Row]()
        new = NewQuestions(held_out, tally)
        for number, source in enumerate(self.tasks):
            made = source.problems(workspace.seed + number * SEED_STRIDE, new.known, workspace)
            checked = with_right_solutions(islice(filter(new.take, made), source.count), tally)
            if source.count is not None and len(checked) < source.count:
                say(f"problems: task {number} ({source.source}) gave {len(checked)} rows of {source.count} asked for")
            rows += checked
        tally.keep(len(rows))
        say(f"problems: {tally}")
        for licence in licences(rows):
            workspace.add_licence(licence)
        workspace.metrics.update(tally.counts())
        write_rows([self._finish(row) for row in rows], workspace.output, card=f"# Problems\n\n```\n{tally}\n```")

    def _finish(self, row: Row) -> Row:
        """The row with the system turn and the instruction; the solution as a turn if conversations are wanted."""
        from bactrian.data.io.problem_rows import worked_turn

        *before, question = row["messages"]
        asked = f"{question['content']}\n{self.instruction}" if self.instruction else question["content"]
        first = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*first, *before, {"role": "user", "content": asked}]
        if not self.as_conversations:
            return {**row, "messages": messages}
        if "solution" not in row:
            raise BactrianError(
                f"problems: row {row['id']} ({row['source']}) has no 'solution', as_conversations needs it"
            )
        return {"messages": [*messages, worked_turn(row)]} | {name: row[name] for name in ("id", "source", "license")}

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        given = [inputs.get(getattr(task, "data", ""), Facts()) for task in self.tasks]
        rows = [task.count or known.rows for task, known in zip(self.tasks, given, strict=True)]
        tokens = sum(n * task.tokens(known) for n, task, known in zip(rows, self.tasks, given, strict=True))
        around = 10 + (len(self.system) + len(self.instruction)) / 4  # the template's tokens, and what each row repeats
        return Forecast(makes=Facts(rows=sum(rows), tokens_per_row=tokens / sum(rows) + around if sum(rows) else 0.0))
