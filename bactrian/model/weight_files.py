"""Safetensors of a model folder, tensor by tensor: the dtype they are in, written in another, what rounding takes.

A model is written in 16 bits where its base was. Rounded to the nearest, most of what a short training changed would be
lost: each change is less than half a step between two numbers of bfloat16. So weights are rounded up as often as they
are near the upper one, and what training changed is kept on average. What this takes of each weight is kept in a file
that no other program looks at (`RESIDUE`), so that the next stage of training goes on from float32.
"""

from __future__ import annotations

import hashlib
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

    To bfloat16 by chance, the same each time: x between neighbours a < b becomes b with probability (x - a) / (b - a).

    Raises:
        BactrianError: it is too large for float16.
    """
    if not weight.is_floating_point():
        return weight
    if dtype == "bfloat16" and weight.dtype is not torch.bfloat16:
        return _drawn(name, weight.detach().cpu().float())
    found = weight.to(TORCH[dtype])
    if dtype == "float16" and bool(torch.isinf(found).any()) and not bool(torch.isinf(weight).any()):
        largest = float(weight.float().abs().max())
        raise BactrianError(f"{name}: found a weight of {largest:g}, too large for float16 (65,504); use bfloat16")
    return found


def _chances(name: str, shape: torch.Size) -> torch.Tensor:
    """16 random bits for each number of a weight, drawn from its name: int32 of that shape."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.randint(0, 2**16, shape, dtype=torch.int32, generator=torch.Generator().manual_seed(seed))


def _drawn(name: str, exact: torch.Tensor) -> torch.Tensor:
    """float32 → bfloat16. A carry out of the lower 16 bits is a step up in size; without these it never comes."""
    bits = exact.contiguous().view(torch.int32)
    kept = ((bits + _chances(name, exact.shape)) >> 16).to(torch.int16).view(torch.bfloat16)
    finite = torch.isfinite(exact) & torch.isfinite(kept)
    return torch.where(finite, kept, exact.to(torch.bfloat16))


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
        full = whole(name, weight, rest[name]) if name in rest else weight
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
    """1 - ⟨rounded - start, exact - start⟩ / ‖exact - start‖² over the weights that a folder has too: the share of what
    training changed that is gone once they are in `dtype`. None where nothing changed.

    Rounding by chance adds noise in all directions, of which next to nothing lies in this one.

    Raises:
        BactrianError: a file of the folder cannot be read.
    """
    kept = changed = 0.0
    for _, name, before in tensors(start):
        now = exact.get(name)
        if now is None or now.shape != before.shape or not now.is_floating_point():
            continue
        wide = now.detach().cpu().float()
        change = (wide - before.float()).double()
        kept += float(((rounded(name, wide, dtype).float() - before.float()).double() * change).sum())
        changed += float(change.square().sum())
    return 1 - kept / changed if changed else None


def residue(exact: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What `rounded` took of float32 weights: for bfloat16 their lower 16 bits (int16), else the difference."""
    if kept.dtype is not torch.bfloat16:
        return exact - kept.float()
    return (exact.contiguous().view(torch.int32) & 0xFFFF).to(torch.int16)


def whole(name: str, kept: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """The float32 weights of which `residue` was taken, every bit of them."""
    if rest.dtype is not torch.int16:
        return kept.float() + rest
    low = rest.to(torch.int32) & 0xFFFF
    carry = (low + _chances(name, rest.shape)) >> 16
    high = kept.detach().cpu().to(torch.bfloat16).view(torch.int16).to(torch.int32) - carry
    return ((high << 16) | low).view(torch.float32)


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
                weights[name].copy_(whole(name, weights[name], rest))
    except (OSError, SafetensorError) as error:
        raise BactrianError(f"{file}: no safetensors can be read ({error})") from None
