"""When two answers are the same: part by part, by their values, as relations, as sets of numbers, with their units.

Expressions are compared exactly where normal_form.py can, else at many points (sample_points.py). Sizes are bounded
before anything is computed, so the work is too.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import mpmath

from bactrian.verify.maths.answer_tree import (
    Based,
    Bracketed,
    Call,
    Clock,
    Matrix,
    Node,
    Num,
    ParsedAnswer,
    Quantity,
    Rel,
    Sym,
    Text,
    negated,
    walk,
)
from bactrian.verify.maths.readings import parse
from bactrian.verify.maths.relations import backwards, named, other_unknown, rearranged, same_sets
from bactrian.verify.maths.scalars import same_scalar
from bactrian.verify.maths.units import parted, same_time, units_agree

DIGITS = 60
ITEMS_LIMIT = 30
"""A set of more things is compared in its order only."""


def equivalent(given: str, gold: str) -> bool:
    """Whether two answers in LaTeX are the same in one of their readings.

    Raises:
        UnreadableAnswer: if either has none.
    """
    with mpmath.workdps(DIGITS):
        return any(same_answer(a, b) for a in read(given) for b in read(gold))


@lru_cache(maxsize=2048)
def read(latex: str) -> tuple[ParsedAnswer, ...]:
    """Readings of an answer, remembered: the same gold answer meets many completions."""
    return tuple(parse(latex))


def same_answer(given: ParsedAnswer, gold: ParsedAnswer) -> bool:
    """Of trees; a tentative unit must meet one on the other side, a choice's letter no other one,
    and who says "approximately" is right only where the other side is rounded as well.
    """
    for one, other in ((given, gold), (gold, given)):
        if one.tentative and not isinstance(other.tree, Quantity):
            return False
        if one.rounded == "word" and not other.rounded:
            return False
        if one.label and isinstance(other.tree, Sym):
            return one.label == other.tree.name
    return given.label in ("", gold.label or given.label) and same(given.tree, gold.tree)


def same(a: Node, b: Node) -> bool:
    """Values equal, and units too where both have one. 50 % is 50 or 0.5."""
    a, mine = parted(a)
    b, its = parted(b)
    if {mine, its} == {"degree", "radian"}:
        a, b = (Call("deg", (node,)) if unit == "degree" else node for node, unit in ((a, mine), (b, its)))
    elif not units_agree(mine, its) or (mine and is_percent(b)) or (its and is_percent(a)):
        return False
    a, b = settled(a), settled(b)
    if isinstance(a, Clock) or isinstance(b, Clock):
        return not (mine or its) and same_time(a, b)
    as_sets = same_sets(a, b)
    if as_sets is not None:
        return as_sets
    if isinstance(a, Rel) or isinstance(b, Rel):
        return same_named(a, b)
    return same_unnamed(a, b)


def same_unnamed(a: Node, b: Node) -> bool:
    if isinstance(a, Text) or isinstance(b, Text):
        return words_of(a) == words_of(b) != ""
    if any(isinstance(node, Bracketed | Matrix) or is_union(node) for node in (a, b)):
        return same_structure(a, b)
    if isinstance(a, Based) or isinstance(b, Based):
        return same_based(a, b)
    if isinstance(a, Sym) and isinstance(b, Sym):
        return a.name == b.name
    return same_scalar(a, b)


def same_named(a: Node, b: Node) -> bool:
    """Relations; or what is left when "x =" goes from one or both, unless they are different unknowns' values."""
    if isinstance(a, Rel) and isinstance(b, Rel) and same_relation(a, b):
        return True
    mine, its = named(a), named(b)
    if (mine is None and its is None) or (mine and its and other_unknown(mine[0], its[0])):
        return False
    if (mine is None and isinstance(a, Rel)) or (its is None and isinstance(b, Rel)):
        return False
    return same(mine[1] if mine else a, its[1] if its else b)


def same_relation(a: Rel, b: Rel) -> bool:
    if len(a.ops) != len(b.ops):
        return False
    if ":" in a.ops + b.ops:
        return a.ops == b.ops and in_order(a.items, b.items)
    if any(a.ops == other.ops and in_order(a.items, other.items) for other in (b, backwards(b))):
        return True
    return rearranged(a, b)


def settled(node: Node) -> Node:
    """With sums of vectors worked out; a ± b as the list of both, in lists and sets too; a list's common name gone."""
    node = worked_out(node)
    if isinstance(node, Bracketed) and node.opening in ("", "\\{"):
        items = tuple(part for item in node.items for part in spread(item))
        pairs = [named(item) for item in items]
        names = {pair[0] for pair in pairs if pair}
        if not node.opening and len(names) == 1:
            items = tuple(pair[1] if pair else item for pair, item in zip(pairs, items, strict=True))
            items = tuple(part for item in items for part in spread(item))
        return Bracketed(node.opening, node.closing, items)
    pair = named(node) if has_sign(node) else None
    parts = spread(pair[1] if pair else node)
    return parts[0] if len(parts) == 1 else Bracketed("", "", parts)


def spread(node: Node) -> tuple[Node, ...]:
    """Both readings of what a ± stands in, or the one of what has none."""
    if not has_sign(node):
        return (node,)
    return (with_sign(node, 1), with_sign(node, -1))


