"""Makes the steps of a recipe that are missing, skips those that exist, resumes those that were cut."""

from collections.abc import Collection, Sequence

from bactrian import stopping
from bactrian.evaluate.ledger import Ledger
from bactrian.generate.engine_names import check_engine
from bactrian.recipe.recipe import Recipe
from bactrian.run.keys import KeyedStep, tasks, to_make
from bactrian.run.log import RunLog, StepEntry
from bactrian.run.make import as_it_is, existing, inputs_of, make
from bactrian.run.missing_packages import refuse_without_extras
from bactrian.run.part_trials import try_own_parts
from bactrian.run.prepare import check_device, check_models, check_tool_places, say_what_is_adopted
from bactrian.run.tracking import Trackers
from bactrian.store.artifact import Artifact, Store
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind
from bactrian.store.processes import ALONE, Processes
from bactrian.store.remote import RemoteStore


def _adopting(recipe: Recipe, name: str) -> set[str]:
    """The steps of the recipe's own that adopt what a step reads: they are part of it."""
    found = {name}
    for step in reversed(recipe.steps):
        if step.name in found:
            found |= {read for read in step.reads if recipe.step(read).implicit}
    return found - {name}


def run(
    recipe: Recipe,
    store: Store,
    only: str | None = None,
    from_step: str | None = None,
    command: str = "",
    report: bool = True,
    group: Processes = ALONE,
) -> list[StepEntry]:
    """Make what is missing of a recipe; write `<store>/<name>/run.json` around each step made, the
    report at the end.

    `only`: make just this step, from inputs that exist. `from_step`: make this step and all after
    it again. `group`: of several processes this is the leader; the others `follow` (run/together.py).

    Raises:
        BactrianError: for bad input, for an artifact that does not match its hashes, and for a
            full disk and other limits of the machine; whatever else a stage raises carries a
            note that names the step.
        Stop: between two steps if a signal asked for it.
    """
    names = [step.name for step in recipe.steps]
    for name in filter(None, (only, from_step)):
        recipe.step(name)
    again = set(names[names.index(from_step) :]) if from_step else set()
    hardware = recipe.hardware.decide()
    check_engine(hardware.engine)
    todo = tasks(recipe, hardware)
    wanted = {only} | _adopting(recipe, only) if only else set(names)
    remote = RemoteStore(recipe.remote) if recipe.remote else None
    if remote is not None:
        remote.check()
        _fetch(remote, todo, store, again)
    missing = [step for step in to_make(todo, store) if step.name in wanted]
    refuse_without_extras(recipe, missing)
    check_device(hardware)
    check_models(recipe, missing)
    check_tool_places(recipe, missing)
    try_own_parts(recipe, todo, store)
    if any(task.step.stage.makes is Kind.RESULTS for task in todo):
        Ledger(store).checked()  # nothing is measured, nor shown again, beside a ledger that has forgotten
    say_what_is_adopted(recipe)
    log = RunLog(recipe, todo, store, command)
    with Trackers(recipe.track, recipe.name, store) as trackers:
        _make_all(recipe, store, hardware, todo, log, trackers, only, wanted, again, group, remote)
    log.finish(report)
    group.tell()  # there is nothing more to come for
    return list(log.done.values())


def _fetch(remote: RemoteStore, todo: Sequence[KeyedStep], store: Store, again: Collection[str]) -> None:
    """Have here what is there already of the recipe's steps, but for those that are made again."""
    for task in todo:
        stage = task.step.stage.name
        if task.step.name not in again and store.find(stage, task.key) is None:
            remote.fetch(stage, task.key, store)
            stopping.check("stopped after an artifact was fetched")


def _make_all(
    recipe: Recipe,
    store: Store,
    hardware: Hardware,
    todo: Sequence[KeyedStep],
    log: RunLog,
    trackers: Trackers,
    only: str | None,
    wanted: Collection[str],
    again: Collection[str],
    group: Processes,
    remote: RemoteStore | None,
) -> None:
    made: dict[str, Artifact] = {}
    for task in todo:
        name = task.step.name
        if name not in wanted:
            if (artifact := as_it_is(task, store, wanting=recipe.step(only or name))) is None:
                continue
            status = "reused"
        else:
            inputs = inputs_of(task, made)
            artifact, status = existing(task, store, inputs, name in again), "reused"
            if artifact is None:
                log.write()  # a run that is killed in this step is on record
                trackers.follow(task, hardware, inputs)
                joint = group.size > 1 and task.step.stage.joint
                artifact, status = make(task, store, recipe.hardware.decide(joint), inputs, group), "made"
        if remote is not None and name in wanted:
            remote.send(artifact)
        made[name] = artifact
        log.add(task, artifact, status)
        stopping.check(f"stopped after step {name}, which is made")
