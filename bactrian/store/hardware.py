"""The `hardware:` block of a recipe, and what this machine has. Loads torch only to ask for a GPU."""

import os
import platform
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bactrian.store.launch import local_size


class VllmSettings(BaseModel):
    """How the engine vllm is opened."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cache_gib: float = Field(4.0, gt=0, description="its key-value cache, GiB; what does not fit waits")
    context: int | None = Field(
        None, ge=2, description="tokens of prompt and completion; by default the model's, or what the cache holds"
    )
    compile: bool = Field(False, description="compile the model when it is opened: a minute on a CPU, and quicker then")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that share each layer")
    check_weights: bool = Field(
        False, description="compare the SHA-256 of every weight after each transfer of a policy's weights"
    )
    server: str | None = Field(
        None,
        pattern="^https?://",
        description="a vLLM server that you started, in place of processes of ours: docs/rl.md says how",
    )


@dataclass(frozen=True)
class Hardware:
    """What a step computes with, decided. Example: `Hardware(dtype="float32", threads=2, device="cpu")`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    sandbox: Literal["isolated", "rlimits"] = "isolated"
    data: Literal["local", "ray"] = "local"
    engine: str = "local"
    weights: Literal["sharded", "hybrid", "replicated"] = "replicated"
    vllm: VllmSettings = field(default_factory=VllmSettings)
    samplers: int = 0  # models on the Ray cluster that answer rows; 0: this process has the only one
    compile: bool | None = None  # the engine local's step; None: that of a policy in training, on a GPU


GpuKind = Literal["a100", "h100", "h200"]
Preset = Literal["laptop", "one-gpu", "8xh100", "16-nodes"]
_EIGHT = {"device": "cuda", "dtype": "bfloat16", "gpu": "h100", "gpus_per_node": 8}
PRESETS: dict[Preset, dict[str, Any]] = {
    "laptop": {"device": "cpu"},
    "one-gpu": {**_EIGHT, "gpus_per_node": 1},
    "8xh100": _EIGHT,
    "16-nodes": {**_EIGHT, "nodes": 16},
}
"""Settings that go together; what a recipe writes beside the preset's name replaces the preset's."""


class HardwareSettings(BaseModel):
    """What a recipe asks for; `decide()` turns each "auto" into a fact about this machine.

    A preset's name alone will do: `hardware: 8xh100`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the CPU (amx_bf16, avx512_bf16) or a GPU is fast at it, else float32"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; by default all that this process may use")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is a GPU")
    sandbox: Literal["isolated", "rlimits"] = Field(
        "isolated", description="of programs that models write; rlimits: limits alone, no walls: by hand, where need be"
    )
    data: Literal["local", "ray"] = Field(
        "local", description="where rows are worked on: this machine, or a Ray cluster (RAY_ADDRESS; needs extra ray)"
    )
    engine: str = Field(
        "local",
        description="what samples: local (this process), vllm (processes of its own; needs extra vllm), or an engine "
        "that an installed package registers",
    )
    vllm: VllmSettings = Field(default_factory=VllmSettings, description="how the engine vllm is opened")
    weights: Literal["auto", "sharded", "hybrid", "replicated"] = Field(
        "auto",
        description="where several processes train together: cut into shards over them, or over those of each machine "
        "(hybrid), or whole in each; auto: sharded on GPUs",
    )
    samplers: int | None = Field(
        None,
        ge=1,
        description="with data: ray, models on the cluster that answer rows side by side, each with a GPU or threads "
        "of its own; by default one model in this process does",
    )
    compile: bool | None = Field(
        None,
        description="compile the step in which the engine local samples, on a GPU as CUDA graphs: slow at first, for "
        "each of a few batch sizes, and quicker then; by default where a policy is trained on a GPU",
    )
    preset: Preset | None = Field(None, description="settings that go together; others written beside it replace them")
    gpu: GpuKind | None = Field(
        None, description="the cluster's GPUs: `plan` counts in their hours, `launch` asks for them"
    )
    gpus_per_node: int = Field(1, ge=1, le=64, description="GPUs of each machine, a process each; of CPUs, processes")
    nodes: int = Field(1, ge=1, le=4096, description="machines; `bactrian launch` writes the job that asks for them")

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, given: Any) -> Any:
        """A preset's settings, below those that are written out."""
        asked = {"preset": given} if isinstance(given, str) else given
        if not isinstance(asked, dict):
            return given
        named = asked.get("preset")
        return {**PRESETS[named], **asked} if isinstance(named, str) and named in PRESETS else asked

    @model_validator(mode="after")
    def _samplers_have_a_cluster(self) -> Self:
        if self.samplers and self.data != "ray":
            raise ValueError("samplers: they are on a Ray cluster: expected data: ray beside it")
        if self.samplers and self.engine == "vllm" and self.vllm.server is not None:
            raise ValueError("samplers: each starts a vLLM of its own: expected none beside vllm.server")
        return self

    @property
    def processes(self) -> int:
        """Of the whole job: one for each GPU."""
        return self.nodes * self.gpus_per_node

    def decide(self, together: bool = True) -> Hardware:
        """The hardware to use on this machine. `together`: at the same time as the other processes that are on it."""
        device: Literal["cpu", "cuda"] = self.device if self.device != "auto" else ("cuda" if gpu_name() else "cpu")
        fast_bfloat16 = device == "cuda" or bool({"amx_bf16", "avx512_bf16"} & _cpu_flags())
        dtype = self.dtype if self.dtype != "auto" else ("bfloat16" if fast_bfloat16 else "float32")
        weights = self.weights if self.weights != "auto" else ("sharded" if device == "cuda" else "replicated")
        threads = self.threads or max(1, cores() // (local_size() if together else 1))
        return Hardware(
            dtype,
            threads,
            device,
            self.sandbox,
            self.data,
            self.engine,
            weights,
            self.vllm,
            self.samplers or 0,
            self.compile,
        )


def cores() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def memory_bytes() -> int:
    """Main memory of the machine, bytes; 0 where it cannot be asked for."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def device_memory(device: str) -> int:
    """Bytes that a model and its training may take: the first GPU's, or main memory; 0 where it cannot be asked for."""
    if device != "cuda" or gpu_name() is None:
        return memory_bytes()
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)


@cache
def gpu_name() -> str | None:
    """Name of the first GPU, or None. Where no driver is loaded torch is not imported to find out."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def machine() -> dict[str, str | int | None]:
    """{cpu, cores, memory (bytes), gpu} of this machine, for manifests."""
    return {
        "cpu": _cpu_line("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "memory": memory_bytes(),
        "gpu": gpu_name(),
    }


def _cpu_flags() -> set[str]:
    return set(_cpu_line("flags").split())


@cache
def _cpu_line(field: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return ""
    for line in cpuinfo.read_text().splitlines():
        label, _, value = line.partition(":")
        if label.strip() == field:
            return value.strip()
    return ""
