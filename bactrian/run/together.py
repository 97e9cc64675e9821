"""A run's steps that all processes make together: the leader calls them, the others come, and keep nothing of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bactrian import sandbox
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import Recipe
from bactrian.recipe.references import ExternalSource
from bactrian.run.keys import KeyedStep, tasks
from bactrian.run.prepare import prepare
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.processes import Processes, joint
from bactrian.store.watchdog import watched


@contextmanager
def calling(group: Processes, task: KeyedStep, scratch: Path) -> Iterator[None]:
    """Within, the leader makes a step as one of all, if it is such a step; the others have been called.

    Args:
        scratch: where checkpoints are, which all write.
    """
    if group.size == 1 or not task.step.stage.joint:
        yield
        return
    group.tell(step=task.step.name, key=task.key, scratch=str(scratch.resolve()))
    with joint(group):
        yield
        group.barrier()  # nothing is taken away before all are done with it


def follow(recipe: Recipe, store: Store, group: Processes) -> None:
    """What all but the leader do in a run: come when it calls, until it is done.

    Raises:
        BactrianError: this process does not find what the leader does; and whatever a step raises.
        Lost: another process has ended.
    """
    hardware = recipe.hardware.decide()
    todo: list[KeyedStep] = []
    while word := group.hear("a step to make together"):
        todo = todo or tasks(recipe, hardware)
        task = next((task for task in todo if task.step.name == word["step"]), None)
        if task is None or task.key != word["key"]:
            raise BactrianError(
                f'step "{word["step"]}": the key here is {task and task.key[:16]}, the leader\'s is '
                f"{word['key'][:16]}: its files, settings or code differ between the machines"
            )
        with tempfile.TemporaryDirectory(prefix="bactrian-") as folder:
            prepare(hardware, task.step.seed)
            sandbox.want(hardware.sandbox)
            own = Path(folder)
            for name in ("output", "scratch"):
                (own / name).mkdir()
            workspace = Workspace(
                own / "output",
                own / "scratch",
                task.step.seed,
                hardware,
                _inputs(task, todo, store),
                store,
                task.code,
                shared=Path(word["scratch"]),
            )
            with joint(group), watched(f'step "{task.step.name}"', own):
                task.step.stage.run(workspace)
                group.barrier()


def _inputs(task: KeyedStep, todo: Sequence[KeyedStep], store: Store) -> dict[str, Input]:
    """What the step reads, which the leader has made or fetched and checked."""
    found = {ref: item.input() if isinstance(item, ExternalSource) else item for ref, item in task.sources.items()}
    for name in task.step.reads:
        read = next(each for each in todo if each.step.name == name)
        artifact = store.find(read.step.stage.name, read.key)
        if artifact is None:
            raise BactrianError(f"{store.folder(read.step.stage.name, read.key)}: not found here; the leader has it")
        found[name] = Input.of(name, artifact)
    return found
