"""Stage `rlvr`: reinforcement learning with verifiable rewards."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef
from bactrian.stages.watching import Watching

if TYPE_CHECKING:
    from bactrian.artifact import Workspace
    from bactrian.generate.engine import Completion
    from bactrian.generate.local import LocalEngine
    from bactrian.train.rollouts import Rollout
    from bactrian.verify import Pool

SEEDS_APART = 1_000_003


class RLVR(Watching):
    """Reinforcement learning with verifiable rewards, by GRPO and its variants [Tülu 3.1, Shao et al. 2024; SPEC §4].

    Each step samples several answers to each of a few problems, scores them with the problems' verifiers, and moves the
    policy towards answers better than their group's mean. Groups that are all right or all wrong carry no signal: they
    are counted and not trained on.
    """

    name: ClassVar[str] = "rlvr"

    model: ModelRef = Field(description="the policy to start from; also the reference of the KL term")
    data: DataRef = Field(description="problem rows")
    steps: int = Field(100, ge=1, description="of sampling and updating")
    problems_per_step: int = Field(8, ge=1, description="problems sampled in each step")
    samples: int = Field(8, ge=2, description="answers to each problem")
    updates_per_step: int = Field(1, ge=1, description="optimiser updates over the answers of one step")
    objective: Literal["clip", "gspo", "cispo"] = Field(
        "clip",
        description="clipped ratio by token (GRPO), by answer (GSPO), or as a weight without gradient (CISPO)",
    )
    advantage: Literal["std", "none", "rloo"] = Field(
        "std", description="divide by the group's deviation (GRPO), only centre (Dr. GRPO), or leave one out (RLOO)"
    )
    aggregate: Literal["token", "response", "constant"] = Field(
        "token", description="mean over tokens (DAPO), over responses (GRPO), or a constant divisor (Dr. GRPO)"
    )
    clip_low: float = Field(0.2, gt=0, lt=1, description="ratio is clipped at 1 - this")
    clip_high: float = Field(0.272, gt=0, description="ratio is clipped at 1 + this")
    importance_cap: float | None = Field(
        None,
        ge=1,
        description="weigh tokens by trainer's over sampler's probability, at most this; the reference's is 2",
    )
    kl: float = Field(0.0, ge=0, description="weight of the KL to the reference; 0 loads no reference")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="see docs; the reference uses k3")
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
    temperature: float = Field(1.0, gt=0, description="of sampling; the training logits are divided by it too")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")
    gap_limit: float = Field(
        0.05, gt=0, description="mean gap between the sampler's and the trainer's log-probs that stops the run"
    )
    verify_timeout: float = Field(10.0, gt=0, description="seconds for one slow verification")
    learning_rate: float = Field(5e-7, gt=0, description="peak of the schedule")
    schedule: Literal["linear", "cosine", "constant", "anneal"] = Field("constant", description="after the warm-up")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the updates over which the rate rises")

    @model_validator(mode="after")
    def _zone_fits(self) -> Self:
        if self.overlong_zone > self.max_new_tokens:
            found = f"found {self.overlong_zone}, expected at most max_new_tokens ({self.max_new_tokens})"
            raise ValueError(f"overlong_zone: {found}")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.generate.local import LocalEngine
        from bactrian.stages.watching import HeldOut
        from bactrian.train.policy import GroupPolicy, Settings
        from bactrian.verify import Pool

        rows = self.problem_rows(workspace, self.data)
        apart = self.held_out_rows(workspace, rows, workspace.input(self.data).name)
        model = self.load(workspace, self.model)
        reference = self.reference(workspace, model, self.model) if self.kl else None
        engine = LocalEngine(model, rows=self.rows_at_once)
        settings = Settings(
            problems_per_step=self.problems_per_step,
            updates_per_step=self.updates_per_step,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            objective=self.objective,
            scale=self.advantage,
            aggregate=self.aggregate,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl=self.kl,
            kl_estimator=self.kl_estimator,
            kl_in=self.kl_in,
            train_unended=self.train_unended,
            overlong_zone=self.overlong_zone,
            refills=self.refills,
            importance_cap=self.importance_cap,
            unended_reward=self.no_end_reward,
            gap_limit=self.gap_limit,
            micro_tokens=self.micro_tokens,
        )
        with Pool(2, self.verify_timeout, self.judges(workspace, [*rows, *apart])) as pool:
            sampler = VerifiedSampler(self, engine, rows, pool, workspace.seed)
            task = GroupPolicy(
                model, sampler, len(rows), settings, steps=self.steps, seed=workspace.seed, reference=reference
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
        self, stage: Sampling, engine: "LocalEngine", rows: Sequence[dict[str, Any]], pool: "Pool", seed: int
    ) -> None:
        from bactrian.chat import prompt_ids

        self.stage, self.engine, self.rows, self.pool, self.seed = stage, engine, rows, pool, seed
        self.prompts = [tuple(prompt_ids(r["messages"], engine.template, f"problem {r['id']}")) for r in rows]
        engine.check_fits(self.prompts, stage.max_new_tokens, [f"problem {row['id']}" for row in rows])

    def prompt(self, problem: int) -> tuple[int, ...]:
        return self.prompts[problem]

    def rollouts(self, problems: Sequence[int], step: int, version: int, before: int = 0) -> "list[list[Rollout]]":
        from bactrian.generate.engine import Request
        from bactrian.train.rollouts import Rollout
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
                Rollout(c.ids, c.logprobs, verdicts[place, sample].score, c.finish == "stop", c.version,
                        (place, sample) not in failed)
                for sample, c in enumerate(group)
            ]
            for place, group in enumerate(groups)
        ]  # fmt: skip
