"""Stage `trace_index`: an index over training data, in which `bactrian trace` finds where words come from."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.overlap.trace.documents import TracedDocument
    from bactrian.store.artifact import Workspace

MEMORY_PER_BYTE = 7.0
"""Peak memory while a shard is sorted, a byte of its texts; measured by benchmarks/trace.py."""


class TraceIndex(Stage):
    """An index over training data, for `bactrian trace`: which spans of an answer stand in them, and where.

    Every text of a row is a document: each message of a conversation or a pair with its role, and each other column
    that stages learn from. Give it what a model was trained on: the steps that `sft`, `dpo` and the others read.
    """

    name: ClassVar[str] = "trace_index"
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: list[DataRef] = Field(min_length=1, description="training data: steps, files, folders, patterns")
    match: Literal["words", "exact"] = Field(
        "words", description="words: case and white space do not count; exact: letter for letter"
    )
    text_rows: Literal["line", "paragraph", "document"] = Field(
        "paragraph", description="what is a document of a plain text file"
    )
    shard_mb: int = Field(
        256, ge=1, le=512, description="MiB of text in one shard; the peak memory is seven times that"
    )

    def needs(self) -> Iterable[Need]:
        """The library that sorts."""
        return [Need("trace_index", "trace")]

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.overlap.trace.build import build
        from bactrian.progress import say

        documents = self._documents(workspace)
        meta = build(documents, workspace.output, workspace.scratch, self.match, self.shard_mb * 2**20)
        totals = {
            name: float(sum(getattr(shard, name) for shard in meta.shards)) for name in ("documents", "words", "text")
        }
        workspace.metrics |= {"documents": totals["documents"], "words": totals["words"], "bytes": totals["text"]}
        told = f"{totals['documents']:,.0f} documents, {totals['words']:,.0f} words, {totals['text'] / 1e6:,.1f} MB"
        say(f"trace_index: {told} in {len(meta.shards)} shard{'s' if len(meta.shards) > 1 else ''}")

    def _documents(self, workspace: "Workspace") -> "Iterator[tuple[TracedDocument, str]]":
        """Every text of all data, in order; the licences of their rows are noted."""
        from pathlib import Path

        from bactrian.data.io.files import scan_rows
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.rows import complete_row, licence_of
        from bactrian.data.overlap.trace.documents import documents, place_within
        from bactrian.progress import progress

        with progress("trace_index", unit="text") as bar:
            for ref in self.data:
                given = workspace.input(ref)
                name = Path(given.name).name
                for row, where in scan_rows(given.path, self.text_rows):
                    if isinstance(row, Fault):
                        raise row
                    row = complete_row(row, name)
                    workspace.add_licence(licence_of(row))
                    for document in documents(row, name, place_within(where, given.path)):
                        yield document
                        bar.advance()

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        tokens = sum(facts.rows * facts.tokens_per_row for facts in (inputs.get(ref, Facts()) for ref in self.data))
        size = min(4 * tokens, self.shard_mb * 2**20) if tokens else self.shard_mb * 2**20
        return Forecast(peak_memory=MEMORY_PER_BYTE * size)
