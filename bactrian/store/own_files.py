"""Parts that stand in a user's own file and are named by it: `reward.py:polite`, `chat.jinja`, `rubric.md`.

Such a file is the user's own program, trusted as a package that they install is. Only settings name one: what a row of
data names is never looked for on the disk.
"""

import ast
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, TypeVar

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.store.fingerprint import file_fingerprint, package_root
from bactrian.store.special_files import at_home

PartKind = Literal["verifier", "tagger", "task", "template", "prompt", "stage", "rubric"]
FORM = re.compile(r"([^\n]+\.py):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
EXPECTED = {
    "verifier": "FILE.py:FUNCTION",
    "tagger": "FILE.py:FUNCTION",
    "task": "FILE.py:NAME of a bactrian.evaluate.task.Task",
    "template": "FILE.jinja, or FILE.py:NAME of Jinja text",
    "prompt": "FILE.jinja",
    "stage": "FILE.py:CLASS, a subclass of bactrian.stages.stage.Stage",
    "rubric": "a rubric's name, its text, or a file of it (FILE.txt or FILE.md)",
}
TEXT_FILES: dict[str, tuple[str, ...]] = {"template": (".jinja",), "prompt": (".jinja",), "rubric": (".txt", ".md")}
"""Kinds of parts that may be a file of text, and how its name ends."""
_LOADED: dict[Path, str] = {}
"""File → SHA-256 of the text that it was loaded from: a file that was changed since is loaded again."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class OwnCode:
    """Marks a text setting that may name a part of a user's own file."""

    kind: PartKind


@dataclass(frozen=True)
class OwnUse:
    """One such setting: where it stands in the settings, and its text."""

    path: tuple[str | int, ...]
    ref: str
    kind: PartKind


def is_own(text: str) -> bool:
    """Whether a text has the form FILE.py:NAME."""
    return FORM.fullmatch(text) is not None


def names_file(text: str, kind: PartKind) -> bool:
    """Whether a setting names a file, and not one of the parts that are known by name.

    >>> names_file("rewards/mine.py:polite", "verifier"), names_file("gsm8k", "verifier")
    (True, False)
    """
    if "\n" in text:
        return False
    if text.endswith(TEXT_FILES.get(kind, ())):
        return True
    return kind not in ("rubric", "prompt") and (is_own(text) or text.endswith(".py"))


def parted(text: str) -> tuple[Path, str]:
    """The file and the name in it; "" for a file of text."""
    found = FORM.fullmatch(text)
    return (at_home(found[1]), found[2]) if found else (at_home(text), "")


def located(text: str, folder: Path) -> str:
    """The same reference as seen from the working directory.

    Args:
        folder: of the recipe; a file is looked for there, and then in the working directory.
    """
    path, name = parted(text)
    places = [each for each in (folder / path, path) if each.is_file()]
    if not places:
        return text
    place, here = places[0].absolute(), Path.cwd()
    shown = os.path.relpath(place, here) if place.is_relative_to(here) or not path.is_absolute() else str(place)
    return f"{shown}:{name}" if name else shown


def problem_with(text: str, kind: PartKind) -> tuple[str, str] | None:
    """(found, expected) if a located reference leads to nothing; None if it may be right. Runs nothing of the file."""
    path, name = parted(text)
    if not path.is_file():
        return f'"{text}", and there is no file {path}', f"{EXPECTED[kind]}, beside the recipe or in this directory"
    if not name and text.endswith(TEXT_FILES.get(kind, ())):
        return None
    try:
        names = names_in(path)
    except BactrianError as error:
        return f'"{text}": {error}', EXPECTED[kind]
    if names is None or (name and name.split(".")[0] in set().union(*names)):
        return None
    there = [each for each in names[kind in ("task", "template")] if not each.startswith("_")]
    meant = nearest(name, there) or next((each for each in there if each.casefold() == name.casefold()), None)
    hint = f'; did you mean "{path}:{meant}"?' if meant else ""
    listed = f"; {path} has {', '.join(there)}" if there else ""
    return f'"{text}"' + (f", and {path} has no {name}" if name else ""), f"{EXPECTED[kind]}{listed}{hint}"


def names_in(path: Path) -> tuple[list[str], list[str], list[str]] | None:
    """The functions and classes, the values, and the imported names at the top of a file; None where there may be
    more, by `import *` or under a condition.

    Raises:
        BactrianError: it is no Python.
    """
    tree = parsed(path)
    defined, values, imported = list[str](), list[str](), list[str]()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            imported += [alias.asname or alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values += [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        elif not isinstance(node, ast.Expr) and not (isinstance(node, ast.If) and "__name__" in ast.dump(node.test)):
            return None
    return defined, values, imported


def parsed(path: Path) -> ast.Module:
    """
    Raises:
        BactrianError: a file that cannot be read, or that is no Python, with the line.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise BactrianError(f"{path}, line {error.lineno}: no valid Python: {error.msg}") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise BactrianError(f"{path}: cannot be read ({error})") from None


def load(text: str, kind: PartKind, fits: Callable[[Any], Found | None]) -> Found:
    """The part that FILE.py:NAME names, with the file run in this process.

    Args:
        fits: gives the part, or None where what was found is none.

    Raises:
        BactrianError: the file fails, has no such name, or it is not what is expected.
    """
    path, name = parted(text)
    try:
        found = reduce(getattr, name.split("."), load_file(path)) if name else None
    except AttributeError:
        said = problem_with(text, kind) or (f'"{text}"', EXPECTED[kind])
        raise BactrianError(f"found {said[0]}, expected {said[1]}") from None
    part = fits(found)
    if part is None:
        shown = found.__name__ if isinstance(found, type) else type(found).__name__
        raise BactrianError(f'found "{text}", which is a {shown}, expected {EXPECTED[kind]}')
    return part


class _TextLoader(SourceFileLoader):
    """Runs the text that stands in the file now. Python itself takes bytecode beside it for current where size and
    second are the same, so that a quick edit would run as it was before, under the key of what it is now.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Write none meanwhile: what a user's file imports from beside it is edited as quickly."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def load_file(path: Path) -> ModuleType | Any:
    """A user's file as a module, run once; again when its text has changed.

    A file of a package is imported as a part of it. Any other has its path as its name in `sys.modules`, and its folder
    is the last place from which it can import.

    Raises:
        BactrianError: the file raises something, which the message names with its line.
    """
    path = path.resolve()
    root, dotted = package_root(path)
    if str(root) not in sys.path:
        sys.path.append(str(root))
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    name = dotted if "." in dotted else str(path)
    if _LOADED.get(path) == digest and name in sys.modules:
        return sys.modules[name]
    parsed(path)
    try:
        with _no_bytecode():
            module = _imported(path, name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise BactrianError(f"{place_of(error, path)}: importing this file raised {error!r}"[:500]) from error
    _LOADED[path] = digest
    return module


def _imported(path: Path, name: str) -> ModuleType:
    """The module of a file: `name` is its dotted name in a package, or its path."""
    if name != str(path):
        before = sys.modules.get(name)
        return importlib.reload(before) if before else importlib.import_module(name)
    spec = spec_from_file_location(name, path, loader=_TextLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def place_of(error: BaseException, path: Path) -> str:
    """FILE, line N: the innermost line of a user's file that an exception came from."""
    at, line = error.__traceback__, 0
    while at is not None:
        if Path(at.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = at.tb_lineno
        at = at.tb_next
    shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    return f"{shown}, line {line}" if line else shown


def code_of(text: str) -> list[str]:
    """What a part's artifact depends on: its name in the file, and a hash of the file's code and of what it imports.

    Raises:
        BactrianError: the file cannot be read.
    """
    path, name = parted(text)
    if not name:
        try:
            return [hashlib.sha256(path.read_bytes()).hexdigest()]
        except OSError as error:
            raise BactrianError(f"{path}: cannot be read ({error})") from None
    parsed(path)
    return [name, file_fingerprint(path)]
