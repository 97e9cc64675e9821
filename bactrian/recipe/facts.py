"""How big an input is, from the headers of its files: what a forecast is made of."""

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.stages.stage import Facts
from bactrian.store.hashes import HISTORY, files_below, files_matching
from bactrian.store.manifest import Kind

BYTES_PER_TOKEN = 4.0  # of English text, for data that no tokenizer has seen yet
TEXT_COLUMNS = ("messages", "solution", "prompt", "chosen", "rejected", "text")
"""Columns that a model may read."""
EXPERTS, EMBEDDING, OUTPUT = ".experts.", "embed_tokens.weight", "lm_head.weight"
"""In the names of weights."""
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""What configurations call the number of a layer's experts."""


def facts_of(path: Path, kind: Kind) -> Facts:
    """Parameters of a model, or rows and tokens per row of data, from file headers only (lines are counted)."""
    if kind is Kind.MODEL:
        return _model_facts(path)
    if kind is Kind.DATA:
        counted = [_rows_and_bytes(file) for file in rows_files(path)]
        rows, size = sum(rows for rows, _ in counted), sum(size for _, size in counted)
        return Facts(rows=rows, tokens_per_row=size / rows / BYTES_PER_TOKEN if rows else 0.0)
    return Facts()


def rows_files(path: Path) -> list[Path]:
    """A file, an artifact's rows (and not what else it says of them), all files below a folder, or a pattern's."""
    if path.is_file():
        return [path]
    if (path / "data.parquet").is_file():
        return [path / "data.parquet"]
    return list(files_below(path)) if path.exists() else files_matching(path)


def _model_facts(folder: Path) -> Facts:
    """Parameters, and those that a token is multiplied by: of experts its share, and no embedding beside an output."""
    sizes = {name: size for file in folder.glob("*.safetensors") for name, size in _sizes(file).items()}
    whole, experts = sum(sizes.values()), sum(size for name, size in sizes.items() if EXPERTS in name)
    output = any(name.endswith(OUTPUT) for name in sizes)
    embedding = sum(size for name, size in sizes.items() if name.endswith(EMBEDDING)) if output else 0
    active = whole - embedding - round(experts * (1 - _share_of_experts(folder))) if experts else whole - embedding
    return Facts(parameters=whole, active=active if active < whole else 0)


def _share_of_experts(folder: Path) -> float:
    """Of a mixture's experts those that a token goes through, by its configuration; all where that does not say."""
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        most = next(int(config[name]) for name in EXPERT_COUNTS if config.get(name))
        return min(1.0, int(config["num_experts_per_tok"]) / most)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, StopIteration):
        return 1.0


def _sizes(file: Path) -> dict[str, int]:
    """Numbers in each tensor of a safetensors file, by its header: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header: Any = json.loads(stream.read(length)) if length < file.stat().st_size else None
            return {name: math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BactrianError(f"{file}: found no safetensors header, expected the weights of a model") from None


def _rows_and_bytes(file: Path) -> tuple[int, int]:
    """Rows, and bytes of their text, in a Parquet file or one of lines; (0, 0) for any other, and for a damaged one.

    What is wrong with a file is said by the stage that reads it, which may do without its bad rows.
    """
    if file.suffix == ".parquet":
        from pyarrow import ArrowException, parquet

        try:
            metadata = parquet.ParquetFile(file).metadata
        except (OSError, ArrowException):
            return 0, 0
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        text = [column for column in columns if column.path_in_schema.split(".")[0] in TEXT_COLUMNS] or columns
        return metadata.num_rows, sum(column.total_uncompressed_size for column in text)
    if file.name.removesuffix(".gz").endswith((".jsonl", ".csv", ".txt")) and file.name not in HISTORY:
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
                sizes = [len(line) for line in lines]
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return 0, 0
        return len(sizes), sum(sizes)
    return 0, 0
