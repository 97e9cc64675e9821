"""The verifiers of programs: blocks, ground truths, rewards, and what a program prints."""

import json

import pytest
from sandbox.walls import NONE, WORKING

from bactrian.errors import BactrianError
from bactrian.verify import Item, Problem, check_verifiers, verifier, verify, verify_all
from bactrian.verify.code.blocks import last_program
from bactrian.verify.code.code import ADD, block, parse, same_output

isolated = pytest.mark.skipif(not WORKING, reason=NONE)


@pytest.mark.parametrize(
    "text, program",
    [
        ("```python\na\n```\n```python\nb\n```", "b\n"),
        ("```python\na\n```\nIt prints:\n```\n5\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("```py\na\n```\n```json\n{}\n```", "a\n"),
        ("~~~python\na\n~~~", "a\n"),
        ("````python\n'''\n```\n'''\n````", "'''\n```\n'''\n"),
        ("```python\na", "a"),
        ("1. So\n   ```python\n   a\n   ```", "   a\n   "[:5]),
        ("```java\na\n```", None),
        ("no block", None),
        ("`python`", None),
    ],
)
def test_the_last_block_of_python_is_the_program(text: str, program: str | None) -> None:
    found = last_program(text)
    assert (found and found.rstrip(" ")) == program


@isolated
@pytest.mark.parametrize("name", ["code", "code_rate", "pal"])
def test_each_verifier_knows_its_own_examples(name: str) -> None:
    found = verifier(name)
    for example in found.examples:
        verdict = verify(name, example.completion, example.ground_truth, example.settings)
        assert verdict.outcome == example.outcome, (example, verdict)
        assert (verdict.score == 1.0) == (example.outcome == "right")


@isolated
def test_the_rate_counts_and_the_threshold_cuts() -> None:
    two_of_three = block("def add(a, b):\n    return abs(a) + abs(b)")
    assert verify("code", two_of_three, ADD).score == 0.0
    assert verify("code_rate", two_of_three, ADD).score == pytest.approx(2 / 3)
    assert verify("code_rate", two_of_three, ADD, {"threshold": 0.6}).score == pytest.approx(2 / 3)
    assert verify("code_rate", two_of_three, ADD, {"threshold": 0.7}).score == 0.0
    assert verify("code_rate", two_of_three, ADD).outcome == "wrong"


@isolated
def test_verdicts_of_many_come_in_order() -> None:
    answers = [block(f"def add(a, b): return a + b + {n % 2}") for n in range(8)]
    verdicts = verify_all([Item("code", answer, ADD) for answer in answers])
    assert [verdict.outcome for verdict in verdicts] == ["right", "wrong"] * 4


@pytest.mark.parametrize(
    "truth, complaint",
    [
        ("[", "expected JSON"),
        ("[]", "expected one of"),
        ("{}", "expected one of"),
        ('{"tests": ["assert f("]}', "is not Python"),
        ('{"tests": [3]}', "a list of texts"),
        ('{"check": "def check(f): pass"}', "entry_point"),
        ('{"check": "x = 1", "entry_point": "f"}', "no function called"),
        ('{"cases": [{"input": "1"}]}', "case 1"),
        ('{"tests": ["1"], "cases": [{}]}', "expected one of"),
        ('{"tests": ["1"], "setup": 3}', "'setup'"),
    ],
)
def test_ground_truths_that_are_no_tests_are_refused(truth: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(Problem(truth))


@isolated
def test_a_row_that_cannot_be_judged_is_named() -> None:
    rows = [{"dataset": "code", "ground_truth": ADD}, {"dataset": "code", "ground_truth": "{}"}]
    with pytest.raises(BactrianError, match=r"rows\.jsonl, row 2, field 'ground_truth'"):
        check_verifiers(rows, "rows.jsonl")
    with pytest.raises(BactrianError, match="expected a number"):
        check_verifiers([{"dataset": "pal", "ground_truth": "many"}], "rows.jsonl")


@pytest.mark.parametrize(
    "printed, expected, same",
    [
        ("1 2\n", "1 2", True),
        ("1 2  \n\n", "1 2\n", True),
        ("1\n2", "1 2", False),
        ("1", "1.0", True),
        ("0.3333333", "0.33333333", True),
        ("0.334", "0.333", False),
        ("1.0", "1", False),
        ("", "\n", True),
        ("x", "1.0", False),
        ("nan", "1.0", False),
        ("1 2 3", "1 2", False),
    ],
)
def test_outputs_are_compared_by_words(printed: str, expected: str, same: bool) -> None:
    assert same_output(printed, expected) is same


@isolated
@pytest.mark.parametrize(
    "program, truth, outcome",
    [
        ("print('about', 3.0001)", "3", "right"),
        ("print(3.01)", "3", "wrong"),
        ("print(20001)", "20000", "wrong"),
        ("print(1)\nprint(2)", "1", "wrong"),
        ("def solution():\n    return 7", "7", "right"),
        ("print(float('nan'))", "7", "unparsable"),
        ("print(7); raise ValueError", "7", "wrong"),
        ("__import__('os').system('echo 7')", "7", "unparsable"),
        ("print(7", "7", "wrong"),
        ("while True: pass", "7", "wrong"),
    ],
)
def test_pal(program: str, truth: str, outcome: str) -> None:
    verdict = verify("pal", block(program), truth, {"seconds": 2.0})
    assert verdict.outcome == outcome, verdict


@isolated
def test_cases_are_runs_of_their_own() -> None:
    truth = json.dumps({"cases": [{"input": f"{n}\n", "output": f"{n * n}\n"} for n in range(3)]})
    remembering = block(
        "n = int(input())\nopen('seen', 'a').write('x')\nprint(n * n if open('seen').read() == 'x' else 0)"
    )
    assert verify("code", remembering, truth).outcome == "right"
    assert verify("code_rate", block("print(int(input()))"), truth).score == pytest.approx(2 / 3)
