"""What a person may set of training: each setting, its bounds and its line of help are said here and nowhere else.

Settings that everybody sets are types here and flat in a stage, which gives them a default; the others stand in groups.
Loads no torch.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bactrian.store.own_files import OwnCode
from bactrian.train.losses import (
    ADVANTAGES,
    AGGREGATES,
    KL_ESTIMATORS,
    POLICY_LOSSES,
    PREFERENCE_LOSSES,
    Advantage,
    Aggregate,
    KLEstimator,
    PolicyObjective,
    PreferenceLoss,
)
from bactrian.train.schedules import SCHEDULES, Schedule

LearningRate = Annotated[float, Field(gt=0, description="peak of the schedule")]
ScheduleName = Annotated[Schedule, Field(description=f"after the warm-up. {SCHEDULES.described()}")]
Warmup = Annotated[float, Field(ge=0, lt=1, description="share of the updates over which the rate rises")]
Epochs = Annotated[float, Field(gt=0, description="passes over the data")]
TooLong = Annotated[
    Literal["cut", "split"],
    Field(description="cut: on the right; split: into rows of their own, each going on where the last one ended"),
]
TemplateName = Annotated[
    str | None,
    OwnCode("template"),
    Field(description="chat template: model, tulu, …, FILE.jinja; by default the tokenizer's own, else tulu"),
]
PreferenceLossName = Annotated[PreferenceLoss, Field(description=PREFERENCE_LOSSES.described())]
PolicyLossName = Annotated[PolicyObjective, Field(description=POLICY_LOSSES.described())]
AdvantageName = Annotated[Advantage, Field(description=ADVANTAGES.described())]
AggregateName = Annotated[Aggregate, Field(description=AGGREGATES.described())]
KLEstimatorName = Annotated[KLEstimator, Field(description=KL_ESTIMATORS.described())]
Steps = Annotated[int, Field(ge=1, description="of sampling and updating")]
Samples = Annotated[int, Field(ge=1, description="answers to each problem")]
ProblemsPerStep = Annotated[int, Field(ge=1, description="problems sampled in each step")]
MaxNewTokens = Annotated[int, Field(ge=1, description="longest answer, tokens")]
Temperature = Annotated[float, Field(gt=0, description="of sampling; the training logits are divided by it too")]
WeightDecay = Annotated[float, Field(ge=0, description="of matrices; not of embeddings and norms")]
Betas = Annotated[tuple[float, float], Field(description="AdamW's decay rates")]


CHECKPOINTS = "checkpoints"
"""In a model artifact, the folder of the models after some of the steps, each in a folder called by the step."""


class SettingsGroup(BaseModel):
    """Settings that stand together in a recipe: `optimiser: {weight_decay: 0.1}`.

    Where a recipe has one of them flat, the error says which group it is in (`recipe.groups`). A text in the place of a
    group is its setting `shorthand`, where it has one: `reward: reward.py:polite`.
    """

    shorthand: ClassVar[str] = ""

    def needs(self) -> Iterable[tuple[str, str]]:
        """What of these settings needs an extra of the package, and which."""
        return ()

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )


class OptimiserSettings(SettingsGroup):
    """What AdamW moves, by how much at most, and what it keeps of each weight, and where."""

    weight_decay: WeightDecay = 0.0
    betas: Betas = (0.9, 0.999)
    max_grad_norm: float | None = Field(1.0, gt=0, description="the gradient is scaled down to this norm")
    states: Literal["float32", "8bit"] = Field(
        "float32", description="its two moments; 8bit: a quarter of their memory, slow on a CPU; needs extra quantised"
    )
    offload: bool = Field(
        False, description="float32 weights, gradients and moments in main memory, where the model is on a GPU"
    )
    freeze: list[str] = Field(
        [], description="weights that stay as they are, by name; * stands for any part: model.embed_tokens.*"
    )

    def needs(self) -> Iterable[tuple[str, str]]:
        """8-bit states are bitsandbytes'."""
        return [("optimiser.states: 8bit", "quantised")] if self.states == "8bit" else []


