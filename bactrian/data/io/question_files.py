"""Problem rows from files in the layouts of MATH, IFEval and MMLU."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bactrian.data.io.problem_rows import Row, problem
from bactrian.errors import BactrianError

LETTERS = "ABCDEFGHIJ"
Built = tuple[str, str, str, str]
"""Question, ground truth, solution ("" for none), and the verifier that is usual for the layout."""


def questions(
    rows: Iterable[Mapping[str, Any]],
    where: str,
    verifier: str | None,
    license: str,
    last_box: Callable[[str], str | None],
) -> Iterator[Row]:
    """Each row as a problem; its layout is told by its fields.

    MATH: `problem`, `solution` and perhaps `answer` (else what `last_box` finds in the solution).
    IFEval: `prompt`, `instruction_id_list`, `kwargs`. MMLU: `question`, `choices`, `answer` (a
    letter, or an index from 0). `verifier` None: math, ifeval, choice.

    Raises:
        BactrianError: naming the row and field at fault.
    """
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        question, truth, solution, usual = _built(row, place, last_box)
        made = problem(question, solution, truth, verifier or usual, str(row.get("source") or where), license)
        yield made if solution else {name: value for name, value in made.items() if name != "solution"}


def _built(row: Mapping[str, Any], place: str, last_box: Callable[[str], str | None]) -> Built:
    if "instruction_id_list" in row:
        truth = json.dumps({key: row.get(key) for key in ("instruction_id_list", "kwargs")})
        return _text(row, "prompt", place), truth, "", "ifeval"
    if "choices" in row:
        return _choice(row, place)
    if "problem" in row:
        solution = row["solution"] if isinstance(row.get("solution"), str) else ""
        answer = row.get("answer") or last_box(solution)
        if not isinstance(answer, str) or not answer.strip():
            raise BactrianError(f"{place}: found neither an 'answer' nor a \\boxed one in 'solution'")
        return _text(row, "problem", place).strip(), answer.strip(), solution.strip(), "math"
    raise BactrianError(
        f"{place}: not known as MATH (problem, solution, answer), IFEval (prompt, instruction_id_list, kwargs) or MMLU "
        f"(question, choices, answer); it has the fields {', '.join(row)}"
    )


def _choice(row: Mapping[str, Any], place: str) -> Built:
    choices, answer = row["choices"], row.get("answer")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        expected = f"expected a list of 2 to {len(LETTERS)} texts"
        raise BactrianError(f"{place}, field 'choices': found {choices!r:.60}, {expected}")
    letters = LETTERS[: len(choices)]
    letter = letters[answer] if isinstance(answer, int) and 0 <= answer < len(choices) else answer
    if not isinstance(letter, str) or letter not in letters or not letter:
        raise BactrianError(f"{place}, field 'answer': found {answer!r:.60}, expected one of {', '.join(letters)}")
    listed = "\n".join(f"{each}. {text}" for each, text in zip(letters, choices, strict=True))
    question = f"{_text(row, 'question', place).strip()}\n{listed}"
    return question, letter, f"Therefore, the answer is: {letter}", "choice"


def _text(row: Mapping[str, Any], field: str, place: str) -> str:
    if not isinstance(row.get(field), str) or not row[field].strip():
        raise BactrianError(f"{place}, field {field!r}: found {row.get(field)!r:.60}, expected a text")
    return str(row[field])
