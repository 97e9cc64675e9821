"""A recipe file → typed steps in the order of making. What can be wrong with a recipe is found here, before any work.

Every problem is reported as "file, line, step, field: found …, expected …"; several at once come one per line.
"""

import graphlib
import heapq
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bactrian.chat.template import unknown_template
from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest, show
from bactrian.recipe.ablate import Ablate, expand
from bactrian.recipe.document import Document, Place, override, read
from bactrian.recipe.groups import regrouped
from bactrian.recipe.own_parts import located_parts, marked_texts, own_uses
from bactrian.recipe.recipe_errors import RecipeErrors, validated
from bactrian.recipe.references import problem_with, with_article
from bactrian.recipe.shipped_recipes import find_recipe
from bactrian.report.track.trackers import TrackerName
from bactrian.stages import GONE, MOVED, all_stages, own_stage
from bactrian.stages.stage import CannotExpand, Expanding, ReferenceUse, Stage
from bactrian.store import own_files
from bactrian.store.hardware import GpuKind, HardwareSettings
from bactrian.store.manifest import Kind
from bactrian.store.own_files import names_file

if TYPE_CHECKING:
    from bactrian.data.io.needs import RowNeed

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_TAKEN = (
    *("artifacts", "memo", "given", "unseen", "rehearsal", "stand-ins", "tensorboard", "mlflow", "wandb", "trackio"),
    "prometheus",
)
"""Folders of the store, next to which a run's folder lies."""


@dataclass(frozen=True)
class Step:
    """One step: its name in the recipe, its stage with all settings, the steps it reads and its own seed.

    implicit: nobody wrote it; it adopts what another step reads (recipe/adopted.py).
    """

    name: str
    stage: Stage
    seed: int
    reads: tuple[str, ...] = ()
    implicit: bool = False