def has_sign(node: Node) -> bool:
    return any(isinstance(part, Call) and part.name in ("pm", "mp") for part in walk(node))


def with_sign(node: Node, sign: int) -> Node:
    """With every ± as + or as -, every ∓ as the other."""
    if isinstance(node, Call):
        args = tuple(with_sign(part, sign) for part in node.args)
        if node.name in ("pm", "mp"):
            return args[0] if (node.name == "pm") == (sign > 0) else negated(args[0])
        return Call(node.name, args)
    if isinstance(node, Bracketed):
        return Bracketed(node.opening, node.closing, tuple(with_sign(item, sign) for item in node.items))
    if isinstance(node, Rel):
        return Rel(node.ops, tuple(with_sign(item, sign) for item in node.items))
    if isinstance(node, Matrix):
        return Matrix(tuple(tuple(with_sign(entry, sign) for entry in row) for row in node.rows))
    return Quantity(with_sign(node.value, sign), node.unit) if isinstance(node, Quantity) else node


def is_percent(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "percent"


def is_union(node: Node) -> bool:
    return isinstance(node, Call) and node.name in ("union", "intersection", "minus_set", "such_that")


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
        ordered = in_any_order if a.name in ("union", "intersection") else in_order
        return a.name == b.name and ordered(flat(a, a.name), flat(b, b.name))
    if not isinstance(a, Bracketed) or not isinstance(b, Bracketed):
        return False
    if a.opening == b.opening == "\\{":
        a, b = without_repeats(a), without_repeats(b)
    unordered = [group.opening in ("", "\\{") for group in (a, b)]
    if all(unordered):
        assigned = [assigns(group) for group in (a, b)]
        return in_any_order(a.items, b.items) if assigned[0] == assigned[1] else in_order(a.items, b.items)
    if any(unordered):  # a list without brackets may stand for a tuple, a set may not
        return not any(group.opening == "\\{" for group in (a, b)) and in_order(a.items, b.items)
    return (a.opening, a.closing) == (b.opening, b.closing) and in_order(a.items, b.items)


def flat(node: Node, name: str) -> list[Node]:
    if isinstance(node, Call) and node.name == name:
        return [part for arg in node.args for part in flat(arg, name)]
    return [node]


def without_repeats(group: Bracketed) -> Bracketed:
    """A set has no member twice."""
    if len(group.items) > ITEMS_LIMIT:
        return group
    kept: list[Node] = []
    for item in group.items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return Bracketed(group.opening, group.closing, tuple(kept))


def assigns(group: Bracketed) -> bool:
    """Whether it gives several unknowns their values: x = 2, y = 3."""
    return all(named(item) is not None for item in group.items)


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


def same_based(a: Node, b: Node) -> bool:
    """Numbers in a base: digit for digit; the base may be left out of one of them."""
    if isinstance(a, Based) and isinstance(b, Based):
        return a == b
    number, plain = (a, b) if isinstance(a, Based) else (b, a)
    return isinstance(number, Based) and isinstance(plain, Num) and plain.value == int(number.digits)


def worked_out(node: Node) -> Node:
    """One matrix or tuple for a sum or a multiple of some; other answers as they are."""
    if not isinstance(node, Call) or node.name not in ("add", "mul", "div", "neg"):
        return node
    parts = tuple(map(worked_out, node.args))
    if not any(is_vector(part) for part in parts):
        return node
    if node.name == "neg":
        return scaled(parts[0], lambda entry: negated(entry))
    left, right = parts
    if node.name == "add" and is_vector(left) and is_vector(right):
        return added(left, right) or node
    if node.name == "mul" and is_vector(left) != is_vector(right):
        vector, number = (left, right) if is_vector(left) else (right, left)
        return scaled(vector, lambda entry: Call("mul", (number, entry)))
    if node.name == "div" and not is_vector(right):
        return scaled(left, lambda entry: Call("div", (entry, right)))
    return node


def is_vector(node: Node) -> bool:
    return isinstance(node, Matrix) or (isinstance(node, Bracketed) and (node.opening, node.closing) == ("(", ")"))


def scaled(vector: Node, change: Callable[[Node], Node]) -> Node:
    if isinstance(vector, Matrix):
        return Matrix(tuple(tuple(change(entry) for entry in row) for row in vector.rows))
    assert isinstance(vector, Bracketed)
    return Bracketed(vector.opening, vector.closing, tuple(map(change, vector.items)))


def added(a: Node, b: Node) -> Node | None:
    """Entry by entry; None where the shapes differ."""
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        if [len(row) for row in a.rows] != [len(row) for row in b.rows]:
            return None
        pairs = [zip(x, y, strict=True) for x, y in zip(a.rows, b.rows, strict=True)]
        return Matrix(tuple(tuple(Call("add", pair) for pair in row) for row in pairs))
    if isinstance(a, Bracketed) and isinstance(b, Bracketed) and len(a.items) == len(b.items):
        return Bracketed(a.opening, a.closing, tuple(Call("add", pair) for pair in zip(a.items, b.items, strict=True)))
    return None
