"""HumanEval+ in its two published layouts: references right, changed programs wrong, broken tests nobody's fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from sandbox.busy import busy
from sandbox.mutants import one_mutant
from sandbox.plus import Row, both
from sandbox.test_mutants import EQUIVALENT, UNTOLD
from sandbox.walls import NONE, WORKING

from bactrian.data.io.code_tasks import humaneval_problems, mbpp_problems
from bactrian.evaluate.catalogue import catalogue
from bactrian.sandbox import Isolation, Limits, ReferenceProgram, answers
from bactrian.verify import Item, Verdict, verify, verify_all
from bactrian.verify.code.code import block

FILE = Path(__file__).parents[2].parent / "shared" / "data" / "humaneval.jsonl"
ROWS: list[Row] = [
    {
        "task_id": "H/1",
        "entry_point": "scale",
        "prompt": "import math\n\ndef scale(xs: list, k: float) -> list:\n",
        "canonical_solution": "    return [math.fsum([x * k]) for x in xs]\n",
        "test": "def check(candidate):\n    assert candidate([1.5, 2.0], 0.5) == [0.75, 1.0]\n",
    },
    {
        "task_id": "H/2",
        "entry_point": "tri",
        "prompt": "def tri(n: int) -> list:\n",
        "canonical_solution": "    return [1] if n < 1 else tri(n - 1) + [n * n]\n",
        "test": "def check(candidate):\n    assert candidate(3) == [1, 1, 4, 9]\n",
    },
    {
        "task_id": "H/3",
        "entry_point": "find_zero",
        "prompt": "def poly(xs: list, x: float):\n    return sum(c * x ** i for i, c in enumerate(xs))\n\n"
        "def find_zero(xs: list):\n",
        "canonical_solution": "    return -xs[0] / xs[1]\n",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == -0.5\n",
    },
    {
        "task_id": "H/4",
        "entry_point": "pair",
        "prompt": "def pair(word: str, table: dict) -> tuple:\n",
        "canonical_solution": "    return word.upper(), table.get(word)\n",
        "test": "def check(candidate):\n    assert candidate('ab', {'ab': 1}) == ('AB', 1)\n",
    },
]
WRONG = {
    "scale": "return [x for x in xs]",
    "tri": "return [1, 1, 4, 9]",
    "find_zero": "return 0.0",
    "pair": "return word.upper(), 1",
}


def judged(rows: list[Row], programs: list[str], **settings: Any) -> list[Verdict]:
    problems = humaneval_problems(rows, "plus", "code", "")
    items = [
        Item("code", block(program), problem["ground_truth"], settings)
        for problem, program in zip(problems, programs, strict=True)
    ]
    return verify_all(items)


@pytest.mark.parametrize("layout", [0, 1], ids=["with NumPy", "inputs alone"])
def test_references_are_right_and_other_programs_are_not(layout: int, strong: Isolation) -> None:
    rows = [both(row, 30, strong)[layout] for row in ROWS]
    right = judged(rows, [row["prompt"] + row["canonical_solution"] for row in ROWS])
    assert [verdict.outcome for verdict in right] == ["right"] * len(ROWS), right
    wrong = judged(rows, [f"{row['prompt']}    {WRONG[row['entry_point']]}" for row in ROWS])
    assert [verdict.outcome for verdict in wrong] == ["wrong"] * len(ROWS), wrong


@pytest.mark.skipif(not WORKING, reason=NONE)
@pytest.mark.parametrize("wrapped", ["[{}]", "({},)", "[[{}]]", "[{}, {}]", "[]"])
def test_a_list_around_a_number_is_not_that_number(wrapped: str, strong: Isolation) -> None:
    """NumPy spreads a number over a list, so that every comparison of its own would call this right."""
    check = "import numpy as np\ndef check(f):\n    assert np.allclose(f(5), 7.5, rtol=1e-07, atol=1e-6)"
    truth = json.dumps({"check": check, "entry_point": "f"})
    assert verify("code", block("def f(x): return 7.5"), truth).outcome == "right"
    program = f"def f(x): return {wrapped.replace('{}', '7.5')}"
    assert verify("code", block(program), truth).outcome == "wrong"


def test_arrays_are_still_compared_with_a_number_each(strong: Isolation) -> None:
    check = (
        "import numpy as np\ndef check(f):\n    assert np.allclose(np.array([f(1), f(2)]), 3.0)\n"
        "    np.testing.assert_array_less([f(1), f(2)], 4)"
    )
    truth = json.dumps({"check": check, "entry_point": "f"})
    assert verify("code", block("def f(x): return 3.0"), truth).outcome == "right"
    assert verify("code", block("def f(x): return 3.5"), truth).outcome == "wrong"


def test_a_rate_counts_every_input_in_either_layout(strong: Isolation) -> None:
    program = block(ROWS[1]["prompt"] + "    return [1] if n < 1 else [0] if n == 3 else tri(n - 1) + [n * n]\n")
    for row in both(ROWS[1], 30, strong):
        (problem,) = humaneval_problems([row], "plus", "code_rate", "")
        assert 0.1 < verify("code_rate", program, problem["ground_truth"]).score < 1.0


def test_the_budget_grows_with_the_inputs_and_the_time_of_the_reference(strong: Isolation) -> None:
    slow = "import time\ndef f(x):\n    end = time.process_time() + 0.05\n    while time.process_time() < end: pass\n"
    slow += "    return x"
    truth = json.dumps({"reference": slow, "inputs": [[n] for n in range(30)], "entry_point": "f"})
    assert verify("code", block(slow), truth, {"seconds": 1.0}).outcome == "right"


def test_what_a_reference_gives_is_found_once(strong: Isolation) -> None:
    reference = ReferenceProgram.of("def f(x): return [x, float(x)], {x: None}", "f", [[1], [2]])
    found = answers(reference, strong, Limits())
    assert json.loads(found.pairs)[1] == [[2], {"tuple": [[2, 2.0], {"dict": [[2, None]]}]}]
    assert answers(ReferenceProgram.of(reference.program, "f", [[1], [2]]), strong, Limits()) is found
    assert answers(ReferenceProgram.of(reference.program, "f", [[1], [3]]), strong, Limits()) is not found


@pytest.mark.parametrize(
    "truth",
    [
        {"reference": "def f(x): return 1 // x", "inputs": [[1], [0]], "entry_point": "f"},
        {"reference": "def f(x): return f", "inputs": [[1]], "entry_point": "f"},
        {"reference": "import os\nos._exit(0)", "inputs": [[1]], "entry_point": "f"},
        {"reference": "def f(x):\n    while x: pass", "inputs": [[1]], "entry_point": "f"},
        {"check": "import pandas\ndef check(f):\n    assert f(1) == 1", "entry_point": "f"},
        {"check": "def check(f):\n    import pandas\n    assert f(1) == 1", "entry_point": "f"},
        {"check": "TABLE = {}['x']\ndef check(f):\n    assert f(1) == 1", "entry_point": "f"},
        {"check": "def check(f):\n    inputs = [1][2]\n    assert f(1) == 1", "entry_point": "f"},
        {"check": "while True: pass\ndef check(f): assert f(1) == 1", "entry_point": "f"},
        {"tests": ["assert f(1) == 1", "import pandas\nassert f(1) == 1"]},
        {"tests": ["assert f(1) == 1"], "setup": "import pandas"},
        {"tests": ["assert f(1) == 1"], "setup": "x = 1 / 0"},
        {"tests": ["assert f(1) == 1"], "prelude": "while True: pass"},
    ],
    ids=str,
)
def test_tests_that_fail_by_themselves_are_not_charged_to_a_program(truth: Any, strong: Isolation) -> None:
    for program in ("def f(x): return 1", "def f(x): return 2"):
        verdict = verify("code", block(program), json.dumps(truth), {"test_seconds": 0.5, "seconds": 2.0})
        assert verdict.outcome == "crashed", verdict


REPLYING = """
import os
for fd in range(3, 64):
    for text in (b"5", b"{}", b'{"failed":5}'):
        try: os.write(fd, len(text).to_bytes(4, "little") + text)
        except OSError: pass
