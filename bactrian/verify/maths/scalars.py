"""When two expressions with one value are the same, and when one is a constant times the other."""

from fractions import Fraction

from bactrian.verify.maths import normal_form
from bactrian.verify.maths.answer_tree import Call, Node, Num, Sym, UnreadableAnswer, unknowns, walk
from bactrian.verify.maths.arithmetic import SamplePoint, Undefined, Value, close, value
from bactrian.verify.maths.latex_tokens import TRIGONOMETRIC
from bactrian.verify.maths.normal_form import Undecided, quotient
from bactrian.verify.maths.sample_points import ENOUGH, agree, spread_points

HUNDRED = Num(Fraction(100))


def same_scalar(a: Node, b: Node) -> bool:
    """Equal, or both infinite; a percentage may stand for its hundredth, a sine's degrees may lack their sign."""
    ends = [endless(node) for node in (a, b)]
    if any(ends):
        return ends[0] == ends[1]
    if a == b or equal(a, b):
        return True
    percents = [has(node, "percent") for node in (a, b)]
    if percents[0] != percents[1] and equal(*(hundredth(n) if p else n for n, p in zip((a, b), percents, strict=True))):
        return True
    degrees = [has(node, "deg") for node in (a, b)]
    if degrees[0] == degrees[1]:
        return False
    return equal(*(n if d else in_degrees(n) for n, d in zip((a, b), degrees, strict=True)))


def equal(a: Node, b: Node) -> bool:
    """By proof where there is one, else by values.

    Raises:
        UnreadableAnswer: for what has no value.
    """
    if isinstance(a, Num) and isinstance(b, Num):
        return a.value == b.value
    decided = normal_form.equal(a, b)
    return agree(a, b) if decided is None else decided


def has(node: Node, name: str) -> bool:
    return any(isinstance(part, Call) and part.name == name for part in walk(node))


def hundredth(node: Node) -> Node:
    """With every percent sign as the hundredth that it means."""
    if not isinstance(node, Call):
        return node
    args = tuple(map(hundredth, node.args))
    return Call("div", (args[0], HUNDRED)) if node.name == "percent" else Call(node.name, args)


def in_degrees(node: Node) -> Node:
    """Bare numbers that trigonometric functions are of, taken for degrees."""
    if not isinstance(node, Call):
        return node
    if node.name in TRIGONOMETRIC and not any(isinstance(part, Sym) for part in walk(node)):
        return Call(node.name, (Call("deg", node.args),))
    return Call(node.name, tuple(map(in_degrees, node.args)))


def endless(node: Node) -> int:
    """1 for ∞, -1 for -∞, 0 for what has a value; a symbol that has none is no number but itself."""
    if node == Sym("infty"):
        return 1
    if isinstance(node, Call) and node.name == "neg" and node.args[0] == Sym("infty"):
        return -1
    return 0


def ratio(a: Node, b: Node) -> Value | None:
    """The constant c ≠ 0 with a = c·b; None if there is none."""
    try:
        x, y = quotient(a), quotient(b)
        found = normal_form.proportion(normal_form.times(x[0], y[1]), normal_form.times(y[0], x[1]))
        if found is not None:
            return found
        if not (indeterminates(x) | indeterminates(y)) & {"i", "e", "π"} and not any(
            name[0] == "√" for name in indeterminates(x) | indeterminates(y)
        ):
            return None
    except Undecided:
        pass
    return sampled_ratio(a, b)


def same_zeros(a: Node, b: Node) -> bool:
    """Whether a = 0 and b = 0 are the same equation, rearranged or times a constant, denominators cleared."""
    if ratio(a, b) is not None:
        return True
    try:
        return normal_form.proportion(quotient(a)[0], quotient(b)[0]) is not None
    except Undecided:
        return False


def indeterminates(form: normal_form.Quotient) -> set[str]:
    return normal_form.indeterminates(form[0]) | normal_form.indeterminates(form[1])


def sampled_ratio(a: Node, b: Node) -> Value | None:
    """The same quotient at all points, one of them defined where the other is."""
    names = tuple(sorted(unknowns(a) | unknowns(b)))
    first: tuple[Value, Value] | None = None
    seen = 0
    for values in spread_points(names, frozenset()):
        found = [defined(node, SamplePoint(values, real=True, bits=400)) for node in (a, b)]
        if (found[0] is None) != (found[1] is None):
            return None
        if found[0] is None:
            continue
        first = first or (found[0], found[1])
        if not close(found[0] * first[1], first[0] * found[1]):
            return None
        seen += 1
    if first is None or seen < ENOUGH or close(first[0], Fraction(0)) or close(first[1], Fraction(0)):
        return None
    return first[0] / first[1]


def defined(node: Node, point: SamplePoint) -> Value | None:
    try:
        return value(node, point)
    except (Undefined, UnreadableAnswer):
        return None
