"""A Python function as a reference to a file, `reward.py:polite`, so that a recipe can hold it and a worker import it.

A function of a module is named by the module's file. One of a notebook, of a console or of the script that runs has no
file that can be imported without running everything again: its source is written into the store, with what it uses.
"""

import ast
import builtins
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from bactrian.errors import BactrianError
from bactrian.store.disk import write_atomically

PLAIN = (int, float, str, bytes, bool, type(None))


def reference_to(function: Callable[..., Any], store: Path) -> str:
    """FILE.py:NAME of a function; written below `store` where it has no file of its own.

    Raises:
        BactrianError: it has no source, or uses something that cannot be written down.
    """
    if not isinstance(function, FunctionType):
        raise BactrianError(f"found {function!r:.80}, expected a function made by def")
    if function.__name__ == "<lambda>":
        raise BactrianError("found a lambda, expected a function made by def")
    name, module = function.__qualname__, sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if function.__module__ != "__main__" and file and "<" not in name and _leads_to(module, name, function):
        return f"{file}:{name}"
    text = _Written().text(function)
    path = store / "given" / f"{function.__name__}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.py"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return f"{path}:{function.__name__}"


def _leads_to(module: Any, name: str, function: FunctionType) -> bool:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


class _Written:
    """The text of a file that holds a function and what it uses: imports, values, and further functions and classes."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def text(self, function: FunctionType) -> str:
        """
        Raises:
            BactrianError: see `reference_to`.
        """
        self._add(function.__name__, function, function.__name__)
        return "\n\n".join(["from __future__ import annotations", *self.lines.values()]) + "\n"

    def _add(self, name: str, value: Any, user: str) -> None:
        if name in self.lines:
            return
        if isinstance(value, ModuleType):
            self.lines[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, PLAIN) or _is_plain(value):
            self.lines[name] = f"{name} = {value!r}"
        elif isinstance(value, FunctionType | type) and value.__module__ != "builtins" and _is_here(value):
            self._define(name, value)
        elif getattr(value, "__module__", None) and getattr(value, "__qualname__", "<").isidentifier():
            self.lines[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
        else:
            raise BactrianError(
                f"{user} uses {name}, {type(value).__name__}, which cannot be written to a file; "
                "put the function into a file and give FILE.py:FUNCTION"
            )

    def _define(self, name: str, value: Any) -> None:
        """The source of a function or class, after that of what it uses."""
        try:
            source = textwrap.dedent(inspect.getsource(value))
            tree = ast.parse(source)
        except (OSError, TypeError, SyntaxError):
            raise BactrianError(
                f"the source of {name} cannot be found, as in a console without history; "
                "put it into a file and give FILE.py:FUNCTION"
            ) from None
        if value.__name__ != name:
            raise BactrianError(f"{name} is {value.__name__} by another name: call it {value.__name__}")
        self.lines[name] = ""  # it may call itself
        uses = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for used in sorted(uses - {name}):
            found = _value_of(used, value)
            if found is not _ABSENT:
                self._add(used, found, name)
        del self.lines[name]
        self.lines[name] = source.rstrip()


_ABSENT = object()


def _value_of(name: str, user: Any) -> Any:
    """What a name means where a function or class was made; absent for its own variables and for Python's names."""
    if isinstance(user, FunctionType):
        inside = inspect.getclosurevars(user).nonlocals
        if name in inside:
            return inside[name]
        names = user.__globals__
    else:
        names = vars(sys.modules[user.__module__])
    return names[name] if name in names and names[name] is not getattr(builtins, name, _ABSENT) else _ABSENT


def _is_here(value: Any) -> bool:
    """Whether it was made where nothing can be imported from: a notebook, the running script, or inside a function."""
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return value.__module__ == "__main__" or file is None or "<locals>" in value.__qualname__


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(isinstance(each, PLAIN) or _is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(_is_plain([key, each]) for key, each in value.items())
    return isinstance(value, PLAIN)
