"""What a recipe asks of a cluster: machines, GPUs, hours, and what they would cost."""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from bactrian import __version__
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import Recipe
from bactrian.run.gpu_hours import fewest_gpus
from bactrian.run.missing_packages import extras_of
from bactrian.run.plan import Plan
from bactrian.store.extras import install_line

SIGNAL_SECONDS = 300
"""How long before its end a job is told: a step of training and its checkpoint have to fit in."""
PORT = 29400


@dataclass(frozen=True)
class Wishes:
    """What the recipe cannot know of a cluster.

    overrides: of the recipe, as after `--set`. hours: a job's time limit; what is not done by then goes on in the next.
    price: of a GPU for an hour, in any money. partition, account: names of SLURM's.
    """

    store: Path = Path("runs")
    overrides: tuple[str, ...] = ()
    hours: float = 24.0
    price: float | None = None
    partition: str | None = None
    account: str | None = None


@dataclass(frozen=True)
class StepCost:
    """A step's GPU-hours (at least), and the fewest GPUs whose memory holds it."""

    name: str
    gpu_hours: float
    fewest: int


@dataclass(frozen=True)
class Job:
    """A recipe with its cluster.

    recipe: as it is named on the command line there. costs: of the steps that are still to be made, where the GPU is
    known.
    """

    name: str
    recipe: str
    gpu: str | None
    gpus_per_node: int
    nodes: int
    wishes: Wishes
    costs: tuple[StepCost, ...]
    local_files: tuple[Path, ...]
    install: str

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return self.nodes * self.gpus_per_node

    @property
    def gpu_hours(self) -> float:
        """Of all steps, at least."""
        return sum(cost.gpu_hours for cost in self.costs)

    @property
    def short(self) -> tuple[StepCost, ...]:
        """Steps whose weights and states need more GPUs than there are."""
        return tuple(cost for cost in self.costs if cost.fewest > self.processes)

    def summary(self) -> list[str]:
        """Machines, GPU-hours, hours and money, a line each; what does not fit comes last."""
        kind = f"{self.gpu.upper()} GPUs" if self.gpu else "processes"
        lines = [f"{self.nodes} x {self.gpus_per_node} {kind}"]
        if self.gpu is None:
            return [*lines, "no estimate: hardware.gpu does not say which GPUs these are"]
        hours = self.gpu_hours / self.processes
        estimate = f"{self.gpu_hours:,.1f} {self.gpu.upper()}-hours: {hours:,.1f} hours if none of them ever waits"
        lines.append(f"about {estimate}; how far off this may be: docs/large-recipes.md")
        if self.wishes.price is not None:
            lines.append(
                f"about {self.gpu_hours * self.wishes.price:,.2f} of money at {self.wishes.price:,.2f} a GPU-hour"
            )
        lines += [f"{cost.name}: {cost.gpu_hours:,.1f}" for cost in self.costs]
        return [*lines, *(self._too_small(cost) for cost in self.short)]

    def _too_small(self, cost: StepCost) -> str:
        return f"warning: {cost.name} needs the memory of {cost.fewest} GPUs or more, and these are {self.processes}"


def job(recipe: Recipe, plan: Plan, wishes: Wishes) -> Job:
    """The job that makes a recipe.

    Raises:
        BactrianError: the recipe has no file, or a name cannot stand in a script.
    """
    if recipe.path is None:
        raise BactrianError(f"recipe {recipe.name}: found no file, expected one that the cluster can read")
    hardware = recipe.hardware
    for path in (recipe.path, wishes.store, Path.cwd()):
        _check_path(path)
    for name in filter(None, (wishes.partition, wishes.account)):
        if not re.fullmatch(r"[\w.,:@+-]+", name):
            raise BactrianError(f"found the partition or account {name!r}, expected letters, digits and .,:@+-")
    costs = tuple(
        StepCost(step.name, plan.gpu_time(step).hours, fewest_gpus(step.peak_memory, plan.compute))
        for step in plan.steps
        if plan.compute is not None and plan.gpu_time(step).hours
    )
    return Job(
        recipe.name,
        str(recipe.path),
        hardware.gpu,
        hardware.gpus_per_node,
        hardware.nodes,
        wishes,
        costs,
        _local_files(recipe),
        install_line(extras_of(recipe), __version__),
    )


def command(job: Job) -> list[str]:
    """What each process runs, without the interpreter."""
    changed = [word for setting in job.wishes.overrides for word in ("--set", setting)]
    return ["-m", "bactrian", "run", job.recipe, *changed, "--store", str(job.wishes.store)]


def quoted(words: list[str]) -> str:
    """Words as a shell reads them.

    >>> quoted(["run", "my recipe.yaml"])
    "run 'my recipe.yaml'"
    """
    return shlex.join(words)


def _local_files(recipe: Recipe) -> tuple[Path, ...]:
    """Files and folders of this machine that the steps read, but for what the steps themselves make."""
    names = {step.name for step in recipe.steps}
    found: dict[Path, None] = {}
    for step in recipe.steps:
        for use in step.stage.references():
            if use.ref in names:
                continue
            path = next((path for path in (Path(use.ref), recipe.folder / use.ref) if path.exists()), None)
            if path is not None:
                _check_path(path)
                found[path] = None
    return tuple(found)


def _check_path(path: Path) -> None:
    """A line break in a name would end a comment of the script and begin a command."""
    if any(unicodedata.category(character).startswith("C") for character in str(path)):
        raise BactrianError(f"{str(path)!r}: found a control character in the name, expected none")


def python() -> str:
    """The interpreter that runs now: on a cluster whose machines share their folders, theirs too."""
    return sys.executable
