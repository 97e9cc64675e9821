"""What this machine and installation have for the toolkit, what is missing, and what is slow and why."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from bactrian.errors import BactrianError
from bactrian.run.plan import measure_speed
from bactrian.store.extras import install_line
from bactrian.store.hardware import HardwareSettings, cores, gpu_name, machine, memory_bytes

State = Literal["good", "slow", "missing", "broken"]
GIB = 2**30
LEAST_MEMORY = 8 * GIB
LEAST_DISK = 10 * GIB
NO_DISK = GIB // 10
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class MachineCheck:
    """One thing that was looked at. `advice`: what to do where it is not good.

    slow: everything works, not as fast as it could. missing: something optional is not there. broken: a run would fail.
    """

    what: str
    state: State
    found: str
    advice: str = ""


def examine(store: Path) -> Iterator[MachineCheck]:
    """Every finding, one by one; measuring and trying takes a few seconds. `store`: where artifacts would lie."""
    yield MachineCheck("Python", "good", f"{sys.version.split()[0]} ({sys.executable})")
    yield _torch()
    yield _processor()
    yield from _threads()
    yield _memory()
    yield _gpu()
    yield _number_type()
    yield _compiler()
    yield _sandbox()
    yield from extras()
    yield _store(store)


def _torch() -> MachineCheck:
    import torch

    return MachineCheck("torch", "good", f"{torch.__version__}, transformers {version('transformers')}")


def _processor() -> MachineCheck:
    found = machine()
    flags = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in _flags()]
    return MachineCheck("processor", "good", f"{found['cpu']}, {found['cores']} cores; {', '.join(flags) or 'no AVX2'}")


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def _threads() -> Iterator[MachineCheck]:
    """A container may be given less than the cores that it sees: threads then wait for each other."""
    try:
        quota, period = CPU_LIMIT.read_text().split()
        allowed = int(quota) / int(period)
    except (OSError, ValueError):  # no such limit: the file is absent, or says "max"
        return
    if allowed < cores():
        yield MachineCheck(
            "threads",
            "slow",
            f"{cores()} cores are seen, the container may use {allowed:g}",
            f"write hardware: {{threads: {max(1, int(allowed))}}} in recipes: more threads wait for each other",
        )


def _memory() -> MachineCheck:
    found = memory_bytes()
    state: State = "good" if not found or found >= LEAST_MEMORY else "slow"
    advice = "" if state == "good" else "models of 135 million parameters are about the most: see peak memory in `plan`"
    return MachineCheck("memory", state, f"{found / GIB:.0f} GiB" if found else "not known here", advice)


def _gpu() -> MachineCheck:
    name = gpu_name()
    if name is not None:
        return MachineCheck("GPU", "good", name)
    import torch

    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        build = torch.version.cuda or torch.version.hip or "CPUs alone"
        advice = "install a build of torch for this GPU and its driver"
        return MachineCheck(
            "GPU", "broken", f"there is one, and torch {torch.__version__} ({build}) cannot use it", advice
        )
    return MachineCheck("GPU", "good", "none; everything runs on the processor")


def _number_type() -> MachineCheck:
    """Which of float32 and bfloat16 recipes with `dtype: auto` get, and whether that is the quicker one."""
    hardware = HardwareSettings().decide()
    speeds = {dtype: measure_speed(replace(hardware, dtype=dtype)) for dtype in ("float32", "bfloat16")}
    other = "bfloat16" if hardware.dtype == "float32" else "float32"
    found = f"auto is {hardware.dtype}: " + ", ".join(
        f"{dtype} {speed / 1e9:,.3g} GFLOP/s" for dtype, speed in speeds.items()
    )
    if speeds[other] > 1.5 * speeds[hardware.dtype]:
        return MachineCheck("numbers", "slow", found, f"write hardware: {{dtype: {other}}} in recipes")
    return MachineCheck("numbers", "good", found)


def _compiler() -> MachineCheck:
    from bactrian.generate.decode_kernels import kernels

    if gpu_name() is not None:
        return MachineCheck("compiler", "good", "not needed where a GPU computes")
    if kernels() is not None:
        return MachineCheck("compiler", "good", "the kernels of training and sampling are compiled")
    if os.environ.get("BACTRIAN_NATIVE") == "0":
        return MachineCheck("compiler", "slow", "kernels are switched off", "unset BACTRIAN_NATIVE")
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return MachineCheck(
        "compiler",
        "slow",
        f"{found} does not compile the kernels" if found else "no cc, gcc or clang",
        "install a C compiler (Debian: apt install gcc libc6-dev): sampling is two to three times as fast with one",
    )


def _sandbox() -> MachineCheck:
    from bactrian import sandbox

    try:
        sandbox.want("isolated")
        return MachineCheck(
            "sandbox", "good", f"programs that models write are run in {sandbox.chosen_isolation().name}"
        )
    except BactrianError as error:
        return MachineCheck("sandbox", "missing", "programs that models write are not run here", str(error))


def extras() -> Iterator[MachineCheck]:
    """Of each extra of the package, whether all that it asks for is installed."""
    wanted: dict[str, list[str]] = {name: [] for name in metadata("bactrian").get_all("Provides-Extra") or []}
    lacking: dict[str, list[str]] = {name: [] for name in wanted}
    for text in metadata("bactrian").get_all("Requires-Dist") or []:
        requirement = Requirement(text)
        for name in wanted:
            if requirement.marker is None or not requirement.marker.evaluate({"extra": name}):
                continue
            if requirement.marker.evaluate({"extra": ""}):
                continue  # needed without the extra too
            wanted[name].append(requirement.name)
            try:
                held = requirement.specifier.contains(version(requirement.name), prereleases=True)
            except PackageNotFoundError:
                held = False
            if not held:
                lacking[name].append(str(requirement).split(";")[0].strip())
    for name, packages in wanted.items():
        if lacking[name]:
            advice = install_line([name])
            yield MachineCheck(f"extra {name}", "missing", f"without {', '.join(lacking[name])}", advice)
        else:
            yield MachineCheck(f"extra {name}", "good", ", ".join(packages))


def _store(store: Path) -> MachineCheck:
    there = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK) or free < NO_DISK:
        found = f"{there} cannot be written to, or is full"
        return MachineCheck("store", "broken", found, "name another folder: --store")
    if free < LEAST_DISK:
        advice = "checkpoints of a model take 16 bytes a parameter while it is trained: name another --store"
        return MachineCheck("store", "slow", f"{free / GIB:.1f} GiB free at {there}", advice)
    return MachineCheck("store", "good", f"{free / GIB:.0f} GiB free at {there}")
