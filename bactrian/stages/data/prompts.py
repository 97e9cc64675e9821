"""Stage `prompts`: which prompts preferences are collected on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
VERIFIED = ("dataset", "ground_truth", "settings")
"""Columns of a problem that are kept, so that verifiers can judge answers too."""
Use = Literal["reused", "unused", "new"]


class Prompts(Stage):
    """Prompts for preference data, by what fine-tuning had of them [Tülu 3, Lambert et al. 2024].

    reused: the prompt was in the data of `used`; unused: it was not, but its source was; new: its source was not. The
    column `use` says which. Of each kind so many as asked for are drawn at random; the finding to follow is that
    unused prompts teach more than reused ones, and many prompts more than many pairs of one.
    """

    name: ClassVar[str] = "prompts"
    makes: ClassVar[Kind] = Kind.DATA

    data: list[DataRef] = Field(min_length=1, description="conversations, problems or pairs, whose prompts are taken")
    used: list[DataRef] = Field([], description="what was fine-tuned on")
    reused: int | None = Field(None, ge=0, description="prompts of this kind at most; by default all")
    unused: int | None = Field(None, ge=0, description="likewise")
    new: int | None = Field(None, ge=0, description="likewise")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.problem_rows import prompt_of, question_keys, trained_keys
        from bactrian.data.io.rows import complete_row
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import say

        known, sources = set[str](), set[str]()
        for ref in self.used:
            for row, _ in stream_rows(workspace.input(ref).path):
                known |= trained_keys(row)
                sources.add(str(row.get("source") or workspace.input(ref).name))
        tally, seen = Tally(), set[str]()
        by_use: dict[Use, list[Row]] = {"reused": [], "unused": [], "new": []}
        for ref in self.data:
            path = workspace.input(ref).path
            for row, where in stream_rows(path):
                row = complete_row(row, path.name)
                messages = prompt_of(row, where)
                keys = question_keys({**row, "messages": messages})
                if keys & seen:
                    tally.drop("its prompt came before", str(row["id"]))
                    continue
                seen |= keys
                use: Use = "reused" if keys & known else "unused" if str(row["source"]) in sources else "new"
                problem: Row = {name: row[name] for name in VERIFIED if name in row}
                by_use[use].append(
                    {
                        "id": row["id"],
                        "messages": messages,
                        **problem,
                        "use": use,
                        "source": row["source"],
                        "license": row["license"],
                    }
                )
        kept = [row for use, rows in by_use.items() for row in self._drawn(use, rows, workspace.seed, tally)]
        tally.keep(len(kept))
        if not kept:
            raise BactrianError(f"prompts: no prompt is left\n{tally}")
        counts = {use: sum(row["use"] == use for row in kept) for use in by_use}
        with RowWriter(workspace.output, f"# Prompts\n\n{counts}\n\n```\n{tally}\n```") as writer:
            for row in kept:
                writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        write_account(workspace.output, tally, uses=counts)
        workspace.metrics.update(tally.counts(), **{use: float(count) for use, count in counts.items()})
        say(f"prompts: {', '.join(f'{count:,} {use}' for use, count in counts.items())}; {tally}")

    def _drawn(self, use: Use, rows: list[Row], seed: int, tally: Any) -> list[Row]:
        from random import Random

        most = getattr(self, use)
        if most is None or most >= len(rows):
            return rows
        chosen = set(Random(f"prompts/{seed}/{use}").sample(range(len(rows)), most))
        for number, row in enumerate(rows):
            if number not in chosen:
                tally.drop(f"enough {use} prompts", str(row["id"]))
        return [row for number, row in enumerate(rows) if number in chosen]

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        given = [inputs.get(ref, Facts()) for ref in self.data]
        rows = sum(facts.rows for facts in given)
        asked = (self.reused, self.unused, self.new)
        most = sum(count for count in asked if count is not None)
        per_row = sum(facts.rows * facts.tokens_per_row for facts in given) / rows if rows else 0.0
        return Forecast(makes=Facts(rows=rows if None in asked else min(rows, most), tokens_per_row=per_row))
