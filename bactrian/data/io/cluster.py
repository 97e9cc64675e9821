"""Rows on a Ray cluster: Ray Data reads parts of files, works on them and streams the results back in order.

Every node must see the files under the same path. Ray decides what runs where and when, and does again what failed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from bactrian.data.io.files import data_files, scan_rows
from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import Row, RowKind, complete_row, drop_nulls, validate_row
from bactrian.errors import BactrianError
from bactrian.store.extras import lacks
from bactrian.store.ray_session import ray_session

T = TypeVar("T")
_BATCH = 500
before_mapping: list[Callable[[], None]] = []
"""What is called before rows are given to the cluster: who has room there that lies idle gives it up."""


@dataclass(frozen=True)
class Shard:
    """What one task reads: a whole file, or one row group of a Parquet file, whose first row is number `first` + 1."""

    file: Path
    group: int | None = None
    first: int = 0


@dataclass(frozen=True)
class Refusal:
    """The message of a BactrianError, sent as a result: Ray would try again, and wrap it in its own."""

    message: str


def map_on_ray(
    function: Callable[[list[tuple[Row, str]]], list[T]],
    path: Path,
    kind: RowKind | None = None,
    scanned: bool = False,
) -> Iterator[T]:
    """As `parallel.map_rows`, on the cluster that RAY_ADDRESS names, or else on one started on this machine."""
    ray = connected('hardware, field "data": "ray"')
    for give_up in before_mapping:
        give_up()
    found = [
        {"file": str(shard.file), "group": -1 if shard.group is None else shard.group, "first": shard.first}
        for shard in shards(path.resolve())
    ]

    def work(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        group = int(batch["group"][0])
        shard = Shard(Path(str(batch["file"][0])), None if group < 0 else group, int(batch["first"][0]))
        try:
            rows = scan_shard(shard) if scanned else read_shard(shard, path.name, kind)
            while some := list(islice(rows, _BATCH)):
                yield {"results": _objects(function(some))}
        except BactrianError as error:
            yield {"results": _objects([Refusal(str(error))])}

    dataset = ray.data.from_items(found, override_num_blocks=len(found)).map_batches(work, batch_size=1)
    return _results(dataset)


def connected(what: str) -> Any:
    """The module `ray`, connected, with Ray Data set up: rows in order, and no bars of its own.

    Raises:
        BactrianError: `what` needs Ray, and it is not installed; or no cluster answers.
    """
    ray = ray_session(what)
    try:
        from ray.data import DataContext
    except ImportError:
        raise lacks(what, "ray") from None
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return ray


def _results(dataset: Any) -> Iterator[Any]:
    for batch in dataset.iter_batches(batch_size=None):
        for result in batch["results"]:
            if isinstance(result, Refusal):
                raise BactrianError(result.message)
            yield result


def shards(path: Path) -> list[Shard]:
    """The parts of a file or folder, in the order of its rows: row groups of Parquet, whole files of other formats."""
    found: list[Shard] = []
    for file in data_files(path):
        if file.suffix != ".parquet":
            found.append(Shard(file))
            continue
        metadata, first = pq.ParquetFile(file).metadata, 0
        for group in range(metadata.num_row_groups):
            found.append(Shard(file, group, first))
            first += metadata.row_group(group).num_rows
    return found


def read_shard(shard: Shard, name: str, kind: RowKind | None) -> Iterator[tuple[Row, str]]:
    """The rows of a shard and where they stand, as `stream_rows` gives them of the whole, which is called `name`."""
    for row, where in scan_shard(shard):
        if isinstance(row, Fault):
            raise row
        yield (row if kind is None else complete_row(validate_row(row, kind, where), name)), where


def scan_shard(shard: Shard) -> Iterator[tuple[Any, str]]:
    """The same, but with a Fault in place of a row that cannot be read."""
    if shard.group is None:
        yield from scan_rows(shard.file)
        return
    with pq.ParquetFile(shard.file) as opened:
        rows = opened.read_row_group(shard.group).to_pylist()
    for number, row in enumerate(rows, shard.first + 1):
        yield drop_nulls(row), f"{shard.file}, row {number}"


def _objects(results: list[Any]) -> Any:
    """A column of any objects: an array of their references, which Ray stores pickled."""
    import numpy as np

    column = np.empty(len(results), dtype=object)
    column[:] = results
    return column
