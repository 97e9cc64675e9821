"""Checkpoints: written whole or not at all, hashed, and never believed without the hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from bactrian.progress import say
from bactrian.store.disk import naming_full_disk, sync_folder

KEPT = 2  # the newest, and one before it in case the newest is damaged


@dataclass(frozen=True)
class SavedState:
    """State after `step` optimiser steps: named tensors, and what else the loop counts."""

    step: int
    tensors: dict[str, torch.Tensor]
    counts: dict[str, float]


def save(folder: Path, checkpoint: SavedState) -> None:
    """Write `folder/step-NNNNNN`, then drop the oldest beyond the two newest.

    Raises:
        BactrianError: the disk is full; older checkpoints stay.
    """
    from safetensors.torch import save_file

    final = folder / f"step-{checkpoint.step:06d}"
    draft = final.with_suffix(".partial")
    with naming_full_disk(folder):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file({k: v.contiguous() for k, v in checkpoint.tensors.items()}, draft / "state.safetensors")
        record = {"step": checkpoint.step, "counts": checkpoint.counts, "torch_rng": torch.get_rng_state().tolist()}
        record["sha256"] = _sha256(draft / "state.safetensors")
        text = json.dumps(record)
        (draft / "checkpoint.json").write_text(json.dumps({"record": text, "sha256": _digest(text.encode())}))
        sync_folder(draft)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
    for old in _found(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_newest(folder: Path) -> SavedState | None:
    """The newest checkpoint whose hashes hold, its random state put back; None if there is none.

    A damaged one is named on the way and passed over: training resumes from the one before, or from the start.
    """
    for draft in folder.glob("*.partial"):
        shutil.rmtree(draft)
    for path in reversed(_found(folder)):
        try:
            return _load(path)
        except (OSError, ValueError, KeyError) as error:
            say(f"{path}: damaged checkpoint, not used: {error}")
            shutil.rmtree(path)
    return None


def _load(path: Path) -> SavedState:
    from safetensors.torch import load_file

    outer = json.loads((path / "checkpoint.json").read_text())
    if _digest(outer["record"].encode()) != outer["sha256"]:
        raise ValueError("checkpoint.json does not match its hash")
    record = json.loads(outer["record"])
    found = _sha256(path / "state.safetensors")
    if found != record["sha256"]:
        raise ValueError(f"state.safetensors has sha256 {found}, expected {record['sha256']}")
    tensors = load_file(path / "state.safetensors")
    torch.set_rng_state(torch.tensor(record["torch_rng"], dtype=torch.uint8))
    return SavedState(record["step"], tensors, record["counts"])


def _found(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".partial")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
