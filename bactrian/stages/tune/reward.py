"""Stage `reward`: a reward model from preference pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts, Forecast, ModelRef, PairRef
from bactrian.stages.tune.pairs import token_pairs
from bactrian.stages.tune.training import (
    TrainingStage,
    forecast,
    make_ready,
    read_model,
    rows_of,
    tokens_of,
    train_model,
    train_pass,
)
from bactrian.train.options import AdapterField, Epochs, LearningRate

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class Reward(TrainingStage):
    """A reward model by Bradley and Terry's loss: chosen above rejected [Stiennon et al. 2020].

    The model's trunk with a new scalar head; an answer's reward is the number at its last token, its end token. Saved
    as `…ForSequenceClassification`, so other tools read it.
    """

    name: ClassVar[str] = "reward"

    model: ModelRef = Field(description="the language model whose trunk is trained on")
    data: PairRef = Field(description="pair rows")
    margin: Literal["none", "scores"] = Field(
        "none", description="scores: by how much chosen_score exceeds rejected_score, times margin_scale"
    )
    margin_scale: float = Field(1.0, gt=0, description="of that margin")
    centring: float = Field(
        0.0, ge=0, description="weight of (r_chosen + r_rejected)², which holds the rewards' level at 0"
    )
    learning_rate: LearningRate = 3e-6
    epochs: Epochs = 1.0
    batch_size: int = Field(256, ge=1, description="pairs per optimiser step")
    max_length: int = Field(
        2048, ge=2, description="tokens of prompt and answer; pairs with a longer side are dropped, and counted"
    )
    adapter: AdapterField = None

    def run(self, workspace: "Workspace") -> None:
        from bactrian.model.reward_model import RewardModel
        from bactrian.train.reward_modelling import BradleyTerry

        path, rows = str(workspace.input(self.data).path), rows_of(workspace, self.data, "pair")
        model = RewardModel.of(read_model(workspace, self, self.model), workspace.seed, shared=True)
        make_ready(workspace, self, model, self.model)
        pairs, kept = token_pairs("reward", rows, path, model.template, self.max_length, workspace)
        task = BradleyTerry(
            model,
            pairs,
            None if self.margin == "none" else [self._margin(row, path) for row in kept],
            centring=self.centring,
            batch_pairs=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.memory.micro_tokens,
        )
        train_model(workspace, self, model, task)

    def _margin(self, row: dict[str, Any], path: str) -> float:
        try:
            return self.margin_scale * float(row["chosen_score"] - row["rejected_score"])
        except (KeyError, TypeError):
            raise BactrianError(
                f"{path}, row {row['id']}: margin scores needs the numbers chosen_score and rejected_score; found "
                f"{row.get('chosen_score')!r} and {row.get('rejected_score')!r}"
            ) from None

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, model = inputs[self.data], inputs[self.model]
        trained = train_pass(self, model, tokens_of(data, self.epochs), data.rows * self.epochs)
        return forecast(self, model, [trained])
