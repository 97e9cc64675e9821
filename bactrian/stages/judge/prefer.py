"""Stage `prefer`: preference pairs from what models themselves answer, judged by a verifier."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import CalibrationRef, calibration_clash, label_pairs, usable_calibration
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

    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Verdict

Row = dict[str, Any]


class Prefer(Stage):
    """On-policy preference pairs [Tülu 3, Lambert et al. 2024].

    Every model of the pool answers every prompt; a verifier scores the answers. Chosen is one of the best answers,
    rejected a random one of those that score lower by at least `margin`. A prompt whose answers score alike gives no
    pair; answers that were cut off are neither chosen nor rejected. Both are counted. With `calibration`, no verifier
    is asked: answers meet at random, and a calibrated cascade says which is better.
    """

    name: ClassVar[str] = "prefer"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    reward: VerifierField = None
    judge: JudgeField = None
    judge_server: JudgeServerField = None
    reward_model: RewardModelField = None
    calibration: CalibrationRef | None = Field(
        None, description="what `calibrate` left: its cascade prefers, in place of verifiers, and may abstain"
    )
    prompts: ProblemRef = Field(description="problem rows")
    pool: list[ModelRef] = Field(min_length=1, description="models that answer; for on-policy pairs, the SFT model")
    samples: int = Field(4, ge=2, description="answers of each model to each prompt")
    pairs_per_prompt: int = Field(1, ge=1, description="at most; each with another rejected answer")
    margin: float = Field(0.0, ge=0, description="least difference of the scores, beyond being different")
    limit: int | None = Field(None, ge=1, description="prompts to use, from the first")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling")
    max_new_tokens: int = Field(256, ge=1, description="longest answer, tokens")
    rows_at_once: int = Field(64, ge=1, description="answers sampled side by side")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        check_one_judge(self)
        scored = self.reward or self.judge or self.judge_server or self.reward_model or self.margin
        if self.calibration is not None and scored:
            raise ValueError("calibration: found beside what scores single answers; expected one of them")
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def run(self, workspace: "Workspace") -> None:
        from functools import partial

        from bactrian.data.io.files import read_rows, write_rows
        from bactrian.data.io.journal import made_once
        from bactrian.data.io.rows import licences
        from bactrian.data.io.tally import Tally
        from bactrian.progress import say
        from bactrian.verify import check_verifiers

        path = workspace.input(self.prompts).path
        rows = read_rows(path, "problem", known_verifier(self.reward))[: self.limit]
        if self.calibration is not None:
            usable_calibration(workspace, self.calibration)  # before the sampling, not after it
        else:
            check_verifiers(rows, str(path))
            check_judges(rows, self, self.name)
        for licence in licences(rows):
            workspace.add_licence(licence)
        answers: list[list[Row]] = [[] for _ in rows]
        for ref in self.pool:
            kept = workspace.scratch / f"answers-{workspace.input(ref).content_hash[:16]}.json"
            answered = made_once(kept, partial(self._answers, workspace, ref, rows, kept.with_suffix(".jsonl")))
            for mine, new in zip(answers, answered, strict=True):
                mine += new
        if self.calibration is not None:
            return self._judged(workspace, self.calibration, rows, answers)
        tally = Tally()
        pairs = [pair for i, row in enumerate(rows) for pair in self._pairs(row, answers[i], workspace.seed, i, tally)]
        say(f"prefer: {tally}; {len(pairs):,} pairs")
        flat = [a for group in answers for a in group]
        workspace.metrics.update(tally.counts())
        workspace.metrics.update(
            pairs=float(len(pairs)),
            score=sum(a["score"] for a in flat) / len(flat),
            truncated=sum(not a["ended"] for a in flat) / len(flat),
            unjudged=sum(not a["known"] for a in flat) / len(flat),
            tokens=float(sum(a["tokens"] for a in flat)),
        )
        if not pairs:
            raise BactrianError(f"prefer: no pairs: at every prompt all {len(answers[0])} answers score alike\n{tally}")
        write_rows(pairs, workspace.output, card=f"# Preference pairs\n\n```\n{tally}\n```")

    def _judged(self, workspace: "Workspace", calibration: str, rows: list[Row], answers: list[list[Row]]) -> None:
        """Answers that ended meet at random, and the cascade decides; what it abstains on is kept apart."""
        from random import Random

        from bactrian.judge.answer_pairs import drawn_pairs
        from bactrian.judge.pairwise import ScoredAnswer

        drawn = []
        for index, (row, mine) in enumerate(zip(rows, answers, strict=True)):
            usable = [ScoredAnswer(answer["text"], 0.0, answer) for answer in mine if answer["ended"]]
            drawn += drawn_pairs(row, usable, Random(f"prefer/{workspace.seed}/{index}"), self.pairs_per_prompt)
        flat = [answer for mine in answers for answer in mine]
        label_pairs(workspace, calibration, drawn, self.name)
        workspace.metrics["truncated"] = sum(not answer["ended"] for answer in flat) / len(flat)

    def _answers(self, workspace: "Workspace", ref: str, rows: list[Row], kept: "Path") -> list[list[Row]]:
        """What one model answers to each prompt: text, score, tokens, whether it ended and could be judged."""
        from bactrian.generate.engines import open_engine
        from bactrian.judge.verified_samples import SampleSettings, sampled_answers, verdicts_of

        engine = open_engine(workspace.input(ref).path, workspace.hardware, rows=self.rows_at_once)
        how = SampleSettings(self.samples, self.max_new_tokens, self.temperature, self.top_p)
        seed, title, name = workspace.seed, f"prefer · {ref} answers", f"prefer: model {ref}"
        completions = sampled_answers(engine, rows, how, seed, kept, title, name)
        verdicts: list[list[Verdict | None]] = [[None] * len(group) for group in completions]
        if self.calibration is None:
            verdicts = [[*group] for group in verdicts_of(rows, completions, judges(workspace, self, rows, self.name))]
        return [
            [
                {
                    "model": ref,
                    "text": completion.text,
                    "score": verdict.score if verdict else 0.0,
                    "tokens": len(completion.ids),
                    "ended": completion.finish == "stop",
                    # a verdict that failed says nothing of the answer: it is neither chosen nor rejected
                    "known": verdict is None or verdict.outcome not in ("crashed", "timed_out"),
                }
                for completion, verdict in zip(*group, strict=True)
            ]
            for group in zip(completions, verdicts, strict=True)
        ]

    def _pairs(self, row: Row, answers: list[Row], seed: int, index: int, tally: "Tally") -> list[Row]:
        from random import Random

        from bactrian.judge.pairwise import ScoredAnswer, pair_row, preferences

        usable = [
            ScoredAnswer(a["text"], a["score"], a) for a in answers if a["ended"] and a["text"].strip() and a["known"]
        ]
        if len(usable) < 2:
            tally.drop("fewer than two answers ended and were judged", str(row["id"]))
            return []
        found = preferences(usable, Random(f"prefer/{seed}/{index}"), self.pairs_per_prompt, self.margin)
        if not found:
            right = max(answer.score for answer in usable) > 0
            tally.drop(f"all answers score {'right' if right else 'wrong'} alike", str(row["id"]))
            return []
        tally.keep()
        return [pair_row(row, number, chosen, rejected) for number, (chosen, rejected) in enumerate(found)]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs[self.prompts]
        prompts = min(data.rows, self.limit or data.rows)
        models = [inputs[ref] for ref in self.pool]
        per_answer = answer_tokens(self.max_new_tokens)
        tokens = prompts * len(self.pool) * self.samples * per_answer
        made = Facts(rows=prompts // 2, tokens_per_row=2 * per_answer + (data.tokens_per_row or 50))
        asked = (data.tokens_per_row or 50, self.max_new_tokens, self.samples)
        sampling = tuple(rows_sampled(model, prompts, *asked) for model in models)
        most, memory = max(model.multiplied for model in models), 4 * max(model.parameters for model in models) + 2e9
        return Forecast(tokens, 2 * most * tokens, memory, made, sampling=sampling)
