"""The notebooks of examples/notebooks, and a plain process that runs their cells as a kernel would."""

import ast
import json
import linecache
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@dataclass(frozen=True)
class Cell:
    """Of code: its number in the notebook, its text, and whether it holds the parameters."""

    number: int
    text: str
    parameters: bool


def read(notebook: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return found


def cells(notebook: Path) -> Iterator[Cell]:
    """The code of a notebook, in order."""
    for number, cell in enumerate(read(notebook)["cells"]):
        if cell["cell_type"] == "code":
            yield Cell(number, "".join(cell["source"]), "parameters" in cell["metadata"].get("tags", ()))


def run(notebook: Path, parameters: Mapping[str, Any]) -> Iterator[tuple[Cell, Any]]:
    """Run each cell, those of the parameters with other values; yields the cells with what they end in, as it is shown.

    A function's source can be found, as IPython sees to it.

    Raises:
        AssertionError: a parameter that the notebook has not.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(notebook):
        file = f"<{notebook.name}, cell {cell.number}>"
        linecache.cache[file] = (len(cell.text), None, cell.text.splitlines(keepends=True), file)
        tree = ast.parse(cell.text, file)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, file, "exec"), names)  # noqa: S102 - our own notebooks
        if cell.parameters:
            assert parameters.keys() <= names.keys(), f"{notebook.name} has no {parameters.keys() - names.keys()}"
            names |= parameters
        shown = last and eval(compile(ast.Expression(last.value), file, "eval"), names)  # noqa: S307
        yield cell, shown
