"""Stage `judge`: which of two answers is better, by a calibrated cascade; what it abstains on is kept apart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.judge.calibrated_judges import (
    CalibrationRef,
    PairJudgeSettings,
    add_calibration_licences,
    calibration_clash,
    check_judge_names,
    model_folder,
)
from bactrian.stages.judge.judge_refs import RubricText, pair_rubric_text
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.judge.cascade_verdicts import CalibratedCascade
    from bactrian.judge.labelled import ReadPair
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class JudgePairs(Stage):
    """Preference pairs from pairs of answers, by a calibrated cascade [Jung et al. 2025].

    Each pair goes up from the cheapest judge until one is sure enough. Rows that one decides become pairs, the answer
    that it prefers chosen. Those that none is sure of are guessed by nobody: they are kept apart in abstained.jsonl,
    and counted.
    """

    name: ClassVar[str] = "judge"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="rows with a prompt and two answers; layouts as of labels, but without a label")
    calibration: CalibrationRef = Field(description="what `calibrate` left; its judges are asked")
    judges: list[PairJudgeSettings] | None = Field(
        None, description="those judges again, where their models have moved; others are refused"
    )
    rubric: RubricText | None = Field(None, description="if given, must be the calibrated one")
    demonstrations: DataRef | None = Field(None, description="if given, must be the calibrated ones")
    limit: int | None = Field(None, ge=1, description="rows to judge, from the first")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_judge_names(self.judges or [])
        return self

    def clashes(self, steps: Mapping[str, Stage]) -> list[tuple[tuple[str | int, ...], str, str]]:
        return calibration_clash(("calibration",), self.calibration, steps)

    def resolved(self) -> Self:
        return self if self.rubric is None else self.model_copy(update={"rubric": pair_rubric_text(self.rubric)})

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.journal import Journal
        from bactrian.judge.judged_rows import abstained_row, judged_row, judged_summary, write_judged
        from bactrian.judge.labelled import label_of, read_pair
        from bactrian.judge.opened import calibrated_on
        from bactrian.progress import say

        path = workspace.input(self.data).path
        rows = [(row, where) for row, where in stream_rows(path)][: self.limit]
        read = [read_pair(row, where) for row, where in rows]
        cascade = self._cascade(workspace, rows, read)
        with Journal(workspace.scratch / "opinions.jsonl") as journal:
            verdicts = cascade.verdicts([each.pair for each in read], journal)
        labels = [label_of(row, each, where) for (row, where), each in zip(rows, read, strict=True)]
        summary = judged_summary(cascade, verdicts, labels)
        judged = list(enumerate(zip(rows, read, verdicts, strict=True)))
        decided = [
            judged_row(row, pair, verdict, path.name, place)
            for place, ((row, _), pair, verdict) in judged
            if not verdict.abstains
        ]
        apart = [abstained_row(row, verdict, place) for place, ((row, _), _, verdict) in judged if verdict.abstains]
        if not decided:
            raise BactrianError(
                f"judge: the cascade abstains on all {len(rows):,} pairs: none is labelled, and nothing is guessed"
            )
        for licence in write_judged(workspace.output, decided, apart, summary):
            workspace.add_licence(licence)
        add_calibration_licences(workspace, self.calibration)
        again = calibrated_on(workspace.input(self.calibration).path, [each.pair for each in read])
        workspace.metrics.update(summary.metrics(), calibrated_on=float(again))
        warned = [f"  {again:,} of these pairs were calibrated on: that they agree with people proves nothing"]
        say("\n".join(summary.lines("judge") + (warned if again else [])))

    def _cascade(
        self, workspace: "Workspace", rows: Sequence[tuple[Row, str]], read: "Sequence[ReadPair]"
    ) -> "CalibratedCascade":
        """The calibrated cascade, once it is sure that it is what the settings say and may be used on these rows.

        Raises:
            BactrianError: naming what differs from the calibration; nothing may be trusted; judges were shown a row.
        """
        from functools import partial

        from bactrian.judge.calibrated import JudgeCalibration
        from bactrian.judge.judged_rows import recorded_opinions, refuse_useless
        from bactrian.judge.opened import calibrated_pool, open_cascade, refuse_shown

        folder = workspace.input(self.calibration).path
        found, pool = JudgeCalibration.read(folder), calibrated_pool(folder)
        self._refuse_other_settings(workspace, found)
        refuse_useless(found, str(folder))
        refuse_shown(folder, [each.pair for each in read], "pairs to judge")
        recorded = recorded_opinions(rows, read)
        specs = None if self.judges is None else [judge.spec(pool is not None) for judge in self.judges]
        return open_cascade(
            folder,
            workspace.hardware,
            recorded=recorded,
            specs=specs,
            find=None if specs is None else partial(model_folder, workspace),
        )

    def _refuse_other_settings(self, workspace: "Workspace", found: Any) -> None:
        from bactrian.judge.demonstrations import read_pool

        differs = []
        if self.rubric is not None and self.rubric.strip() != found.rubric.strip():
            differs.append(f"rubric: calibrated with {found.rubric!r:.80}, found {self.rubric!r:.80}")
        if self.judges is not None and (names := [judge.label for judge in self.judges]) != list(found.names):
            differs.append(f"judges: calibrated with {', '.join(found.names)}, found {', '.join(names)}")
        if self.demonstrations is not None:
            digest = read_pool(workspace.input(self.demonstrations).path).digest
            if digest != (was := found.demonstrations["hash"]):
                differs.append(f"demonstrations: calibrated with {str(was)[:16] or 'none'}, found {digest[:16]}")
        if differs:
            raise BactrianError(
                f"{self.calibration}: this calibration does not hold; {'; '.join(differs)}. Calibrate again, or leave "
                f"these settings out"
            )

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        from bactrian.stages.judge.calibrate import judging_forecast

        has = self.demonstrations is not None
        return judging_forecast(self.judges or [], inputs, self.data, self.limit, has)
