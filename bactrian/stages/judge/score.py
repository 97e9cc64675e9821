"""Stage `score`: what a reward model, a judge or a verifier thinks of answers, and how far that can be trusted."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import (
    JudgeServerField,
    RubricText,
    VerifierField,
    check_one_judge,
    judge_models,
    judges_known_as,
    known_verifier,
    pair_rubric_text,
    rubric_text,
)
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, ResultsRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.tally import Tally
    from bactrian.judge.answer_scores import AnswerScore, AnswerToScore, Comparisons
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
ScoredRows = tuple[list[Row], dict[str, Any]]
"""The rows that have a score, and what scores.json says of them."""
SCORES = "scores.json"
SIDES = ("chosen", "rejected")


class ScoreAnswers(Stage):
    """Scores of pairs, of answers, or of an evaluation's samples, with what they are worth (docs/methods.md).

    Pairs get `chosen_reward` and `rejected_reward`: the share ranked rightly, by source, with intervals; of a reward
    model also its calibration. A judge that compares them (`compare`) is treated so too: the two differ by the log-odds
    of the chosen answer, and how often the order of the two changed its mind is told. Answers get `reward`. With
    `answers`, an evaluation with several samples, its samples are scored: the expected score of the best of k by
    reward. The scores: a reward model's rewards, a judge's ratings in [0, 1], or with neither the verifiers' that the
    rows name.
    """

    name: ClassVar[str] = "score"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    verifier: VerifierField = None
    judge: ModelRef | None = Field(None, description="language model that rates")
    judge_server: JudgeServerField = None
    reward_model: ModelRef | None = Field(None, description="whose rewards are the scores")
    data: DataRef = Field(description="pairs, conversations, problems with a `completion`; the problems of `answers`")
    answers: ResultsRef | None = Field(None, description="an evaluation whose sampled answers to `data` are scored")
    rubric: RubricText = Field("", description="what counts for the judge: a text, or a file of it")
    weighed: bool = Field(
        False, description="a judge's ratings are means under its probabilities, not as it writes them"
    )
    compare: RubricText | None = Field(
        None,
        description="the judge compares the two answers of a pair, in both orders, by this rubric: helpfulness, "
        "alpaca_eval, follows_instruction, a text, or a file of it; by default it rates each by itself",
    )
    by: str = Field("source", description="column by which pairs are counted: source, subset, …")
    sections: Literal["rewardbench"] | dict[str, list[str]] | None = Field(
        None, description="sections of a benchmark: rewardbench, or section: [values of `by`]"
    )
    ties: Literal["half", "wrong"] = Field("half", description="what pairs of equal rewards count")
    limit: int | None = Field(None, ge=1, description="rows to score, from the first")
    max_length: int = Field(4096, ge=2, description="tokens; rows that are longer for the reward model are dropped")
    micro_tokens: int = Field(4096, ge=1, description="tokens of one forward of the reward model")

    @model_validator(mode="after")
    def _one_scorer(self) -> Self:
        check_one_judge(self)
        if self.judged and self.reward_model is not None:
            raise ValueError("found a judge and a reward_model, expected one of them")
        if self.compare is not None and (not self.judged or self.answers is not None):
            raise ValueError("compare: expected a judge, and pairs as data")
        if self.weighed and (not self.judged or self.compare is not None):
            raise ValueError("weighed: expected a judge that rates")
        if self.verifier is not None and (self.judged or self.reward_model is not None):
            raise ValueError("found a verifier beside a judge or a reward_model, expected one of them")
        if self.answers is not None and not self.judged and self.reward_model is None:
            raise ValueError("answers: expected a judge or a reward_model, by which the best is picked")
        return self

    def resolved(self) -> Self:
        compare = None if self.compare is None else pair_rubric_text(self.compare)
        return self.model_copy(update={"rubric": rubric_text(self.rubric), "compare": compare})

    @property
    def judged(self) -> bool:
        """Whether a judge gives the scores."""
        return self.judge is not None or self.judge_server is not None

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.rows import as_given
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.evaluate.scored_answers import score_lines, score_metrics
        from bactrian.progress import say

        path = workspace.input(self.data).path
        rows, tally = read_rows(path, None, known_verifier(self.verifier))[: self.limit], Tally()
        kind = self._samples if self.answers is not None else self._pairs if "chosen" in rows[0] else self._answers
        scored, found = kind(rows, workspace, tally)
        if not scored:
            raise BactrianError(f"{path}: no row could be scored\n{tally}")
        found = {"scorer": self._scorer(workspace), **found}
        (workspace.output / SCORES).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        with RowWriter(workspace.output, f"# Scored rows\n\n```\n{tally}\n```") as writer:
            for row in scored:
                writer.write(as_given(row))
        for licence in writer.licences:
            workspace.add_licence(licence)
        write_account(workspace.output, tally)
        workspace.metrics.update(tally.counts(), **score_metrics(found))
        say(f"score: {tally}\n" + "\n".join(score_lines(found)))

    def _pairs(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> ScoredRows:
        """Both sides of each pair, and how well the scores agree with what is preferred."""
        from bactrian.data.io.rows import complete_row, validate_row
        from bactrian.evaluate.scored_answers import order_changes, pair_summary, scored_pairs
        from bactrian.judge.answer_scores import AnswerToScore

        if not self.judged and self.reward_model is None:
            raise BactrianError("score: pairs need a judge or a reward_model")
        where = str(workspace.input(self.data).path)
        pairs = [complete_row(validate_row(row, "pair", f"{where}, row {n}"), where) for n, row in enumerate(rows, 1)]
        sides = [[AnswerToScore(f"{row['id']}, {side}", row["prompt"], row[side]) for row in pairs] for side in SIDES]
        if self.compare is not None:
            found = self._compared(list(zip(*sides, strict=True)), self.compare, workspace)
            chosen, rejected, changed = found.first, found.second, found.order_changed
        else:
            scores = self._scores([*sides[0], *sides[1]], workspace)
            chosen, rejected, changed = scores[: len(pairs)], scores[len(pairs) :], []
        scored = scored_pairs(pairs, chosen, rejected, tally)
        if not scored:
            return scored, {}
        calibrated = self.reward_model is not None or self.compare is not None
        summary = pair_summary(scored, where, self.by, self.ties, self.sections, calibrated)
        return scored, summary | ({"order_changed": order_changes(changed)} if changed else {})

    def _compared(
        self, pairs: "list[tuple[AnswerToScore, AnswerToScore]]", rubric: str, workspace: "Workspace"
    ) -> "Comparisons":
        from bactrian.data.io.journal import Journal
        from bactrian.judge.answer_scores import scores_by_comparison
        from bactrian.judge.panel import open_pair_judge

        where = judge_models(workspace, self)["judge"]
        judge = open_pair_judge(where, workspace.hardware, rubric=rubric, known_as=judges_known_as(workspace, self)[0])
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            return scores_by_comparison(judge, pairs, journal)

    def _answers(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> ScoredRows:
        """The answer of each row, by the row's own verifier where no model is given; and mean scores."""
        from bactrian.data.io.rows import complete_row
        from bactrian.evaluate.scored_answers import answer_summary, prompt_and_answer, scored_answers
        from bactrian.judge.answer_scores import AnswerToScore, scores_by_verifiers

        where = str(workspace.input(self.data).path)
        rows = [complete_row(row, where) for row in rows]
        answers = [
            AnswerToScore(str(row["id"]), *prompt_and_answer(row, f"{where}, row {number}"))
            for number, row in enumerate(rows, 1)
        ]
        if self.judged or self.reward_model is not None:
            scores = self._scores(answers, workspace)
        else:
            scores = scores_by_verifiers(rows, answers, where, workspace.hardware.threads)
        scored = scored_answers(rows, scores, tally)
        return scored, answer_summary(scored, self.by)

    def _samples(self, rows: list[Row], workspace: "Workspace", tally: "Tally") -> ScoredRows:
        """An evaluation's samples to these problems, and what picking the best of k would have given."""
        from bactrian.evaluate.scored_answers import answer_turn, best_of_curves, read_samples, scored_samples
        from bactrian.judge.answer_scores import AnswerToScore

        evaluation = workspace.input(str(self.answers))
        problems = {str(row["id"]): row for row in rows}
        samples = [each for each in read_samples(evaluation.path, evaluation.name) if each["question"] in problems]
        if not samples:
            raise BactrianError(f"{self.answers}: no sampled answer to a problem of {self.data}; evaluate with samples")
        scores = self._scores(
            [
                AnswerToScore(
                    f"{each['question']}, sample {each['sample']}",
                    problems[each["question"]]["messages"],
                    answer_turn(each["completion"]),
                )
                for each in samples
            ],
            workspace,
        )
        scored, questions = scored_samples(problems, samples, scores, tally)
        return scored, {"best_of": best_of_curves(questions, workspace.seed)}

    def _scorer(self, workspace: "Workspace") -> str:
        ref = self.judge or self.reward_model
        served = self.judge_server.label if self.judge_server else "verifiers"
        return workspace.input(ref).name if ref else served

    def _scores(self, answers: "Sequence[AnswerToScore]", workspace: "Workspace") -> "list[AnswerScore]":
        """By the reward model or the judge, whichever is given; what a judge writes is on disk as it comes."""
        from bactrian.data.io.journal import Journal
        from bactrian.judge.answer_scores import scores_by_judge, scores_by_rewards
        from bactrian.judge.panel import open_judge, open_reward_judge

        models = judge_models(workspace, self)
        if self.reward_model is not None:
            judge = open_reward_judge(models["reward_model"], workspace.hardware)
            return scores_by_rewards(judge, answers, self.max_length, self.micro_tokens)
        with Journal(workspace.scratch / "ratings.jsonl") as journal:
            rater = open_judge("judge", models["judge"], workspace.hardware, weighed=self.weighed, journal=journal)
            return scores_by_judge(rater, answers, self.rubric)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data, ref = inputs.get(self.data, Facts()), self.judge or self.reward_model
        model = inputs[ref] if ref else Facts()
        rows = min(data.rows, self.limit or data.rows)
        tokens = rows * (data.tokens_per_row or 200)
        made = Facts(rows=rows, tokens_per_row=data.tokens_per_row)
        return Forecast(tokens, 2.0 * model.multiplied * tokens, 4.0 * model.parameters + 1e9, made)
