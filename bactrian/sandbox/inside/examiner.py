"""Runs tests against a program in another process, and reports over a descriptor that the program does not have.

What the tests call runs there; what they compare is compared here, as plain data of this process (codec.py).
"""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found]
from _signal import ITIMER_PROF, SIGPROF, setitimer, signal  # type: ignore[import-not-found]  # signal loads enum

from bactrian.sandbox.inside import arrays, codec, confine
from bactrian.sandbox.inside.remote import STAND_INS, Over, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any

GRACE = 1.0
"""Seconds of processor time that a test's own code may take, beyond the limit of a call."""


class Broken(BaseException):
    """The tests fail by themselves: nothing is said of the program."""


def main(job: Mapping[str, Any]) -> None:
    signal(SIGPROF, _late)
    confine.confine(job)
    confine.silence(0, 1, 2)
    report = Report(job["report"], job["secret"])
    program = Program(job["calls"], job["replies"])
    try:
        examine(job, program, report)
    except Over as error:
        report.write(over=str(error))
    except Broken as error:
        report.write(broken=str(error))
    except Exception as error:  # such as values that cannot be read
        report.write(broken=f"the tests: {type(error).__name__}: {error}"[:300])
    report.write(end=True)


def _late(number: int, frame: FrameType | None) -> None:
    raise Over("the program hangs")


def examine(job: Mapping[str, Any], program: Program, report: Report) -> None:
    """Run all tests: each of the list is one; of a `check` function each assertion is one (suite.py has made it so)."""
    names: dict[str, Any] = {"__name__": "tests", "_bactrian_alone": program.alone}
    names |= {f"_bactrian_{name}": kind for name, kind in STAND_INS.items()}
    seconds, tests, asserts = job["test"] + GRACE, job["tests"], job["asserts"]
    run = Timed(report, program, seconds)
    if job["numpy"]:
        run(arrays.harden, None, own=True)
    run(lambda: execute(job["prelude"], names), None, own=True)
    report.write(total=len(tests) + asserts)
    if job["given"]:
        names["_bactrian_given"] = codec.decode(codec.loads(job["given"]), program.resolve)
    program.wait()
    bind(job, names, program, report)
    run(lambda: execute(job["setup"], names), None, own=not job["setup_asks"])
    for number, test in enumerate(tests, 1):
        names["_bactrian_reached"] = reached = Reached(number in job["must_assert"], program)
        if run(partial(reached.by, test, names), f"test {number}"):
            report.write(passed=1)
    if job["entry_point"]:
        run.seconds = seconds * max(1, asserts)
        counts = Counts(run)
        names |= {"_bactrian_passed": counts.passed, "_bactrian_failed": counts.failed}
        run(lambda: execute(job["check"], names), None, own=not job["check_asks"])
        entry = entry_point(job["entry_point"], program)
        if not hasattr(sys.modules["builtins"], job["entry_point"]):  # else its `abs` would stand under the tests
            names[job["entry_point"]] = entry
        run(lambda: names["check"](entry), "check")
        if program.was_late():
            report.write(failed="check: TimeoutError: too slow")
        if not counts.tried:
            report.write(failed="check: it asserts nothing")


def execute(code: CodeType, names: dict[str, Any]) -> None:
    exec(code, names)  # noqa: S102 - a sandbox of its own


class Timed:
    """Runs parts of the tests, each for at most `seconds` of this process's own processor time.

    The program's time is none of it: the program has its own limits, and is watched from outside.
    """

    def __init__(self, report: Report, program: Program, seconds: float) -> None:
        self.report, self.program, self.seconds = report, program, seconds

    def start(self) -> None:
        setitimer(ITIMER_PROF, self.seconds)

    def __call__(self, run: Callable[[], None], what: str | None, own: bool = False) -> bool:
        """Whether it ran to its end. A failure is reported; one without a name is the end of all
        tests.

        Raises:
            Broken: for a failure of the tests themselves: surely so where they have asked
                nothing of the program yet, or with `own`.
        """
        try:
            self.start()
            run()
            setitimer(ITIMER_PROF, 0)
            if Over.said:
                raise Over(Over.said[0])
            return True
        except Broken:
            raise
        except BaseException as error:
            setitimer(ITIMER_PROF, 0)
            over = isinstance(error, Over)
            reason = f"{what or 'setting up'}: {'' if over else f'{type(error).__name__}: '}{error}"[:300]
            first = what == "check" and not (self.program.asked or over or isinstance(error, AssertionError))
            if own or first or self.of_tests(error):
                raise Broken(f"the tests: {reason}") from None
            if what is None or over or Over.said:
                raise Over(reason) from None
            self.report.write(failed=reason)
            return False

    def of_tests(self, error: BaseException | None) -> bool:
        """Whether something that the tests import is not there: no program can help that."""
        return isinstance(error, ImportError) and error is not self.program.raised


class Reached:
    """Whether a test came to assert something: a loop over nothing asserts nothing."""

    def __init__(self, wanted: bool, program: Program) -> None:
        self.missing, self.program = wanted, program

    def __call__(self) -> None:
        self.missing = False

    def by(self, test: CodeType, names: dict[str, Any]) -> None:
        """Run the test.

        TimeoutError if a call was too slow, even if the test has caught that.

        Raises:
            AssertionError: if it should have asserted something and did not.
        """
        self.program.was_late()
        execute(test, names)
        if self.program.was_late():
            raise TimeoutError("too slow")
        if self.missing:
            raise AssertionError("none of its assertions was reached")


class Counts:
    """What the assertions of `check` call: one that fails is counted, and the next is tried, with time of its own."""

    def __init__(self, run: Timed) -> None:
        self.run, self.tried = run, 0

    def passed(self) -> None:
        self.note(passed=1)

    def failed(self) -> None:
        self.run.program.was_late()  # it is this failure
        error = sys.exc_info()[1]
        if self.run.of_tests(error):
            raise Broken(f"the tests: check: {error}"[:300])
        self.note(failed=f"check: {type(error).__name__}: {error}"[:300])

    def note(self, **facts: Any) -> None:
        self.tried += 1
        self.run.report.write(**facts)
        self.run.start()


def bind(job: Mapping[str, Any], names: dict[str, Any], program: Program, report: Report) -> None:
    """Give the tests what they miss: modules of Python's library from here, all else from the program.

    What the program cannot give, for whatever reason of its own, is reported; a test that reads it fails by itself.
    """
    for name in job["modules_wanted"]:
        names[name] = __import__(name)
    for name, module in job["names_given"]:
        names[name] = getattr(__import__(module), name)
    for name in job["names_wanted"]:
        try:
            names[name] = program.ask({"do": "name", "name": name})
        except Exception as error:
            report.write(lacks=f"{name} ({type(error).__name__})")


def entry_point(name: str, program: Program) -> Any:
    try:
        return program.ask({"do": "name", "name": name})
    except Exception as error:
        raise Over(f"the program has nothing called {name} ({type(error).__name__})") from None


class Report:
    """Lines to the machine outside, each with the secret of this run."""

    def __init__(self, descriptor: int, secret: str) -> None:
        self.descriptor, self.secret = descriptor, secret

    def write(self, **facts: Any) -> None:
        codec.send(self.descriptor, {"secret": self.secret, **facts})