class AdapterSettings(SettingsGroup):
    """Low-rank adapters: W + (alpha / rank)·B·A is trained through A and B alone, W stays as it is [Hu et al. 2021]."""

    rank: int = Field(64, ge=1, description="columns of B, rows of A")
    alpha: float = Field(16.0, gt=0, description="scale, divided by the rank")
    targets: list[str] = Field(
        [], description="names of linear layers, such as q_proj; by default all of the decoder layers"
    )
    weights: Literal["plain", "nf4"] = Field(
        "plain", description="nf4: W in 4 bits each, a quarter of the memory of bfloat16; needs extra quantised"
    )

    def needs(self) -> Iterable[tuple[str, str]]:
        """Adapters are put in place by peft."""
        four_bits = [("adapter.weights: nf4", "quantised")] if self.weights == "nf4" else []
        return [("adapter", "adapters"), *four_bits]


AdapterField = Annotated[
    AdapterSettings | None, Field(description="train low-rank adapters in place of the weights: {rank: 64}")
]


class MemorySettings(SettingsGroup):
    """What memory a step takes. None of it changes the result beyond rounding."""

    micro_tokens: int = Field(4096, ge=1, description="tokens of one forward and backward")
    recompute: Literal["none", "mlp", "layer"] = Field(
        "none", description="activations computed again in the backward, for memory: of MLPs, or of whole layers"
    )
    recompute_every: int = Field(1, ge=1, description="in each so-many-th layer only; more memory, less time")


class CheckpointSettings(SettingsGroup):
    """What is kept of training before it ends, and when it must end."""

    checkpoint_seconds: float | None = Field(
        None, ge=0, description="between checkpoints, which a killed run resumes from; by default as their price allows"
    )
    background: bool | None = Field(
        None, description="they are written while training goes on, from a copy in main memory; by default on a GPU"
    )
    keep_every: int | None = Field(
        None, ge=1, description="steps after each of which a model is left in checkpoints/STEP, for stage checkpoint"
    )
    save_dtype: Literal["base", "float32", "bfloat16"] = Field(
        "base", description="of the weights that the artifact holds; base: as the model that training began with has it"
    )
    keep_float32: bool = Field(
        True,
        description="where that is 16 bits, what rounding takes is kept in residue/, for a next stage to go on from",
    )
    time_limit_minutes: float | None = Field(
        None, gt=0, description="stop after this long and keep what was learnt; the result depends on the machine"
    )


class SpikeSettings(SettingsGroup):
    """Updates that are outliers are not made: the rule of OLMo-core's skip-step optimisers (train/guard.py)."""

    last: int = Field(128, ge=20, description="updates that each is held against")
    sigma: float = Field(6.0, gt=0, description="standard deviations above their mean that loss and gradient may be")
    rewind_after: int | None = Field(
        None,
        ge=1,
        description="skipped among the last so many (`last`): training goes back to the state before them and on with "
        "the data after them",
    )
    rewind_every: int = Field(200, ge=1, description="steps between two states to go back to; at least `last`")

    @model_validator(mode="after")
    def _goes_back_far_enough(self) -> Self:
        if self.rewind_after is not None and self.rewind_every < self.last:
            raise ValueError(
                f"rewind_every: found {self.rewind_every}, expected at least last ({self.last}): the state before the "
                "first skipped update is to be among those kept"
            )
        return self


class SamplingSettings(SettingsGroup):
    """How a policy's own answers are sampled, and how far they may be from the policy that is trained."""

    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")
    gap_limit: float = Field(
        0.1,
        gt=0,
        description="mean gap between the sampler's and the trainer's log-probs that stops the run; bfloat16: 0.04",
    )
    importance_cap: float | None = Field(
        None,
        ge=1,
        description="weigh tokens by trainer's over sampler's probability, at most this; the reference's is 2",
    )
    staleness: int = Field(
        0,
        ge=0,
        description="steps that answers are old when trained on, as where a cluster samples and trains at once; "
        "needs importance_cap",
    )

    @model_validator(mode="after")
    def _corrects_for_age(self) -> Self:
        if self.staleness and self.importance_cap is None:
            raise ValueError(
                f"staleness: found {self.staleness} without importance_cap, expected one: answers of older weights are "
                "to be weighed; the reference's is 2"
            )
        return self


