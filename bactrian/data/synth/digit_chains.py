"""Problems whose answer needs as many steps of thinking as they have operations: a digit through a chain of them.

Addition, subtraction and multiplication modulo 10, of which none can be left out and their order matters. Traces are
made by this program: one line a step; some go over it again after "Wait", some of those because a step was wrong.
"""

import re
from collections.abc import Iterator
from random import Random

from bactrian.data.io.problem_rows import Row, Split, distinct, problem
from bactrian.data.synth.procedural import LICENSE, check_range
from bactrian.errors import BactrianError

NAMES = "abcdefghijklmnopqrstuvwxyz"
UNITS = (3, 7, 9)
"""Factors that have an inverse modulo 10, so that every earlier step still matters."""
AGAIN = "Wait"


def tracking(
    seed: int,
    count: int,
    *,
    steps: tuple[int, int] = (2, 16),
    signs: str = "+-*",
    largest: int = 9,
    again: float = 0.3,
    slips: float = 0.5,
    split: Split = "train",
) -> Iterator[Row]:
    """Problems like "Start with 7. a: + 4. b: * 3. Which digit is left?", `reasoning` "a: 7 + 4 =
    1⏎b: 1 * 3 = 3".

    A share `again` of the traces says "Wait" and goes through all steps once more; in a share
    `slips` of these one step of the first pass has a wrong result, which the rest of that pass
    carries on.

    Raises:
        BactrianError: for an empty range, more steps than there are letters, or shares outside
            [0, 1].
    """
    check_range("tracking", "steps", steps, 1)
    check_range("tracking", "largest", (1, largest), 1)
    if not signs or set(signs) - set("+-*"):
        raise BactrianError(f"tracking: signs is {signs!r}; expected some of + - *")
    if steps[1] > len(NAMES):
        raise BactrianError(f"tracking: steps is {steps[0]} to {steps[1]}; there are {len(NAMES)} letters to name them")
    for field, share in (("again", again), ("slips", slips)):
        if not 0 <= share <= 1:
            raise BactrianError(f"tracking: {field} is {share:g}; expected a share from 0 to 1")

    def draw(random: Random) -> Row:
        start = random.randrange(10)
        chain = [operation(random, signs, largest) for _ in range(random.randint(*steps))]
        chain_text = " ".join(f"{name}: {sign} {number}." for name, (sign, number) in zip(NAMES, chain, strict=False))
        question = f"Start with {start}. {chain_text} Which digit is left?"
        lines, left = walk(start, chain)
        row = problem(question, f"Answer: {left}", str(left), "gsm8k", "bactrian/tracking", LICENSE)
        return {**row, "reasoning": "\n".join([*first_passes(random, start, chain, again, slips), *lines])}

    return distinct("tracking", seed, count, split, draw)


def operation(random: Random, signs: str, largest: int) -> tuple[str, int]:
    """A factor is one of UNITS, whatever is largest."""
    sign = random.choice(signs)
    return sign, random.choice(UNITS) if sign == "*" else random.randint(1, largest)


def apply(digit: int, sign: str, number: int) -> int:
    """
    >>> apply(7, "+", 4), apply(1, "-", 3), apply(4, "*", 7)
    (1, 8, 8)
    """
    return (digit + number if sign == "+" else digit - number if sign == "-" else digit * number) % 10


def walk(start: int, chain: list[tuple[str, int]], slip: int | None = None, off: int = 0) -> tuple[list[str], int]:
    """A line for each step, and the last digit; the result of step `slip` is `off` too high."""
    lines, digit = [], start
    for place, (sign, number) in enumerate(chain):
        result = (apply(digit, sign, number) + (off if place == slip else 0)) % 10
        lines.append(f"{NAMES[place]}: {digit} {sign} {number} = {result}")
        digit = result
    return lines, digit


def first_passes(random: Random, start: int, chain: list[tuple[str, int]], again: float, slips: float) -> Iterator[str]:
    """The lines of a first pass and "Wait" after them, where there is one."""
    if random.random() < again:
        slip = random.randrange(len(chain)) if random.random() < slips else None
        yield from walk(start, chain, slip, random.randint(1, 9))[0]
        yield AGAIN


STARTS = re.compile(r"Start with (\d)\. ")
OPERATION = re.compile(r"([a-z]): ([-+*]) (\d)\.")


def right_so_far(question: str, thinking: str) -> bool:
    """Whether thinking that may not be over, cut anywhere, has made no mistake since it last said
    "Wait".

    >>> question = "Start with 7. a: + 4. b: * 3. Which digit is left?"
    >>> said = ("a: 7 + 4 = 1\\nb: 1 *", "a: 7 + 4 = 2\\n", "a: 7 + 4 = 2\\nWait\\na: 7")
    >>> [right_so_far(question, each) for each in said]
    [True, False, True]

    Raises:
        BactrianError: for a question that is none of these.
    """
    start, operations = STARTS.search(question), OPERATION.findall(question)
    if start is None or not operations:
        raise BactrianError(f"{question[:80]!r}: no question of the task `tracking`, so its steps cannot be judged")
    lines, _ = walk(int(start[1]), [(sign, int(number)) for _, sign, number in operations])
    *_, since = thinking.split(AGAIN)
    return "\n".join(lines).startswith(since.strip())
