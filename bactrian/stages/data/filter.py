"""Stage `filter`: rows that pass a list of rules, with counts and examples of those that do not."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.data.rules import AnyRule, Hygiene, PairLengths
from bactrian.stages.stage import DataRef, Divisible, Facts, Forecast
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
Fate = Literal["kept", "repaired", "dropped"]
Judged = tuple[Row, Fate, str, str]
"""A row as it is now, what becomes of it, why, and an example of that for the account."""


class Filter(Divisible):
    """Rows that pass every rule, in the order of the rules; the first that a row breaks is the reason it is dropped.

    Rules look at one row at a time, so a file of any size streams through, and on Ray Data the result is the same.
    """

    name: ClassVar[str] = "filter"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="rows of any kind")
    rules: list[AnyRule] = Field(min_length=1, description="language, length, gopher, c4, hygiene, personal, …")

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.curate.pair_lengths import summary_line
        from bactrian.data.io.parallel import map_rows
        from bactrian.data.io.resumption import Standing
        from bactrian.data.io.tally import write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        given = workspace.input(self.data)
        paths = {found.ref: workspace.input(found.ref).path for found in self.references() if found.kind is Kind.MODEL}
        judge = partial(judge_rows, rules=tuple(self.rules), inputs=paths, source=given.path.name)
        stand = Standing.load(workspace.scratch, workspace.output)
        tally, done = stand.account.tally, stand.account.tally.total
        if done:
            say(f"filter: resuming after {done:,} rows")
        count = {"repaired": tally.repair, "dropped": tally.drop}
        with RowWriter(workspace.output, written=stand.written) as writer, progress("filter", None, "row", done) as bar:
            for row, fate, reason, example in map_rows(judge, given.path, workspace.hardware, skip=done):
                bar.advance()
                if fate == "kept":
                    tally.keep()
                else:
                    count[fate](reason, example)
                if fate != "dropped":
                    writer.write(row)
                if not writer.holds:
                    stand.save_at_times(workspace.scratch, writer)
            if not writer.count:
                raise BactrianError(f"{given.path}: no row passes the rules\n{tally}")
            writer.card = f"# Filtered rows\n\n```\n{tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        lengths = self._lengths(workspace, paths)
        workspace.metrics.update(tally.counts())
        write_account(workspace.output, tally, **lengths)
        told = [summary_line(name, found) for name, found in lengths.get("lengths", {}).items()]
        say("\n  ".join([f"filter: {tally}", *told]))

    def _lengths(self, workspace: "Workspace", paths: Mapping[str, Path]) -> dict[str, Any]:
        """How long pairs' answers were and are; both files are read once more for it."""
        from bactrian.data.curate.pair_lengths import length_summary
        from bactrian.data.io.files import stream_rows

        rule = next((rule for rule in self.rules if isinstance(rule, PairLengths)), None)
        if rule is None:
            return {}
        places = {"before": workspace.input(self.data).path, "after": workspace.output}
        count = rule.counter(paths)
        return {
            "lengths": {
                name: length_summary((row for row, _ in stream_rows(path)), count) for name, path in places.items()
            }
        }

    def parts(self) -> list[tuple[str, ...]]:
        return [(rule.rule,) for rule in self.rules]

    def keeping(self, kept: Sequence[int]) -> Self:
        return self.model_copy(update={"rules": [self.rules[number] for number in kept]})

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9, makes=inputs[self.data])


def judge_rows(
    located: list[tuple[Row, str]], rules: Sequence[Any], inputs: Mapping[str, Path], source: str
) -> list[Judged]:
    """What becomes of each row.

    Raises:
        BactrianError: for a row out of form, unless hygiene is one of the rules.
    """
    from bactrian.data.curate.hygiene import checked
    from bactrian.data.curate.quality import Flaw
    from bactrian.data.io.rows import complete_row

    fates: dict[int, Judged] = {}
    alive: dict[int, Row] = {}
    changed: dict[int, list[str]] = {}
    for number, (row, where) in enumerate(located):
        try:
            alive[number] = complete_row(checked(row, where), source)
        except BactrianError as error:
            if not any(isinstance(rule, Hygiene) for rule in rules):
                raise
            fates[number] = (row, "dropped", "out of form", str(error))
    for rule in rules:
        judged = rule.judge(list(alive.values()), inputs)
        for number, fate in zip(list(alive), judged, strict=True):
            if isinstance(fate, Flaw):
                example = _example(located[number][1], alive.pop(number), fate.detail)
                fates[number] = (located[number][0], "dropped", fate.reason, example)
            elif fate is not alive[number]:
                alive[number] = fate
                changed.setdefault(number, []).append(rule.rule)
    for number, row in alive.items():
        rules_at_work = ", ".join(changed.get(number, ()))
        example = _example(located[number][1], row) if rules_at_work else ""
        reason = f"changed by {rules_at_work}" if rules_at_work else ""
        fates[number] = (row, "repaired" if rules_at_work else "kept", reason, example)
    return [fates[number] for number in range(len(located))]


def _example(where: str, row: Row, detail: str = "") -> str:
    """ "rows.jsonl, line 7 (12): 'What is …'"."""
    from bactrian.data.io.texts import whole_text

    file, _, place = where.rpartition(", ")
    return f"{Path(file).name}, {place}{f' ({detail})' if detail else ''}: {whole_text(row)[:160]!r}"
