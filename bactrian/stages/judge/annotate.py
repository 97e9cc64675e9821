"""Stage `annotate`: answers rated by a judge, aspect by aspect."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.judge_refs import ModelServer, responder
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
AspectName = Literal["helpfulness", "instruction_following", "honesty", "truthfulness"]


class Annotate(Stage):
    """Ratings from 1 to 5 of every answer, by a language model [UltraFeedback, Cui et al. 2023; Tülu 3].

    One call per aspect and prompt, all of the prompt's answers in it, shuffled; greedy. An aspect that does not apply,
    or cannot be read, counts as none; an answer's `score` is the mean of the others, if there are two. Every judgement
    is kept as it was written.
    """

    name: ClassVar[str] = "annotate"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: DataRef = Field(description="rows of `respond`")
    judge: ModelRef | None = Field(None, description="language model that judges")
    server: ModelServer | None = Field(None, description="one behind a server, in its place")
    aspects: list[AspectName] = Field(
        ["helpfulness", "instruction_following", "honesty", "truthfulness"], min_length=1, description="what is rated"
    )
    max_new_tokens: int = Field(1024, ge=1, description="longest judgement, tokens")
    rows_at_once: int = Field(16, ge=1, description="judgements written side by side")
    unread: float = Field(0.2, ge=0, le=1, description="share of ratings that may be missing or unreadable")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if (self.judge is None) == (self.server is None):
            raise ValueError("expected either judge or server")
        if len(set(self.aspects)) < len(self.aspects):
            raise ValueError(f"aspects: found {', '.join(self.aspects)}, expected each once")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.annotation import check_answers
        from bactrian.progress import say

        path = workspace.input(self.data).path
        rows = read_rows(path)
        check_answers(rows, str(path))
        with Journal(workspace.scratch / "judgements.jsonl") as journal:
            self._judge(workspace, rows, journal)
            replies = dict(journal.found)
        rated = [self._rated(number, row, replies, workspace.seed) for number, row in enumerate(rows)]
        wanted = sum(len(row["answers"]) for row in rows) * len(self.aspects)
        read = sum(len(answer["ratings"]) for row in rated for answer in row["answers"])
        self._check_read(wanted, read, replies)
        card = f"# Rated answers\n\nJudge: {self._label()}; {', '.join(self.aspects)}"
        with RowWriter(workspace.output, card) as writer:
            for row in rated:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        scores = [answer["score"] for row in rated for answer in row["answers"] if "score" in answer]
        workspace.metrics.update(
            answers=float(wanted // len(self.aspects)),
            ratings=float(read),
            unread=float(wanted - read),
            score=sum(scores) / max(1, len(scores)),
            tokens=float(sum(reply["tokens"] for reply in replies.values())),
        )
        say(f"annotate: {read:,} of {wanted:,} ratings read; mean score {sum(scores) / max(1, len(scores)):.2f}")

    def _label(self) -> str:
        return self.server.label if self.server else str(self.judge)

    def _judge(self, workspace: "Workspace", rows: Sequence[Row], journal: "Journal") -> None:
        """Have every judgement written that the journal lacks."""
        from bactrian.generate.kept import ask_missing
        from bactrian.judge.annotation import row_question
        from bactrian.judge.asking import judge_request

        requests = {
            f"{number}/{aspect}": judge_request(
                row_question(row, aspect, workspace.seed), f"annotate: row {row['id']}, {aspect}", self.max_new_tokens
            )
            for number, row in enumerate(rows)
            if row["answers"]
            for aspect in self.aspects
        }
        ask_missing(
            requests,
            journal,
            lambda: responder(workspace, self.judge, self.server, self.rows_at_once),
            "annotate",
            "judgement",
        )

    def _rated(self, number: int, row: Row, replies: Mapping[str, Row], seed: int) -> Row:
        from bactrian.judge.annotation import rated_row

        aspects: list[str] = [*self.aspects] if row["answers"] else []
        return rated_row(row, {name: replies[f"{number}/{name}"] for name in aspects}, self._label(), seed)

    def _check_read(self, wanted: int, read: int, replies: Mapping[str, Row]) -> None:
        """
        Raises:
            BactrianError: where more ratings cannot be read than `unread` allows.
        """
        if wanted - read > self.unread * wanted:
            shown = next((reply["text"] for reply in replies.values()), "")
            raise BactrianError(
                f"annotate: {wanted - read:,} of {wanted:,} ratings are missing or cannot be read, more than unread "
                f"({self.unread:g}) allows; a judgement: {shown[:200]!r}"
            )

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        data = inputs.get(self.data, Facts())
        parameters = inputs[self.judge].parameters if self.judge else 0
        tokens = data.rows * len(self.aspects) * ((data.tokens_per_row or 500) + 400 + min(self.max_new_tokens, 200))
        made = Facts(rows=data.rows, tokens_per_row=data.tokens_per_row)
        return Forecast(tokens if self.judge else 0, 2.0 * parameters * tokens, 4.0 * parameters + 1e9, made)
