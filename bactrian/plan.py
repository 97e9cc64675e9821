"""What a run would do, and what it would take, before anything is made."""

import gzip
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bactrian.artifact import Store
from bactrian.errors import BactrianError
from bactrian.hardware import Hardware, memory_bytes
from bactrian.manifest import Kind
from bactrian.recipe import Recipe
from bactrian.runner import Task, tasks
from bactrian.source import Source
from bactrian.stages.stage import Facts

# Training and sampling reach about this share of what one large matrix product does: small matrices, attention,
# memory traffic. Measured on 2 CPU cores with a 135M model; a plan is an estimate, not a promise.
EFFICIENCY = 0.4
BYTES_PER_TOKEN = 4.0  # of English text, for data that no tokenizer has seen yet
_SECONDS_OF_MEASURING = 0.5


@dataclass(frozen=True)
class PlannedStep:
    """A step's line in the plan: tokens, FLOPs, peak memory (bytes) and time (seconds) of the work still to do."""

    name: str
    stage: str
    inputs: tuple[str, ...]
    state: str  # "exists", "resume" (begun and cut) or "make"
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

    @property
    def seconds(self) -> float:
        """Of all that is to be made."""
        return sum(step.seconds for step in self.steps)

    @property
    def short_of_memory(self) -> list[PlannedStep]:
        """Steps that would need more memory than this machine has."""
        return [step for step in self.steps if 0 < memory_bytes() < step.peak_memory]


def plan(recipe: Recipe, store: Store) -> Plan:
    """What `run` would do. Makes nothing in the store; measures this machine's speed if anything is to be made.

    Raises BactrianError as `tasks` does.
    """
    hardware = recipe.hardware.decide()
    todo = tasks(recipe, hardware)
    states = {task.step.name: _state(task, store) for task in todo}
    speed = 0.0 if set(states.values()) <= {"exists"} else measure_speed(hardware)
    facts: dict[str, Facts] = {}
    planned: list[PlannedStep] = []
    for task in todo:
        step, state = task.step, states[task.step.name]
        inputs = tuple(dict.fromkeys(found.ref for found in step.stage.references()))
        if state == "exists":
            facts[step.name] = facts_of(store.folder(step.stage.name, task.key), step.stage.makes)
            planned.append(PlannedStep(step.name, step.stage.name, inputs, state))
            continue
        known = {ref: facts[ref] for ref in step.reads}
        known |= {ref: _facts_of_source(source) for ref, source in task.sources.items()}
        forecast = step.stage.forecast(known)
        facts[step.name] = forecast.makes
        planned.append(PlannedStep(step.name, step.stage.name, inputs, state, forecast.tokens, forecast.flops,
                                   forecast.peak_memory, forecast.flops / speed / EFFICIENCY))
    return Plan(tuple(planned), hardware, speed)


def measure_speed(hardware: Hardware) -> float:
    """FLOP/s of a large matrix product on this hardware, now."""
    import torch

    torch.set_num_threads(hardware.threads)
    size = 1024 if hardware.device == "cpu" else 8192
    matrix = torch.randn(size, size, device=hardware.device).to(getattr(torch, hardware.dtype))
    float((matrix @ matrix)[0, 0])  # warm up, and wait for the device
    products, before = 0, time.monotonic()
    while (seconds := time.monotonic() - before) < _SECONDS_OF_MEASURING or products == 0:
        float((matrix @ matrix)[0, 0])
        products += 1
    return products * 2 * size**3 / seconds


def facts_of(path: Path, kind: Kind) -> Facts:
    """Parameters of a model, or rows and tokens per row of data, from file headers only (lines are counted)."""
    if kind is Kind.MODEL:
        return Facts(parameters=sum(map(_parameters, path.glob("*.safetensors"))))
    if kind is Kind.DATA:
        files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
        counted = [_rows_and_bytes(file) for file in files]
        rows, size = sum(rows for rows, _ in counted), sum(size for _, size in counted)
        return Facts(rows=rows, tokens_per_row=size / rows / BYTES_PER_TOKEN if rows else 0.0)
    return Facts()


def _state(task: Task, store: Store) -> str:
    stage = task.step.stage.name
    if store.find(stage, task.key) is not None:
        return "exists"
    return "resume" if store.partial(stage, task.key).exists() else "make"


def _facts_of_source(source: Source) -> Facts:
    """Nothing is downloaded for a plan: of a Hub repository nothing is known."""
    return facts_of(source.fetch(), source.kind) if source.local else Facts()


def _parameters(file: Path) -> int:
    """Numbers in a safetensors file, by its header: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header: Any = json.loads(stream.read(length)) if length < file.stat().st_size else None
            return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BactrianError(f"{file}: found no safetensors header, expected the weights of a model") from None


def _rows_and_bytes(file: Path) -> tuple[int, int]:
    """Rows, and bytes of their text, in a Parquet or JSONL file; (0, 0) for any other."""
    if file.suffix == ".parquet":
        from pyarrow import parquet

        metadata = parquet.ParquetFile(file).metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        return metadata.num_rows, sum(column.total_uncompressed_size for column in columns)
    if file.name.endswith((".jsonl", ".jsonl.gz")) and file.name != "metrics.jsonl":
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            sizes = [len(line) for line in lines]
        return len(sizes), sum(sizes)
    return 0, 0
