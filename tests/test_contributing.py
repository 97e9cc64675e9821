"""CONTRIBUTING.md walks through the code by name: each file and function that it names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)(?::([\w.]+))?`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))))


def defined(path: Path) -> set[str]:
    """Names of functions, classes and, as Class.method, what is in them."""
    tree = ast.parse(path.read_text("utf-8")).body
    inside = {
        f"{node.name}.{each.name}"
        for node in tree
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef)
    }
    return inside | {node.name for node in tree if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("file, name", NAMED)
def test_what_the_tour_names_is_there(file: str, name: str) -> None:
    assert (ROOT / "bactrian" / file).is_file()
    assert not name or name in defined(ROOT / "bactrian" / file)


def test_the_tour_names_something() -> None:
    assert len(NAMED) > 30


def test_errors_are_said_in_one_style() -> None:
    """A docstring lists what a function raises in a block, `Raises:`, and in no sentence."""
    found = []
    for path in sorted((ROOT / "bactrian").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                found += [f"{path}: {each[0]}" for each in re.finditer(r"(?<![:`])\bRaises [A-Z]\w+", text)]
    assert not found, "\n".join(found)
