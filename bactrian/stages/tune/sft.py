"""Stage `sft`: supervised fine-tuning on conversations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bactrian.stages.stage import ConversationRef, Facts, Forecast, ModelRef
from bactrian.stages.tune.next_token import take_stock
from bactrian.stages.tune.training import (
    TrainingStage,
    forecast,
    load_model,
    looks_of,
    rows_of,
    tokens_of,
    train_model,
    train_pass,
)
from bactrian.stages.tune.watch_settings import LookSettings
from bactrian.train.options import AdapterField, Epochs, TooLong

if TYPE_CHECKING:
    from bactrian.chat import ChatTemplate, Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace


class SFT(TrainingStage):
    """Supervised fine-tuning: cross-entropy on every assistant turn and its end token [Tülu 3, Lambert et al. 2024].

    The loss of a step is the mean over all trained tokens of the whole step, however it is cut into micro-batches.
    """

    name: ClassVar[str] = "sft"

    model: ModelRef = Field(description="the model to fine-tune")
    data: ConversationRef = Field(description="conversation rows, or problem rows with a worked solution")
    epochs: Epochs = 2.0
    batch_size: int = Field(32, ge=1, description="conversations per optimiser step")
    max_length: int = Field(4096, ge=2, description="tokens; what is longer is counted, and too_long")
    too_long: TooLong = "cut"
    adapter: AdapterField = None
    watch: LookSettings = Field(default_factory=LookSettings, description="texts and tasks that are looked at")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.tally import Tally
        from bactrian.train.supervised import Supervised

        path, rows = workspace.input(self.data).path, rows_of(workspace, self.data)
        model, tally = load_model(workspace, self, self.model), Tally()
        rendered = [
            piece
            for i, row in enumerate(rows, 1)
            for piece in self._render(row, f"{path}, row {i}", model.template, tally)
        ]
        take_stock(workspace, self.name, model, rendered, tally, str(path), self.max_length)
        task = Supervised(
            model,
            rendered,
            batch_rows=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.memory.micro_tokens,
        )
        train_model(workspace, self, model, task)

    def _render(self, row: dict[str, Any], where: str, template: "ChatTemplate", tally: "Tally") -> "list[Rendered]":
        """A conversation's tokens and weights, within `max_length`; nothing if no trained token is left."""
        from bactrian.chat import render
        from bactrian.data.io.problem_rows import worked_turn
        from bactrian.data.io.rows import validate_row
        from bactrian.train.supervised import fitted

        if "solution" in row:
            row = {**row, "messages": [*row["messages"], worked_turn(row)]}
        row = validate_row(row, "conversation", where)
        full = render(row["messages"], template, where, row.get("tools"))
        return fitted(full, self.max_length, self.too_long, where, tally)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, model = inputs[self.data], inputs[self.model]
        trained = train_pass(self, model, tokens_of(data, self.epochs), data.rows * self.epochs)
        return forecast(self, model, [trained], sampling=looks_of(self, trained, inputs))
