"""The data stages on a local Ray cluster of two workers: what they make is, byte for byte, what one process makes."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.cluster import read_shard, shards
from bactrian.data.io.files import stream_rows
from bactrian.data.io.writer import RowWriter
from bactrian.errors import BactrianError
from bactrian.stages.data.deduplicate import Deduplicate
from bactrian.stages.data.filter import Filter
from bactrian.stages.data.mix import Mix
from bactrian.stages.data.tag import Tag
from bactrian.stages.stage import Stage
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

Row = dict[str, Any]


def rows(count: int, name: str) -> list[Row]:
    return [
        {
            "id": f"{name}{n}",
            "messages": [
                {"role": "user", "content": f"{name} asks {n % 50} things"},
                {"role": "assistant", "content": f"answer {n % 37} " * (n % 9 + 1)},
            ],
            "source": name,
            "license": "MIT",
        }
        for n in range(count)
    ]


def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two sources, of Parquet in several row groups, and of JSONL in two files."""
    import json

    monkeypatch.setattr("bactrian.data.io.writer.GROUP_ROWS", 300)
    with RowWriter(folder / "a") as writer:
        for row in rows(1000, "a"):
            writer.write(row)
    (folder / "b").mkdir()
    for part in range(2):
        lines = [json.dumps(row) for row in rows(150, f"b{part}")]
        (folder / "b" / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    return {"a": folder / "a", "b": folder / "b"}


def write_documents(folder: Path) -> Path:
    """Two files of texts, with a row that is none."""
    folder.mkdir()
    for part in range(2):
        lines = [f'{{"id": "{part}-{n}", "text": "Line {n}.\\nThe {n}th of the lines"}}' for n in range(150)]
        lines[part * 7] = '{"id": "x"}' if part else "{"
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_shards_are_the_stream_cut_into_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in write(tmp_path, monkeypatch).items():
        parts = shards(path)
        assert len(parts) == {"a": 4, "b": 2}[name]
        assert [each for part in parts for each in read_shard(part, path.name, "conversation")] == list(
            stream_rows(path, "conversation")
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'bactrian[ray]'")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    nodes.shutdown()


STAGES: list[Stage] = [
    Filter(data="a", rules=[{"rule": "length", "least": 7}, {"rule": "personal"}]),
    Filter(data="b", rules=[{"rule": "length", "least": 7}]),
    Deduplicate(data=["b", "a"], ngram=2),
    Mix(sources=[{"data": "a", "amount": 0.3}, {"data": "b", "amount": 400}]),
    Tag(data="c", taggers=["gopher", "c4"]),
]


@pytest.mark.slow
def test_a_stage_makes_the_same_on_a_cluster(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {name: Input(name, path, Kind.DATA, "") for name, path in write(tmp_path, monkeypatch).items()}
    inputs["c"] = Input("c", write_documents(tmp_path / "c"), Kind.DATA, "")
    for number, stage in enumerate(STAGES):
        here = Workspace.temporary(tmp_path / f"{number}-here", inputs)
        there = Workspace.temporary(tmp_path / f"{number}-there", inputs)
        there.hardware = dataclasses.replace(Hardware(), data="ray")
        stage.run(here)
        stage.run(there)
        for file in sorted(here.output.iterdir()):
            assert file.read_bytes() == (there.output / file.name).read_bytes(), (stage, file.name)
        assert here.metrics == there.metrics


@pytest.mark.slow
def test_a_bad_row_is_named_from_the_cluster_too(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "t"}\n{"id": "2", "text":\n')
    workspace = Workspace.temporary(tmp_path / "out", {"a": Input("a", tmp_path / "a.jsonl", Kind.DATA, "")})
    workspace.hardware = dataclasses.replace(Hardware(), data="ray")
    with pytest.raises(BactrianError, match=r"a\.jsonl, line 2, column 20: not JSON"):
        Filter(data="a", rules=[{"rule": "length"}]).run(workspace)
