"""Tests put to programs: what passes, what fails, what can be handed over, what a row may hold."""

import pytest
from sandbox.honest import HONEST, NOT_YET

from bactrian.sandbox import Isolation, Limits, UnitTests, examine

QUICK = Limits(wall=8.0, cpu=6, test=0.5)


def passes(program: str, *tests: str, isolation: Isolation, setup: str = "", prelude: str = "") -> bool:
    given = UnitTests(tests=tests, setup=setup, prelude=prelude)
    return examine(program, given, isolation, QUICK).all_passed


def test_tests_are_counted(isolation: Isolation) -> None:
    program = "def add(a, b):\n    if a == 1: raise ValueError(a)\n    return a + b"
    report = examine(
        program,
        UnitTests(tests=("assert add(2, 2) == 4", "assert add(1, 1) == 2", "assert add(0, 1) == 2")),
        isolation,
        QUICK,
    )
    assert (report.passed, report.total, report.finished, report.all_passed) == (1, 3, True, False)
    assert "test 2: ValueError: 1" in report.reason()
    assert report.rate == pytest.approx(1 / 3)


def test_each_assertion_of_check_is_a_test(strong: Isolation) -> None:
    check = "def check(f):\n    for i in range(4):\n        assert f(i) < 3, i\n    assert True\n    assert f(0) == 0"
    report = examine("def g(x): return x", UnitTests(check=check, entry_point="g"), strong, QUICK)
    assert (report.passed, len(report.failures), report.finished) == (4, 1, True)
    assert not report.all_passed
    assert report.rate == 4 / 5


def test_an_exception_outside_an_assertion_fails_and_does_not_raise_the_rate(strong: Isolation) -> None:
    check = "def check(f):\n    assert f(1) == 1\n    x = f(0)\n" + "    assert x\n" * 6
    report = examine("def g(x): return 1 // x", UnitTests(check=check, entry_point="g"), strong, QUICK)
    assert not report.all_passed
    assert report.rate == 1 / 7


def test_a_check_that_asserts_nothing_passes_nobody(strong: Isolation) -> None:
    suite = UnitTests(check="def check(f):\n    f(1)\n    assert True", entry_point="g")
    report = examine("def g(x): return x", suite, strong)
    assert not report.all_passed


@pytest.mark.parametrize(
    "program, test",
    [
        ("def f(x): return (x, {x: [x]}, {x})", "assert f(1) == (1, {1: [1]}, {1})"),
        ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
        ("def f(g, x): return g(g(x))", "assert f(lambda x: x * 3, 2) == 18"),
        ("def f(g, x): return sorted(x, key=g)", "assert f(len, ['aa', 'b']) == ['b', 'aa']"),
        ("def f(x): return sum(x)", "assert f(iter([1, 2])) == 3"),
        ("def f(x): raise KeyError(x)", "try:\n    f(1)\n    assert False\nexcept KeyError: pass"),
        (
            "class Odd(Exception): pass\ndef f(): raise Odd('no')",
            "try: f()\nexcept Exception as e: assert 'no' in str(e)",
        ),
        ("def f(): return lambda x: x + 1", "assert f()(2) == 3"),
        (
            "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
            "    def __len__(self): return len(self.items)\n    def __repr__(self): return 'stack'",
            "s = Stack(); s.push(4); s.push(5)\nassert s.items == [4, 5] and len(s) == 2 and repr(s) == 'stack'",
        ),
        ("import math\ndef area(r): return math.pi * r * r", "assert math.isclose(area(1), 3.14159, abs_tol=1e-3)"),
        ("import asyncio\nasync def g(): return 5\ndef f(): return asyncio.run(g())", "assert f() == 5"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(): return P(3)",
            "assert f().x == 3",
        ),
        ("def sum(a, b): return a + b", "assert sum(2, 3) == 5"),
        ("import time\nT = time.monotonic()\ndef f(): return time.monotonic() >= T", "assert f()"),
        (
            "import tempfile\ndef f():\n    with tempfile.TemporaryFile() as t: return t.write(b'abc')",
            "assert f() == 3",
        ),
        (
            "import sys\nsys.setrecursionlimit(9000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)",
            "assert f(5000) == 5000",
        ),
        ("def f(x):\n    print('much to say', x)\n    return x", "assert f(2) == 2"),
        ("def f(): return 10 ** 5000", "assert f() == 10 ** 5000"),
        ("if __name__ == '__main__':\n    raise SystemExit\ndef f(): return 1", "assert f() == 1"),
    ],
)
def test_right_programs_pass(program: str, test: str, strong: Isolation) -> None:
    report = examine(program, UnitTests(tests=(test,)), strong, QUICK)
    assert report.all_passed, report


@pytest.mark.parametrize("name", list(HONEST)[::3])
def test_honest_programs_with_unusual_features_are_right(name: str, strong: Isolation) -> None:
    program, tests = HONEST[name]
    report = examine(program, UnitTests(tests=tests), strong, Limits(wall=10.0))
    assert report.all_passed, report


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_all_honest_programs_are_right(name: str, isolation: Isolation) -> None:
    program, tests = HONEST[name]
    report = examine(program, UnitTests(tests=tests), isolation, Limits(wall=10.0))
    assert report.all_passed, report


@pytest.mark.parametrize("name", NOT_YET)
def test_what_the_document_says_cannot_be_tested_is_judged_wrong(name: str, strong: Isolation) -> None:
    program, tests = NOT_YET[name]
    report = examine(program, UnitTests(tests=tests), strong, QUICK)
    assert not report.all_passed and not report.broken