class GroupSampling(SamplingSettings):
    """Of GRPO and its variants."""

    refills: int = Field(
        0,
        ge=0,
        description="rounds in which groups that are all right or all wrong are replaced by other problems (DAPO)",
    )


class AsynchronousSettings(SettingsGroup):
    """Samplers in processes of their own on a Ray cluster, at work while the policy is trained (docs/rl.md).

    How far they are ahead is `sampling.staleness`: 0 waits for them and makes the same weights as without.
    """

    samplers: int = Field(1, ge=1, le=1024, description="processes that sample and verify; on GPUs, one each")
    verifiers: int = Field(
        1, ge=1, le=64, description="shares that each has verified at a time; more where verifiers wait for others"
    )
    in_flight: bool = Field(
        False,
        description="new weights are taken up in the middle of answers; then what is learnt depends on the clock",
    )
    piece: int = Field(32, ge=1, description="with in_flight: tokens of an answer after which it looks for new weights")
    compare_weights: bool = Field(False, description="compare checksums of the weights sent and received")
    patience: float | None = Field(
        None,
        gt=0,
        description="seconds without an answer after which a sampler is taken to hang and is replaced; "
        "by default 20 times the longest wait so far, at least 600; until its first answer at least 1,800",
    )

    def needs(self) -> Iterable[tuple[str, str]]:
        """The processes are Ray's."""
        return [("asynchronous", "ray")]

    @model_validator(mode="before")
    @classmethod
    def _staleness_has_a_place(cls, given: object) -> object:
        if isinstance(given, dict) and "staleness" in given:
            raise ValueError(f"staleness: expected as sampling: {{staleness: {given['staleness']}, importance_cap: 2}}")
        return given


AsynchronousField = Annotated[
    AsynchronousSettings | None,
    Field(description="sample in other processes, on a Ray cluster, while the policy is trained: {samplers: 2}"),
]


class GroupUpdate(SettingsGroup):
    """How GRPO and its variants move the policy (docs/methods.md)."""

    updates_per_step: int = Field(1, ge=1, description="optimiser updates over the answers of one step")
    clip_low: float = Field(0.2, gt=0, lt=1, description="ratio is clipped at 1 - this")
    clip_high: float = Field(0.272, gt=0, description="ratio is clipped at 1 + this")
    kl_estimator: KLEstimatorName = "k3"
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="on each token of the loss, or off the answer's reward"
    )
    train_unended: bool = Field(
        True, description="false: answers that were cut off count in their group's mean and are not trained on (DAPO)"
    )


class PPOUpdate(SettingsGroup):
    """How PPO moves the policy [Schulman et al. 2017; Tülu 2.5, Ivison et al. 2024]."""

    parts: int = Field(1, ge=1, description="optimiser updates of each pass")
    clip: float = Field(0.2, gt=0, lt=1, description="the ratio is clipped at 1 ± this")
    kl_estimator: KLEstimatorName = "k1"
    discount: float = Field(1.0, gt=0, le=1, description="gamma")
    decay: float = Field(0.95, ge=0, le=1, description="lambda of the advantage estimate")
    whiten: bool = Field(True, description="advantages to mean 0 and deviation 1 over the step")


class CriticSettings(SettingsGroup):
    """How PPO's value model learns."""

    value_learning_rate: float | None = Field(
        None, gt=0, description="peak for the value model; by default the policy's"
    )
    value_clip: float = Field(0.2, gt=0, description="the value moves at most this far in one step")
    value_weight: float = Field(0.1, gt=0, description="of the value model's loss")
    value_warmup: int = Field(0, ge=0, description="first steps, in which the value model learns and the policy stays")
