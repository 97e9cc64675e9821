"""Stage `cases`: what questions are asked about, with the facts that only a simulator knows."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]


class Cases(Stage):
    """Cases for `interact` and `counterfactuals`, each with what a simulator knows of it in its column `case`.

    requests: underspecified coding and maths requests made by rules, in which the best question is computable; their
    form says what for: problem rows to ask about, conversations with somebody's ordinary question, or texts.
    mediq: a file in MediQ's layout, patients as atomic facts. For a research simulator, not medical advice.
    """

    name: ClassVar[str] = "cases"
    makes: ClassVar[Kind] = Kind.DATA

    source: Literal["requests", "mediq"] = Field("requests", description="where they come from")
    data: DataRef | None = Field(None, description="of mediq: a file in its layout")
    license: str = Field("CC BY 4.0", description="of mediq: the file's licence")
    count: int | None = Field(None, ge=1, description="cases to make; of a file the first, by default all")
    form: Literal["problem", "conversation", "text"] = Field("problem", description="of requests: kind of rows")
    said: tuple[int, int] = Field((0, 2), description="of requests: fewest and most details that a request says")
    split: Literal["train", "dev", "unseen"] = Field(
        "train", description="of requests: part of all that there are; two parts never share one, whatever the seed"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source == "mediq") != (self.data is not None):
            raise ValueError("data: expected with source mediq, and not without")
        if self.source == "requests" and self.count is None:
            raise ValueError("count: expected with source requests")
        if not 0 <= self.said[0] <= self.said[1] <= 3:
            raise ValueError(f"said: found {list(self.said)}, expected two numbers from 0 to 3 that do not fall")
        if self.source == "mediq" and self.form != "problem":
            raise ValueError("form: expected problem with source mediq")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.data.synth.asking.patient_cases import patient_case_rows
        from bactrian.data.synth.asking.request_rows import requests
        from bactrian.progress import say

        tally = Tally()
        if self.data is not None:
            rows = patient_case_rows(stream_rows(workspace.input(self.data).path), "mediQ", self.license, tally)
            made: Iterator[Row] = islice(rows, self.count)
        else:
            made = requests(workspace.seed, self.count or 0, self.form, self.said, self.split)
        with RowWriter(workspace.output, f"# Cases\n\nSource: {self.source}.") as writer:
            for row in made:
                writer.write(row)
                if self.data is None:
                    tally.keep()
        for licence in writer.licences:
            workspace.add_licence(licence)
        write_account(workspace.output, tally)
        workspace.metrics.update(tally.counts())
        if tally.dropped:
            say(f"cases: {tally}")

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        rows = self.count or (inputs.get(self.data, Facts()).rows if self.data else 0)
        return Forecast(makes=Facts(rows=rows, tokens_per_row=40.0 if self.source == "requests" else 150.0))
