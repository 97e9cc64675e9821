"""The stages for the help of the command line, read from their code: importing them would take longer than the help."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "stages"
OTHERS = "other packages"
GROUP = "bactrian.stages"


def outlines() -> dict[str, dict[str, str]]:
    """Room → stage name → the first paragraph of its docstring, without citations.

    Other packages' stages are in the room "other packages", each with the name of its package.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*/*.py")):
        found.setdefault(path.parent.name, {}).update(_outlined(path))
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else "?"
        found.setdefault(OTHERS, {})[point.name] = f"Of the package {package}."
    return {room: dict(sorted(stages.items())) for room, stages in found.items() if stages}


def _outlined(path: Path) -> Iterator[tuple[str, str]]:
    """The stages of a module: classes that say `name: ClassVar[str] = "…"`."""
    text = path.read_text(encoding="utf-8")
    if "name: ClassVar[str] = " not in text:
        return
    for node in (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)):
        for line in node.body:
            match line:
                case ast.AnnAssign(target=ast.Name("name"), value=ast.Constant(value=str() as name)):
                    first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    yield name, re.sub(r" \[[^\]]*\d{4}[^\]]*\]", "", first)
