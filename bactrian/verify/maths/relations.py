"""Whether equations and inequalities are equivalent: rearranged, sides swapped, times a constant, same solutions."""

from bactrian.verify.maths import real_sets
from bactrian.verify.maths.answer_tree import Call, Node, Quantity, Rel, Sym, Text, negated
from bactrian.verify.maths.arithmetic import real
from bactrian.verify.maths.scalars import ratio, same_zeros
from bactrian.verify.maths.solution_sets import is_set, real_set, variables

FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠", ":": ":"}


def same_sets(a: Node, b: Node) -> bool | None:
    """Whether two answers are the same set of real numbers; None if either is none that can be found out."""
    if not (is_set(a) or is_set(b)):
        return None
    mine, its = real_set(a), real_set(b)
    if mine is None or its is None:
        return None
    names = variables(a), variables(b)
    return real_sets.equal(mine, its) and not (names[0] and names[1] and names[0] != names[1])


def backwards(relation: Rel) -> Rel:
    return Rel(tuple(FLIPPED[op] for op in reversed(relation.ops)), tuple(reversed(relation.items)))


def rearranged(a: Rel, b: Rel) -> bool:
    """Whether two single relations become each other by moving terms over and multiplying by a constant."""
    if len(a.ops) != 1 or len(b.ops) != 1 or ":" in a.ops + b.ops:
        return False
    if a.ops == b.ops and a.ops[0] in "=≠":
        return same_zeros(difference(a), difference(b))
    factor = ratio(difference(a), difference(b))
    if factor is None:
        return False
    return a.ops[0] == (b.ops[0] if real(factor) > 0 else FLIPPED[b.ops[0]])


def difference(relation: Rel) -> Node:
    left, right = (item.value if isinstance(item, Quantity) else item for item in relation.items)
    return Call("add", (left, negated(right)))


def named(node: Node) -> tuple[Node, Node] | None:
    """The name and the rest of what only names an answer: x = 3, f(x) = x², 3 = x."""
    if not isinstance(node, Rel) or node.ops[0] != "=":
        return None
    if is_name(node.items[0]):
        rest = node.items[1:]
        return node.items[0], rest[0] if len(rest) == 1 else Rel(node.ops[1:], rest)
    return (node.items[1], node.items[0]) if len(node.ops) == 1 and is_name(node.items[1]) else None


def is_name(node: Node) -> bool:
    """A symbol, or a symbol applied to symbols, as in f(x)."""
    if isinstance(node, Call) and node.name == "mul":
        return all(isinstance(part, Sym) for part in node.args)
    return isinstance(node, Sym | Text)


def other_unknown(a: Node, b: Node) -> bool:
    """Whether two names are plainly those of different unknowns."""
    return isinstance(a, Sym) and isinstance(b, Sym) and a != b
