"""Verifiers of programs: `code` (all tests must pass) and `code_rate` (the share that passes), in the sandbox."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bactrian.sandbox import (
    Examination,
    Limits,
    ReferenceProgram,
    Stalled,
    UnitTests,
    answers,
    chosen_isolation,
    compiled,
    examine,
    run_program,
    versions,
)
from bactrian.sandbox.inside.codec import Unsendable
from bactrian.sandbox.limits import MIB
from bactrian.verify.code.blocks import last_program
from bactrian.verify.registry import register, truth
from bactrian.verify.verdict import Example, Problem, Verdict, unparsable

SETTINGS = {"test_seconds": 3.0, "seconds": 15.0, "memory_mib": 512}
TEXTS = ("check", "entry_point", "setup", "prelude")
TOLERANCE = 1e-6
"""Two numbers of an output are the same if they differ by no more than this, absolutely or relatively."""


SLOWER, PER_INPUT = 4.0, 0.02
"""A program may take so many times as long as the reference, and so many seconds of processor time more an input."""
COMPARE = """
def _same(found, expected, atol):
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return found == expected or abs(found - expected) <= max(atol, 1e-6) + 1e-7 * abs(expected)
    if isinstance(expected, (list, tuple)) and type(found) is type(expected) and len(found) == len(expected):
        return all(_same(one, other, atol) for one, other in zip(found, expected))
    return found == expected

def _holds(arguments, expected, found, atol):
    return {holds}

def check(candidate):
    for arguments, expected in _bactrian_given:
        assert _holds(arguments, expected, candidate(*arguments), {atol})
"""
SAME = "_same(found, expected, atol)"


@dataclass(frozen=True)
class Against:
    """Tests that compare with what a reference gives: the suite, but for the pairs that it is to be given."""

    suite: UnitTests
    reference: ReferenceProgram


def parse(problem: Problem) -> UnitTests | Against | list[tuple[str, str]]:
    """The ground truth: a JSON object with `tests`, or `check` and `entry_point`, or `inputs`, or
    `cases`.

    - `tests`: a list of texts, each one test, such as "assert add(1, 2) == 3"; `setup` (optional) runs before them;
    - `check`: a text that defines check(candidate), called with the program's `entry_point` [HumanEval];
    - `inputs`: a list of lists of arguments, with which `entry_point` must give what the one of the program
      `reference` gives, floats within `atol`; or such that the expression `holds` is true of `found`, `arguments`,
      `expected` and `atol`;
    - `cases`: a list of {"input": …, "output": …}: what a program reads and must print.
    `prelude` (optional): imports and helpers that are given; it runs before the program and before the tests.
    `packages` (optional): the packages, beside Python's library, that tests or solutions import.

    Raises:
        ValueError: for anything else.
    """
    given = truth(problem)
    kinds = [name for name in ("tests", "check", "inputs", "cases") if isinstance(given, Mapping) and given.get(name)]
    if len(kinds) != 1:
        found = kinds or problem.ground_truth[:60]
        raise ValueError(f"found {found!r}, expected one of 'tests', 'check', 'inputs', 'cases'")
    if kinds == ["cases"]:
        return [_case(number, case) for number, case in enumerate(given["cases"], 1)]
    tests = given.get("tests", [])
    if not isinstance(tests, list) or not all(isinstance(text, str) for text in tests):
        raise ValueError(f"'tests': found {tests!r:.60}, expected a list of texts")
    texts = {name: given.get(name, "") for name in TEXTS}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{name!r}: found {text!r:.60}, expected a text")
    if kinds != ["tests"] and not texts["entry_point"]:
        raise ValueError(f"{kinds[0]!r} needs 'entry_point', the name of the function to be tested")
    suite = UnitTests(tests=tuple(tests), **texts)
    if kinds == ["inputs"]:
        return _against(given, suite)
    compiled(suite)
    return suite


def _against(given: Mapping[str, Any], suite: UnitTests) -> Against:
    inputs, program, atol, holds = (given.get(name) for name in ("inputs", "reference", "atol", "holds"))
    if not isinstance(inputs, list) or not all(isinstance(each, list) for each in inputs):
        raise ValueError(f"'inputs': found {inputs!r:.60}, expected a list of lists of arguments")
    if not isinstance(program, str):
        raise ValueError(f"'reference': found {program!r:.60}, expected a text")
    if not isinstance(atol or 0, int | float) or not isinstance(holds or "", str):
        raise ValueError(f"'atol', 'holds': found {atol!r:.40}, {holds!r:.40}, expected a number and a text")
    suite = replace(suite, check=COMPARE.format(atol=float(atol or 0), holds=holds or SAME))
    compiled(suite)
    try:
        return Against(suite, ReferenceProgram.of(program, suite.entry_point, inputs))
    except Unsendable as error:
        raise ValueError(f"'inputs': {error}") from None


def lacking(problem: Problem) -> str:
    """The packages that a ground truth says it needs and that the sandbox does not offer; empty if none."""
    wanted = truth(problem).get("packages", [])
    return ", ".join(name for name in wanted if name not in versions() and name not in sys.stdlib_module_names)


def _case(number: int, case: Any) -> tuple[str, str]:
    texts = [case.get(name) if isinstance(case, Mapping) else None for name in ("input", "output")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"case {number}: found {case!r:.60}, expected 'input' and 'output', two texts")
    return str(texts[0]), str(texts[1])


def check_truth(problem: Problem) -> None:
    """
    Raises:
        ValueError: for a ground truth that is no set of tests.
    """
    parse(problem)


def limits(settings: Mapping[str, Any]) -> Limits:
    """Of one program, from a row's settings: so many seconds of processor time, and as many asleep."""
    wall = float(settings["seconds"])
    return Limits(wall, math.ceil(wall), float(settings["test_seconds"]), int(settings["memory_mib"]) * MIB)


