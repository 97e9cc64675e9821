"""Where nothing moves it is said what is waited for, and where; and the stacks can be had."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bactrian.data.io.parallel import map_stream
from bactrian.errors import BactrianError
from bactrian.progress import moved, progress
from bactrian.store.processes import Processes, joint
from bactrian.store.watchdog import NOTICE, STACKS, patience, waits_for, watched
from bactrian.verify import Item, Pool
from bactrian.verify.registry import register
from bactrian.verify.verdict import Problem, Verdict


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(NOTICE, "0.1")
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def until_said(capsys: pytest.CaptureFixture[str], text: str, seconds: float = 20.0) -> str:
    """What standard error says, once it says this."""
    said, end = "", time.monotonic() + seconds
    while text not in said and time.monotonic() < end:
        time.sleep(0.02)
        said += capsys.readouterr().err
    return said


def test_what_is_waited_for_and_where_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched('step "rl"', tmp_path), waits_for(lambda: "3 answers of the server http://s"), waits_for("worker 7"):
        said = until_said(capsys, "stacks of all threads")
    first = said.splitlines()[0]
    assert first.startswith('step "rl": nothing has moved for ')
    assert "; it waits for 3 answers of the server http://s, for " in first and "; it waits for worker 7, for " in first
    assert f"kill -USR1 {os.getpid()}" in first
    assert "until_said" in (tmp_path / STACKS).read_text(), "the stack of the thread that waits"


def test_our_own_line_is_named_and_what_it_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def slow(rows: list[tuple[dict[str, object], str]]) -> list[int]:
        said.append(until_said(capsys, "nothing has moved"))
        return [0] * len(rows)

    said: list[str] = []
    with watched("step", tmp_path):
        list(map_stream(slow, [({}, "here")]))
    assert "it is at bactrian/data/io/parallel.py:" in said[0] and ", map_stream, in sleep" not in said[0]
    assert "until_said (test_watchdog.py)" in said[0]


def test_what_moves_is_left_in_peace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watched("step", tmp_path), progress("training") as bar:
        for _ in range(30):
            time.sleep(0.02)
            bar.advance()
            moved()
    assert "nothing has moved" not in capsys.readouterr().err and not (tmp_path / STACKS).exists()


def test_a_process_of_several_says_which_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with joint(Processes(3, 8)), watched("step", tmp_path):
        assert "process 3 of 8, step: nothing has moved" in until_said(capsys, "nothing has moved")


def test_slow_verifiers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    @register("slow", examples=[], place="thread")
    def slow(problem: Problem, completion: str) -> Verdict:
        said.append(until_said(capsys, "it waits for verdicts on 1 answers"))
        return Verdict(1.0, "right", completion, "")

    with watched("step", tmp_path), Pool(workers=1) as pool:
        pool.verify_all([Item("slow", "yes", "yes")])
    assert "it waits for verdicts on 1 answers that run programs" in said[0]


def test_stacks_come_when_they_are_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom bactrian.store.watchdog import watched\n"
        "def stuck():\n    print('in', flush=True)\n    time.sleep(60)\n"
        f"with watched('step', Path({str(tmp_path)!r})):\n    stuck()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {NOTICE: "60"},
    )
    assert process.stdout is not None and process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    killer = threading.Timer(20.0, process.kill)  # a line that does not come is not waited for
    killer.start()
    assert any(b"in stuck" in line for line in process.stderr)
    killer.cancel()
    process.kill()
    process.wait()


@pytest.mark.parametrize("given", ["soon", "0", "-3", "inf", "nan"])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(NOTICE, given)
    with pytest.raises(BactrianError, match=f"{NOTICE}: found '{given}', expected seconds"):
        patience()
