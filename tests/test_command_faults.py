"""Bad input to `trace`, `data`, `compare`, `launch`: one clear error, no traceback, and nothing of it left behind."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bactrian.cli.main import commands, invoke
from bactrian.evaluate.comparison import compare_task, difference
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import BITS, Averaging

ROW = {"messages": [{"role": "user", "content": "one ?"}, {"role": "assistant", "content": "two"}]}
CUT = b"\x1f\x8b\x08\x00" + b"\x00" * 5
ANSWER = "some words of an answer here"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bactrian.run.make.prepare", lambda hardware, seed: None)
    monkeypatch.setenv("BACTRIAN_NO_REEXEC", "1")
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text(json.dumps(ROW) + "\n")
    Path("fake.parquet").write_bytes(b"PAR1 is not all of it")
    Path("cut.jsonl.gz").write_bytes(CUT)
    Path("folder").mkdir()
    Path("blank.txt").write_text(" \n")
    Path("recipe.yaml").write_text("name: x\nsteps:\n  a: {stage: source, data: good.jsonl}\n")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = invoke(arguments)
    error = capsys.readouterr().err
    assert status == 2 and "Traceback" not in error and "interrupted" not in error, error
    return error


TRACED = {
    ("", "good.jsonl"): ["MODEL_OUTPUT: found no words"],
    ("blank.txt", "good.jsonl"): ["blank.txt: found no words, expected an answer"],
    ("folder", "good.jsonl"): ["folder: found a folder, expected a file"],
    (ANSWER, "fake.parquet"): ["fake.parquet", "not a Parquet file, or damaged"],
    (ANSWER, "cut.jsonl.gz"): ["cut.jsonl.gz", "cut off or damaged"],
}


@pytest.mark.parametrize(("arguments", "parts"), TRACED.items())
def test_trace(capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], parts: list[str]) -> None:
    error = refused(capsys, "trace", arguments[0], "--corpus", arguments[1])
    assert all(part in error for part in parts), error
    assert not list(Path().glob("runs/artifacts/*/manifest.json"))


def evaluation(folder: str, about: object, **columns: Any) -> str:
    plain = Record("q", 0, "?", "!", "1", "1", 1.0, "right", 1, "stop")
    row = {name: value for name, value in vars(plain).items() if name != "values"} | {"values": "{}"}
    row |= {"model": "a", "task": "t", "mode": "greedy"} | columns
    Path(folder).mkdir()
    pq.write_table(pa.Table.from_pylist([row, row | {"question": "r"}]), f"{folder}/questions.parquet")
    Path(folder, "results.json").write_text(json.dumps({"tasks": about}))
    return folder


COMPARED: dict[str, tuple[object, dict[str, Any], list[str]]] = {
    "values that are no JSON": ({}, {"values": "{"}, ["questions.parquet, row 1, field 'values'", "found '{'"]),
    "values that are no numbers": ({}, {"values": '{"acc": "x"}'}, ["row 1, field 'values'", "object of numbers"]),
    "a task that is a text": ({"t": "what"}, {}, ["task t: found 'what', expected an object"]),
    "a mode that is a text": ({"t": {"greedy": "what"}}, {}, ["task t: found 'what', expected an object"]),
    "a k that is a word": (
        {"t": {"metric": "pass@10", "k": "many"}},
        {},
        ["task t, field k", "'many'", "expected int"],
    ),
    "a metric that is a number": ({"t": {"metric": 5}}, {}, ["task t, field metric: found 5, expected str"]),
    "no bits": ({"t": {"metric": BITS}}, {}, ["task t, question q", "expected bits and bytes"]),
    "no bytes": ({"t": {"metric": BITS}}, {"values": '{"bits": 9, "bytes": 0}'}, ["question q", "more than 0"]),
}


@pytest.mark.parametrize("what", COMPARED)
def test_compare(capsys: pytest.CaptureFixture[str], what: str) -> None:
    about, columns, parts = COMPARED[what]
    folder = evaluation("results", about, **columns)
    error = refused(capsys, "compare", folder, folder)
    assert all(part in error for part in parts), error


def test_compare_with_a_log_whose_sample_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sample = {"arguments": [["q", "a"]], "filtered_resps": [], "resps": [], "acc": 1}
    Path("samples_x_2026.jsonl").write_text(json.dumps(sample) + "\n")
    error = refused(capsys, "compare", "samples_x_2026.jsonl", "samples_x_2026.jsonl")
    assert "samples_x_2026.jsonl, line 1: not a harness's sample" in error and "filtered_resps" in error


def test_one_question_alone_proves_nothing() -> None:
    found = difference([1.0], [0.5], means=True)
    assert (found.difference, found.p, found.interval) == (-0.5, 1.0, (-1.0, 1.0))
    twice = [Record("q", n, "?", "!", "1", "1", float(n), ("wrong", "right")[n], 1, "stop") for n in range(2)]
    assert compare_task("t", Averaging(), twice, twice[:1]).comparison.p == 1.0


@pytest.mark.parametrize("option", ["--hours", "--price"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_launch(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    error = refused(capsys, "launch", "recipe.yaml", "--for", "slurm", option, value, "--output", "job.sh")
    assert option in error and value in error and not Path("job.sh").exists()


def test_no_number_of_the_command_line_may_be_nan() -> None:
    import click

    from bactrian.cli.shared_options import FiniteRange

    def options(command: click.Command) -> list[click.Parameter]:
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return [*command.params, *(each for one in inner for each in options(one))]

    ranges = [each for each in options(commands) if isinstance(each.type, click.FloatRange)]
    assert len(ranges) > 8 and [each.name for each in ranges if not isinstance(each.type, FiniteRange)] == []


def test_a_file_that_ends_too_early_is_no_interrupt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Click takes EOFError for the end of what is typed, and a run that failed was told as one that was stopped."""

    def ended(*arguments: object) -> None:
        raise EOFError("compressed file ended")

    monkeypatch.setattr("bactrian.cli.data_command._found", ended)
    assert invoke(["data", "good.jsonl"]) == 1
    error = capsys.readouterr().err
    assert "compressed file ended" in error and "interrupted" not in error
