"""What the stages that move weights have in common: the settings of the loop, and loading and saving around it."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bactrian.manifest import Kind
from bactrian.stages.stage import Stage

if TYPE_CHECKING:
    from bactrian.artifact import Workspace
    from bactrian.model.language_model import Decoder, LanguageModel
    from bactrian.train.loop import Settings, Task, Trained


class Training(Stage):
    """Settings of the training loop."""

    makes = Kind.MODEL

    learning_rate: float = Field(1e-5, gt=0, description="peak of the schedule")
    schedule: Literal["linear", "cosine", "constant", "anneal"] = Field("linear", description="after the warm-up")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the updates over which the rate rises")
    weight_decay: float = Field(0.0, ge=0, description="of matrices; never of embeddings and norms")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's decay rates")
    max_grad_norm: float | None = Field(1.0, gt=0, description="the gradient is scaled down to this norm")
    micro_tokens: int = Field(
        4096, ge=1, description="tokens of one forward and backward; changes memory, not the result"
    )
    checkpoint_seconds: float = Field(120.0, ge=0, description="between checkpoints, which a killed run resumes from")
    time_limit_minutes: float | None = Field(
        None, gt=0, description="stop after this long and keep what was learnt; the result depends on the machine"
    )
    template: str | None = Field(
        None, description="chat template: model, tulu, chatml, …; by default the tokenizer's own, else tulu"
    )

    def seconds_limit(self) -> float | None:
        return None if self.time_limit_minutes is None else 60 * self.time_limit_minutes

    def load(self, workspace: "Workspace", ref: str) -> "LanguageModel":
        """The model to be trained, in the workspace's dtype."""
        from bactrian.model.language_model import LanguageModel

        hardware = workspace.hardware
        return LanguageModel.load(workspace.input(ref).path, hardware.dtype, self.template, hardware.device)

    def train(
        self, workspace: "Workspace", model: "Decoder", task: "Task", trained: "Trained | None" = None, **changes: Any
    ) -> None:
        """Run the loop, save the model, note the totals. `trained`: what has the weights, where not the model alone."""
        from bactrian.train.loop import train

        totals = train(self.name, trained or model, task, self._settings(**changes), workspace)
        workspace.metrics.update(totals)
        model.save(workspace.output)

    def _settings(self, **changes: Any) -> "Settings":
        from bactrian.train.loop import Settings

        values = {
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "warmup": self.warmup,
            "betas": self.betas,
            "weight_decay": self.weight_decay,
            "clip": self.max_grad_norm,
            "checkpoint_seconds": self.checkpoint_seconds,
            "time_limit": self.seconds_limit(),
        }
        return Settings(**{**values, **changes})


def training_memory(parameters: float, micro_tokens: float, copies: float = 4) -> float:
    """Peak bytes of training, roughly: weights, gradient and two moments in float32, and activations of a micro-batch.

    Activations are taken as 34 floats per token and hidden unit and layer, for a model of the usual proportions, and a
    chunk of logits.
    """
    size: float = (parameters / 135e6) ** 0.6
    return 4 * copies * parameters + 6e5 * micro_tokens * size + 1.5e9
