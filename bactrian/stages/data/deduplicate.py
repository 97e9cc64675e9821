"""Stage `deduplicate`: exact and near duplicates within and across sources, the better row stays."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bactrian.stages.stage import DataRef, Facts, Forecast, Need, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.curate.duplicates import DuplicatePair
    from bactrian.data.curate.row_fingerprints import Fingerprints
    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
SHOWN, EXCERPT = 1_000, 300
"""Of so many pairs the beginnings of both texts are kept, so many characters of each."""


class Deduplicate(Stage):
    """One row of each set of duplicates, exact or near, within and across sources.

    Of duplicates the better stays: the one under fewer licence marks, then the one with the longer answer (or text),
    then the earlier one, sources in the order of `data`. A near duplicate is dropped only for a row that stays and is
    at least `threshold` like it, never along a chain. Leaves duplicates.parquet: every dropped row with the one kept.
    """

    name: ClassVar[str] = "deduplicate"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA
    labels_inputs: ClassVar[bool] = True

    data: list[DataRef] = Field(min_length=1, description="sources, the preferred first")
    near: bool = Field(True, description="near duplicates too, not only equal texts")
    of: Literal["whole", "prompt"] = Field("whole", description="what is compared: all of a row's text, or user turns")
    threshold: float = Field(0.8, ge=0.5, le=1, description="near: least Jaccard similarity of the sets of n-grams")
    ngram: int = Field(5, ge=1, le=32, description="near: words of an n-gram")
    keep: Literal["better", "first"] = Field("better", description="which of duplicates stays")

    def needs(self) -> Iterable[Need]:
        """By rensa."""
        return [Need("near: true", "data")] if self.near else []

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.io.tally import write_account
        from bactrian.data.io.texts import whole_text
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        prints = self._fingerprints(workspace)
        pairs = sorted(self._pairs(prints), key=lambda pair: pair.dropped)
        dropped = {pair.dropped for pair in pairs}
        notes = dict.fromkeys(dropped | {pair.kept for pair in pairs}, ("", ""))
        shown = {number for pair in pairs[:SHOWN] for number in (pair.dropped, pair.kept)}
        with RowWriter(workspace.output) as writer, progress("deduplicate · write", prints.count, "row") as bar:
            for number, row in enumerate(self._rows(workspace)):
                bar.advance()
                if number in notes:
                    notes[number] = (row["id"], whole_text(row)[:EXCERPT] if number in shown else "")
                if number not in dropped:
                    writer.write(row)
            tally, table = account(prints, pairs, notes)
            writer.card = f"# Rows without duplicates\n\n```\n{tally}\n```"
        write_pairs(workspace.output / "duplicates.parquet", prints, pairs, notes)
        for licence in writer.licences:
            workspace.add_licence(licence)
        exact = sum(pair.exact for pair in pairs)
        workspace.metrics.update(tally.counts(), exact=float(exact), near=float(len(pairs) - exact))
        write_account(workspace.output, tally, duplicates=table)
        say(f"deduplicate: {tally}")

    def _fingerprints(self, workspace: "Workspace") -> "Fingerprints":
        from bactrian.data.curate.row_fingerprints import Fingerprints, fingerprint
        from bactrian.data.io.parallel import map_rows
        from bactrian.progress import progress

        words = self.ngram if self.near else 0
        prints = Fingerprints(workspace.scratch, near=self.near)
        with prints, progress("deduplicate · fingerprints", unit="row") as bar:
            for ref in self.data:
                path = workspace.input(ref).path
                one = partial(fingerprint, of=self.of, words=words)
                prints.begin(workspace.input(ref).name)
                for found in map_rows(one, path, workspace.hardware):
                    prints.add(found)
                    bar.advance()
        return prints

    def _pairs(self, prints: "Fingerprints") -> "Iterator[DuplicatePair]":
        import numpy as np

        from bactrian.data.curate.duplicates import band_width, exact_pairs, near_pairs

        ranks = [prints.marks, -prints.lengths] if self.keep == "better" else []
        exact = exact_pairs(prints.keys, ranks)
        yield from exact
        if self.near:
            left = np.ones(prints.count, dtype=bool)
            left[[pair.dropped for pair in exact]] = False
            yield from near_pairs(
                prints.signatures, ranks, self.threshold, band_width(self.threshold), np.flatnonzero(left)
            )

    def _rows(self, workspace: "Workspace") -> Iterator[Row]:
        from bactrian.data.io.files import stream_rows
        from bactrian.data.io.rows import complete_row

        for ref in self.data:
            path = workspace.input(ref).path
            yield from (complete_row(row, path.name) for row, _ in stream_rows(path))

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        rows = sum(inputs[ref].rows for ref in self.data)
        tokens = sum(inputs[ref].rows * inputs[ref].tokens_per_row for ref in self.data)
        made = Facts(rows=rows, tokens_per_row=tokens / rows if rows else 0.0)
        return Forecast(peak_memory=1e9 + rows * 200, makes=made)


def account(
    prints: "Fingerprints", pairs: "Sequence[DuplicatePair]", notes: Mapping[int, tuple[str, str]]
) -> "tuple[Tally, list[dict[str, Any]]]":
    """The tally with examples, and how many rows of one source were dropped for rows of another."""
    from bactrian.data.io.tally import Tally

    tally, between = Tally(), Counter[tuple[str, str, str]]()
    tally.keep(prints.count - len(pairs))
    for pair in pairs:
        how = "exact" if pair.exact else "near"
        dropped, kept = prints.source_of(pair.dropped), prints.source_of(pair.kept)
        reason = f"{how} duplicate within {dropped}" if dropped == kept else f"{how} duplicate of {kept}, in {dropped}"
        tally.drop(reason, f"{notes[pair.dropped][1][:70]!r} ~ {notes[pair.kept][1][:70]!r} {pair.similarity:.2f}")
        between[dropped, kept, how] += 1
    table = [{"dropped_from": a, "kept_in": b, "how": how, "rows": n} for (a, b, how), n in sorted(between.items())]
    return tally, table


def write_pairs(
    path: Path, prints: "Fingerprints", pairs: "Sequence[DuplicatePair]", notes: Mapping[int, tuple[str, str]]
) -> None:
    """duplicates.parquet: of each pair ids, sources and similarity, and of the first SHOWN the texts' beginnings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"similarity": pa.array([pair.similarity for pair in pairs], pa.float64())}
    for side in ("dropped", "kept"):
        numbers = [getattr(pair, side) for pair in pairs]
        columns[f"{side}_id"] = pa.array([notes[number][0] for number in numbers], pa.string())
        columns[f"{side}_source"] = pa.array([prints.source_of(number) for number in numbers], pa.string())
        columns[f"{side}_text"] = pa.array([notes[number][1] or None for number in numbers], pa.string())
    pq.write_table(pa.table(columns), path, compression="zstd")
