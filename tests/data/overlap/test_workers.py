"""Workers: results in order, errors carried, no process left behind when this one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bactrian.data.overlap.workers import Workers
from bactrian.errors import BactrianError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_in_order(count: int) -> None:
    with Workers(lambda n: n * n, count) as workers:
        assert list(workers.map(iter(range(50)))) == [n * n for n in range(50)]


@pytest.mark.parametrize("count", [1, 3])
def test_errors_are_carried(count: int) -> None:
    with Workers(lambda n: 1 // n, count) as workers, pytest.raises(ZeroDivisionError):
        list(workers.map([2, 1, 0, 1]))


@LINUX
def test_large_inputs_and_answers_do_not_block_each_other() -> None:
    megabytes = ["x" * 3_000_000] * 20
    with Workers(lambda text: text + text, 2) as workers:
        assert [len(each) for each in workers.map(megabytes)] == [6_000_000] * 20


@LINUX
def test_a_killed_worker_is_an_error() -> None:
    def work(n: int) -> int:
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    with Workers(work, 2) as workers, pytest.raises(BactrianError, match="a worker process was killed"):
        list(workers.map(range(8)))


@LINUX
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, time, sys\n"
        "from bactrian.data.overlap.workers import Workers\n"
        "with Workers(lambda n: os.getpid(), 3) as workers:\n"
        "    print(*set(workers.map(range(9))), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(each) for each in parent.stdout.readline().split()]
    assert len(workers) == 3
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(
        Path(f"/proc/{worker}").exists() and " Z " not in Path(f"/proc/{worker}/stat").read_text() for worker in workers
    ):
        assert time.monotonic() < until, "a worker outlived the process that started it"
        time.sleep(0.05)
