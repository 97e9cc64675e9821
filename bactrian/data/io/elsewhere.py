"""Problem rows from elsewhere: reasoning-gym's generators, and files in GSM8K's layout."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from bactrian.data.io.problem_rows import Row, Split, problem, question_hash, split_of
from bactrian.errors import BactrianError
from bactrian.store.extras import lacks

CALCULATOR = re.compile(r"<<[^<>]*>>")
FINAL = re.compile(r"####\s*(\S.*?)\s*\Z")
GYM_SIZE = 20_000
"""Problems that a task is told to have unless its config says `size`: some make them all at once, or allow no more."""
FRUITLESS = 2_000
"""How many problems in a row may be repeats, or of another split, before a task is taken to have no more."""


def gym_problems(task: str, config: Mapping[str, Any], seed: int, split: Split) -> Iterator[Row]:
    """Distinct problems of one reasoning-gym task and one split, as many as the task has.

    Ground truth: JSON {task, answer, metadata}; the solution is the bare `Answer: …`, and missing
    where the task gives no answer. reasoning-gym makes problem i of seed s from s + i, so near
    seeds share problems; ours are spread, and the split follows from the question's hash.

    Raises:
        BactrianError: if reasoning-gym is missing, has no such task, or refuses the config.
    """
    dataset = gym_dataset(task, config, seed * 1_000_003 % 2**31)
    seen: set[str] = set()
    index = fruitless = 0
    while fruitless < FRUITLESS and index < len(dataset):
        entry = dataset[index]
        index, fruitless = index + 1, fruitless + 1
        question, gold = entry["question"].strip(), entry["answer"]
        if question_hash(question) in seen or split_of(question) != split:
            continue
        seen.add(question_hash(question))
        fruitless = 0
        truth = json.dumps({"task": task, "answer": gold, "metadata": entry["metadata"]}, default=str)
        row = problem(question, f"Answer: {gold}", truth, "reasoning_gym", f"reasoning-gym/{task}", "Apache-2.0")
        yield row if gold is not None else {name: value for name, value in row.items() if name != "solution"}


def gym_dataset(task: str, config: Mapping[str, Any], seed: int) -> Any:
    """A reasoning-gym data set, made as its `create_dataset` does.

    Raises:
        BactrianError: for what it refuses.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise lacks("problems of reasoning-gym", "problems") from None
    if task not in DATASETS:
        near = get_close_matches(task, DATASETS, 1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise BactrianError(f"reasoning-gym has no task {task!r}; {meant}It has {', '.join(sorted(DATASETS))}")
    try:
        return reasoning_gym.create_dataset(task, **{"size": GYM_SIZE, **config, "seed": seed})
    except (AssertionError, TypeError, ValueError) as error:
        raise BactrianError(f"reasoning-gym's {task} refuses the config {dict(config)}: {error}") from None


def gsm8k_problems(
    rows: Iterable[Mapping[str, Any]], where: str, dataset: str, source: str, license: str
) -> Iterator[Row]:
    """Rows of {question, answer}, where the answer is worked steps and a last line `#### N`, as
    problem rows.

    The ground truth is N without commas; the solution is the answer without its <<calculator
    annotations>>.

    Raises:
        BactrianError: naming the row for a missing field or a missing `####`.
    """
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        for field in ("question", "answer"):
            if not isinstance(row.get(field), str):
                raise BactrianError(
                    f"{place}: field {field!r}: found {row.get(field)!r}, expected text (GSM8K's layout)"
                )
        solution = CALCULATOR.sub("", row["answer"]).strip()
        final = FINAL.search(solution)
        if final is None:
            raise BactrianError(f"{place}: field 'answer': no last line '#### N' in {row['answer'][-60:]!r}")
        yield problem(row["question"].strip(), solution, final[1].replace(",", ""), dataset, source, license)