"""


@pytest.mark.parametrize(
    "program, truth",
    [
        (
            "def f(x): raise ImportError('no')",
            {"check": "def check(f):\n    x = f(1)\n    assert x == 1", "entry_point": "f"},
        ),
        ("def f(x): import pandas", {"tests": ["assert f(1) == 1"]}),
        ("import pandas", {"tests": ["assert f(1) == 1"]}),
        ("f = 3", {"tests": ["assert f(1) == 1"]}),
        *(
            (program, {"check": "def check(f):\n    x = f(1)\n    assert x == 1", "entry_point": "f"})
            for program in ("f = 3", "f = len", "class F: pass\nf = F()", "def g(x): return 1", REPLYING)
        ),
        ("class Node: pass", {"tests": ["assert f(root) == 1"], "setup": "root = Node(1)"}),
        ("def f(x): return 1", {"tests": ["assert f(root) == 1"], "setup": "root = Node(1)"}),
        ("def f(x): return None", {"check": "def check(f):\n    a, b = f(1)\n    assert a == b", "entry_point": "f"}),
        ("", {"check": "def check(f):\n    assert f(1) == 1", "entry_point": "f"}),
    ],
    ids=str,
)
def test_what_a_program_does_to_its_tests_is_charged_to_it(program: str, truth: Any, strong: Isolation) -> None:
    verdict = verify("code", block(program), json.dumps(truth), {"test_seconds": 0.5, "seconds": 2.0})
    assert verdict.outcome == "wrong", verdict


def test_a_task_that_needs_what_is_not_offered_is_not_judged(strong: Isolation) -> None:
    test = "import unittest\nclass TestCases(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(), 1)"
    row = {"instruct_prompt": "Write f.", "test": test, "entry_point": "f", "task_id": "B/1"}
    for libs, outcome in (("['pandas', 'os']", "crashed"), ("['numpy', 'os']", "right"), (None, "right")):
        (question,) = catalogue()["bigcodebench"].build({**row, "libs": libs})
        assert verify("code", block("def f(): return 1"), question.truth).outcome == outcome
    assert verify("code", block("def f(): return 2"), question.truth).outcome == "wrong"


def test_mbpp_plus(strong: Isolation) -> None:
    test = (
        "import numpy as np\nfrom math import inf\n\ndef assertion(out, exp, atol):\n    assert out == exp\n\n"
        "for inp, exp in zip([[1, 2], [3, 4]], [3, 7]):\n    assertion(plus(*inp), exp, 0)\n"
    )
    row = {
        "task_id": 1,
        "prompt": "Add.",
        "code": "def plus(a, b):\n    return a + b",
        "test": test,
        "test_imports": [],
        "test_list": ["assert plus(1, 2) == 3"],
    }
    (problem,) = mbpp_problems([row], "m", "code", "", 1)
    assert problem["source"] == "evalplus/mbppplus"
    assert verify("code", problem["solution"], problem["ground_truth"]).outcome == "right"
    assert verify("code", block("def plus(a, b): return 3"), problem["ground_truth"]).outcome == "wrong"


def humaneval() -> list[Row]:
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there")
    return [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.mark.heavy
@pytest.mark.skipif(not WORKING, reason=NONE)
@pytest.mark.parametrize("layout", [0, 1], ids=["with NumPy", "inputs alone"])
def test_every_reference_of_humaneval_is_right_and_mutants_are_wrong(layout: int, strong: Isolation) -> None:
    rows = humaneval()
    made = [both(row, 300, strong)[layout] for row in rows]
    right = judged(made, [row["prompt"] + row["canonical_solution"] for row in rows])
    assert not {row["task_id"]: v for row, v in zip(rows, right, strict=True) if v.outcome != "right"}
    texts = [row["prompt"] + row["canonical_solution"] for row in rows]
    mutants = [one_mutant(text, row["entry_point"], row["task_id"]) for text, row in zip(texts, rows, strict=True)]
    wrong = judged(made, mutants, test_seconds=1.0, seconds=4.0)
    right_still = {row["task_id"] for row, v in zip(rows, wrong, strict=True) if v.outcome != "wrong"}
    assert right_still <= {*EQUIVALENT, *UNTOLD}


@pytest.mark.heavy
def test_verdicts_of_humaneval_plus_are_the_same_on_a_busy_machine(strong: Isolation) -> None:
    rows = humaneval()[::9]
    made = [both(row, 300, strong)[1] for row in rows]
    hang = "def {}(*a):\n    while True: pass"
    programs = [row["prompt"] + row["canonical_solution"] for row in rows]
    programs += [
        one_mutant(program, row["entry_point"], row["task_id"]) for program, row in zip(programs, rows, strict=True)
    ]
    programs += [hang.format(row["entry_point"]) for row in rows]
    idle = [verdict.outcome for verdict in judged(made * 3, programs, test_seconds=1.0, seconds=5.0)]
    assert idle[: len(rows)] == ["right"] * len(rows) and "right" not in idle[2 * len(rows) :]
    with busy(3):
        assert [verdict.outcome for verdict in judged(made * 3, programs, test_seconds=1.0, seconds=5.0)] == idle
