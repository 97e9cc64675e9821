"""The stages, one module each, in rooms: data, tune, rl, measure, judge.

A new file in a room with a Stage in it is a new recipe step and a new sub-command.
"""

import importlib
import inspect
import pkgutil
from functools import cache

from bactrian.stages.stage import Stage

MOVED = {"suite": "stage evaluate, with suite: … or tasks: […]"}
"""Stages that there were → how what they did is written now."""


@cache
def all_stages() -> dict[str, type[Stage]]:
    """Stage name → class, in order of name; imports every module below this package (they are light)."""
    found: dict[str, type[Stage]] = {}
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        members = vars(importlib.import_module(module.name)).values()
        for member in members:
            if inspect.isclass(member) and issubclass(member, Stage) and "name" in vars(member):
                found[member.name] = member
    return dict(sorted(found.items()))
