"""Tokens of documents in flat files, as OLMo-core and the Dolma toolkit have them: numbers alone, without a header.

`part-00000.npy` holds the tokens of documents one after the other, each with the end token after it, as uint16 or
uint32; `part-00000.csv.gz` has a line start,end,id,source,place for each document; `tokens.json` says what is in them.
"""

import csv
import gzip
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bactrian.errors import BactrianError

ABOUT = "tokens.json"
TOKENIZER = "tokenizer"
"""A folder beside the tokens with their tokenizer, where it was made for them."""
DtypeName = Literal["uint16", "uint32"]


@dataclass(frozen=True)
class TokenShard:
    """One pair of files, by the name of the first."""

    file: str
    tokens: int
    documents: int


@dataclass(frozen=True)
class TokenSet:
    """What tokens.json says. end: the token after each document. vocabulary: tokens are below it."""

    dtype: DtypeName
    end: int
    vocabulary: int
    shards: list[TokenShard] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """In all shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def documents(self) -> int:
        """In all shards."""
        return sum(shard.documents for shard in self.shards)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Of a folder; the files are looked at, so that one cut short is found here.

        Raises:
            BactrianError: where there is none, it is not in form, or a file has another length than it says.
        """
        path = folder / ABOUT
        try:
            said = json.loads(path.read_text())
            found = cls(**said | {"shards": [TokenShard(**shard) for shard in said["shards"]]})
        except FileNotFoundError:
            raise BactrianError(
                f"{folder}: found no {ABOUT}, expected files of tokens that stage tokenize made"
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise BactrianError(f"{path}: not what stage tokenize writes: {error!r:.200}") from None
        for shard in found.shards:
            file = folder / shard.file
            size = file.stat().st_size if file.is_file() else -1
            if size != shard.tokens * np.dtype(found.dtype).itemsize:
                raise BactrianError(f"{file}: found {size:,} bytes, expected {shard.tokens:,} tokens of {found.dtype}")
        return found


class TokenWriter:
    """Writes documents into shards of at most `most` tokens, but for a longer document, which has one of its own.

    >>> with TokenWriter(folder, "uint16", end=0, vocabulary=100) as writer:
    ...     writer.write(ids, "id", "source", "file, line 3")
    """

    def __init__(self, folder: Path, dtype: DtypeName, end: int, vocabulary: int, most: int = 2**28) -> None:
        self.folder, self.most = folder, most
        self.about = TokenSet(dtype, end, vocabulary)
        self._files: tuple[IO[bytes], Any, Any] | None = None
        self._tokens = self._documents = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in (*self.folder.glob("part-*.npy"), *self.folder.glob("part-*.csv.gz")):
            left_by_a_kill.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()
        if kind is None:
            (self.folder / ABOUT).write_text(json.dumps(asdict(self.about), indent=1) + "\n")

    def write(self, ids: NDArray[np.integer], document: str, source: str, place: str) -> None:
        """Add a document; `ids` without the end token.

        Raises:
            BactrianError: for an id that is the end token, or is outside the vocabulary.
        """
        about = self.about
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= about.vocabulary or (ids == about.end).any()):
            raise BactrianError(
                f"{place}: document {document} has a token that is the end token {about.end}, or not below "
                f"{about.vocabulary:,}"
            )
        if self._files is not None and self._tokens + len(ids) + 1 > self.most:
            self._close()
        if self._files is None:
            self._open()
        assert self._files is not None
        tokens, _, lines = self._files
        tokens.write(np.append(ids, about.end).astype(about.dtype).tobytes())
        start, self._tokens = self._tokens, self._tokens + len(ids) + 1
        self._documents += 1
        # readers go line by line, so no text may have a line break
        lines.writerow([start, self._tokens, *(" ".join(each.split()) for each in (document, source, place))])

    def _open(self) -> None:
        name = f"part-{len(self.about.shards):05d}"
        packed = gzip.GzipFile(self.folder / f"{name}.csv.gz", "wb", compresslevel=6, mtime=0)
        text = io.TextIOWrapper(packed, "utf-8", newline="", write_through=False)
        self._files = ((self.folder / f"{name}.npy").open("wb"), text, csv.writer(text, lineterminator="\n"))

    def _close(self) -> None:
        if self._files is None:
            return
        tokens, text, _ = self._files
        tokens.close()
        text.close()
        self.about.shards.append(TokenShard(Path(tokens.name).name, self._tokens, self._documents))
        self._files, self._tokens, self._documents = None, 0, 0


def smallest_dtype(vocabulary: int) -> DtypeName:
    """uint16 if all tokens fit into it, as OLMo-core chooses too."""
    return "uint16" if vocabulary <= 2**16 else "uint32"
