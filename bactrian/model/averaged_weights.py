"""One model of several models' weights, tensor by tensor in float32 [Wortsman et al. 2022].

Weights that were rounded to 16 bits are averaged as they were trained, where the folder keeps what rounding took.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from bactrian.errors import BactrianError
from bactrian.model.folders import check_folder
from bactrian.model.merging import Way, merged
from bactrian.model.weight_files import RESIDUE, header, residue, rounded, stored_dtype, tensors, weight_files, whole

ADAPTER = "adapter"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", TEMPLATE)
UNLIKE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Fields of config.json in which models of one architecture may differ."""
SHAPES_IDS = re.compile(r".*_token|add_\w+")
"""Fields of tokenizer_config.json on which token ids depend, beside tokenizer.json itself."""


def check_alike(folders: Mapping[str, Path]) -> None:
    """Refuse models that cannot be averaged.

    Raises:
        BactrianError: another architecture, tokenizer, chat template, or weight of another name or shape; naming the
            first difference to the first model.
    """
    (first, start), *others = folders.items()
    check_folder(start)
    shapes, config, tokens = _shapes(start), _config(start), _tokenizer(start)
    for name, folder in others:
        check_folder(folder)
        mine = _config(folder)
        if differs := [field for field in {*config, *mine} if config.get(field) != mine.get(field)]:
            field = min(differs)
            _refuse(name, first, f"config.json, {field}", mine.get(field), config.get(field))
        theirs = _shapes(folder)
        for weight in sorted({*shapes, *theirs}):
            if shapes.get(weight) != theirs.get(weight):
                _refuse(name, first, f"the weight {weight}", theirs.get(weight, "none"), shapes.get(weight, "none"))
        for part, content in _tokenizer(folder).items():
            unsaid = part == TEMPLATE and (content is None or tokens[part] is None)
            if content != tokens[part] and not unsaid:
                raise BactrianError(f"soup: {name}: {part} is another than that of {first}, expected one tokenizer")


def _refuse(name: str, first: str, what: str, found: object, expected: object) -> None:
    raise BactrianError(f"soup: {name}: {what}: found {found}, expected {expected}, as {first} has it")


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor["shape"]) for file in weight_files(folder) for name, tensor in header(file).items()}


def _config(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name not in UNLIKE}


def _tokenizer(folder: Path) -> dict[str, Any]:
    """The files that make token ids of messages, as far as they do."""
    found: dict[str, Any] = {}
    for name in TOKENIZER:
        path = folder / name
        content: Any = path.read_text(encoding="utf-8") if path.is_file() else None
        if content is not None and name == "tokenizer_config.json":
            content = {key: value for key, value in json.loads(content).items() if SHAPES_IDS.fullmatch(key)}
        found[name] = content
    return found


