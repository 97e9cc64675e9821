"""Makes the steps of a recipe that are missing, skips those that exist, resumes those that were cut."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bactrian import sandbox, stopping
from bactrian.errors import BactrianError
from bactrian.evaluate.ledger import Ledger
from bactrian.evaluate.recognise import warn_of_unseen
from bactrian.progress import duration, say
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import Recipe, Step
from bactrian.recipe.references import Source, resolve
from bactrian.stages.stage import Found
from bactrian.store import parts
from bactrian.store.artifact import Artifact, Input, Store, Workspace, finite, now, write_atomically
from bactrian.store.fingerprint import code_fingerprint
from bactrian.store.hardware import Hardware, machine, memory_bytes
from bactrian.store.machine_limits import refusal
from bactrian.store.manifest import (
    Decontamination,
    InputRecord,
    Kind,
    Manifest,
    files_below,
    hash_json,
    merge_decontamination,
    merge_licences,
    restated,
)
from bactrian.train.heap import give_back

_NOTED_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pyarrow", "pydantic",
                   "gguf", "reasoning-gym", "datasets")


@dataclass(frozen=True)
class Task:
    """A step with all that names its artifact: its key, and for each reference the step or the source behind it."""

    step: Step
    key: str
    code: str
    sources: Mapping[str, Source]  # references that are no steps


@dataclass(frozen=True)
class StepRecord:
    """A step's entry in run.json. `path` is relative to the store; `inputs`: {reference: step or source}."""

    name: str
    stage: str
    kind: str
    key: str
    path: str | None
    status: str  # "made", "reused" or "waiting" (then path and seconds are None)
    seconds: float | None
    inputs: dict[str, str]


def tasks(recipe: Recipe, hardware: Hardware, find: Callable[[str, Kind, Path], Source] = resolve) -> list[Task]:
    """Every step with its key, in the order of making. Makes nothing. `find` says what is behind a reference.

    Raises BactrianError if a source cannot be had or does not match its hashes.
    """
    keys: dict[str, str] = {}
    sources: dict[tuple[str, str], Source] = {}
    made: list[Task] = []
    for step in recipe.steps:
        found = step.stage.references()
        for reference in found:
            if reference.ref not in keys and (reference.ref, reference.kind) not in sources:
                sources[reference.ref, reference.kind] = find(reference.ref, reference.kind, recipe.folder)
        own = {item.ref: sources[item.ref, item.kind] for item in found if item.ref not in keys}
        code = code_fingerprint(type(step.stage).__module__)
        hashes = {ref: source.content_hash for ref, source in own.items()}
        hashes |= {ref: keys[ref] for ref in step.reads}
        settings = _with_hashes(step, found, hashes)
        keys[step.name] = hash_json({"stage": step.stage.name, "settings": settings, "seed": step.seed,
                                     "dtype": hardware.dtype, "code": code})
        made.append(Task(step, keys[step.name], code, own))
    return made


def run(recipe: Recipe, store: Store, only: str | None = None, from_step: str | None = None,
        command: str = "", report: bool = True) -> list[StepRecord]:
    """Make what is missing of a recipe; write `<store>/<name>/run.json` around each step made, the report at the end.

    `only`: make just this step, from inputs that exist. `from_step`: make this step and all after it again.
    Raises BactrianError for bad input, for an artifact that does not match its hashes, and for a full disk and other
    limits of the machine; whatever else a stage raises carries a note that names the step. Raises Stop between two
    steps if a signal asked for it.
    """
    names = [step.name for step in recipe.steps]
    for name in filter(None, (only, from_step)):
        recipe.step(name)
    again = set(names[names.index(from_step):]) if from_step else set()
    hardware = recipe.hardware.decide()
    made: dict[str, Artifact] = {}
    todo = tasks(recipe, hardware)
    if any(task.step.stage.makes is Kind.RESULTS for task in todo):
        Ledger(store).checked()  # nothing is measured, nor shown again, beside a ledger that has forgotten
    log = _RunLog(recipe, todo, store, command)
    for task in todo:
        name = task.step.name
        if only not in (None, name):
            if (artifact := _as_it_is(task, store, wanting=recipe.step(only or name))) is None:
                continue
            status = "reused"
        else:
            inputs = _inputs(task, made)
            artifact, status = _existing(task, store, inputs, name in again), "reused"
            if artifact is None:
                log.write()  # a run that is killed in this step is on record
                artifact, status = _make(task, store, hardware, inputs), "made"
        made[name] = artifact
        log.add(task, artifact, status)
        stopping.check(f"stopped after step {name}, which is made")
    log.finish(report)
    return list(log.done.values())


