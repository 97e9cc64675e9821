"""Groups of settings that the stages of reinforcement learning share: what is rewarded, and what is looked at."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.judge.calibrated_judges import CalibrationRef
from bactrian.stages.judge.judge_refs import JudgeField, JudgeServerField, RewardModelField, check_one_judge
from bactrian.stages.stage import HeldOutProblemRef, ModelRef, PairRef, Settings, VerifierName
from bactrian.stages.tune.watch_settings import LookSettings
from bactrian.train.options import SettingsGroup


class WatchSettings(LookSettings):
    """What a person can see of the training: looks at held-out problems, texts and tasks, and some of the answers."""

    held_out: HeldOutProblemRef | None = Field(
        None,
        description="problems that are answered greedily at every look; none of their questions may be trained on",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="weights that the stage leaves: the last, or those of the best look at held_out"
    )
    stop_on_alarm: bool = Field(
        False, description="stop once the held-out score has surely fallen while the reward has not"
    )
    rollouts: int = Field(
        4, ge=0, description="problems a step whose answers are kept in rollouts.jsonl, for `bactrian board`; 0: none"
    )

    @model_validator(mode="after")
    def _has_what_to_look_at(self) -> Self:
        if self.held_out is None and (self.keep == "best" or self.stop_on_alarm):
            raise ValueError("keep: best and stop_on_alarm need held_out, problems to look at")
        return self


class FusionSettings(Settings):
    """Several reward models as one: the weighted mean of their rewards, each standardised first (ALFA)."""

    models: dict[str, ModelRef] = Field(min_length=1, description="name → a reward model, such as one an attribute")
    weights: dict[str, float] = Field({}, description="name → its weight, where not 1; above 0")
    standardise: PairRef | None = Field(
        None,
        description="held-out pairs: rewards count as distances from the mean of those of their answers, in spreads",
    )
    rows: int = Field(512, ge=1, description="pairs of standardise that are used, from the first")

    @model_validator(mode="after")
    def _weights_of_models(self) -> Self:
        if strange := sorted(set(self.weights) - set(self.models)):
            raise ValueError(f"weights: {strange[0]!r} is none of the models {', '.join(self.models)}")
        if any(weight <= 0 for weight in self.weights.values()):
            raise ValueError("weights: expected numbers above 0; leave a model out instead")
        return self


class RewardSettings(SettingsGroup):
    """What an answer is worth: by a function of your own, by the verifier that its row names, or by a model.

    `reward: reward.py:polite` is short for `reward: {verifier: reward.py:polite}`.
    """

    shorthand: ClassVar[str] = "verifier"

    verifier: VerifierName = Field(
        None, description="scores every answer, in place of the rows' own: FILE.py:FUNCTION, or a verifier's name"
    )
    judge: JudgeField = None
    judge_server: JudgeServerField = None
    reward_model: RewardModelField = None
    fusion: FusionSettings | None = Field(None, description="several reward models as one, in place of reward_model")
    verify_timeout: float = Field(10.0, gt=0, description="seconds for one slow verification")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        check_one_judge(self)
        if self.fusion is not None and self.reward_model is not None:
            raise ValueError("found reward_model and fusion, expected one of them")
        return self


class GroupRewardSettings(RewardSettings):
    """What GRPO and its variants reward."""

    calibration: CalibrationRef | None = Field(
        None,
        description="what `calibrate` left: says whether answers to rows of dataset cascade beat the ground truth",
    )
    no_end_reward: float | None = Field(
        0.0, description="reward of an answer cut off before its end token; null: its score"
    )
    overlong_zone: int = Field(
        0, ge=0, description="last tokens before max_new_tokens over which a penalty grows from 0 to -1 (DAPO)"
    )


class PPORewardSettings(RewardSettings):
    """What PPO rewards: verifier_weight × the verifier's score + reward_weight × the reward model's reward."""

    verifier_weight: float = Field(10.0, ge=0, description="of the verifier's score, in [0, 1] unless it is your own")
    reward_weight: float = Field(0.0, ge=0, description="of reward_model's or fusion's reward, on its own scale")
    no_end_reward: float | None = Field(
        -10.0, description="reward of an answer cut off before its end token; null: its own"
    )

    @model_validator(mode="after")
    def _fusion_counts(self) -> Self:
        if self.fusion is not None and not self.reward_weight:
            raise ValueError("fusion: expected a reward_weight above 0 beside it")
        return self