class PublishedRun(BaseModel):
    """What a published run of a step took, and on how many GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(gt=0, description="of the whole run, by the clock")
    gpus: int = Field(1, ge=1, description="all of them")
    samplers: int = Field(0, ge=0, description="of them, GPUs that only sampled while the others trained")
    steps: int | None = Field(None, ge=1, description="steps that it made, where it was stopped before the recipe's")

    @model_validator(mode="after")
    def _someone_trains(self) -> Self:
        if self.samplers >= self.gpus:
            raise ValueError(f"samplers: found {self.samplers}, expected fewer than gpus ({self.gpus})")
        return self

    @property
    def gpu_hours(self) -> float:
        """Hours × GPUs."""
        return self.hours * self.gpus


class Compute(BaseModel):
    """In hours of which GPU a plan estimates the steps, and what published runs of them took, to compare with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: GpuKind
    packed: bool = Field(
        False, description="rows packed and not padded, as this trainer does; the published runs took one at a time"
    )
    published: dict[str, PublishedRun] = Field({}, description="step: {hours, gpus}")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; `steps` are in the order of making (that of the file wherever it can be).

    written: the settings of each step, as the file has them but for what adopts others' files. adopted: the steps that
    do so → what they are read for. unlicensed: data that do not say on what terms they are given.
    """

    name: str
    steps: tuple[Step, ...]
    hardware: HardwareSettings = field(default_factory=HardwareSettings)
    seed: int = 0
    folder: Path = Path()  # paths in the recipe are looked up here if they are not in the current directory
    text: str = ""
    path: Path | None = None
    compute: Compute | None = None
    written: Mapping[str, Any] = field(default_factory=dict)
    adopted: "Mapping[str, tuple[RowNeed, ...]]" = field(default_factory=dict)
    unlicensed: tuple[str, ...] = ()
    track: tuple[TrackerName, ...] = ()  # told what happens; shapes nothing
    remote: str = ""  # URL to which artifacts go, and from which they are fetched; shapes nothing

    def step(self, name: str) -> Step:
        """The step of this name.

        Raises:
            BactrianError: with the nearest name if there is none.
        """
        for step in self.steps:
            if step.name == name:
                return step
        names = [step.name for step in self.steps]
        meant = nearest(name, names)
        hint = f'; did you mean "{meant}"?' if meant else ""
        raise BactrianError(f'recipe {self.name}: found no step "{name}", expected one of: {", ".join(names)}{hint}')


class Header(BaseModel):
    """The top level of a recipe file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: dict[str, Any] = Field(min_length=1, description="step name: {stage: …, settings}")
    name: str = Field(pattern=NAME, description="of the run's folder")
    seed: int = Field(0, ge=0, lt=2**63)
    hardware: HardwareSettings = HardwareSettings()
    compute: Compute | None = None
    licences: Literal["marked", "strict"] = Field(
        "marked", description="data without a licence: marked unclear in all that is made of them, or refused"
    )
    track: TrackerName | list[TrackerName] = Field([], description="experiment trackers that are told of each step")
    remote: str = Field(
        "", description="URL (s3://bucket/folder) to which artifacts are sent, and from which those made are fetched"
    )

    @property
    def trackers(self) -> tuple[TrackerName, ...]:
        return (self.track,) if isinstance(self.track, str) else tuple(self.track)


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe file, after applying `step.field=value` overrides.

    Raises:
        BactrianError: naming file (or --set), line, step, field, what was found and what was
            expected.
    """
    path = find_recipe(path)
    return check(read_recipe(path, overrides), folder=path.parent, path=path)


def read_recipe(path: Path, overrides: Iterable[str] = ()) -> Document:
    """A recipe file with overrides applied and a name, not checked yet.

    Raises:
        BactrianError: for what is not YAML.
    """
    document = read(path)
    override(document, overrides)
    document.data.setdefault("name", re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "run")
    return document


def check(document: Document, folder: Path, path: Path | None = None) -> Recipe:
    """The recipe in a document.

    Raises:
        BactrianError: with every problem found, one per line.
    """
    from bactrian.recipe.adopted import adopt_references  # reads rows, which imports pyarrow

    problems = RecipeErrors(document)
    header = validated(Header, document.data, (), problems)
    if header is None:
        raise problems.error()
    if header.name in _TAKEN:
        what = f"a name that is no folder of the store's own ({', '.join(_TAKEN)})"
        problems.add(("name",), show(header.name), what)
    adopted = adopt_references(header.steps, all_stages(), folder, header.licences == "strict", problems)
    written = adopted.steps
    stages = {
        name: stage
        for name, settings in written.items()
        if (stage := _stage(name, settings, folder, problems)) is not None
    }
    makes = {name: stage.makes for name, stage in stages.items()}
    reads = {name: _reads(name, stage, written, makes, folder, problems) for name, stage in stages.items()}
    for name, stage in stages.items():
        for below, found, expected in [*stage.clashes(stages), *stage.clashes_with(header.hardware)]:
            problems.add(("steps", name, *below), found, expected)
    studied = {} if problems.lines else _expansions(stages, folder, problems)
    stages |= studied
    ablated = {} if problems.lines else _ablations(written, stages, problems)
    stages |= ablated
    added = studied | ablated
    reads |= {name: _steps_read(stage, stages) for name, stage in added.items()}
    for name in header.compute.published if header.compute else ():
        if name not in header.steps:
            problems.add(("compute", "published", name), show(name), f"a step: {', '.join(header.steps)}")
    order = _order([*written, *(name for name in added if name not in written)], reads, problems)
    if problems.lines:
        raise problems.error()
    steps = tuple(
        Step(name, stages[name], _seed(stages[name], header.seed), reads[name], name in adopted.needs) for name in order
    )
    return Recipe(
        header.name,
        steps,
        header.hardware,
        header.seed,
        folder,
        document.text,
        path,
        _compute(header),
        written,
        adopted.needs,
        adopted.unlicensed,
        header.trackers,
        header.remote,
    )


def _compute(header: Header) -> Compute | None:
    """Of what a plan counts the hours: as written, or of the GPU that the hardware names, as this trainer uses it."""
    if header.compute is not None or header.hardware.gpu is None:
        return header.compute
    return Compute(gpu=header.hardware.gpu, packed=True)


def _stage(name: str, settings: object, folder: Path, problems: RecipeErrors) -> Stage | None:
    place, known = ("steps", name), all_stages()
    if not isinstance(settings, Mapping):
        problems.add(place, show(settings), "a mapping: {stage: …, settings}")
        return None
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        problems.add(place, f"the step name {show(name)}", "letters, digits, - and _")
    stage = settings.get("stage")
    if "stage" not in settings:
        problems.add((*place, "stage"), "nothing", f"one of: {', '.join(known)}", missing=True)
    elif isinstance(stage, str) and names_file(stage, "stage"):
        return _validated_stage(_own_stage(stage, folder, place, problems), settings, folder, place, problems)
    elif not isinstance(stage, str) or stage not in known:
        meant = nearest(str(stage), known)
        hint = f'; did you mean "{meant}"?' if meant else ""
        now = MOVED.get(str(stage)) or f"one of: {', '.join(known)}{hint}"
        problems.add((*place, "stage"), f"an unknown stage {show(stage)}", now)
    else:
        return _validated_stage(known[stage], settings, folder, place, problems)
    return None


def _validated_stage(
    stage: type[Stage] | None, settings: Mapping[str, Any], folder: Path, place: Place, problems: RecipeErrors
) -> Stage | None:
    """The stage with its settings; references to a user's own files as seen from the working directory."""
    if stage is None:
        return None
    given = {setting: value for setting, value in settings.items() if setting not in ("stage", "ablate")}
    for setting in [setting for setting in given if (stage.name, setting) in GONE]:
        problems.add((*place, setting), "", GONE[stage.name, setting])
        del given[setting]
    grouped, spellings = regrouped(stage, given)
    for setting, spelling in spellings.items():
        problems.add((*place, setting), "", f"this setting is now {spelling}")
    before = len(problems.lines)
    found = located_parts(stage, grouped, folder)
    for use in own_uses(stage, found):
        if problem := own_files.problem_with(use.ref, use.kind) or _unfit(use):
            problems.add((*place, *use.path), *problem)
    for use in marked_texts(stage, found):
        if use.kind == "template" and (expected := unknown_template(use.ref)):
            problems.add((*place, *use.path), f"the chat template {show(use.ref)}", expected)
    return validated(stage, found, place, problems) if len(problems.lines) == before else None


