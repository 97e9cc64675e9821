"""Stage `dpo`: direct preference tuning on pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.stages.tune.pairs import remembered, token_pairs
from bactrian.stages.tune.training import Tuning
from bactrian.train.losses import PREFERENCE_LOSSES, Objective, PreferenceLoss

if TYPE_CHECKING:
    import torch

    from bactrian.model.language_model import LanguageModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.preference import Pair


class DPO(Tuning):
    """Direct preference optimisation, and its length-normalised, SimPO and IPO variants (docs/methods.md).

    The reference is the model that training starts from. Its log-probabilities are computed once, before training, and
    kept by content: another run over the same pairs and model finds them.
    """

    name: ClassVar[str] = "dpo"

    model: ModelRef = Field(description="the model to tune, and the reference")
    data: DataRef = Field(description="pair rows")
    loss: PreferenceLoss = Field("dpo_norm", description=PREFERENCE_LOSSES.described())
    beta: float = Field(5.0, gt=0, description="inverse temperature of the implicit reward")
    gamma: float = Field(0.0, ge=0, description="target margin of simpo")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs taken to be labelled the wrong way")
    sft_weight: float = Field(0.0, ge=0, description="of an added cross-entropy on the chosen answer")
    learning_rate: float = Field(5e-7, gt=0, description="peak of the schedule")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates over which the rate rises")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    batch_size: int = Field(32, ge=1, description="pairs per optimiser step")
    max_length: int = Field(
        2048, ge=2, description="tokens of prompt and answer; pairs with a longer side are dropped, and counted"
    )

    @model_validator(mode="after")
    def _margin(self) -> Self:
        if self.gamma and "gamma" not in PREFERENCE_LOSSES.find(self.loss).takes:
            those = ", ".join(PREFERENCE_LOSSES.taking("gamma"))
            raise ValueError(f"gamma: found {self.gamma:g} with loss {self.loss}; only {those} has a target margin")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.train.preference import Preference

        source = workspace.input(self.data)
        rows = read_rows(source.path, "pair")
        for licence in licences(rows):
            workspace.add_licence(licence)
        model = self.load(workspace, self.model)
        pairs, _ = token_pairs("dpo", rows, str(source.path), model.template, self.max_length, workspace)
        reference = self._reference(workspace, model, pairs) if self._needs_reference else None
        task = Preference(
            model,
            pairs,
            reference,
            Objective(self.loss, self.beta, self.gamma, self.label_smoothing, self.sft_weight),
            batch_pairs=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.micro_tokens,
        )
        self.train(workspace, model, task)

    @property
    def _needs_reference(self) -> bool:
        return PREFERENCE_LOSSES.find(self.loss).needs_reference

    def _reference(self, workspace: "Workspace", model: "LanguageModel", pairs: "list[Pair]") -> "torch.Tensor":
        """The start's log-probabilities of all pairs, [P, 2]; from the memo if they were computed before."""
        from bactrian.train.preference import reference_logprobs

        return remembered(
            workspace,
            lambda journal: reference_logprobs(model, pairs, self.micro_tokens, journal),
            model=self.start_hash(workspace, self.model),
            tokens=[(p.prompt, p.chosen, p.rejected) for p in pairs],
            micro_tokens=self.micro_tokens,  # other packs round otherwise, in the last bits
        )

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        model, data = inputs[self.model], inputs[self.data]
        tokens = data.rows * self.epochs * (data.tokens_per_row or 200)
        flops = (6 + (2 / self.epochs if self._needs_reference else 0)) * model.parameters * tokens
        memory = self.memory(model.parameters, tokens)
        return Forecast(tokens, flops, memory, Facts(parameters=model.parameters))
