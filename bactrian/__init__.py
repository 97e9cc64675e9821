"""Bactrian: an open, end-to-end post-training toolkit.

    import bactrian as bt

    tuned = bt.sft(model="embedded:smollm2-135m", data="rows.jsonl", epochs=1)
    scores = bt.evaluate(models={"base": "embedded:smollm2-135m", "tuned": tuned}, data="unseen.jsonl")

Each stage is a function of its settings. `run` and `Recipe` make several steps; `load` finds what was made.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
_OF_PYTHON = {"Recipe": "RecipeInCode", "load": "load", "run": "run"}
_HANDLES = ("Data", "Made", "Model", "Results", "Run")
_ALSO_PACKAGES = ("run", "evaluate")
"""Functions that are called as packages of ours are: a package of such a name can be called."""


def __getattr__(name: str) -> Any:
    """Loaded when first asked for: `import bactrian` is quick."""
    if name.startswith("_"):
        raise AttributeError(f"module 'bactrian' has no attribute {name!r}")
    return import_module(f"bactrian.{name}") if name in _ALSO_PACKAGES else _function(name)


def __dir__() -> list[str]:
    from bactrian.stages import all_stages

    return sorted(["__version__", "BactrianError", *_OF_PYTHON, *_HANDLES, *all_stages()])


def _function(name: str) -> Any:
    if name in _OF_PYTHON:
        return getattr(import_module("bactrian.run.python"), _OF_PYTHON[name])
    if name in _HANDLES:
        return getattr(import_module("bactrian.run.handles"), name)
    if name == "BactrianError":
        from bactrian.errors import BactrianError

        return BactrianError
    from bactrian.stages import all_stages

    if name not in all_stages():
        raise AttributeError(f"module 'bactrian' has no attribute {name!r}; stages are: {', '.join(all_stages())}")
    return import_module("bactrian.run.python").stage_function(all_stages()[name])


class _Callable(ModuleType):
    """A package that is a function too: `bt.run("recipe.yaml")`, while `bactrian.run.runner` is a module."""

    def __call__(self, *given: Any, **settings: Any) -> Any:
        return _function(self.__name__.rpartition(".")[2])(*given, **settings)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALSO_PACKAGES and isinstance(value, ModuleType):  # Python has just imported it
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