def _unfit(use: own_files.OwnUse) -> tuple[str, str] | None:
    """What is wrong with a reward's or verifier's parameters, as far as its file says; none of it is run."""
    if use.kind != "verifier":
        return None
    from bactrian.verify import check_written

    try:
        check_written(use.ref)
    except BactrianError as error:
        return "", str(error)
    return None


def _own_stage(text: str, folder: Path, place: Place, problems: RecipeErrors) -> type[Stage] | None:
    """The stage of FILE.py:CLASS."""
    found = own_files.located(text, folder)
    problem = own_files.problem_with(found, "stage")
    try:
        if not problem:
            return own_stage(found)
    except BactrianError as error:
        problem = ("", str(error))
    problems.add((*place, "stage"), *problem)
    return None


def _reads(
    name: str,
    stage: Stage,
    steps: Mapping[str, Any],
    makes: Mapping[str, Kind],
    folder: Path,
    problems: RecipeErrors,
) -> tuple[str, ...]:
    """The steps that a stage's references name; what the others name is checked."""
    reads: dict[str, None] = {}
    for found in stage.references():
        place = ("steps", name, *found.path)
        if found.ref in steps:
            reads[found.ref] = None
            _check_kind(found, makes.get(found.ref) or _made_by(steps[found.ref]), place, problems)
        elif problem := problem_with(found.ref, found.kind, folder, [step for step in steps if step != name]):
            problems.add(place, *problem)
    return tuple(reads)


def _expansions(stages: Mapping[str, Stage], folder: Path, problems: RecipeErrors) -> dict[str, Stage]:
    """The steps that studies stand for (`Expanding`), themselves included; what they name is checked."""
    added: dict[str, Stage] = {}
    for name, stage in stages.items():
        if isinstance(stage, Expanding):
            try:
                mine = stage.expanded(name, stages)
            except CannotExpand as error:
                problems.add(("steps", name, *error.place), error.found, error.expected)
                continue
            for found in (found for each in mine.values() for found in each.references()):
                known = found.ref in stages or found.ref in mine
                if not known and (problem := problem_with(found.ref, found.kind, folder, list(stages))):
                    problems.add(("steps", name), *problem)
            added |= mine
    return added


def _ablations(settings: Mapping[str, Any], stages: Mapping[str, Stage], problems: RecipeErrors) -> dict[str, Stage]:
    """The steps that `ablate:` adds."""
    added: dict[str, Stage] = {}
    for name in [name for name in stages if name in settings]:
        place = ("steps", name, "ablate")
        if "ablate" in settings[name] and (asked := validated(Ablate, settings[name]["ablate"], place, problems)):
            new, wrong = expand(name, stages, asked)
            for below, found, expected in wrong:
                problems.add((*place, *below), found, expected)
            added |= new
    return added


def _steps_read(stage: Stage, steps: Mapping[str, Stage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found.ref for found in stage.references() if found.ref in steps))


def _made_by(settings: object) -> Kind | None:
    """What a step makes whose settings may be wrong."""
    stage = all_stages().get(str(settings.get("stage"))) if isinstance(settings, Mapping) else None
    return stage.makes if stage else None


def _check_kind(found: ReferenceUse, made: Kind | None, place: Place, problems: RecipeErrors) -> None:
    """Whether the step that a reference names makes the kind of artifact that is wanted there."""
    if made is not None and made is not found.kind:
        problems.add(
            place,
            f'"{found.ref}", a step that makes {with_article(made)}',
            f"one that makes {with_article(found.kind)}",
        )


def _order(names: list[str], reads: Mapping[str, tuple[str, ...]], problems: RecipeErrors) -> list[str]:
    """Steps after those they read; among the possible orders the one nearest to the file's."""
    sorter = graphlib.TopologicalSorter({name: reads.get(name, ()) for name in names})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        cycle = list(reversed(error.args[1]))  # graphlib lists a step before those that read it
        problems.add(("steps", cycle[0]), f"a cycle: {' reads '.join(cycle)}", "steps that do not wait for each other")
        return names
    order: list[str] = []
    ready = [names.index(name) for name in sorter.get_ready()]
    heapq.heapify(ready)
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        sorter.done(name)
        for freed in sorter.get_ready():
            heapq.heappush(ready, names.index(freed))
    return order


def _seed(stage: Stage, recipe_seed: int) -> int:
    return recipe_seed if stage.seed is None else stage.seed
