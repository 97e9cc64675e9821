"""Builds the index over training texts: suffix arrays of their token forms, in shards, each whole once it is there.

A shard holds the texts as they are, their form (`tokens`), and the places in the form at which a word begins, in the
order of what follows there. What follows is compared byte by byte to the end of the shard, by libdivsufsort, and of
its order the beginnings of words are kept, about one place in five. So a shard takes about six bytes of memory a byte
of form while it is made, and the index three bytes on disk a byte of text.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from unicodedata import unidata_version

import numpy as np
from numpy.typing import NDArray

from bactrian.data.overlap.trace.documents import TracedDocument
from bactrian.data.overlap.trace.tokens import I64, byte_offsets, next_token, token_form, utf8
from bactrian.errors import BactrianError
from bactrian.store.disk import sync_folder, write_atomically
from bactrian.store.extras import lacks

FORMAT = 1
"""Of the files. An index of another one is refused, and so is one made with another version of Unicode's tables."""
META, SHARD_META = "trace.json", "shard.json"
TEXT, FORM, ORDER, ANCHORS = "text.bin", "form.bin", "order.bin", "anchors.bin"
TOPS, STARTS, LINES = "tops.bin", "documents.bin", "documents.jsonl"
ANCHOR_EVERY = 64
"""Tokens from one place that is known in text and form to the next."""
TOP_EVERY, TOP_BYTES = 1024, 32
"""Places in the order from one to the next whose form's first bytes are kept together, to be searched first."""
BATCH_CHARACTERS = 1_000_000
LONGEST = 2**29
"""Bytes of one document: with the rest of its shard, each character a token, its form still has places of 31 bits."""
_AT_ONCE = 2**22

Documents = Iterator[tuple[TracedDocument, str]]


@dataclass(frozen=True)
class ShardSizes:
    """What is in a shard: bytes of text and form, tokens, words, documents; and all documents up to its end."""

    text: int
    form: int
    tokens: int
    words: int
    documents: int
    documents_so_far: int


@dataclass(frozen=True)
class IndexMeta:
    """What an index says of itself. match: "words" (case and white space do not count) or "exact"."""

    format: int
    unicode: str
    match: str
    shards: list[ShardSizes]


def build(
    documents: Iterable[tuple[TracedDocument, str]], folder: Path, scratch: Path, match: str, shard_bytes: int
) -> IndexMeta:
    """Index documents into `folder`. Shards that are there are not made again: the documents in them are passed over,
    so that the same documents give the same bytes, however often the process is killed.

    Raises:
        BactrianError: no document has a word, one is longer than 512 MiB, or pydivsufsort is not installed.
    """
    stream = iter(documents)
    shards = _shards_in(folder)
    done = shards[-1].documents_so_far if shards else 0
    next(islice(stream, done, done), None)
    while (first := next(stream, None)) is not None:
        writer = _ShardWriter(scratch / "shard.partial", match == "words")
        writer.add(*first)
        while writer.size < shard_bytes and (each := next(stream, None)) is not None:
            writer.add(*each)
        shards.append(writer.close(done))
        writer.folder.rename(shard_folder(folder, len(shards) - 1))
        done = shards[-1].documents_so_far
    if not any(shard.words for shard in shards):
        raise BactrianError("trace_index: found no word in any text, expected something to look up")
    meta = IndexMeta(FORMAT, unidata_version, match, shards)
    write_atomically(folder / META, json.dumps(asdict(meta), indent=1))
    return meta


def shard_folder(folder: Path, number: int) -> Path:
    """Where a shard of an index is."""
    return folder / f"shard-{number:05d}"


def _shards_in(folder: Path) -> list[ShardSizes]:
    """The shards that are whole."""
    found: list[ShardSizes] = []
    while (path := shard_folder(folder, len(found)) / SHARD_META).is_file():
        found.append(ShardSizes(**json.loads(path.read_text())))
    return found


