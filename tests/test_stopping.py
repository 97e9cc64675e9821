"""Signals and limits of the machine, met by real processes: one line, a status by convention, nothing lost."""

import errno
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_runner import SLOW, _reached, command, environment, weights

from bactrian import stopping
from bactrian.cli import main as cli
from bactrian.store.machine_limits import refusal

LONG = SLOW.replace("steps: 60", "steps: 3000")  # a minute: it must not end before the signal


def listen() -> None:
    """Whoever starts tests in the background has some of these ignored, for good."""
    for number in stopping.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(text: str, before: Callable[[], None] = listen) -> "subprocess.Popen[str]":
    Path("r.yaml").write_text(text)
    return subprocess.Popen(
        command("run", "r.yaml"), env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=before
    )


def wait_for_work(process: "subprocess.Popen[str]") -> None:
    while not _reached("runs", 1):
        time.sleep(0.01)
        assert process.poll() is None, process.stderr and process.stderr.read()


@pytest.mark.parametrize(
    ("number", "status", "how"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_each_signal_says_that_the_run_can_be_resumed(fakes: list[str], number: int, status: int, how: str) -> None:
    process = start(LONG)
    wait_for_work(process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == status and "Traceback" not in said
    assert said.splitlines()[-1] == f"{how}; the same command resumes where this one stopped"


def test_a_signal_that_is_ignored_stays_ignored(fakes: list[str]) -> None:
    def nohup() -> None:
        listen()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(SLOW, nohup)
    wait_for_work(process)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate()
    assert process.returncode == 0 and "report" in said


def test_a_terminal_that_is_closed_stops_the_run_as_it_should(fakes: list[str]) -> None:
    Path("r.yaml").write_text(LONG)
    pid, terminal = pty.fork()
    if pid == 0:
        listen()
        os.execve(sys.executable, command("run", "r.yaml"), environment())
    while not _reached("runs", 1):
        time.sleep(0.01)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129


GENTLE = """
import os, sys, time
from bactrian import stopping
from bactrian.cli import main as cli
from bactrian.cli import main as cli
def work(*_, **__):
    with stopping.finishing("a step"):
        print("working", flush=True)
        for _ in range(int(sys.argv[1])):
            time.sleep(0.01)
        stopping.check("sft: stopped after step 3 of 9")
    print("not stopped", flush=True)
cli.commands.main = work
sys.exit(cli.invoke([]))
"""


def gentle(steps: int, signals: int) -> tuple[int, str, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", GENTLE, str(steps)],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=listen,
    )
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    out, err = process.communicate()
    return process.returncode, out, err


def test_work_worth_finishing_is_finished_and_a_second_signal_does_not_wait() -> None:
    status, out, err = gentle(60, 1)
    assert (status, out) == (143, "") and "SIGTERM: finishing a step, then stopping; once more stops at once" in err
    assert err.splitlines()[-1] == "sft: stopped after step 3 of 9; the same command resumes there"
    began = time.monotonic()
    status, out, err = gentle(6000, 2)
    assert (status, out) == (143, "") and time.monotonic() - began < 30
    assert err.splitlines()[-1] == "stopped by SIGTERM; the same command resumes where this one stopped"
    assert gentle(10, 0)[:2] == (0, "not stopped\n")


def test_a_fork_dies_of_its_signals() -> None:
    told, tells = os.pipe()
    with stopping.listening():
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                os.write(tells, b"!")
                time.sleep(20)
            os._exit(0)
        os.read(told, 1)  # Python forgets signals that come while it forks
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert stopping.asked() is None


def limited(which: int, soft: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


def test_a_limit_on_the_size_of_files_is_one_line_and_loses_nothing(
    fakes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(SLOW.replace("steps: 60", "steps: 400"), limited(resource.RLIMIT_FSIZE, 8192))
    _, said = process.communicate()
    assert process.returncode == 2 and "Traceback" not in said
    assert "metrics.jsonl: a file would be larger than the limit of 8,192 bytes (ulimit -f)" in said.splitlines()[-1]
    assert 'step "m" (stage blend)' in said
    assert cli.invoke(["run", "r.yaml"]) == 0
    said = capsys.readouterr().err
    assert "d: exists" in said and "m: resuming" in said
    assert cli.invoke(["run", "r.yaml", "--store", "whole"]) == 0
    assert weights("runs") == weights("whole")


def test_memory_that_runs_out_is_one_line(fakes: list[str]) -> None:
    hungry = "import fake_stages; fake_stages.Letters.run = lambda self, workspace: bytes(2**40); fake_stages.main()"
    Path("r.yaml").write_text(SLOW)
    done = subprocess.run(
        [sys.executable, "-c", hungry, "run", "r.yaml"],
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited(resource.RLIMIT_AS, 2**33),
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "memory ran out; the limit of this process is 8,589,934,592 bytes (ulimit -v)" in done.stderr


def test_too_many_open_files_are_one_line(fakes: list[str]) -> None:
    greedy = (
        "import fake_stages; fake_stages.Letters.run = lambda self, workspace: "
        "[open('/dev/null') for _ in range(9999)]; fake_stages.main()"
    )
    Path("r.yaml").write_text(SLOW)
    done = subprocess.run(
        [sys.executable, "-c", greedy, "run", "r.yaml"],
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited(resource.RLIMIT_NOFILE, 64),
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "may not open more files (64 is the limit, ulimit -n)" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/x/a"), "/x/a: on a file system that is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/a"), "/x/a: permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x/" + "a" * 300), "a name or path longer than"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "here: your quota of this disk is used up"),
        (RuntimeError("IoError: File too large (os error 27)"), "here: a larger file than this file system takes"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
            "memory ran out",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out"),
        (RuntimeError("can't start new thread"), "no more threads or processes"),
        (ImportError("libtorch.so: cannot open shared object file: Too many open files"), "may not open more files"),
    ],
)
def test_what_is_refused_is_known_by_number_or_by_a_library_s_words(error: Exception, words: str) -> None:
    assert words in (refusal(error, Path("here")) or "")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("denied"),
        FileNotFoundError(errno.ENOENT, "No such file", "a"),
        KeyError("memory"),
        PermissionError(errno.EPERM, "not permitted"),
    ],
)
def test_what_may_be_a_bug_is_left_alone(error: Exception) -> None:
    assert refusal(error, Path("here")) is None


WORKERS = """
import os, sys
from bactrian.cli import main as cli
from bactrian.data.io.parallel import map_stream
def work(*_, **__):
    from tests.test_stopping import process_of
    rows = (({"n": n}, "here") for n in range(10**9))
    seen = set()
    for pid in map_stream(process_of, rows, 2):
        if pid != os.getpid() and pid not in seen:
            seen.add(pid)
            print(pid, flush=True)
if __name__ == "__main__":
    cli.commands.main = work
    sys.exit(cli.invoke([]))
"""


def process_of(rows: list[object]) -> list[int]:
    return [os.getpid()] * len(rows)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "main.py").write_text(WORKERS)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py")],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=listen,
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    assert all(map(alive, workers))
    process.send_signal(number)
    process.wait()
    until = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert process.returncode == status and not any(map(alive, workers))
