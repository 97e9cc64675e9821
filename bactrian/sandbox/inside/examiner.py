"""Runs tests against a program in another process, and reports over a descriptor that the program does not have.

What the tests call runs there; what they compare is compared here, as plain data of this process (codec.py).
"""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found]
from _signal import ITIMER_REAL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]  # signal loads enum

from bactrian.sandbox.inside import codec, confine
from bactrian.sandbox.inside.remote import STAND_INS, Over, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any

GRACE = 1.0
"""Seconds that a call has beyond its limit before the program is taken to hang."""


def main(job: Mapping[str, Any]) -> None:
    signal(SIGALRM, _late)
    confine.confine(job)
    confine.silence(0, 1, 2)
    report = Report(job["report"], job["secret"])
    program = Program(job["calls"], job["replies"])
    try:
        examine(job, program, report)
    except Over as error:
        report.write(over=str(error))
    except Exception as error:  # such as tests that are not Python
        report.write(broken=f"the tests: {type(error).__name__}: {error}"[:300])
    report.write(end=True)


def _late(number: int, frame: FrameType | None) -> None:
    raise Over("the program hangs")


def examine(job: Mapping[str, Any], program: Program, report: Report) -> None:
    """Run all tests: each of the list is one; of a `check` function each assertion is one (suite.py has made it so)."""
    names: dict[str, Any] = {"__name__": "tests", "_bactrian_alone": program.alone}
    names |= {f"_bactrian_{name}": kind for name, kind in STAND_INS.items()}
    seconds, tests, asserts = job["test"] + GRACE, job["tests"], job["asserts"]
    execute(job["prelude"], names)
    report.write(total=len(tests) + asserts)
    program.wait(seconds)
    bind(job, names, program, report, seconds)
    timed(lambda: execute(job["setup"], names), seconds, report, None)
    for number, test in enumerate(tests, 1):
        names["_bactrian_reached"] = reached = Reached(number in job["must_assert"], program)
        if timed(partial(reached.by, test, names), seconds, report, f"test {number}"):
            report.write(passed=1)
    if job["entry_point"]:
        counts = Counts(report, program)
        names |= {"_bactrian_passed": counts.passed, "_bactrian_failed": counts.failed}
        timed(lambda: execute(job["check"], names), seconds, report, None)
        entry = entry_point(job["entry_point"], program, seconds)
        if not hasattr(sys.modules["builtins"], job["entry_point"]):  # else its `abs` would stand under the tests
            names[job["entry_point"]] = entry
        timed(lambda: names["check"](entry), seconds * max(1, asserts), report, "check")
        if program.was_late():
            report.write(failed="check: TimeoutError: too slow")
        if not counts.tried:
            report.write(failed="check: it asserts nothing")


def execute(code: CodeType, names: dict[str, Any]) -> None:
    exec(code, names)  # noqa: S102 - a sandbox of its own


def timed(run: Callable[[], None], seconds: float, report: Report, what: str | None) -> bool:
    """Whether it ran to its end. A failure is reported; one without a name is the end of all tests."""
    try:
        setitimer(ITIMER_REAL, seconds)
        run()
        setitimer(ITIMER_REAL, 0)
        if Over.said:
            raise Over(Over.said[0])
        return True
    except Over as error:
        raise Over(f"{what or 'setting up'}: {error}") from None
    except BaseException as error:
        setitimer(ITIMER_REAL, 0)
        reason = f"{what or 'setting up'}: {type(error).__name__}: {error}"[:300]
        if what is None or Over.said:
            raise Over(reason) from None
        report.write(failed=reason)
        return False


class Reached:
    """Whether a test came to assert something: a loop over nothing asserts nothing."""

    def __init__(self, wanted: bool, program: Program) -> None:
        self.missing, self.program = wanted, program

    def __call__(self) -> None:
        self.missing = False

    def by(self, test: CodeType, names: dict[str, Any]) -> None:
        """Run the test. Raises AssertionError if it should have asserted something and did not.

        TimeoutError if a call was too slow, even if the test has caught that.
        """
        self.program.was_late()
        execute(test, names)
        if self.program.was_late():
            raise TimeoutError("too slow")
        if self.missing:
            raise AssertionError("none of its assertions was reached")


class Counts:
    """What the assertions of `check` call: one that fails is counted, and the next is tried."""

    def __init__(self, report: Report, program: Program) -> None:
        self.report, self.program, self.tried = report, program, 0

    def passed(self) -> None:
        self.tried += 1
        self.report.write(passed=1)

    def failed(self) -> None:
        self.tried += 1
        self.program.was_late()  # it is this failure
        error = sys.exc_info()[1]
        self.report.write(failed=f"check: {type(error).__name__}: {error}"[:300])


def bind(job: Mapping[str, Any], names: dict[str, Any], program: Program, report: Report, seconds: float) -> None:
    """Give the tests what they miss: modules of Python's library from here, all else from the program.

    What the program cannot give, for whatever reason of its own, is reported; a test that reads it fails by itself.
    """
    for name in job["modules_wanted"]:
        names[name] = __import__(name)
    for name, module in job["names_given"]:
        names[name] = getattr(__import__(module), name)
    for name in job["names_wanted"]:
        try:
            names[name] = lookup(name, program, seconds)
        except Exception as error:
            report.write(lacks=f"{name} ({type(error).__name__})")


def lookup(name: str, program: Program, seconds: float) -> Any:
    setitimer(ITIMER_REAL, seconds)
    try:
        return program.ask({"do": "name", "name": name})
    finally:
        setitimer(ITIMER_REAL, 0)


def entry_point(name: str, program: Program, seconds: float) -> Any:
    try:
        return lookup(name, program, seconds)
    except Exception as error:
        raise Over(f"the program has nothing called {name} ({type(error).__name__})") from None


class Report:
    """Lines to the machine outside, each with the secret of this run."""

    def __init__(self, descriptor: int, secret: str) -> None:
        self.descriptor, self.secret = descriptor, secret

    def write(self, **facts: Any) -> None:
        codec.send(self.descriptor, {"secret": self.secret, **facts})
