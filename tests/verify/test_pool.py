"""Worker processes: order kept, hanging and dying verifiers told apart, nothing left behind."""

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from bactrian.errors import BactrianError
from bactrian.verify import Item, Pool, verify_all, worker_process
from bactrian.verify.gym import chain_sum

pytest.importorskip("reasoning_gym")

NAUGHTY = """
import os, sys, time
from bactrian.verify import worker
from bactrian.verify.registry import VERIFIERS, Verifier, names
from bactrian.verify.verdict import Example, Verdict

names()  # so that none is loaded later, over this one

def check(problem, completion):
    print("noise on stdout")
    if completion == "hang":
        while True:
            try: time.sleep(60)
            except BaseException: pass
    if completion == "spin":
        while True:
            try:
                while True: pass
            except BaseException: pass
    if completion == "die":
        os._exit(3)
    if completion == "eat":
        bytearray(64 << 30)
    if completion.startswith("run "):
        eval(completion[4:])
    if completion == "exit":
        sys.exit(1)
    return Verdict(1.0, "right", str(os.getpid()), completion)

VERIFIERS.clear()
VERIFIERS["reasoning_gym"] = Verifier(check, (Example("a", "", "right"),), place="worker")
worker.main()
"""


@pytest.fixture
def naughty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers whose verifier hangs, dies or eats memory when told to."""
    (tmp_path / "naughty.py").write_text(NAUGHTY)
    monkeypatch.setattr(worker_process, "COMMAND", (worker_process.COMMAND[0], str(tmp_path / "naughty.py")))


def items(*completions: str) -> list[Item]:
    return [Item("reasoning_gym", completion, "") for completion in completions]


@pytest.mark.usefixtures("naughty")
def test_each_failure_is_told_apart_and_the_rest_goes_on() -> None:
    with Pool(workers=2, timeout=1.0) as pool:
        started = time.monotonic()
        verdicts = pool.verify_all(items("a", "hang", "b", "die", "eat", "c", "exit", "d", "spin", "e"))
        assert [v.outcome for v in verdicts] == [
            "right",
            "timed_out",
            "right",
            "crashed",
            "crashed",
            "right",
            "crashed",
            "right",
            "timed_out",
            "right",
        ]
        assert [v.reason for v in verdicts if v.outcome == "right"] == ["a", "b", "c", "d", "e"]
        assert "did nothing for 1 s" in verdicts[1].reason
        assert "took more than 1 s of processor time" in verdicts[8].reason
        assert "status 3" in verdicts[3].reason
        assert "MemoryError" in verdicts[4].reason
        assert time.monotonic() - started < 20
        pids = {int(v.extracted) for v in pool.verify_all(items(*"efgh")) if v.extracted}
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)  # noqa: PTH110
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)  # noqa: PTH110


@pytest.mark.usefixtures("naughty")
def test_workers_are_fenced_in(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    attempts = [
        f"open({str(mark)!r}, 'w')",
        f"os.open({str(mark)!r}, os.O_CREAT)",
        f"os.system('touch {mark}')",
        f"os.mkdir({str(mark)!r})",
        "os.fork()",
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('subprocess').run(['true'])",
        f"os.kill({os.getpid()}, 0)",
    ]
    with Pool(workers=1, timeout=5.0) as pool:
        verdicts = pool.verify_all(items(*(f"run {attempt}" for attempt in attempts)))
        assert all("PermissionError" in verdict.reason for verdict in verdicts), verdicts
        assert pool.verify_all(items("run open('/proc/self/status')"))[0].outcome == "right"
    assert not mark.exists()


@pytest.mark.usefixtures("naughty")
def test_a_worker_killed_while_idle_is_replaced() -> None:
    with Pool(workers=1, timeout=5.0) as pool:
        (first,) = pool.verify_all(items("a"))
        assert first.extracted is not None
        os.kill(int(first.extracted), signal.SIGKILL)
        time.sleep(0.2)
        (second,) = pool.verify_all(items("b"))
        assert second.outcome == "right" and second.extracted != first.extracted


def test_mixed_verifiers_keep_their_order() -> None:
    mixed = [
        Item("gsm8k", "#### 5", "5"),
        Item("reasoning_gym", "Answer: 7", chain_sum("7")),
        Item("gsm8k_strict", "#### 5.0", "5"),
        Item("reasoning_gym", "Answer: 8", chain_sum("7")),
    ]
    assert [verdict.outcome for verdict in verify_all(mixed, workers=1)] == ["right", "right", "wrong", "wrong"]


def test_cheap_verifiers_start_no_process() -> None:
    with Pool() as pool:
        assert pool.verify_all([Item("gsm8k", "#### 5", "5")] * 3)[2].score == 1.0
        assert not any(crew._workers for crew in pool._crews.values())


@pytest.mark.usefixtures("naughty")
def test_few_items_start_one_worker_and_many_start_all(monkeypatch: pytest.MonkeyPatch) -> None:
    started = [0]
    start = worker_process.Worker.start

    def counting(timeout: float, verifiers: Mapping[str, str]) -> worker_process.Worker:
        started[0] += 1
        return start(timeout, verifiers)

    monkeypatch.setattr(worker_process.Worker, "start", counting)
    for count, workers in ((3, 1), (30, 2)):
        started[0] = 0
        found = verify_all(items(*map(str, range(count))))
        assert [verdict.reason for verdict in found] == [str(number) for number in range(count)]
        assert started == [workers]


def test_errors_of_the_user_come_through() -> None:
    unknown = json.dumps({"task": "no_such_task", "answer": "", "metadata": {}})
    with pytest.raises(BactrianError, match="no task 'no_such_task'"):
        verify_all([Item("reasoning_gym", "5", unknown)], workers=1)
    with pytest.raises(BactrianError, match="no verifier is called 'nonsense'"):
        verify_all([Item("nonsense", "5", "5")])


def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", (worker_process.COMMAND[0], "-c", "raise SystemExit(1)"))
    with pytest.raises(BactrianError, match=r"died while starting; to see why, run: .*raise SystemExit"):
        verify_all([Item("reasoning_gym", "5", chain_sum("5"))])


def test_long_texts_pass_through_the_pipes() -> None:
    long = [Item("reasoning_gym", "x" * 300_000 + "\nAnswer: 7", chain_sum("7"))] * 4
    assert [verdict.outcome for verdict in verify_all(long, workers=1)] == ["right"] * 4


@pytest.mark.usefixtures("naughty")
def test_a_loaded_machine_changes_no_verdict() -> None:
    """A worker that gets no processor for longer than the limit is waited for; SIGSTOP is the worst load there is."""
    with Pool(workers=1, timeout=0.5) as pool:
        (first,) = pool.verify_all(items("a"))
        pid = int(first.extracted or "")
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(2.0, os.kill, (pid, signal.SIGCONT)).start()
        started = time.monotonic()
        (second,) = pool.verify_all(items("b"))
        assert second.outcome == "right" and second.extracted == str(pid)
        assert time.monotonic() - started > 1.0


@pytest.mark.usefixtures("naughty")
def test_what_was_verified_is_not_verified_again_but_what_failed_is() -> None:
    with Pool(workers=2, timeout=5.0) as pool:
        found = pool.verify_all(items(*["a"] * 50, "die", "die"))
        assert len({verdict.extracted for verdict in found[:50]}) == 1  # one process said it
        pool.close()
        again = pool.verify_all(items("a", "die", "b"))
        assert again[0] == found[0] and again[1].outcome == "crashed" and again[2].outcome == "right"
        other = pool.verify_all([items("a")[0]._replace(ground_truth="x")])
        assert other[0].extracted != found[0].extracted
