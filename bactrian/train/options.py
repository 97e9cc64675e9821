"""What a person may set of training's tasks: each setting, its default and its bounds are said here and nowhere else.

A stage is such a record, with more; its task reads what it needs from the stage. Loads no torch.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bactrian.train.losses import (
    ADVANTAGES,
    AGGREGATES,
    KL_ESTIMATORS,
    POLICY_LOSSES,
    Advantage,
    Aggregate,
    KLEstimator,
    PolicyObjective,
)


class Options(BaseModel):
    """Of every task: how a step is cut."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    micro_tokens: int = Field(
        4096, ge=1, description="tokens of one forward and backward; changes memory, not the result"
    )


class RolloutOptions(Options):
    """Of the tasks that train on answers of the policy itself."""

    problems_per_step: int = Field(8, ge=1, description="problems sampled in each step")
    temperature: float = Field(1.0, gt=0, description="of sampling; the training logits are divided by it too")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens")
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


class GroupOptions(RolloutOptions):
    """Of GRPO and its variants (docs/methods.md)."""

    updates_per_step: int = Field(1, ge=1, description="optimiser updates over the answers of one step")
    objective: PolicyObjective = Field("clip", description=POLICY_LOSSES.described())
    advantage: Advantage = Field("std", description=ADVANTAGES.described())
    aggregate: Aggregate = Field("token", description=AGGREGATES.described())
    clip_low: float = Field(0.2, gt=0, lt=1, description="ratio is clipped at 1 - this")
    clip_high: float = Field(0.272, gt=0, description="ratio is clipped at 1 + this")
    kl: float = Field(0.0, ge=0, description="weight of the KL to the reference; 0 loads no reference")
    kl_estimator: KLEstimator = Field("k3", description=KL_ESTIMATORS.described())
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="on each token of the loss, or off the answer's reward"
    )
    no_end_reward: float | None = Field(
        0.0, description="reward of an answer cut off before its end token; null: its score"
    )
    train_unended: bool = Field(
        True, description="false: answers that were cut off count in their group's mean and are not trained on (DAPO)"
    )
    overlong_zone: int = Field(
        0, ge=0, description="last tokens before max_new_tokens over which a penalty grows from 0 to -1 (DAPO)"
    )
    refills: int = Field(
        0,
        ge=0,
        description="rounds in which groups that are all right or all wrong are replaced by other problems (DAPO)",
    )

    @model_validator(mode="after")
    def _zone_fits(self) -> Self:
        if self.overlong_zone > self.max_new_tokens:
            found = f"found {self.overlong_zone}, expected at most max_new_tokens ({self.max_new_tokens})"
            raise ValueError(f"overlong_zone: {found}")
        return self


class PPOOptions(RolloutOptions):
    """Of PPO with a value model [Schulman et al. 2017; Tülu 2.5, Ivison et al. 2024]."""

    problems_per_step: int = Field(32, ge=1, description="problems sampled in each step")
    epochs: int = Field(4, ge=1, description="passes over the answers of a step")
    parts: int = Field(1, ge=1, description="optimiser updates of each pass")
    kl: float = Field(0.05, ge=0, description="of the KL estimate in each token's reward; 0 loads no reference")
    kl_estimator: KLEstimator = Field("k1", description=KL_ESTIMATORS.described())
    discount: float = Field(1.0, gt=0, le=1, description="gamma")
    decay: float = Field(0.95, ge=0, le=1, description="lambda of the advantage estimate")
    clip: float = Field(0.2, gt=0, lt=1, description="the ratio is clipped at 1 ± this")
    value_clip: float = Field(0.2, gt=0, description="the value moves at most this far in one step")
    value_weight: float = Field(0.1, gt=0, description="of the value model's loss")
    value_warmup: int = Field(0, ge=0, description="first steps, in which the value model learns and the policy stays")
    whiten: bool = Field(True, description="advantages to mean 0 and deviation 1 over the step")
    no_end_reward: float | None = Field(
        -10.0, description="reward of an answer cut off before its end token; null: its own"
    )
