"""Files in the layouts of MATH, IFEval and MMLU become problem rows that their verifiers can judge."""

import json

import pytest

from bactrian.data.io.question_files import questions
from bactrian.data.io.rows import validate_row
from bactrian.errors import BactrianError
from bactrian.verify import check_verifiers, verify
from bactrian.verify.maths.solution import boxed

MATH = {"problem": "Half of 1?", "solution": "It is $\\boxed{\\frac12}$."}
IFEVAL = {"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
MMLU = {"question": "Which?", "choices": ["this", "that"], "answer": 1}


def test_each_layout_gets_its_verifier() -> None:
    pytest.importorskip("langdetect")
    rows = list(questions([MATH, IFEVAL, MMLU], "file", None, "MIT", boxed))
    assert [row["dataset"] for row in rows] == ["math", "ifeval", "choice"]
    for row in rows:
        validate_row(row, "problem", "row")
    check_verifiers(rows, "file")
    assert rows[0]["ground_truth"] == "\\frac12" and "solution" not in rows[1]
    assert rows[2]["messages"][0]["content"] == "Which?\nA. this\nB. that"
    for row in (rows[0], rows[2]):
        assert verify(row["dataset"], row["solution"], row["ground_truth"]).outcome == "right"
    assert json.loads(rows[1]["ground_truth"])["kwargs"] == [{}]
    assert next(questions([MATH], "file", "math_strict", "MIT", boxed))["dataset"] == "math_strict"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "row 1: not known as MATH"),
        ({"problem": "x", "solution": "no box"}, "row 1: found neither an 'answer'"),
        (MMLU | {"answer": "C"}, "row 1, field 'answer': found 'C', expected one of A, B"),
        (MMLU | {"choices": ["one"]}, "row 1, field 'choices'"),
        (IFEVAL | {"prompt": None}, "row 1, field 'prompt': found None"),
    ],
)
def test_bad_rows_are_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(BactrianError, match=message):
        list(questions([row], "file", None, "MIT", boxed))
