"""Stage `decontaminate`: finds what training data share with test items, reports it, and drops it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, HeldOutRef, Need, Reference, Stage
from bactrian.store.manifest import Decontamination, Kind

if TYPE_CHECKING:
    from bactrian.data.overlap.index import IndexedItem
    from bactrian.data.overlap.scan import Matching
    from bactrian.data.overlap.table import OverlapTable
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
COSINE = 0.9
"""Threshold of mode embedding where none is given: a decision; what it finds and misses is not measured yet."""


class Decontaminate(Stage):
    """Finds training rows that hold test items, by shared n-grams, as a whole or by meaning; reports and drops them.

    Leaves the rows that stay, overlap.json (what each source holds of each benchmark) and matches.parquet (every match
    with both texts).
    """

    name: ClassVar[str] = "decontaminate"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: list[DataRef] = Field(min_length=1, description="training rows")
    against: list[HeldOutRef] = Field(
        min_length=1, description="test items: files, Hub ids or steps; of a folder all files that are known benchmarks"
    )
    fields: dict[str, list[str]] = Field({}, description="columns to compare of a file that is not known, by its name")
    mode: Literal["ngram", "any", "exact", "embedding"] = Field(
        "ngram", description="share of words in shared n-grams, any shared n-gram, the same text, or cosine of meanings"
    )
    n: int = Field(8, ge=1, le=64, description="words of an n-gram")
    threshold: float | None = Field(
        None, gt=0, le=1, description="share of an item's words that one row must cover, by default 0.5; cosine 0.9"
    )
    embedder: Annotated[str, Reference(Kind.MODEL, held_out=True)] | None = Field(
        None, description="sentence encoder of mode embedding; by default all-MiniLM-L6-v2"
    )
    texts: Literal["prompts", "all"] = Field("prompts", description="look at user turns, or at all text of a row")
    action: Literal["report", "rows", "sources"] = Field("rows", description="drop nothing, matching rows, or sources")
    share: float = Field(
        0.0, ge=0, le=1, description="only sources with more than this share of a benchmark lose any; Tülu 3: 0.02"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if both := set(self.data) & set(self.against):
            raise ValueError(f"found {min(both)!r} in data and in against, expected it in one of them")
        if self.threshold is not None and self.mode in ("any", "exact"):
            raise ValueError(f"threshold: mode {self.mode!r} has none")
        if self.embedder is not None and self.mode != "embedding":
            raise ValueError(f"embedder: mode {self.mode!r} reads none")
        return self

    def needs(self) -> Iterable[Need]:
        """An encoder that comes inside a package."""
        return [Need("mode: embedding", "embedding")] if self.mode == "embedding" and self.embedder is None else []

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.overlap.scan import matched_rows, scan
        from bactrian.data.overlap.table import doomed
        from bactrian.progress import progress, say

        items = self._items(workspace)
        matcher = self._matcher(items, workspace)
        with progress("decontaminate · scan", unit="row") as bar:
            # torch has threads of its own, and may not be forked
            processes = 1 if self.mode == "embedding" else workspace.hardware.threads
            found = scan(self._rows(workspace), items, matcher, workspace.scratch, self.texts, processes, bar)
        table = self._table(items, found.sources, found.items, workspace.scratch)
        matched = matched_rows(workspace.scratch)
        rows, sources = doomed(table, matched, self.action, self.share)
        kept = self._write(workspace, table, rows, sources)
        workspace.decontamination = self._record(table, workspace)
        stay = sum(row not in rows and source not in sources for row, source in matched.items())
        told = f"{found.rows:,} rows, {found.rows - kept:,} dropped, {kept:,} stay; {self._staying(stay)}"
        say(f"decontaminate: {told}{_unseen(table, self.n)}\n{table}")

    def _items(self, workspace: "Workspace") -> "list[IndexedItem]":
        from bactrian.data.overlap.benchmarks import read_benchmarks

        given = [(ref, workspace.input(ref)) for ref in self.against]
        return [item for ref, source in given for item in read_benchmarks(source.path, ref, self.fields)]

    def _matcher(self, items: "list[IndexedItem]", workspace: "Workspace") -> "Matching":
        if self.mode == "exact":
            from bactrian.data.overlap.whole import WholeMatcher

            return WholeMatcher(items)
        if self.mode == "embedding":
            from bactrian.data.overlap.meaning import MeaningMatcher, SentenceEncoder, default_folder

            folder = workspace.input(self.embedder).path if self.embedder else default_folder()
            return MeaningMatcher(items, SentenceEncoder(folder), self.threshold or COSINE)
        from bactrian.data.overlap.index import Index
        from bactrian.data.overlap.match import Matcher

        index = Index(items, self.n)
        return Matcher(index, "any" if self.mode == "any" else "coverage", self.threshold or 0.5)

    def _rows(self, workspace: "Workspace") -> Iterator[tuple[Row, str]]:
        """All rows of all inputs, each with the words for where it stands."""
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row

        for ref in self.data:
            given = workspace.input(ref)
            for row, where in stream_rows(given.path):
                yield complete_row(row, Path(given.name).name), where

    def _table(
        self,
        items: "list[IndexedItem]",
        sources: Mapping[str, int],
        matched: Mapping[str, Iterable[int]],
        scratch: Path,
    ) -> "OverlapTable":
        from collections import Counter

        from bactrian.data.overlap.scan import evidence
        from bactrian.data.overlap.table import tabulate, too_short

        places = {
            (row, source, benchmark)
            for batch in evidence(scratch)
            for row, source, benchmark in zip(
                *(batch.column(name).to_pylist() for name in ("row", "source", "benchmark")), strict=True
            )
        }
        rows = Counter((source, benchmark) for _, source, benchmark in places)
        short = too_short(items, self.n) if self.mode in ("ngram", "any") else []
        return tabulate(items, short, sources, matched, rows)

    def _write(self, workspace: "Workspace", table: "OverlapTable", rows: set[int], sources: set[str]) -> int:
        """The rows that stay, the table and the matches; returns how many rows stay."""
        import pyarrow.parquet as pq

        from bactrian.data.io.files import RowWriter
        from bactrian.data.overlap.scan import EVIDENCE, evidence

        if sum(count for source, count in table.sources.items() if source not in sources) == len(rows):
            raise BactrianError(f"decontaminate: nothing is left; every row would go:\n{table}")
        with RowWriter(workspace.output, f"# Decontaminated rows\n\n{table}") as writer:
            for number, (row, _) in enumerate(self._rows(workspace)):
                if number not in rows and str(row["source"]) not in sources:
                    writer.write(row)
        for licence in writer.licences:
            workspace.add_licence(licence)
        with pq.ParquetWriter(workspace.output / "matches.parquet", EVIDENCE, compression="zstd") as file:
            for batch in evidence(workspace.scratch):
                file.write_batch(batch)
        total = sum(table.sources.values())
        settings = self.model_dump(mode="json", include={"mode", "n", "threshold", "texts", "action", "share"})
        about = settings | {"rows": total, "dropped": total - writer.count, "dropped_sources": sorted(sources)}
        (workspace.output / "overlap.json").write_text(json.dumps(about | table.as_dict(), indent=1))
        workspace.metrics |= {
            "rows_kept": float(writer.count),
            "rows_dropped": float(total - writer.count),
            "largest_share": max((cell.share for cell in table.cells), default=0.0),
        }
        return writer.count

    def _staying(self, count: int) -> str:
        """How many of the rows that stay match a test item, and which setting keeps them."""
        if not count:
            return "none of them matches a test item"
        if self.action == "report":
            why = "action: report drops nothing"
        else:
            limit = f"{self.share:.1%} of any benchmark (share: {self.share:g}; 0 drops them)"
            why = f"their sources hold no more than {limit}"
        return f"{count:,} of them {'matches' if count == 1 else 'match'} a test item: {why}"

    def _record(self, table: "OverlapTable", workspace: "Workspace") -> Decontamination:
        """For the manifests of all that is made from these rows."""
        said = {
            "ngram": f"{self.threshold or 0.5:.0%} of an item's words in shared {self.n}-grams of one row",
            "any": f"one shared {self.n}-gram",
            "exact": "the same whole text",
            "embedding": f"embeddings of a cosine of at least {self.threshold or COSINE}",
        }
        touched = set() if self.action == "report" else table.above(self.share)
        left = max((cell.share for cell in table.cells if cell.source not in touched), default=0.0)
        names = ", ".join(Path(workspace.input(ref).name).name for ref in self.data)
        return Decontamination(data=names, against=tuple(sorted(table.benchmarks)), rule=said[self.mode], left=left)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        given = [inputs.get(ref, Facts()) for ref in self.data]
        rows = sum(facts.rows for facts in given)
        tokens = sum(facts.rows * facts.tokens_per_row for facts in given)
        return Forecast(makes=Facts(rows=rows, tokens_per_row=tokens / rows if rows else 0.0))


def _unseen(table: "OverlapTable", n: int) -> str:
    """Test items that no n-gram can find, if there are any: rows that hold them stay too."""
    short = sum(table.short.values())
    total = sum(table.benchmarks.values())
    return f"; {short:,} of {total:,} test items are shorter than {n} words, and not looked for" if short else ""
