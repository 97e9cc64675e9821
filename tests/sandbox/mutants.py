"""Programs with one line changed: each change is one that a person could make by mistake."""

import ast
import copy
import hashlib
from collections.abc import Iterator

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


def mutants(program: str, function: str) -> list[str]:
    """Every version of a program with one expression or statement of this function changed, in order of place."""
    tree = ast.parse(program)
    found = []
    for place, node in enumerate(ast.walk(tree)):
        for change in range(2):
            changed = copy.deepcopy(tree)
            target = next(each for at, each in enumerate(ast.walk(changed)) if at == place)
            if within(tree, function, node) and mutate(target, change):
                found.append(ast.unparse(ast.fix_missing_locations(changed)))
    return [text for text in dict.fromkeys(found) if text != ast.unparse(tree)]


def within(tree: ast.AST, function: str, node: ast.AST) -> bool:
    """Whether a node is in the body of the last function of this name."""
    owner = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == function][-1]
    return any(node is each for statement in owner.body for each in ast.walk(statement))


def mutate(node: ast.AST, change: int) -> bool:
    """Change a node in place, in its first or second way; False if it has none."""
    if change:
        return other_value(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
        node.ops[0] = COMPARE[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        node.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        node.value = not node.value
    else:
        return False
    return True


def other_value(node: ast.AST) -> bool:
    """Return something else."""
    if isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.List([node.value], ast.Load())
        return True
    return False


def one_mutant(program: str, function: str, seed: str) -> str:
    """One of them, the same each time, by a hash of `seed`."""
    found = mutants(program, function)
    return found[int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16) % len(found)]


def changed_lines(program: str, mutant: str) -> Iterator[tuple[str, str]]:
    """(before, after) of each line that differs, as `ast.unparse` writes them."""
    lines = [ast.unparse(ast.parse(text)).splitlines() for text in (program, mutant)]
    return ((one.strip(), other.strip()) for one, other in zip(*lines, strict=True) if one != other)
