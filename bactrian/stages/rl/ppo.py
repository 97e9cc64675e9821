"""Stage `ppo`: reinforcement learning with a value model, from verifiers, a reward model, or both."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.stages.rl.watching import Watching
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.train.options import PPOOptions

if TYPE_CHECKING:
    from bactrian.model.language_model import LanguageModel
    from bactrian.model.reward_model import RewardModel
    from bactrian.store.artifact import Workspace
    from bactrian.train.loop import Settings as LoopSettings


class PPO(Watching, PPOOptions):
    """Proximal policy optimisation [Schulman et al. 2017] as Tülu 2.5 and Tülu 3 used it (docs/methods.md).

    A token's reward is −kl × (log π − log π_ref); at the answer's last token comes the answer's own:
    `verifier_weight` × its verifier's score + `reward_weight` × the reward model's. Answers that were cut off get
    `no_end_reward` instead.
    The value model is trained beside the policy; a reward model is the better start for it.
    """

    name: ClassVar[str] = "ppo"

    model: ModelRef = Field(description="the policy to start from; also the reference of the KL term")
    data: DataRef = Field(description="problem rows")
    value: ModelRef | None = Field(
        None, description="a reward model that the value model starts from; by default the policy with a head of zeros"
    )
    reward_model: ModelRef | None = Field(
        None, description="adds reward_weight × its reward; also scores rows of dataset reward_model"
    )
    reward_weight: float = Field(0.0, ge=0, description="of the reward model's reward, on its own scale")
    verifier_weight: float = Field(10.0, ge=0, description="of the verifier's score in [0, 1]")
    steps: int = Field(100, ge=1, description="of sampling and updating")
    samples: int = Field(1, ge=1, description="answers to each problem")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")
    verify_timeout: float = Field(10.0, gt=0, description="seconds for one slow verification")
    learning_rate: float = Field(3e-7, gt=0, description="peak of the schedule")
    value_learning_rate: float | None = Field(
        None, gt=0, description="peak for the value model; by default the policy's"
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the updates over which the rate rises")

    @model_validator(mode="after")
    def _policy_moves(self) -> Self:
        if self.value_warmup >= self.steps:
            raise ValueError(f"value_warmup: found {self.value_warmup}, expected fewer than steps ({self.steps})")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.generate.engines import open_engine
        from bactrian.stages.rl.rlvr import VerifiedSampler
        from bactrian.stages.rl.watching import HeldOut
        from bactrian.train.reward_modelling import MixedReward
        from bactrian.train.rl import actor_critic
        from bactrian.verify import Pool

        rows = self.problem_rows(workspace, self.data)
        apart = self.held_out_rows(workspace, rows, workspace.input(self.data).name)
        model = self.read(workspace, self.model)
        judge = self._reward_model(workspace, self.reward_model) if self.reward_model and self.reward_weight else None
        value = self._value(workspace, model, judge)
        self.prepare(workspace, model, self.model)
        self.equip(workspace, value, self.value or self.model)
        assess = MixedReward(self.verifier_weight, judge, self.reward_weight, self.micro_tokens)
        with Pool(2, self.verify_timeout, self.judges(workspace, [*rows, *apart])) as pool:
            engine = open_engine(model, workspace.hardware, rows=self.rows_at_once)
            sampler = VerifiedSampler(self, engine, rows, pool, workspace.seed)
            task = actor_critic.PPO(
                model,
                value,
                sampler,
                assess,
                len(rows),
                self,
                steps=self.steps,
                seed=workspace.seed,
                reference=self.reference(workspace, model, self.model) if self.kl else None,
            )
            look = HeldOut(engine, apart, pool, self.max_new_tokens) if apart else None
            self.train_watched(workspace, model, task, look, trained=task)

    def _settings(self, **changes: Any) -> "LoopSettings":
        faster = {} if self.value_learning_rate is None else {"value.": self.value_learning_rate / self.learning_rate}
        return super()._settings(rates=faster, **changes)

    def _value(self, workspace: "Workspace", model: "LanguageModel", judge: "RewardModel | None") -> "RewardModel":
        """What the value model starts from. Where adapters are trained, it is on weights that are there already."""
        from bactrian.model.reward_model import RewardModel

        shared = self.adapter is not None
        if self.value is None:
            return RewardModel.of(model, workspace.seed, shared=shared, blank=True)
        if shared and judge is not None and self.value == self.reward_model:
            return judge.twin()
        return self._reward_model(workspace, self.value)

    def _reward_model(self, workspace: "Workspace", ref: str) -> "RewardModel":
        from bactrian.model.scorers import open_scorer

        folder = workspace.input(ref).path
        return open_scorer(folder, workspace.hardware, template=self.template, quantised=self.quantised)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        parameters = inputs[self.model].parameters
        tokens = self.steps * self.problems_per_step * self.samples * min(self.max_new_tokens, 100)
        flops = (2 + 4 + 2 + 12 * self.epochs) * parameters * tokens  # sampling, old, reference, both models' updates
        memory = self.memory(2 * parameters, tokens, frozen=0 if self.adapter else 2 * parameters)
        return Forecast(tokens, flops, memory, Facts(parameters=parameters))
