"""What a run would do, and what it would take, before anything is made."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bactrian.generate.engine_names import check_engine
from bactrian.progress import say
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import Compute, Recipe
from bactrian.recipe.references import ExternalSource, outline
from bactrian.recipe.token_sample import TokenCounter
from bactrian.run.gpu_hours import GpuTime, gpu_time
from bactrian.run.keys import KeyedStep, tasks, to_make
from bactrian.run.known_models import parameters_of
from bactrian.run.missing_packages import what_lacks
from bactrian.run.part_trials import try_own_parts
from bactrian.run.prepare import check_device, check_models, check_tool_places
from bactrian.run.remedies import Remedy, remedy
from bactrian.run.update_time import Cluster, ClusterTime, clock
from bactrian.stages.stage import Basis, Facts, Forecast, Stage
from bactrian.store.artifact import Store
from bactrian.store.hardware import Hardware, HardwareSettings, device_memory, gpu_name
from bactrian.store.manifest import Kind
from bactrian.store.parts import changed

# Training and sampling reach about this share of what one large matrix product does: small matrices, attention,
# memory traffic. The quickstart's five steps on two cores in float32 (29 November 2026) took 0.5 to 0.9 times as long
# as forecast; seven steps before, mostly in bfloat16, 0.5 to 4 times, sampling the slow end.
EFFICIENCY = 0.4
TRAINING_EFFICIENCY = {"float32": 0.7, "bfloat16": 0.4}  # the plainer the product, the less else there is
_SECONDS_OF_MEASURING = 0.5
_LESS_SURE: tuple[Basis, ...] = ("", "counted", "sampled", "stated", "bytes", "assumed")


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
    basis: Basis = ""  # of what it reads: how its tokens are known
    error: float = 0.0  # standard error of the tokens over themselves, where they are from a sample
    forecast: Forecast = field(default_factory=Forecast)
    remedy: Remedy | None = None  # where the memory does not suffice


@dataclass(frozen=True)
class Plan:
    """All steps, and the speed (FLOP/s) by which FLOPs became seconds; 0 if nothing is to be made."""

    steps: tuple[PlannedStep, ...]
    hardware: Hardware
    speed: float
    compute: Compute | None = None
    memory: int = 0  # bytes of the device that it plans for; 0 where they are not known
    cluster: Cluster | None = None  # of several GPUs, where the recipe says which
    lack: str = ""  # packages that are not installed, for which `run` would refuse
    unlicensed: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all that is to be made."""
        return sum(step.seconds for step in self.steps)

    def gpu_time(self, step: PlannedStep) -> GpuTime:
        """Of the recipe's GPU; nothing if it names none."""
        if self.compute is None:
            return GpuTime()
        return gpu_time(step.forecast, self.compute, self.compute.published.get(step.name))

    def clock(self, step: PlannedStep) -> ClusterTime | None:
        """How long the cluster takes, for a step that trains one model in updates of a known size."""
        trained = [each for each in step.forecast.passes if each.flops_a_token >= 6]
        if self.cluster is None or len(trained) != 1 or not (trained[0].batch and trained[0].rows):
            return None
        packed = self.compute is None or self.compute.packed
        return clock(trained[0], self.cluster, packed)

    @property
    def short_of_memory(self) -> list[PlannedStep]:
        """Steps that would need more memory than the device has."""
        return [step for step in self.steps if 0 < self.memory < step.peak_memory]


