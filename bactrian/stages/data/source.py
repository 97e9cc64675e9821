"""Stage `source`: data of others, in whatever layout, as rows with a licence and a record of where they are from."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import TOKENS_PER_ROW, DataRef, Facts, Forecast, Need, Settings, Stage, verifier_needs
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.io.adoption import Account, Adoption
    from bactrian.data.io.formats import Scanned
    from bactrian.data.io.resumption import Standing
    from bactrian.store.artifact import Input, Workspace

ROWS_BETWEEN_CHECKS = 1000

LayoutName = Literal[
    "auto",
    "problem",
    "pair",
    "feedback",
    "messages",
    "sharegpt",
    "alpaca",
    "self_instruct",
    "prompt_completion",
    "choices",
    "question_answer",
    "transcript",
    "dolma",
    "text",
]


class Provenance(Settings):
    """Who made the rows and what may be done with them; what is not known stays out."""

    origin: Literal["human", "model", "mixed", "procedural", "unknown"] = Field("unknown", description="who wrote them")
    generator: str = Field("", description="the model that wrote them, if one did")
    terms: str = Field("", description="what the generator's terms say of its output")
    drawn_from: str = Field("", description="the set that these rows are a part of")
    available: int | None = Field(None, ge=0, description="rows of that set")
    redistribution: bool | None = Field(None, description="whether the rows may be passed on")
    personal_data: bool | None = Field(None, description="whether they hold data of their users")
    language: str = Field("", description="such as en, or multilingual")
    date: str = Field("", description="of the version that is used")
    transformations: list[str] = Field([], description="what was done to them before they came here")
    note: str = Field("", description="what else a reader should know")


class ReadingSettings(Settings):
    """How rows of others are read. Beside a file that another stage reads they mean the same (recipe/adopted.py)."""

    layout: LayoutName = Field("auto", description="how the rows look; auto: each by its columns")
    columns: dict[str, str] = Field(
        {}, description="a layout's column: the one here that it is, or a template, such as '{steps} #### {result}'"
    )
    verifier: str = Field(
        "", description="questions and answers become problems for this verifier; problems get it in place of theirs"
    )
    license: str = Field("", description="of the rows that do not state their own")
    bad_limit: float = Field(0.1, ge=0, le=1, description="share of rows that may be dropped before it is an error")
    text_rows: Literal["line", "paragraph", "document"] = Field("line", description="what a row of a .txt file is")
    subset: str | None = Field(None, description="configuration of the data set on the Hub")
    split: str = Field("train", description="split of the data set on the Hub")


class DataSource(ReadingSettings, Stage):
    """Rows from a file, folder, pattern or data set of the Hub, whatever their layout, in the form of ours.

    Each row is kept, repaired, or dropped for a reason; all are counted, and those that were dropped are listed with
    file and line in drops.jsonl. Rows without a licence are marked unclear.
    """

    name: ClassVar[str] = "source"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef | None = Field(None, description="a file, folder, pattern (data/*.jsonl.gz) or step; or give `hub`")
    hub: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="a data set on the Hub, which is streamed; needs bactrian[hub]"
    )
    files: str | None = Field(None, description="files of the data set on the Hub, a pattern, in place of a subset")
    revision: str | None = Field(None, description="commit or tag on the Hub; by default the newest when it is made")
    title: str = Field("", description="name of the source in its rows; by default the Hub's or the file's name")
    provenance: Provenance = Field(Provenance(), description="who made the rows, and what may be done with them")

    keep: list[str] = Field([], description="columns to keep besides the layout's; label: bad answers of feedback too")
    source_column: str = Field("", description="a column that names each row's own source")

    limit: int | None = Field(None, ge=1, description="rows to read, from the first; by default all")
    rows: int | None = Field(None, ge=1, description="rows that the source is known to have, for plans")
    tokens: float | None = Field(None, gt=0, description="tokens that the source is known to have, for plans")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.data is None) == (self.hub is None):
            raise ValueError("give either data or hub")
        return self

    def needs(self) -> Iterable[Need]:
        """Data sets of the Hub are read by datasets; a verifier may need more."""
        return [*([Need(f"hub: {self.hub}", "hub")] if self.hub else []), *verifier_needs([self.verifier])]

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.adoption import adopt, check_share, decide_kind
        from bactrian.data.io.files import hub_commit
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.resumption import Standing
        from bactrian.data.io.tally import write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        given = workspace.input(self.data) if self.data else None
        how, stand = self._adoption(given), Standing.load(workspace.scratch, workspace.output)
        if self.hub and not stand.commit:
            stand.commit = hub_commit(self.hub, self.revision)
        account = stand.account
        if account.tally.total:
            say(f"source {how.source}: resuming after {account.tally.total:,} rows")
        else:  # the first rows are read once more by themselves: what is counted below is counted once
            account.kind = decide_kind(self._scanned(given, Standing(commit=stand.commit)), how, self.bad_limit)
        with (
            RowWriter(workspace.output, written=stand.written) as writer,
            (workspace.output / "drops.jsonl").open("ab") as drops,
            progress(f"source {how.source}", done=account.tally.total, unit="row") as bar,
        ):
            drops.truncate(stand.drops)
            for row in adopt(self._scanned(given, stand), how, account):
                bar.advance()
                if isinstance(row, Fault):
                    drops.write(row.as_json().encode() + b"\n")
                else:
                    writer.write(row if row["license"] else {**row, "license": "unknown"})
                if not writer.holds:
                    stand.save_at_times(workspace.scratch, writer, drops)
                if account.tally.total % ROWS_BETWEEN_CHECKS == 0:
                    check_share(account, self.bad_limit, how.source)
            check_share(account, self.bad_limit, how.source, over=True)
            if not writer.count:
                raise BactrianError(f"{how.source}: no row could be used\n{account.tally}")
            writer.card = f"# {how.source}\n\n```\n{account.tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        self._record(workspace, self._place(given, stand.commit), account, writer.count)
        write_account(
            workspace.output,
            account.tally,
            layouts=account.layouts,
            columns_left_out=account.left_out,
            kind=account.kind,
        )
        workspace.metrics.update(account.tally.counts())
        say(f"source: {account}")

    def _adoption(self, given: "Input | None") -> "Adoption":
        from bactrian.data.io.adoption import Adoption
        from bactrian.data.io.writer import DATA_FILE

        ours = given is not None and (given.path / DATA_FILE).is_file()
        stated = {licence.licence for licence in given.licences} if given else set()
        return Adoption(
            source=self.title or self.hub or (given.path.name if given else ""),
            license=self.license or (stated.pop() if len(stated) == 1 and not ours else ""),
            layout=self.layout,
            columns=self.columns,
            keep=tuple(self.keep),
            verifier=self.verifier,
            source_column=self.source_column or ("source" if ours or self.layout == "dolma" else ""),
        )

    def _scanned(self, given: "Input | None", stand: "Standing") -> "Iterator[Scanned]":
        from bactrian.data.io.files import scan_hub
        from bactrian.data.io.resumption import scan_on

        done = stand.account.tally.total
        if given is not None:
            return islice(scan_on(given.path, self.text_rows, stand.position), self.limit and self.limit - done)
        return islice(scan_hub(str(self.hub), self.split, self.subset, stand.commit, self.files), done, self.limit)

    def _place(self, given: "Input | None", commit: str) -> dict[str, Any]:
        """Where the rows are from, to the byte."""
        if given is not None:
            return {"name": self.title or given.name, "path": given.name, "sha256": given.content_hash}
        place = {"hub": self.hub, "subset": self.subset, "files": self.files, "split": self.split, "commit": commit}
        return {"name": self.title or self.hub, **place}

    def _record(self, workspace: "Workspace", place: dict[str, Any], account: "Account", rows: int) -> None:
        """Write the provenance record, with what was done here."""
        from bactrian.data.io.provenance import write_provenance

        licences = [licence.model_dump() for licence in sorted(workspace.licences, key=str)]
        done = [f"layout {layout}: {count:,} rows" for layout, count in account.layouts.items()]
        done += [f"dropped, {reason}: {cases.count:,} rows" for reason, cases in account.tally.dropped.items()]
        done += [f"repaired, {reason}: {cases.count:,} rows" for reason, cases in account.tally.repaired.items()]
        stated = self.provenance.model_dump()
        record = stated | {"transformations": [*stated["transformations"], *done]}
        write_provenance(workspace.output, [{**place, "licences": licences, **record, "rows": rows}])

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        known = inputs.get(self.data or "", Facts())
        there = self.rows or known.rows or int((self.tokens or 0) // TOKENS_PER_ROW)
        rows = min(self.limit or there, there) if there else self.limit or 0
        each, basis, error = known.tokens_per_row, known.basis, known.error
        if self.tokens and there:
            each, basis, error = self.tokens / there, "stated", 0.0
        elif not each:
            each, basis = TOKENS_PER_ROW, "assumed"
        return Forecast(peak_memory=5e8, makes=Facts(rows=rows, tokens_per_row=each, basis=basis, error=error))
