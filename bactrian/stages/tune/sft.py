"""Stage `sft`: supervised fine-tuning on conversations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.stages.tune.training import LongRows, Tuning

if TYPE_CHECKING:
    from bactrian.chat import ChatTemplate, Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace


class SFT(Tuning, LongRows):
    """Supervised fine-tuning: cross-entropy on every assistant turn and its end token [Tülu 3, Lambert et al. 2024].

    The loss of a step is the mean over all trained tokens of the whole step, however it is cut into micro-batches.
    """

    name: ClassVar[str] = "sft"

    model: ModelRef = Field(description="the model to fine-tune")
    data: DataRef = Field(description="conversation rows, or problem rows with a worked solution")
    epochs: float = Field(2.0, gt=0, description="passes over the data")
    batch_size: int = Field(32, ge=1, description="conversations per optimiser step")
    max_length: int = Field(4096, ge=2, description="tokens; what is longer is counted, and too_long")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say
        from bactrian.train.supervised import Supervised

        source = workspace.input(self.data)
        rows = read_rows(source.path)
        for licence in licences(rows):
            workspace.add_licence(licence)
        model = self.load(workspace, self.model)
        tally = Tally()
        rendered = [
            piece
            for i, row in enumerate(rows, 1)
            for piece in self._render(row, f"{source.path}, row {i}", model.template, tally)
        ]
        say(f"sft: {tally}")
        if not rendered:
            raise BactrianError(f"{source.path}: no row has a trained token within {self.max_length} tokens")
        workspace.metrics.update(tally.counts())
        task = Supervised(
            model,
            rendered,
            batch_rows=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.micro_tokens,
        )
        self.train(workspace, model, task)

    def _render(self, row: dict[str, Any], where: str, template: "ChatTemplate", tally: "Tally") -> "list[Rendered]":
        """A conversation's tokens and weights, within `max_length`; nothing if no trained token is left."""
        from bactrian.chat import render
        from bactrian.data.io.problem_rows import worked_turn
        from bactrian.data.io.rows import validate_row

        if "solution" in row:
            row = {**row, "messages": [*row["messages"], worked_turn(row)]}
        full = render(validate_row(row, "conversation", where)["messages"], template, where)
        return self.fit(full, self.max_length, where, tally)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        model, data = inputs[self.model], inputs[self.data]
        tokens = data.rows * self.epochs * (data.tokens_per_row or 100)
        memory = self.memory(model.parameters, tokens)
        return Forecast(tokens, 6 * model.parameters * tokens, memory, Facts(parameters=model.parameters))
