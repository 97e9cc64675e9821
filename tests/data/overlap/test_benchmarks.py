"""Which files are which benchmark, and which of their fields are compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.overlap.benchmarks import KNOWN, known_as, read_benchmarks
from bactrian.errors import BactrianError

SHARED = Path(__file__).parents[4] / "shared" / "data"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_names_are_known_once() -> None:
    assert len({known.name for known in KNOWN}) == len(KNOWN)
    for known in KNOWN:
        for pattern in known.files:
            assert known_as(pattern.rstrip("*") + ".jsonl") is known, "an earlier entry takes this one's files"


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [
        ("gsm8k_test.dev.jsonl", "gsm8k"),
        ("openai/gsm8k", "gsm8k"),
        ("math500.dev.jsonl", "math500"),
        ("math_test_minus500.dev.jsonl", "math"),
        ("coconot_contrast_eval.jsonl", "coconot-contrast"),
        ("gsm8k_train.jsonl.gz", None),
        ("mbpp_train_val.jsonl", None),
        ("math_train_answers.jsonl.gz", None),
        ("commonsenseqa_train.jsonl.gz", None),
    ],
)
def test_test_files_are_known_and_training_files_are_not(name: str, benchmark: str | None) -> None:
    found = known_as(name)
    assert (found and found.name) == benchmark


def test_fields_of_all_forms(tmp_path: Path) -> None:
    svamp = write(tmp_path / "svamp.jsonl", {"ID": "1", "Body": "Ann has 3.", "Question": "How many?"})
    assert [item.fields for item in read_benchmarks(svamp, "svamp.jsonl", {})] == [("Ann has 3.\nHow many?",)]
    popqa = write(tmp_path / "popqa.jsonl", {"id": "p", "metadata": {"subj": "Easy Living", "prop": "composer"}})
    (item,) = read_benchmarks(popqa, "popqa.jsonl", {})
    assert (item.benchmark, item.id, item.fields) == ("popqa", "p", ("Easy Living", "composer"))
    turns = write(tmp_path / "mt_bench_questions.jsonl", {"turns": ["One.", "Two."]})
    assert read_benchmarks(turns, str(turns), {})[0].fields == ("One.\nTwo.",)
    own = write(tmp_path / "mine.jsonl", {"messages": [{"role": "user", "content": "Why?"}]}, {"prompt": "How?"})
    assert [item.fields for item in read_benchmarks(own, str(own), {})] == [("Why?",), ("How?",)]
    other = write(tmp_path / "other.jsonl", {"ask": "What?", "n": 3})
    assert read_benchmarks(other, str(other), {"other.jsonl": ["ask"]})[0].fields == ("What?",)
    with pytest.raises(BactrianError, match=r"other.jsonl, line 1: field 'n': found int, expected text"):
        read_benchmarks(other, str(other), {"other.jsonl": ["n"]})


def test_a_download_from_the_hub_is_its_test_split(tmp_path: Path) -> None:
    write(tmp_path / "main" / "train-0.jsonl", {"question": "Train?"})
    write(tmp_path / "main" / "test-0.jsonl", {"question": "Test?"})
    assert [item.text for item in read_benchmarks(tmp_path, "openai/gsm8k@abc", {})] == ["Test?"]


def test_a_folder_without_benchmarks(tmp_path: Path) -> None:
    write(tmp_path / "notes.jsonl", {"text": "x"})
    with pytest.raises(BactrianError, match="no file that is known to be a benchmark"):
        read_benchmarks(tmp_path, "there", {})


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real files beside the clone, ../shared/data")
def test_every_real_file_is_read() -> None:
    items = read_benchmarks(SHARED, "data", {})
    names = {item.benchmark for item in items}
    assert len(items) > 45_000 and len(names) > 45
    empty = [item for item in items if not item.text.strip()]
    assert not empty, "a field that the table names is not in the file"
