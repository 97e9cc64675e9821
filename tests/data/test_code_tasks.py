"""Files in the layouts of HumanEval, HumanEval+ and MBPP as problem rows; the reference solutions themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
from sandbox.walls import NONE, WORKING

from bactrian.data.io.code_tasks import humaneval_problems, mbpp_problems
from bactrian.errors import BactrianError
from bactrian.verify import Item, verify, verify_all

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
isolated = pytest.mark.skipif(not WORKING, reason=NONE)
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "entry_point": "near",
    "prompt": 'import math\n\ndef far(a, b):\n    return not near(a, b)\n\ndef near(a, b):\n    """Within 1."""\n',
    "canonical_solution": "    return math.fabs(a - b) <= 1\n",
    "test": "def check(candidate):\n    assert candidate(1, 2)\n    assert not candidate(1, 3)\n    assert far(1, 9)\n",
}
PLUS = {name: HUMANEVAL[name] for name in ("task_id", "entry_point", "prompt", "canonical_solution")} | {
    "base_input": [[1, 2]],
    "plus_input": [[0.5, 1.5], [-3, 3]],
    "atol": 0,
}
TASK = {
    "text": "Add.",
    "code": "def add(a, b):\r\n  return a + b",
    "test_list": ["assert add(1, 2) == 3"],
    "challenge_test_list": ["assert add(-1, 1) == 0"],
    "test_setup_code": "",
    "task_id": 1,
}


def read(name: str) -> list[dict[str, Any]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return [json.loads(line) for line in path.read_text().splitlines()]


def code_of(answer: str) -> str:
    return f"```python\n{answer}\n```"


def test_what_stands_before_the_function_is_given() -> None:
    (row,) = humaneval_problems([HUMANEVAL], "file", "code", "MIT")
    truth = json.loads(row["ground_truth"])
    assert truth["prelude"] == "import math\n\ndef far(a, b):\n    return not near(a, b)\n\n"
    assert row["messages"][0]["content"].endswith(f"```python\n{HUMANEVAL['prompt'].rstrip()}\n```")
    assert "assert" not in row["messages"][0]["content"]
    assert row["dataset"] == "code" and row["source"] == "openai/human-eval"


@isolated
def test_a_function_alone_is_enough_and_a_wrong_one_is_not() -> None:
    (row,) = humaneval_problems([HUMANEVAL], "file", "code", "MIT")
    for program, outcome in (
        ("def near(a, b):\n    return math.fabs(a - b) <= 1", "right"),
        ("def near(a, b):\n    return True", "wrong"),
    ):
        assert verify("code", code_of(program), row["ground_truth"]).outcome == outcome


@isolated
def test_humaneval_plus_is_judged_by_what_the_reference_gives() -> None:
    (row,) = humaneval_problems([PLUS], "file", "code", "Apache-2.0")
    assert verify("code", row["solution"], row["ground_truth"]).outcome == "right"
    for wrong in ("def near(a, b): return True", "def near(a, b): return a == 1", ""):
        assert verify("code", code_of(wrong), row["ground_truth"]).outcome == "wrong"
    assert row["source"] == "evalplus/humanevalplus"


def test_mbpp_shows_the_tests_that_it_is_told_to() -> None:
    for shown in (0, 1, 5):
        (row,) = mbpp_problems([TASK], "file", "code_rate", "CC BY 4.0", shown)
        asked = row["messages"][0]["content"]
        assert [test in asked for test in ("assert add(1, 2) == 3", "assert add(-1, 1) == 0")] == [shown > 0, shown > 1]
        assert json.loads(row["ground_truth"])["tests"] == ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


@pytest.mark.parametrize(
    "rows, field",
    [
        ([HUMANEVAL, {**HUMANEVAL, "prompt": None}], "prompt"),
        ([HUMANEVAL, {**HUMANEVAL, "entry_point": "nowhere"}], "prompt"),
        ([HUMANEVAL, {**HUMANEVAL, "test": 3}], "test"),
        ([PLUS, {**PLUS, "plus_input": 3}], "plus_input"),
    ],
)
def test_a_bad_row_is_named(rows: list[dict[str, Any]], field: str) -> None:
    with pytest.raises(BactrianError, match=f"data.jsonl, row 2: fields? .*'{field}'"):
        list(humaneval_problems(rows, "data.jsonl", "code", ""))


def check_references(rows: list[dict[str, Any]]) -> None:
    verdicts = verify_all([Item(row["dataset"], row["solution"], row["ground_truth"]) for row in rows])
    judged = zip(rows, verdicts, strict=True)
    assert not {row["solution"]: verdict for row, verdict in judged if verdict.outcome != "right"}


@isolated
def test_reference_solutions_pass() -> None:
    rows = [
        *humaneval_problems(read("humaneval.jsonl")[::8], "h", "code", ""),
        *mbpp_problems(read("mbpp_test.dev.jsonl")[::25], "m", "code", "", 1),
    ]
    check_references(rows)


@isolated
@pytest.mark.slow
def test_all_reference_solutions_of_humaneval_pass() -> None:
    check_references(list(humaneval_problems(read("humaneval.jsonl"), "h", "code", "")))
