"""Stage `pretrain`: a small decoder from its first token."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Forecast
from bactrian.stages.tune.training import LongRows, Training
from bactrian.train.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class Pretrain(Training, LongRows):
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
    epochs: float = Field(1.0, gt=0, description="passes over the data")
    batch_size: int = Field(64, ge=1, description="texts per optimiser step")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the schedule")
    schedule: Schedule = Field("cosine", description=f"after the warm-up. {SCHEDULES.described()}")
    weight_decay: float = Field(0.1, ge=0, description="of matrices; never of embeddings and norms")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's decay rates")
    floor: float = Field(0.1, ge=0, le=1, description="where the cosine ends, as a share of the peak")

    def run(self, workspace: "Workspace") -> None:
        import torch

        from bactrian.chat import Rendered
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.model import blank
        from bactrian.model.language_model import LanguageModel
        from bactrian.progress import say
        from bactrian.train.supervised import Supervised

        rows = read_rows(workspace.input(self.data).path, "text")
        for licence in licences(rows):
            workspace.add_licence(licence)
        more = read_rows(workspace.input(self.vocabulary).path) if self.vocabulary else []
        tokenizer = blank.word_tokenizer((*(row["text"] for row in rows), *map(blank.spoken_text, more)), self.context)
        torch.manual_seed(workspace.seed)
        start = workspace.scratch / "start"
        blank.new_model(
            tokenizer,
            architecture=self.architecture,
            hidden_size=self.hidden_size,
            layers=self.layers,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
            context=self.context,
            folder=start,
        )
        hardware = workspace.hardware
        model = LanguageModel.load(start, hardware.dtype, self.template, hardware.device, masters=True)
        self.prepare(workspace, model)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        tally, rendered = Tally(), list[Rendered]()
        encoded = tokenizer([row["text"] for row in rows], add_special_tokens=False).input_ids
        for row, ids in zip(rows, encoded, strict=True):
            whole = [bos, *ids, eos]
            rendered += self.fit(Rendered(whole, [1.0] * len(whole)), self.context, f"text {row['id']}", tally)
        say(f"pretrain: {tally}; {model.parameters:,} parameters, vocabulary {len(tokenizer):,}")
        workspace.metrics.update(tally.counts())
        task = Supervised(
            model,
            rendered,
            batch_rows=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.micro_tokens,
        )
        self.train(workspace, model, task, floor=self.floor)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs[self.data]
        block = 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size
        parameters = self.layers * block + 1000 * self.hidden_size
        tokens = data.rows * self.epochs * (data.tokens_per_row or 60)
        memory = self.memory(parameters, tokens)
        return Forecast(tokens, 6 * parameters * tokens, memory, Facts(parameters=parameters))
