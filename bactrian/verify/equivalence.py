"""When two answers are the same: exactly where they are rational, else to 45 digits at points that give symbols values.

Two expressions are taken for equal when they agree at four points. That two different ones agree at all of them is
possible in theory only (Schwartz 1980; Zippel 1979). Sizes are bounded before anything is computed, so the work is too.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import mpmath

from bactrian.verify.answer_tree import Answer, Based, Call, Group, Matrix, Node, Num, Rel, Sym, Text
from bactrian.verify.arithmetic import POINTS, Point, Undefined, close, value
from bactrian.verify.latex import parse

DIGITS = 60
ITEMS_LIMIT = 30
"""A set of more things is compared in its order only."""
FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠", ":": ":"}
UNIT_NAMES = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "kilometer": "km", "kilometre": "km", "meter": "m",
    "metre": "m", "inche": "in", "inch": "in", "foot": "feet", "ft": "feet", "kilogram": "kg", "gram": "g",
    "hr": "hour", "min": "minute", "sec": "second", "degree": "", "percent": "", "%": "",
}  # fmt: skip


def equivalent(given: str, gold: str) -> bool:
    """Whether two answers in LaTeX are the same in one of their readings. Raises Unreadable if either has none."""
    with mpmath.workdps(DIGITS):
        return any(same_answer(a, b) for a in read(given) for b in read(gold))


@lru_cache(maxsize=2048)
def read(latex: str) -> tuple[Answer, ...]:
    """Readings of an answer, remembered: the same gold answer meets many completions."""
    return tuple(parse(latex))


def same_answer(given: Answer, gold: Answer) -> bool:
    """Values equal, and units too where both have one. 50 % is 50 or 0.5."""
    mine, its = unit_name(given.unit), unit_name(gold.unit)
    return not (mine and its and mine != its) and same(given.tree, gold.tree)


def unit_name(unit: str) -> str:
    """A unit in one spelling, without plural: enough to tell inches from miles, and square ones from others."""
    words = unit.lower().replace(".", " ").split()
    last, _, exponent = words[-1].partition("^") if words else ("", "", "")
    powers = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}
    exponent = exponent or next((powers[word] for word in words if word in powers), "")
    stem = last.removesuffix("s") if len(last) > 2 else last
    name = UNIT_NAMES.get(last, UNIT_NAMES.get(stem, stem))
    return f"{name}^{exponent}" if exponent and name else name


def same(a: Node, b: Node) -> bool:
    a, b = bare(a), bare(b)
    if isinstance(a, Rel) and isinstance(b, Rel):
        return same_relation(a, b)
    if isinstance(a, Rel) or isinstance(b, Rel):
        return same_as_interval(a, b)
    if isinstance(a, Text) or isinstance(b, Text):
        return words_of(a) == words_of(b) != ""
    if isinstance(a, Group | Matrix) or isinstance(b, Group | Matrix) or is_union(a) or is_union(b):
        return same_structure(a, b)
    if isinstance(a, Based) or isinstance(b, Based):
        return same_based(a, b)
    if isinstance(a, Sym) and isinstance(b, Sym):
        return a.name == b.name
    return same_scalar(a, b)


def bare(node: Node) -> Node:
    """Without what only names the answer: x = 3 is 3, f(x) = x² is x²; a ± b is the list of both."""
    if isinstance(node, Rel) and node.ops[0] == "=" and is_name(node.items[0]):
        rest = node.items[1:]
        return bare(rest[0]) if len(rest) == 1 else bare(Rel(node.ops[1:], rest))
    if isinstance(node, Rel) and node.ops == ("=",) and is_name(node.items[1]):
        return bare(node.items[0])
    if isinstance(node, Group) and not node.opening:
        items = tuple(bare(item) for item in node.items)
        return Group("", "", tuple(part for item in items for part in spread(item)))
    if has_sign(node) and not isinstance(node, Group | Matrix | Rel):
        return Group("", "", spread(node))
    return node


def is_name(node: Node) -> bool:
    """A symbol, or a symbol applied to symbols, as in f(x)."""
    if isinstance(node, Call) and node.name == "mul":
        return all(isinstance(part, Sym) for part in node.args)
    return isinstance(node, Sym | Text)


def spread(node: Node) -> tuple[Node, ...]:
    return (Call("plus", (node,)), Call("minus", (node,))) if has_sign(node) else (node,)


def has_sign(node: Node) -> bool:
    """Whether a ± is still open in an expression; plus and minus say how it is read."""
    if not isinstance(node, Call) or node.name in ("plus", "minus"):
        return False
    return node.name in ("pm", "mp") or any(has_sign(part) for part in node.args)


def is_union(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "union"


def words_of(node: Node) -> str:
    if isinstance(node, Sym):
        return node.name.casefold()
    if isinstance(node, Call) and node.name == "mul":  # letters side by side may be meant as a word
        return "".join(map(words_of, node.args))
    return " ".join(node.words.casefold().strip(" .()").split()) if isinstance(node, Text) else ""


def same_structure(a: Node, b: Node) -> bool:
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        return len(a.rows) == len(b.rows) and all(in_order(x, y) for x, y in zip(a.rows, b.rows, strict=True))
    if isinstance(a, Call) and isinstance(b, Call) and is_union(a) and is_union(b):
        return in_any_order(a.args, b.args)
    if not isinstance(a, Group) or not isinstance(b, Group) or len(a.items) != len(b.items):
        return False
    unordered = [group.opening in ("", "\\{") for group in (a, b)]
    if all(unordered):
        return in_any_order(a.items, b.items)
    if any(unordered):  # a list without brackets may stand for a tuple, a set may not
        return not any(group.opening == "\\{" for group in (a, b)) and in_order(a.items, b.items)
    return (a.opening, a.closing) == (b.opening, b.closing) and in_order(a.items, b.items)


def in_order(a: Sequence[Node], b: Sequence[Node]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def in_any_order(a: Sequence[Node], b: Sequence[Node]) -> bool:
    """Each of `a` has a partner of its own in `b`. `same` is an equivalence, so the first partner found will do."""
    if len(a) != len(b) or len(a) > ITEMS_LIMIT:
        return in_order(a, b)
    left = list(b)
    for item in a:
        partner = next((place for place, other in enumerate(left) if same(item, other)), None)
        if partner is None:
            return False
        del left[partner]
    return True


def same_relation(a: Rel, b: Rel) -> bool:
    """The same, read from either side; two equations also where one is the other times a constant."""
    if len(a.ops) != len(b.ops):
        return False
    if ":" in a.ops:
        return a.ops == b.ops and in_order(a.items, b.items)
    back = Rel(tuple(FLIPPED[op] for op in reversed(b.ops)), tuple(reversed(b.items)))
    if any(a.ops == other.ops and in_order(a.items, other.items) for other in (b, back)):
        return True
    if len(a.ops) == 1 and a.ops == b.ops == ("=",):
        return proportional(difference(a), difference(b))
    mine, its = as_interval(a), as_interval(b)
    return mine is not None and its is not None and same(mine, its)


def difference(relation: Rel) -> Node:
    return Call("add", (relation.items[0], Call("neg", (relation.items[1],))))


def proportional(a: Node, b: Node) -> bool:
    """a = c·b with the same constant c ≠ 0 at all points."""
    pairs = [(value(a, Point(n)), value(b, Point(n))) for n in range(len(POINTS))]
    x, y = pairs[0]
    return not close(x, Fraction(0)) and all(close(x * d, c * y) for c, d in pairs[1:])


def same_as_interval(a: Node, b: Node) -> bool:
    """x ≥ 3 against [3, ∞); y = x + 1 against x + 1 is dealt with in `bare`."""
    mine = as_interval(a) if isinstance(a, Rel) else a
    its = as_interval(b) if isinstance(b, Rel) else b
    return isinstance(mine, Group) and isinstance(its, Group) and same(mine, its)


def as_interval(relation: Rel) -> Group | None:
    """The interval of a symbol that stands alone: x > a, a < x, a ≤ x < b; None for other relations."""
    ops, items = relation.ops, relation.items
    endless = Sym("infty")
    if len(ops) == 1 and isinstance(items[1], Sym) and not isinstance(items[0], Sym):
        ops, items = (FLIPPED[ops[0]],), (items[1], items[0])
    if len(ops) == 1 and isinstance(items[0], Sym) and ops[0] in "<>≤≥":
        if ops[0] in ">≥":
            return Group("[" if ops[0] == "≥" else "(", ")", (items[1], endless))
        return Group("(", "]" if ops[0] == "≤" else ")", (Call("neg", (endless,)), items[1]))
    if len(ops) == 2 and isinstance(items[1], Sym):
        if all(op in ">≥" for op in ops):
            ops, items = tuple(FLIPPED[op] for op in reversed(ops)), tuple(reversed(items))
        if all(op in "<≤" for op in ops):
            return Group("[" if ops[0] == "≤" else "(", "]" if ops[1] == "≤" else ")", (items[0], items[2]))
    return None


def same_based(a: Node, b: Node) -> bool:
    """Numbers in a base: digit for digit; the base may be left out of one of them."""
    if isinstance(a, Based) and isinstance(b, Based):
        return a == b
    number, plain = (a, b) if isinstance(a, Based) else (b, a)
    return isinstance(number, Based) and isinstance(plain, Num) and plain.value == int(number.digits)


def same_scalar(a: Node, b: Node) -> bool:
    """Equal at all points, or plainly both infinite; a percentage may stand for its hundredth."""
    ends = [endless(node) for node in (a, b)]
    if any(ends):
        return ends[0] == ends[1]
    if agree(a, b):
        return True
    percents = [isinstance(node, Call) and node.name == "percent" for node in (a, b)]
    if percents[0] != percents[1]:
        hundredth = [Call("div", (n, Num(Fraction(100)))) if p else n for n, p in zip((a, b), percents, strict=True)]
        return agree(hundredth[0], hundredth[1])
    return False


def endless(node: Node) -> int:
    """1 for ∞, -1 for -∞, 0 for what has a value; a symbol that has none is no number but itself."""
    if node == Sym("infty"):
        return 1
    if isinstance(node, Call) and node.name == "neg" and node.args[0] == Sym("infty"):
        return -1
    return 0


def agree(a: Node, b: Node) -> bool:
    defined = 0
    for number in range(len(POINTS)):
        values = []
        for node in (a, b):
            try:
                values.append(value(node, Point(number)))
            except Undefined:
                continue
        if len(values) == 1:
            return False
        if len(values) == 2:
            if not close(values[0], values[1]):
                return False
            defined += 1
            if all(isinstance(node, Num) for node in (a, b)):
                return True
    return defined > 0
