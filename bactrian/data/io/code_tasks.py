"""Problem rows of programming tasks: files in the layouts of HumanEval, HumanEval+, MBPP and MBPP+."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bactrian.data.io.problem_rows import Row, problem
from bactrian.errors import BactrianError

ASK = "Complete this Python function. Give the whole function in one fenced block of Python.\n\n```python\n{}\n```"
ASK_WITH_TESTS = "{}\nGive one fenced block of Python.{}"
SHOWN = " It must pass this test:\n\n```python\n{}\n```"
HUMAN_EVAL = {"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str}
MBPP = {"text": str, "code": str, "test_list": list, "test_setup_code": str}

ROOT = "abs(poly(*arguments, found)) <= max(atol, 1e-4)"
"""Of HumanEval/32, `find_zero`: any root of the polynomial is right; `poly` is given with the prompt."""
MBPP_PLUS = {"prompt": str, "code": str, "test_list": list, "test": str}


def humaneval_problems(rows: Iterable[Mapping[str, Any]], where: str, dataset: str, license: str) -> Iterator[Row]:
    """Rows of HumanEval, or of HumanEval+ (with NumPy in `test`, or `base_input`, `plus_input` and
    `atol` for it).

    What stands before the function in the prompt (imports, helpers) is given to the program
    whatever it says itself.

    Raises:
        BactrianError: naming row and field.
    """
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        require(row, HUMAN_EVAL, place)
        prompt, entry_point = row["prompt"], row["entry_point"]
        given, found, _ = prompt.rpartition(f"def {entry_point}(")
        if not found:
            raise BactrianError(f"{place}: field 'prompt': no function called {entry_point!r} in {prompt[:60]!r}")
        program = prompt + row["canonical_solution"]
        plus = "plus_input" in row
        check = row.get("test")
        if not plus and not isinstance(check, str):
            raise BactrianError(f"{place}: field 'test': found {check!r:.40}, expected a text that defines check()")
        tests = against_reference(row, program, place) if plus else {"check": check}
        truth = json.dumps({**tests, "entry_point": entry_point, "prelude": given})
        of_plus = plus or "def assertion(" in str(check)
        source = "evalplus/humanevalplus" if of_plus else "openai/human-eval"
        yield problem(ASK.format(prompt.rstrip()), block(program), truth, dataset, source, license)


def against_reference(row: Mapping[str, Any], program: str, place: str) -> Row:
    """HumanEval+'s tests of one row: inputs only; what is expected is what the reference gives, in the sandbox."""
    inputs = [row.get(name) for name in ("base_input", "plus_input")]
    if not all(isinstance(each, list) and all(isinstance(one, list) for one in each) for each in inputs):
        raise BactrianError(f"{place}: fields 'base_input', 'plus_input': expected lists of lists of arguments")
    arguments = [one for each in inputs if each is not None for one in each]
    holds = {"holds": ROOT} if row["entry_point"] == "find_zero" else {}
    return {"reference": program, "inputs": arguments, "atol": float(row.get("atol", 0)), **holds}


def mbpp_problems(
    rows: Iterable[Mapping[str, Any]], where: str, dataset: str, license: str, shown: int
) -> Iterator[Row]:
    """Rows of MBPP, or of MBPP+, whose `test` is one text. The first `shown` tests stand in the
    question.

    They say what the function is called. Judged is by all tests, the challenging ones too.

    Raises:
        BactrianError: naming row and field.
    """
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        plus = "test" in row and "prompt" in row
        require(row, MBPP_PLUS if plus else MBPP, place)
        tests = [*row["test_list"], *row.get("challenge_test_list", [])]
        examples = "\n".join(tests[:shown])
        asked = row["prompt" if plus else "text"].strip()
        question = ASK_WITH_TESTS.format(asked, SHOWN.format(examples) if shown else "")
        truth = {"tests": [row["test"]]} if plus else {"tests": tests, "setup": row["test_setup_code"]}
        source = "evalplus/mbppplus" if plus else "google-research/mbpp"
        yield problem(question, block(row["code"].replace("\r\n", "\n")), json.dumps(truth), dataset, source, license)


def require(row: Mapping[str, Any], fields: Mapping[str, type], place: str) -> None:
    """
    Raises:
        BactrianError: for a missing field, or one of another type.
    """
    for field, kind in fields.items():
        if not isinstance(row.get(field), kind):
            expected = "text" if kind is str else "a list"
            raise BactrianError(f"{place}: field {field!r}: found {row.get(field)!r:.40}, expected {expected}")


def block(program: str) -> str:
    return f"```python\n{program.strip()}\n```"
