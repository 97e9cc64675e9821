"""Tests as texts. They are parsed and compiled here, once, and run only by the examiner."""

import ast
import builtins
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from bactrian.sandbox.syntax import parse

PASSED, FAILED = "_bactrian_passed", "_bactrian_failed"
"""What the examiner puts under these names is called after each assertion of `check`."""
REACHED, ALONE, STAND_IN = "_bactrian_reached", "_bactrian_alone", "_bactrian_"
"""And these: called before each assertion of a test; for calls that stand alone; exceptions' stand-ins (remote.py)."""
HANDED = "_bactrian_given"
"""And this: the values that a suite hands to its tests."""
ENDINGS = {"StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt", "SystemExit"}
NAMING = {"assertRaises", "assertRaisesRegex", "raises", "isinstance", "issubclass", "suppress"}
"""Functions that are handed exceptions by which the raised one is judged."""
GIVEN = {
    **dict.fromkeys(("isclose", "fabs", "isnan", "isinf"), "math"),
    "deepcopy": "copy",
    "StringIO": "io",
    **dict.fromkeys(("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"), "collections"),
    "Fraction": "fractions",
    "Decimal": "decimal",
    "redirect_stdout": "contextlib",
    **dict.fromkeys(("date", "datetime", "timedelta"), "datetime"),
}
"""Names that tests judge with and may not import: never the program's if it has another to be asked for."""


@dataclass(frozen=True)
class UnitTests:
    """What a program must do.

    `tests`: texts of Python, each one test, such as `assert add(1, 2) == 3`; or `check`, a text that defines
    `check(candidate)`, to be called with the program's `entry_point`: each of its assertions is one test. `setup` runs
    before the tests, with them; `prelude` before the program, and, apart, before the tests: given imports and helpers.
    `given`: a value in the form of codec.py, as JSON, which the tests read as `_bactrian_given`.
    """

    tests: tuple[str, ...] = ()
    check: str = ""
    entry_point: str = ""
    setup: str = ""
    prelude: str = ""
    given: str = ""


@lru_cache(maxsize=256)
def compiled(suite: UnitTests) -> Mapping[str, Any]:
    """The tests as the examiner's job.

    Raises:
        ValueError: for a text that is not Python, or a check without `check`.
    """
    prelude, setup, check, *tests = (_parse(text) for text in (suite.prelude, suite.setup, suite.check, *suite.tests))
    if suite.check and not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in check.body):
        raise ValueError("'check': defines no function called check")
    wanted = [name for name in missing([setup, check, *tests], prelude) if name != HANDED] or shadowing(tests)
    called = {_called(node) for tree in (setup, check, *tests) for node in ast.walk(tree)}
    modules = [name for name in wanted if name in sys.stdlib_module_names and name not in called]
    own = [name for name in wanted if name not in modules]
    given = [name for name in own if name in GIVEN] if suite.entry_point or not {*own} <= GIVEN.keys() else []
    asks = {
        name: any(each in own for each in missing([outside_check(tree)], prelude))
        for name, tree in (("setup_asks", setup), ("check_asks", check))
    }
    counting, must_assert = Counting(check), [number for number, tree in enumerate(tests, 1) if must(tree)]
    code = {"prelude": prelude, "setup": setup, "check": counting.visit(check)}
    return {
        **{name: _compile(GuardedTests().visit(tree)) for name, tree in code.items()},
        **asks,
        "tests": [_compile(GuardedTests(reached=True).visit(tree)) for tree in tests],
        "must_assert": must_assert,
        "numpy": any(_imports_numpy(tree) for tree in (prelude, setup, check, *tests)),
        "asserts": counting.asserts,
        "modules_wanted": modules,
        "entry_point": suite.entry_point,
        "names_given": [(name, GIVEN[name]) for name in given],
        "names_wanted": [name for name in own if name not in given],
    }


def _parse(text: str) -> ast.Module:
    try:
        return parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text[:60]!r} is not Python: {error}") from None