def _with_hashes(step: Step, found: list[Found], hashes: Mapping[str, str]) -> dict[str, Any]:
    """The settings with each reference replaced by its input's key or content hash."""
    settings: dict[str, Any] = step.stage.model_dump(mode="json", exclude={"seed"})
    for reference in found:
        holder: Any = settings
        for part in reference.path[:-1]:
            holder = holder[part]
        label = [reference.ref] if step.stage.labels_inputs else []
        holder[reference.path[-1]] = [hashes[reference.ref], *label]
    return settings


def _inputs(task: Task, made: Mapping[str, Artifact]) -> dict[str, Input | Source]:
    """For each reference the artifact that it names, or the source, which is fetched only if the step must be made."""
    inputs: dict[str, Input | Source] = dict(task.sources)
    for name in task.step.reads:
        manifest = made[name].manifest
        inputs[name] = Input(name, made[name].path.resolve(), manifest.kind, manifest.content_hash, manifest.licences,
                             manifest.key, manifest.decontamination, manifest.statement())
    return inputs


def _existing(task: Task, store: Store, inputs: Mapping[str, Input | Source], again: bool) -> Artifact | None:
    """The step's artifact if it is there, whole, made from these very inputs, and not to be made `again`."""
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


def _hashes(inputs: Mapping[str, Input | Source]) -> set[str]:
    return {source.content_hash for source in inputs.values()}


def _as_it_is(task: Task, store: Store, wanting: Step) -> Artifact | None:
    """With --only: another step's artifact, if any. Raises BactrianError if `wanting` reads it and there is none."""
    artifact = store.find(task.step.stage.name, task.key)
    if task.step.name in wanting.reads:
        if artifact is None:
            raise BactrianError(f'--only {wanting.name}: it reads step "{task.step.name}", which is not made yet; '
                                f"run without --only, or with --only {task.step.name} first")
        artifact.manifest.verify(artifact.path)
    return artifact


def _make(task: Task, store: Store, hardware: Hardware, inputs: Mapping[str, Input | Source]) -> Artifact:
    step, stage = task.step, task.step.stage
    resumed = store.partial(stage.name, task.key).exists()
    say(f"{step.name}: {'resuming' if resumed else 'making'} (stage {stage.name})")
    with _naming_step(step, store.partial(stage.name, task.key)), store.making(stage.name, task.key) as partial:
        if (finished := store.find(stage.name, task.key)) is not None:  # by another process, a moment ago
            shutil.rmtree(partial)
            return finished
        at_hand = {ref: item.input() if isinstance(item, Source) else item for ref, item in inputs.items()}
        if stale := parts.begin(partial):
            say(f"{step.name}: changed since it was cut: {', '.join(stale)}; so it begins anew")
            _begin_anew(partial)
        attempt = _attempt(partial)
        _prepare(hardware, step.seed)
        sandbox.want(hardware.sandbox)
        output, scratch = partial / "output", partial / "scratch"
        workspace = Workspace(output, scratch, step.seed, hardware, at_hand, store, task.code)
        _warn_of_memory(step, at_hand)
        before = time.monotonic()
        if stage.makes is Kind.MODEL:
            rows = {item.ref: at_hand[item.ref].path for item in stage.references()
                    if item.kind is Kind.DATA and not item.held_out}
            warn_of_unseen(step.name, rows, workspace)
        stage.run(workspace)
        if stage.name in ("source", "problems"):  # where rows come in
            warn_of_unseen(step.name, {"what it made": output}, workspace)
        seconds = attempt["seconds"] + time.monotonic() - before
        manifest = _manifest(task, workspace, attempt, seconds)
        parts.end()
        return store.commit(partial, manifest)


