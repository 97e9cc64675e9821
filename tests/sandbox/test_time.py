"""Processor time decides, and sleep: the verdicts of a busy machine are those of an idle one."""

import json
import os
import signal
import threading
import time

import pytest
from sandbox.busy import busy

from bactrian.sandbox import Isolation, Limits, UnitTests, examine, run_program, watch
from bactrian.sandbox.liveness import leaf, processor_time
from bactrian.verify import Item, verify, verify_all
from bactrian.verify.code.code import block

LIMITS = Limits(wall=3.0, cpu=2, test=0.5)
TWICE = UnitTests(tests=("assert f(2) == 4", "assert f(5) == 10"))
SPEND = "import time\ndef spend(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"
SETTINGS = {"test_seconds": 0.5, "seconds": 3.0}
TRUTH = json.dumps({"tests": list(TWICE.tests)})
PROGRAMS = {
    "right": "def f(x): return 2 * x",
    "right and slow": SPEND + "def f(x):\n    spend(0.2)\n    return 2 * x",
    "wrong": "def f(x): return x + 2",
    "too slow": SPEND + "def f(x):\n    spend(5)\n    return 2 * x",
    "busy for ever": "def f(x):\n    while True: pass",
    "asleep for ever": "import time\ndef f(x): time.sleep(1000)",
}


def outcomes(programs: dict[str, str]) -> dict[str, tuple[str, float]]:
    items = [Item("code_rate", block(program), TRUTH, SETTINGS) for program in programs.values()]
    return {name: (v.outcome, v.score) for name, v in zip(programs, verify_all(items), strict=True)}


@pytest.mark.usefixtures("strong")
def test_verdicts_are_the_same_on_a_busy_machine() -> None:
    idle = outcomes(PROGRAMS)
    assert idle == {
        name: ("right", 1.0) if "right" in name else ("wrong", 0.5 if name == "wrong" else 0.0) for name in PROGRAMS
    }
    with busy(3):
        assert outcomes(PROGRAMS) == idle


@pytest.mark.parametrize(
    "program",
    [
        "import time\ndef f(x):\n    while True:\n        try: time.sleep(1000)\n        except BaseException: pass",
        "import time\ndef f(x):\n    while True: time.sleep(0.01)",
        "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)",
        "import signal\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\ndef f(x):\n    while True: pass",
        "import os, signal, time\n"
        "signal.setitimer(signal.ITIMER_PROF, 0)\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\n"
        "time.sleep(1000)",
    ],
    ids=["sleeping through", "napping", "stopping itself", "busy and deaf", "asleep and deaf"],
)
def test_who_neither_works_nor_answers_is_ended_and_wrong(program: str, strong: Isolation) -> None:
    began = time.monotonic()
    report = examine(program, TWICE, strong, LIMITS)
    assert (report.over or len(report.failures) == 2) and not report.passed, report
    assert not (report.broken or report.stalled), report
    assert time.monotonic() - began < 60


def test_a_call_that_sleeps_costs_its_own_test_only(strong: Isolation) -> None:
    program = "import time\ndef f(x):\n    if x == 2: time.sleep(1000)\n    return 2 * x"
    report = examine(program, TWICE, strong, LIMITS)
    assert (report.passed, report.failures) == (1, ["test 1: TimeoutError: too slow"])


def test_a_program_that_the_machine_keeps_waiting_is_not_charged(strong: Isolation) -> None:
    """It is starved for longer than all its limits: stopped from outside, and let go on, again and again."""
    program = SPEND + "def f(x):\n    spend(0.3)\n    return 2 * x"
    stop = threading.Event()

    def starve() -> None:
        while not stop.wait(0.02):
            pid = leaf(os.getpid())
            if pid != os.getpid() and processor_time(pid)[0] == "R":
                os.kill(pid, signal.SIGSTOP)
                stop.wait(0.15)
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        report = examine(program, TWICE, strong, LIMITS)
    finally:
        stop.set()
        thread.join()
    assert report.all_passed, report


def test_on_a_machine_that_gives_nothing_nothing_is_said(strong: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BACKSTOP", 0.05)
    assert examine(PROGRAMS["too slow"], TWICE, strong, LIMITS).stalled
    assert run_program("while True: pass", strong, limits=LIMITS).ended == "stalled"
    verdict = verify("code", block(PROGRAMS["busy for ever"]), TRUTH, SETTINGS)
    assert (verdict.outcome, verdict.score) == ("timed_out", 0.0)
    truth = json.dumps({"cases": [{"input": "", "output": "1"}]})
    assert verify("code", block("while True: pass"), truth, SETTINGS).outcome == "timed_out"
    assert verify("pal", block("while True: pass"), "1", {"seconds": 3.0}).outcome == "timed_out"
