"""Tests of functions: the program in one sandbox, its tests in another, and nothing between them but two pipes.

The program cannot see, change or signal the tests; what decides is the report of the examiner, which comes over a
third pipe, each message with a secret of this run.
"""

import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bactrian.sandbox.isolation import Isolation
from bactrian.sandbox.limits import Limits
from bactrian.sandbox.liveness import Hangs, Stalled, Watch, messages
from bactrian.sandbox.process import Sandboxed
from bactrian.sandbox.unit_tests import UnitTests, compiled

LONGEST = 1 << 16
"""Bytes of one message of a report."""


@dataclass
class Examination:
    """How many of the tests passed. `over` says why the rest was not tried; `broken` and `stalled` why nothing can be
    said of the program: the tests or a sandbox failed, the machine was too busy.

    `lacks`: the names that the tests read and the program could not give, each with the exception.
    """

    total: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    over: str = ""
    broken: str = ""
    stalled: str = ""
    finished: bool = False

    @property
    def rate(self) -> float:
        """Share of the tests that passed; an assertion in a loop is one at each round."""
        return self.passed / max(self.total, self.passed + len(self.failures), 1)

    @property
    def all_passed(self) -> bool:
        return self.finished and self.passed > 0 and not (self.failures or self.over or self.broken or self.stalled)

    def reason(self) -> str:
        """In a few words, for a person."""
        lacking = [f"the program gives no {name}" for name in self.lacks[:2]] if self.failures else []
        over = [self.over] if self.over else []
        said = self.broken or self.stalled or "; ".join([*lacking, *self.failures[:2], *over])
        return f"{self.passed} of {max(self.total, self.passed + len(self.failures))} tests passed" + (
            f": {said}" if said else ""
        )


def examine(program: str, tests: UnitTests, isolation: Isolation, limits: Limits = Limits()) -> Examination:  # noqa: B008
    """Put the tests to a program. Never raises for what program or tests do; OSError if no sandbox starts."""
    try:
        job = compiled(replace(tests, given=""))
    except ValueError as error:
        return Examination(broken=str(error))
    return _examine(program, tests, job, isolation, limits)


def _examine(
    program: str, tests: UnitTests, suite: Mapping[str, Any], isolation: Isolation, limits: Limits
) -> Examination:
    secret = secrets.token_hex(16)
    (asked, asking), (answered, answering), (told, telling) = os.pipe(), os.pipe(), os.pipe()
    ends = [asked, asking, answered, answering, told, telling]
    try:
        job: dict[str, Any] = {"program": program, "prelude": tests.prelude, "calls": asked, "replies": answering}
        with Sandboxed("candidate", job, isolation, limits, keep=(asked, answering)) as candidate:
            job = {**suite, "given": tests.given, "calls": asking, "replies": answered}
            job |= {"report": telling, "secret": secret}
            with Sandboxed("examiner", job, isolation, limits, keep=(asking, answered, telling)) as examiner:
                for end in (asked, asking, answered, answering, telling):
                    os.close(end)
                    ends.remove(end)
                report = _listen(told, secret, Watch([candidate, examiner], limits))
                if not (report.finished or report.over or report.broken or report.stalled):
                    _explain(report, candidate, examiner)
        return report
    finally:
        for end in ends:
            os.close(end)


def _listen(descriptor: int, secret: str, watch: Watch) -> Examination:
    """Read the report until it ends, the program hangs, or something else than the examiner speaks."""
    report = Examination()
    try:
        for facts in messages(descriptor, watch, LONGEST, heed=True):
            if not _note(report, facts, secret):
                report.broken = "a report that is not the examiner's, or without the secret of this run"
            if report.finished or report.broken:
                break
    except Hangs as error:
        report.over = f"the program hangs: {error}"
    except Stalled as error:
        report.stalled = str(error)
    return report


def _note(report: Examination, facts: Any, secret: str) -> bool:
    """Take in one message; False if it is none, or does not have the secret."""
    said = facts.get("secret") if isinstance(facts, dict) else None
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), secret.encode()):
        return False
    report.total = facts.get("total", report.total)
    report.passed += facts.get("passed", 0)
    report.over = facts.get("over", report.over)
    report.finished = facts.get("end", report.finished)
    report.broken = facts.get("broken", report.broken)
    for kind, noted in (("failed", report.failures), ("lacks", report.lacks)):
        if kind in facts:
            noted.append(facts[kind])
    return True


def _explain(report: Examination, candidate: Sandboxed, examiner: Sandboxed) -> None:
    """The examiner fell silent. Once it had begun that is laid to the program, whose values it must have choked on."""
    if report.total:
        report.over = "the tests were ended at a limit"
        return
    said = next((words for sandbox in (examiner, candidate) if (words := sandbox.complaint())), "")
    report.broken = f"a sandbox failed: {said[-300:] or 'the tests ended their own process'}"
