"""Texts spoilt as web pages are, each by one known defect, so that a corpus made here has something to clean.

The defects are those that a corpus' rules are for: copies, a sentence said over and over, signs in place of words,
navigation, addresses. A row's source says which of them it has; no rule reads it.
"""

import re
from collections.abc import Callable, Iterator
from random import Random

from bactrian.data.io.problem_rows import Row

SOURCE = "bactrian/spoiled/"
ECHOES = 40
"""How often a sentence is said again."""
MENU = ("Home", "News", "Shop", "Log in", "Next page", "About us", "Basket", "Help")
NAMES = ("info", "sales", "post", "anna", "omar")


def _echo(random: Random, text: str) -> str:
    sentence = random.choice(re.split(r"(?<=[.,])\s+", text))
    return " ".join([text, *[sentence] * ECHOES])


def _signs(random: Random, text: str) -> str:
    return " ".join(part for word in text.split() for part in (word, random.choice(("#", "###", "..."))))


def _menu(random: Random, text: str) -> str:
    return "\n".join([*random.sample(MENU, 4), text, *random.sample(MENU, 2)])


def _address(random: Random, text: str) -> str:
    return f"{text} Write to {random.choice(NAMES)}{random.randint(1, 99)}@example.org."


DEFECTS: dict[str, Callable[[Random, str], str]] = {
    "copy": lambda random, text: text,
    "echo": _echo,
    "signs": _signs,
    "menu": _menu,
    "address": _address,
}


def spoiled(rows: Iterator[Row], share: float, seed: int) -> Iterator[Row]:
    """The rows, and among them spoilt ones, as many as `share` of all.

    A spoilt one is of the row before it: all defects but a copy have a text of their own, whose clean form the corpus
    has too, so that what rules leave of it may be a copy again.

    Args:
        rows: of `text`, each with `id`.
        share: of what comes out, from 0 to below 1.
        seed: what is spoilt, and how, follows from it and the row's place.
    """
    for index, row in enumerate(rows):
        yield row
        random = Random(f"spoiled/{seed}/{index}")
        number = 0
        while random.random() < share:
            defect = random.choice(tuple(DEFECTS))
            text = DEFECTS[defect](random, row["text"])
            yield row | {"id": f"{row['id']}-{number}", "text": text, "source": SOURCE + defect}
            number += 1
