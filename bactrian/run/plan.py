"""What a run would do, and what it would take, before anything is made."""

import time
from dataclasses import dataclass

from bactrian.generate.engine_names import check_engine
from bactrian.progress import say
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import Compute, Recipe
from bactrian.recipe.references import ExternalSource, outline
from bactrian.run.extras import what_lacks
from bactrian.run.keys import KeyedStep, tasks, to_make
from bactrian.run.known_models import parameters_of
from bactrian.run.own_parts import try_own_parts
from bactrian.run.prepare import check_device
from bactrian.stages.stage import Facts
from bactrian.store.artifact import Store
from bactrian.store.hardware import Hardware, memory_bytes
from bactrian.store.parts import changed

# Training and sampling reach about this share of what one large matrix product does: small matrices, attention,
# memory traffic. On 2 CPU cores 7 steps took 0.5 to 4 times as long as forecast with it; sampling is the slow end.
EFFICIENCY = 0.4
_SECONDS_OF_MEASURING = 0.5


PEAK = {"a100": 312e12, "h100": 989e12}
"""FLOP/s of a GPU's dense bfloat16 matrix products, by its maker's data sheet."""


@dataclass(frozen=True)
class PlannedStep:
    """A step's line in the plan: rows it leaves, then tokens, FLOPs, peak memory (bytes) and time (s) still to do."""

    name: str
    stage: str
    inputs: tuple[str, ...]
    state: str  # "exists", "resume" (begun and cut) or "make"
    rows: int = 0
    tokens: float = 0.0
    flops: float = 0.0
    peak_memory: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All steps, and the speed (FLOP/s) by which FLOPs became seconds; 0 if nothing is to be made."""

    steps: tuple[PlannedStep, ...]
    hardware: Hardware
    speed: float
    compute: Compute | None = None
    lack: str = ""  # packages that are not installed, for which `run` would refuse
    unlicensed: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all that is to be made."""
        return sum(step.seconds for step in self.steps)

    def gpu_hours(self, step: PlannedStep) -> float:
        """Of the recipe's GPU, by the forecast, at the usual share of its peak; 0 if it names none."""
        return 0.0 if self.compute is None else step.flops / PEAK[self.compute.gpu] / EFFICIENCY / 3600

    @property
    def short_of_memory(self) -> list[PlannedStep]:
        """Steps that would need more memory than this machine has."""
        return [step for step in self.steps if 0 < memory_bytes() < step.peak_memory]


def plan(recipe: Recipe, store: Store) -> Plan:
    """What `run` would do. Makes nothing in the store; measures this machine's speed if anything is
    to be made.

    Raises:
        BactrianError: as `tasks` does.
    """
    hardware = recipe.hardware.decide()
    check_engine(hardware.engine)
    todo = tasks(recipe, hardware, outline)
    if lack := what_lacks(recipe, to_make(todo, store)):  # at once: measuring takes a while
        say(f"warning: {lack}")
    try_own_parts(recipe, todo, store)
    states = {task.step.name: _state(task, store) for task in todo}
    speed = 0.0 if set(states.values()) <= {"exists"} else measure_speed(hardware)
    facts: dict[str, Facts] = {}
    planned: list[PlannedStep] = []
    for task in todo:
        step, state = task.step, states[task.step.name]
        inputs = tuple(dict.fromkeys(found.ref for found in step.stage.references()))
        if state == "exists":
            facts[step.name] = facts_of(store.folder(step.stage.name, task.key), step.stage.makes)
            planned.append(PlannedStep(step.name, step.stage.name, inputs, state, facts[step.name].rows))
            continue
        known = {ref: facts[ref] for ref in step.reads}
        known |= {ref: _facts_of_source(source) for ref, source in task.sources.items()}
        forecast = step.stage.forecast(known)
        facts[step.name] = forecast.makes
        seconds, limit = forecast.flops / speed / EFFICIENCY, step.stage.seconds_limit()
        # a step that stops by itself also leaves tokens undone
        share = 1.0 if limit is None or seconds <= limit else limit / seconds
        planned.append(
            PlannedStep(
                step.name,
                step.stage.name,
                inputs,
                state,
                forecast.makes.rows,
                forecast.tokens * share,
                forecast.flops * share,
                forecast.peak_memory,
                seconds * share,
            )
        )
    return Plan(tuple(planned), hardware, speed, recipe.compute, lack, recipe.unlicensed)


def measure_speed(hardware: Hardware) -> float:
    """FLOP/s of a large matrix product on this hardware: the quickest of several, as other programs may be running."""
    import torch

    check_device(hardware)
    torch.set_num_threads(hardware.threads)
    size = 1024 if hardware.device == "cpu" else 8192
    matrix = torch.randn(size, size, device=hardware.device).to(getattr(torch, hardware.dtype))
    float((matrix @ matrix)[0, 0])  # warm up, and wait for the device
    quickest, until = float("inf"), time.monotonic() + _SECONDS_OF_MEASURING
    while time.monotonic() < until or quickest == float("inf"):
        before = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        quickest = min(quickest, time.perf_counter() - before)
    return 2 * size**3 / quickest


def _state(task: KeyedStep, store: Store) -> str:
    stage = task.step.stage.name
    artifact = store.find(stage, task.key)
    if artifact is not None and not changed(artifact.manifest.parts):
        return "exists"
    return "resume" if store.partial(stage, task.key).exists() else "make"


def _facts_of_source(source: ExternalSource) -> Facts:
    """Nothing is downloaded for a plan: of a Hub repository only what its name says."""
    return facts_of(source.fetch(), source.kind) if source.local else Facts(parameters=parameters_of(source.name))
