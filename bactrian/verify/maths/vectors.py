"""Matrices and tuples multiplied by numbers and added, worked out: ½(2, 4) is (1, 2)."""

from collections.abc import Callable

from bactrian.verify.maths.answer_tree import Bracketed, Call, Matrix, Node, negated


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
