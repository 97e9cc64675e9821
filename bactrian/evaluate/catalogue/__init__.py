"""The tasks that there are, by name, and the suites that they make up.

Another package's task (entry points `bactrian.tasks`) is asked by its name. It is in no suite, so that a suite is the
same wherever it is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.evaluate.catalogue import base, dev, more, regurgitation, safety, unseen
from bactrian.evaluate.catalogue import noncompliance_tasks as noncompliance
from bactrian.evaluate.task import Task
from bactrian.evaluate.task_rows import with_files_beside
from bactrian.store.own_files import load, names_file, parted
from bactrian.store.plugins import Plugins

PLUGINS: Plugins[Task] = Plugins(
    "bactrian.tasks", "task", "a bactrian.evaluate.task.Task", lambda found: isinstance(found, Task)
)
SUITES = ("dev", "safety", "unseen", "base", "more", "reliability", "regurgitation")


@cache
def catalogue() -> dict[str, Task]:
    """Every task of Bactrian's own by its name."""
    parts = (dev, safety, unseen, base, more, noncompliance, regurgitation)
    tasks = [task for part in parts for task in part.TASKS]
    return {task.name: task for task in tasks}


def chosen(suite: str | None, names: Sequence[str]) -> list[Task]:
    """The tasks of a suite, and those that are named: in the order of the catalogue, then other
    packages' as named.

    Raises:
        BactrianError: for a suite or task that there is not, or where neither is given.
    """
    tasks = catalogue()
    others = PLUGINS.names(own=tasks) if names else []
    mine = {name: own_task(name, tasks) for name in names if names_file(name, "task")}
    for name in names:
        if name not in tasks and name not in others and name not in mine:
            meant = nearest(name, [*tasks, *others])
            hint = f'; did you mean "{meant}"?' if meant else f"; expected some of {', '.join([*tasks, *others])}"
            raise BactrianError(f"no task is called {name!r}{hint}")
    if suite not in SUITES and (suite is not None or not names):
        raise BactrianError(f"suite: found {suite!r}, expected one of {', '.join(SUITES)}, or tasks")
    own = [task for task in tasks.values() if suite in task.suites or task.name in names]
    return [*own, *(mine.get(name) or _plugged(name) for name in dict.fromkeys(names) if name not in tasks)]


def own_task(text: str, taken: Collection[str] = ()) -> Task:
    """The task of a user's own file, FILE.py:NAME.

    Raises:
        BactrianError: the file fails, what it names is no task, or is called as one of ours.
    """
    task: Task = load(text, "task", lambda found: found if isinstance(found, Task) else None)
    if task.name in taken:
        raise BactrianError(f'found "{text}", which calls itself {task.name!r}; Bactrian has a task of that name')
    return with_files_beside(task, parted(text)[0].parent)


def _plugged(name: str) -> Task:
    """Another package's task.

    Raises:
        BactrianError: unless it bears the name of its entry point.
    """
    task = PLUGINS.use(name)
    if task.name != name:
        raise BactrianError(f"the task {name!r} of another package calls itself {task.name!r}; expected the same name")
    return task
