"""The recipes that come with the package: they can be named wherever a recipe file can."""

import re
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest

_SCHEMA = "# yaml-language-server: $schema="  # what editors read


def shipped_recipes() -> dict[str, Path]:
    """Name ("quickstart", "catalogue/tulu3-sft") → file, in order of name."""
    folder = _folder()
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    return dict(sorted(files.items(), key=lambda named: (named[0].count("/"), named[0])))


def find_recipe(path: Path) -> Path:
    """The file that a person means: `path` itself, or the shipped recipe of that name.

    "quickstart", "quickstart.yaml" and "recipes/quickstart.yaml" all name the shipped one
    where no such file is at hand.

    Raises:
        BactrianError: where it is neither, with the nearest name.
    """
    if path.is_file():
        return path
    shipped = shipped_recipes()
    name = path.as_posix().removesuffix(".yaml").removeprefix("recipes/")
    if name in shipped:
        return shipped[name]
    found = "a folder" if path.is_dir() else "no such file"
    meant = nearest(name, list(shipped))
    hint = f'; did you mean "{meant}"?' if meant else "; `bactrian recipes` lists those that come with Bactrian"
    raise BactrianError(f"{path}: found {found}, expected a recipe file or the name of a shipped recipe{hint}")


def recipe_text(name: str) -> str:
    """A shipped recipe as it may be written anywhere: the schema in its first line has its whole path.

    Raises:
        BactrianError: as `find_recipe`.
    """
    path = find_recipe(Path(name))
    line, end, rest = path.read_text(encoding="utf-8").partition("\n")
    if line.startswith(_SCHEMA):
        line = f"{_SCHEMA}{(path.parent / line.removeprefix(_SCHEMA)).resolve()}"
    return line + end + rest


def schema_file() -> Path:
    """The schema of recipes that comes with Bactrian, for a recipe's first line."""
    return (_folder() / "recipe.schema.json").resolve()


def summary(path: Path) -> str:
    """The first sentence of the comment that a recipe begins with, in one line."""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_SCHEMA):
            continue
        if not line.startswith("#") or not line.strip("# "):
            break
        words += line.strip("# ").split()
    return re.split(r"(?<=[^ ]{3}[.?!])(?<!et al\.) ", " ".join(words))[0]


def _folder() -> Path:
    """Inside an installed package; beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"
