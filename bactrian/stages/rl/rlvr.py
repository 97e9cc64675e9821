"""Stage `rlvr`: reinforcement learning with verifiable rewards."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.rl.watching import Watching
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.train.options import GroupOptions
from bactrian.train.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from bactrian.generate.engine import Completion, Engine
    from bactrian.store.artifact import Workspace
    from bactrian.train.rl.rollouts import Rollout
    from bactrian.verify import Pool

SEEDS_APART = 1_000_003


class RLVR(Watching, GroupOptions):
    """Reinforcement learning with verifiable rewards, by GRPO and its variants [Lambert et al. 2024, Shao et al. 2024].

    Each step samples several answers to each of a few problems, scores them with the problems' verifiers, and moves the
    policy towards answers better than their group's mean. Groups that are all right or all wrong carry no signal: they
    are counted and not trained on.
    """

    name: ClassVar[str] = "rlvr"

    model: ModelRef = Field(description="the policy to start from; also the reference of the KL term")
    data: DataRef = Field(description="problem rows")
    steps: int = Field(100, ge=1, description="of sampling and updating")
    samples: int = Field(8, ge=2, description="answers to each problem")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")
    verify_timeout: float = Field(10.0, gt=0, description="seconds for one slow verification")
    learning_rate: float = Field(5e-7, gt=0, description="peak of the schedule")
    schedule: Schedule = Field("constant", description=f"after the warm-up. {SCHEDULES.described()}")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the updates over which the rate rises")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.generate.engines import open_engine
        from bactrian.stages.rl.watching import HeldOut
        from bactrian.train.rl.policy import GroupPolicy
        from bactrian.verify import Pool

        rows = self.problem_rows(workspace, self.data)
        apart = self.held_out_rows(workspace, rows, workspace.input(self.data).name)
        model = self.load(workspace, self.model)
        reference = self.reference(workspace, model, self.model) if self.kl else None
        engine = open_engine(model, workspace.hardware, rows=self.rows_at_once)
        with Pool(2, self.verify_timeout, self.judges(workspace, [*rows, *apart])) as pool:
            sampler = VerifiedSampler(self, engine, rows, pool, workspace.seed)
            task = GroupPolicy(
                model, sampler, len(rows), self, steps=self.steps, seed=workspace.seed, reference=reference
            )
            look = HeldOut(engine, apart, pool, self.max_new_tokens) if apart else None
            self.train_watched(workspace, model, task, look)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        parameters = inputs[self.model].parameters
        tokens = self.steps * self.problems_per_step * self.samples * min(self.max_new_tokens, 100)
        flops = (2 + 6 + (2 if self.kl else 0)) * parameters * tokens
        memory = self.memory(parameters, tokens, frozen=parameters if self.kl and not self.adapter else 0)
        return Forecast(tokens, flops, memory, Facts(parameters=parameters))


class Sampling(Protocol):
    """The settings of sampling."""

    @property
    def samples(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...


class VerifiedSampler:
    """Samples answers to problem rows from the policy itself and has each verified while others are being sampled."""

    def __init__(
        self, stage: Sampling, engine: "Engine", rows: Sequence[dict[str, Any]], pool: "Pool", seed: int
    ) -> None:
        from bactrian.chat import prompt_ids

        self.stage, self.engine, self.rows, self.pool, self.seed = stage, engine, rows, pool, seed
        self.prompts = [tuple(prompt_ids(r["messages"], engine.template, f"problem {r['id']}")) for r in rows]
        engine.check_fits(self.prompts, stage.max_new_tokens, [f"problem {row['id']}" for row in rows])

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.prompts[problem]

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> "list[list[Rollout]]":
        from bactrian.generate.engine import Request
        from bactrian.train.rl.rollouts import Rollout
        from bactrian.verify import Item
        from bactrian.verify.stream import Stream

        self.engine.version = version
        first = (self.seed * SEEDS_APART + step) * SEEDS_APART
        requests = [
            Request(
                self.prompts[problem],
                n=self.stage.samples,
                seed=first + before + place,
                max_new_tokens=self.stage.max_new_tokens,
                temperature=self.stage.temperature,
            )
            for place, problem in enumerate(problems)
        ]
        with Stream[tuple[int, int]](self.pool) as stream:

            def verify(place: int, sample: int, completion: "Completion") -> None:
                stream.give((place, sample), Item.of(self.rows[problems[place]], completion.text))

            groups = self.engine.generate(requests, on_finish=verify)
            verdicts = stream.verdicts()
        failed = {key for key, verdict in verdicts.items() if verdict.outcome in ("crashed", "timed_out")}
        if len(failed) == len(verdicts):
            shown = next(iter(verdicts.values()))
            raise BactrianError(
                f"step {step + 1}: the verifiers failed on all {len(failed)} answers, which is no reward: "
                f"{shown.outcome}: {shown.reason}"
            )
        return [
            [
                Rollout(
                    c.ids,
                    c.logprobs,
                    verdicts[place, sample].score,
                    c.finish == "stop",
                    c.version,
                    (place, sample) not in failed,
                )
                for sample, c in enumerate(group)
            ]
            for place, group in enumerate(groups)
        ]
