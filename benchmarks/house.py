"""How the package is laid out, in numbers: python benchmarks/house.py [CHECKOUT] (by default the one it stands in)."""

import argparse
import ast
import os
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grimp  # comes with import-linter

PACKAGE = "bactrian"
SHORT = 60  # lines
MRO = f"""
from {PACKAGE}.stages import all_stages
print(sum(part.__module__.startswith("{PACKAGE}") for part in all_stages()["ppo"].__mro__))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).parents[1])
    for name, value in measure(parser.parse_args().checkout.resolve()).items():
        print(f"{name:<50} {value}")


def measure(checkout: Path) -> dict[str, str]:
    """What is counted → its number, and the names where they are few."""
    package = checkout / PACKAGE
    files = sorted(package.rglob("*.py"))
    modules = [path for path in files if path.name not in ("__init__.py", "__main__.py")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    longest = max(lines, key=lambda path: lines[path])
    loaded, circles = import_circles(checkout, types=False), import_circles(checkout, types=True)
    return {
        "entries at the package's root": str(sum(path.name != "__pycache__" for path in package.iterdir())),
        "floors in the import contract": str(len(floors(checkout))),
        "import circles": counted(loaded),
        "import circles, imports for types alone included": counted(circles),
        "files, without __init__ and __main__": str(len(modules)),
        f"files under {SHORT} lines": str(sum(count < SHORT for count in lines.values())),
        "lines of the median file": f"{statistics.median(lines.values()):g}",
        "lines of the longest file": f"{lines[longest]} ({longest.relative_to(package)})",
        "file names that occur more than once": counted(repeated(path.stem for path in modules)),
        "class names that occur more than once": counted(repeated(class_names(files))),
        "our classes in the MRO of stage ppo": own_bases(checkout),
    }


def counted(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "0"


def floors(checkout: Path) -> list[str]:
    """The layers of the first contract of that kind."""
    contracts = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")


def repeated(names: Iterator[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def class_names(files: Sequence[Path]) -> Iterator[str]:
    """Of all classes at the top of a file."""
    for path in files:
        yield from (node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef))


def own_bases(checkout: Path) -> str:
    """In a process of its own: this one may have loaded another checkout's package."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", MRO], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def import_circles(checkout: Path, types: bool) -> list[str]:
    """Groups of modules that import each other, as "a + b"; an import within a function counts."""
    sys.path.insert(0, str(checkout))
    try:
        graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=not types, cache_dir=None)
    finally:
        sys.path.remove(str(checkout))
    edges = {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}
    return [" + ".join(sorted(name.removeprefix(f"{PACKAGE}.") for name in group)) for group in circles_in(edges)]


def circles_in(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one module: those that reach each other."""
    reach = {module: _reached(edges, module) for module in edges}
    groups: list[set[str]] = []
    for module in edges:
        if not any(module in group for group in groups):
            group = {other for other in reach[module] if module in reach[other]}
            if len(group) > 1:
                groups.append(group)
    return groups


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for module in edges[waiting.pop()] - found:
            found.add(module)
            waiting.append(module)
    return found


if __name__ == "__main__":
    main()
