"""Stage `difficulty`: problems that given models cannot do (or can do sometimes), by trying."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import (
    JudgeField,
    JudgeServerField,
    RewardModelField,
    VerifierField,
    check_judges,
    check_one_judge,
    judges,
    known_verifier,
)
from bactrian.stages.stage import Facts, Forecast, ModelRef, ProblemRef, Stage, answer_tokens, rows_sampled
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Difficulty(Stage):
    """Problems on which every model's share of right answers is within bounds.

    By default one greedy answer each, and a problem stays if no model is right [s1: two models, dropped if either is].
    For RL, `samples: 8, least: 0.1, most: 0.9` keeps problems that give a signal. The column `pass_rate` says the mean.
    """

    name: ClassVar[str] = "difficulty"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    verifier: VerifierField = None
    judge: JudgeField = None
    judge_server: JudgeServerField = None
    reward_model: RewardModelField = None
    data: ProblemRef = Field(description="problem rows")
    models: list[ModelRef] = Field(min_length=1, description="models that try")
    samples: int = Field(1, ge=1, description="answers of each model; 1 is the greedy one")
    least: float = Field(0.0, ge=0, le=1, description="least share of right answers, of every model")
    most: float = Field(0.0, ge=0, le=1, description="most")
    temperature: float = Field(1.0, gt=0, description="of sampling, with more than one answer")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens; one that is cut off is not right")
    rows_at_once: int = Field(64, ge=1, description="answers generated side by side")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_one_judge(self)
        if self.most < self.least:
            raise ValueError(f"found most {self.most} below least {self.least}")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import as_given
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say
        from bactrian.verify import check_verifiers

        path = workspace.input(self.data).path
        rows = read_rows(path, "problem", known_verifier(self.verifier))
        check_verifiers(rows, str(path))
        check_judges(rows, self, self.name)
        rates = [self._rates(workspace, ref, rows) for ref in self.models]
        tally = Tally()
        with RowWriter(workspace.output) as writer:
            for row, of_row in zip(rows, zip(*rates, strict=True), strict=True):
                mean = sum(of_row) / len(of_row)
                example = f"{row['id']} ({', '.join(f'{rate:.2f}' for rate in of_row)})"
                if max(of_row) > self.most:
                    tally.drop(f"some model is right more often than {self.most:g}", example)
                elif min(of_row) < self.least:
                    tally.drop(f"some model is right less often than {self.least:g}", example)
                else:
                    tally.keep()
                    writer.write({**as_given(row), "pass_rate": mean})
            if not tally.kept:
                raise BactrianError(f"{path}: no problem is of this difficulty\n{tally}")
            writer.card = f"# Problems by difficulty\n\n```\n{tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        means = {ref: sum(of_model) / len(of_model) for ref, of_model in zip(self.models, rates, strict=True)}
        workspace.metrics.update(tally.counts(), **{f"pass_rate/{ref}": mean for ref, mean in means.items()})
        write_account(workspace.output, tally, pass_rates=means)
        say(f"difficulty: {tally}")

    def _rates(self, workspace: "Workspace", ref: str, rows: list[Row]) -> list[float]:
        """One model's share of right answers to each problem; kept in scratch, as its answers are before that."""
        from bactrian.data.io.journal import made_once

        kept = workspace.scratch / f"rates-{workspace.input(ref).content_hash[:16]}.json"
        return made_once(kept, lambda: self._tried(workspace, ref, rows, kept.with_suffix(".jsonl")))

    def _tried(self, workspace: "Workspace", ref: str, rows: list[Row], kept: "Path") -> list[float]:
        from bactrian.generate.engines import open_engine
        from bactrian.judge.verified_samples import SampleSettings, sampled_answers, verdicts_of
        from bactrian.verify import at_limit

        engine = open_engine(workspace.input(ref).path, workspace.hardware, rows=self.rows_at_once, elastic=True)
        how = SampleSettings(self.samples, self.max_new_tokens, self.temperature if self.samples > 1 else 0.0)
        seed, title, name = workspace.seed, f"difficulty · {ref} answers", f"difficulty: model {ref}"
        completions = sampled_answers(engine, rows, how, seed, kept, title, name)
        verdicts = verdicts_of(rows, completions, judges(workspace, self, rows, self.name))
        right = [
            [at_limit(v.outcome, c.finish) == "right" for c, v in zip(*group, strict=True)]
            for group in zip(completions, verdicts, strict=True)
        ]
        return [sum(group) / self.samples for group in right]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs[self.data]
        models = [inputs[ref] for ref in self.models]
        per_problem = (data.tokens_per_row or 50) + self.samples * answer_tokens(self.max_new_tokens)
        tokens = data.rows * per_problem
        flops = 2.0 * sum(each.multiplied for each in models) * tokens
        return Forecast(
            tokens * len(models),
            flops,
            4.0 * max(each.parameters for each in models) + 2e9,
            Facts(rows=data.rows // 2, tokens_per_row=data.tokens_per_row),
            sampling=tuple(
                rows_sampled(each, data.rows, data.tokens_per_row or 50, self.max_new_tokens, self.samples)
                for each in models
            ),
        )
