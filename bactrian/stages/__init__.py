"""The stages, one module each. A new file here with a Stage in it is a new recipe step and a new sub-command."""

import importlib
import inspect
import pkgutil
from functools import cache

from bactrian.stages.stage import Stage


@cache
def all_stages() -> dict[str, type[Stage]]:
    """Stage name → class, in order of name; imports every module of this package (they are light)."""
    found: dict[str, type[Stage]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        for member in members:
            if inspect.isclass(member) and issubclass(member, Stage) and "name" in vars(member):
                found[member.name] = member
    return dict(sorted(found.items()))
