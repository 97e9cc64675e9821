"""One step: what it reads, whether its artifact exists and is current, and making it, resumed after an interruption."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bactrian import sandbox
from bactrian.data.io import fleet
from bactrian.errors import BactrianError
from bactrian.evaluate.recognise import warn_of_unseen
from bactrian.progress import PROGRESS, published, say
from bactrian.recipe.recipe import Step
from bactrian.recipe.references import ExternalSource
from bactrian.run.keys import KeyedStep
from bactrian.run.prepare import check_rows, prepare, warn_of_memory
from bactrian.run.step_manifest import manifest_of
from bactrian.run.together import calling
from bactrian.store import parts, step_attempt
from bactrian.store.artifact import Artifact, Input, Store, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.machine_limits import refusal
from bactrian.store.manifest import Kind, Manifest, restated
from bactrian.store.processes import ALONE, Processes
from bactrian.store.watchdog import watched


def inputs_of(task: KeyedStep, made: Mapping[str, Artifact]) -> dict[str, Input | ExternalSource]:
    """For each reference the artifact that it names, or the source, which is fetched only if the step must be made."""
    inputs: dict[str, Input | ExternalSource] = dict(task.sources)
    for name in task.step.reads:
        inputs[name] = Input.of(name, made[name])
    return inputs


def existing(
    task: KeyedStep, store: Store, inputs: Mapping[str, Input | ExternalSource], again: bool
) -> Artifact | None:
    """The step's artifact if it is there, whole, made from these very inputs, and not to be made
    `again`.

    Raises:
        BactrianError: if it, or an input's manifest, was changed after it was made.
    """
    artifact = store.find(task.step.stage.name, task.key)
    if artifact is None:
        return None
    artifact.manifest.verify(artifact.path)
    for ref, item in inputs.items():
        changed = artifact.manifest.restated(item.key, item.content_hash, item.statement)
        if changed == "changed":
            raise BactrianError(f"{task.step.name}: {restated(ref, str(artifact.path))}")
        if changed and not again:
            say(f"{task.step.name}: {ref} was made again and its manifest says other things, so this is made again")
            again = True
    # with two references of one content, either name may have been recorded
    if {record.content_hash for record in artifact.manifest.inputs.values()} != _hashes(inputs):
        say(f"{task.step.name}: an input was made again and came out different, so this step is made again")
        again = True
    elif stale := parts.changed(artifact.manifest.parts):
        say(f"{task.step.name}: changed since: {', '.join(stale)}; so this step is made again")
        again = True
    if again:
        store.set_aside(artifact)
        return None
    say(f"{task.step.name}: exists ({artifact.path})")
    return artifact


def _hashes(inputs: Mapping[str, Input | ExternalSource]) -> set[str]:
    return {source.content_hash for source in inputs.values()}


def as_it_is(task: KeyedStep, store: Store, wanting: Step) -> Artifact | None:
    """With --only: another step's artifact, if any.

    Raises:
        BactrianError: if `wanting` reads it and there is none.
    """
    artifact = store.find(task.step.stage.name, task.key)
    if task.step.name in wanting.reads:
        if artifact is None:
            raise BactrianError(
                f'--only {wanting.name}: it reads step "{task.step.name}", which is not made yet; '
                f"run without --only, or with --only {task.step.name} first"
            )
        artifact.manifest.verify(artifact.path)
    return artifact


def make(
    task: KeyedStep,
    store: Store,
    hardware: Hardware,
    inputs: Mapping[str, Input | ExternalSource],
    group: Processes = ALONE,
) -> Artifact:
    """Run the stage, from where it was cut if it was, and commit what it leaves. `group`: those that may join in.

    Raises:
        BactrianError: naming the step; whatever else the stage raises carries a note that names
            it.
    """
    step, stage = task.step, task.step.stage
    resumed = store.partial(stage.name, task.key).exists()
    say(f"{step.name}: {'resuming' if resumed else 'making'} (stage {stage.name})")
    with (
        _naming_step(step, store.partial(stage.name, task.key)),
        store.making(stage.name, task.key) as partial,
        step_attempt.noting_failure(partial),
    ):
        if (finished := store.find(stage.name, task.key)) is not None:  # by another process, a moment ago
            shutil.rmtree(partial)
            return finished
        at_hand = {ref: item.input() if isinstance(item, ExternalSource) else item for ref, item in inputs.items()}
        with parts.noting(partial) as stale:
            if stale:
                say(f"{step.name}: changed since it was cut: {', '.join(stale)}; so it begins anew")
                _begin_anew(partial)
            manifest = _run_stage(task, store, hardware, at_hand, partial, group)
        return store.commit(partial, manifest)


def _run_stage(
    task: KeyedStep,
    store: Store,
    hardware: Hardware,
    at_hand: Mapping[str, Input],
    partial: Path,
    group: Processes,
) -> Manifest:
    """Let the stage work in the partial folder; what its manifest will say."""
    step, stage = task.step, task.step.stage
    started = step_attempt.begin(partial)
    prepare(hardware, step.seed)
    sandbox.want(hardware.sandbox)
    output, scratch = partial / "output", partial / "scratch"
    workspace = Workspace(output, scratch, step.seed, hardware, at_hand, store, task.code)
    check_rows(step, at_hand)
    warn_of_memory(step, at_hand, hardware)
    before = time.monotonic()
    if stage.makes is Kind.MODEL:
        rows = {
            item.ref: at_hand[item.ref].path
            for item in stage.references()
            if item.kind is Kind.DATA and not item.held_out
        }
        warn_of_unseen(step.name, rows, workspace)
    try:
        with published(partial / PROGRESS), calling(group, task, scratch), watched(f'step "{step.name}"', partial):
            stage.run(workspace)
    finally:
        fleet.release()
    if stage.name in ("source", "problems"):  # where rows come in
        warn_of_unseen(step.name, {"what it made": output}, workspace)
    seconds = started.seconds + time.monotonic() - before
    return manifest_of(task, workspace, started, seconds, group.size if stage.joint else 1)


def _begin_anew(partial: Path) -> None:
    """Drop what a killed process left of a step, but for the lock."""
    for name in ("output", "scratch"):
        shutil.rmtree(partial / name)
        (partial / name).mkdir()
    for name in (step_attempt.NAME, parts.NAME):
        (partial / name).unlink(missing_ok=True)


@contextmanager
def _naming_step(step: Step, folder: Path) -> Iterator[None]:
    """Say of whatever goes wrong in which step it went wrong; of what the machine refuses, in words."""
    place = f'step "{step.name}" (stage {step.stage.name})'
    try:
        yield
    except BactrianError as error:
        raise BactrianError(f"{place}: {error}") from error
    except Exception as error:
        if (said := refusal(error, folder)) is not None:
            raise BactrianError(f"{place}: {said}") from error
        error.add_note(f"while making {place}")
        raise
