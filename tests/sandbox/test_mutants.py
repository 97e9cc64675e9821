"""HumanEval's reference solutions with one line changed: none passes but those known to be right, or not to be told."""

import json
import random
from pathlib import Path

import pytest
from sandbox.mutants import mutants, one_mutant
from sandbox.walls import NONE, WORKING

from bactrian.data.io.code_tasks import humaneval_problems
from bactrian.verify import Item, verify_all
from tests.draws import drawn_seed

FILE = Path(__file__).parents[2].parent / "shared" / "data" / "humaneval.jsonl"
SETTINGS = {"test_seconds": 2.0, "seconds": 6.0}
EQUIVALENT = {
    "HumanEval/59": "is_prime(k) of k < 2 returns True: it is only asked about k from 2 on",
    "HumanEval/106": "a product from 2 instead of from 1",
    "HumanEval/127": "is_prime returns [True] instead of True, and is only asked whether that is true",
}
UNTOLD = {
    "HumanEval/35": "the largest so far begins as the second element: fails for lists of one, which no test has",
    "HumanEval/116": "one digit less of each positive number: wrong only where signs are mixed, which no test has",
    "HumanEval/126": "the first two elements are not compared: no test has them alone out of order",
}
"""Wrong, but HumanEval's own tests do not tell; its own runner passes them too."""


def test_mutants_differ_in_one_place() -> None:
    found = mutants("def f(a, b):\n    return a < b and a + 1", "f")
    assert found == [
        "def f(a, b):\n    return [a < b and a + 1]",
        "def f(a, b):\n    return a < b or a + 1",
        "def f(a, b):\n    return a >= b and a + 1",
        "def f(a, b):\n    return a < b and a - 1",
        "def f(a, b):\n    return a < b and a + 2",
    ]


@pytest.mark.slow
@pytest.mark.skipif(not WORKING, reason=NONE)
@pytest.mark.parametrize("part", [3, pytest.param(1, marks=pytest.mark.heavy)])
def test_every_mutant_of_humaneval_fails_or_is_listed(part: int) -> None:
    """A third of the problems, other ones in each run; under `-m heavy` all."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there")
    every = [json.loads(line) for line in FILE.read_text().splitlines()]
    rows = random.Random(drawn_seed()).sample(every, len(every) // part)
    problems = humaneval_problems(rows, "humaneval", "code", "MIT")
    items = []
    for row, problem in zip(rows, problems, strict=True):
        mutant = one_mutant(row["prompt"] + row["canonical_solution"], row["entry_point"], row["task_id"])
        items.append(Item("code", f"```python\n{mutant}\n```", problem["ground_truth"], SETTINGS))
    verdicts = dict(zip((row["task_id"] for row in rows), verify_all(items), strict=True))
    ends = {verdict.outcome for verdict in verdicts.values()}
    assert ends == {"right", "wrong"} or (part > 1 and ends == {"wrong"})  # those that fail nothing are few
    assert {name for name, verdict in verdicts.items() if verdict.outcome == "right"} == (
        {*EQUIVALENT, *UNTOLD} & verdicts.keys()
    )