@dataclass(frozen=True)
class Blend:
    """How weights are made one (`merging`).

    start: the folder of the common start, where changes count. density, scale, seed: as `merging.merged` has them.
    groups: pattern of weights' names → other shares of the models there, which add up to 1; the first that fits counts.
    """

    way: Way = "average"
    start: Path | None = None
    density: float = 1.0
    scale: float = 1.0
    seed: int = 0
    groups: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def shares_of(self, name: str, shares: Sequence[float]) -> Sequence[float]:
        """The models' shares in a weight."""
        return next((own for pattern, own in self.groups.items() if fnmatchcase(name, pattern)), shares)

    def random(self, name: str) -> torch.Generator:
        """A stream of its own for each weight: shards and order do not matter."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def average(folders: Sequence[Path], shares: Sequence[float], output: Path, blend: Blend = Blend()) -> dict[str, float]:
    """Write Σ share · weights, in files and dtype of the first folder, and what that rounding takes beside it.

    Args:
        folders: models that `check_alike` has passed.
        shares: of each; they add up to 1.
        blend: another way than the average.

    Returns:
        `spread`: the root mean square over weights of their standard deviation among the models; `tensors`.

    Raises:
        BactrianError: a file cannot be read, or an average is too large for float16.
    """
    from safetensors.torch import save_file

    base, dtype = folders[0], stored_dtype(folders[0])
    output.mkdir(parents=True, exist_ok=True)
    others = [_Reader(folder) for folder in folders]
    began = None if blend.start is None else _Reader(blend.start)
    held: dict[str, dict[str, torch.Tensor]] = {file.name: {} for file in weight_files(base)}
    rest: dict[str, torch.Tensor] = {}
    squares, count = 0.0, 0
    for file, name, first in tensors(base):
        if not first.is_floating_point():
            held[file.name][name] = first
            continue
        exact = [reader.exact(name) for reader in others]
        own = blend.shares_of(name, shares)
        mean = merged(
            blend.way,
            exact,
            own,
            None if began is None else began.exact(name),
            density=blend.density,
            scale=blend.scale,
            random=blend.random(name),
        )
        squares += sum(
            share * float((weight - mean).double().square().sum()) for share, weight in zip(own, exact, strict=True)
        )
        count += mean.numel()
        kept = rounded(name, mean, dtype) if dtype != "float32" else mean
        held[file.name][name] = kept.contiguous()
        if dtype != "float32" and bool((taken := residue(mean, kept)).any()):
            rest[name] = taken
    for place, weights in held.items():
        save_file(weights, output / place, {"format": "pt"})
    if rest:
        (output / RESIDUE).parent.mkdir(exist_ok=True)
        save_file(rest, output / RESIDUE)
    _copy_around(base, output, set(held))
    return {"spread": (squares / max(1, count)) ** 0.5, "tensors": float(sum(map(len, held.values())))}


class _Reader:
    """One model's weights as they were trained, in float32, by name."""

    def __init__(self, folder: Path) -> None:
        self.places = {name: file for file in weight_files(folder) for name in header(file)}
        self.residue = folder / RESIDUE
        self.rounded = set(header(self.residue)) if self.residue.is_file() else set()

    def exact(self, name: str) -> torch.Tensor:
        from safetensors import safe_open

        with safe_open(self.places[name], framework="pt") as opened:
            kept: torch.Tensor = opened.get_tensor(name)
        if name not in self.rounded:
            return kept.float()
        with safe_open(self.residue, framework="pt") as opened:
            return whole(name, kept, opened.get_tensor(name))


def _copy_around(base: Path, output: Path, weights: set[str]) -> None:
    """What a model folder has beside its weights: configuration, tokenizer, template, index."""
    for path in sorted(base.iterdir()):
        wanted = path.suffix in (".json", ".jinja", ".model", ".txt") and path.name != "manifest.json"
        if path.is_file() and wanted and path.name not in (*weights, "choice.json", "looks.json"):
            shutil.copyfile(path, output / path.name)


def average_adapters(folders: Sequence[Path], shares: Sequence[float], output: Path) -> int | None:
    """Write the adapter whose B·A is the average of the models' own, exactly: ranks add up. None where some have none.

    Σ sᵢ (αᵢ/rᵢ) BᵢAᵢ = [s₁(α₁/r₁)B₁ …] · [A₁; …], written with α = r.

    Raises:
        BactrianError: the adapters change other layers than the first model's.
    """
    from safetensors.torch import load_file, save_file

    places = [folder / ADAPTER for folder in folders]
    if not all((place / WEIGHTS).is_file() for place in places):
        return None
    states = [load_file(place / WEIGHTS) for place in places]
    configs = [json.loads((place / CONFIG).read_text(encoding="utf-8")) for place in places]
    if odd := [folder for folder, state in zip(folders, states, strict=True) if state.keys() != states[0].keys()]:
        raise BactrianError(f"soup: {odd[0]}: its adapter changes other layers than that of {folders[0]}")
    scales = [share * each["lora_alpha"] / each["r"] for share, each in zip(shares, configs, strict=True)]
    made: dict[str, torch.Tensor] = {}
    for name in states[0]:
        parts = [state[name].float() for state in states]
        if ".lora_A." in name:
            made[name] = torch.cat(parts, 0).contiguous()
        elif ".lora_B." in name:
            made[name] = torch.cat([scale * part for scale, part in zip(scales, parts, strict=True)], 1).contiguous()
        else:  # the head of a reward model
            made[name] = torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum(0)
    rank = sum(int(each["r"]) for each in configs)
    (output / ADAPTER).mkdir(parents=True, exist_ok=True)
    save_file(made, output / ADAPTER / WEIGHTS, {"format": "pt"})
    config = {**configs[0], "r": rank, "lora_alpha": rank}
    (output / ADAPTER / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return rank
