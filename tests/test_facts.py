"""Sizes of models and data from the headers of their files."""

import gzip
import json
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.facts import facts_of
from bactrian.stages.stage import Facts
from bactrian.store.manifest import Kind


def safetensors(path: Path, **shapes: list[int]) -> None:
    tensors = {name: {"shape": shape} for name, shape in shapes.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())


def test_a_model_s_parameters_are_counted_over_all_files(tmp_path: Path) -> None:
    safetensors(tmp_path / "model-1.safetensors", a=[2, 3], b=[4])
    safetensors(tmp_path / "model-2.safetensors", scalar=[])
    assert facts_of(tmp_path, Kind.MODEL) == Facts(parameters=11)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\x00" * 7 + b"[]", b"\x04" + b"\x00" * 7 + b"null"])
def test_weights_that_are_none_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BactrianError, match=r"model\.safetensors: found no safetensors header"):
        facts_of(tmp_path, Kind.MODEL)


def test_rows_are_counted_in_every_format(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    lines = b'{"text": "12345678"}\n' * 10
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    (tmp_path / "README.md").write_text("a card")
    assert facts_of(tmp_path / "a.jsonl", Kind.DATA) == Facts(rows=10, tokens_per_row=len(lines) / 40)
    assert facts_of(tmp_path / "b.jsonl.gz", Kind.DATA) == Facts(rows=10, tokens_per_row=len(lines) / 40)
    assert facts_of(tmp_path, Kind.DATA).rows == 20
    parquet.write_table(pyarrow.table({"text": ["12345678"] * 10}), tmp_path / "c.parquet")
    assert facts_of(tmp_path / "c.parquet", Kind.DATA).rows == 10


def test_of_results_nothing_is_known(tmp_path: Path) -> None:
    assert facts_of(tmp_path, Kind.RESULTS) == Facts()
