"""Stage `reward`: a reward model from preference pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.stages.tune.pairs import token_pairs
from bactrian.stages.tune.training import Tuning

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace


class Reward(Tuning):
    """A reward model by Bradley and Terry's loss: chosen above rejected [SPEC §3.2].

    The model's trunk with a new scalar head; an answer's reward is the number at its last token, its end token. Saved
    as `…ForSequenceClassification`, so other tools read it.
    """

    name: ClassVar[str] = "reward"

    model: ModelRef = Field(description="the language model whose trunk is trained on")
    data: DataRef = Field(description="pair rows")
    margin: Literal["none", "scores"] = Field(
        "none", description="scores: by how much chosen_score exceeds rejected_score, times margin_scale"
    )
    margin_scale: float = Field(1.0, gt=0, description="of that margin")
    centring: float = Field(
        0.0, ge=0, description="weight of (r_chosen + r_rejected)², which holds the rewards' level at 0"
    )
    learning_rate: float = Field(3e-6, gt=0, description="peak of the schedule")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    batch_size: int = Field(256, ge=1, description="pairs per optimiser step")
    max_length: int = Field(
        2048, ge=2, description="tokens of prompt and answer; pairs with a longer side are dropped, and counted"
    )

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import licences
        from bactrian.model.reward_model import RewardModel
        from bactrian.train.reward_modelling import BradleyTerry

        source = workspace.input(self.data)
        rows = read_rows(source.path, "pair")
        for licence in licences(rows):
            workspace.add_licence(licence)
        model = RewardModel.of(self.read(workspace, self.model), workspace.seed, shared=True)
        self.prepare(workspace, model, self.model)
        pairs, kept = token_pairs("reward", rows, str(source.path), model.template, self.max_length, workspace)
        task = BradleyTerry(
            model,
            pairs,
            None if self.margin == "none" else [self._margin(row, str(source.path)) for row in kept],
            centring=self.centring,
            batch_pairs=self.batch_size,
            epochs=self.epochs,
            seed=workspace.seed,
            micro_tokens=self.micro_tokens,
        )
        self.train(workspace, model, task)

    def _margin(self, row: dict[str, Any], path: str) -> float:
        try:
            return self.margin_scale * float(row["chosen_score"] - row["rejected_score"])
        except (KeyError, TypeError):
            raise BactrianError(
                f"{path}, row {row['id']}: margin scores needs the numbers chosen_score and rejected_score; found "
                f"{row.get('chosen_score')!r} and {row.get('rejected_score')!r}"
            ) from None

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        model, data = inputs[self.model], inputs[self.data]
        tokens = data.rows * self.epochs * (data.tokens_per_row or 200)
        memory = self.memory(model.parameters, tokens)
        return Forecast(tokens, 6 * model.parameters * tokens, memory, Facts(parameters=model.parameters))
