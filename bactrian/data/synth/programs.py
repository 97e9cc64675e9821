"""Easy programming problems made by rules: a function in one sentence, its tests, and a solution.

What a function shall do is said three times: in words, as a program, and by a function here that gives the tests their
results. The first is the question; the other two are held against each other by the stage, in the sandbox.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bactrian.data.io.code_tasks import block
from bactrian.data.io.problem_rows import Row, Split, distinct, problem
from bactrian.data.synth.procedural import LICENSE
from bactrian.errors import BactrianError

NAMES = ("solve", "compute", "find", "result", "work_out", "answer", "get", "make")
WORDS = (
    "apple",
    "river",
    "stone",
    "window",
    "garden",
    "letter",
    "bridge",
    "summer",
    "level",
    "pepper",
    "orange",
    "noon",
)
LETTERS = "adegilmnoprstw"
ASK = (
    "Write a Python function `{call}` that returns {words}. For example, `{example}`. Give one fenced block of Python."
)


def number(random: Random) -> int:
    return random.randint(-9, 20)


def positive(random: Random) -> int:
    return random.randint(1, 20)


def word(random: Random) -> str:
    return random.choice(WORDS)


def numbers(random: Random) -> list[int]:
    return [random.randint(-9, 20) for _ in range(random.randint(3, 6))]


@dataclass(frozen=True)
class Family:
    """One thing that functions do.

    words, code: the description and the expression, with {k}, {j} and {c} for two numbers and a letter of the
    question's own. value: the result, from the arguments and these three. inputs: draws each argument.
    largest: of k, from 2. j goes from 2 to 9.

    Example: Family(("x",), "x plus {k}", "x + {k}", lambda x, k, j, c: k + x, (number,)).
    """

    arguments: tuple[str, ...]
    words: str
    code: str
    value: Callable[..., Any]
    inputs: tuple[Callable[[Random], Any], ...]
    largest: int = 30


KINDS: dict[str, tuple[Family, ...]] = {
    "numbers": (
        Family(("x",), "x plus {k}", "x + {k}", lambda x, k, j, c: k + x, (number,)),
        Family(("x",), "{k} times x, plus {j}", "{k} * x + {j}", lambda x, k, j, c: sum([x] * k) + j, (number,)),
        Family(("x",), "the square of x, minus {k}", "x * x - {k}", lambda x, k, j, c: x**2 - k, (number,)),
        Family(("x",), "the remainder of x divided by {k}", "x % {k}", lambda x, k, j, c: divmod(x, k)[1], (positive,)),
        Family(
            ("x",), "True if x is greater than {k}, and else False", "x > {k}", lambda x, k, j, c: k < x, (number,), 15
        ),
        Family(
            ("a", "b"),
            "the sum of a and b, times {k}",
            "(a + b) * {k}",
            lambda a, b, k, j, c: k * a + k * b,
            (number, number),
        ),
        Family(
            ("a", "b"),
            "the larger of a and b, plus {k}",
            "max(a, b) + {k}",
            lambda a, b, k, j, c: sorted((a, b))[1] + k,
            (number, number),
        ),
        Family(
            ("a", "b"),
            "the absolute difference of a and b, plus {k}",
            "abs(a - b) + {k}",
            lambda a, b, k, j, c: max(a, b) - min(a, b) + k,
            (number, number),
        ),
    ),
    "texts": (
        Family(
            ("s",),
            "the length of the string s, plus {k}",
            "len(s) + {k}",
            lambda s, k, j, c: sum(1 for _ in s) + k,
            (word,),
        ),
        Family(
            ("s",),
            'the string s repeated {k} times, followed by the letter "{c}"',
            's * {k} + "{c}"',
            lambda s, k, j, c: "".join([s] * k) + c,
            (word,),
            6,
        ),
        Family(
            ("s",),
            'how often the letter "{c}" occurs in the string s, plus {k}',
            's.count("{c}") + {k}',
            lambda s, k, j, c: sum(each == c for each in s) + k,
            (word,),
            9,
        ),
        Family(
            ("s",),
            'the string s reversed, followed by the letter "{c}"',
            's[::-1] + "{c}"',
            lambda s, k, j, c: "".join(reversed(s)) + c,
            (word,),
        ),
        Family(
            ("s",),
            'the first {k} characters of the string s, followed by the letter "{c}"',
            's[:{k}] + "{c}"',
            lambda s, k, j, c: "".join(each for at, each in enumerate(s) if at < k) + c,
            (word,),
            5,
        ),
        Family(
            ("s",),
            'True if the string s begins with the letter "{c}", and else False',
            's.startswith("{c}")',
            lambda s, k, j, c: s[0] == c,
            (lambda random: random.choice(LETTERS) + word(random),),
        ),
    ),
    "lists": (
        Family(
            ("xs",),
            "the sum of the list xs, plus {k}",
            "sum(xs) + {k}",
            lambda xs, k, j, c: k - sum(-x for x in xs),
            (numbers,),
        ),
        Family(
            ("xs",),
            "the largest element of the list xs, times {k}",
            "max(xs) * {k}",
            lambda xs, k, j, c: sorted(xs)[-1] * k,
            (numbers,),
        ),
        Family(
            ("xs",),
            "the smallest element of the list xs, times {j}, plus {k}",
            "min(xs) * {j} + {k}",
            lambda xs, k, j, c: sorted(xs)[0] * j + k,
            (numbers,),
        ),
        Family(
            ("xs",),
            "how many elements of the list xs are greater than {k}",
            "sum(x > {k} for x in xs)",
            lambda xs, k, j, c: len([x for x in xs if x > k]),
            (numbers,),
            15,
        ),
        Family(
            ("xs",),
            "a list of the elements of xs, each times {j}, plus {k}",
            "[x * {j} + {k} for x in xs]",
            lambda xs, k, j, c: [k + j * x for x in xs],
            (numbers,),
        ),
        Family(
            ("xs",),
            "the list xs sorted, with {k} added at the end",
            "sorted(xs) + [{k}]",
            lambda xs, k, j, c: [*sorted(xs), k],
            (numbers,),
        ),
    ),
}


def programs(
    seed: int,
    count: int,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    tests: int = 5,
    verifier: str = "code",
    split: Split = "train",
) -> Iterator[Row]:
    """Problems like "Write a Python function `solve(x)` that returns x plus 3. For example,
    `solve(4) == 7`. …".

    The example is the first of the `tests`; the others are not shown, and their results are not all
    the same. No two questions ask for the same function, so one that is held out was not trained on
    under another name or example.

    Raises:
        BactrianError: for unknown kinds, fewer than two tests, or more questions than there
            are.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise BactrianError(f"programs: kinds is {list(kinds)}; expected some of {', '.join(KINDS)}")
    if tests < 2:
        raise BactrianError(f"programs: tests is {tests}; expected at least 2, as one is shown")

    def draw(random: Random) -> Row:
        kind = random.choice(KINDS[random.choice(list(kinds))])
        given = {"k": random.randint(2, kind.largest), "j": random.randint(2, 9), "c": random.choice(LETTERS)}
        return problem_row(kind, given, tests, verifier)

    return distinct("programs", seed, count, split, draw)


def problem_row(kind: Family, given: dict[str, Any], tests: int, verifier: str) -> Row:
    """The problem row. Name and tests follow from what the function does: so no two questions ask for the same."""
    words = kind.words.format(**given)
    random = Random(f"programs/{words}")
    name = random.choice(NAMES)
    head = f"{name}({', '.join(kind.arguments)})"
    checks = examples(random, kind, name, given, tests)
    program = f"def {head}:\n    return {kind.code.format(**given)}"
    truth = json.dumps({"tests": [f"assert {check}" for check in checks]})
    question = ASK.format(call=head, words=words, example=checks[0])
    return problem(question, block(program), truth, verifier, "bactrian/programs", LICENSE)


def examples(random: Random, kind: Family, name: str, given: dict[str, Any], count: int) -> list[str]:
    """Calls with their results, such as "solve(4) == 7"; not all results are the same."""
    while True:
        inputs = [[draw(random) for draw in kind.inputs] for _ in range(count)]
        results = [kind.value(*each, **given) for each in inputs]
        if any(result != results[0] for result in results):
            break
    return [f"{name}({', '.join(map(repr, each))}) == {result!r}" for each, result in zip(inputs, results, strict=True)]
