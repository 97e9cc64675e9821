"""The code of a stage as a hash: syntax trees, so that comments, docstrings and layout may change and code may not."""

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "bactrian"
WITHOUT_EFFECT = ("bactrian.report", "bactrian.progress", "bactrian.stopping", "bactrian.limits")
"""What they do never reaches an artifact."""
_HERE = Path(__file__).parent


@cache
def code_fingerprint(module: str) -> str:
    """sha256 over a module and every bactrian module that it imports, at any depth, also inside functions.

    Left out: `bactrian/__init__.py`, which holds the version, and WITHOUT_EFFECT. Raises SyntaxError, OSError.
    """
    trees: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in trees:
            trees[name], imported = _read(name)
            waiting.extend(imported)
    text = "\n".join(f"{name} {tree}" for name, tree in sorted(trees.items()))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _read(name: str) -> tuple[str, frozenset[str]]:
    """A module's tree as text, and the bactrian modules whose code it runs by importing them."""
    path = _path(name) or Path(str(sys.modules[name].__file__))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = {parent for target in _imports(tree, package) for parent in _with_parents(target)}
    relevant = (target for target in found if target != PACKAGE and not _without_effect(target) and _path(target))
    return describe(tree) + _compiled(tree, path.parent), frozenset(relevant)


def _compiled(tree: ast.AST, folder: Path) -> str:
    """The C sources beside a module that it names, as text: code like any other, comments included."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    paths = [folder / text for text in sorted(texts) if re.fullmatch(r"\w+\.[ch]", text)]
    return "".join(f" {path.name} {path.read_text(encoding='utf-8')}" for path in paths if path.is_file())


def describe(node: ast.AST) -> str:
    """A syntax tree as text without positions, docstrings and `description=` texts; the same for any Python version."""
    fields = [f"{name}={_describe_value(value)}" for name, value in ast.iter_fields(node)
              if name not in ("type_comment", "kind") and value not in (None, [])]
    return f"{type(node).__name__}({', '.join(fields)})"


def _describe_value(value: object) -> str:
    if isinstance(value, ast.AST):
        return describe(value)
    if isinstance(value, list):
        return f"[{', '.join(_describe_value(item) for item in value if not _is_documentation(item))}]"
    return repr(value)


def _is_documentation(node: object) -> bool:
    """A text standing alone as a statement, or the `description=` of a pydantic field."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.keyword) and node.arg == "description" and isinstance(node.value, ast.Constant)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a tree may import; of `from a import b` both `a` and `a.b`, as `b` may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _without_effect(name: str) -> bool:
    return any(name == module or name.startswith(module + ".") for module in WITHOUT_EFFECT)


def _path(name: str) -> Path | None:
    """The file of a module of this package, or None."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        return None
    path = _HERE.joinpath(*rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if rest else (_HERE / "__init__.py",)
    return next((candidate for candidate in candidates if candidate.is_file()), None)