class _ShardWriter:
    """Writes documents as they come, and their order at the end."""

    def __init__(self, folder: Path, fold: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.fold = folder, fold
        self.files = {name: (folder / name).open("wb") for name in (TEXT, FORM, ANCHORS, STARTS, LINES)}
        self.size = 0  # bytes of the texts added
        self.text = self.form = self.lines = self.tokens = self.documents = 0  # written
        self.words: list[NDArray[np.int32]] = []
        self.waiting: list[tuple[str, int]] = []  # text, where its line is
        self.characters = 0  # waiting

    def add(self, document: TracedDocument, text: str) -> None:
        """
        Raises:
            BactrianError: the text is too long.
        """
        size = len(text) if text.isascii() else len(utf8(text))
        if size > LONGEST:
            where = f"{document.data}: {document.where}, field {document.field!r}"
            raise BactrianError(f"{where}: found {size:,} bytes, expected at most {LONGEST:,} in one document")
        if self.characters + len(text) > BATCH_CHARACTERS:
            self._flush()
        self.waiting.append((text, self.lines))
        self.characters += len(text)
        self.size += size
        self.lines += self.files[LINES].write(document.as_line())

    def _flush(self) -> None:
        """Write the texts that wait: several short ones, or a long one in pieces."""
        texts = [text for text, _ in self.waiting]
        starts = np.zeros((len(texts), 3), np.uint64)
        starts[:, 2] = [line for _, line in self.waiting]
        if len(texts) == 1:
            starts[0, :2] = self.form, self.text
            at = 0
            while at < len(texts[0]):
                end = next_token(texts[0], at + BATCH_CHARACTERS, self.fold)
                self._write([texts[0][at:end]], end == len(texts[0]))
                at = end
        elif texts:
            starts[:, :2] = self._write(texts, True)
        self.files[STARTS].write(starts.tobytes())
        self.documents += len(texts)
        self.waiting, self.characters = [], 0

    def _write(self, texts: list[str], whole: bool) -> I64:
        """Texts and forms; not `whole`: a piece of a text that goes on. Returns where each begins, [T, 2]."""
        found, joined = token_form(texts, self.fold), "".join(texts)
        in_text = byte_offsets(joined)
        form = found.form if whole else found.form[:-1]
        number = np.arange(len(found)) - np.searchsorted(found.text, found.text)  # within its text
        known = np.flatnonzero(number % ANCHOR_EVERY == 0)
        anchors = np.stack((self.form + found.at[known], self.text + in_text[found.start[known]]), 1)
        starts = np.stack((self.form + found.first, self.text + in_text[found.chars[:-1]]), 1)
        self.words.append((self.form + found.at[found.word]).astype(np.int32))
        self.files[ANCHORS].write(anchors.astype(np.uint32).tobytes())
        self.files[FORM].write(form.tobytes())
        self.text += self.files[TEXT].write(utf8(joined))
        self.form += len(form)
        self.tokens += len(found)
        return starts

    def close(self, before: int) -> ShardSizes:
        """Write the order and the sizes; the folder is then whole, and on disk."""
        self._flush()
        for file in self.files.values():
            file.close()
        words = np.concatenate([np.empty(0, np.int32), *self.words])
        self.words = []
        _write_order(self.folder, words)
        so_far = before + self.documents
        sizes = ShardSizes(self.text, self.form, self.tokens, len(words), self.documents, so_far)
        (self.folder / SHARD_META).write_text(json.dumps(asdict(sizes)))
        sync_folder(self.folder)
        return sizes


def _write_order(folder: Path, words: NDArray[np.int32]) -> None:
    """The beginnings of words, in the order of what follows them in the form."""
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        raise lacks("trace_index", "trace") from None
    form = np.fromfile(folder / FORM, np.uint8)
    wanted = np.zeros(len(form), np.bool_)
    wanted[words] = True
    order = divsufsort(form)
    with (folder / ORDER).open("wb") as file:
        for at in range(0, len(order), _AT_ONCE):
            some = order[at : at + _AT_ONCE]
            file.write(some[wanted[some]].tobytes())
    del order, wanted
    places = np.memmap(folder / ORDER, np.int32, "r")[::TOP_EVERY] if len(words) else words
    inside = np.minimum(places[:, None].astype(np.int64) + np.arange(TOP_BYTES), len(form) - 1)
    (folder / TOPS).write_bytes(form[inside].tobytes())
