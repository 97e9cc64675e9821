"""Settings of training from the first token: the shape of a new decoder, its course, and what is lost besides the text.

As in `options`, each is said here and nowhere else. Loads no torch.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bactrian.train.options import Betas, CheckpointSettings, OptimiserSettings, SettingsGroup, WeightDecay

Architecture = Annotated[
    Literal["llama", "olmo2", "olmo3", "olmoe"],
    Field(description="of transformers. olmo3: olmo2, three of four layers see a window; olmoe: mixture of experts"),
]


class ShapeSettings(SettingsGroup):
    """The shape of a new decoder, beyond its width and depth."""

    kv_heads: int | None = Field(None, ge=1, description="heads of keys and values; by default as many as of queries")
    tied: bool = Field(True, description="one matrix for embeddings and output")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary embedding")
    norm_epsilon: float | None = Field(None, gt=0, description="of the norms; by default transformers' own")
    vocabulary_multiple: int = Field(1, ge=1, description="the vocabulary is padded to a multiple of this")
    window: int | None = Field(None, ge=1, description="olmo3: tokens that the windowed layers see")
    experts: int = Field(8, ge=2, description="olmoe: experts of each layer; intermediate_size is the width of one")
    active: int = Field(2, ge=1, description="olmoe: experts that each token goes through")


class RouterSettings(SettingsGroup):
    """What is added to the loss of a mixture of experts, for its routers [OLMoE, Muennighoff et al. 2024]."""

    balance: float = Field(0.01, ge=0, description="weight of the load-balancing loss, 1 where all experts are alike")
    router_z: float = Field(0.001, ge=0, description="weight of (log Z)² of the routers")


class CourseSettings(SettingsGroup):
    """How far training goes, and how far it would have gone. All in tokens, as papers have it."""

    tokens: float | None = Field(None, gt=0, description="stop after these; by default at the end of the epochs")
    horizon: float | None = Field(None, gt=0, description="the schedule is laid out over these; by default as trained")
    warmup_tokens: float | None = Field(None, ge=0, description="of the warm-up, in place of the share `warmup`")
    first_batch: int | None = Field(None, ge=1, description="rows of the first steps; doubled until it is batch_size")
    batch_warmup: float = Field(0.1, gt=0, lt=1, description="share of the rows by which the batch has grown")

    @model_validator(mode="after")
    def _ends_within_its_horizon(self) -> Self:
        if self.tokens is not None and self.horizon is not None and self.tokens > self.horizon:
            raise ValueError(f"course: found tokens {self.tokens:g} beyond the horizon {self.horizon:g}")
        return self


class PretrainOptimiser(OptimiserSettings):
    """AdamW as it is used from the first token."""

    weight_decay: WeightDecay = 0.1
    betas: Betas = (0.9, 0.95)
    decay_all: bool = Field(False, description="embeddings, norms and biases decay too, as OLMoE's did")


class MidtrainOptimiser(PretrainOptimiser):
    """The same, going on from where pretraining ended."""

    start: Literal["fresh", "keep"] = Field(
        "fresh", description="keep: with the moments that `checkpoints: {keep_optimiser: true}` left beside the model"
    )


class BaseCheckpoints(CheckpointSettings):
    """What is kept of training on plain text."""

    keep_optimiser: bool = Field(
        False, description="AdamW's moments are left in optimiser/, for a `midtrain` to go on with; twice the weights"
    )
