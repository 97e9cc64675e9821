"""Stage `mt_bench`: models answer questions of two turns, and a judge rates each answer from 1 to 10."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import JudgeServerField, ModelServer, check_one_judge, model_or_server, responder
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.generate.choices import ChoiceRequest
    from bactrian.judge.winrates.two_turns import BenchQuestion
    from bactrian.store.artifact import Workspace

RATINGS = "mt_bench.json"
Answers = Mapping[tuple[str, str], list[str]]
"""(Model, question) → its answer to each turn."""


class MtBench(Stage):
    """Answers to questions of two turns, each rated from 1 to 10 by a judge [Zheng et al. 2023].

    The second turn is asked after the model's own first answer. Maths, reasoning and coding are rated against
    references. Leaves mt_bench.json, and both turns of each model as one answer: `winrate` reads them for the pairwise
    form. Ratings that cannot be read are counted, and in no mean.
    """

    name: ClassVar[str] = "mt_bench"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    questions: DataRef = Field(description="rows with question_id, category and turns")
    reference_answers: DataRef | None = Field(None, description="answers to compare with: question_id, choices")
    models: list[ModelRef] = Field([], description="models that answer")
    servers: list[ModelServer] = Field([], description="more of them, behind servers")
    judge: ModelRef | None = Field(None, description="language model that rates")
    judge_server: JudgeServerField = None
    max_new_tokens: int = Field(1024, ge=1, description="longest answer, tokens")
    reading: Literal["words", "weights"] = Field(
        "words", description="of a rating: in what the judge writes, or the mean under the ratings' probabilities"
    )
    judgement_tokens: int = Field(1024, ge=1, description="longest judgement, tokens")
    rows_at_once: int = Field(16, ge=1, description="answers sampled side by side")
    limit: int | None = Field(None, ge=1, description="questions, from the first")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        check_one_judge(self)
        if self.judge is None and self.judge_server is None:
            raise ValueError("expected judge or judge_server")
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"models, servers: found {', '.join(self.labels) or 'none'}, expected some, each once")
        return self

    @property
    def labels(self) -> list[str]:
        """What rows and tables call the models that answer."""
        return [*self.models, *(server.label for server in self.servers)]

    @property
    def reward_model(self) -> str | None:
        """None: a reward model gives no ratings from 1 to 10."""
        return None

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.winrates.two_turns import (
            bench_examples,
            bench_summary,
            check_references,
            paired_row,
            read_questions,
            with_references,
        )
        from bactrian.progress import say

        path = workspace.input(self.questions).path
        questions = read_questions(list(stream_rows(path)))[: self.limit]
        if self.reference_answers is not None:
            known = {question.id for question in questions}
            given = stream_rows(workspace.input(self.reference_answers).path)
            kept = [(row, where) for row, where in given if self.limit is None or str(row.get("question_id")) in known]
            questions = with_references(questions, kept)
        check_references(questions)
        with Journal(workspace.scratch / "replies.jsonl") as journal:
            answers = {
                (model, question.id): said
                for model in self.labels
                for question, said in zip(questions, self._answers(workspace, model, questions, journal), strict=True)
            }
            ratings = self._ratings(workspace, questions, answers, journal)
        label = self.judge_server.label if self.judge_server else str(self.judge)
        found = {model: bench_summary(mine, seed=workspace.seed) for model, mine in ratings.items()}
        said = {model: {q.id: answers[model, q.id] for q in questions} for model in self.labels}
        shown = [
            each for model, mine in ratings.items() for each in bench_examples(questions, said[model], mine, model)
        ]
        record = {"judge": label, "questions": len(questions), "models": found, "examples": shown}
        (workspace.output / RATINGS).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        with RowWriter(workspace.output, f"# Answers of two turns, rated\n\nJudge: {label}") as writer:
            for model in self.labels:
                by_question: dict[str, list[float]] = {}
                for each in ratings[model]:
                    by_question.setdefault(each.question, []).append(each.rating or 0.0)
                for question in questions:
                    row = paired_row(question, answers[model, question.id], model)
                    scores = by_question[question.id]  # 0: one that could not be read
                    writer.write({**row, "ratings": scores, "source": path.name, "license": "unknown"})
        for licence in writer.licences:
            workspace.add_licence(licence)
        for model, summary in found.items():
            workspace.metrics[f"rating/{model}"] = summary["scores"][0]["rating"]
        say("\n".join(lines(label, found)))

    def _answers(
        self, workspace: "Workspace", model: str, questions: "Sequence[BenchQuestion]", journal: "Journal"
    ) -> list[list[str]]:
        """Every question's answers, turn after turn.

        Raises:
            BactrianError: a server refused one: a mean over the others would be another number.
        """
        from functools import cache

        from bactrian.generate.kept import ask_missing
        from bactrian.judge.winrates.two_turns import turn_request

        served = {server.label: server for server in self.servers}
        opened = cache(lambda: responder(workspace, model, served.get(model), self.rows_at_once))
        said: list[list[str]] = [[] for _ in questions]
        for turn in range(max(len(question.turns) for question in questions)):
            asked = [number for number, question in enumerate(questions) if turn < len(question.turns)]
            requests = {
                f"{model}/{questions[number].id}/{turn}": turn_request(
                    questions[number], said[number], self.max_new_tokens, (workspace.seed + number) % 2**31
                )
                for number in asked
            }
            ask_missing(requests, journal, opened, f"mt_bench · {model}, turn {turn + 1}", "answer")
            for number in asked:
                reply = journal.found[f"{model}/{questions[number].id}/{turn}"]
                if reply["fault"]:
                    raise BactrianError(f"mt_bench: {model}, question {questions[number].id}: {reply['fault']}")
                said[number].append(str(reply["text"]))
        return said

    def _ratings(
        self, workspace: "Workspace", questions: "Sequence[BenchQuestion]", answers: Answers, journal: "Journal"
    ) -> dict[str, list[Any]]:
        """Model → the rating of each of its answers."""
        from bactrian.generate.kept import ask_missing
        from bactrian.judge.asked_judges import judge_request
        from bactrian.judge.winrates.two_turns import rating_choice, rating_question, read_rating

        turns = [(question, turn) for question in questions for turn in range(len(question.turns))]
        wanted = {
            f"rating/{model}/{question.id}/{turn}": (question, answers[model, question.id], turn)
            for model in self.labels
            for question, turn in turns
        }
        if self.reading == "weights":
            self._choose(workspace, {key: rating_choice(*asked) for key, asked in wanted.items()}, journal)
        else:
            requests = {
                key: judge_request(rating_question(*asked, weighed=False), f"mt_bench: {key}", self.judgement_tokens)
                for key, asked in wanted.items()
            }
            judge = self.judge_server
            ask_missing(
                requests,
                journal,
                lambda: responder(workspace, self.judge, judge, self.rows_at_once),
                "mt_bench · ratings",
                "judgement",
            )
        return {
            model: [
                read_rating(question, turn, journal.found[f"rating/{model}/{question.id}/{turn}"])
                for question, turn in turns
            ]
            for model in self.labels
        }

    def _choose(self, workspace: "Workspace", requests: "Mapping[str, ChoiceRequest]", journal: "Journal") -> None:
        """Have every rating weighed that the journal lacks."""
        from bactrian.generate.choosers import open_chooser
        from bactrian.judge.winrates.two_turns import kept_rating

        missing = [key for key in requests if key not in journal.found]
        if missing:
            where = model_or_server(workspace, self.judge, self.judge_server)
            chooser = open_chooser(where, workspace.hardware, rows=self.rows_at_once)
            chooser.choose(
                [requests[key] for key in missing],
                lambda place, reply: journal.put(missing[place], kept_rating(reply)),
            )

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        rows = min(inputs.get(self.questions, Facts()).rows or 80, self.limit or 10**9)
        each = 2.0 * rows * (300 + self.max_new_tokens / 2)
        models = [inputs[ref] for ref in self.models] or [Facts()]
        judges = [inputs[self.judge]] * len(models) if self.judge else []
        flops = 2.0 * each * sum(one.multiplied for one in (*models, *judges))
        memory = 4.0 * max(one.parameters for one in (*models, *judges)) + 1e9
        return Forecast(each * len([*models, *judges]), flops, memory, Facts(rows=rows * len(models)))


def lines(judge: str, found: Mapping[str, Any]) -> list[str]:
    """What a person is told: each model's mean ratings."""
    told = [f"mt_bench: rated from 1 to 10 by {judge}"]
    for model, summary in found.items():
        unread = f"; {summary['unread']:,} of {summary['ratings']:,} unread" if summary["unread"] else ""
        shown = ", ".join(
            f"{each['name']} {each['rating']:.2f} ({each['interval'][0]:.2f} to {each['interval'][1]:.2f})"
            for each in summary["scores"][:3]
        )
        told.append(f"{model}: {shown}{unread}")
    return told