def plan(recipe: Recipe, store: Store) -> Plan:
    """What `run` would do. Makes nothing in the store but counts of tokens, which it keeps; measures
    this machine's speed if anything is to be made.

    Raises:
        BactrianError: as `tasks` does.
    """
    hardware = recipe.hardware.decide()
    check_engine(hardware.engine)
    todo = tasks(recipe, hardware, outline)
    if lack := what_lacks(recipe, to_make(todo, store)):  # at once: measuring takes a while
        say(f"warning: {lack}")
    check_models(recipe, to_make(todo, store))
    check_tool_places(recipe, to_make(todo, store))
    try_own_parts(recipe, todo, store)
    states = {task.step.name: _state(task, store) for task in todo}
    here = _here(recipe, hardware)
    speed = 0.0 if set(states.values()) <= {"exists"} else measure_speed(here)
    memory = device_memory(here.device)
    count = TokenCounter(store, _tokenizer_of(todo))
    facts: dict[str, Facts] = {}
    planned: list[PlannedStep] = []
    for task in todo:
        step, state = task.step, states[task.step.name]
        inputs = tuple(dict.fromkeys(found.ref for found in step.stage.references()))
        if state == "exists":
            folder = store.folder(step.stage.name, task.key)
            facts[step.name] = count.sharpen(facts_of(folder, step.stage.makes), folder, task.key)
            planned.append(PlannedStep(step.name, step.stage.name, inputs, state, facts[step.name].rows))
            continue
        known = {ref: facts[ref] for ref in step.reads}
        known |= {ref: _facts_of_source(source, count) for ref, source in task.sources.items()}
        forecast = step.stage.forecast(known)
        read = _basis_of(step.stage, known)
        facts[step.name] = (
            forecast.makes if forecast.makes.basis else replace(forecast.makes, basis=read.basis, error=read.error)
        )
        seconds, limit = seconds_of(forecast, speed, here), step.stage.seconds_limit()
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
                read.basis,
                read.error,
                forecast,
                remedy(step.stage, known, here, memory) if 0 < memory < forecast.peak_memory else None,
            )
        )
    return Plan(tuple(planned), here, speed, recipe.compute, memory, _cluster(recipe), lack, recipe.unlicensed)


def _cluster(recipe: Recipe) -> Cluster | None:
    asked = recipe.hardware
    if asked.gpu is None or asked.processes == 1:
        return None
    return Cluster(asked.gpu, asked.gpus_per_node, asked.nodes, "sharded" if asked.weights == "auto" else asked.weights)


def _here(recipe: Recipe, hardware: Hardware) -> Hardware:
    """What times are measured on: a recipe for a cluster's GPUs is planned where there are none, too."""
    if recipe.hardware.gpu is None or hardware.device == "cpu" or gpu_name() is not None:
        return hardware
    return HardwareSettings(device="cpu").decide()


def seconds_of(forecast: Forecast, speed: float, hardware: Hardware) -> float:
    """How long a step takes on hardware whose matrix products reach `speed` FLOP/s."""
    training = sum(each.flops for each in forecast.passes)
    rest = forecast.flops - training
    return (training / TRAINING_EFFICIENCY[hardware.dtype] + rest / EFFICIENCY) / speed


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


def _facts_of_source(source: ExternalSource, count: TokenCounter) -> Facts:
    """Nothing is downloaded for a plan: of a Hub repository only what its name says."""
    if not source.local:
        return Facts(parameters=parameters_of(source.name))
    path = source.fetch()
    return count.sharpen(facts_of(path, source.kind), path, source.content_hash)


def _tokenizer_of(todo: list[KeyedStep]) -> Path | None:
    """tokenizer.json of the first model on this machine that the recipe reads."""
    local = [source for task in todo for source in task.sources.values() if source.local and source.kind is Kind.MODEL]
    files = [source.fetch() / "tokenizer.json" for source in local]
    return next((file for file in files if file.is_file()), None)


def _basis_of(stage: Stage, known: Mapping[str, Facts]) -> Facts:
    """The least sure of the data that a stage works on; of held-out data where it reads nothing else."""
    data = [use for use in stage.references() if use.kind is Kind.DATA and use.ref in known]
    worked = [use for use in data if not use.held_out] or data
    found = [known[use.ref] for use in worked]
    return max(found, key=lambda each: (_LESS_SURE.index(each.basis), each.error), default=Facts())