def _begin_anew(partial: Path) -> None:
    """Drop what a killed process left of a step, but for the lock."""
    for name in ("output", "scratch"):
        shutil.rmtree(partial / name)
        (partial / name).mkdir()
    for name in ("attempt.json", parts.NAME):
        (partial / name).unlink(missing_ok=True)


def _manifest(task: Task, workspace: Workspace, attempt: Mapping[str, Any], seconds: float) -> Manifest:
    """All that is known of a step's output but its files."""
    stage, inputs = task.step.stage, workspace.inputs
    hardware: dict[str, str | int | None] = {**machine(), **asdict(workspace.hardware), "sandbox": sandbox.used()}
    return Manifest(
        kind=stage.makes,
        stage=stage.name,
        step=task.step.name,
        key=task.key,
        content_hash="",
        inputs={ref: InputRecord(key=item.key, content_hash=item.content_hash, path=str(item.path),
                                 statement=item.statement) for ref, item in inputs.items()},
        settings=stage.model_dump(mode="json", exclude={"seed"}),
        seed=workspace.seed,
        code={"version": _version(), "commit": _commit(), "fingerprint": task.code},
        parts=parts.used(),
        packages=_packages(),
        hardware=hardware,
        licences=merge_licences(workspace.licences, *(item.licences for item in _passed_on(task, inputs))),
        decontamination=_decontamination(task, workspace),
        started=attempt["started"],
        seconds=round(seconds, 3),
        attempts=attempt["attempts"],
        metrics={name: finite(value) for name, value in workspace.metrics.items()},
        files={},
        ledger=Ledger(workspace.store).record(workspace.looks) if stage.makes is Kind.RESULTS else None,
    )


def _passed_on(task: Task, inputs: Mapping[str, Input]) -> list[Input]:
    """The inputs that are in what the step makes, and not only compared with it."""
    refs = (item.ref for item in task.step.stage.references() if not item.held_out)
    return [inputs[ref] for ref in dict.fromkeys(refs)]


def _decontamination(task: Task, workspace: Workspace) -> tuple[Decontamination, ...]:
    """The stage's own record; else those of what it read, and of rows that it made itself that nobody compared them."""
    if task.step.stage.makes is Kind.RESULTS:
        return ()
    if workspace.decontamination is not None:
        return (workspace.decontamination,)
    merged = merge_decontamination(*(item.decontamination for item in _passed_on(task, workspace.inputs)))
    made_here = task.step.stage.makes is Kind.DATA and not merged
    return (Decontamination(data=task.step.name),) if made_here else merged


def _attempt(partial: Path) -> dict[str, Any]:
    """When work on this artifact began, by how many processes, and the seconds of those before; kept across kills.

    A process that was killed is taken to have worked until it last wrote a file here.
    """
    path = partial / "attempt.json"
    attempt: dict[str, Any] = {"started": now(), "attempts": 1, "seconds": 0.0, "began": time.time()}
    try:
        before = json.loads(path.read_text())
        last = max(file.stat().st_mtime for file in files_below(partial))
        attempt |= {"started": before["started"], "attempts": before["attempts"] + 1,
                    "seconds": before["seconds"] + max(0.0, last - before["began"])}
    except (OSError, ValueError, KeyError, TypeError):  # the first, or its record was lost
        pass
    write_atomically(path, json.dumps(attempt))
    return attempt


def _warn_of_memory(step: Step, inputs: Mapping[str, Input]) -> None:
    needed = step.stage.forecast({ref: facts_of(item.path, item.kind) for ref, item in inputs.items()}).peak_memory
    if 0 < memory_bytes() < needed:
        say(f"{step.name}: warning: may need {needed / 2**30:.1f} GiB of memory, and this machine has "
            f"{memory_bytes() / 2**30:.1f} GiB")


