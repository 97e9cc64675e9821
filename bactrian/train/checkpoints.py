"""Checkpoints: written whole or not at all, hashed, and never believed without the hash.

Whole tensors lie in one file, which the leader writes. Those that are cut into shards over several processes are
written by all at once (`shards`), and read back by any number of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.store import processes
from bactrian.store.disk import naming_full_disk, sync_folder

KEPT = 2  # the newest, and one before it in case the newest is damaged
WHOLE = "state.safetensors"
Like = Callable[[str, torch.Size, torch.dtype], torch.Tensor]
"""What a tensor of this name, whole size and type is to be read into (`Backend.like`)."""


@dataclass(frozen=True)
class SavedState:
    """State after `step` optimiser steps: named tensors, and what else the loop counts.

    random: torch's random state then; None: as it is when this is saved.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    counts: dict[str, float]
    random: torch.Tensor | None = None


def save(folder: Path, checkpoint: SavedState, group: processes.Processes | None = None) -> None:
    """Write `folder/step-NNNNNN`, then drop the oldest beyond the two newest; called by all that train together.

    Args:
        group: those; by default the present ones.

    Raises:
        BactrianError: the disk is full; older checkpoints stay.
    """
    from bactrian.train import shards

    group = group or processes.present()
    final = folder / f"step-{checkpoint.step:06d}"
    draft = final.with_suffix(".partial")
    parts = any(map(shards.is_cut, checkpoint.tensors.values()))
    with naming_full_disk(folder):
        if group.leader:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        files: dict[str, str] = {}
        if parts:
            group.barrier()
            mine = shards.write(checkpoint.tensors, draft, group)
            for each in group.gathered({path.name: _sha256(path) for path in mine}):
                files |= each
        if group.leader:
            if not parts:
                _write_whole(checkpoint.tensors, draft / WHOLE)
                files = {WHOLE: _sha256(draft / WHOLE)}
            _commit(draft, final, checkpoint, files)
            for old in found(folder)[:-KEPT]:
                shutil.rmtree(old)
    group.barrier()


def _write_whole(tensors: dict[str, torch.Tensor], file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def _commit(draft: Path, final: Path, checkpoint: SavedState, files: dict[str, str]) -> None:
    """Write the record of what is there, then give it its name."""
    record: dict[str, Any] = {"step": checkpoint.step, "counts": checkpoint.counts, "files": files}
    random = torch.get_rng_state() if checkpoint.random is None else checkpoint.random
    record["torch_rng"] = random.tolist()
    text = json.dumps(record)
    (draft / "checkpoint.json").write_text(json.dumps({"record": text, "sha256": _digest(text.encode())}))
    sync_folder(draft)
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)


def load_newest(folder: Path, like: Like | None = None) -> SavedState | None:
    """The newest checkpoint whose hashes hold, its random state put back; None if there is none.

    A damaged one is named on the way and passed over: training resumes from the one before, or from the start.

    Args:
        like: where the tensors are to be in parts; None: all whole.
    """
    group = processes.present()
    newest = group.told(_newest(folder) if group.leader else None)
    if newest is None:
        return None
    return _loaded(folder / newest[0], newest[1], like)


def load(path: Path, like: Like | None = None) -> SavedState:
    """One checkpoint, its random state put back.

    Raises:
        BactrianError: it is damaged.
    """
    try:
        record = _record(path)
    except (OSError, ValueError, KeyError) as error:
        raise BactrianError(f"{path}: a damaged checkpoint: {error}") from error
    return _loaded(path, record, like)


def _loaded(path: Path, record: dict[str, Any], like: Like | None) -> SavedState:
    tensors = _tensors(path, record["files"], like)
    torch.set_rng_state(torch.tensor(record["torch_rng"], dtype=torch.uint8))
    return SavedState(record["step"], tensors, record["counts"])


def _newest(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The folder's name and the record of the newest that is whole."""
    for draft in folder.glob("*.partial"):
        shutil.rmtree(draft)
    for path in reversed(found(folder)):
        try:
            return path.name, _record(path)
        except (OSError, ValueError, KeyError) as error:
            say(f"{path}: damaged checkpoint, not used: {error}")
            shutil.rmtree(path)
    return None


def _record(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        ValueError: it is damaged.
    """
    outer = json.loads((path / "checkpoint.json").read_text())
    if _digest(outer["record"].encode()) != outer["sha256"]:
        raise ValueError("checkpoint.json does not match its hash")
    record: dict[str, Any] = json.loads(outer["record"])
    if "sha256" in record:  # as written before there were several files
        record["files"] = {WHOLE: record.pop("sha256")}
    for name, expected in record["files"].items():
        if (found := _sha256(path / name)) != expected:
            raise ValueError(f"{name} has sha256 {found}, expected {expected}")
    return record


def _tensors(path: Path, files: dict[str, str], like: Like | None) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    from bactrian.train import shards

    if WHOLE in files:
        found: dict[str, torch.Tensor] = load_file(path / WHOLE)
        return found
    return shards.read(path, like or (lambda name, size, dtype: torch.empty(size, dtype=dtype)), processes.present())


def found(folder: Path) -> list[Path]:
    """Whole checkpoints, by step."""
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".partial")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
