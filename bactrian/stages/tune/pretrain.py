"""Stage `pretrain`: a decoder from its first token."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.stages.tune.decoder_size import MADE_VOCABULARY, TAKEN_VOCABULARY, decoder_size
from bactrian.stages.tune.text_training import PlainTextStage, has_tokens, text_pass, train_on_text
from bactrian.stages.tune.training import forecast, looks_of, make_ready, rows_of
from bactrian.train.base_options import Architecture, ShapeSettings
from bactrian.train.options import LearningRate, ScheduleName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace


class Pretrain(PlainTextStage):
    """Next-token training of a new decoder on plain texts.

    Its tokenizer is made from the texts, or is that of another model, or the one that `tokenize` made and left beside
    the tokens. The one that is made knows every word of the corpus and single digits, so it is for small, closed
    languages. The architecture is Llama's, OLMo 2's block
    (normalised sub-layer outputs, QK-norm) or one that came from it, with weights from N(0, 0.02) truncated at three
    standard deviations [OLMo 2, Walsh et al. 2025].
    """

    name: ClassVar[str] = "pretrain"

    tokenizer: ModelRef | None = Field(None, description="a model whose tokenizer is taken; by default one is made")
    vocabulary: DataRef | None = Field(None, description="more rows whose words the tokenizer that is made must know")
    architecture: Architecture = "llama"
    hidden_size: int = Field(160, ge=8, description="width of the residual stream")
    layers: int = Field(4, ge=1, description="number of blocks")
    heads: int = Field(5, ge=1, description="attention heads; must divide hidden_size")
    intermediate_size: int = Field(448, ge=8, description="width of each gate of the MLP, or of each expert")
    context: int = Field(512, ge=16, description="longest sequence, tokens")
    shape: ShapeSettings = Field(default_factory=ShapeSettings, description="of the decoder, in detail")
    learning_rate: LearningRate = 2e-3
    schedule: ScheduleName = "cosine"
    floor: float = Field(0.1, ge=0, le=1, description="where cosine or wsd ends, as a share of the peak")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tokenizer is not None and self.vocabulary is not None:
            raise ValueError("vocabulary: found one beside tokenizer, expected one of the two: it knows all it will")
        if self.shape.kv_heads is not None and self.heads % self.shape.kv_heads:
            raise ValueError(f"shape.kv_heads: found {self.shape.kv_heads}, expected a divisor of heads {self.heads}")
        if self.shape.active > self.shape.experts:
            raise ValueError(f"shape.active: found {self.shape.active}, expected at most experts {self.shape.experts}")
        return self

    def run(self, workspace: "Workspace") -> None:
        model = self._new_model(workspace)
        make_ready(workspace, self, model)
        train_on_text(workspace, self, model, self.context, floor=self.floor)

    def _new_model(self, workspace: "Workspace") -> "LanguageModel":
        """A decoder of random weights, with a tokenizer."""
        import torch

        from bactrian.model import blank
        from bactrian.model.language_model import LanguageModel
        from bactrian.store import processes

        tokenizer = self._tokenizer(workspace)
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
            **self.shape.model_dump(),
        )
        group.barrier()
        return LanguageModel.load(start, hardware.dtype, self.template, hardware.device, masters=True)

    def _tokenizer(self, workspace: "Workspace") -> "PreTrainedTokenizerBase":
        from bactrian.data.io.files import read_rows
        from bactrian.model import blank
        from bactrian.model.language_model import load_tokenizer

        if self.tokenizer is not None:
            return load_tokenizer(workspace.input(self.tokenizer).path)
        if has_tokens(path := workspace.input(self.data).path):
            return self._tokenizer_beside(path)
        rows = rows_of(workspace, self.data, "text")
        more = read_rows(workspace.input(self.vocabulary).path) if self.vocabulary else []
        return blank.word_tokenizer((*(row["text"] for row in rows), *map(blank.spoken_text, more)), self.context)

    def _tokenizer_beside(self, path: Path) -> "PreTrainedTokenizerBase":
        """The tokenizer that `tokenize` made and left beside its tokens."""
        from bactrian.data.corpus.token_files import TOKENIZER
        from bactrian.model.language_model import load_tokenizer

        if not (path / TOKENIZER).is_dir():
            raise BactrianError(f"pretrain: {path} holds tokens; expected tokenizer: …, the one that they are of")
        if self.vocabulary is not None:
            raise BactrianError(
                f"pretrain, field 'vocabulary': {path} has a tokenizer; expected vocabulary: … in the step that made it"
            )
        tokenizer = load_tokenizer(path / TOKENIZER)
        tokenizer.model_max_length = self.context
        return tokenizer

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        size = decoder_size(
            self.architecture,
            self.hidden_size,
            self.layers,
            self.heads,
            self.intermediate_size,
            self.context,
            MADE_VOCABULARY if self.tokenizer is None else TAKEN_VOCABULARY,
            self.shape,
        )
        made = Facts(parameters=size.parameters, active=size.active)
        trained = text_pass(self, made, size.attended, inputs[self.data], self.context)
        return forecast(self, made, [trained], sampling=looks_of(self, trained, inputs))
