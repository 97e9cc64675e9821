"""Tensors in shards, on disk: torch's distributed checkpoints, written by all processes, read by any number of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bactrian.store.processes import Processes


def is_cut(tensor: torch.Tensor) -> bool:
    """Whether this process has only a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def write(tensors: Mapping[str, torch.Tensor], folder: Path, group: Processes) -> list[Path]:
    """Write each process's part, what all have by one of them; the files that are this process's.

    The leader's are its own and the index of all.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    # what reaches the disk is synced by the caller, all of it at once
    writer = FileSystemWriter(folder, single_file_per_rank=True, sync_files=False)
    save(dict(tensors), storage_writer=writer, process_group=group.control)
    mine = sorted(folder.glob(f"__{group.rank}_*.distcp"))
    return [*mine, folder / ".metadata"] if group.leader else mine


def read(
    folder: Path, like: Callable[[str, torch.Size, torch.dtype], torch.Tensor], group: Processes
) -> dict[str, torch.Tensor]:
    """All tensors of a folder, of each what `like` asks for: a part, or the whole."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = FileSystemReader(folder)
    found: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    tensors = {name: like(name, known.size, known.properties.dtype) for name, known in found.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # one process reads alone
        load(tensors, storage_reader=reader, process_group=group.control, no_dist=group.size == 1)
    return tensors
