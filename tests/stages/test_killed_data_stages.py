"""Data stages killed with SIGKILL: they go on, and leave the files that an undisturbed run leaves."""

import gzip
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io import resumption, writer
from bactrian.data.overlap import scan
from bactrian.stages.data.decontaminate import Decontaminate
from bactrian.stages.data.filter import Filter
from bactrian.stages.data.source import DataSource
from bactrian.stages.stage import Stage
from bactrian.store.artifact import Input, Workspace
from bactrian.store.disk import write_atomically
from bactrian.store.manifest import Kind

QUESTIONS = [f"How many apples does person number {i} have if {i + 3} of them were eaten today?" for i in range(20)]


def row(number: int) -> dict[str, Any]:
    """Of several layouts, some with a column of their own, some to mend, some to drop."""
    question, answer = f"Is {number} {'very ' * (number % 400)}odd?", f"It {'really ' * (number % 300)}is."
    if number % 97 == 0:
        return {"instruction": question, "output": "" if number % 2 else answer, "license": "CC-BY-4.0"}
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    turns += [{"from": "human", "value": QUESTIONS[number % 20]}] if number % 89 == 0 else []
    extra = {"note": "seen"} if number > 9_000 else {}
    return {"conversations": turns} | extra


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "in").mkdir()
    for part in range(4):
        lines = [json.dumps(row(number)) for number in range(part * 4_000, part * 4_000 + 4_000)]
        lines[1234] = "{"
        if part == 0:  # of another kind than most: what was decided of it must outlive a kill
            lines[:40] = [json.dumps({"text": f"Once upon a time {number}."}) for number in range(40)]
        (folder / "in" / f"{part}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    texts = [QUESTIONS[n % 20] if n % 7 == 0 else f"{n} " * 30 for n in range(8_000)]
    rows = [{"id": str(n), "source": f"s{n % 2}", "license": "MIT", "text": text} for n, text in enumerate(texts)]
    (folder / "train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (folder / "gsm8k_test.jsonl").write_text("".join(json.dumps({"question": q}) + "\n" for q in QUESTIONS))
    return folder


def workspace(files: Path, name: str) -> Workspace:
    inputs = {ref: Input(ref, files / ref, Kind.DATA, "c0ffee") for ref in ("in", "train.jsonl", "gsm8k_test.jsonl")}
    return Workspace.temporary(files / name, inputs)


def make(stage: Stage, files: Path, name: str) -> None:
    """What a process does that is killed: the stage, with its state saved as often as it may be."""
    writer.GROUP_ROWS = 500
    resumption.SECONDS_BETWEEN_SAVES = scan.SECONDS_BETWEEN_PARTS = 0.0
    for module in (resumption, scan):
        module.write_atomically = slowly  # type: ignore[attr-defined]
    stage.run(workspace(files, name))


def slowly(path: Path, text: str) -> None:
    """So that the test's eye sees each state."""
    write_atomically(path, text)
    time.sleep(0.2)


def kill_after(stage: Stage, files: Path, name: str, state: str, saves: int) -> None:
    """Start the stage in a process of its own and kill it when it has saved its state so many times."""
    process = multiprocessing.get_context("spawn").Process(target=make, args=(stage, files, name))
    process.start()
    path, seen = files / name / "scratch" / state, set[bytes]()
    before = path.read_bytes() if path.exists() else b""
    until = time.monotonic() + 60
    while len(seen) < saves:
        assert process.is_alive() and time.monotonic() < until, f"it ended before its state was saved {saves} times"
        if path.exists() and (now := path.read_bytes()) not in (b"", before):
            seen.add(now)
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


RULES: Any = [{"rule": "length", "least": 20}, {"rule": "pattern", "patterns": ["^1[2-6]"]}, {"rule": "hygiene"}]
STAGES = [
    (DataSource(data="in", license="MIT", bad_limit=0.5), resumption.STATE),
    (Filter(data="train.jsonl", rules=RULES), resumption.STATE),
    (Decontaminate(data=["train.jsonl"], against=["gsm8k_test.jsonl"], share=0.0), scan.STATE),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "state"), STAGES, ids=["source", "filter", "decontaminate"])
def test_killed_twice_it_ends_as_if_undisturbed(
    stage: Stage, state: str, files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writer, "GROUP_ROWS", 500)
    stage.run(workspace(files, f"{stage.name}-whole"))
    kill_after(stage, files, f"{stage.name}-cut", state, 2)
    kill_after(stage, files, f"{stage.name}-cut", state, 1)
    capfd.readouterr()
    stage.run(workspace(files, f"{stage.name}-cut"))
    assert "resuming after" in capfd.readouterr().err
    assert hashes(files / f"{stage.name}-cut" / "output") == hashes(files / f"{stage.name}-whole" / "output")
