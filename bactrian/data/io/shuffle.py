"""Rows that come in one order and are wanted in another, on the disk: more of them than fit into memory."""

import json
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from bactrian.data.io.rows import Row

ROWS = 16_384
"""In one bucket, about."""
MOST_BUCKETS = 256
"""Files that are open at a time."""
_JSON = json.JSONEncoder(ensure_ascii=False)


class Shuffle:
    """Takes rows with their places, in any order, and gives them in the order of the places 0 … count − 1.

    A row goes to the file of its bucket, a range of places; then the buckets are read one after the other, each in the
    order of its places. In memory are 16 bytes a row.

    >>> with Shuffle(workspace.scratch, count=2) as shuffle:
    ...     shuffle.put({"text": "b"}, 1)
    ...     shuffle.put({"text": "a"}, 0)
    ...     rows = list(shuffle)
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.width = max(ROWS, -(-count // MOST_BUCKETS))
        self.paths = [folder / f"bucket-{number}" for number in range(-(-count // self.width))]
        self.files: list[BinaryIO] = []
        self.places = [array("q") for _ in self.paths]
        self.ends = [array("q", [0]) for _ in self.paths]

    def __enter__(self) -> Self:
        self.files = [path.open("w+b") for path in self.paths]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file, path in zip(self.files, self.paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def put(self, row: Row, place: int) -> None:
        """Keep a row for its place."""
        bucket = place // self.width
        written = self.files[bucket].write(_JSON.encode(row).encode("utf-8", "surrogatepass"))
        self.places[bucket].append(place)
        self.ends[bucket].append(self.ends[bucket][-1] + written)

    def __iter__(self) -> Iterator[Row]:
        for file, places, ends in zip(self.files, self.places, self.ends, strict=True):
            file.flush()
            if not ends[-1]:
                continue
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
                for number in sorted(range(len(places)), key=places.__getitem__):
                    yield json.loads(held[ends[number] : ends[number + 1]].decode("utf-8", "surrogatepass"))
