"""Answers as nobody should write them: what a verifier of mathematics must take without crashing or hanging."""

import random

from bactrian.verify.maths.equivalent_pairs import PAIRS

BITS = (
    "\\frac",
    "{",
    "}",
    "^",
    "_",
    "\\sqrt",
    "(",
    ")",
    "[",
    "]",
    "\\left",
    "\\right",
    ",",
    "9",
    "99999999",
    "x",
    "\\pi",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    "!",
    "\\text{a",
    "=",
    "<",
    "\\pm",
    "\\cup",
    "\\infty",
    "|",
    "%",
    "\\log_",
    "\\sin",
    "e^",
    "\\binom",
    ".",
    "\\overline{3}",
    "1,000",
    "-",
    "\\int",
    "\\sum_{n=1}^{\\infty}",
    "\x00",
    "\ud800",
    "𝒳",
    "$",
    "\\boxed{",
    "i",
    "0",
    "/",
    "\\lfloor",
    ":",
    "'",
    "\\",
    "\\mod",
)
SWAPPED = 0.4
"""Share of the texts that are a real answer with some characters swapped for bits; the others are bits alone."""


def fuzzed(rng: random.Random) -> str:
    """Gold answers cut up, bits swapped, brackets opened and never closed, towers of powers."""
    if rng.random() < SWAPPED:
        gold = list(rng.choice(PAIRS).gold)
        for _ in range(rng.randint(1, 4)):
            gold.insert(rng.randint(0, len(gold)), rng.choice(BITS))
            del gold[rng.randrange(len(gold))]
        return "".join(gold)
    return "".join(rng.choice(BITS) for _ in range(rng.choice([3, 8, 20, 80])))
