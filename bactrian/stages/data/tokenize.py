"""Stage `tokenize`: documents as flat files of tokens, which are mapped into memory to train on."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import DataRef, Facts, Forecast, ModelRef, Stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.data.corpus.token_files import TokenWriter
    from bactrian.data.io.tally import Tally
    from bactrian.store.artifact import Workspace


class Tokenize(Stage):
    """Documents as files of tokens, each with the end token after it, in the layout of OLMo-core and the Dolma toolkit.

    part-00000.npy holds numbers without a header, part-00000.csv.gz the documents' places in it, tokens.json what is in
    them. Nothing is shuffled: the order of training is computed from a seed as it is read. A text that spells a special
    token is text. Without a `tokenizer` one is made of the words of the documents, for small, closed languages; it is
    left in tokenizer/, and `pretrain` takes it from there.
    """

    name: ClassVar[str] = "tokenize"
    makes: ClassVar[Kind] = Kind.DATA

    data: list[DataRef] = Field(min_length=1, description="documents: rows with `text`")
    tokenizer: ModelRef | None = Field(None, description="a model whose tokens; by default a tokenizer is made")
    vocabulary: list[DataRef] = Field([], description="more rows whose words the tokenizer that is made must know")
    dtype: Literal["auto", "uint16", "uint32"] = Field(
        "auto", description="auto: the smaller that holds the vocabulary"
    )
    shard_tokens: int = Field(2**28, ge=1, description="tokens of one file, at most")

    @model_validator(mode="after")
    def _one_vocabulary(self) -> Self:
        if self.tokenizer is not None and self.vocabulary:
            raise ValueError("vocabulary: found one beside tokenizer, expected one of the two: it knows all it will")
        return self

    def run(self, workspace: "Workspace") -> None:
        from bactrian.data.corpus.token_files import TokenWriter, smallest_dtype
        from bactrian.data.io.tally import Tally, write_account
        from bactrian.model.language_model import load_tokenizer
        from bactrian.progress import say

        folder = self._tokenizer(workspace)
        tokenizer = load_tokenizer(folder)
        vocabulary, end = len(tokenizer), tokenizer.eos_token_id
        if end is None:
            raise BactrianError(f"{self.tokenizer}: its tokenizer has no end token, which must follow each document")
        smallest = smallest_dtype(vocabulary)
        if self.dtype == "uint16" != smallest:
            raise BactrianError(f"tokenize, field 'dtype': found uint16, expected uint32 for {vocabulary:,} tokens")
        tally = Tally()
        kind = smallest if self.dtype == "auto" else self.dtype
        with TokenWriter(workspace.output, kind, end, vocabulary, self.shard_tokens) as writer:
            self._write(workspace, folder, writer, tally)
        about = writer.about
        if not about.documents:
            raise BactrianError(f"tokenize: found no document\n{tally}")
        workspace.metrics |= {"documents": float(about.documents), "tokens": float(about.tokens)}
        workspace.metrics.update(tally.counts())
        write_account(workspace.output, tally)
        files = f"{len(about.shards)} file{'s' if len(about.shards) > 1 else ''}"
        say(f"tokenize: {about.tokens:,} tokens of {about.documents:,} documents in {files}; {tally}")

    def _tokenizer(self, workspace: "Workspace") -> Path:
        """The folder of the tokenizer, made if none is named."""
        from bactrian.data.corpus.token_files import TOKENIZER
        from bactrian.model.blank import word_tokenizer

        if self.tokenizer is not None:
            return workspace.input(self.tokenizer).path
        folder = workspace.output / TOKENIZER
        word_tokenizer(self._texts(workspace), context=None).save_pretrained(folder)
        return folder

    def _texts(self, workspace: "Workspace") -> Iterator[str]:
        """What the tokenizer that is made must know: the documents, without rows that are none, and `vocabulary`."""
        from bactrian.data.corpus.attribute_files import document_of
        from bactrian.data.io.files import scan_rows, stream_rows
        from bactrian.data.io.formats import Fault
        from bactrian.model.blank import spoken_text

        for ref in self.data:
            path = workspace.input(ref).path
            documents = (document_of(row, where, path.name) for row, where in scan_rows(path))
            yield from (row["text"] for row in documents if not isinstance(row, Fault))
        for ref in self.vocabulary:
            yield from (spoken_text(row) for row, _ in stream_rows(workspace.input(ref).path))

    def _write(self, workspace: "Workspace", folder: Path, writer: "TokenWriter", tally: "Tally") -> None:
        from bactrian.data.io.formats import Fault
        from bactrian.data.io.parallel import map_rows
        from bactrian.data.io.rows import licence_of
        from bactrian.progress import progress

        with progress("tokenize", unit="text") as bar:
            for ref in self.data:
                path = workspace.input(ref).path
                encode = partial(encoded, folder=folder, source=path.name)
                for found in map_rows(encode, path, workspace.hardware, scanned=True):
                    bar.advance()
                    if isinstance(found, Fault):
                        tally.drop(found.reason, found.where)
                        continue
                    row, ids, where = found
                    tally.keep()
                    workspace.add_licence(licence_of(row))
                    writer.write(ids, row["id"], row["source"], where)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        given = [inputs.get(ref, Facts()) for ref in self.data]
        rows = sum(facts.rows for facts in given)
        tokens = sum(facts.rows * facts.tokens_per_row for facts in given)
        return Forecast(peak_memory=1e9, makes=Facts(rows=rows, tokens_per_row=tokens / rows if rows else 0.0))


def encoded(located: list[tuple[Any, str]], folder: Path, source: str) -> list[Any]:
    """Of each document (id, source and licence; its tokens; "file, line 3"), or why a row is none."""
    return list(_encoded(located, folder, source))


def _encoded(located: list[tuple[Any, str]], folder: Path, source: str) -> Iterator[Any]:
    import numpy as np

    from bactrian.data.corpus.attribute_files import IDENTITY, document_of
    from bactrian.data.corpus.encoding import encode, opened_tokenizer
    from bactrian.data.io.formats import Fault

    found = [document_of(row, where, source) for row, where in located]
    texts = [row["text"] for row in found if not isinstance(row, Fault)]
    if not texts:
        yield from found
        return
    tokenizer = opened_tokenizer(folder)
    ids = iter(encode(tokenizer, texts).input_ids)
    for row, (_, where) in zip(found, located, strict=True):
        if isinstance(row, Fault):
            yield row
            continue
        mine = np.array(next(ids), dtype=np.int64)
        if (mine == tokenizer.eos_token_id).any():
            yield Fault(where, "its text has the end token in it")
        else:
            file, _, place = where.rpartition(", ")
            yield {name: row[name] for name in IDENTITY}, mine, f"{Path(file).name}, {place}"
