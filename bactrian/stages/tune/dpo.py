"""Stage `dpo`: direct preference tuning on pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import Facts, Forecast, ModelRef, PairRef
from bactrian.stages.tune.pairs import remembered, token_pairs
from bactrian.stages.tune.training import (
    TrainingStage,
    forecast,
    load_model,
    looks_of,
    read_pass,
    rows_of,
    start_hash,
    take_over,
    tokens_of,
    train_model,
    train_pass,
)
from bactrian.stages.tune.watch_settings import LookSettings
from bactrian.train.losses import PREFERENCE_LOSSES, Objective
from bactrian.train.options import AdapterField, Epochs, LearningRate, PreferenceLossName, Warmup

if TYPE_CHECKING:
    import torch

    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.backend import Backend
    from bactrian.train.preference import PreferencePair


class DPO(TrainingStage):
    """Direct preference optimisation, and its length-normalised, SimPO and IPO variants (docs/methods.md).

    The reference is the model that training starts from. Its log-probabilities are computed once, before training, and
    kept by content: another run over the same pairs and model finds them.
    """

    name: ClassVar[str] = "dpo"

    model: ModelRef = Field(description="the model to tune, and the reference")
    data: PairRef = Field(description="pair rows")
    loss: PreferenceLossName = "dpo_norm"
    beta: float = Field(5.0, gt=0, description="inverse temperature of the implicit reward")
    gamma: float = Field(0.0, ge=0, description="target margin of simpo")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs taken to be labelled the wrong way")
    sft_weight: float = Field(0.0, ge=0, description="of an added cross-entropy on the chosen answer")
    learning_rate: LearningRate = 5e-7
    warmup: Warmup = 0.1
    epochs: Epochs = 1.0
    batch_size: int = Field(32, ge=1, description="pairs per optimiser step")
    max_length: int = Field(
        2048, ge=2, description="tokens of prompt and answer; pairs with a longer side are dropped, and counted"
    )
    adapter: AdapterField = None
    watch: LookSettings = Field(default_factory=LookSettings, description="texts and tasks that are looked at")

    @model_validator(mode="after")
    def _margin(self) -> Self:
        if self.gamma and "gamma" not in PREFERENCE_LOSSES.find(self.loss).takes:
            those = ", ".join(PREFERENCE_LOSSES.taking("gamma"))
            raise ValueError(f"gamma: found {self.gamma:g} with loss {self.loss}; only {those} has a target margin")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.train.preference import Preference

        path, rows = str(workspace.input(self.data).path), rows_of(workspace, self.data, "pair")
        model = load_model(workspace, self, self.model)
        pairs, _ = token_pairs("dpo", rows, path, model.template, self.max_length, workspace)
        backend = take_over(workspace, self, model)
        task = Preference(
            model,
            pairs,
            self._reference(workspace, model, pairs, backend),
            Objective(self.loss, self.beta, self.gamma, self.label_smoothing, self.sft_weight),
            batch_pairs=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.memory.micro_tokens,
        )
        train_model(workspace, self, model, task, backend)

    @property
    def _needs_reference(self) -> bool:
        return PREFERENCE_LOSSES.find(self.loss).needs_reference

    def _reference(
        self, workspace: "Workspace", model: "LanguageModel", pairs: "list[PreferencePair]", backend: "Backend"
    ) -> "torch.Tensor | None":
        """The start's log-probabilities of all pairs, [P, 2], if the loss reads them; from the memo if it has them."""
        from bactrian.train.preference import reference_logprobs

        if not self._needs_reference:
            return None
        return remembered(
            workspace,
            lambda journal: backend.reading(
                lambda: reference_logprobs(model, pairs, self.memory.micro_tokens, journal, in_step=backend.in_step)
            ),
            model=start_hash(workspace, self, self.model),
            tokens=[(p.prompt, p.chosen, p.rejected, p.trained) for p in pairs],
            micro_tokens=self.memory.micro_tokens,  # other packs round otherwise, in the last bits
        )

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, model = inputs[self.data], inputs[self.model]
        passes = [train_pass(self, model, tokens_of(data, self.epochs), data.rows * self.epochs)]
        if self._needs_reference:
            passes.append(read_pass(self, model, tokens_of(data, 1), data.rows))
        return forecast(self, model, passes, sampling=looks_of(self, passes[0], inputs))
