"""Problem rows of programming tasks: files in the layouts of HumanEval, HumanEval+ and MBPP."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bactrian.data.problems import Row, problem
from bactrian.errors import BactrianError

ASK = "Complete this Python function. Give the whole function in one fenced block of Python.\n\n```python\n{}\n```"
ASK_WITH_TESTS = "{}\nGive one fenced block of Python.{}"
SHOWN = " It must pass this test:\n\n```python\n{}\n```"
HUMAN_EVAL = {"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str}
MBPP = {"text": str, "code": str, "test_list": list, "test_setup_code": str}

AGAINST_REFERENCE = """
def _same(found, expected, atol):
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return found == expected or abs(found - expected) <= max(atol, 1e-6) + 1e-6 * abs(expected)
    if isinstance(expected, (list, tuple)) and type(found) is type(expected) and len(found) == len(expected):
        return all(_same(one, other, atol) for one, other in zip(found, expected))
    return found == expected

def check(candidate):
    import copy
    names = {{"__name__": "reference"}}
    exec({reference!r}, names)
    reference = names[{entry_point!r}]
    for arguments in {arguments}:
        expected = reference(*copy.deepcopy(arguments))
        assert _same(candidate(*copy.deepcopy(arguments)), expected, {atol})
"""
"""The tests of HumanEval+: inputs only; what is expected is what the reference solution gives, beside the tests."""


def humaneval_problems(
    rows: Iterable[Mapping[str, Any]], where: str, dataset: str, license: str
) -> Iterator[Row]:
    """Rows of HumanEval, or of HumanEval+ (which have `base_input`, `plus_input` and `atol` for `test`).

    What stands before the function in the prompt (imports, helpers) is given to the program whatever it says itself.
    Raises BactrianError naming row and field.
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
        check = against_reference(row, program, place) if plus else row.get("test")
        if not isinstance(check, str):
            raise BactrianError(f"{place}: field 'test': found {check!r:.40}, expected a text that defines check()")
        truth = json.dumps({"check": check, "entry_point": entry_point, "prelude": given})
        source = "evalplus/humanevalplus" if plus else "openai/human-eval"
        yield problem(ASK.format(prompt.rstrip()), block(program), truth, dataset, source, license)


def against_reference(row: Mapping[str, Any], program: str, place: str) -> str:
    """HumanEval+'s tests of one row, as a text that defines check()."""
    inputs = [row.get(name) for name in ("base_input", "plus_input")]
    if not all(isinstance(each, list) and all(isinstance(one, list) for one in each) for each in inputs):
        raise BactrianError(f"{place}: fields 'base_input', 'plus_input': expected lists of lists of arguments")
    arguments = [one for each in inputs if each is not None for one in each]
    return AGAINST_REFERENCE.format(reference=program, entry_point=row["entry_point"], arguments=repr(arguments),
                                    atol=float(row.get("atol", 0)))  # fmt: skip


def mbpp_problems(
    rows: Iterable[Mapping[str, Any]], where: str, dataset: str, license: str, shown: int
) -> Iterator[Row]:
    """Rows of MBPP. The first `shown` tests stand in the question: they say what the function is called.

    Judged is by all tests, the challenging ones too. Raises BactrianError naming row and field.
    """
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        require(row, MBPP, place)
        tests = [*row["test_list"], *row.get("challenge_test_list", [])]
        examples = "\n".join(tests[:shown])
        question = ASK_WITH_TESTS.format(row["text"].strip(), SHOWN.format(examples) if shown else "")
        truth = json.dumps({"tests": tests, "setup": row["test_setup_code"]})
        solution = block(row["code"].replace("\r\n", "\n"))
        yield problem(question, solution, truth, dataset, "google-research/mbpp", license)


def require(row: Mapping[str, Any], fields: Mapping[str, type], place: str) -> None:
    """Raises BactrianError for a missing field, or one of another type."""
    for field, kind in fields.items():
        if not isinstance(row.get(field), kind):
            expected = "text" if kind is str else "a list"
            raise BactrianError(f"{place}: field {field!r}: found {row.get(field)!r:.40}, expected {expected}")


def block(program: str) -> str:
    return f"```python\n{program.strip()}\n```"
