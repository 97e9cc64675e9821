"""Stage `tag`: attributes of documents, by named taggers, written beside them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Need, Stage
from bactrian.store.manifest import Kind
from bactrian.store.own_files import OwnCode

if TYPE_CHECKING:
    from bactrian.data.io.formats import Fault
    from bactrian.store.artifact import Workspace

Row = dict[str, Any]
TaggerName = Annotated[str, OwnCode("tagger")]
NEEDED = {"tokens": "tokenizer", "token_repeats": "tokenizer", "classifier": "classifier", "toxicity": "toxicity"}
"""Tagger → the setting that it needs."""
OF_EXTRA = ("language", "personal", "classifier", "toxicity")
"""Taggers that need the package's extra `data`."""


class Tag(Stage):
    """Attributes of documents, by named taggers [Dolma, Soldaini et al. 2024]: numbers, or spans [start, end, score].

    Leaves a row of attributes for each document, in their order, and changes none: `curate` applies rules to them. A
    tagger that is added later goes into a step of its own, and what others said stays. Rows that are no documents are
    counted and listed in drops.jsonl.
    """

    name: ClassVar[str] = "tag"
    makes: ClassVar[Kind] = Kind.DATA

    data: DataRef = Field(description="documents: rows with `text`")
    taggers: list[TaggerName] = Field(
        min_length=1,
        description="gopher, repetition, c4, length, language, personal, licence, tokens, token_repeats, classifier, "
        "toxicity, gopher_v1, c4_v1, or FILE.py:FUNCTION",
    )
    tokenizer: ModelRef | None = Field(None, description="whose tokens `tokens` and `token_repeats` look at")
    classifier: DataRef | None = Field(None, description="the step `quality` whose classifier `classifier` asks")
    toxicity: DataRef | None = Field(
        None,
        description="the step `quality` whose classifier `toxicity` asks of each sentence: toxic ones are its good",
    )
    languages: list[str] = Field(["en"], min_length=1, description="ISO 639 codes that `language` gives")
    bad_limit: float = Field(
        0.1, ge=0, le=1, description="share of rows that may be no documents before it is an error"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        from bactrian.data.corpus.tagging import check_name

        for name in self.taggers:
            try:
                check_name(name)
            except BactrianError as error:
                raise ValueError(f"taggers: {error}") from None
        labels = [name.rpartition(":")[2].rpartition(".")[2] for name in self.taggers]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"taggers: found {twice[0]} twice")
        for name in self.taggers:
            setting = NEEDED.get(name)
            if setting and getattr(self, setting) is None:
                raise ValueError(f"taggers: {name} needs the setting {setting}")
        for setting in dict.fromkeys(NEEDED.values()):
            if getattr(self, setting) is not None and not any(NEEDED.get(name) == setting for name in self.taggers):
                raise ValueError(f"{setting}: none of the taggers reads it")
        return self

    def needs(self) -> Iterable[Need]:
        """Of the detectors and the classifier."""
        return [Need(f"the tagger {name}", "data") for name in self.taggers if name in OF_EXTRA]

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.corpus.attribute_files import TaggedDocuments
        from bactrian.data.corpus.tagging import find_tagger
        from bactrian.data.io.adoption import check_share
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.parallel import map_rows
        from bactrian.data.io.resumption import Standing
        from bactrian.data.io.tally import write_account
        from bactrian.data.io.writer import RowWriter
        from bactrian.progress import progress, say

        given = workspace.input(self.data)
        for name in self.taggers:
            find_tagger(name)  # noted in the manifest, with the hash of its code
        models = {name: workspace.input(ref).path for name, ref in self._models().items()}
        tag = partial(
            tag_located, taggers=self.taggers, inputs=models, languages=self.languages, source=given.path.name
        )
        stand = Standing.load(workspace.scratch, workspace.output)
        account = stand.account
        done = account.tally.total
        if done:
            say(f"tag: resuming after {done:,} rows")
        with (
            RowWriter(workspace.output, "# Attributes of documents", written=stand.written) as writer,
            (workspace.output / "drops.jsonl").open("ab") as drops,
            progress("tag", done=done, unit="text") as bar,
        ):
            drops.truncate(stand.drops)
            for row in map_rows(tag, given.path, workspace.hardware, skip=done, scanned=True):
                bar.advance()
                if isinstance(row, Fault):
                    drops.write(account.dropped(row).as_json().encode() + b"\n")
                else:
                    account.tally.keep()
                    writer.write(row)
                if not writer.holds:
                    stand.save_at_times(workspace.scratch, writer, drops)
            check_share(account, self.bad_limit, given.name, over=True)
            if not writer.count:
                raise BactrianError(f"{given.path}: found no document, expected rows with `text`\n{account.tally}")
        for licence in writer.licences:
            workspace.add_licence(licence)
        TaggedDocuments(given.name, given.content_hash).save(workspace.output)
        workspace.metrics.update(account.tally.counts())
        write_account(workspace.output, account.tally)
        say(f"tag: {account.tally}")

    def _models(self) -> dict[str, str]:
        return {
            name: ref for name in ("tokenizer", "classifier", "toxicity") if (ref := getattr(self, name)) is not None
        }

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        return Forecast(peak_memory=1e9, makes=Facts(rows=inputs[self.data].rows))


def tag_located(
    located: list[tuple[Any, str]],
    taggers: Sequence[str],
    inputs: Mapping[str, Path],
    languages: Sequence[str],
    source: str,
) -> "list[Row | Fault]":
    """The attributes of each document, or why a row is none.

    Raises:
        BactrianError: as taggers do.
    """
    from bactrian.data.corpus.attribute_files import IDENTITY, document_of
    from bactrian.data.corpus.tagging import tag_rows
    from bactrian.data.io.formats import Fault

    found = [document_of(row, where, source) for row, where in located]
    documents = [row for row in found if not isinstance(row, Fault)]
    attributes = iter(tag_rows(documents, taggers, inputs, languages))
    return [
        row if isinstance(row, Fault) else {name: row[name] for name in IDENTITY} | next(attributes) for row in found
    ]