def check_device(hardware: Hardware) -> None:
    """Raises BactrianError if a GPU is asked for and torch finds none."""
    import torch

    if hardware.device == "cuda" and not torch.cuda.is_available():
        raise BactrianError('hardware, field "device": found "cuda", and no GPU that torch can use; expected "cpu"')


def _prepare(hardware: Hardware, seed: int) -> None:
    """Threads, determinism and every global random stream, so that a step depends on nothing that ran before it.

    Nor does its memory: what earlier steps needed is given back.
    """
    import numpy
    import torch

    give_back()
    check_device(hardware)
    torch.set_num_threads(hardware.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # a debugging aid that costs a pass over each new tensor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


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


class _RunLog:
    """`<store>/<recipe>/run.json`: every step, made or not. A run that makes nothing leaves the last one be."""

    def __init__(self, recipe: Recipe, todo: Sequence[Task], store: Store, command: str) -> None:
        self.recipe, self.todo, self.store, self.command = recipe, todo, store, command
        self.started, self.before = now(), time.monotonic()
        self.folder = store.root / recipe.name
        self.done: dict[str, StepRecord] = {}

    def add(self, task: Task, artifact: Artifact, status: str) -> None:
        seconds, path = artifact.manifest.seconds, str(artifact.path.relative_to(self.store.root))
        self.done[task.step.name] = replace(_waiting(task), path=path, status=status, seconds=seconds)
        if status == "made":
            say(f"{task.step.name}: done in {duration(seconds)} → {artifact.path}")
            self.write()

    def finish(self, report: bool) -> None:
        """The closing lines; run.json and the report, if this run differs from the one on record."""
        made = sum(record.status == "made" for record in self.done.values())
        if made:
            say(f"{self.recipe.name}: {made} made, {len(self.done) - made} reused")
        else:
            say(f"{self.recipe.name}: nothing to make, {len(self.done)} of {len(self.todo)} steps exist")
        if made or self._recorded() != [(record.key, record.path) for record in self._records()]:
            self.write()
            if report:
                from bactrian.report import write_report

                say(f"report: {write_report(self.folder)}")

    def _records(self) -> list[StepRecord]:
        return [self.done.get(task.step.name) or _waiting(task) for task in self.todo]

    def _recorded(self) -> list[tuple[str, str | None]]:
        try:
            steps = json.loads((self.folder / "run.json").read_text())["steps"]
            return [(step["key"], step["path"]) for step in steps]
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours: it is written anew
            return []

    def write(self) -> None:
        """Replace run.json. Raises BactrianError if the store cannot be written to."""
        recipe = self.recipe
        record = {"name": recipe.name, "recipe": recipe.text, "recipe_path": str(recipe.path) if recipe.path else None,
                  "command": self.command, "started": self.started, "seconds": round(time.monotonic() - self.before, 3),
                  "steps": [asdict(step) for step in self._records()]}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise BactrianError(f"{self.folder}: cannot be written to ({error.strerror})") from None


def _waiting(task: Task) -> StepRecord:
    stage = task.step.stage
    inputs = {ref: ref for ref in (*task.step.reads, *task.sources)}
    return StepRecord(task.step.name, stage.name, stage.makes, task.key, None, "waiting", None, inputs)


@cache
def _packages() -> dict[str, str]:
    """Versions of Python and of the packages that can shape an artifact."""
    import importlib.metadata
    import platform

    versions = {"python": platform.python_version()}
    for name in _NOTED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _version() -> str:
    from bactrian import __version__

    return __version__


@cache
def _commit() -> str | None:
    """The git commit of this code, with "-dirty" if it was changed since; None outside its repository."""
    import subprocess

    here = Path(__file__).parents[1]
    git = ["git", "-C", str(here)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", "progress.py"], check=True, capture_output=True)
        described = subprocess.run([*git, "describe", "--always", "--abbrev=40", "--dirty", "--match="], check=True,
                                   capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
