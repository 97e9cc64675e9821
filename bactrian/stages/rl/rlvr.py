"""Stage `rlvr`: reinforcement learning with verifiable rewards."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.stages.judge.calibrated_judges import calibration_clash, cascade_judge
from bactrian.stages.judge.judge_refs import judges
from bactrian.stages.rl.asynchronous import server_clash, trainers_engine, whoever_samples
from bactrian.stages.rl.fused_rewards import FUSED, fused_judge, fused_refs
from bactrian.stages.rl.reward_settings import GroupRewardSettings, WatchSettings
from bactrian.stages.rl.watching import (
    held_out_rows,
    keep_rollouts,
    look_at,
    looks_at,
    problem_rows,
    train_watched,
)
from bactrian.stages.stage import Facts, Forecast, ModelRef, ProblemRef, Stage
from bactrian.stages.tune.training import (
    TrainingStage,
    adapter_of,
    forecast,
    load_model,
    rollouts,
    start_of,
    train_pass,
)
from bactrian.train.options import (
    AdapterField,
    AdvantageName,
    AggregateName,
    AsynchronousField,
    GroupSampling,
    GroupUpdate,
    LearningRate,
    MaxNewTokens,
    PolicyLossName,
    ProblemsPerStep,
    Samples,
    ScheduleName,
    Steps,
    Temperature,
    Warmup,
)

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace
    from bactrian.store.hardware import HardwareSettings


class RLVR(TrainingStage):
    """Reinforcement learning with verifiable rewards, by GRPO and its variants [Lambert et al. 2024, Shao et al. 2024].

    Each step samples several answers to each of a few problems, scores them with the problems' verifiers, and moves the
    policy towards answers better than their group's mean. Groups that are all right or all wrong carry no signal: they
    are counted and not trained on. A row of dataset `cascade` is scored by a calibrated cascade (reward.calibration):
    1 where it prefers the answer to the row's ground truth. An answer that it abstains on is worth what its group's
    others are on average, so that it moves nothing; they are counted as unjudged.
    """

    name: ClassVar[str] = "rlvr"

    model: ModelRef = Field(description="the policy to start from; also the reference of the KL term")
    data: ProblemRef = Field(description="problem rows")
    steps: Steps = 100
    problems_per_step: ProblemsPerStep = 8
    samples: Annotated[Samples, Field(ge=2)] = 8
    max_new_tokens: MaxNewTokens = 256
    temperature: Temperature = 1.0
    learning_rate: LearningRate = 5e-7
    schedule: ScheduleName = "constant"
    warmup: Warmup = 0.0
    kl: float = Field(0.0, ge=0, description="weight of the KL to the reference; 0 loads no reference")
    objective: PolicyLossName = "clip"
    advantage: AdvantageName = "std"
    aggregate: AggregateName = "token"
    update: GroupUpdate = Field(default_factory=GroupUpdate, description="how the policy is moved")
    sampling: GroupSampling = Field(default_factory=GroupSampling, description="how answers are sampled")
    reward: GroupRewardSettings = Field(default_factory=GroupRewardSettings, description="what an answer is worth")
    watch: WatchSettings = Field(default_factory=WatchSettings, description="looks at held-out problems")
    asynchronous: AsynchronousField = None
    adapter: AdapterField = None

    @model_validator(mode="after")
    def _zone_fits(self) -> Self:
        if (zone := self.reward.overlong_zone) > self.max_new_tokens:
            raise ValueError(
                f"reward.overlong_zone: found {zone}, expected at most max_new_tokens ({self.max_new_tokens})"
            )
        return self

    @model_validator(mode="after")
    def _samplers_can_judge(self) -> Self:
        if self.asynchronous is None:
            return self
        for name in ("fusion", "calibration"):
            if getattr(self.reward, name) is not None:
                raise ValueError(f"asynchronous: expected none beside reward.{name}, whose models samplers do not have")
        if self.asynchronous.in_flight and not self.sampling.staleness:
            raise ValueError(
                "asynchronous.in_flight: found sampling.staleness 0, expected 1 or more: answers of the present "
                "weights alone end before there are new ones"
            )
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("reward", "calibration"), self.reward.calibration, steps)

    def clashes_with(self, hardware: "HardwareSettings") -> list[tuple[tuple[str | int, ...], str, str]]:
        return server_clash(self.asynchronous, hardware)

    def run(self, workspace: "Workspace") -> None:
        from bactrian.train.rl.policy import GroupPolicy
        from bactrian.train.rl.verified import VerifiedSampler
        from bactrian.verify import Pool

        rows = problem_rows(workspace, self.data, self.reward.verifier)
        apart = held_out_rows(workspace, self.watch, rows, self.data, self.reward.verifier)
        model = load_model(workspace, self, self.model)
        reference = start_of(workspace, self, model, self.model) if self.kl else None
        engine = trainers_engine(model, workspace.hardware, self.asynchronous, self.sampling, looks=bool(apart))
        fusion = self.reward.fusion
        here = [*rows, *apart] if self.asynchronous is None else apart
        by_others = [row for row in here if fusion is None or row["dataset"] != FUSED]
        models = judges(workspace, self.reward, by_others, self.name)
        models |= fused_judge(workspace, self, fusion) if fusion is not None else {}
        models |= cascade_judge(workspace, self.reward.calibration, [*rows, *apart])
        with Pool(2, self.reward.verify_timeout, models) as pool:
            sampler = VerifiedSampler(
                engine,
                rows,
                pool,
                workspace.seed,
                samples=self.samples,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
            )
            keep = keep_rollouts(workspace, self.watch, sampler)
            look = look_at(engine, apart, pool, self.max_new_tokens)
            with whoever_samples(
                workspace, self, self.model, model, sampler, self.asynchronous, self.sampling, self.reward
            ) as whoever:
                task = GroupPolicy(
                    model,
                    whoever,
                    len(rows),
                    self,
                    steps=self.steps,
                    seed=workspace.seed,
                    reference=reference,
                    keep=keep,
                )
                train_watched(workspace, self, self.watch, model, task, look)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Sampled, read by the policy and, where there is a KL, by the reference, and trained on once."""
        model, data = inputs[self.model], inputs[self.data]
        load, seen = rollouts(self, model, data, self.steps, self.problems_per_step, self.samples, self.max_new_tokens)
        trained = replace(seen, flops_a_token=train_pass(self, model, 0, 0).flops_a_token + (2 if self.kl else 0))
        frozen = model.parameters if self.kl and adapter_of(self) is None else 0
        frozen += sum(inputs[ref].parameters for ref in fused_refs(self.reward.fusion))
        looks = looks_at(self.watch, model, inputs, self.steps, self.max_new_tokens)
        return forecast(self, model, [trained], sampling=[load, *looks], frozen=frozen)
