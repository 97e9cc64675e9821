"""What is kept of each row while looking for duplicates: 25 bytes in memory, and its MinHash signature on the disk."""

from array import array
from bisect import bisect_right
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bactrian.data.curate.duplicates import PLACES, Numbers, Signatures, signatures, text_key
from bactrian.data.io.rows import Row, licence_of
from bactrian.data.io.texts import answer_text, prompt_text, whole_text
from bactrian.errors import BactrianError

_KEY = 16


class Fingerprint(NamedTuple):
    """Of one row: the key of its text, the marks of its licence, the length of its answer or text, its signature."""

    key: bytes
    marks: int
    length: int
    signature: bytes  # empty where near duplicates are not asked for


def fingerprint(located: list[tuple[Row, str]], of: str, words: int) -> list[Fingerprint]:
    """The fingerprints of some rows; `of`: "whole" or "prompt", `words` of an n-gram, 0 for no
    signatures.

    Raises:
        BactrianError: for a row without text: it would be a duplicate of every other such row.
    """
    texts = [prompt_text(row) if of == "prompt" else whole_text(row) for row, _ in located]
    for text, (row, where) in zip(texts, located, strict=True):
        if not text.strip():
            raise BactrianError(f"{where}: found no text to compare in the fields {', '.join(map(str, row))}")
    places = [line.tobytes() for line in signatures(texts, words)] if words else [b""] * len(texts)
    lengths = [len(answer_text(row)) or len(text) for (row, _), text in zip(located, texts, strict=True)]
    marks = [len(licence_of(row).marks) for row, _ in located]
    return list(map(Fingerprint, map(text_key, texts), marks, lengths, places))


class Fingerprints:
    """Fingerprints of the rows of several sources, numbered through in the order in which they were added.

    >>> with Fingerprints(workspace.scratch, near=True) as prints:
    ...     prints.begin("oasst")
    ...     prints.add(fingerprint([(row, where)], "whole", 5)[0])
    """

    def __init__(self, folder: Path, near: bool) -> None:
        self.count = 0
        self._path = folder / "signatures" if near else None
        self._file = self._path.open("wb") if self._path else None
        self._keys, self._marks, self._lengths = bytearray(), array("b"), array("q")
        self._names: list[str] = []
        self._starts: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def begin(self, source: str) -> None:
        """What is added from now on is of this source."""
        self._names.append(source)
        self._starts.append(self.count)

    def add(self, one: Fingerprint) -> None:
        """Add the next row's."""
        self._keys += one.key
        self._marks.append(min(one.marks, 127))
        self._lengths.append(one.length)
        if self._file is not None:
            self._file.write(one.signature)
        self.count += 1

    def source_of(self, row: int) -> str:
        """The name of the source of row number `row`."""
        return self._names[bisect_right(self._starts, row) - 1]

    @property
    def keys(self) -> NDArray[np.void]:
        """[count] 16-byte keys."""
        return np.frombuffer(bytes(self._keys), dtype=f"V{_KEY}")

    @property
    def marks(self) -> Numbers:
        """[count] licence marks, fewer are better."""
        return np.array(self._marks, dtype=np.int64)

    @property
    def lengths(self) -> Numbers:
        """[count] characters of the answer, or of the text where there is none; more are better."""
        return np.array(self._lengths, dtype=np.int64)

    @property
    def signatures(self) -> Signatures:
        """[count, PLACES], mapped from the disk. Only once all are added."""
        if self._path is None or not self.count:
            return np.zeros((self.count, PLACES), dtype=np.uint32)
        return np.memmap(self._path, dtype=np.uint32, mode="r", shape=(self.count, PLACES))
