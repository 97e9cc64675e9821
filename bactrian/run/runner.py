"""Makes the steps of a recipe that are missing, skips those that exist, resumes those that were cut."""

from bactrian import stopping
from bactrian.evaluate.ledger import Ledger
from bactrian.generate.engine_names import check_engine
from bactrian.recipe.recipe import Recipe
from bactrian.run.extras import refuse_without_extras
from bactrian.run.keys import tasks, to_make
from bactrian.run.log import RunLog, StepEntry
from bactrian.run.make import as_it_is, existing, inputs_of, make
from bactrian.run.own_parts import try_own_parts
from bactrian.store.artifact import Artifact, Store
from bactrian.store.manifest import Kind


def run(
    recipe: Recipe,
    store: Store,
    only: str | None = None,
    from_step: str | None = None,
    command: str = "",
    report: bool = True,
) -> list[StepEntry]:
    """Make what is missing of a recipe; write `<store>/<name>/run.json` around each step made, the
    report at the end.

    `only`: make just this step, from inputs that exist. `from_step`: make this step and all after
    it again.

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
    made: dict[str, Artifact] = {}
    todo = tasks(recipe, hardware)
    refuse_without_extras(recipe, to_make(todo, store))
    try_own_parts(recipe, todo, store)
    if any(task.step.stage.makes is Kind.RESULTS for task in todo):
        Ledger(store).checked()  # nothing is measured, nor shown again, beside a ledger that has forgotten
    log = RunLog(recipe, todo, store, command)
    for task in todo:
        name = task.step.name
        if only not in (None, name):
            if (artifact := as_it_is(task, store, wanting=recipe.step(only or name))) is None:
                continue
            status = "reused"
        else:
            inputs = inputs_of(task, made)
            artifact, status = existing(task, store, inputs, name in again), "reused"
            if artifact is None:
                log.write()  # a run that is killed in this step is on record
                artifact, status = make(task, store, hardware, inputs), "made"
        made[name] = artifact
        log.add(task, artifact, status)
        stopping.check(f"stopped after step {name}, which is made")
    log.finish(report)
    return list(log.done.values())