def test_a_test_that_asserts_nothing_passes_nobody(strong: Isolation) -> None:
    tests = ("for x in f(0):\n    assert x", "f(1)", "try:\n    assert f(2) is None\nexcept ValueError: pass")
    report = examine("def f(n):\n    if n == 2: raise ValueError\n    return []", UnitTests(tests=tests), strong, QUICK)
    assert report.failures == ["test 1: AssertionError: none of its assertions was reached"]


@pytest.mark.parametrize(
    "test",
    [
        "try: f(1)\nexcept: pass",
        "import contextlib\nwith contextlib.suppress(BaseException): f(1)",
        "try: f(1)\nfinally: pass",
        "def g():\n    try: return f(1)\n    except BaseException: return 0\nassert g() == 0",
    ],
)
def test_what_ends_a_program_costs_the_test_that_catches_it(test: str, strong: Isolation) -> None:
    for program in ("import os\ndef f(x): os._exit(0)", "def f(x):\n    while True: pass"):
        report = examine(program, UnitTests(tests=(test,)), strong, QUICK)
        assert report.passed == 0 and (report.over or "too slow" in report.reason()), report


def test_an_assertion_in_a_callback_counts_though_the_program_catches_it(strong: Isolation) -> None:
    program = "def f(g):\n    try: return g(1)\n    except BaseException: return 5"
    test = "def g(x): assert x == 2\nassert f(g) == 5"
    assert not passes(program, test, isolation=strong)
    assert passes(program, test.replace("assert x == 2", "raise ValueError"), isolation=strong)


@pytest.mark.parametrize(
    "program, test",
    [
        ("def f(x): return 1.0", "assert str(f(0)) == '1'"),
        ("def f(x): return True", "assert f(0) == 2"),
        ("def f(x): return float('nan')", "assert abs(f(0) - 2) < 1e-6"),
        ("def f(x)\n    return 1", "assert f(0) == 1"),
        ("def g(x): return 1", "assert f(0) == 1"),
        ("def f(x): return x.__class__", "assert f(0) == 5"),
        ("", "assert f(0) == 5"),
        ("def f(x): return f(x)", "assert f(0) == 5"),
        ("def f(x):\n    while True: x += 1", "assert f(0) == 5"),
        ("while True: pass", "assert f(0) == 5"),
        ("def f(x):\n    try:\n        while True: pass\n    except BaseException: return f(x)", "assert f(0) == 5"),
        ("def f(x): return 'x' * 10 ** 9", "assert f(0) == 5"),
        ("def f(x): return ['x' * 10 ** 7] * 3", "assert f(0) == 5"),
        ("def f(x):\n    while True: yield x", "assert list(f(0)) == [5]"),
        ("def f(x): return 9 ** 9 ** 9", "assert f(0) == 5"),
    ],
)
def test_wrong_programs_do_not(program: str, test: str, strong: Isolation) -> None:
    report = examine(program, UnitTests(tests=(test,)), strong, QUICK)
    assert not report.all_passed and not report.broken, report
    assert report.passed == 0


def test_a_slow_call_costs_its_own_test_only(strong: Isolation) -> None:
    program = "def f(x):\n    while x == 1: pass\n    return x"
    report = examine(
        program, UnitTests(tests=("assert f(0) == 0", "assert f(1) == 1", "assert f(2) == 2")), strong, QUICK
    )
    assert report.passed == 2
    assert report.failures == ["test 2: TimeoutError: too slow"]


def test_arguments_are_copies(strong: Isolation) -> None:
    """A program that empties its argument and returns nothing would else be right about `sorted` of it."""
    test = "x = [3, 1]\nassert f(x) == sorted(x)"
    assert not passes("def f(x):\n    x.clear()\n    return []", test, isolation=strong)
    assert passes("def f(x): return sorted(x)", test, isolation=strong)


def test_the_prelude_is_the_tests_own(strong: Isolation) -> None:
    """What is given is run apart for the tests: a program that redefines it does not change what they call."""
    prelude, test = "def double(x): return 2 * x", "assert f(3) == double(3)"
    assert passes("def f(x): return double(x)", test, isolation=strong, prelude=prelude)
    assert not passes("def double(x): return 0\ndef f(x): return 0", test, isolation=strong, prelude=prelude)


def test_setup_may_build_what_the_program_defines(strong: Isolation) -> None:
    program = "class Node:\n    def __init__(self, v): self.v, self.left = v, None\n"
    program += "def depth(n): return 1 + depth(n.left) if n else 0"
    setup = "root = Node(1)\nroot.left = Node(2)"
    assert passes(program, "assert depth(root) == 2", isolation=strong, setup=setup)


@pytest.mark.parametrize(
    "tests",
    [
        UnitTests(tests=("assert f( == 1",)),
        UnitTests(check="def chick(f): pass", entry_point="f"),
        UnitTests(tests=("1",), prelude="1 / 0"),
    ],
)
def test_broken_tests_are_nobodys_fault(tests: UnitTests, strong: Isolation) -> None:
    report = examine("def f(x): return 1", tests, strong, QUICK)
    assert report.broken or report.over.startswith("setting up"), report
    assert not report.all_passed


@pytest.mark.parametrize(
    "text",
    [
        "import os\nfor fd in range(3, 64):\n"
        "    try: os.write(fd, b'\\x02\\x00\\x00\\x00{}')\n    except OSError: pass",
        "import os\nfor fd in range(3, 64):\n"
        "    try: os.write(fd, b'\\x02\\x00\\x00\\x00[[')\n    except OSError: pass",
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff' * 70_000)\n    except OSError: pass",
    ],
)
def test_tests_that_write_reports_of_their_own_break_themselves_only(text: str, strong: Isolation) -> None:
    report = examine("def f(x): return x", UnitTests(tests=(text, "assert f(1) == 1")), strong, QUICK)
    assert not report.all_passed and "secret" in report.broken
