"""Writing rows as a stream: one file, the same whatever the groups; nothing left behind by an error or a kill."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_files import ROW

from bactrian.data.io import writer
from bactrian.data.io.files import RowWriter, read_rows, stream_rows, write_rows
from bactrian.data.io.rows import drop_nulls
from bactrian.errors import BactrianError


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=8), group=st.integers(1, 3))
def test_groups_change_neither_rows_nor_schema(
    rows: list[dict[str, Any]], group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(rows, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "GROUP_ROWS", group)
        write_rows(rows, tmp_path / "groups")
    assert read_rows(tmp_path / "groups") == drop_nulls(rows)
    files = [tmp_path / name / "data.parquet" for name in ("whole", "groups")]
    assert pq.read_schema(files[0]) == pq.read_schema(files[1])
    assert pq.ParquetFile(files[1]).num_row_groups == -(-len(rows) // group)
    assert (tmp_path / "whole" / "README.md").read_text() == (tmp_path / "groups" / "README.md").read_text()
    assert sorted(file.name for file in (tmp_path / "groups").iterdir()) == ["README.md", "data.parquet"]


LATE: list[list[dict[str, Any]]] = [
    [{"id": "1"}, {"id": "2", "text": "late"}],
    [{"id": "1", "n": None}, {"id": "2", "n": 3}, {"id": "3", "n": 0.5}],
    [{"id": "1", "tags": []}, {"id": "2", "tags": ["a"]}],
    [{"id": "1", "meta": {"z": 1}}, {"id": "2", "meta": {"a": [{"deep": "x"}]}}, {"id": "3", "meta": {"a": []}}],
    [
        {"messages": [{"role": "user", "content": "a"}]},
        {"messages": [{"role": "assistant", "content": "b", "reasoning_content": "c", "weight": 0.0}]},
        {"messages": [{"role": "user", "content": "a"}], "zeta": True},
    ],
]


@pytest.mark.parametrize("rows", LATE)
def test_what_turns_up_late(rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(rows, tmp_path / "whole")
    monkeypatch.setattr(writer, "GROUP_BYTES", 1)
    write_rows(rows, tmp_path / "late")
    assert read_rows(tmp_path / "late") == read_rows(tmp_path / "whole") == drop_nulls(rows)
    late, whole = (pq.read_schema(tmp_path / name / "data.parquet") for name in ("late", "whole"))
    assert late == whole


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"level": 1}, {"level": "high"}], "column 'level': its values do not have one type: int64 and string"),
        ([{"level": True}, {"level": 1}], "column 'level': its values do not have one type"),
        ([{"level": 2**60 + 1}, {"level": 0.5}], "column 'level': its values do not have one type"),
        ([{"tags": ["a"]}, {"tags": [1]}], "column 'tags': its values do not have one type"),
        ([{"meta": {"a": 1}}, {"meta": {}}], ""),
    ],
)
def test_types_that_differ_between_groups(
    rows: list[Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GROUP_ROWS", 1)
    if not complaint:
        write_rows(rows, tmp_path)
        return
    with pytest.raises(BactrianError, match=complaint):
        write_rows(rows, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_file_and_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".data.parquet.3").write_bytes(b"half a file")
    with pytest.raises(ZeroDivisionError), RowWriter(tmp_path) as rows:
        rows.write({"text": "a"})
        rows.write({"text": str(1 / 0)})
    assert list(tmp_path.iterdir()) == []
    with RowWriter(tmp_path) as rows:
        rows.write({"text": "a", "license": "MIT", "source": "s"})
        rows.card = "# Known at the end"
    assert rows.count == 1 and next(stream_rows(tmp_path))[1].endswith("data.parquet, row 1")
    assert (tmp_path / "README.md").read_text().startswith("# Known at the end\n\n1 rows.")
