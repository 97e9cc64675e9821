"""What an answer in mathematics is made of, once it is read (latex.py): numbers, symbols, calls, groups, relations."""

from dataclasses import dataclass
from fractions import Fraction


class Unreadable(ValueError):
    """The text is not an answer that this parser knows."""


class Large(Unreadable):
    """It is one, but its value would take too long: nothing else should try either."""


@dataclass(frozen=True)
class Num:
    value: Fraction


@dataclass(frozen=True)
class Sym:
    name: str


@dataclass(frozen=True)
class Call:
    """A function or an operation: add, mul, div, pow, neg, pm, mp, union, percent, and those of LaTeX."""

    name: str
    args: "tuple[Node, ...]"


@dataclass(frozen=True)
class Group:
    """Several things in a row between brackets: tuple, interval or set; with no brackets (""), a list."""

    opening: str
    closing: str
    items: "tuple[Node, ...]"


@dataclass(frozen=True)
class Rel:
    """items[0] ops[0] items[1] ops[1] …; the operators are = < > ≤ ≥ ≠ and the ratio's colon."""

    ops: tuple[str, ...]
    items: "tuple[Node, ...]"


@dataclass(frozen=True)
class Matrix:
    rows: "tuple[tuple[Node, ...], ...]"


@dataclass(frozen=True)
class Text:
    words: str


@dataclass(frozen=True)
class Based:
    """Digits in a base, 1101_2."""

    digits: str
    base: int


Node = Num | Sym | Call | Group | Rel | Matrix | Text | Based


@dataclass(frozen=True)
class Answer:
    """A tree, and the unit that stood after it ("" if none)."""

    tree: Node
    unit: str = ""