def judge(problem: Problem, completion: str, all_or_nothing: bool) -> tuple[str | None, Examination]:
    """The program in a completion (None if there is none), and what its tests said."""
    program = last_program(completion)
    if program is None:
        return None, Examination()
    tests, limit = parse(problem), limits(problem.settings)
    if missing := lacking(problem):
        return program, Examination(broken=f"the sandbox does not offer {missing}")
    if isinstance(tests, Against):
        try:
            known = answers(tests.reference, chosen_isolation(), limit)
        except ValueError as error:
            return program, Examination(broken=str(error))
        except Stalled as error:
            return program, Examination(stalled=str(error))
        more = math.ceil(SLOWER * known.seconds + PER_INPUT * tests.reference.count)
        limit = replace(limit, cpu=limit.cpu + more, test=max(limit.test, SLOWER * known.longest))
        tests = replace(tests.suite, given=known.pairs)
    if isinstance(tests, UnitTests):
        return program, examine(program, tests, chosen_isolation(), limit)
    return program, run_cases(program, tests, limit, all_or_nothing)


def run_cases(program: str, cases: Sequence[tuple[str, str]], limit: Limits, all_or_nothing: bool) -> Examination:
    """Each case is a run of its own, in a sandbox of its own; with `all_or_nothing` the first failure is the last."""
    report = Examination(total=len(cases))
    for number, (given, expected) in enumerate(cases, 1):
        run = run_program(program, chosen_isolation(), given, limit)
        if run.ended == "finished" and same_output(run.output, expected):
            report.passed += 1
            continue
        if run.ended == "stalled":
            report.stalled = f"case {number}: the machine gave the program too little time"
            break
        last = run.error.strip().rpartition("\n")[2]
        reason = "wrong output" if run.ended == "finished" else f"{run.ended}{': ' if last else ''}{last}"
        report.failures.append(f"case {number}: {reason}"[:300])
        if all_or_nothing:
            break
    report.finished = True
    return report


