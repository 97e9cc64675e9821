"""What an answer in mathematics is made of, once it is read (latex.py): numbers, symbols, calls, groups, relations."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


class UnreadableAnswer(ValueError):
    """The text is not an answer that this parser knows."""


class Large(UnreadableAnswer):
    """It is one, but its value would take too long: nothing else should try either."""


class Wordy(UnreadableAnswer):
    """Words stand beside the mathematics that are no unit ("5 or so"): cut off, the answer would be another one."""


@dataclass(frozen=True)
class Num:
    value: Fraction


@dataclass(frozen=True)
class Sym:
    name: str


@dataclass(frozen=True)
class Call:
    """A function or an operation: add, mul, div, pow, neg, pm, mp, percent, deg, those on sets (union, intersection,
    minus_set, such_that), and those of LaTeX."""

    name: str
    args: "tuple[Node, ...]"


@dataclass(frozen=True)
class Bracketed:
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


@dataclass(frozen=True)
class Quantity:
    """A value and its unit in the one spelling of units.py."""

    value: "Node"
    unit: str


@dataclass(frozen=True)
class Clock:
    """A time of day; `half` is "am", "pm" or, where it is left out, ""."""

    hour: int
    minute: int
    half: str


Node = Num | Sym | Call | Bracketed | Rel | Matrix | Text | Based | Quantity | Clock
CONSTANTS = ("\\pi", "pi", "e", "i")
"""Names of symbols that have a value."""


@dataclass(frozen=True)
class ParsedAnswer:
    """A tree. It is tentative where "3m" is read as three metres: only a firm unit on the other side confirms that.

    `label`: the letter of a choice that stands before the value, "(A) 5". `rounded`: "sign" or "word"
    where it is said to be.
    """

    tree: Node
    tentative: bool = False
    label: str = ""
    rounded: str = ""


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    parts: tuple[Node, ...] = ()
    if isinstance(node, Call):
        parts = node.args
    elif isinstance(node, Bracketed | Rel):
        parts = node.items
    elif isinstance(node, Matrix):
        parts = tuple(item for row in node.rows for item in row)
    elif isinstance(node, Quantity):
        parts = (node.value,)
    for part in parts:
        yield from walk(part)


def unknowns(node: Node) -> frozenset[str]:
    """The names of its symbols but for constants."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Sym) and part.name not in CONSTANTS)


def negated(node: Node) -> Node:
    return Num(-node.value) if isinstance(node, Num) else Call("neg", (node,))
