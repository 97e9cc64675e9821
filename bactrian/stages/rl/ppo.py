"""Stage `ppo`: reinforcement learning with a value model, from verifiers, a reward model, or both."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.stages.judge.judge_refs import judges
from bactrian.stages.rl.fused_rewards import fused_refs, fused_reward
from bactrian.stages.rl.reward_settings import PPORewardSettings, WatchSettings
from bactrian.stages.rl.watching import (
    held_out_rows,
    keep_rollouts,
    look_at,
    looks_at,
    problem_rows,
    train_watched,
)
from bactrian.stages.stage import Facts, Forecast, ModelRef, ProblemRef
from bactrian.stages.tune.training import (
    TrainingStage,
    adapter_of,
    equip,
    forecast,
    make_ready,
    quantised,
    read_model,
    rollouts,
    start_of,
    train_pass,
)
from bactrian.train.options import (
    AdapterField,
    CriticSettings,
    LearningRate,
    MaxNewTokens,
    PPOUpdate,
    ProblemsPerStep,
    Samples,
    SamplingSettings,
    Steps,
    Temperature,
    Warmup,
)

if TYPE_CHECKING:
    from bactrian.model.language_model import LanguageModel
    from bactrian.model.reward_model import RewardModel
    from bactrian.store.artifact import Workspace


class PPO(TrainingStage):
    """Proximal policy optimisation [Schulman et al. 2017] as Tülu 2.5 and Tülu 3 used it (docs/methods.md).

    A token's reward is −kl × (log π − log π_ref); at the answer's last token comes the answer's own:
    `verifier_weight` × its verifier's score + `reward_weight` × the reward model's. Answers that were cut off get
    `no_end_reward` instead.
    The value model is trained beside the policy; a reward model is the better start for it.
    """

    name: ClassVar[str] = "ppo"

    model: ModelRef = Field(description="the policy to start from; also the reference of the KL term")
    data: ProblemRef = Field(description="problem rows")
    value: ModelRef | None = Field(
        None, description="a reward model that the value model starts from; by default the policy with a head of zeros"
    )
    steps: Steps = 100
    problems_per_step: ProblemsPerStep = 32
    samples: Samples = 1
    max_new_tokens: MaxNewTokens = 256
    temperature: Temperature = 1.0
    epochs: int = Field(4, ge=1, description="passes over the answers of a step")
    learning_rate: LearningRate = 3e-7
    warmup: Warmup = 0.0
    kl: float = Field(0.05, ge=0, description="of the KL estimate in each token's reward; 0 loads no reference")
    update: PPOUpdate = Field(default_factory=PPOUpdate, description="how the policy is moved")
    critic: CriticSettings = Field(default_factory=CriticSettings, description="how the value model learns")
    sampling: SamplingSettings = Field(default_factory=SamplingSettings, description="how answers are sampled")
    reward: PPORewardSettings = Field(default_factory=PPORewardSettings, description="what an answer is worth")
    watch: WatchSettings = Field(default_factory=WatchSettings, description="looks at held-out problems")
    adapter: AdapterField = None

    @model_validator(mode="after")
    def _policy_moves(self) -> Self:
        if (alone := self.critic.value_warmup) >= self.steps:
            raise ValueError(f"critic.value_warmup: found {alone}, expected fewer than steps ({self.steps})")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.generate.engines import open_engine
        from bactrian.model.reward_model import Scorer
        from bactrian.train.choose_backend import in_shards
        from bactrian.train.reward_modelling import MixedReward
        from bactrian.train.rl.actor_critic import ActorCritic
        from bactrian.train.rl.verified import VerifiedSampler
        from bactrian.verify import Pool

        r = self.reward
        rows = problem_rows(workspace, self.data, r.verifier)
        apart = held_out_rows(workspace, self.watch, rows, self.data, r.verifier)
        model = read_model(workspace, self, self.model)
        judge = self._reward_model(workspace, r.reward_model) if r.reward_model and r.reward_weight else None
        fused = fused_reward(workspace, self, r.fusion) if r.fusion and r.reward_weight else None
        value = self._value(workspace, model, judge)
        make_ready(workspace, self, model, self.model)
        equip(workspace, self, value, self.value or self.model)
        scorer: Scorer | None = None
        if fused is not None:
            scorer = fused.each(partial(in_shards, hardware=workspace.hardware))
        elif judge is not None:
            scorer = in_shards(judge, workspace.hardware)
        assess = MixedReward(r.verifier_weight, scorer, r.reward_weight, self.memory.micro_tokens)
        engine = open_engine(model, workspace.hardware, rows=self.sampling.rows_at_once)
        with Pool(2, r.verify_timeout, judges(workspace, r, [*rows, *apart], self.name)) as pool:
            sampler = VerifiedSampler(
                engine,
                rows,
                pool,
                workspace.seed,
                samples=self.samples,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
            )
            task = ActorCritic(
                model,
                value,
                sampler,
                assess,
                len(rows),
                self,
                steps=self.steps,
                seed=workspace.seed,
                reference=start_of(workspace, self, model, self.model) if self.kl else None,
                keep=keep_rollouts(workspace, self.watch, sampler),
            )
            look = look_at(engine, apart, pool, self.max_new_tokens)
            train_watched(workspace, self, self.watch, model, task, look, trained=task, rates=self._rates())

    def _rates(self) -> dict[str, float]:
        """The value model's learning rate, as a multiple of the policy's, where it has one of its own."""
        own = self.critic.value_learning_rate
        return {} if own is None else {"value.": own / self.learning_rate}

    def _value(self, workspace: "Workspace", model: "LanguageModel", judge: "RewardModel | None") -> "RewardModel":
        """What the value model starts from. Where adapters are trained, it is on weights that are there already."""
        from bactrian.model.reward_model import RewardModel

        shared = adapter_of(self) is not None
        if self.value is None:
            return RewardModel.of(model, workspace.seed, shared=shared, blank=True)
        if shared and judge is not None and self.value == self.reward.reward_model:
            return judge.twin()
        return self._reward_model(workspace, self.value)

    def _reward_model(self, workspace: "Workspace", ref: str) -> "RewardModel":
        from bactrian.model.reward_model import open_scorer

        folder = workspace.input(ref).path
        return open_scorer(folder, workspace.hardware, template=self.template, quantised=quantised(self))

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        """Each answer is read by policy, reference and value model; two of them learn from it in each epoch."""
        model, data = inputs[self.model], inputs[self.data]
        valued = inputs[self.value] if self.value else model
        load, seen = rollouts(self, model, data, self.steps, self.problems_per_step, self.samples, self.max_new_tokens)
        update = train_pass(self, model, 0, 0, self.epochs).flops_a_token
        passes = [
            replace(seen, flops_a_token=update + (4 if self.kl else 2)),
            replace(seen, parameters=valued.parameters, active=valued.active, flops_a_token=update + 2),
        ]
        frozen = 0 if adapter_of(self) or not self.kl else model.parameters
        if (judge := self.reward.reward_model) and self.reward.reward_weight:
            passes.append(replace(seen, parameters=inputs[judge].parameters, active=inputs[judge].active))
            frozen += inputs[judge].parameters
        for ref in fused_refs(self.reward.fusion) if self.reward.reward_weight else ():
            passes.append(replace(seen, parameters=inputs[ref].parameters, active=inputs[ref].active))
            frozen += inputs[ref].parameters
        looks = looks_at(self.watch, model, inputs, self.steps, self.max_new_tokens)
        sampling = [load, *looks]
        trained = model.parameters + valued.parameters
        return forecast(self, model, passes, sampling=sampling, trained=trained, frozen=frozen)
