"""Stage `pretrain`: a small decoder from its first token."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Forecast
from bactrian.stages.tune.next_token import train_on_rows
from bactrian.stages.tune.training import Row, TrainingStage, forecast, make_ready, rows_of, tokens_of, train_pass
from bactrian.train.options import (
    Betas,
    Epochs,
    LearningRate,
    OptimiserSettings,
    ScheduleName,
    TooLong,
    WeightDecay,
)

if TYPE_CHECKING:
    from bactrian.chat import Rendered
    from bactrian.data.io.tally import Tally
    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace


class PretrainOptimiser(OptimiserSettings):
    """AdamW as it is used from the first token."""

    weight_decay: WeightDecay = 0.1
    betas: Betas = (0.9, 0.95)


class Pretrain(TrainingStage):
    """Next-token training of a new decoder on plain texts, with a tokenizer made from them.

    The tokenizer knows every word of the corpus and single digits, so it is for small, closed languages. The
    architecture is OLMo 2's block (normalised sub-layer outputs, QK-norm) or Llama's, with weights from N(0, 0.02)
    truncated at three standard deviations [OLMo 2, Walsh et al. 2025].
    """

    name: ClassVar[str] = "pretrain"

    data: DataRef = Field(description="text rows")
    vocabulary: DataRef | None = Field(None, description="more rows whose words the tokenizer must know")
    architecture: Literal["olmo2", "llama"] = Field("llama", description="of transformers")
    hidden_size: int = Field(160, ge=8, description="width of the residual stream")
    layers: int = Field(4, ge=1, description="number of blocks")
    heads: int = Field(5, ge=1, description="attention heads; must divide hidden_size")
    intermediate_size: int = Field(448, ge=8, description="width of each gate of the MLP")
    context: int = Field(512, ge=16, description="longest sequence, tokens")
    epochs: Epochs = 1.0
    batch_size: int = Field(64, ge=1, description="texts per optimiser step")
    learning_rate: LearningRate = 2e-3
    schedule: ScheduleName = "cosine"
    floor: float = Field(0.1, ge=0, le=1, description="where the cosine ends, as a share of the peak")
    too_long: TooLong = "cut"
    optimiser: PretrainOptimiser = Field(default_factory=PretrainOptimiser, description="AdamW, and what it moves")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.tally import Tally

        path, rows = workspace.input(self.data).path, rows_of(workspace, self.data, "text")
        model, tally = self._new_model(workspace, rows), Tally()
        make_ready(workspace, self, model)
        train_on_rows(
            workspace,
            self,
            model,
            self._encoded(model, rows, tally),
            tally,
            source=str(path),
            longest=self.context,
            batch_size=self.batch_size,
            epochs=self.epochs,
            floor=self.floor,
        )

    def _new_model(self, workspace: "Workspace", rows: list[Row]) -> "LanguageModel":
        """A decoder of random weights, with a tokenizer that knows the rows' words."""
        import torch

        from bactrian.data.io.files import read_rows
        from bactrian.model import blank
        from bactrian.model.language_model import LanguageModel
        from bactrian.store import processes

        more = read_rows(workspace.input(self.vocabulary).path) if self.vocabulary else []
        tokenizer = blank.word_tokenizer((*(row["text"] for row in rows), *map(blank.spoken_text, more)), self.context)
        torch.manual_seed(workspace.seed)
        start, hardware, group = workspace.common / "start", workspace.hardware, processes.present()
        blank.new_model(
            tokenizer,
            architecture=self.architecture,
            hidden_size=self.hidden_size,
            layers=self.layers,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
            context=self.context,
            folder=start if group.leader else workspace.scratch / "start",  # transformers writes one process's weights
        )
        group.barrier()
        return LanguageModel.load(start, hardware.dtype, self.template, hardware.device, masters=True)

    def _encoded(self, model: "LanguageModel", rows: list[Row], tally: "Tally") -> "list[Rendered]":
        """Each text between the tokens of its beginning and end, within the context."""
        from bactrian.chat import Rendered
        from bactrian.train.supervised import fitted

        tokenizer, rendered = model.tokenizer, list[Rendered]()
        encoded = tokenizer([row["text"] for row in rows], add_special_tokens=False).input_ids
        for row, ids in zip(rows, encoded, strict=True):
            whole = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
            full = Rendered(whole, [1.0] * len(whole))
            rendered += fitted(full, self.context, self.too_long, f"text {row['id']}", tally)
        return rendered

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        block = 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size
        parameters = self.layers * block + 1000 * self.hidden_size
        data = inputs[self.data]
        trained = train_pass(self, parameters, tokens_of(data, self.epochs), data.rows * self.epochs)
        return forecast(self, parameters, [trained])