def same_output(printed: str, expected: str) -> bool:
    """Equal line by line and word by word; white space at line ends and empty lines at the end do not count.

    Where a word of `expected` is a number with a point or an exponent, it need only be as near as TOLERANCE.
    """
    ours, theirs = ([line.split() for line in text.rstrip().split("\n")] for text in (printed, expected))
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(map(_same_word, a, b)) for a, b in zip(ours, theirs, strict=True)
    )


def _same_word(printed: str, expected: str) -> bool:
    if printed == expected:
        return True
    if not {".", "e", "E"} & set(expected):
        return False
    try:
        return math.isclose(float(printed), float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False


ADD = json.dumps({"tests": ["assert add(2, 3) == 5", "assert add(-1, 1) == 0", "assert add(0, 7) == 7"]})
CHECK = json.dumps({"check": "def check(f):\n    assert f(2) == 4\n    assert f(3) == 9", "entry_point": "square"})
AGAINST = json.dumps(
    {"reference": "def square(x):\n    return x * x", "inputs": [[2], [-3], [0.5]], "entry_point": "square"}
)
DOUBLE = json.dumps({"cases": [{"input": "4\n", "output": "8\n"}, {"input": "-1\n", "output": "-2\n"}]})


def block(program: str) -> str:
    return f"```python\n{program}\n```"


EXAMPLES = (
    Example(block("def add(a, b):\n    return a + b"), ADD, "right"),
    Example(block("def add(a, b):\n    return abs(a) + abs(b)"), ADD, "wrong"),
    Example(block("def square(x):\n    return x * x"), CHECK, "right"),
    Example(block("print(2 * int(input()))"), DOUBLE, "right"),
    Example(block("def square(x):\n    return x + x"), CHECK, "wrong"),
    Example(block("print('8')"), DOUBLE, "wrong"),
    Example(block("import os\nos._exit(0)"), ADD, "wrong"),
    Example(block("class Yes:\n    __eq__ = lambda *_: True\ndef add(a, b):\n    return Yes()"), ADD, "wrong"),
    Example(block("def add(a, b):\n    while True: pass"), ADD, "wrong", {"test_seconds": 0.5, "seconds": 3.0}),
    Example("add returns a + b", ADD, "unparsable"),
    Example(block("def square(x):\n    return x ** 2"), AGAINST, "right"),
    Example(block("def square(x):\n    return abs(x) * 2"), AGAINST, "wrong"),
)


@register("code", examples=EXAMPLES, place="thread", settings=SETTINGS, check_truth=check_truth)
def code(problem: Problem, completion: str) -> Verdict:
    """Right, with score 1, iff the last fenced block of Python passes all tests (`parse` has their
    form); else 0.

    A program that fails, hangs, dies or is stopped at a limit is "wrong"; "crashed" is a failure of
    the tests or of the sandbox, "timed_out" one of a machine that is too busy.

    Raises:
        BactrianError: where nothing can isolate programs.
    """
    program, report = judge(problem, completion, all_or_nothing=True)
    return verdict(program, report, float(report.all_passed))


@register(
    "code_rate", examples=EXAMPLES, place="thread", settings={**SETTINGS, "threshold": 0.0}, check_truth=check_truth
)
def code_rate(problem: Problem, completion: str) -> Verdict:
    """As `code`, but the score is the share of tests that pass, or 0 where it is below the setting `threshold`.

    The outcome is still "right" only if all pass.
    """
    program, report = judge(problem, completion, all_or_nothing=False)
    rate = 1.0 if report.all_passed else min(report.rate, 1.0)
    return verdict(program, report, rate if rate >= problem.settings["threshold"] else 0.0)


def verdict(program: str | None, report: Examination, score: float) -> Verdict:
    if program is None:
        return unparsable("no fenced block of Python in the text")
    if report.broken:
        return Verdict(0.0, "crashed", program, report.broken)
    if report.stalled:
        return Verdict(0.0, "timed_out", program, report.stalled)
    return Verdict(score, "right" if report.all_passed else "wrong", program, report.reason())