def _compile(tree: ast.Module) -> CodeType:
    try:
        code: CodeType = compile(ast.fix_missing_locations(tree), "<tests>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"a test is not Python: {error}") from None
    return code


class Counting(ast.NodeTransformer):
    """Makes each assertion of `check` a test of its own: one that fails is counted, and the next is tried.

    So is each call that stands alone of a function whose name begins with "assert", such as HumanEval+'s `assertion`
    and numpy.testing's; its own assertions are then not counted once more. Those of a unittest class are its runner's.
    """

    def __init__(self, check: ast.Module) -> None:
        self.asserts = 0
        self.called = {_asserting(node) for node in ast.walk(check)}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node if node.name in self.called else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return self.counted(node) if _asserting(node) else node

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        if isinstance(node.test, ast.Constant):  # "assert True" asks nothing of a program
            return node
        return self.counted(node)

    def counted(self, node: ast.stmt) -> ast.stmt:
        self.asserts += 1
        passed, failed = (parse(f"{name}()").body[0] for name in (PASSED, FAILED))
        handler = ast.ExceptHandler(type=ast.Name("Exception", ast.Load()), name=None, body=[failed])
        return ast.Try(body=[node], handlers=[handler], orelse=[passed], finalbody=[])


class GuardedTests(ast.NodeTransformer):
    """Tests as the examiner runs them: what a program could answer by, other than with a value, goes through it.

    - Where an exception is caught that would end an iterator or a process, so is its stand-in.
    - A call whose value is thrown away is asked what it has changed in its arguments; any other has copies.
    - With `reached`, each assertion says that it is tried.
    """

    def __init__(self, reached: bool = False) -> None:
        self.reached = reached

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        if node.type is not None:
            node.type = with_stand_ins(node.type)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else _called(node)
        if name in NAMING:
            node.args = [with_stand_ins(each) for each in node.args]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        call = node.value
        name = _called(call)
        if isinstance(call, ast.Call) and not (hasattr(builtins, name) or name.startswith(STAND_IN)):
            node.value = ast.Call(ast.Name(ALONE, ast.Load()), [call.func, *call.args], call.keywords)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        return [parse(f"{REACHED}()").body[0], node] if self.reached else node


def with_stand_ins(kinds: ast.expr) -> ast.expr:
    """The exceptions that an expression names, and the stand-ins of those that have one."""
    each = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
    more = [STAND_IN + name.id for name in each if isinstance(name, ast.Name) and name.id in ENDINGS]
    return ast.Tuple([*each, *(ast.Name(name, ast.Load()) for name in more)], ast.Load()) if more else kinds


def _imports_numpy(tree: ast.AST) -> bool:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [getattr(node, "module", None) or each.name for node in imports for each in node.names]
    return any(name.partition(".")[0] == "numpy" for name in modules)


def _asserting(node: ast.AST) -> str:
    """The name of the asserting function that a statement calls; an empty text if it calls none."""
    function = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    name = str(getattr(function, "attr", getattr(function, "id", "")))
    while isinstance(function, ast.Attribute):
        function = function.value
    own = isinstance(function, ast.Name) and function.id in ("self", "cls")
    return name if name.startswith("assert") and not own else ""


def must(test: ast.AST) -> bool:
    """Whether a test asserts something, and nowhere has a `try`, where not to reach an assertion may be right."""
    nodes = [node for node in ast.walk(test) if isinstance(node, ast.Assert | ast.Try)]
    asked = [node for node in nodes if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant)]
    return bool(asked) and len(nodes) == sum(isinstance(node, ast.Assert) for node in nodes)


def missing(trees: list[ast.Module], prelude: ast.Module) -> list[str]:
    """Names that the tests read and that neither they, the prelude nor Python make: the program must."""
    made = {name for tree in (*trees, prelude) for node in ast.walk(tree) for name in _made(node)}
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return [name for name in read if name not in made and not hasattr(builtins, name)]


def _made(node: ast.AST) -> list[str]:
    """The names that a node binds."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
        return [node.name]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(each.asname or each.name).split(".")[0] for each in node.names]
    return []


def outside_check(tree: ast.Module) -> ast.Module:
    """What runs, or may be called, before `check` is."""
    return ast.Module([node for node in tree.body if getattr(node, "name", "") != "check"], [])


def shadowing(trees: list[ast.Module]) -> list[str]:
    """For tests that miss nothing: the one of Python's own names that all of them call first: `assert sum(2, 3) == 5`.

    Only then: a program that could put its own `sorted` or `len` under the tests would answer in their place.
    """
    first = {next((name for node in ast.walk(tree) if (name := _called(node))), "") for tree in trees}
    return list(first) if len(first) == 1 and first != {""} else []


def _called(node: ast.AST) -> str:
    """The name that a node calls; an empty text if it calls none."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
