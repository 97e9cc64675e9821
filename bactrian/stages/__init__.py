"""The stages, one module each, in rooms: data, tune, rl, measure, judge.

A new file in a room with a Stage in it is a new recipe step and a new sub-command. So is a Stage that another package
names under the entry points `bactrian.stages`.
"""

import importlib
import inspect
import pkgutil
import re
from functools import cache

from bactrian.errors import BactrianError
from bactrian.stages.stage import Stage
from bactrian.store.own_files import load
from bactrian.store.plugins import Plugins

PLUGINS: Plugins[type[Stage]] = Plugins(
    "bactrian.stages",
    "stage",
    "a subclass of bactrian.stages.stage.Stage",
    lambda found: inspect.isclass(found) and issubclass(found, Stage),
)


def own_stage(text: str) -> type[Stage]:
    """The stage of a user's own file, FILE.py:CLASS.

    Raises:
        BactrianError: the file fails, the class is no stage, or has the name of another one.
    """

    def fits(found: object) -> type[Stage] | None:
        return found if inspect.isclass(found) and issubclass(found, Stage) and hasattr(found, "name") else None

    stage = load(text, "stage", fits)
    if stage.name in all_stages():
        raise BactrianError(f'found "{text}", whose name is {stage.name!r}; Bactrian has a stage of that name')
    if not re.fullmatch(r"[A-Za-z0-9_]+", stage.name):
        raise BactrianError(f'found "{text}", whose name is {stage.name!r}, expected letters, digits and _')
    return stage


MOVED = {"suite": "stage evaluate, with suite: … or tasks: […]"}
"""Stages that there were → how what they did is written now."""
_MARKED = "no such setting any more: rows without a licence are marked unclear; `licences: strict` refuses them"
GONE = {("source", "allow_unlicensed"): _MARKED, ("mix", "allow_unclear"): _MARKED}
"""(stage, setting) that there was → what is to be known instead."""


@cache
def all_stages() -> dict[str, type[Stage]]:
    """Stage name → class, in order of name; imports every module below this package (they are
    light).

    Raises:
        BactrianError: for another package's stage that cannot be loaded or whose name is taken.
    """
    found: dict[str, type[Stage]] = {}
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        members = vars(importlib.import_module(module.name)).values()
        for member in members:
            if inspect.isclass(member) and issubclass(member, Stage) and "name" in vars(member):
                found[member.name] = member
    others = {name: PLUGINS.get(name) for name in PLUGINS.names(own=found)}
    for name, stage in others.items():
        if getattr(stage, "name", None) != name:
            raise BactrianError(
                f"the stage {name!r} ({stage.__module__}.{stage.__name__}) must have the name of its entry point: "
                f"name: ClassVar[str] = {name!r}"
            )
    return dict(sorted({**found, **others}.items()))
