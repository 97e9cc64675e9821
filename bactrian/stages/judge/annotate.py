"""Stage `annotate`: answers rated by a judge, aspect by aspect, or compared by a calibrated cascade."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import (
    CalibrationRef,
    add_calibration_licences,
    calibration_clash,
    usable_calibration,
)
from bactrian.stages.judge.judge_refs import ModelServer, responder
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.journal import Journal
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
AspectName = Literal["helpfulness", "instruction_following", "honesty", "truthfulness"]
RATING_SETTINGS = {"aspects", "max_new_tokens", "rows_at_once", "unread"}
"""Settings that a calibration has no use for: its judges are asked as they were calibrated."""


class Annotate(Stage):
    """Ratings from 1 to 5 of every answer, by a language model [UltraFeedback, Cui et al. 2023; Tülu 3].

    One call per aspect and prompt, all of the prompt's answers in it, shuffled; greedy. An aspect that does not apply,
    or cannot be read, counts as none; an answer's `score` is the mean of the others, if there are two. Every judgement
    is kept as it was written.

    With `calibration`, nothing is rated: a guarantee is about comparisons. All answers to a prompt are compared, each
    two of them, by a calibrated cascade; `comparisons` says which was preferred, or that the cascade abstains.
    """

    name: ClassVar[str] = "annotate"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: DataRef = Field(description="rows of `respond`")
    judge: ModelRef | None = Field(None, description="language model that judges")
    server: ModelServer | None = Field(None, description="one behind a server, in its place")
    calibration: CalibrationRef | None = Field(
        None, description="what `calibrate` left: its cascade compares the answers, and may abstain; nothing is rated"
    )
    aspects: list[AspectName] = Field(
        ["helpfulness", "instruction_following", "honesty", "truthfulness"], min_length=1, description="what is rated"
    )
    max_new_tokens: int = Field(1024, ge=1, description="longest judgement, tokens")
    rows_at_once: int = Field(16, ge=1, description="judgements written side by side")
    unread: float = Field(0.2, ge=0, le=1, description="share of ratings that may be missing or unreadable")

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if sum(each is not None for each in (self.judge, self.server, self.calibration)) != 1:
            raise ValueError("expected one of judge, server and calibration")
        rates = sorted(RATING_SETTINGS & self.model_fields_set)
        if self.calibration is not None and rates:
            raise ValueError(f"{rates[0]}: found beside calibration, which compares answers and rates none")
        if len(set(self.aspects)) < len(self.aspects):
            raise ValueError(f"aspects: found {', '.join(self.aspects)}, expected each once")
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import read_rows
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.annotation import check_answers
        from bactrian.progress import say

        path = workspace.input(self.data).path
        rows = read_rows(path)
        check_answers(rows, str(path))
        if self.calibration is not None:
            return self._compare(workspace, self.calibration, rows)
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

    def _compare(self, workspace: "Workspace", calibration: str, rows: Sequence[Row]) -> None:
        """Every two answers of a row, by the cascade; what it abstains on is kept apart too.

        Raises:
            BactrianError: nothing may be trusted or nothing was decided; judges were shown a prompt.
        """
        from bactrian.data.io.journal import Journal
        from bactrian.data.io.writer import RowWriter
        from bactrian.judge.answer_pairs import abstained_pairs, compared_row, every_pair
        from bactrian.judge.judged_rows import judged_summary, write_apart
        from bactrian.judge.opened import open_cascade, refuse_shown
        from bactrian.progress import say

        drawn = [every_pair(row, workspace.seed) for row in rows]
        flat = [each for mine in drawn for each in mine]
        if not flat:
            raise BactrianError("annotate: found no row with two different answers, expected some to compare")
        folder = usable_calibration(workspace, calibration)
        refuse_shown(folder, [each.pair for each in flat], "answers to compare")
        cascade = open_cascade(folder, workspace.hardware)
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            verdicts = cascade.verdicts([each.pair for each in flat], journal)
        summary, said = judged_summary(cascade, verdicts), iter(verdicts)
        if summary.coverage == 0:
            raise BactrianError(f"annotate: the cascade abstains on all {len(flat):,} comparisons; nothing is guessed")
        with RowWriter(workspace.output, "# Compared answers\n\n" + "\n".join(summary.lines(self.name))) as writer:
            for row, mine in zip(rows, drawn, strict=True):
                writer.write(compared_row(row, mine, [next(said) for _ in mine]))
        write_apart(workspace.output, abstained_pairs(flat, verdicts), summary)
        for licence in writer.licences:
            workspace.add_licence(licence)
        add_calibration_licences(workspace, calibration)
        workspace.metrics.update(summary.metrics())
        say("\n".join(summary.lines(self.name)))

    def _label(self) -> str:
        return self.server.label if self.server else str(self.judge)

    def _judge(self, workspace: "Workspace", rows: Sequence[Row], journal: "Journal") -> None:
        """Have every judgement written that the journal lacks."""
        from bactrian.generate.kept import ask_missing
        from bactrian.judge.annotation import row_question
        from bactrian.judge.asked_judges import judge_request

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
        judge = inputs[self.judge] if self.judge else Facts()
        tokens = data.rows * len(self.aspects) * ((data.tokens_per_row or 500) + 400 + min(self.max_new_tokens, 200))
        made = Facts(rows=data.rows, tokens_per_row=data.tokens_per_row)
        return Forecast(
            tokens if self.judge else 0, 2.0 * judge.multiplied * tokens, 4.0 * judge.parameters + 1e9, made
        )
