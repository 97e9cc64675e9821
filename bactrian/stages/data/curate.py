"""Stage `curate`: rules over documents and their attributes, with a table of what each took."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.data.corpus_rules import AnyCorpusRule
from bactrian.stages.stage import DataRef, Divisible, Facts, Forecast
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.corpus.rule_ledger import RuleLedger
    from bactrian.data.corpus.sieves import CorpusDocument
    from bactrian.store.artifact import Workspace

BATCH = 500


class Curate(Divisible):
    """Documents that pass rules over their attributes, one after the other [Dolma's mixer, Soldaini et al. 2024].

    A rule keeps or drops documents by an attribute, replaces spans, or takes out what was there before; the first that
    drops a document is the reason. What is left is held against test items by `decontaminate`, and drawn from by
    weight, with caps and repeats, by `mix`. rows.json says what each rule took: documents, bytes and tokens.
    """

    name: ClassVar[str] = "curate"
    passes_rows: ClassVar[bool] = True
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="documents: rows with `text`")
    attributes: list[DataRef] = Field(
        [],
        description="steps `tag` on these documents, or files of the Dolma toolkit (web/attributes/NAME/**/*.jsonl.gz)",
    )
    rules: list[AnyCorpusRule] = Field(min_length=1, description="keep, drop, replace, unique; in this order")
    tokens: str | None = Field(
        None, description="an attribute that counts tokens, as `tokens` does; by default four bytes are taken for one"
    )

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.corpus.rule_ledger import RuleLedger
        from bactrian.data.io.tally import write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        self._check_tagged(workspace)
        ledger = RuleLedger([rule.label for rule in self.rules], self.tokens)
        sieves = [rule.sieve() for rule in self.rules]
        with RowWriter(workspace.output) as writer, progress("curate", unit="text") as bar:
            for batch in self._batches(workspace, ledger):
                bar.advance(len(batch))
                for number, sieve in enumerate(sieves):
                    batch = ledger.sifted(number, batch, sieve)
                for candidate in batch:
                    ledger.keep(candidate)
                    writer.write(candidate.row | {"text": candidate.edited()} if candidate.edits else candidate.row)
            self._check_attributes(ledger)
            if not writer.count:
                raise BactrianError(f"curate: no row is left\n{ledger.tally}")
            writer.card = f"# Curated documents\n\n```\n{ledger.tally}\n```"
        for licence in writer.licences:
            workspace.add_licence(licence)
        workspace.metrics.update(ledger.metrics())
        write_account(workspace.output, ledger.tally, funnel=ledger.funnel(), rules=ledger.table(sieves))
        say(f"curate: {ledger.tally}")

    def _check_tagged(self, workspace: "Workspace") -> None:
        """That the attributes are of these documents, as far as they say."""
        from bactrian.data.corpus.attribute_files import TaggedDocuments

        given = workspace.input(self.data)
        for ref in self.attributes:
            tagged = TaggedDocuments.load(workspace.input(ref).path)
            if tagged is not None and tagged.content_hash != given.content_hash:
                raise BactrianError(
                    f"curate, field 'attributes': found {ref}, which tagged the documents of {tagged.documents}, "
                    f"expected attributes of {given.name} as it is now"
                )

    def _batches(self, workspace: "Workspace", ledger: "RuleLedger") -> "Iterator[list[CorpusDocument]]":
        from bactrian.data.corpus.attribute_files import joined
        from bactrian.data.corpus.sieves import CorpusDocument
        from bactrian.data.io.formats import Fault

        places = [(workspace.input(ref).path, ref) for ref in self.attributes]
        stream = joined(workspace.input(self.data).path, places)
        while some := list(islice(stream, BATCH)):
            batch = []
            for row, attributes, where in some:
                if isinstance(row, Fault):
                    ledger.refuse(row)
                else:
                    batch.append(CorpusDocument(row, attributes, where))
            ledger.enter(batch)
            yield batch

    def _check_attributes(self, ledger: "RuleLedger") -> None:
        """That some document had each rule's attribute: a name that none has is a slip of the pen."""
        for rule in self.rules:
            if rule.needed is not None and ledger.seen and rule.needed not in ledger.attributes:
                there = ", ".join(sorted(ledger.attributes)) or "none"
                raise BactrianError(
                    f"curate, rule {rule.label!r}: found no document with this attribute, expected one of: {there}"
                )

    def parts(self) -> list[tuple[str, ...]]:
        return [(rule.part, rule.rule) for rule in self.rules]

    def keeping(self, kept: Sequence[int]) -> Self:
        return self.model_copy(update={"rules": [self.rules[number] for number in kept]})

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9 + sum(rule.memory() for rule in self.rules), makes=inputs[self.data])
