"""The tasks that there are, by name, and the suites that they make up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.evaluate.catalogue import base, dev, more, safety, unseen
from bactrian.evaluate.task import Task

SUITES = ("dev", "safety", "unseen", "base", "more")


@cache
def catalogue() -> dict[str, Task]:
    """Every task by its name."""
    tasks = [*dev.TASKS, *safety.TASKS, *unseen.TASKS, *base.TASKS, *more.TASKS]
    return {task.name: task for task in tasks}


def chosen(suite: str | None, names: Sequence[str]) -> list[Task]:
    """The tasks of a suite, and those that are named, in the order of the catalogue.

    Raises BactrianError for a suite or task that there is not, or where neither is given.
    """
    tasks = catalogue()
    for name in names:
        if name not in tasks:
            meant = nearest(name, tasks)
            hint = f'; did you mean "{meant}"?' if meant else f"; expected some of {', '.join(tasks)}"
            raise BactrianError(f"no task is called {name!r}{hint}")
    if suite not in SUITES and (suite is not None or not names):
        raise BactrianError(f"suite: found {suite!r}, expected one of {', '.join(SUITES)}, or tasks")
    return [task for task in tasks.values() if suite in task.suites or task.name in names]
