"""Safetensors of a model folder, tensor by tensor: the dtype they are in, written in another, what rounding takes.

A model is written in 16 bits where its base was. What rounding takes of a trained weight is then kept beside it, in a
file that no other program looks at (`RESIDUE`), so that the next stage of training goes on from float32.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bactrian.errors import BactrianError

KEPT = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # what safetensors calls them → what torch does
TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INDEX = "model.safetensors.index.json"
RESIDUE = "residue/weights.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder that hold its weights: those of the index where there is one.

    Raises:
        BactrianError: the index cannot be read, or there are no weights.
    """
    if (folder / INDEX).is_file():
        try:
            names = sorted({*json.loads((folder / INDEX).read_text())["weight_map"].values()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BactrianError(f"{folder / INDEX}: found no list of weights ({error!r})") from None
        found = [folder / str(name) for name in names if Path(str(name)).name == name]
    else:
        found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise BactrianError(f"{folder}: no weights: expected *.safetensors")
    return found


def header(file: Path) -> dict[str, dict[str, Any]]:
    """{name: {dtype, shape, data_offsets}} of a safetensors file, without its tensors.

    Raises:
        BactrianError: it is no safetensors file.
    """
    try:
        with file.open("rb") as opened:
            (size,) = struct.unpack("<Q", opened.read(8))
            if size > 100 * 2**20:
                raise ValueError(f"a header of {size:,} bytes")
            found: dict[str, dict[str, Any]] = json.loads(opened.read(size))
    except (OSError, ValueError, struct.error) as error:
        raise BactrianError(f"{file}: no safetensors can be read ({error})") from None
    found.pop("__metadata__", None)
    return found


def stored_dtype(folder: Path) -> str:
    """What most weights of a model folder are in: "float32", "float16" or "bfloat16" (also for 8 bits and fewer).

    Raises:
        BactrianError: there are no weights, or a file cannot be read.
    """
    bytes_of: Counter[str] = Counter()
    for file in weight_files(folder):
        for tensor in header(file).values():
            start, end = tensor["data_offsets"]
            bytes_of[tensor["dtype"]] += end - start
    most = bytes_of.most_common(1)
    return KEPT.get(most[0][0], "bfloat16") if most else "float32"


def tensors(folder: Path) -> Iterator[tuple[Path, str, torch.Tensor]]:
    """Each weight of a model folder, one in memory at a time: (its file, its name, itself).

    Raises:
        BactrianError: a file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  (no mapping)
                    yield file, name, opened.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise BactrianError(f"{file}: no safetensors can be read ({error})") from None


def rounded(name: str, weight: torch.Tensor, dtype: str) -> torch.Tensor:
    """A weight in another dtype; what holds no fractions is left as it is.

    Raises:
        BactrianError: it is too large for float16.
    """
    if not weight.is_floating_point():
        return weight
    found = weight.to(TORCH[dtype])
    if dtype == "float16" and bool(torch.isinf(found).any()) and not bool(torch.isinf(weight).any()):
        largest = float(weight.float().abs().max())
        raise BactrianError(f"{name}: found a weight of {largest:g}, too large for float16 (65,504); use bfloat16")
    return found


def convert(source: Path, target: Path, dtype: str) -> None:
    """Write the weights of one model folder into another in `dtype`, in files of the same names.

    In float32 they are as they were trained, where the folder has a residue. Memory: one file's weights.

    Raises:
        BactrianError: a file cannot be read, or a weight is too large.
    """
    from safetensors.torch import load_file, save_file

    total, place = 0, ""
    rest = load_file(source / RESIDUE) if dtype == "float32" and (source / RESIDUE).is_file() else {}
    held: dict[str, torch.Tensor] = {}

    def flush() -> None:
        if held:
            save_file(held, target / place, {"format": "pt"})
            held.clear()

    for file, name, weight in tensors(source):
        if file.name != place:
            flush()
            place = file.name
        full = whole(weight, rest[name]) if name in rest else weight
        held[name] = rounded(name, full, dtype).contiguous()
        total += held[name].nbytes
    flush()
    if (source / INDEX).is_file():
        index = json.loads((source / INDEX).read_text())
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": total}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def name_dtype(folder: Path, dtype: str) -> None:
    """Let config.json say what dtype the weights are in: transformers and vLLM load them so."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    path.write_text(json.dumps(config | {"dtype": dtype}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def lost_in_rounding(exact: Mapping[str, torch.Tensor], start: Path, dtype: str) -> float | None:
    """‖rounded - exact‖ / ‖exact - start‖ over the weights that a folder has too: the share of what training changed
    that rounding to `dtype` takes. None where nothing changed.

    Raises:
        BactrianError: a file of the folder cannot be read.
    """
    lost = changed = 0.0
    for _, name, before in tensors(start):
        now = exact.get(name)
        if now is None or now.shape != before.shape or not now.is_floating_point():
            continue
        wide = now.detach().cpu().float()
        lost += float((rounded(name, wide, dtype).float() - wide).square().sum(dtype=torch.float64))
        changed += float((wide - before.float()).square().sum(dtype=torch.float64))
    return (lost / changed) ** 0.5 if changed else None


def residue(exact: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What rounding took of float32 weights: for bfloat16 the difference of bit patterns (int16), else of values.

    A weight just between two of bfloat16 that was rounded down comes back one float32 unit lower: 32,768 is no
    int16.
    """
    if kept.dtype is not torch.bfloat16:
        return exact - kept.float()
    high = kept.view(torch.int16).to(torch.int32) << 16
    return (exact.contiguous().view(torch.int32) - high).clamp(max=2**15 - 1).to(torch.int16)


def whole(kept: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """The float32 weights of which `residue` was taken."""
    if rest.dtype is not torch.int16:
        return kept.float() + rest
    high = kept.to(torch.bfloat16).view(torch.int16).to(torch.int32) << 16
    return (high + rest.to(torch.int32)).view(torch.float32)


def write_residue(folder: Path, exact: Mapping[str, torch.Tensor], dtype: str) -> None:
    """Keep what rounding to `dtype` takes of these weights; no file where it takes nothing."""
    from safetensors.torch import save_file

    found = {}
    for name, weight in exact.items():
        if weight.dtype is torch.float32:
            full = weight.detach().cpu()
            rest = residue(full, rounded(name, full, dtype))
            if bool(rest.any()):
                found[name] = rest
    if found:
        (folder / RESIDUE).parent.mkdir(exist_ok=True)
        save_file(found, folder / RESIDUE)


@torch.no_grad()
def add_residue(network: torch.nn.Module, folder: Path) -> None:
    """Make a float32 network, just read from a folder, what was trained; nothing where the folder has no residue.

    Raises:
        BactrianError: the file cannot be read, or belongs to other weights.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / RESIDUE
    if not file.is_file():
        return
    weights = dict(network.named_parameters())
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                rest = opened.get_tensor(name)
                if name not in weights or weights[name].shape != rest.shape:
                    raise BactrianError(f"{file}: {name} is no weight of the model beside it; remove the file")
                weights[name].copy_(whole(weights[name], rest))
    except (OSError, SafetensorError) as error:
        raise BactrianError(f"{file}: no safetensors can be read ({error})") from None
